"""What the engine asks of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import nn

from .reference import Reference

__all__ = ["Explainable"]


class Explainable(Protocol):
    """A sentence transformer that says what it is made of, such as `xsbert.models.XSTransformer`."""

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
        """L, the number of encoder layers."""
        ...

    @property
    def shifted(self) -> bool:
        """Whether embeddings are shifted by that of the reference."""
        ...

    @property
    def shift_added(self) -> bool:
        """Whether the shift was added to a model that was neither trained nor saved with it."""
        ...

    @property
    def normalised(self) -> bool:
        """Whether embeddings are divided by their norms at the end."""
        ...

    @property
    def reference(self) -> Reference:
        """What texts are compared with where nothing else is asked for."""
        ...

    @property
    def label(self) -> str:
        """A name for readers."""
        ...

    def unshifted_modules(self) -> list[nn.Module]:
        """The modules that make f: the transformer first, no shift, and no trailing normalisation."""
        ...

    def preprocess(self, inputs: list[Any], prompt: str | None = None, **kwargs: Any) -> Mapping[str, Any]:
        """Tokenize."""
        ...

    def __getitem__(self, index: int, /) -> Any: ...

    def __iter__(self) -> Iterator[nn.Module]: ...
