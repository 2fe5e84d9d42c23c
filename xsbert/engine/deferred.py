"""Derivatives of linear layers that wait for what comes next, which may need less of them.

Behind the last feed-forward layer of a transformer come a residual connection, a layer normalisation and a sum over
the tokens. With z = W u + rest, its mean and deviation σ for each token, ẑ = (z − mean) / σ, a share m of each token
and weights γ, the derivative of the sum in one direction is

    d Σₜ mₜ γ ẑₜ = γ ∘ Σₜ mₜ/σₜ (dzₜ − mean(dzₜ) − ẑₜ mean(ẑₜ ∘ dzₜ)),    dzₜ = W duₜ + drestₜ

Its first two terms need W Σₜ mₜ/σₜ duₜ, one product with W for all tokens. Its last needs ẑₜ · W duₜ = (Wᵀ ẑₜ) · duₜ,
in which Wᵀ ẑₜ is the same for all directions. So a product for each token and direction becomes one for each token and
one for each direction.

A model need not say which layer is its last: each linear layer's derivative waits, and is computed as soon as anything
but these steps asks for it.
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

__all__ = ["Deferred", "Product", "Rows", "across", "moved", "standardised", "step"]


@dataclass(frozen=True)
class Rows:
    """What moves each token by a share of one vector of its own, with the derivative dshares ∘ vectors."""

    value: Tensor
    """(…, S, H)"""
    vectors: Tensor
    """(…, S, H), the same for all directions."""
    dshares: Tensor
    """(…, S, 1)"""

    def derivative(self) -> Tensor:
        return self.dshares * self.vectors


@dataclass(frozen=True)
class Product:
    """z = W u + rest of a linear layer and what was added to its output, with dz = W du + drest."""

    z: Tensor
    """(…, S, H)"""
    weight: Tensor
    """(H, F)"""
    du: Tensor
    """(…, S, F)"""
    multiply: Callable[[Tensor], Tensor]
    """du to W du."""
    drest: Tensor | None = None
    """(…, S, H), None for zero."""

    @property
    def value(self) -> Tensor:
        return self.z

    def derivative(self) -> Tensor:
        """dz, with one product for each token."""
        dz = self.multiply(self.du)
        return dz if self.drest is None else dz + self.drest

    def plus(self, term: Tensor) -> Product:
        """With a dual number, or a constant, added."""
        value, change = unpack_dual(term)
        if change is not None and self.drest is not None:
            change = change + self.drest
        return replace(self, z=self.z + value, drest=self.drest if change is None else change)


@dataclass(frozen=True)
class Normalised:
    """m γ ẑ + b, token by token, where ẑ is z without its mean and of deviation 1."""

    value: Tensor
    """(…, S, H)"""
    product: Product
    inverse: Tensor
    """(…, S, 1) 1/σ."""
    unit: Tensor
    """(…, S, H) ẑ."""
    gamma: Tensor | None
    shares: Tensor | None = None
    """m, (…, S, 1)."""

    def derivative(self) -> Tensor:
        """γ m/σ · (dz without its components along 1 and ẑ)."""
        scale = self._scale if self.gamma is None else self._scale * self.gamma
        return across(self.product.derivative(), self.unit, (-1,)) * scale

    def rows(self, choose: Callable[[Tensor], Tensor]) -> Normalised:
        """Some of the tokens only, as ``choose`` takes them from (…, S, any)."""
        product = self.product
        drest = None if product.drest is None else choose(product.drest)
        return replace(
            self,
            value=choose(self.value),
            product=replace(product, z=choose(product.z), du=choose(product.du), drest=drest),
            inverse=choose(self.inverse),
            unit=choose(self.unit),
            shares=None if self.shares is None else choose(self.shares),
        )

    def times(self, shares: Tensor) -> Normalised:
        """With each token multiplied by its share (…, S, 1), a constant."""
        return replace(self, value=self.value * shares, shares=shares if self.shares is None else self.shares * shares)

    def summed(self, *, keepdim: bool) -> Tensor:
        """The sum over the tokens, a dual number."""
        scale, drest = self._scale, self.product.drest
        width = self.unit.shape[-1]
        along = (self.product.du * (self.unit @ self.product.weight)).sum(-1, keepdim=True)
        change = self.product.multiply(scale.transpose(-2, -1) @ self.product.du)
        if drest is not None:
            along = along + (drest * self.unit).sum(-1, keepdim=True)
            change = change + scale.transpose(-2, -1) @ drest
        change = change - change.mean(-1, keepdim=True) - (scale * along).transpose(-2, -1) @ self.unit / width
        if self.gamma is not None:
            change = change * self.gamma
        return make_dual(self.value.sum(-2, keepdim=keepdim), change if keepdim else change.squeeze(-2))

    @property
    def _scale(self) -> Tensor:
        return self.inverse if self.shares is None else self.inverse * self.shares


class Deferred(Tensor):
    """Stands for a dual number whose derivative waits. It has no numbers of its own that could be taken for it."""

    value: Tensor
    waiting: Rows | Product | Normalised | None
    """None once the derivative was asked for."""
    _dual: Tensor

    @staticmethod
    def __new__(cls: type[Deferred], waiting: Rows | Product | Normalised) -> Deferred:
        value = waiting.value
        self = torch.empty(value.shape, dtype=value.dtype, device="meta").as_subclass(cls)
        self.value, self.waiting = value, waiting
        return self

    def dual(self) -> Tensor:
        """With the derivative: the same tensor each time, lest what is written to it in place be lost."""
        if self.waiting is not None:
            self._dual, self.waiting = make_dual(self.value, self.waiting.derivative()), None
        return self._dual


def standardised(z: Tensor, axes: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor]:
    """(z − mean) / σ and 1/σ over axes, with σ² the variance + eps."""
    variance, mean = torch.var_mean(z, axes, correction=0, keepdim=True)
    inverse = (variance + eps).rsqrt()
    return (z - mean) * inverse, inverse


def across(derivative: Tensor, unit: Tensor, axes: tuple[int, ...]) -> Tensor:
    """A derivative without its components along 1 and along the unit ẑ of a normalisation over these axes."""
    along = (derivative * unit).mean(axes, keepdim=True)
    return torch.addcmul(derivative - derivative.mean(axes, keepdim=True), unit, along, value=-1)


def moved(hidden: Tensor, vectors: Tensor, shares: Tensor) -> Tensor:
    """Hidden states + shares ∘ vectors, to be differentiated by the shares (…, S, 1)."""
    share, dshares = unpack_dual(shares)
    value = hidden + share * vectors
    return value if dshares is None else Deferred(Rows(value, vectors, dshares))


def _first(one: Any, other: Any) -> tuple[Deferred, Any]:
    return (one, other) if isinstance(one, Deferred) else (other, one)


def _of_value(getter: Callable) -> Callable:
    return lambda deferred, *args: getter(deferred.value, *args)


def _dropout(deferred: Deferred, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    return NotImplemented if training else deferred


def _plus(one: Any, other: Any) -> Any:
    """A product plus a tensor of its shape."""
    deferred, other = _first(one, other)
    if isinstance(other, Deferred):
        other = other.dual()
    product = deferred.waiting
    if not isinstance(product, Product) or not isinstance(other, Tensor) or other.shape != product.z.shape:
        return NotImplemented
    return Deferred(product.plus(other))


def _layer_norm(
    deferred: Deferred,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Any:
    z, waiting = deferred.value, deferred.waiting
    if not isinstance(waiting, (Rows, Product)) or len(normalized_shape) != 1 or z.dtype.itemsize == 2:
        return NotImplemented
    unit, inverse = standardised(z, (-1,), eps)
    value = F.layer_norm(z, normalized_shape, weight, bias, eps)
    if isinstance(waiting, Product):
        return Deferred(Normalised(value, waiting, inverse, unit, weight))
    vectors = across(waiting.vectors, unit, (-1,)) * (inverse if weight is None else inverse * weight)
    return Deferred(Rows(value, vectors, waiting.dshares))


def _times(one: Any, other: Any) -> Any:
    """What was normalised times a constant for each token."""
    deferred, other = _first(one, other)
    waiting = deferred.waiting
    if not isinstance(waiting, Normalised) or not isinstance(other, Tensor) or isinstance(other, Deferred):
        return NotImplemented
    shape, whole = other.shape, waiting.value.shape
    if shape[-1:] != (1,) or torch.broadcast_shapes(shape, whole) != whole or unpack_dual(other).tangent is not None:
        return NotImplemented
    return Deferred(waiting.times(other))


def _sum(deferred: Deferred, dim: Any = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Any:
    value, waiting = deferred.value, deferred.waiting
    if not isinstance(waiting, Normalised) or dim not in (-2, value.ndim - 2) or dtype not in (None, value.dtype):
        return NotImplemented
    return waiting.summed(keepdim=keepdim)


def _item(deferred: Deferred, place: Any) -> Any:
    """One token of each text, x[:, i]."""
    waiting = deferred.waiting
    whole = isinstance(place, tuple) and len(place) == 2 and isinstance(place[0], slice) and place[0] == slice(None)
    if not isinstance(waiting, Normalised) or not whole or type(place[1]) is not int or deferred.value.ndim != 3:
        return NotImplemented
    return Deferred(waiting.rows(lambda rows: rows[place]))


def _gather(deferred: Deferred, dim: int, index: Tensor) -> Any:
    """One token of each text, chosen by an index that is the same for all features."""
    waiting = deferred.waiting
    alike = index.ndim == deferred.value.ndim == 3 and index.shape[-1] > 1 and index.stride(-1) == 0
    if not isinstance(waiting, Normalised) or dim not in (1, -2) or not alike:
        return NotImplemented
    places = index[..., :1]
    return Deferred(waiting.rows(lambda rows: rows.gather(1, places.expand(-1, -1, rows.shape[-1]))))


METADATA = [
    *(getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim", "is_cuda", "requires_grad")),
    *(Tensor.size, Tensor.dim, Tensor.is_floating_point),
]
# What leaves a derivative waiting, or needs less of it than all. Each says NotImplemented to what it is not made for.
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
    """What a function makes of arguments with `Deferred` among them; NotImplemented where it needs their numbers."""
    if func not in STEPS:
        return NotImplemented
    try:
        SIGNATURES[func].bind(*args, **kwargs)
    except TypeError:
        return NotImplemented
    return STEPS[func](*args, **kwargs)
