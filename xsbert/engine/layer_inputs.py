"""What enters a layer besides hidden states, in models that feed their layers from outside the stack.

EmbeddingGemma 2 and Gemma 3n give every layer an input of its own, made from the token embeddings. Gemma 3n also hands
keys and values from one layer to later ones, and its hidden states have several versions. f then depends on all of
these. They are put side by side, token by token, into one state (S, H′), so that the path from reference to text runs
through all of them at once, and the factor of a token sums what it gives through each.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["LayerArguments", "Pieces", "StateLayout"]

OWN_INPUT, SHARED = "per_layer_input", "shared_kv_states"


@dataclass(frozen=True)
class LayerArguments:
    """Where a layer takes its inputs."""

    own_input: int | None
    """Position of the layer's own input among its arguments; None if it has none."""
    shared: int | None
    """Position of keys and values of earlier layers."""

    @property
    def is_fed(self) -> bool:
        """Whether the layer has inputs besides hidden states."""
        return self.own_input is not None or self.shared is not None

    @classmethod
    def of(cls, layer: nn.Module) -> LayerArguments:
        """Read the signature of a layer."""
        names = [*inspect.signature(layer.forward).parameters]
        return cls(*(names.index(name) if name in names else None for name in (OWN_INPUT, SHARED)))

    def taken(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Pieces:
        """Return what enters the layer in a call, besides hidden states."""
        shared = _taken(args, kwargs, self.shared, SHARED) or {}
        return Pieces(_taken(args, kwargs, self.own_input, OWN_INPUT), {name: tuple(shared[name]) for name in shared})

    def given(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], pieces: Pieces
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of a call with other pieces."""
        if pieces.own_input is not None:
            args, kwargs = _given(args, kwargs, self.own_input, OWN_INPUT, pieces.own_input)
        shared = _taken(args, kwargs, self.shared, SHARED)
        for name, tensors in pieces.shared.items():
            shared[name] = tensors
        return args, kwargs


@dataclass(frozen=True)
class Pieces:
    """What enters one layer, besides hidden states."""

    own_input: Tensor | None
    """(B, S, D)"""
    shared: dict[str, tuple[Tensor, ...]]
    """Keys and values (B, heads, S, D), by the kind of layer that they are for."""


@dataclass(frozen=True)
class StateLayout:
    """How hidden states and pieces lie in one state (B, S, H′)."""

    shapes: tuple[tuple[int, ...], ...]
    """Of each tensor, its axes other than text and token."""
    axes: tuple[tuple[int, int], ...]
    """Of each tensor, its axes of texts and of tokens."""
    names: tuple[str, ...]
    """Names of shared tensors, in order."""
    n_shared: tuple[int, ...]
    """Number of tensors of each name."""
    has_own_input: tuple[bool, ...]
    """Of each layer from the explained one on."""

    @classmethod
    def pack(cls, hidden: Tensor, pieces: Sequence[Pieces]) -> tuple[Tensor, StateLayout]:
        """Put hidden states and the pieces of the layers from the explained one on side by side.

        Shared keys and values are those that enter the first of these layers; later ones are made on the way.
        """
        shared = pieces[0].shared
        own = [piece.own_input for piece in pieces]
        tensors = [hidden, *(each for group in shared.values() for each in group), *(x for x in own if x is not None)]
        # Several versions of hidden states come before the axis of texts.
        n_axes = hidden.ndim
        axes = [(n_axes - 3, n_axes - 2)]
        axes += [(0, 2)] * sum(map(len, shared.values())) + [(0, 1)] * (len(tensors) - len(axes) - _count(shared))
        moved = [each.movedim(where, (0, 1)) for each, where in zip(tensors, axes, strict=True)]
        layout = cls(
            tuple(tuple(each.shape[2:]) for each in moved),
            tuple(axes),
            tuple(shared),
            tuple(map(len, shared.values())),
            tuple(x is not None for x in own),
        )
        return torch.cat([each.flatten(2) for each in moved], dim=2), layout

    def unpack(self, state: Tensor) -> tuple[Tensor, list[Pieces]]:
        """Return hidden states and the pieces of each layer."""
        widths = [torch.Size(shape).numel() for shape in self.shapes]
        parts = state.split(widths, dim=2)
        tensors = iter(
            [
                part.unflatten(2, shape).movedim((0, 1), where)
                for part, shape, where in zip(parts, self.shapes, self.axes, strict=True)
            ]
        )
        hidden = next(tensors)
        shared = {
            name: tuple(next(tensors) for _ in range(count))
            for name, count in zip(self.names, self.n_shared, strict=True)
        }
        own = [next(tensors) if has else None for has in self.has_own_input]
        return hidden, [Pieces(each, {} if place else shared) for place, each in enumerate(own)]


def _count(shared: Mapping[str, tuple[Tensor, ...]]) -> int:
    return sum(map(len, shared.values()))


def _taken(args: tuple[Any, ...], kwargs: Mapping[str, Any], place: int | None, name: str) -> Any:
    if place is None:
        return None
    return args[place] if place < len(args) else kwargs.get(name)


def _given(
    args: tuple[Any, ...], kwargs: dict[str, Any], place: int | None, name: str, value: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if place is not None and place < len(args):
        return (*args[:place], value, *args[place + 1 :]), kwargs
    return args, {**kwargs, name: value}
