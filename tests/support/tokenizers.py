"""Small tokenizers of the library that models use, each with a chat template and the control tokens of its family."""

from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def build(template: str, special: Sequence[str], marks: Sequence[str] = (), *, folds: bool = False) -> Any:
    """A tokenizer whose tokens are bytes.

    Args:
        template: the chat template.
        special: control tokens.
        marks: tokens of their own that are no control tokens, as `<tool_call>` is in Qwen's.
        folds: whether control tokens are looked for in Unicode's compatibility form, in lower case.
    """
    alphabet = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    raw = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    if folds:
        raw.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    raw.add_special_tokens([AddedToken(token, special=True, normalized=folds) for token in special])
    raw.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in marks])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token=special[0], eos_token=special[-1])
    tokenizer.chat_template = template
    return tokenizer
