"""Whose recognition is next, where many speakers share a model.

A final transcript is what somebody waits for; an interim one is a courtesy for the time that is left. So final ones go
first, in the order of deadlines that grow with the length of the audio: who has said little is answered soon, and who
has said much is overtaken for a while, not for ever. Interim ones wait in a line of their own, take their audio when
their turn comes (so that none is stale), leave a place free where the model has several, and make way where a final one
has none.
"""

import asyncio
import heapq
import itertools
import logging
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from services.common.audio import Samples
from services.common.errors import ParleyError
from services.stt.demand import Demand
from services.stt.domain import ModelInfo, Recognition, RecognitionRequest
from services.stt.engines.base import Engine
from services.stt.timebase import to_samples, to_seconds
from services.stt.vad import VoiceDetector

log = logging.getLogger(__name__)

_PATIENCE = 0.5
"""Seconds that a recognition may be overtaken for each second of its audio."""
_LATE_S = 1.0
"""A final recognition that has waited so long shows that the model is used up, whatever was measured before."""
_MOST_LOAD = 0.8
"""Share of the model's time that live streams may need: the rest is for those that end at the same moment."""
_ALWAYS_FIT = 2
"""Streams that are let in whatever was measured: a caller may be on the way from one stream to the next."""
_TRIAL_S = 3.0


@dataclass(order=True)
class _Final:
    """A final recognition that waits."""

    deadline: float
    serial: int
    since: float = field(compare=False)
    turn: "asyncio.Future[None]" = field(compare=False)


class Schedule:
    """An engine, shared: one instance for all streams and recordings.

    Args:
        engine: recognizes; loaded before the first request.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._demand = Demand()
        self._serials = itertools.count()
        self._finals: list[_Final] = []
        self._interims: deque[asyncio.Future[None]] = deque()
        self._finals_running = 0
        self._interims_running = 0
        self._stoppable: list[asyncio.Task[Recognition]] = []

    @property
    def info(self) -> ModelInfo:
        """What the engine can do."""
        return self._engine.info

    @property
    def listens(self) -> bool:
        """Whether what the engine recognizes depends on the audio."""
        return self._engine.listens

    def new_detector(self) -> VoiceDetector:
        """A voice detector for a new stream."""
        return self._engine.new_detector()

    async def measure(self) -> None:
        """Find out how fast the model is, so that the first streams are admitted by that; a provider may be away."""
        if self._engine.parallel is None:
            return
        noise = np.random.default_rng(0).normal(0, 0.01, to_samples(_TRIAL_S)).astype(np.float32)
        language = self.info.languages[0]
        begun = asyncio.get_running_loop().time()
        try:
            await self._engine.recognize(noise, RecognitionRequest(language))
        except ParleyError as error:
            log.warning("how fast the model is, is not known yet: %s", error.message)
            return
        self._demand.heard(_TRIAL_S)
        self._demand.worked(asyncio.get_running_loop().time() - begun)

    def heard(self, audio_s: float) -> None:
        """So many seconds of audio have come in."""
        self._demand.heard(audio_s)

    def load(self, streams: int) -> float:
        """The share of the model's time that so many live streams need for their final transcripts."""
        return streams * self._demand.factor / self._places

    def fits(self, streams: int) -> bool:
        """Whether so many live streams can be served."""
        if streams <= _ALWAYS_FIT:
            return True
        now = asyncio.get_running_loop().time()
        return self.load(streams) <= _MOST_LOAD and all(now - final.since <= _LATE_S for final in self._finals)

    async def final(
        self, samples: Samples, request: RecognitionRequest, heard: Callable[[Recognition], None] = lambda _: None
    ) -> Recognition:
        """Recognize as well as the engine can, telling `heard` what it knows early; cancel the awaiting task to stop.

        Raises:
            whatever the engine raises.
        """
        now = asyncio.get_running_loop().time()
        deadline = now + _PATIENCE * to_seconds(len(samples))
        final = _Final(deadline, next(self._serials), now, asyncio.get_running_loop().create_future())
        heapq.heappush(self._finals, final)
        self._go_on()
        try:
            await final.turn
            begun = asyncio.get_running_loop().time()
            try:
                return await self._engine.recognize_aloud(samples, request, heard)
            finally:
                self._demand.worked(asyncio.get_running_loop().time() - begun)
        finally:
            if final in self._finals:  # it was given up before its turn came
                self._finals.remove(final)
                heapq.heapify(self._finals)
            else:
                self._finals_running -= 1
            self._go_on()

    async def interim(self, take: Callable[[], Samples], request: RecognitionRequest) -> Recognition | None:
        """Recognize soon what `take` gives when its turn comes; None where it had to make way for a final one.

        Raises:
            whatever the engine raises.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._interims.append(turn)
        self._go_on()
        try:
            await turn
            if self._finals:
                return None
            return await self._stoppably(self._engine.recognize(take(), request, interim=True))
        finally:
            if turn in self._interims:
                self._interims.remove(turn)
            else:
                self._interims_running -= 1
            self._go_on()

    async def _stoppably(self, work: Coroutine[Any, Any, Recognition]) -> Recognition | None:
        task = asyncio.ensure_future(work)
        self._stoppable.append(task)
        try:
            await asyncio.wait((task,))
        finally:
            task.cancel()
            if task in self._stoppable:
                self._stoppable.remove(task)
        return None if task.cancelled() else task.result()

    @property
    def _places(self) -> int:
        return sys.maxsize if self._engine.parallel is None else self._engine.parallel

    def _go_on(self) -> None:
        """Give the places that are free to those who wait, and make some free where final recognitions wait."""
        while self._finals and self._finals_running + self._interims_running < self._places:
            self._finals_running += 1
            _begin(heapq.heappop(self._finals).turn)
        stopping = self._interims_running - len(self._stoppable)
        for _ in range(len(self._finals) - stopping):
            if self._stoppable:
                self._stoppable.pop().cancel()
        while self._interims and self._may_begin_interim():
            self._interims_running += 1
            _begin(self._interims.popleft())

    def _may_begin_interim(self) -> bool:
        """Where there are several places, one is left to final recognitions."""
        running = self._finals_running + self._interims_running
        return not self._finals and running < self._places and self._interims_running < max(1, self._places - 1)


def _begin(turn: "asyncio.Future[None]") -> None:
    """It may go on; one that was cancelled in this moment gives its place back itself."""
    if not turn.done():
        turn.set_result(None)
