"""What a session of `parley talk` is opened with."""

from cli.talk import TalkOptions
from services.common.audio_format import AudioFormat, Encoding

SPEECH = AudioFormat(Encoding.PCM_S16LE, 16_000)


def test_what_the_user_did_not_ask_for_is_left_to_the_server() -> None:
    config = TalkOptions("host:1").session(SPEECH)
    assert config.input_audio_format.sample_rate_hertz == 16_000
    for name in ("voice", "language_code", "instructions"):
        assert not config.HasField(name)


def test_what_the_user_asked_for_is_sent() -> None:
    options = TalkOptions("host:1", voice="heart", language="de", instructions="Be brief.", conversation_id="c")
    config = options.session(SPEECH)
    assert (config.voice, config.language_code, config.instructions) == ("heart", "de", "Be brief.")
    assert config.conversation_id == "c"
