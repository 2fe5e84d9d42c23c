"""Derivative rules for functions that torch differentiates slowly or not at all in forward mode.

Token factors need the derivative in S directions at each node. The rules compute terms that depend only on the node
once. The rules of torch compute the slope of GELU and the statistics of a layer normalisation for each direction, and
multiply the input of a linear layer by a derivative of its weights that is zero. torch has no rule for fused attention.

Each rule unpacks value and derivative from a dual number, computes both, and returns a dual number. For the transforms
of `torch.func` these are ordinary operations, which cost a fraction of a Python autograd function.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.forward_ad import make_dual, unpack_dual
from torch.overrides import TorchFunctionMode

from ..._utils.torch_internals import is_batched, is_tracked, tree_map_only
from .deferred_linear import (
    LazyDerivative,
    Product,
    ScaledTokens,
    across,
    change_of,
    moves,
    standardised,
    step,
    value_of,
    weighted,
)

__all__ = ["Differentiable"]


class Differentiable(TorchFunctionMode):
    """Applies the derivative rules of this module, in this thread only.

    `torch.nn.attention.sdpa_kernel` would replace fused attention for the whole process, other threads included.

    Values that a model reads on the host, such as whether a mask is all true, cannot depend on the hidden states:
    `torch.func.vmap` forbids such reads. They are read in the first run and cached, because each read waits for all
    pending work of the device.

    Args:
        reads: values read in earlier runs of the same function; an empty list before the first.
        dtype: dtype of the products of derivatives in linear layers; None uses their own. Values are not affected.
        waits: whether derivatives of linear layers are lazy (`xsbert.engine.autodiff.deferred_linear`). This pays for
            several directions; for a single one, it adds as many products as it saves. The output of a function must
            then be read within the context.
    """

    def __init__(self, reads: list[Any], dtype: torch.dtype | None = None, *, waits: bool) -> None:
        super().__init__()
        self._reads, self._n_read = reads, 0
        self._replacements = {**REPLACEMENTS, F.linear: partial(_linear, dtype=dtype, waits=waits)}

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if LazyDerivative in types:
            found = step(func, args, named)
            if found is not NotImplemented:
                return found
            if func is not F.linear:
                args, named = tree_map_only(LazyDerivative, LazyDerivative.tensor, (args, named))
        if func in READS and not is_batched(args[0]):
            return self._read(func, args[0])
        return self._replacements.get(func, func)(*args, **named)

    def _read(self, func: Callable, constant: Tensor) -> Any:
        if self._n_read == len(self._reads):
            self._reads.append(func(constant))
        self._n_read += 1
        return self._reads[self._n_read - 1]


READS = {Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__, Tensor.item, Tensor.tolist}


def _linear(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    dtype: torch.dtype | None,
    waits: bool,
) -> Tensor:
    """For y = W x + b, dy = W dx."""

    def product(derivative: Tensor) -> Tensor:
        if dtype is None or dtype == derivative.dtype:
            return F.linear(derivative, weight)
        return F.linear(derivative.to(dtype), weight.to(dtype)).to(derivative.dtype)

    if isinstance(input, LazyDerivative):
        rows = input.waiting
        if isinstance(rows, ScaledTokens):
            return LazyDerivative(ScaledTokens(F.linear(rows.value, weight, bias), product(rows.vectors), rows.scales))
        input = input.tensor()
    if not moves(input):
        return F.linear(input, weight, bias)
    if not is_tracked(input):
        y = F.linear(value_of(input), weight, bias)
    elif dtype is None:
        y = F.linear(input, weight, bias)
    else:
        y = F.linear(input.detach(), weight, bias) + product(change_of(input))
    waiting = Product(y, weight, input, product)
    # torch computes parts of half-precision operations in float32, so these keep its order of operations.
    return LazyDerivative(waiting) if waits and input.dtype.itemsize > 2 else waiting.tensor()


def _gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    """For y = x Φ(x), dy = (Φ(x) + x φ(x)) dx, with Φ and φ of the standard normal distribution."""
    x, dx = unpack_dual(input)
    if dx is None or approximate != "none":
        return F.gelu(input, approximate=approximate)
    slope = (1 + torch.erf(x * math.sqrt(0.5))) / 2 + x * torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return make_dual(F.gelu(x), slope * dx)


def _layer_norm(
    input: Tensor,
    normalized_shape: list[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """For y = w x̂ + b with x̂ = (x − mean) / σ, dy = w/σ · (dx without its components along 1 and x̂)."""
    x, dx = unpack_dual(input)
    y = F.layer_norm(x, normalized_shape, weight, bias, eps)
    if dx is None:
        return y
    # Statistics in at least float32, as in torch.
    wide = x.float() if x.dtype.itemsize == 2 else x
    axes = tuple(range(-len(normalized_shape), 0))
    unit, inverse = standardised(wide, axes, eps)
    return make_dual(y, (across(dx, unit, axes) * weighted(inverse, weight)).to(y.dtype))


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,  # noqa: ARG001
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Scaled dot-product attention in evaluation mode, with the signature of the torch function.

    o = P v with P = softmax(q kᵀ), so do = (P∘ds) v − (P∘ds) 1 ∘ o + P dv with ds = dq kᵀ + q dkᵀ.
    """
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    query = query * (query.shape[-1] ** -0.5 if scale is None else scale)
    (q, dq), (k, dk), (v, dv) = unpack_dual(query), unpack_dual(key), unpack_dual(value)
    if dq is None or dk is None or dv is None:
        return _probabilities(query, key, attn_mask, is_causal) @ value
    probabilities = _probabilities(q, k, attn_mask, is_causal)
    output = probabilities @ v
    # One product for both terms of ds, in place: for long texts this is the largest tensor.
    change = (torch.cat([dq, q], -1) @ torch.cat([k, dk], -1).transpose(-2, -1)).mul_(probabilities)
    return make_dual(output, change @ v - change.sum(-1, keepdim=True) * output + probabilities @ dv)


def _probabilities(query: Tensor, key: Tensor, attn_mask: Tensor | None, is_causal: bool) -> Tensor:
    scores = query @ key.transpose(-2, -1)
    if is_causal:
        causal = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~causal, float("-inf"))
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    elif attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(-1)


REPLACEMENTS: dict[Callable, Callable] = {
    F.gelu: _gelu,
    F.layer_norm: _layer_norm,
    F.scaled_dot_product_attention: _attention,
}
