"""Explain why an embedding model finds two texts similar."""

import warnings
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ._utils.version import __version__

if TYPE_CHECKING:
    from ._utils.citation import cite
    from .attribution.attribution import Attribution
    from .attribution.contrasts import contrast, contrast_models
    from .corpus import aggregate, explain_corpus, read_corpus
    from .evaluation.faithfulness.cost import cost_of_faithfulness
    from .evaluation.faithfulness.measure import faithfulness
    from .evaluation.faithfulness.table import Faithfulness
    from .evaluation.methods.result import MethodAttribution
    from .evaluation.reference_tables import ReferenceChoice, ShiftCost
    from .evaluation.references import choose_reference, shift_cost
    from .evaluation.result_files import load_attributions, save_attributions
    from .factors.files import load_factors, save_factors
    from .models import XSBert, XSMPNet, XSMultiVectorEncoder, XSRoberta, XSSparseEncoder, XSTransformer, wrap
    from .ranking.ranking import Ranking
    from .view.schemas import json_schema

__all__ = [
    "Attribution",
    "Faithfulness",
    "MethodAttribution",
    "Ranking",
    "ReferenceChoice",
    "ShiftCost",
    "XSBert",
    "XSMPNet",
    "XSMultiVectorEncoder",
    "XSRoberta",
    "XSSparseEncoder",
    "XSTransformer",
    "__version__",
    "aggregate",
    "choose_reference",
    "cite",
    "contrast",
    "contrast_models",
    "cost_of_faithfulness",
    "explain_corpus",
    "faithfulness",
    "json_schema",
    "load_attributions",
    "load_factors",
    "read_corpus",
    "save_attributions",
    "save_factors",
    "shift_cost",
    "wrap",
]

# The package of each public name. Names are imported on first access, because importing torch takes seconds.
_MODULES = {
    "Attribution": "attribution",
    "Faithfulness": "evaluation",
    "MethodAttribution": "evaluation.methods.result",
    "Ranking": "ranking",
    "ReferenceChoice": "evaluation",
    "ShiftCost": "evaluation",
    "XSBert": "models",
    "XSMPNet": "models",
    "XSMultiVectorEncoder": "models",
    "XSRoberta": "models",
    "XSSparseEncoder": "models",
    "XSTransformer": "models",
    "aggregate": "corpus",
    "choose_reference": "evaluation",
    "cite": "_utils.citation",
    "cost_of_faithfulness": "evaluation",
    "faithfulness": "evaluation",
    "contrast": "attribution",
    "contrast_models": "attribution",
    "explain_corpus": "corpus",
    "load_attributions": "evaluation.result_files",
    "json_schema": "view.schemas",
    "load_factors": "factors",
    "read_corpus": "corpus",
    "save_attributions": "evaluation.result_files",
    "save_factors": "factors",
    "shift_cost": "evaluation",
    "wrap": "models",
}

# Modules that the documentation of version 0.1.0 named, for `from xsbert import retrieval` and xsbert.methods.METHODS.
_EARLIER_MODULES = {
    "contrasts": "attribution.contrasts",
    "controls": "evaluation.control_models",
    "fidelity": "evaluation.faithfulness",
    "gold": "evaluation.gold_alignments",
    "linguistics": "evaluation.linguistics",
    "methods": "evaluation.methods",
    "perturbation": "evaluation.perturbation",
    "quadrature": "integrated_jacobian.rules",
    "retrieval": "ranking.retrievers",
    "shares": "factors.contributions",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value
    if name in _EARLIER_MODULES:
        warnings.warn(f"xsbert.{name} is now xsbert.{_EARLIER_MODULES[name]}", DeprecationWarning, stacklevel=2)
        return import_module(f"{__name__}.{_EARLIER_MODULES[name]}")
    # Subpackages are attributes as well: `xsbert.utils` works after `import xsbert`.
    if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
