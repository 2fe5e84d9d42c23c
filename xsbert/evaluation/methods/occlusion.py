"""Second-order occlusion: effects of deleting pairs of words."""

from __future__ import annotations

import numpy as np

from ...models.comparing import ComparingModel
from ..perturbation import EditedText, Perturber
from .common import MethodOptions, Pairs, of_values, sides

__all__ = ["occlusion", "second_order", "single_edits"]


def single_edits(perturber: Perturber, text: str, operator: str) -> list[EditedText]:
    """Returns the whole text, then the text without each of its units of text."""
    units = [frozenset(), *(frozenset([unit]) for unit in perturber.units_of(text).content)]
    return [EditedText(text, each, operator) for each in units]


def differences(perturber: Perturber, text: str, operator: str) -> np.ndarray:
    """Returns (N, E) changes of the embedding by the removal of each unit: whole text minus edited text."""
    whole, *without = perturber.embeddings(single_edits(perturber, text, operator))
    return whole - np.stack(without)


def second_order(perturber: Perturber, text_a: str, text_b: str, operator: str) -> np.ndarray:
    """Returns (N, M) effects c(a,b) − c(a∖s,b) − c(a,b∖t) + c(a∖s,b∖t) for the units of text.

    A cosine is a product of embeddings with norm one, so the effect is the product of both `differences`.
    """
    return differences(perturber, text_a, operator) @ differences(perturber, text_b, operator).T


def occlusion(model: ComparingModel, pairs: Pairs, options: MethodOptions) -> list:
    """Second-order occlusion: the effect of removing both units beyond the effects of removing each.

    Costs one forward pass for each unit of each distinct text.
    """
    perturber = options.perturber_for(model)
    perturber.prepare(sides(pairs))
    edits = [edit for text in sides(pairs) for edit in single_edits(perturber, text, options.operator)]
    perturber.embeddings(edits, "occlusion")
    left_out = f"not complete: pairs alone, each with all other words in place; operator {options.operator}"
    results = []
    for text_a, text_b in pairs:
        a, b = perturber.units_of(text_a), perturber.units_of(text_b)
        values = np.zeros((len(a.groups), len(b.groups)))
        values[np.ix_(a.content, b.content)] = second_order(perturber, text_a, text_b, options.operator)
        results.append(of_values(a.layout, b.layout, options, "occlusion", values, left_out))
    return results
