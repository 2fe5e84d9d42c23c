"""The end of a model, behind its encoder layers: what it computes from them, and which of its choices are frozen.

A dense model pools the last hidden states into one embedding. Other encoders choose on the way: a sparse encoder takes
the largest logit of each term, over all tokens. Such choices are made once, at the text that is explained, and frozen:
f is then smooth, and its values at the text are those of the model. f of these models depends on the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from ..factors.outputs import Outputs

__all__ = ["Frozen", "Head", "PooledHead"]


@dataclass(frozen=True)
class Frozen:
    """The choices of a head at one text, and what they make of the text and its reference."""

    f_x: Tensor
    """(E,) f at the text: the numbers of the model's embedding that are not zero by choice."""
    f_r: Tensor
    """(E,) f at the reference, by the choices of the text."""
    outputs: Outputs
    """What the E numbers stand for."""
    choices: Any
    """What `Head.read` needs."""


class Head(Protocol):
    """What follows the encoder layers of a private copy of a model."""

    freezes: bool
    """Whether f depends on choices at the text. Texts are then computed one at a time."""
    behind_base_model: bool
    """Whether the transformer itself has a head on its base model, so that the last hidden states enter that head."""

    def record(self, features: dict[str, Any]) -> Tensor:
        """Return what the model computes for B texts, from the output of its transformer.

        (B, E) embeddings where nothing is frozen. Otherwise (B, …), what `freeze` chooses from.
        """
        ...

    def freeze(self, at_text: Tensor, at_reference: Tensor, integrate_kinks: bool) -> Frozen:
        """Make the choices of one text.

        Args:
            at_text, at_reference: what `record` returned for the text and for its reference, without the batch axis.
            integrate_kinks: leave as few choices as possible, and integrate the function with its kinks.
        """
        ...

    def reading(self, choices: Any) -> AbstractContextManager[None]:
        """Within this context, the transformer's own head computes only what ``choices`` need."""
        ...

    def read(self, features: dict[str, Any], choices: Any) -> Tensor:
        """Return f, (1, E), from the output of the transformer, by the choices of a text."""
        ...


class PooledHead:
    """Pooling and dense layers, which choose nothing: f is the same for all texts of one length."""

    freezes = False
    behind_base_model = False

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._modules = modules

    def record(self, features: dict[str, Any]) -> Tensor:
        for module in self._modules:
            features = module(features)
        return features["sentence_embedding"]

    def freeze(self, at_text: Tensor, at_reference: Tensor, integrate_kinks: bool) -> Frozen:
        raise NotImplementedError

    def reading(self, choices: Any) -> AbstractContextManager[None]:
        return nullcontext()

    def read(self, features: dict[str, Any], choices: Any) -> Tensor:
        return self.record(features)
