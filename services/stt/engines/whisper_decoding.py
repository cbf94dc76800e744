"""One Whisper model on CTranslate2: from samples to text, confidence and word timings. Blocking; runs on its thread."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ctranslate2
import numpy as np
import numpy.typing as npt
from faster_whisper.tokenizer import Tokenizer

from services.common.audio import Samples
from services.stt.domain import Recognition, RecognitionRequest, Word
from services.stt.engines.word_timing import words_of
from services.stt.guards import Decoding, Verdict, judge
from services.stt.timebase import SAMPLE_RATE_HZ

_FRAMES_PER_SECOND = 100  # of the spectrogram
_SHORT_WINDOWS = (1000, 1500, 2000)
_FULL_WINDOW = 3000
_WINDOW_MARGIN = 200
_MIN_SAMPLES = 400  # one spectrogram window
_MAX_CONTEXT_TOKENS = 448
_MAX_HINT_TOKENS = 100
_TOKENS_BASE, _TOKENS_PER_SECOND = 16, 20
_RETRY_BEAM = 5
_PREPENDED, _APPENDED = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"


class WhisperDecoder:
    """Args:
    model: a loaded `faster_whisper.WhisperModel`, touched by one thread alone.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self.languages: tuple[str, ...] = tuple(model.supported_languages)

    def recognize(
        self, samples: Samples, request: RecognitionRequest, *, quick: bool, check: Callable[[], None]
    ) -> Recognition:
        """Recognize at most 30 s.

        Args:
            samples: float32 mono at 16 kHz.
            request: language, hints, word timings.
            quick: no second try.
            check: called between two steps; what it raises ends the work.
        """
        frames = min(math.ceil(len(samples) * _FRAMES_PER_SECOND / SAMPLE_RATE_HZ), _FULL_WINDOW)
        encoded = self._encode(samples)
        check()
        language = request.language or self._detect_language(encoded)
        tokenizer = Tokenizer(
            self._model.hf_tokenizer, self._model.model.is_multilingual, task="transcribe", language=language
        )
        prompt = self._prompt(tokenizer, request.hints)
        limit = _TOKENS_BASE + _TOKENS_PER_SECOND * len(samples) // SAMPLE_RATE_HZ
        tokens, decoding = self._generate(encoded, tokenizer, prompt, limit, beam=1)
        verdict = judge(decoding, is_retry=quick)
        if verdict is Verdict.RETRY:
            check()
            encoded = self._encode(samples, shorten=False)
            check()
            tokens, decoding = self._generate(encoded, tokenizer, prompt, limit, beam=_RETRY_BEAM)
            verdict = judge(decoding, is_retry=True)
        if verdict is Verdict.DROP:
            return Recognition("", language)
        recognition = Recognition(decoding.text, language, confidence=min(1.0, math.exp(decoding.mean_log_probability)))
        if request.word_timings:
            check()
            recognition = replace(recognition, words=self._words(encoded, tokenizer, tokens, frames))
        return recognition

    def _encode(self, samples: Samples, *, shorten: bool = True) -> Any:
        """Encode a window as short as the audio allows, or a whole one.

        Whisper pads all audio to 30 s; a window of 10 s takes 2.5 times less work and recognizes as well. Below that
        the small models loop.
        """
        if len(samples) < _MIN_SAMPLES:
            samples = np.pad(samples, (0, _MIN_SAMPLES - len(samples)))
        features: npt.NDArray[np.float32] = self._model.feature_extractor(samples)
        length = features.shape[-1]
        shorter = _SHORT_WINDOWS if shorten else ()
        window = next((short for short in shorter if length + _WINDOW_MARGIN <= short), _FULL_WINDOW)
        features = np.pad(features[:, :window], ((0, 0), (0, max(0, window - length))))
        batch = np.ascontiguousarray(features[None], dtype=np.float32)
        return self._model.model.encode(ctranslate2.StorageView.from_array(batch))

    def _detect_language(self, encoded: Any) -> str:
        if not self._model.model.is_multilingual:
            return self.languages[0]
        token, _ = self._model.model.detect_language(encoded)[0][0]
        return str(token).strip("<|>")

    def _prompt(self, tokenizer: Tokenizer, hints: tuple[str, ...]) -> list[int]:
        start = [*tokenizer.sot_sequence, tokenizer.no_timestamps]
        if not hints:
            return start
        # The full stop keeps Whisper in the style of written sentences. Text that spells a control token is encoded as
        # that token: leave those out.
        said = [token for token in tokenizer.encode(f" {', '.join(hints)}.") if token < tokenizer.eot]
        return [tokenizer.sot_prev, *said[:_MAX_HINT_TOKENS], *start]

    def _generate(
        self, encoded: Any, tokenizer: Tokenizer, prompt: list[int], limit: int, beam: int
    ) -> tuple[list[int], Decoding]:
        """The tokens of the text, and the text with the model's doubts.

        CTranslate2 generates at most min(max_length / 2, max_length - len(prompt)) tokens.
        """
        result = self._model.model.generate(
            encoded,
            [prompt],
            beam_size=beam,
            max_length=min(_MAX_CONTEXT_TOKENS, limit + max(limit, len(prompt))),
            return_scores=True,
            return_no_speech_prob=True,
        )[0]
        tokens = [token for token in result.sequences_ids[0] if token < tokenizer.eot]
        text = tokenizer.decode(tokens).strip()
        return tokens, Decoding(text, float(result.scores[0]), float(result.no_speech_prob))

    def _words(self, encoded: Any, tokenizer: Tokenizer, tokens: list[int], frames: int) -> tuple[Word, ...]:
        """Words timed by the cross-attention of the decoder (openai/whisper's alignment, as faster-whisper has it)."""
        from faster_whisper.transcribe import merge_punctuations

        alignment = self._model.find_alignment(tokenizer, [tokens], encoded, frames)[0]
        merge_punctuations(alignment, _PREPENDED, _APPENDED)
        return words_of(alignment, tokenizer.language_code)
