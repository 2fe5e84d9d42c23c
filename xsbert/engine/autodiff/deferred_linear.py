"""Lazy derivatives of linear layers, which save products if later operations need only a part of them.

The last feed-forward layer of a transformer is followed by a residual connection, a layer normalisation and a sum over
the tokens. Let z = W u + rest, with mean and standard deviation σ for each token, and ẑ = (z − mean) / σ. With a
pooling weight m for each token and the weights γ of the normalisation, the derivative of the sum is

    d Σₜ mₜ γ ẑₜ = γ ∘ Σₜ mₜ/σₜ (dzₜ − mean(dzₜ) − ẑₜ mean(ẑₜ ∘ dzₜ)),    dzₜ = W duₜ + drestₜ

The first two terms need W Σₜ mₜ/σₜ duₜ, one product with W for all tokens. The last needs ẑₜ · W duₜ = (Wᵀ ẑₜ) · duₜ,
where Wᵀ ẑₜ is the same for all directions. One product for each token and direction becomes one for each token and one
for each direction, in forward and in reverse mode.

Before the first layer, a scaled vector is added to each token. The products of linear layers with these vectors are
the same for all directions, too.

A model need not mark its first and last layers. Every derivative is lazy, and is computed as soon as an operation other
than these needs it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.forward_ad import make_dual, unpack_dual

from ..._utils.torch_internals import is_tracked

__all__ = [
    "LazyDerivative",
    "Product",
    "ScaledTokens",
    "across",
    "change_of",
    "moves",
    "scaled_tokens",
    "standardised",
    "step",
    "value_of",
    "weighted",
]


def moves(x: Tensor) -> bool:
    """Return whether a tensor has a derivative, in forward or in reverse mode."""
    return is_tracked(x) or unpack_dual(x).tangent is not None


def value_of(x: Tensor) -> Tensor:
    """Return a tensor without its derivative."""
    return x.detach() if is_tracked(x) else unpack_dual(x).primal


def change_of(x: Tensor) -> Tensor:
    """Return the derivative of a tensor that has one. In reverse mode it is a tensor of zeros that passes gradients."""
    if is_tracked(x):
        return x - x.detach()
    change = unpack_dual(x).tangent
    assert change is not None
    return change


def with_change(value: Tensor, change: Tensor) -> Tensor:
    """Return the tensor with this value and derivative."""
    return value + change if is_tracked(change) else make_dual(value, change)


@dataclass(frozen=True)
class ScaledTokens:
    """Tokens plus scaled vectors, one for each token. All scales (``scales``) are zero, but have derivatives."""

    value: Tensor
    """(…, S, H)"""
    vectors: Tensor
    """(…, S, H), the same for all directions."""
    scales: Tensor
    """(…, S, 1)"""

    def tensor(self) -> Tensor:
        return self.value + self.scales * self.vectors


@dataclass(frozen=True)
class Product:
    """z = W u + rest: the output of a linear layer plus the tensors added to it."""

    value: Tensor
    """(…, S, H) z; in reverse mode with its derivative, which costs nothing until it is used."""
    weight: Tensor
    """(H, F)"""
    u: Tensor
    """(…, S, F), which has a derivative."""
    multiply: Callable[[Tensor], Tensor]
    """Maps du to W du."""
    rest: Tensor | None = None
    """(…, S, H), which has a derivative; None if no such tensor was added."""

    def tensor(self) -> Tensor:
        """Return z with its derivative, at one product for each token."""
        return self.value if is_tracked(self.value) else with_change(self.value, self.change())

    def change(self) -> Tensor:
        """Return dz."""
        product = self.multiply(change_of(self.u))
        return product if self.rest is None else product + change_of(self.rest)

    def plus(self, term: Tensor) -> Product:
        """Add a tensor of the same shape."""
        value = self.value + (term if is_tracked(self.value) else value_of(term))
        rest = self.rest
        if moves(term):
            rest = term if rest is None else rest + term
        return replace(self, value=value, rest=rest)

    def rows(self, choose: Callable[[Tensor], Tensor]) -> Product:
        """Select some of the tokens by ``choose``, which takes (…, S, any)."""
        rest = None if self.rest is None else choose(self.rest)
        return replace(self, value=choose(value_of(self.value)), u=choose(self.u), rest=rest)


@dataclass(frozen=True)
class Normalised:
    """m (γ ẑ + β) for each token, where ẑ is z standardised to mean 0 and deviation 1."""

    value: Tensor
    """(…, S, H); in reverse mode with its derivative."""
    product: Product
    """z."""
    gamma: Tensor | None
    eps: float
    scales: Tensor | None = None
    """Pooling weights m (…, S, 1), constant; None for 1."""

    def tensor(self) -> Tensor:
        """Return the value with its derivative, γ m/σ · (dz without its components along 1 and ẑ)."""
        if is_tracked(self.value):
            return self.value
        unit, scale = self._unit_and_scale()
        return with_change(self.value, across(self.product.change(), unit, (-1,)) * weighted(scale, self.gamma))

    def rows(self, choose: Callable[[Tensor], Tensor]) -> Normalised:
        """Select some of the tokens by ``choose``, which takes (…, S, any)."""
        scales = None if self.scales is None else choose(self.scales)
        return replace(self, value=choose(value_of(self.value)), product=self.product.rows(choose), scales=scales)

    def times(self, scales: Tensor) -> Normalised:
        """Multiply each token by a constant weight (…, S, 1)."""
        return replace(self, value=self.value * scales, scales=scales if self.scales is None else self.scales * scales)

    def summed(self, *, keepdim: bool) -> Tensor:
        """Return the sum over the tokens."""
        (unit, scale), product = self._unit_and_scale(), self.product
        du = change_of(product.u)
        along = (du * (unit @ product.weight)).sum(-1, keepdim=True)
        change = product.multiply(scale.transpose(-2, -1) @ du)
        if product.rest is not None:
            drest = change_of(product.rest)
            along = along + (drest * unit).sum(-1, keepdim=True)
            change = change + scale.transpose(-2, -1) @ drest
        change = change - change.mean(-1, keepdim=True) - (scale * along).transpose(-2, -1) @ unit / unit.shape[-1]
        change = weighted(change if keepdim else change.squeeze(-2), self.gamma)
        return with_change(value_of(self.value).sum(-2, keepdim=keepdim), change)

    def _unit_and_scale(self) -> tuple[Tensor, Tensor]:
        """Return ẑ (…, S, H) and m/σ (…, S, 1)."""
        unit, inverse = standardised(value_of(self.product.value), (-1,), self.eps)
        return unit, inverse if self.scales is None else inverse * self.scales


class LazyDerivative(Tensor):
    """Represents a tensor with a lazy derivative. It has no data of its own that could be mistaken for its value."""

    value: Tensor
    waiting: ScaledTokens | Product | Normalised | None
    """None once the derivative was computed."""
    _tensor: Tensor

    @staticmethod
    def __new__(cls: type[LazyDerivative], waiting: ScaledTokens | Product | Normalised) -> LazyDerivative:
        value = waiting.value
        self = torch.empty(value.shape, dtype=value.dtype, device="meta").as_subclass(cls)
        self.value, self.waiting = value, waiting
        return self

    def tensor(self) -> Tensor:
        """Return the tensor with its derivative. It is the same object each time, which preserves in-place writes."""
        if self.waiting is not None:
            self._tensor, self.waiting = self.waiting.tensor(), None
        return self._tensor


def standardised(z: Tensor, axes: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor]:
    """Return (z − mean) / σ and 1/σ over axes, with σ² = variance + eps."""
    variance, mean = torch.var_mean(z, axes, correction=0, keepdim=True)
    inverse = (variance + eps).rsqrt()
    return (z - mean) * inverse, inverse


def across(derivative: Tensor, unit: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Remove from a derivative its components along 1 and along ẑ (``unit``) of a normalisation over these axes."""
    along = (derivative * unit).mean(axes, keepdim=True)
    return torch.addcmul(derivative - derivative.mean(axes, keepdim=True), unit, along, value=-1)


def weighted(scale: Tensor, weight: Tensor | None) -> Tensor:
    """Multiply the scale by the weights of a normalisation, if it has any."""
    return scale if weight is None else scale * weight


def scaled_tokens(hidden: Tensor, vectors: Tensor, scales: Tensor) -> Tensor:
    """Return hidden + scales ∘ vectors.

    Args:
        hidden, vectors: (…, S, H).
        scales: (…, S, 1), zero if they have a derivative.
    """
    return LazyDerivative(ScaledTokens(hidden, vectors, scales)) if moves(scales) else hidden + scales * vectors


def _first(one: Any, other: Any) -> tuple[LazyDerivative, Any]:
    """Return the `LazyDerivative` of two operands first, then the other."""
    return (one, other) if isinstance(one, LazyDerivative) else (other, one)


def _of_value(getter: Callable) -> Callable:
    """Apply a getter of shape, dtype or device to the value."""
    return lambda deferred, *args: getter(deferred.value, *args)


def _dropout(
    deferred: LazyDerivative,
    p: float = 0.5,  # noqa: ARG001
    training: bool = True,
    inplace: bool = False,  # noqa: ARG001
) -> Any:
    """Do nothing in evaluation mode."""
    return NotImplemented if training else deferred


def _plus(one: Any, other: Any) -> Any:
    """Add a tensor to a product of the same shape."""
    deferred, other = _first(one, other)
    if isinstance(other, LazyDerivative):
        other = other.tensor()
    product = deferred.waiting
    if not isinstance(product, Product) or not isinstance(other, Tensor) or other.shape != product.value.shape:
        return NotImplemented
    return LazyDerivative(product.plus(other))


def _layer_norm(
    deferred: LazyDerivative,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Any:
    """Normalise a product lazily. Vectors are transformed like a derivative."""
    z, waiting = deferred.value, deferred.waiting
    if not isinstance(waiting, (ScaledTokens, Product)) or len(normalized_shape) != 1 or z.dtype.itemsize == 2:
        return NotImplemented
    value = F.layer_norm(z, normalized_shape, weight, bias, eps)
    if isinstance(waiting, Product):
        return LazyDerivative(Normalised(value, waiting, weight, eps))
    unit, inverse = standardised(z, (-1,), eps)
    vectors = across(waiting.vectors, unit, (-1,)) * weighted(inverse, weight)
    return LazyDerivative(ScaledTokens(value, vectors, waiting.scales))


def _times(one: Any, other: Any) -> Any:
    """Multiply each normalised token by a constant."""
    deferred, other = _first(one, other)
    waiting = deferred.waiting
    if not isinstance(waiting, Normalised) or not isinstance(other, Tensor) or isinstance(other, LazyDerivative):
        return NotImplemented
    shape, whole = other.shape, waiting.value.shape
    if shape[-1:] != (1,) or torch.broadcast_shapes(shape, whole) != whole or moves(other):
        return NotImplemented
    return LazyDerivative(waiting.times(other))


def _sum(deferred: LazyDerivative, dim: Any = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Any:
    """Sum over the tokens, the operation that saves the products."""
    value, waiting = deferred.value, deferred.waiting
    if not isinstance(waiting, Normalised) or dim not in (-2, value.ndim - 2) or dtype not in (None, value.dtype):
        return NotImplemented
    return waiting.summed(keepdim=keepdim)


def _item(deferred: LazyDerivative, place: Any) -> Any:
    """Select one token of each text, x[:, i]."""
    waiting = deferred.waiting
    whole = isinstance(place, tuple) and len(place) == 2 and isinstance(place[0], slice) and place[0] == slice(None)
    if not isinstance(waiting, Normalised) or not whole or type(place[1]) is not int or deferred.value.ndim != 3:
        return NotImplemented
    return LazyDerivative(waiting.rows(lambda rows: rows[place]))


def _gather(deferred: LazyDerivative, dim: int, index: Tensor) -> Any:
    """Select one token of each text by an index that is the same for all features."""
    waiting = deferred.waiting
    alike = index.ndim == deferred.value.ndim == 3 and index.shape[-1] > 1 and index.stride(-1) == 0
    if not isinstance(waiting, Normalised) or dim not in (1, -2) or not alike:
        return NotImplemented
    places = index[..., :1]
    return LazyDerivative(waiting.rows(lambda rows: rows.gather(1, places.expand(-1, -1, rows.shape[-1]))))


METADATA = [
    *(getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim", "is_cuda", "requires_grad")),
    *(Tensor.size, Tensor.dim, Tensor.is_floating_point),
]
# Operations that keep a derivative lazy or need only a part of it. Each returns NotImplemented for other arguments.
STEPS: dict[Callable, Callable] = {
    **{getter: _of_value(getter) for getter in METADATA},
    F.dropout: _dropout,
    Tensor.add: _plus,
    torch.add: _plus,
    F.layer_norm: _layer_norm,
    Tensor.mul: _times,
    torch.mul: _times,
    Tensor.sum: _sum,
    torch.sum: _sum,
    Tensor.__getitem__: _item,
    Tensor.gather: _gather,
    torch.gather: _gather,
}
SIGNATURES = {func: inspect.signature(step) for func, step in STEPS.items()}


def step(func: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Apply a function to arguments with a `LazyDerivative`. Returns NotImplemented if it needs the derivative."""
    if func not in STEPS:
        return NotImplemented
    try:
        SIGNATURES[func].bind(*args, **kwargs)
    except TypeError:
        return NotImplemented
    return STEPS[func](*args, **kwargs)
