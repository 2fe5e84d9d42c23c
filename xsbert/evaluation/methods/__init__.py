"""Rival explanations of one similarity, behind one result type.

`METHODS` names them. Each is a function of a model, pairs of texts and `MethodOptions`, and gives an `Attribution` for
each pair, with units, words, pictures, pages and files. A method that is not complete says in its result's `left_out`
what its numbers do not hold. A new one is a function and a row.

>>> from xsbert.evaluation.methods import METHODS
>>> METHODS["bilrp"].complete
False
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from ..._utils.validation import check_keywords
from ...attribution.attribution import Attribution
from ...engine.pairing import pairs_of, two_texts
from ...models import XSTransformer
from .bilrp import bilrp, bilrp_obstacle
from .common import MethodOptions, Pairs, of_factors, of_values
from .hidden_states import cosines, layer_cosines, products, static_cosines
from .integrated_jacobians import gradient, integrated, integrated_with_main_effects, randomised
from .lexical import lexical, random
from .occlusion import occlusion
from .shapley import shapley

__all__ = ["METHODS", "Method", "MethodOptions", "explain_with", "of_factors", "of_values"]


@dataclass(frozen=True)
class Method:
    """A row of the table."""

    explain: Callable[[XSTransformer, Pairs, MethodOptions], list[Attribution]]
    what: str
    """For readers."""
    complete: bool = False
    """Whether the parts sum to the score of any model up to a stated error."""
    uses: tuple[str, ...] = ()
    """Which options change its numbers, beside units and similarity."""
    control: bool = False
    """Whether it is there to lose."""
    obstacle: Callable[[XSTransformer], str | None] = lambda model: None
    """Why it cannot explain a model, or None."""


METHODS: dict[str, Method] = {
    "integrated": Method(integrated, "integrated Jacobians, interactions", True, ("layer", "reference", "tolerance")),
    "integrated + main effects": Method(
        integrated_with_main_effects,
        "integrated Jacobians, main effects spread evenly over pairs",
        True,
        ("layer", "reference", "tolerance"),
    ),
    "gradient": Method(gradient, "one gradient in place of the integral", False, ("layer", "reference")),
    "bilrp": Method(bilrp, "BiLRP with rules for layer norms and attention", obstacle=bilrp_obstacle),
    "occlusion": Method(occlusion, "second-order occlusion", False, ("operator",)),
    "shapley": Method(shapley, "Shapley interactions by shapiq", False, ("operator", "budget", "seed")),
    "products": Method(products, "inner products of the last hidden states"),
    "cosines": Method(cosines, "cosines of the last hidden states"),
    "layer cosines": Method(layer_cosines, "cosines of the hidden states of a layer", False, ("layer",)),
    "static cosines": Method(static_cosines, "cosines of the word embeddings"),
    "lexical": Method(lexical, "the same word"),
    "randomised": Method(
        randomised, "integrated Jacobians of randomised layers", False, ("layer", "reference", "seed"), True
    ),
    "random": Method(random, "random numbers", False, ("seed",), True),
}


def explain_with(
    method: str, model: XSTransformer, pairs: Iterable[tuple[str, str]], **options: Any
) -> list[Attribution]:
    """Explain pairs of texts with a method of the table.

    Args:
        method: a name in `METHODS`.
        model: left as it is.
        pairs: pairs of texts, as for `XSTransformer.explain_pairs`.
        **options: see `MethodOptions`; ``similarity`` is the model's own where it is not given.

    Returns:
        one result for each pair, in order.

    Raises:
        ValueError: the method is not known, or an option is outside what is allowed.
        TypeError: an option is not known.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
    check_keywords(options, [each.name for each in fields(MethodOptions)])
    given = {"similarity": model.similarity_fn_name, **options}
    return METHODS[method].explain(model, checked_pairs(pairs), replace(MethodOptions(), **given))


def checked_pairs(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Pairs of texts.

    Raises:
        TypeError: an entry is no pair of strings.
        ValueError: there is none.
    """
    found = []
    for place, pair in enumerate(pairs_of(pairs)):
        texts = two_texts(pair, place)
        if not all(isinstance(text, str) for text in texts):
            raise TypeError(f"pairs[{place}] must be two strings, got {pair!r:.80}")
        found.append(texts)
    if not found:
        raise ValueError("pairs must hold at least one pair of texts, got none")
    return found
