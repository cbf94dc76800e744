"""What is read from files and stores."""

import tempfile

import services.llm.convert
from orchestrator.settings import OrchestratorSettings
from services.common import settings
from services.common.access.token_file import Tokens
from services.common.errors import FailedPreconditionError, ParleyError
from services.llm.context import compose
from services.llm.conversation import codec
from services.llm.domain import Message, Role, TextPart
from services.llm.settings import LlmSettings
from services.stt.settings import SttSettings
from services.tts.settings import TtsSettings
from tests.fuzz.targets.registry import check, target


@target("y")
def settings_file(data: bytes) -> None:
    """A YAML file: settings, or one line that says what is wrong."""
    kinds: tuple[type[settings.ServerSettings], ...] = (OrchestratorSettings, SttSettings, LlmSettings, TtsSettings)
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(data)
        file.flush()
        try:
            settings.load(kinds[len(data) % 4], "program", ["--config", file.name])
        except settings.SettingsError as error:
            check("\n" not in str(error), "is more than a line")


@target("v")
def stored_conversation(data: bytes) -> None:
    """What a store holds of a conversation."""
    try:
        conversation = codec.load(data)
    except FailedPreconditionError as error:
        check(error.field == "conversation_id", "names no field")
        return
    assert codec.load(codec.dump(conversation)) == conversation
    services.llm.convert.conversation_message(conversation, 60.0)
    try:
        changed = conversation.append((Message(Role.USER, (TextPart("hi"),)),))
        codec.dump(changed)
        compose(changed.messages, changed.config.instructions, "", changed.summary)
    except ParleyError:
        return


@target("k")
def token_file(data: bytes) -> None:
    """The file of tokens: read, or refused without a word of what is in it."""
    try:
        Tokens(data)
    except ValueError:
        return
