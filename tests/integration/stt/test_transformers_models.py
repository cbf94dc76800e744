"""Other kinds of speech models than Whisper, built small and with random weights: that the code paths work."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.common.errors import StartupError
from services.common.settings import load
from services.stt import engines
from services.stt.domain import RecognitionRequest
from services.stt.engines.base import Engine
from services.stt.settings import SttSettings

LETTERS = "abcdefghijklmnopqrstuvwxyz'"
NOISE = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)


def moonshine(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, models
    from transformers import (
        MoonshineConfig,
        MoonshineForConditionalGeneration,
        PreTrainedTokenizerFast,
        Wav2Vec2FeatureExtractor,
    )

    words = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"w{number}": number for number in range(3, 64)}
    tokenizer: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<unk>")),
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
    )
    tokenizer.save_pretrained(folder)
    config = MoonshineConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        encoder_num_hidden_layers=1,
        decoder_num_hidden_layers=1,
        encoder_num_attention_heads=2,
        decoder_num_attention_heads=2,
        pad_token_id=2,
    )
    torch.manual_seed(0)
    MoonshineForConditionalGeneration(config).save_pretrained(folder)  # type: ignore[no-untyped-call]
    Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True).save_pretrained(folder)  # type: ignore[no-untyped-call]


def wav2vec2(folder: Path) -> None:
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    vocabulary = {"<pad>": 0, "|": 1, "<unk>": 2} | {letter: at for at, letter in enumerate(LETTERS, 3)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), bos_token=None, eos_token=None).save_pretrained(folder)  # type: ignore[no-untyped-call]
    config = Wav2Vec2Config(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16, 16),
        conv_stride=(160, 2),
        conv_kernel=(400, 3),
        num_feat_extract_layers=2,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)  # type: ignore[no-untyped-call]


@pytest.fixture(params=[moonshine, wav2vec2])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    folder = tmp_path / request.param.__name__
    folder.mkdir()
    await asyncio.to_thread(request.param, folder)
    flags = ["--stt", "transformers", "--stt_model_name", str(folder), "--language", "de"]
    built = engines.create(load(SttSettings, "parley-stt", flags))
    await built.load()
    yield built
    await built.aclose()


async def test_such_a_model_loads_from_a_folder_and_answers(engine: Engine) -> None:
    assert engine.info.languages == ("de",)
    assert engine.info.name in ("moonshine", "wav2vec2")
    first, second = [await engine.recognize(NOISE, RecognitionRequest("de")) for _ in range(2)]
    assert first.text == second.text
    assert first.language == "de"
    assert "<" not in first.text


async def test_a_recognition_that_nobody_waits_for_is_stopped(engine: Engine) -> None:
    task = asyncio.create_task(engine.recognize(np.tile(NOISE, 10), RecognitionRequest("de")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await engine.recognize(NOISE, RecognitionRequest("de"), interim=True)


async def test_a_model_of_another_kind_is_refused_in_one_line(tmp_path: Path) -> None:
    from transformers import GPT2Config

    GPT2Config(n_layer=1).save_pretrained(tmp_path)
    engine = engines.create(
        load(SttSettings, "parley-stt", ["--stt", "transformers", "--stt_model_name", str(tmp_path)])
    )
    with pytest.raises(StartupError, match="gpt2 does not turn speech into text"):
        await engine.load()
    await engine.aclose()


async def test_a_precision_that_it_does_not_have_is_refused(tmp_path: Path) -> None:
    flags = ["--stt", "transformers", "--stt_compute_type", "int8"]
    engine = engines.create(load(SttSettings, "parley-stt", flags))
    with pytest.raises(StartupError, match="stt_compute_type int8"):
        await engine.load()
    await engine.aclose()
