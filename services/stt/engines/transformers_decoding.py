"""Speech models of `transformers`: from samples to text. Blocking; runs on the model's thread.

Three kinds: Whisper, which is told the language and doubts itself; other models that write text from sound; and CTC
models, which name a token (or none) for each stretch of sound.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForCTC,
    AutoModelForSpeechSeq2Seq,
    AutoTokenizer,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CTC_MAPPING_NAMES,
    MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
)

from services.common.audio import Samples
from services.common.errors import StartupError
from services.common.model_thread import Stop
from services.stt.domain import RecognitionRequest
from services.stt.guards import Decoding, Verdict, judge
from services.stt.timebase import SAMPLE_RATE_HZ

_TOKENS_BASE, _TOKENS_PER_SECOND = 16, 20
_START_TOKENS = 4
"""Of Whisper: that a transcript begins, its language, the task, that there are no timestamps."""
_RETRY_BEAMS = 5
_MIN_SECONDS = 0.25
_NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")
_MAX_HINT_TOKENS = 100

Heard = tuple[str, float | None, str]
"""Text, confidence in [0, 1] where the model gives one, language."""


class _Stopped(Exception):
    """Nobody waits for the recognition any more."""


class _StopWhenTold(StoppingCriteria):
    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        return torch.full((input_ids.shape[0],), bool(self._stop), device=input_ids.device)


class Decoder(ABC):
    """Args:
    model, features, tokenizer: as `transformers` loads them.
    languages: codes that a request may name.
    """

    def __init__(self, model: Any, features: Any, tokenizer: Any, languages: tuple[str, ...]) -> None:
        self._model = model
        self._features = features
        self._tokenizer = tokenizer
        self.languages = languages

    def recognize(self, samples: Samples, request: RecognitionRequest, *, quick: bool, stop: Stop) -> Heard:
        """Recognize at most 30 s.

        Args:
            samples: float32 mono at 16 kHz.
            request: language, hints.
            quick: no second try.
            stop: ends the work between two steps.

        Raises:
            _Stopped: it was told to stop.
        """
        shortest = round(_MIN_SECONDS * SAMPLE_RATE_HZ)
        if len(samples) < shortest:
            samples = np.pad(samples, (0, shortest - len(samples)))
        with torch.inference_mode():
            heard = self._recognize(samples, request, quick, stop)
        if stop:
            raise _Stopped
        return heard

    @abstractmethod
    def _recognize(self, samples: Samples, request: RecognitionRequest, quick: bool, stop: Stop) -> Heard: ...

    def _inputs(self, samples: Samples) -> dict[str, Any]:
        inputs = self._features(samples, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
        return {
            name: value.to(self._model.device, self._model.dtype if value.is_floating_point() else None)
            for name, value in inputs.items()
        }


class Seq2SeqDecoder(Decoder):
    """Moonshine and others that write text from sound."""

    def _recognize(self, samples: Samples, request: RecognitionRequest, quick: bool, stop: Stop) -> Heard:
        language = request.language or self.languages[0]
        return *self._write(self._inputs(samples), samples, quick, stop), language

    def _write(
        self, inputs: dict[str, Any], samples: Samples, quick: bool, stop: Stop, no_speech: float = 0.0, **options: Any
    ) -> tuple[str, float | None]:
        """The text, with a second try for one that repeats itself, and its confidence."""
        limit = _TOKENS_BASE + _TOKENS_PER_SECOND * len(samples) // SAMPLE_RATE_HZ
        places = getattr(self._model.config, "max_target_positions", None)  # Whisper refuses a limit beyond them
        if places is not None:
            limit = min(limit, places - _START_TOKENS - len(options.get("prompt_ids", ())))
        decoding = self._generate(inputs, limit, stop, no_speech, num_beams=1, **options)
        verdict = judge(decoding, is_retry=quick)
        if verdict is Verdict.RETRY and not stop:
            decoding = self._generate(inputs, limit, stop, no_speech, num_beams=_RETRY_BEAMS, **options)
            verdict = judge(decoding, is_retry=True)
        if verdict is Verdict.DROP:
            return "", None
        return decoding.text, min(1.0, math.exp(decoding.mean_log_probability))

    def _generate(self, inputs: dict[str, Any], limit: int, stop: Stop, no_speech: float, **options: Any) -> Decoding:
        output = self._model.generate(
            **inputs,
            **options,
            max_new_tokens=limit,
            do_sample=False,
            stopping_criteria=StoppingCriteriaList([_StopWhenTold(stop)]),
            return_dict_in_generate=True,
            output_scores=True,
        )
        beam_indices = getattr(output, "beam_indices", None)
        scores = self._model.compute_transition_scores(
            output.sequences, output.scores, beam_indices, normalize_logits=True
        )[0]
        tokens = output.sequences[0, -len(scores) :] if len(scores) else output.sequences[0, :0]
        likely = scores[torch.isfinite(scores) & (tokens != (self._model.config.pad_token_id or -1))]
        mean = float(likely.mean()) if len(likely) else -math.inf
        text = self._tokenizer.decode(tokens, skip_special_tokens=True).strip()
        return Decoding(text, mean, no_speech)


class WhisperDecoder(Seq2SeqDecoder):
    """Whisper: the language is told or detected, and the model says how likely nobody spoke at all."""

    def __init__(self, model: Any, features: Any, tokenizer: Any) -> None:
        tokens = getattr(model.generation_config, "lang_to_id", None) or {}
        self._language_tokens = {token.strip("<|>"): number for token, number in tokens.items()}
        super().__init__(model, features, tokenizer, tuple(self._language_tokens) or ("en",))
        ids = (tokenizer.convert_tokens_to_ids(token) for token in _NO_SPEECH)
        self._no_speech_token = next((number for number in ids if number not in (None, tokenizer.unk_token_id)), None)

    def _recognize(self, samples: Samples, request: RecognitionRequest, quick: bool, stop: Stop) -> Heard:
        encoded = self._model.get_encoder()(**self._inputs(samples))
        first = self._first_probabilities(encoded)
        no_speech = 0.0 if self._no_speech_token is None else float(first[self._no_speech_token])
        language = request.language or self._likeliest_language(first)
        options: dict[str, Any] = {"language": language, "task": "transcribe"} if self._language_tokens else {}
        if request.hints:
            options["prompt_ids"] = self._prompt(request.hints)
        return *self._write({"encoder_outputs": encoded}, samples, quick, stop, no_speech, **options), language

    def _first_probabilities(self, encoded: Any) -> Any:
        """Of all tokens in the first place, where Whisper says the language, or that there is no speech."""
        start = torch.tensor([[self._model.config.decoder_start_token_id]], device=self._model.device)
        logits = self._model(encoder_outputs=encoded, decoder_input_ids=start).logits
        return logits[0, -1].float().softmax(-1)

    def _likeliest_language(self, first: Any) -> str:
        if not self._language_tokens:
            return self.languages[0]
        likely: str = max(self._language_tokens, key=lambda code: float(first[self._language_tokens[code]]))
        return likely

    def _prompt(self, hints: tuple[str, ...]) -> Any:
        start = self._tokenizer.convert_tokens_to_ids("<|startofprev|>")
        said = self._tokenizer(f" {', '.join(hints)}.", add_special_tokens=False).input_ids
        plain = [number for number in said if number < self._model.config.decoder_start_token_id]
        return torch.tensor([start, *plain[:_MAX_HINT_TOKENS]], device=self._model.device)


class CtcDecoder(Decoder):
    """Parakeet, wav2vec 2 and others: the likeliest token of each frame, repeats and blanks removed (Graves 2006)."""

    def _recognize(self, samples: Samples, request: RecognitionRequest, quick: bool, stop: Stop) -> Heard:
        logits = self._model(**self._inputs(samples)).logits[0]
        likely, tokens = logits.float().log_softmax(-1).max(-1)
        blank = self._model.config.pad_token_id
        spoken = tokens != blank
        mean = float(likely[spoken].mean()) if bool(spoken.any()) else -math.inf
        text = self._tokenizer.decode(tokens, skip_special_tokens=True).strip()
        language = request.language or self.languages[0]
        if judge(Decoding(text, mean, 0.0), is_retry=True) is Verdict.DROP:
            return "", None, language
        return text, min(1.0, math.exp(mean)), language


def load(source: str, device: str, dtype: Any, language: str, *, local_files_only: bool) -> Decoder:
    """Load a model from a folder or the hub.

    Args:
        language: what a model is taken to know that does not say.

    Raises:
        StartupError: it is no speech model of a kind that is known here.
    """
    where: dict[str, Any] = {"local_files_only": local_files_only}
    config = AutoConfig.from_pretrained(source, **where)
    kind = config.model_type
    if kind in MODEL_FOR_CTC_MAPPING_NAMES:
        loader: Any = AutoModelForCTC
    elif kind in MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES:
        loader = AutoModelForSpeechSeq2Seq
    else:
        raise StartupError(f"a model of type {kind} does not turn speech into text; see docs/engines.md")
    model = loader.from_pretrained(source, dtype=dtype, **where).to(device).eval()
    features = AutoFeatureExtractor.from_pretrained(source, **where)  # type: ignore[no-untyped-call]
    tokenizer = AutoTokenizer.from_pretrained(source, **where)
    if loader is AutoModelForCTC:
        return CtcDecoder(model, features, tokenizer, (language,))
    if kind == "whisper":
        return WhisperDecoder(model, features, tokenizer)
    return Seq2SeqDecoder(model, features, tokenizer, (language,))
