"""What torch differentiates slowly or not at all in forward mode, written out for many directions at one point.

Token factors need the derivative in S directions at each node. What depends on the node alone is then best computed
once: torch's own rules compute the slope of GELU and the statistics of a layer normalisation anew for each direction,
multiply the input of a linear layer by a derivative of its weights that is zero, and have none for fused attention.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["Differentiable"]


class Differentiable(TorchFunctionMode):
    """Functions with derivative rules of our own, in this thread only.

    `torch.nn.attention.sdpa_kernel` would replace fused attention for the whole process, other threads included.
    """

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        replacement = REPLACEMENTS.get(func, func)
        return replacement(*args, **(kwargs or {}))


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return _Linear.apply(input, weight, bias)


def _gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    return _Gelu.apply(input) if approximate == "none" else F.gelu(input, approximate=approximate)


def _layer_norm(
    input: Tensor,
    normalized_shape: list[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    return _LayerNorm.apply(input, tuple(normalized_shape), weight, bias, eps)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Scaled dot-product attention in evaluation mode, with the signature of the torch function."""
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = (query * scale) @ key.transpose(-2, -1)
    if is_causal:
        causal = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~causal, float("-inf"))
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    elif attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(-1) @ value


REPLACEMENTS: dict[Callable, Callable] = {
    F.linear: _linear,
    F.gelu: _gelu,
    F.layer_norm: _layer_norm,
    F.scaled_dot_product_attention: _attention,
}


class _Rule(torch.autograd.Function):
    """A function of its first argument alone, along that one's last axes; the others are constants."""

    @staticmethod
    def keep(ctx: Any, *tensors: Tensor | None) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_forward(*tensors)
        ctx.save_for_backward(*tensors)

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple, x: Tensor, *constants: Any) -> tuple[Tensor, int]:
        return cls.apply(x.movedim(in_dims[0], 0), *constants), 0


class _Linear(_Rule):
    """y = W x + b, so dy = W dx."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        _Rule.keep(ctx, inputs[1])

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *constants: None) -> Tensor:
        return F.linear(tangent, ctx.saved_tensors[0])

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        return cotangent @ ctx.saved_tensors[0], None, None


class _Gelu(_Rule):
    """y = x Φ(x), so dy = (Φ(x) + x φ(x)) dx, with Φ and φ of the standard normal distribution."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return F.gelu(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        _Rule.keep(ctx, *inputs)

    @staticmethod
    def slope(x: Tensor) -> Tensor:
        return (1 + torch.erf(x * math.sqrt(0.5))) / 2 + x * torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return tangent * _Gelu.slope(ctx.saved_tensors[0])

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Tensor:
        return cotangent * _Gelu.slope(ctx.saved_tensors[0])


class _LayerNorm(_Rule):
    """y = w x̂ + b with x̂ = (x − mean) / σ, so dy = w/σ · (dx without its components along 1 and x̂)."""

    @staticmethod
    def forward(x: Tensor, shape: tuple[int, ...], weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        return F.layer_norm(x, shape, weight, bias, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, shape, weight, _, ctx.eps = inputs
        ctx.axes = tuple(range(-len(shape), 0))
        _Rule.keep(ctx, x, weight)

    @staticmethod
    def statistics(ctx: Any) -> tuple[Tensor, Tensor]:
        """x̂ and 1/σ, in float32 at least, as torch computes them."""
        x = ctx.saved_tensors[0]
        x = x.float() if x.dtype.itemsize == 2 else x
        variance, mean = torch.var_mean(x, ctx.axes, correction=0, keepdim=True)
        inverse = (variance + ctx.eps).rsqrt()
        return (x - mean) * inverse, inverse

    @staticmethod
    def across(ctx: Any, direction: Tensor, standardised: Tensor) -> Tensor:
        """The direction without its components along 1 and x̂."""
        along = (direction * standardised).mean(ctx.axes, keepdim=True)
        return torch.addcmul(direction - direction.mean(ctx.axes, keepdim=True), standardised, along, value=-1)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *constants: None) -> Tensor:
        standardised, inverse = _LayerNorm.statistics(ctx)
        weight = ctx.saved_tensors[1]
        factor = inverse if weight is None else inverse * weight
        return (_LayerNorm.across(ctx, tangent, standardised) * factor).to(tangent.dtype)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        standardised, inverse = _LayerNorm.statistics(ctx)
        weight = ctx.saved_tensors[1]
        weighted = cotangent if weight is None else cotangent * weight
        across = _LayerNorm.across(ctx, weighted, standardised)
        return (across * inverse).to(cotangent.dtype), None, None, None, None
