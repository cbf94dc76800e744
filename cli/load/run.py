"""Runs the callers of a load test against an orchestrator."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

import grpc
from parley.agent.v1 import agent_service_pb2 as pb
from parley_client import Session, SessionError, connect

from cli.connection import open_channel
from cli.load.caller import Caller, NoAnswer, Speech
from cli.load.plan import LoadPlan
from cli.load.records import ENDED, NO_ANSWER, OK, STOPPED, Punctuality, Record, RunEnded, SessionBegan, SessionEnded
from cli.pacing import FRAME_S, paced
from cli.rpc import explain_session
from services.common.metrics import watch_event_loop

SESSIONS_A_CONNECTION = 8
"""Real callers have a connection each; a few share one here, so that the client stays cheap and a balancer in front of
several orchestrators still spreads them."""
_CLOSING_S = 5.0
_SECOND_S = 1.0


class LoadRun:
    """One run; `run` it once.

    Args:
        on_record: called with each record as it comes about, in order.
    """

    def __init__(
        self, target: str, config: pb.SessionConfig, plan: LoadPlan, speech: Speech, on_record: Callable[[Record], None]
    ) -> None:
        self._target, self._config, self._plan, self._speech = target, config, plan, speech
        self._on_record = on_record
        self._begun = 0.0
        self._loop_lag_s = 0.0
        self._frames = self._late = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Until all callers are done; `stop` makes them hang up. The last record is there at the end in any case."""
        self._begun, cpu_s = time.monotonic(), time.process_time()
        calling, stopping = asyncio.create_task(self._call_all()), asyncio.create_task(stop.wait())
        watching = [asyncio.create_task(watch_event_loop(self)), asyncio.create_task(self._watch_seconds())]
        try:
            await asyncio.wait((calling, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (calling, stopping, *watching):
                task.cancel()
            await asyncio.gather(calling, stopping, *watching, return_exceptions=True)
            self._on_record(RunEnded(self._now_s(), stop.is_set(), round(time.process_time() - cpu_s, 3)))
        if not calling.cancelled():
            calling.result()

    def loop_lag(self, seconds: float) -> None:
        """The event loop woke up so many seconds late."""
        self._loop_lag_s = max(self._loop_lag_s, seconds)

    async def _watch_seconds(self) -> None:
        """Record each second how punctual this process was."""
        while True:
            await asyncio.sleep(_SECOND_S)
            self._on_record(Punctuality(self._now_s(), round(self._loop_lag_s, 4), self._frames, self._late))
            self._loop_lag_s, self._frames, self._late = 0.0, 0, 0

    async def _call_all(self) -> None:
        connections = -(-self._plan.sessions // SESSIONS_A_CONNECTION)
        async with AsyncExitStack() as stack:
            channels = [
                await stack.enter_async_context(open_channel(self._target, own_connection=True))
                for _ in range(connections)
            ]
            async with asyncio.TaskGroup() as callers:
                for number in range(self._plan.sessions):
                    callers.create_task(self._call(number, channels[number % connections]))

    async def _call(self, number: int, channel: grpc.aio.Channel) -> None:
        """Be one caller, from the first word to the last answer."""
        await asyncio.sleep(self._plan.begins_s(number))
        status, message = STOPPED, ""
        try:
            status = await self._converse(number, channel)
        except SessionError as error:
            status, message = error.code.name, str(explain_session(error, self._target))
        except NoAnswer as error:
            status, message = NO_ANSWER, str(error)
        finally:
            self._on_record(SessionEnded(self._now_s(), number, status, message))

    async def _converse(self, number: int, channel: grpc.aio.Channel) -> str:
        """The status of the session.

        Raises:
            SessionError: where it does not come about, or breaks.
            NoAnswer: where its caller hangs up.
        """
        asked_s = self._now_s()
        async with connect(self._target, self._config, reconnect_s=0, channel=channel) as session:
            begun = time.monotonic()
            self._on_record(SessionBegan(self._now_s(), number, round(self._now_s() - asked_s, 4)))
            caller = Caller(number, self._plan, self._speech, begun - self._begun)
            listening = asyncio.create_task(self._listen(session, caller, begun))
            try:
                if not await self._speak(session, caller, begun):
                    await listening
                    return ENDED
                await session.end()
                await asyncio.wait({listening}, timeout=_CLOSING_S)
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
                for turn in caller.hang_up():
                    self._on_record(turn)
        return OK

    async def _speak(self, session: Session, caller: Caller, begun: float) -> bool:
        """Send all that the caller says; False where the session ended before."""
        sent = 0
        async for frame in paced(caller.frames(), begun):
            sent += 1
            self._frames += 1
            if time.monotonic() - begun - sent * FRAME_S > FRAME_S:
                self._late += 1
            if not await session.send_audio(frame):
                return False
        return True

    async def _listen(self, session: Session, caller: Caller, begun: float) -> None:
        async for event in session.events():
            for turn in caller.hear(event, time.monotonic() - begun):
                self._on_record(turn)

    def _now_s(self) -> float:
        return round(time.monotonic() - self._begun, 3)
