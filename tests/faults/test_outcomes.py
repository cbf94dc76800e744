"""Everything that may break, in every state of a session: what becomes of it is what outcomes.yaml says, none hangs,
every conversation can be used again, and nothing is left of any session.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.faults.conftest import FOUND
from tests.support.fault_cases import experiment, warm_up
from tests.support.fault_stack import FaultStack, fault_stack
from tests.support.fault_table import table
from tests.support.redis_server import needs_redis

pytestmark = [needs_redis, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[FaultStack]:
    """Everything runs, and has worked once."""
    async with fault_stack() as started:
        await warm_up(started)
        yield started


@pytest.mark.parametrize(("what", "fault"), [pytest.param(*case, id=" ".join(case)) for case in table()])
async def test_a_fault_has_the_outcome_of_the_table(
    stack: FaultStack, what: str, fault: str, request: pytest.FixtureRequest
) -> None:
    found = {state.value: outcome.value for state, outcome in (await experiment(stack, what, fault)).items()}
    expected = table()[what, fault]
    assert {state: outcome for state, outcome in found.items() if outcome not in expected[state]} == {}, expected
    request.config.stash[FOUND].append((what, fault, found))
