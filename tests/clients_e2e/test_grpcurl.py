"""The README's examples for grpcurl work, by reflection alone."""

import shlex
import sys
from pathlib import Path

import pytest

from cli.programs import PROGRAMS
from tests.clients_e2e.conftest import Talks
from tests.clients_e2e.programs import run
from tests.support.servers import ROOT

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400), pytest.mark.models]
EXAMPLES = [line for line in (ROOT / "README.md").read_text("utf-8").splitlines() if line.startswith("grpcurl ")]


async def test_the_readme_has_examples() -> None:
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("example", EXAMPLES)
async def test_an_example_of_the_readme_works(talks: Talks, example: str) -> None:
    stack = await talks.real()
    for program in PROGRAMS:
        example = example.replace(program.default_target, stack.addresses[program.name])
    _, *words = shlex.split(example)
    ended = await run(str(Path(sys.executable).parent / "grpcurl"), *words)
    assert (ended.code, ended.err) == (0, "")
    if "/Respond" in example:
        assert '"response_output_audio_delta"' in ended.out
        assert '"response_done"' in ended.out
    elif "/Synthesize" in example:
        assert '"data"' in ended.out
        assert '"completed"' in ended.out
    else:
        assert "parley." in ended.out or "voices" in ended.out
