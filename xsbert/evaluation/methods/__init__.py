"""Other explanation methods, with one result type.

`METHODS` lists them. Each method is a function of a model, pairs of texts and `MethodOptions`. It returns a
`PairResult` for each pair: an `Attribution`, or a `MethodAttribution`. If a method is not complete, the `left_out` of
its result describes what the numbers omit.
To add a method, add a function and a row of `METHODS`.

>>> from xsbert.evaluation.methods import METHODS
>>> METHODS["bilrp"].complete
False
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ..._utils.validation import check_keywords, check_one_of
from ...attribution.pair_result import PairResult
from ...engine.pairing import pairs_of, two_texts
from ...models.comparing import ComparingModel
from .bilrp import bilrp, bilrp_obstacle
from .common import MethodOptions, Pairs, no_hidden_states, of_factors, of_values
from .hidden_states import cosines, layer_cosines, products, static_cosines
from .integrated_jacobians import gradient, integrated, integrated_with_main_effects, randomised
from .lexical import lexical, random
from .occlusion import occlusion
from .shapley import shapley
from .sparse_terms import argmax_position, integrated_kinks, kinks_obstacle, same_term, terms_obstacle

__all__ = ["METHODS", "Method", "MethodOptions", "explain_with", "of_factors", "of_values"]


@dataclass(frozen=True)
class Method:
    """An entry of `METHODS`."""

    explain: Callable[[ComparingModel, Pairs, MethodOptions], Sequence[PairResult]]
    what: str
    """Description for readers."""
    complete: bool = False
    """Whether the parts sum to the score of any model, up to a reported error."""
    uses: tuple[str, ...] = ()
    """Options that change its numbers, besides units and similarity."""
    control: bool = False
    """Whether it is a control, expected to be unfaithful."""
    obstacle: Callable[[ComparingModel], str | None] = lambda model: None
    """Returns why the method cannot explain a model, or None."""


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
    "integrated kinks": Method(
        integrated_kinks,
        "integrated Jacobians of a sparse encoder with its kinks",
        True,
        ("layer", "reference", "tolerance"),
        obstacle=kinks_obstacle,
    ),
    "argmax position": Method(
        argmax_position, "the token at which each term is largest", obstacle=terms_obstacle, uses=("reference",)
    ),
    "same term": Method(same_term, "the terms that equal a token", obstacle=terms_obstacle),
    "occlusion": Method(occlusion, "second-order occlusion", False, ("operator",)),
    "shapley": Method(shapley, "Shapley interactions by shapiq", False, ("operator", "budget", "seed")),
    "products": Method(products, "inner products of the last hidden states", obstacle=no_hidden_states),
    "cosines": Method(cosines, "cosines of the last hidden states", obstacle=no_hidden_states),
    "layer cosines": Method(
        layer_cosines, "cosines of the hidden states of a layer", False, ("layer",), obstacle=no_hidden_states
    ),
    "static cosines": Method(static_cosines, "cosines of the word embeddings", obstacle=no_hidden_states),
    "lexical": Method(lexical, "the same word"),
    "randomised": Method(
        randomised,
        "integrated Jacobians of randomised layers",
        False,
        ("layer", "reference", "seed"),
        True,
        no_hidden_states,
    ),
    "random": Method(random, "random numbers", False, ("seed",), True),
}


def explain_with(
    method: str, model: ComparingModel, pairs: Iterable[tuple[str, str]], **options: Any
) -> list[PairResult]:
    """Explain pairs of texts with a method of `METHODS`.

    Args:
        method: a name in `METHODS`.
        model: not modified.
        pairs: pairs of texts, as for `XSTransformer.explain_pairs`.
        **options: see `MethodOptions`; ``similarity`` defaults to the model's own.

    Returns:
        One result for each pair, in order.

    Raises:
        ValueError: the method is unknown or cannot explain this model, or an option is outside its allowed values.
        TypeError: an option is unknown.
    """
    check_one_of(method, "method", METHODS)
    check_keywords(options, [each.name for each in fields(MethodOptions)])
    given = {"similarity": model.similarity_fn_name, **options}
    reason = METHODS[method].obstacle(model)
    if reason is not None:
        raise ValueError(f"method {method!r} cannot explain this model. {reason}")
    return [*METHODS[method].explain(model, checked_pairs(pairs), replace(MethodOptions(), **given))]


def checked_pairs(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Returns validated pairs of texts.

    Raises:
        TypeError: an entry is not a pair of strings.
        ValueError: there are no pairs.
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
