"""Whose recognition is next. The engine waits until the test lets it go on; time is the virtual loop's."""

import asyncio

import numpy as np
import pytest

from services.common.audio import Samples
from services.stt.domain import RecognitionRequest
from services.stt.schedule import Schedule
from tests.support.stt_doubles import BusyEngine, ScriptedEngine
from tests.support.virtual_time import in_virtual_time

ENGLISH = RecognitionRequest("en")


def audio(seconds: float) -> Samples:
    return np.zeros(round(seconds * 16_000), np.float32)


def test_final_recognitions_go_first_and_short_ones_before_long_ones() -> None:
    engine = BusyEngine()

    async def main() -> None:
        schedule = Schedule(engine)
        running = asyncio.create_task(schedule.final(audio(5), ENGLISH))
        await asyncio.sleep(0)
        interim = asyncio.create_task(schedule.interim(lambda: audio(1), ENGLISH))
        finals = [asyncio.create_task(schedule.final(audio(length), ENGLISH)) for length in (28, 3)]
        await asyncio.gather(running, interim, *finals)

    in_virtual_time(main())
    assert engine.begun == [(5, False), (3, False), (28, False), (1, True)]


def test_a_long_recognition_is_overtaken_for_a_while_and_not_for_ever() -> None:
    engine = BusyEngine(takes_s=0.9)

    async def main() -> None:
        schedule = Schedule(engine)
        long = asyncio.create_task(schedule.final(audio(20), ENGLISH))
        others = []
        first = asyncio.create_task(schedule.final(audio(1), ENGLISH))
        await asyncio.sleep(0)
        while not long.done():
            others.append(asyncio.create_task(schedule.final(audio(1), ENGLISH)))
            await asyncio.sleep(0.5)
        for task in (first, *others):
            task.cancel()
        await asyncio.gather(first, *others, return_exceptions=True)

    in_virtual_time(main())
    assert [length for length, _ in engine.begun].index(20) <= 20


@pytest.mark.parametrize("places", [1, 2, 4])
def test_interim_recognitions_leave_a_place_free_and_each_speaker_has_a_turn(places: int) -> None:
    engine = BusyEngine(places=places)

    async def main() -> None:
        schedule = Schedule(engine)
        turns: list[int] = []

        async def speaker(number: int) -> None:
            for _ in range(3):
                turns.append(number)
                await schedule.interim(lambda: audio(1), ENGLISH)

        await asyncio.gather(*(speaker(number) for number in range(5)))
        assert [turns.count(number) for number in range(5)] == [3] * 5
        assert sorted(turns[:5]) == sorted(turns[5:10]) == list(range(5))

    in_virtual_time(main())
    assert engine.most_at_once == max(1, places - 1)


def test_audio_is_taken_when_the_turn_comes() -> None:
    engine = BusyEngine()

    async def main() -> None:
        schedule, heard_s = Schedule(engine), 1.0
        running = asyncio.create_task(schedule.final(audio(5), ENGLISH))
        interim = asyncio.create_task(schedule.interim(lambda: audio(heard_s), ENGLISH))
        await asyncio.sleep(0.5)
        heard_s = 1.5
        await asyncio.gather(running, interim)

    in_virtual_time(main())
    assert engine.begun == [(5, False), (1.5, True)]


def test_an_interim_recognition_makes_way_for_a_final_one() -> None:
    engine = BusyEngine(takes_s=1.0)

    async def main() -> float:
        schedule = Schedule(engine)
        interim = asyncio.create_task(schedule.interim(lambda: audio(1), ENGLISH))
        await asyncio.sleep(0.25)
        begun = asyncio.get_running_loop().time()
        await schedule.final(audio(2), ENGLISH)
        assert await interim is None
        return asyncio.get_running_loop().time() - begun

    assert in_virtual_time(main()) == pytest.approx(1.0)


@pytest.mark.parametrize("at_s", [0.0, 0.25, 1.25])
def test_who_gives_up_leaves_the_place_to_others(at_s: float) -> None:
    engine = BusyEngine()

    async def main() -> None:
        schedule = Schedule(engine)
        first = asyncio.create_task(schedule.final(audio(1), ENGLISH))
        given_up = [
            asyncio.create_task(schedule.final(audio(2), ENGLISH)),
            asyncio.create_task(schedule.interim(lambda: audio(1), ENGLISH)),
        ]
        await asyncio.sleep(at_s)
        for task in given_up:
            task.cancel()
        results = await asyncio.gather(first, *given_up, return_exceptions=True)
        assert [isinstance(result, asyncio.CancelledError) for result in results] == [False, True, True]
        async with asyncio.timeout(1.1):
            await schedule.final(audio(3), ENGLISH)

    in_virtual_time(main())


def test_a_failure_is_told_to_whom_it_belongs_and_frees_the_place() -> None:
    engine = ScriptedEngine(error=ValueError("broken"))

    async def main() -> None:
        schedule = Schedule(engine)
        with pytest.raises(ValueError, match="broken"):
            await schedule.final(audio(1), ENGLISH)
        with pytest.raises(ValueError, match="broken"):
            await schedule.interim(lambda: audio(1), ENGLISH)
        engine.error = None
        assert (await schedule.final(audio(1), ENGLISH)).text == "said 1.00"

    in_virtual_time(main())


async def spoken(schedule: Schedule, *, speech_s: float, silence_s: float = 0.0) -> None:
    schedule.heard(speech_s + silence_s)
    await schedule.final(audio(speech_s), ENGLISH)


@pytest.mark.parametrize(
    ("takes_s", "places", "silence_s", "fit"),
    [(0.3, 1, 0.0, 8), (0.3, 2, 0.0, 16), (0.6, 1, 0.0, 4), (0.3, 1, 3.0, 16), (30.0, 1, 0.0, 2)],
)
def test_as_many_streams_fit_as_the_measured_time_allows(
    takes_s: float, places: int, silence_s: float, fit: int
) -> None:
    async def main() -> int:
        schedule = Schedule(BusyEngine(takes_s=takes_s, places=places))
        for _ in range(100):
            await spoken(schedule, speech_s=3.0, silence_s=silence_s)
        return next(streams for streams in range(1_000) if not schedule.fits(streams + 1))

    assert in_virtual_time(main()) == pytest.approx(fit, abs=1 if fit > 2 else 0)


def test_a_model_that_has_become_slow_takes_fewer_streams_before_long() -> None:
    engine = BusyEngine(takes_s=0.1)

    async def main() -> None:
        schedule = Schedule(engine)
        await schedule.measure()
        assert schedule.fits(20)
        engine.takes_s = 1.0
        for _ in range(40):
            await spoken(schedule, speech_s=3.0)
        assert not schedule.fits(4)

    in_virtual_time(main())


def test_a_recognition_that_waits_too_long_closes_the_door() -> None:
    engine = BusyEngine(takes_s=0.1)

    async def main() -> None:
        schedule = Schedule(engine)
        await schedule.measure()
        engine.takes_s = 5.0
        running = [asyncio.create_task(schedule.final(audio(30), ENGLISH)) for _ in range(2)]
        await asyncio.sleep(0.5)
        assert schedule.fits(3)
        await asyncio.sleep(1.0)
        assert not schedule.fits(3)
        await asyncio.gather(*running)
        for _ in range(3):
            schedule.heard(120)
        assert schedule.fits(3)

    in_virtual_time(main())


def test_what_another_machine_recognizes_is_not_rationed() -> None:
    engine = BusyEngine(places=None)

    async def main() -> None:
        schedule = Schedule(engine)
        await schedule.measure()
        await asyncio.gather(*(schedule.final(audio(1), ENGLISH) for _ in range(50)))
        assert schedule.fits(1_000)

    in_virtual_time(main())
    assert engine.most_at_once == 50
