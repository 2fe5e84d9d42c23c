"""The interface that the engine requires of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import nn

from .heads import Head
from .reference import AnyReference

__all__ = ["Explainable"]


class Explainable(Protocol):
    """A sentence transformer that can be explained, such as `xsbert.models.XSTransformer`."""

    @property
    def truncate_dim(self) -> int | None: ...

    @property
    def prompts(self) -> Mapping[str, str | None]: ...

    @property
    def default_prompt_name(self) -> str | None: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype | None: ...

    @property
    def n_layers(self) -> int:
        """Number of encoder layers, L."""
        ...

    @property
    def shifted(self) -> bool:
        """Whether the embedding of the reference is subtracted from embeddings."""
        ...

    @property
    def shift_added(self) -> bool:
        """Whether the shift was added to a model that was neither trained nor saved with it."""
        ...

    @property
    def normalised(self) -> bool:
        """Whether the last module divides embeddings by their norms."""
        ...

    @property
    def own_outputs(self) -> bool:
        """Whether each text has numbers of its own, such as the terms that it activates; see `TextFactors.outputs`."""
        ...

    @property
    def reference(self) -> AnyReference:
        """The default reference of texts, or references."""
        ...

    @property
    def label(self) -> str:
        """Display name."""
        ...

    def unshifted_modules(self) -> list[nn.Module]:
        """Return the modules of f, the transformer first, without shift and trailing normalisation."""
        ...

    def head(self, modules: Sequence[nn.Module]) -> Head:
        """Return what follows the encoder layers, for a private copy of `unshifted_modules`."""
        ...

    def preprocess(self, inputs: list[Any], prompt: str | None = None, **kwargs: Any) -> Mapping[str, Any]:
        """Tokenize texts."""
        ...

    def __getitem__(self, index: int, /) -> Any: ...

    def __iter__(self) -> Iterator[nn.Module]: ...
