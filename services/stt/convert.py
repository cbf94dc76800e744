"""Between the messages of the contract and the service's own data; every check of a request is here."""

from parley.common.v1 import audio_pb2
from parley.stt.v1 import stt_service_pb2 as pb

from services.common import wire
from services.common.errors import InvalidArgumentError, ModelNotFoundError
from services.stt import languages
from services.stt.domain import (
    Completed,
    Event,
    ModelInfo,
    RecognitionRequest,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    StreamOptions,
    Transcript,
    TranscriptionOptions,
)
from services.stt.endpointing import LIMITS_S, EndpointingConfig, SecondsField
from services.stt.timebase import SAMPLE_RATE_HZ

MAX_HINTS, MAX_HINT_CHARACTERS = 100, 2_000


def transcription_options(
    config: pb.TranscriptionConfig, field: str, info: ModelInfo, default_language: str
) -> TranscriptionOptions:
    """What a client asks for, checked.

    Raises:
        ModelNotFoundError, UnsupportedAudioError, InvalidArgumentError: naming the field below `field` at fault.
    """
    if config.model not in ("", info.name):
        raise ModelNotFoundError("there is no such model on this server; ListModels lists them", field=f"{field}.model")
    if len(config.hints) > MAX_HINTS or sum(map(len, config.hints)) > MAX_HINT_CHARACTERS:
        message = f"more than {MAX_HINTS} hints or {MAX_HINT_CHARACTERS} characters"
        raise InvalidArgumentError(message, field=f"{field}.hints")
    tag = config.language_code or default_language
    code = None
    if tag.lower() != languages.AUTO:
        code = languages.match(tag, info.languages)
        if code is None:
            message = "is not a language that this model knows; ListModels lists them"
            raise InvalidArgumentError(message, field=f"{field}.language_code")
    return TranscriptionOptions(
        audio_format=wire.audio_format(config.audio_format, f"{field}.audio_format"),
        request=RecognitionRequest(code, tuple(hint for hint in config.hints if hint), config.enable_word_timings),
        language_tag="" if code is None else tag,
        interim_results=config.enable_interim_results,
    )


def stream_options(
    config: pb.StreamingConfig, field: str, info: ModelInfo, default_language: str, defaults: EndpointingConfig
) -> StreamOptions:
    """What a client asks of a live stream, checked.

    Raises:
        ModelNotFoundError, UnsupportedAudioError, InvalidArgumentError: naming the field below `field` at fault.
    """
    return StreamOptions(
        transcription=transcription_options(config.config, f"{field}.config", info, default_language),
        endpointing=_endpointing(config.endpointing, f"{field}.endpointing", defaults),
        manual_end=config.manual_end,
        pauses=config.enable_pauses,
    )


def recording_response(event: Transcript | Completed) -> pb.TranscribeResponse:
    """An event of `Transcribe`."""
    if isinstance(event, Transcript):
        return pb.TranscribeResponse(transcript=_transcript(event))
    return pb.TranscribeResponse(completed=_completed(event))


def streaming_response(event: Event) -> pb.StreamingTranscribeResponse:
    """An event of `StreamingTranscribe`."""
    match event:
        case SpeechStarted(utterance_id, offset_s):
            started = pb.SpeechStarted(utterance_id=utterance_id, offset=wire.duration(offset_s))
            return pb.StreamingTranscribeResponse(speech_started=started)
        case SpeechStopped(utterance_id, offset_s, probability):
            stopped = pb.SpeechStopped(
                utterance_id=utterance_id, offset=wire.duration(offset_s), turn_end_probability=probability
            )
            return pb.StreamingTranscribeResponse(speech_stopped=stopped)
        case SpeechPaused(utterance_id, offset_s):
            paused = pb.SpeechPaused(utterance_id=utterance_id, offset=wire.duration(offset_s))
            return pb.StreamingTranscribeResponse(speech_paused=paused)
        case SpeechResumed(utterance_id):
            return pb.StreamingTranscribeResponse(speech_resumed=pb.SpeechResumed(utterance_id=utterance_id))
        case Transcript():
            return pb.StreamingTranscribeResponse(transcript=_transcript(event))
        case Completed():
            return pb.StreamingTranscribeResponse(completed=_completed(event))


def model_message(info: ModelInfo) -> pb.Model:
    """A model for `ListModels`."""
    return pb.Model(
        name=info.name,
        engine=info.engine,
        language_codes=sorted(languages.tag_of(code) for code in info.languages),
        native_sample_rate_hertz=SAMPLE_RATE_HZ,
        supports_interim_results=info.supports_interim_results,
        supports_word_timings=info.supports_word_timings,
    )


def _endpointing(message: audio_pb2.EndpointingConfig, field: str, defaults: EndpointingConfig) -> EndpointingConfig:
    threshold = defaults.speech_threshold
    if message.HasField("speech_threshold"):
        threshold = message.speech_threshold
        if not 0 <= threshold <= 1:  # refuses NaN too
            raise InvalidArgumentError("is not a probability in [0, 1]", field=f"{field}.speech_threshold")

    def named(name: SecondsField) -> float | None:
        if not message.HasField(name):
            return None
        return wire.bounded_seconds(getattr(message, name), f"{field}.{name}", *LIMITS_S[name])

    def seconds(name: SecondsField, default: float) -> float:
        value = named(name)
        return default if value is None else value

    shortest, usual, longest = named("min_end_silence"), named("end_silence"), named("max_end_silence")
    if usual is None:  # who names an end_silence alone has decided how long to wait, whatever is said
        usual = defaults.end_silence_s
        shortest = defaults.min_end_silence_s if shortest is None else shortest
        longest = defaults.max_end_silence_s if longest is None else longest
    if shortest is not None and shortest > usual:
        raise InvalidArgumentError("is more than end_silence", field=f"{field}.min_end_silence")
    if longest is not None and longest < usual:
        raise InvalidArgumentError("is less than end_silence", field=f"{field}.max_end_silence")
    return EndpointingConfig(
        speech_threshold=threshold,
        end_silence_s=usual,
        min_end_silence_s=shortest,
        max_end_silence_s=longest,
        soft_silence_s=defaults.soft_silence_s,
        min_speech_s=seconds("min_speech", defaults.min_speech_s),
        prefix_padding_s=seconds("prefix_padding", defaults.prefix_padding_s),
        max_utterance_s=seconds("max_utterance", defaults.max_utterance_s),
    )


def _transcript(event: Transcript) -> pb.Transcript:
    message = pb.Transcript(
        utterance_id=event.utterance_id,
        text=event.text,
        is_final=event.is_final,
        stable_length_bytes=len((event.text if event.is_final else event.text[: event.stable_characters]).encode()),
        language_code=event.language_tag,
        confidence=event.confidence,
        start_offset=wire.duration(event.start_s),
        end_offset=wire.duration(event.end_s),
        is_at_pause=event.at_pause,
    )
    for word in event.words:
        message.words.add(
            text=word.text,
            start_offset=wire.duration(word.start_s),
            end_offset=wire.duration(word.end_s),
            confidence=word.confidence,
        )
    return message


def _completed(event: Completed) -> pb.TranscriptionCompleted:
    return pb.TranscriptionCompleted(
        model=event.model,
        audio_duration=wire.duration(event.audio_s),
        processing_duration=wire.duration(event.processing_s),
    )
