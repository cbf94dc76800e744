"""All programs at work: each is built and talks as soon as it is, while the tests wait for what comes of it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
import soundfile

from cli.plan import FREE_PORTS, plan_stack
from cli.stack import Stack
from tests.clients_e2e.orchestrators import Coughed, dying, full
from tests.clients_e2e.programs import CLIENTS_BY_LANGUAGE, Ended, build, run
from tests.conftest import SAMPLES
from tests.support.stack import fake_stack
from tests.support.voice_agent_double import Script, voice_agent

RATE_HZ = 16_000
BUILDS, REAL_TALKS, OTHER_TALKS = 2, 2, 8
"""At a time. Whoever talks to fakes mostly waits for the next 20 ms."""


@dataclass(frozen=True)
class Talked(Ended):
    """How a program ended, and where its answer is."""

    answer: Path


class Talks:
    """What all clients do, begun at once: `talks["go", "cough"]` is to be awaited."""

    def __init__(self, folder: Path, real: "asyncio.Task[Stack] | None", fakes: str) -> None:
        self._folder, self._real, self._fakes = folder, real, fakes
        self._building = asyncio.Semaphore(BUILDS)
        self._asking, self._talking = asyncio.Semaphore(REAL_TALKS), asyncio.Semaphore(OTHER_TALKS)
        self._built = {name: asyncio.create_task(self._build(name)) for name in CLIENTS_BY_LANGUAGE}
        self.coughs = {name: Coughed() for name in CLIENTS_BY_LANGUAGE}
        scenarios = [self._interruption, self._clock, self._cough, self._refusal, self._death, self._nobody]
        if real is not None:
            scenarios.insert(0, self._question)
        self._tasks = {
            (language, scenario.__name__.strip("_")): asyncio.create_task(scenario(language))
            for language in CLIENTS_BY_LANGUAGE
            for scenario in scenarios
        }

    async def real(self) -> Stack:
        """The stack on the embedded models."""
        assert self._real is not None
        return await asyncio.shield(self._real)

    async def of(self, language: str, scenario: str) -> Talked:
        """What came of it; skips where the language's tools are missing."""
        if missing := CLIENTS_BY_LANGUAGE[language].missing:
            pytest.skip(f"{language} needs {', '.join(missing)}")
        return await self._tasks[language, scenario]

    async def aclose(self) -> None:
        """Stop what still runs."""
        tasks = [*self._built.values(), *self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _build(self, language: str) -> None:
        async with self._building:
            if not CLIENTS_BY_LANGUAGE[language].missing:
                await build(language)

    async def _talk(self, language: str, scenario: str, target: str, question: Path, *options: str) -> Talked:
        answer = self._folder / f"{language}-{scenario}.wav"
        command = CLIENTS_BY_LANGUAGE[language].command
        ended = await run(*command, target, str(question), "-o", str(answer), *options)
        return Talked(ended.code, ended.out, ended.err, answer)

    async def _question(self, language: str) -> Talked:
        await self._built[language]
        stack = await self.real()
        async with self._asking:
            question = SAMPLES / "austen_0930.wav"
            return await self._talk(language, "question", stack.addresses["orchestrator"], question, "--language", "en")

    async def _interruption(self, language: str) -> Talked:
        await self._built[language]
        async with self._talking:
            return await self._talk(language, "interruption", self._fakes, self._folder / "two.wav")

    async def _clock(self, language: str) -> Talked:
        await self._built[language]
        async with self._talking:
            return await self._talk(language, "clock", self._fakes, SAMPLES / "austen_0880.wav", "--clock")

    async def _cough(self, language: str) -> Talked:
        return await self._talk_to(self.coughs[language].converse, language, "cough")

    async def _refusal(self, language: str) -> Talked:
        return await self._talk_to(full, language, "refusal")

    async def _death(self, language: str) -> Talked:
        return await self._talk_to(dying, language, "death")

    async def _nobody(self, language: str) -> Talked:
        await self._built[language]
        return await self._talk(language, "nobody", "127.0.0.1:1", self._folder / "silence.wav")

    async def _talk_to(self, script: Script, language: str, scenario: str) -> Talked:
        await self._built[language]
        async with self._talking, voice_agent(script) as target:
            return await self._talk(language, scenario, target, self._folder / "silence.wav")


def _record(folder: Path) -> None:
    """A recording of nothing, and one of two utterances with a pause in which an answer begins."""
    soundfile.write(folder / "silence.wav", np.zeros(RATE_HZ, "int16"), RATE_HZ)
    first, second = (soundfile.read(SAMPLES / f"austen_{number}.wav", dtype="int16")[0] for number in ("0880", "0930"))
    pause = np.zeros(8 * RATE_HZ, "int16")
    soundfile.write(folder / "two.wav", np.concatenate([first, pause, second]), RATE_HZ)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def talks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Talks]:
    """Everything, begun; the embedded models where a test needs them (not with `-m "not models"`)."""
    folder = tmp_path_factory.mktemp("talks")
    _record(folder)
    plan = plan_stack(["--llm_gen_max_new_tokens", "40"], FREE_PORTS)
    stack = Stack(plan.launches, log_dir=tmp_path_factory.mktemp("logs"))

    async def started() -> Stack:
        await stack.start()
        return stack

    needed = any(item.get_closest_marker("models") for item in request.session.items)
    real = asyncio.create_task(started()) if needed else None
    fakes = fake_stack(
        llm=("--fake_answer=I was told: {received}.", "--fake_calls_tools"), tts=("--fake_tts_ms_per_character=60",)
    )
    try:
        async with fakes as servers:
            begun = Talks(folder, real, servers["orchestrator"].address)
            yield begun
            await begun.aclose()
    finally:
        if real is not None:
            real.cancel()
            await asyncio.gather(real, return_exceptions=True)
        await stack.stop()
