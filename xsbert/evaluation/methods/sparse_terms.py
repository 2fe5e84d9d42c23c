"""Rivals for sparse encoders: the position of each term's maximum, equal terms, and the integral of the kinks."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...factors.outputs import Terms
from ...factors.text_factors import TextFactors
from .common import MethodOptions, Pairs, of_factors, renamed, sides
from .result import MethodAttribution

__all__ = ["argmax_position", "integrated_kinks", "kinks_obstacle", "same_term", "terms_obstacle"]


def integrated_kinks(model: Any, pairs: Pairs, options: MethodOptions) -> list[MethodAttribution]:
    """Integrated Jacobians of the pooled embedding, with its maxima and activations (``kinks="integrate"``)."""
    results = model.explain_pairs(
        pairs,
        similarity=options.similarity,
        units=options.units,
        tolerance=options.tolerance,
        kinks="integrate",
        **options.integration,
    )
    return [renamed(result, "integrated kinks", "nothing: complete up to the integration error") for result in results]


def argmax_position(model: Any, pairs: Pairs, options: MethodOptions) -> list[MethodAttribution]:
    """The token at whose position a term is largest gets the whole term.

    At the last layer, the logits of a position depend on its own state alone, so that all else is zero there.
    """
    results = model.explain_pairs(
        pairs,
        similarity=options.similarity,
        units=options.units,
        tolerance=options.tolerance,
        **{**options.integration, "layer": model.n_layers},
    )
    return [renamed(result, "argmax position", "what other tokens did to that position") for result in results]


def same_term(model: Any, pairs: Pairs, options: MethodOptions) -> list:
    """A token gets the terms that equal it, in equal parts where it occurs several times."""
    layouts = options.layouts(model, sides(pairs))
    factors = {text: _of_equal_tokens(model, layout) for text, layout in layouts.items()}
    return of_factors(model, pairs, options, "same term", factors, "the terms that are not tokens of the text", 0)


def _of_equal_tokens(model: Any, layout: TextFactors) -> np.ndarray:
    """Return (S, E) factors."""
    assert isinstance(layout.outputs, Terms)
    ids = np.array(model.tokenizer.convert_tokens_to_ids(list(layout.tokens)))
    equal = (ids[:, None] == layout.outputs.ids[None, :]).astype(float)
    return layout.embedding * equal / np.maximum(equal.sum(0), 1)


def terms_obstacle(model: Any) -> str | None:
    """Return why a model has no terms that could equal tokens, or None."""
    return None if getattr(model, "has_terms", False) else "it needs a model whose dimensions are terms, such as SPLADE"


def kinks_obstacle(model: Any) -> str | None:
    """Return why a model has no kinks to integrate, or None."""
    return terms_obstacle(model)
