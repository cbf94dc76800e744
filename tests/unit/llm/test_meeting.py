"""Which operations of a step all threads meet for."""

from collections.abc import Iterator

import pytest
import torch

from services.llm.backends.batching.key_values import PoolShape, Row
from services.llm.backends.batching.meeting import Meeting

SMALL_MODEL = PoolShape(30, 3, 64, torch.float32)
IN_BFLOAT16 = PoolShape(30, 3, 64, torch.bfloat16)


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def inside(meeting: Meeting) -> int:
    """How many threads there are for what comes next."""
    with meeting:
        return torch.get_num_threads()


def test_a_step_of_few_tokens_meets_for_large_layers_and_long_histories_alone() -> None:
    meeting = Meeting("cpu")
    meeting.begin(45)
    assert torch.get_num_threads() == 1
    assert inside(meeting.linear(45, 576 * 3072)) == 1
    assert inside(meeting.linear(45, 576 * 49152)) == 3
    assert torch.get_num_threads() == 1
    assert inside(meeting.attention([Row(0, 45, 0, 45)], SMALL_MODEL, 9)) == 1
    assert inside(meeting.attention([Row(0, 1, 0, 100), Row(1, 44, 200, 2044)], SMALL_MODEL, 9)) == 1
    assert inside(meeting.attention([Row(0, 1, 0, 100), Row(1, 1, 200, 4000)], SMALL_MODEL, 9)) == 3
    assert torch.get_num_threads() == 1
    meeting.end()
    assert torch.get_num_threads() == 3


def test_attention_in_bfloat16_has_a_helper_instead_of_meetings() -> None:
    meeting = Meeting("cpu")
    meeting.begin(45)
    assert meeting.helper is not None
    assert inside(meeting.attention([Row(0, 1, 0, 4000)], IN_BFLOAT16, 9)) == 1
    meeting.end()
    assert meeting.helper is None, "the next step may be long, and have all threads"
    torch.set_num_threads(1)
    meeting.begin(45)
    assert meeting.helper is None, "there is one thread alone"
    meeting.end()


def test_one_token_of_a_large_model_is_worth_a_meeting_since_its_weights_are_read() -> None:
    meeting = Meeting("cpu")
    meeting.begin(1)
    assert inside(meeting.linear(1, 2048 * 16384)) == 3
    meeting.end()


@pytest.mark.parametrize(("device", "tokens"), [("cpu", 2000), ("cuda", 45)])
def test_long_slices_and_other_devices_keep_all_threads_throughout(device: str, tokens: int) -> None:
    meeting = Meeting(device)
    meeting.begin(tokens)
    assert inside(meeting.linear(tokens, 8)) == 3
    assert torch.get_num_threads() == 3
    meeting.end()


def test_an_error_inside_leaves_the_threads_as_they_were() -> None:
    meeting = Meeting("cpu")
    meeting.begin(45)
    with pytest.raises(ValueError, match="a kernel failed"), meeting.linear(45, 576 * 49152):
        raise ValueError("a kernel failed")
    assert torch.get_num_threads() == 1
    meeting.end()
    assert torch.get_num_threads() == 3
