"""Messages that the orchestrator writes itself."""

from parley.common.v1 import chat_pb2


def no_output(call_id: str) -> chat_pb2.Message:
    """Stands for the output of a call that the user did not wait for."""
    text = chat_pb2.ContentPart(text="There is no result yet. It follows when it is there.")
    return chat_pb2.Message(role=chat_pb2.ROLE_TOOL, tool_call_id=call_id, content=[text])


def late_output(output: chat_pb2.Message) -> chat_pb2.Message:
    """The output of such a call, once it is there."""
    text = "".join(part.text for part in output.content)
    news = chat_pb2.ContentPart(text=f"The result of the function call {output.tool_call_id} is there now: {text}")
    return chat_pb2.Message(role=chat_pb2.ROLE_SYSTEM, content=[news], item_id=output.tool_call_id)


def user_message(text: str, item_id: str = "") -> chat_pb2.Message:
    """The user's words as a message."""
    return chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart(text=text)], item_id=item_id)
