"""Second-order occlusion, and Shapley interactions of pairs of words."""

from __future__ import annotations

import zlib

import numpy as np

from ..models import XSTransformer
from ..perturbation import EditedText, Perturber
from .common import MethodOptions, Pairs, of_values, sides

__all__ = ["occlusion", "second_order", "shapley", "single_edits"]

SHAPIQ = "Shapley interactions need shapiq: pip install 'xsbert[shapley]'"


def single_edits(perturber: Perturber, text: str, operator: str) -> list[EditedText]:
    """The whole text, then the text without each of its units of text."""
    units = [frozenset(), *(frozenset([unit]) for unit in perturber.units_of(text).content)]
    return [EditedText(text, each, operator) for each in units]


def differences(perturber: Perturber, text: str, operator: str) -> np.ndarray:
    """(N, E) what the embedding loses with each unit of text."""
    whole, *without = perturber.embeddings(single_edits(perturber, text, operator))
    return whole - np.stack(without)


def second_order(perturber: Perturber, text_a: str, text_b: str, operator: str) -> np.ndarray:
    """(N, M) c(a,b) − c(a∖s,b) − c(a,b∖t) + c(a∖s,b∖t) for the units of text.

    A cosine is a product of embeddings of length one, so this is the product of what either embedding loses.
    """
    return differences(perturber, text_a, operator) @ differences(perturber, text_b, operator).T


def occlusion(model: XSTransformer, pairs: Pairs, options: MethodOptions) -> list:
    """Second-order occlusion: what taking out both units changes beyond what taking out each of them does.

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
        results.append(of_values(model, a.layout, b.layout, options, "occlusion", values, left_out))
    return results


def shapley(model: XSTransformer, pairs: Pairs, options: MethodOptions) -> list:
    """Shapley interaction indices of order two between units of a and units of b, estimated by shapiq.

    The players are the units of text of both; those outside a coalition are edited by the operator. Each pair costs
    at most ``budget`` values, and as many forward passes for either text.

    Raises:
        ImportError: shapiq is not installed.
    """
    try:
        import shapiq
    except ImportError as error:
        raise ImportError(SHAPIQ) from error
    perturber = options.perturber_for(model)
    left_out = f"interactions of higher order and within one text; {options.budget} sampled coalitions a pair"
    results = []
    for text_a, text_b in pairs:
        a, b = perturber.units_of(text_a), perturber.units_of(text_b)
        n, m = len(a.content), len(b.content)
        game = _Game(perturber, text_a, text_b, options.operator)
        seed = zlib.crc32(f"{options.seed}\0{text_a}\0{text_b}".encode()) % 2**31
        approximator = shapiq.approximator.KernelSHAPIQ(n + m, max_order=2, index="k-SII", random_state=seed)
        found = approximator.approximate(min(options.budget, 2 ** min(n + m, 20)), game)
        values = np.zeros((len(a.groups), len(b.groups)))
        cells = [[found[(s, n + t)] for t in range(m)] for s in range(n)]
        values[np.ix_(a.content, b.content)] = cells
        single_a, single_b = np.zeros(len(a.groups)), np.zeros(len(b.groups))
        single_a[a.content] = [found[(s,)] for s in range(n)]
        single_b[b.content] = [found[(n + t,)] for t in range(m)]
        parts = {"effects_a": single_a, "effects_b": single_b, "offset": float(game(np.zeros((1, n + m)))[0])}
        results.append(of_values(model, a.layout, b.layout, options, "shapley", values, left_out, **parts))
    return results


class _Game:
    """The similarity of what coalitions of units leave of two texts."""

    def __init__(self, perturber: Perturber, text_a: str, text_b: str, operator: str) -> None:
        self.perturber, self.texts, self.operator = perturber, (text_a, text_b), operator
        self.content = [perturber.units_of(text).content for text in self.texts]

    def __call__(self, coalitions: np.ndarray) -> np.ndarray:
        """(K,) similarities of (K, n + m) coalitions."""
        coalitions = np.atleast_2d(coalitions).astype(bool)
        n = len(self.content[0])
        a, b = (
            self.perturber.embeddings([self._edit(side, row) for row in rows], "coalitions")
            for side, rows in enumerate((coalitions[:, :n], coalitions[:, n:]))
        )
        return (a * b).sum(1)

    def _edit(self, side: int, present: np.ndarray) -> EditedText:
        gone = frozenset(unit for unit, kept in zip(self.content[side], present, strict=True) if not kept)
        return EditedText(self.texts[side], gone, self.operator)
