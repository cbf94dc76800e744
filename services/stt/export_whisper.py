"""Converts a Whisper model from CTranslate2's format into the folder that `transformers` loads.

The embedded weights come as CTranslate2 has them, in float16; this is the inverse of its converter (`WhisperSpec`,
revision 3; python/ctranslate2/converters/transformers.py): fused projections are taken apart again.
"""

import json
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from services.stt.timebase import SAMPLE_RATE_HZ

Weights = dict[str, npt.NDArray[np.float32]]

_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
"""CTranslate2's numbers of types (include/ctranslate2/types.h)."""
_HEAD_SIZE = 64  # of every Whisper model
_MEL_WINDOW = 400
_MEL_HOP = 160


def export(source: Path, folder: Path) -> None:
    """Write weights, configuration, tokenizer and feature extractor of the model in `source` into `folder`."""
    import torch
    from transformers import (
        GenerationConfig,
        PreTrainedTokenizerFast,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
    )

    ct2 = json.loads((source / "config.json").read_text())
    raw = read_variables(source / "model.bin")
    vocabulary = json.loads((source / "tokenizer.json").read_text())
    ids: dict[str, int] = {token["content"]: token["id"] for token in vocabulary["added_tokens"]}
    weights = _rename(raw)
    width, bins = raw["encoder/conv1/weight"].shape[:2]
    layers = sum(name.startswith("encoder/layer_") and name.endswith("ffn/linear_0/bias") for name in raw)
    config = WhisperConfig(
        vocab_size=raw["decoder/embeddings/weight"].shape[0],
        num_mel_bins=bins,
        d_model=width,
        encoder_layers=layers,
        decoder_layers=sum(name.startswith("decoder/layer_") and name.endswith("ffn/linear_0/bias") for name in raw),
        encoder_attention_heads=width // _HEAD_SIZE,
        decoder_attention_heads=width // _HEAD_SIZE,
        encoder_ffn_dim=raw["encoder/layer_0/ffn/linear_0/bias"].shape[0],
        decoder_ffn_dim=raw["decoder/layer_0/ffn/linear_0/bias"].shape[0],
        pad_token_id=ids["<|endoftext|>"],
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=ids["<|endoftext|>"],
        decoder_start_token_id=ids["<|startoftranscript|>"],
    )
    model: Any = WhisperForConditionalGeneration(config)
    missing = model.load_state_dict(
        {name: torch.from_numpy(value) for name, value in weights.items()}, strict=False
    ).missing_keys
    unexplained = [name for name in missing if name != "proj_out.weight"]  # tied to the embeddings
    if unexplained:
        raise ValueError(f"no weights for {', '.join(unexplained)}")
    model.tie_weights()
    tokens = {text: token for token, text in zip(ct2["lang_ids"], _texts(ids, ct2["lang_ids"]), strict=True)}
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        is_multilingual=True,
        lang_to_id=tokens,
        task_to_id={"transcribe": ids["<|transcribe|>"], "translate": ids["<|translate|>"]},
        no_timestamps_token_id=ids["<|notimestamps|>"],
        decoder_start_token_id=config.decoder_start_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        bos_token_id=config.bos_token_id,
        suppress_tokens=ct2["suppress_ids"],
        begin_suppress_tokens=ct2["suppress_ids_begin"],
        alignment_heads=ct2["alignment_heads"],
        max_length=448,
        return_timestamps=False,
    )
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_file=str(source / "tokenizer.json"),
        eos_token="<|endoftext|>",
        bos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
    ).save_pretrained(folder)
    WhisperFeatureExtractor(  # type: ignore[no-untyped-call]
        feature_size=bins, sampling_rate=SAMPLE_RATE_HZ, hop_length=_MEL_HOP, n_fft=_MEL_WINDOW
    ).save_pretrained(folder)


def read_variables(path: Path) -> Weights:
    """The tensors in a CTranslate2 `model.bin`, as float32.

    The format (src/models/model.cc): version, name and revision of the specification, then each variable with its
    name, shape, type and bytes. Little endian; strings have a length of 16 bits and end with a zero.
    """
    variables: Weights = {}
    with path.open("rb") as file:
        _number(file, "I")
        _string(file)
        _number(file, "I")
        for _ in range(_number(file, "I")):
            name = _string(file)
            shape = [_number(file, "I") for _ in range(_number(file, "B"))]
            dtype = _DTYPES[_number(file, "B")]
            data = np.frombuffer(file.read(_number(file, "I")), dtype)
            variables[name] = data.reshape(shape).astype(np.float32)
    return variables


def _number(file: BinaryIO, kind: str) -> int:
    return int(struct.unpack(f"<{kind}", file.read(struct.calcsize(kind)))[0])


def _string(file: BinaryIO) -> str:
    return file.read(_number(file, "H"))[:-1].decode()


def _texts(ids: dict[str, int], wanted: list[int]) -> list[str]:
    texts = {number: text for text, number in ids.items()}
    return [texts[number] for number in wanted]


def _rename(raw: Weights) -> Weights:
    """From CTranslate2's names and fused projections to those of `WhisperForConditionalGeneration`."""
    weights: Weights = {}
    for side in ("encoder", "decoder"):
        theirs = f"model.{side}"
        weights[f"{theirs}.embed_positions.weight"] = raw[f"{side}/position_encodings/encodings"]
        weights |= _norm(raw, f"{side}/layer_norm", f"{theirs}.layer_norm")
        layer = 0
        while f"{side}/layer_{layer}/ffn/linear_0/bias" in raw:
            weights |= _layer(raw, f"{side}/layer_{layer}", f"{theirs}.layers.{layer}")
            layer += 1
    for conv in ("conv1", "conv2"):
        weights |= _linear(raw[f"encoder/{conv}/weight"], raw[f"encoder/{conv}/bias"], f"model.encoder.{conv}")
    weights["model.decoder.embed_tokens.weight"] = raw["decoder/embeddings/weight"]
    return weights


def _layer(raw: Weights, ours: str, theirs: str) -> Weights:
    weights: Weights = {}
    width = raw[f"{ours}/self_attention/linear_1/bias"].shape[0]
    attentions = {"self_attention": ("self_attn", ("qkv", "o")), "attention": ("encoder_attn", ("q", "kv", "o"))}
    for name, (attention, projections) in attentions.items():
        if f"{ours}/{name}/linear_0/weight" not in raw:
            continue
        weights |= _norm(raw, f"{ours}/{name}/layer_norm", f"{theirs}.{attention}_layer_norm")
        for number, fused in enumerate(projections):
            weight, bias = (raw[f"{ours}/{name}/linear_{number}/{part}"] for part in ("weight", "bias"))
            for at, letter in enumerate(fused):
                rows = slice(at * width, (at + 1) * width)
                target = f"{theirs}.{attention}.{'out' if letter == 'o' else letter}_proj"
                weights |= _linear(weight[rows], None if letter == "k" else bias[rows], target)
    weights |= _norm(raw, f"{ours}/ffn/layer_norm", f"{theirs}.final_layer_norm")
    for number in (0, 1):
        weight, bias = (raw[f"{ours}/ffn/linear_{number}/{part}"] for part in ("weight", "bias"))
        weights |= _linear(weight, bias, f"{theirs}.fc{number + 1}")
    return weights


def _norm(raw: Weights, ours: str, theirs: str) -> Weights:
    return _linear(raw[f"{ours}/gamma"], raw[f"{ours}/beta"], theirs)


def _linear(weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32] | None, theirs: str) -> Weights:
    return {f"{theirs}.weight": weight} | ({} if bias is None else {f"{theirs}.bias": bias})
