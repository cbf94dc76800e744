"""A service that has no room is asked again where it says that it soon may have."""

import asyncio

import pytest

from orchestrator.stages.calls import PATIENCE_S, when_there_is_room
from services.common.errors import OverloadedError, UpstreamError
from tests.support.virtual_time import VirtualTimeLoop


class Asked:
    """Answers with these failures, and then with "done"."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.at: list[float] = []

    async def __call__(self) -> str:
        self.at.append(asyncio.get_running_loop().time())
        if self.failures:
            raise self.failures.pop(0)
        return "done"


def ask(asked: Asked) -> str:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(when_there_is_room(asked))


def test_it_is_asked_again_when_it_said_that_there_may_be_room() -> None:
    asked = Asked(OverloadedError("full", retry_after_s=1.5))
    assert ask(asked) == "done"
    assert asked.at[1] - asked.at[0] == pytest.approx(1.5)


@pytest.mark.parametrize(
    "failure",
    [
        OverloadedError("full", retry_after_s=PATIENCE_S + 0.1),
        OverloadedError("full"),
        UpstreamError("away", retry_after_s=0.1),
    ],
)
def test_what_waiting_would_not_help_fails_at_once(failure: Exception) -> None:
    asked = Asked(failure)
    with pytest.raises(type(failure)):
        ask(asked)
    assert len(asked.at) == 1


def test_a_service_that_is_still_full_is_not_asked_a_third_time() -> None:
    asked = Asked(OverloadedError("full", retry_after_s=0.1), OverloadedError("full", retry_after_s=0.1))
    with pytest.raises(OverloadedError):
        ask(asked)
    assert len(asked.at) == 2
