"""The history that a session keeps: how it meets a service's, how much of it is kept, what deletion leaves of it."""

from parley.common.v1 import chat_pb2

from orchestrator.stages.kept_history import KEPT_MESSAGES, KeptHistory, lacking, without
from tests.support.llm_client import named, user


def copy(message: chat_pb2.Message, ident: str) -> chat_pb2.Message:
    """A message as a service keeps it."""
    return chat_pb2.Message(id=ident, role=message.role, content=message.content, item_id=message.item_id)


def test_two_histories_meet_at_the_last_user_message_of_theirs() -> None:
    answer = chat_pb2.Message(role=chat_pb2.ROLE_ASSISTANT, content=[chat_pb2.ContentPart(text="Yes")])
    bold = chat_pb2.Message(role=chat_pb2.ROLE_ASSISTANT, content=[chat_pb2.ContentPart(text="**Yes**")])
    ours = [user("one"), answer, user("two"), answer]
    assert lacking([], ours) == tuple(ours)
    assert lacking([user("one")], ours) == (answer, user("two"), answer)
    assert lacking([user("one"), bold], ours) == (user("two"), answer)
    assert lacking([user("one"), bold, user("two"), bold], ours) == ()


def test_histories_in_which_the_user_says_the_same_again_meet_at_the_same_message() -> None:
    first, second, other = (named("yes", item_id) for item_id in ("one", "two", "three"))
    assert lacking([first], [first, second]) == (second,)
    assert lacking([first, second], [first, second]) == ()
    assert lacking([first], [second]) == (second,), "equal words under another name are another message"
    assert lacking([first, other], [first, second]) == (second,)
    assert lacking([user("yes")], [first, second]) == (), "words count where a message has no name"
    assert lacking([first], [user("yes"), user("no")]) == (user("no"),)


def test_the_ids_that_a_service_gives_its_copies_do_not_tell_messages_apart() -> None:
    ours = [copy(user("one"), "msg_1"), copy(named("two"), "msg_2"), named("three")]
    assert lacking([copy(message, f"msg_{at}") for at, message in enumerate(ours[:2])], ours) == (ours[2],)


def test_what_another_session_has_added_hides_nothing_that_both_have() -> None:
    answer = chat_pb2.Message(role=chat_pb2.ROLE_ASSISTANT, content=[chat_pb2.ContentPart(text="Yes")])
    theirs = [named("one"), answer, named("elsewhere"), answer]
    assert lacking(theirs, [named("one"), answer, named("two"), answer]) == (named("two"), answer)
    assert lacking(theirs, [named("one"), answer]) == ()
    assert lacking([named("one"), named("elsewhere"), answer], [named("one"), answer]) == (answer,)


def test_the_history_here_loses_what_the_services_lose() -> None:
    calls = [chat_pb2.ToolCall(id=ident, name="f") for ident in ("c1", "c2")]
    words = [chat_pb2.ContentPart(text="x")]
    said_and_called = chat_pb2.Message(role=chat_pb2.ROLE_ASSISTANT, content=words, tool_calls=calls, item_id="a")
    output = chat_pb2.Message(role=chat_pb2.ROLE_TOOL, content=words, tool_call_id="c1", item_id="o")
    for item_id in ("c1", "o"):  # a call and its output go together
        left = without([said_and_called, output], item_id)
        assert left[1] is None
        assert left[0] is not None
        assert [call.id for call in left[0].tool_calls] == ["c2"]
    left = without([said_and_called, output], "a")
    assert left[1] == output
    assert left[0] is not None
    assert (list(left[0].content), len(left[0].tool_calls)) == ([], 2)
    again = [left[0], chat_pb2.Message(role=chat_pb2.ROLE_TOOL, tool_call_id="c1")]
    assert without(again, "a") == again
    called = chat_pb2.Message(role=chat_pb2.ROLE_ASSISTANT, tool_calls=calls[:1], item_id="b")
    assert without([called, output], "b") == [None, None]


def test_what_is_deleted_is_told_by_its_place_in_the_whole_history() -> None:
    history = KeptHistory()
    history.add([named(str(number)) for number in range(KEPT_MESSAGES + 10)])
    assert history.total == KEPT_MESSAGES + 10
    assert history.delete("i_12") == [12]
    assert history.total == KEPT_MESSAGES + 9
    assert history.since(history.total - 2) == history.messages[-2:]
    assert history.since(0) == history.messages, "as far as it is kept"
