"""Frames leave at the speed of speech, measured on a clock that only the test moves."""

from cli.pacing import FRAME_S, paced


class Clock:
    """Time that passes when someone sleeps, or when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def sent_at(clock: Clock, count: int, delays: dict[int, float] | None = None) -> list[float]:
    """When each frame came, in seconds from the start; `delays` lets a frame's reader take so long."""
    begun, times = clock.now, []
    async for frame in paced(range(count), begun, clock=clock, sleep=clock.sleep):
        times.append(round(clock.now - begun, 6))
        clock.now += (delays or {}).get(frame, 0.0)
    return times


async def test_a_frame_leaves_when_a_microphone_would_have_it() -> None:
    assert await sent_at(Clock(), 4) == [0.02, 0.04, 0.06, 0.08]


async def test_slow_sending_does_not_add_up() -> None:
    slow = dict.fromkeys(range(1000), 0.015)
    assert (await sent_at(Clock(), 1000, slow))[-1] == 1000 * FRAME_S


async def test_after_a_delay_what_is_due_leaves_at_once_until_the_schedule_is_met() -> None:
    assert await sent_at(Clock(), 6, {1: 0.07}) == [0.02, 0.04, 0.11, 0.11, 0.11, 0.12]


async def test_sleep_that_oversleeps_is_made_up_for() -> None:
    clock = Clock()
    begun = clock.now

    async def oversleep(seconds: float) -> None:
        clock.now += seconds + 0.003

    times = [clock.now async for _ in paced(range(500), begun, clock=clock, sleep=oversleep)]
    assert abs(times[-1] - begun - 500 * FRAME_S) < 0.0031
