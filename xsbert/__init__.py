"""Explain why an embedding model finds two texts similar."""

from typing import TYPE_CHECKING, Any

from .attribution import Attribution
from .evaluation import ReferenceChoice, ShiftCost, choose_reference, shift_cost
from .factor_files import load_factors, save_factors
from .models import XSBert, XSMPNet, XSRoberta, XSTransformer
from .version import __version__

if TYPE_CHECKING:
    from .corpus import aggregate, explain_corpus, read_corpus

__all__ = [
    "Attribution",
    "ReferenceChoice",
    "ShiftCost",
    "XSBert",
    "XSMPNet",
    "XSRoberta",
    "XSTransformer",
    "__version__",
    "aggregate",
    "choose_reference",
    "explain_corpus",
    "load_factors",
    "read_corpus",
    "save_factors",
    "shift_cost",
]


def __getattr__(name: str) -> Any:
    # pyarrow is an extra, and takes its time to be imported.
    if name in ("aggregate", "explain_corpus", "read_corpus"):
        from . import corpus

        return getattr(corpus, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
