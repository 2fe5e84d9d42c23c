"""`wrap`: the explaining class of any loaded model."""

from __future__ import annotations

from typing import Any, overload

from sentence_transformers import CrossEncoder, SentenceTransformer, SparseEncoder
from torch import nn

from .comparing import ComparingModel
from .sparse import XSSparseEncoder
from .transformer import XSTransformer

__all__ = ["KINDS", "wrap"]

KINDS: dict[type[nn.Module], Any] = {SentenceTransformer: XSTransformer, SparseEncoder: XSSparseEncoder}
"""The explaining class of each class of sentence-transformers."""


@overload
def wrap(model: SentenceTransformer, **options: Any) -> XSTransformer: ...
@overload
def wrap(model: SparseEncoder, **options: Any) -> XSSparseEncoder: ...
@overload
def wrap(model: Any, **options: Any) -> ComparingModel: ...
def wrap(model: Any, **options: Any) -> Any:
    """Wrap any loaded model of sentence-transformers in its explaining class, without loading it again.

    The weights are shared, and ``model`` stays unchanged.

    Args:
        model: a `SentenceTransformer` or a `SparseEncoder`.
        **options: arguments of the explaining class other than the path, such as ``reference``.

    Returns:
        an `XSTransformer` or an `XSSparseEncoder`.

    Raises:
        TypeError: the model is of another kind; the message gives the reason. Or an option is unknown.
        ValueError: the model cannot be explained; the message gives the reason.

    >>> from sentence_transformers import SentenceTransformer
    >>> type(xsbert.wrap(SentenceTransformer(modules=[*model]))).__name__
    'XSTransformer'
    """
    for upstream, explaining in KINDS.items():
        if isinstance(model, upstream):
            return explaining.wrap(model, **options)
    if isinstance(model, CrossEncoder):
        raise TypeError(
            "a CrossEncoder reads both texts at once and has no output of each, so that its score does not split into "
            "pairs of tokens: xsbert explains the model that retrieves, such as a SentenceTransformer or SparseEncoder"
        )
    names = " or ".join(upstream.__name__ for upstream in KINDS)
    hint = ". Load it by that class first" if isinstance(model, str) else ""
    raise TypeError(f"model must be a loaded {names} of sentence-transformers, got {type(model).__name__}{hint}")
