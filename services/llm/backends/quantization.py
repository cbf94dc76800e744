"""8-bit weights for models on a CPU. Imports torch."""

import warnings
from typing import Any

import torch

from services.common.errors import StartupError


def quantize(model: Any, device: str, dtype: str) -> None:
    """Give the linear layers 8-bit weights, in place; what flows between them stays float32.

    Decoding one sequence on a CPU waits for weights from memory, and these are a quarter of float32's.

    Raises:
        StartupError: for a device or number format that has no such layers.
    """
    if device != "cpu" or dtype != "float32":
        raise StartupError(f"--llm_quantization int8 is for float32 on a CPU, not for {dtype} on {device}")
    with warnings.catch_warnings():
        # torch points to a package of its own for this; the layers work, and nothing else here needs that package.
        warnings.simplefilter("ignore")
        torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
            model, {torch.nn.Linear}, dtype=torch.qint8, inplace=True
        )
