"""What the orchestrator counts, beside what every server does."""

import contextlib
import time
from collections.abc import Iterator

from prometheus_client import REGISTRY, CollectorRegistry

from orchestrator.domain import ResponseStatus, TurnTimings
from services.common.instruments import Counter, Gauge, Histogram
from services.common.metrics import SECONDS_BUCKETS
from services.common.turn_stages import STAGES, stage_seconds

_SESSION_BUCKETS = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0)


class TurnMetrics:
    """How turns ended, where their time went, and what speculation and interruptions did."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        turns = Counter(
            "parley_turns_total",
            "Turns by how they ended: completed, cancelled, incomplete (cut by a limit) or failed.",
            ("outcome",),
            registry=registry,
        )
        self._response = Histogram(
            "parley_turn_response_seconds",
            "From the end of the user's speech to the first audio of the answer: the service level.",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        stages = Histogram(
            "parley_turn_stage_seconds",
            "What each stage added to parley_turn_response_seconds; the stages of a turn add up to it.",
            ("stage",),
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._barge_in = Histogram(
            "parley_barge_in_stop_seconds",
            "From the beginning of the user's voice over an answer to the end of the audio sent.",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._active = Gauge("parley_sessions_active", "Live sessions.", registry=registry)
        self._lengths = Histogram(
            "parley_session_seconds", "Length of live sessions.", buckets=_SESSION_BUCKETS, registry=registry
        )
        speculations = Counter(
            "parley_speculations_total",
            "Responses begun at a pause, by what became of them.",
            ("outcome",),
            registry=registry,
        )
        self._saved = Counter(
            "parley_speculation_saved_seconds_total",
            "How much sooner confirmed speculations had audio than if they had begun at their confirmation.",
            registry=registry,
        )
        self._wasted_characters = Counter(
            "parley_speculation_wasted_characters_total",
            "Characters that the model wrote for speculations that were discarded.",
            registry=registry,
        )
        self._wasted_audio = Counter(
            "parley_speculation_wasted_audio_seconds_total",
            "Speech that was synthesized for speculations that were discarded.",
            registry=registry,
        )
        interruptions = Counter(
            "parley_interruptions_total",
            "Times that the user's voice held a response, by what it was.",
            ("outcome",),
            registry=registry,
        )
        # All of them are there from the beginning, as zeros: what rises from nothing has no rate.
        self._outcomes = {status: turns.labels(status.value) for status in ResponseStatus}
        self._stages = {stage: stages.labels(stage) for stage in STAGES}
        self._confirmed, self._discarded = (speculations.labels(outcome) for outcome in ("confirmed", "discarded"))
        self._real, self._false = (interruptions.labels(outcome) for outcome in ("real", "false"))

    def responded(self, status: ResponseStatus, timings: TurnTimings) -> None:
        """A response that the client knows of has ended. The audio of a failed one is an apology, and no answer."""
        self._outcomes[status].inc()
        spent = {} if status is ResponseStatus.FAILED else stage_seconds(vars(timings))
        if spent:
            self._response.observe(sum(spent.values()))
        for stage, seconds in spent.items():
            self._stages[stage].observe(seconds)

    def stopped(self, seconds: float) -> None:
        """The audio of a response was stopped so many seconds after the user's voice had begun."""
        self._barge_in.observe(max(0.0, seconds))

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """A live session, from its beginning to its end."""
        begun = time.monotonic()
        self._active.inc()
        try:
            yield
        finally:
            self._lengths.observe(time.monotonic() - begun)
            self._active.dec()

    def confirmed(self, saved_s: float) -> None:
        """A speculation was right, and its audio comes so many seconds sooner for it."""
        self._confirmed.inc()
        self._saved.inc(saved_s)

    def discarded(self, text: str, audio_s: float) -> None:
        """A speculation was wrong; so much had been written and spoken of it."""
        self._discarded.inc()
        self._wasted_characters.inc(len(text))
        self._wasted_audio.inc(audio_s)

    def interrupted(self, *, real: bool) -> None:
        """A response that was held was cancelled by the user's words, or went on."""
        (self._real if real else self._false).inc()
