"""Which turns a history keeps."""

from hypothesis import given
from hypothesis import strategies as st

from services.llm.conversation.window import pending_tool_calls, shorten, size_bytes, trim
from services.llm.domain import ImagePart, Message, Role, TextPart, ToolCall


def user(text: str) -> Message:
    return Message(Role.USER, (TextPart(text),))


def assistant(text: str = "", *calls: str) -> Message:
    content = (TextPart(text),) if text else ()
    return Message(Role.ASSISTANT, content, tuple(ToolCall(call, "tool", "{}") for call in calls))


def tool(call: str) -> Message:
    return Message(Role.TOOL, (TextPart("42"),), tool_call_id=call)


SYSTEM = Message(Role.SYSTEM, (TextPart("rules"),))


def test_the_oldest_turns_go_whole() -> None:
    first, second, third = ((user(str(n)), assistant(f"answer {n}")) for n in range(3))
    assert trim(first + second + third, 2) == second + third
    assert trim(first + second, 2) == first + second


def test_a_tool_call_goes_with_its_output() -> None:
    first = (user("weather?"), assistant("", "c1"), tool("c1"), assistant("sunny"))
    second = (user("thanks"), assistant("welcome"))
    assert trim(first + second, 1) == second


def test_a_late_output_goes_with_its_call() -> None:
    messages = (user("a"), assistant("", "c1"), user("b"), tool("c1"), assistant("done"))
    assert trim(messages, 1) == (user("b"), assistant("done"))


def test_a_turn_whose_tool_call_waits_is_never_evicted() -> None:
    waiting = (user("a"), assistant("", "c1"))
    last = (user("b"), assistant("ok"))
    assert trim(waiting + last, 0) == waiting
    assert pending_tool_calls(waiting + last) == ("c1",)


def test_edge_24_a_window_of_one_and_of_none() -> None:
    messages = (user("a"), assistant("x"), user("b"), assistant("y"))
    assert trim(messages, 1) == messages[2:]
    assert trim(messages, 0) == ()


def test_a_question_that_has_no_answer_yet_stays() -> None:
    assert trim((user("a"), assistant("x"), user("b")), 0) == (user("b"),)
    assert trim((user("a"), assistant("", "c1"), tool("c1")), 0) == (user("a"), assistant("", "c1"), tool("c1"))


def test_turns_leave_until_the_rest_is_small_enough() -> None:
    picture = Message(Role.USER, (ImagePart(b"x" * 100), TextPart("héllo")))
    assert size_bytes((picture, assistant("", "c1"))) == 100 + 6 + 2
    turns = [(picture, assistant("nice")), (user("a"), assistant("b")), (user("c"), assistant("d"))]
    messages = tuple(message for turn in turns for message in turn)
    assert trim(messages, 10, 1000) is messages
    assert trim(messages, 10, 50) == messages[2:]
    assert trim(messages, 10, 1) == messages[4:], "the last turn stays"


def test_half_of_the_turns_leave_where_a_model_has_no_room() -> None:
    turns = [(user(str(n)), assistant("x")) for n in range(3)]
    asked = (user("now"),)
    messages = (SYSTEM, *turns[0], *turns[1], *turns[2], *asked)
    assert shorten(messages) == (SYSTEM, *turns[2], *asked)
    assert shorten((SYSTEM, *turns[2], *asked)) == (SYSTEM, *asked)
    assert shorten((SYSTEM, *asked)) == (SYSTEM, *asked)
    waiting = (user("a"), assistant("", "c1"))
    assert shorten((*waiting, *asked)) == (*waiting, *asked)


def test_system_messages_at_the_head_stay() -> None:
    assert trim((SYSTEM, user("a"), assistant("x"), user("b"), assistant("y")), 1)[0] == SYSTEM


_TURNS = st.lists(st.sampled_from(["plain", "tool", "unanswered", "pending"]), max_size=12)


@given(_TURNS, st.integers(0, 5))
def test_what_is_kept_is_whole_in_order_and_never_an_output_without_its_call(kinds: list[str], size: int) -> None:
    messages: list[Message] = []
    for number, kind in enumerate(kinds):
        call = f"c{number}"
        messages.append(user(str(number)))
        if kind == "plain":
            messages.append(assistant("ok"))
        elif kind == "tool":
            messages += [assistant("", call), tool(call), assistant("done")]
        elif kind == "pending":
            messages.append(assistant("", call))
    kept = trim(tuple(messages), size)
    positions = [messages.index(message) for message in kept if message.role is Role.USER]
    assert positions == sorted(positions)
    assert pending_tool_calls(kept) == pending_tool_calls(messages)
    calls = {call.id for message in kept for call in message.tool_calls}
    outputs = {message.tool_call_id for message in kept if message.role is Role.TOOL}
    assert outputs <= calls
    protected = sum(kind == "pending" for kind in kinds) + (bool(kinds) and kinds[-1] == "unanswered")
    assert len(positions) <= max(size, protected)
