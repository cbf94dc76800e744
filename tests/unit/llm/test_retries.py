"""When a failed request is tried again."""

import pytest

from services.common.errors import UpstreamError
from services.llm.backends.api.failures import ProviderFailure
from services.llm.backends.api.retries import Retries


def failure(*, may_pass: bool = True, wait_s: float | None = None) -> ProviderFailure:
    return ProviderFailure(UpstreamError("no"), may_pass=may_pass, wait_s=wait_s)


def test_waits_grow_and_end() -> None:
    retries = Retries(3)
    waits = [retries.wait_s(failure(), 100) for _ in range(4)]
    assert waits[3] is None
    for wait, longest in zip(waits[:3], (0.25, 0.5, 1.0), strict=True):
        assert wait is not None
        assert longest / 2 <= wait <= longest


def test_waits_are_not_all_the_same() -> None:
    assert len({Retries(1).wait_s(failure(), 100) for _ in range(20)}) > 1
    assert len({Retries(1).wait_s(failure(wait_s=1.0), 100) for _ in range(20)}) > 1


def test_the_provider_says_when() -> None:
    wait = Retries(1).wait_s(failure(wait_s=10.0), 100)
    assert wait is not None
    assert 10 <= wait <= 11
    assert Retries(1).wait_s(failure(wait_s=0.0), 100) == 0


def test_what_cannot_pass_or_comes_too_late_is_not_tried_again() -> None:
    assert Retries(5).wait_s(failure(may_pass=False), 100) is None
    assert Retries(5).wait_s(failure(wait_s=10.0), 9) is None
    assert Retries(0).wait_s(failure(), 100) is None


@pytest.mark.parametrize("count", [1, 5])
def test_every_try_counts(count: int) -> None:
    retries = Retries(count)
    waits = [retries.wait_s(failure(wait_s=0.0), 100) for _ in range(count + 1)]
    assert waits == [0.0] * count + [None]
