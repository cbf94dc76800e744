"""The event loop of every program."""

import asyncio
import sys
import time

import pytest

from services.common import event_loop


def test_programs_run_on_uvloop() -> None:
    pytest.importorskip("uvloop")
    seen: list[str] = []

    async def main() -> None:
        seen.extend(base.__module__ for base in type(asyncio.get_running_loop()).__mro__)

    event_loop.run(main())
    assert any(module.startswith("uvloop") for module in seen)


def test_programs_that_start_others_run_on_asyncios_own() -> None:
    seen: list[type] = []

    async def main() -> None:
        seen.append(type(asyncio.get_running_loop()))

    event_loop.run(main(), starts_programs=True)
    assert seen[0].__module__.startswith("asyncio")


def test_its_clock_goes_on_within_a_round_of_the_loop() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(3):
            before, now, after = time.monotonic(), loop.time(), time.monotonic()
            assert before <= now <= after

    event_loop.run(main())


def test_without_uvloop_it_is_asyncios_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    seen: list[type] = []

    async def main() -> None:
        seen.append(type(asyncio.get_running_loop()))

    event_loop.run(main())
    assert seen[0].__module__.startswith("asyncio.")
