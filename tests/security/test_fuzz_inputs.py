"""Every input that ever broke a rule, and a few new ones each time: `make fuzz` looks for more."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.access.token_file import Tokens
from tests.fuzz import targets

CORPUS = sorted((Path(targets.__file__).parents[1] / "corpus").iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_the_corpus_breaks_no_rule(path: Path) -> None:
    data = path.read_bytes()
    assert data[:1].decode() == path.name[:1], "a file is named after its target"
    targets.run(data)


def mutated(seed: bytes) -> st.SearchStrategy[bytes]:
    """A seed with a piece of it cut out, doubled, or replaced by other bytes."""
    places = st.integers(1, len(seed))
    other = st.one_of(st.binary(max_size=8), st.sampled_from([path.read_bytes()[1:40] for path in CORPUS]))
    return st.builds(lambda a, b, new: seed[:a] + new + seed[b:], places, places, other)


@pytest.mark.parametrize("letter", sorted(targets.TARGETS))
def test_mutated_inputs_break_no_rule(letter: str) -> None:
    seeds = [data for data in (path.read_bytes() for path in CORPUS) if data[:1].decode() == letter]

    @settings(max_examples=30)
    @given(st.sampled_from(seeds).flatmap(mutated))
    def holds(data: bytes) -> None:
        targets.run(data)

    holds()


def test_a_token_file_that_nests_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="not YAML"):
        Tokens(b"tokens: " + b"[" * 900)
