"""Linear layers for `torch.jit`, in full precision and with 8-bit weights. Imports torch."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class FullProjection(nn.Module):
    """A linear layer in the model's own number format."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """(tokens, in) to (tokens, out)."""
        return linear(x, self.weight, self.bias)


class Int8Projection(nn.Module):
    """A linear layer with 8-bit weights, scaled by output, on inputs that are rounded to 8 bits, scaled by token.

    Args:
        weight: (out, in).
        bias: (out,).
        reduce_range: inputs get one bit less.
    """

    bias: Tensor | None
    both_ends: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None, reduce_range: bool) -> None:
        super().__init__()
        weight = weight.float()
        scales = weight.abs().amax(1).clamp_min(1e-8).double() / 127
        zeros = torch.zeros(len(scales), dtype=torch.int64)
        with warnings.catch_warnings():
            # torch points to a package of its own for this; the kernel works, and nothing else here needs that package.
            warnings.simplefilter("ignore")
            eights = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        self.packed = torch.ops.quantized.linear_prepack(eights, None)
        self.register_buffer("bias", bias)
        self.reduce_range = reduce_range
        self.zero = 64 if reduce_range else 128
        self.takes_scale = _takes_scale(self.packed, weight.shape[1])
        both_ends = torch.zeros(1, weight.shape[1])
        both_ends[0, 0], both_ends[0, 1] = 1.0, -1.0
        self.register_buffer("both_ends", both_ends)

    def forward(self, x: Tensor) -> Tensor:
        """(tokens, in) to (tokens, out)."""
        size = x.abs().amax(1, keepdim=True).clamp_min_(1e-8)
        y = self.product(x / size).mul_(size)
        bias = self.bias
        return y if bias is None else y.add_(bias)

    def product(self, x: Tensor) -> Tensor:
        """Of inputs from -1 to 1; rounds a token by nothing but the token, so that no answer depends on the others."""
        if self.takes_scale:
            y: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
                x, 1 / (self.zero - 1), self.zero, self.packed
            )
            return y
        # Where the scale is that from the least to the greatest of all inputs, a first row holds both, always.
        z: Tensor = torch.ops.quantized.linear_dynamic(torch.cat((self.both_ends, x)), self.packed, self.reduce_range)
        return z[1:]


def _takes_scale(packed: Any, size: int) -> bool:
    """Whether this processor's kernels can be told the scale of what they round (x86's can)."""
    try:
        torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(torch.zeros(1, size), 1.0, 0, packed)
    except RuntimeError:
        return False
    return True
