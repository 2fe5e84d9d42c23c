"""Shapley interactions between words of two texts.

The players are the n units of a and the m units of b. The value of a coalition is the similarity of the texts reduced
to its units. It is a product of embeddings, v(S ∪ T) = e_a(S)·e_b(T), and the weights of the Shapley interaction index
depend only on the sizes. So the index of a unit s of a and a unit t of b is

    I(s, t) = Σ_k Σ_l w(k + l) D_s[k] · D_t[l],   D_s[k] = Σ_{S ∌ s, |S| = k} (e_a(S ∪ s) − e_a(S)),

with w(u) = u! (n + m − u − 2)! / (n + m − 1)!. It is exact with 2ⁿ + 2ᵐ embeddings instead of 2ⁿ⁺ᵐ values. Above a
budget, shapiq samples coalitions of both texts. Both compute the index k-SII of order two (Bordt and von Luxburg,
2023). Its numbers for single units and for pairs sum to v(all) − v(none).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from itertools import combinations
from math import factorial
from types import ModuleType

import numpy as np

from ...models.comparing import ComparingModel
from ..perturbation import EditedText, Perturber
from .common import MethodOptions, Pairs, of_values, sides

__all__ = ["Interactions", "coalitions_needed", "exact_interactions", "needs_sampling", "shapley"]

SHAPIQ = "Shapley interactions of texts this long need shapiq: pip install 'xsbert[shapley]'"


@dataclass(frozen=True)
class Interactions:
    """k-SII of order two, for n and m units."""

    pairs: np.ndarray
    """(n, m)"""
    singles_a: np.ndarray
    """(n,)"""
    singles_b: np.ndarray
    """(m,)"""
    empty: float
    """Similarity with all units edited."""


def shapley(model: ComparingModel, pairs: Pairs, options: MethodOptions) -> list:
    """Shapley interactions of order two between units of a and units of b; see the module.

    The operator edits the units of text outside a coalition. Interactions are exact if the 2ⁿ coalitions of either
    text are within ``budget``; otherwise shapiq estimates them from ``budget`` coalitions of both texts. Embeddings of
    coalitions are not cached.

    Raises:
        ImportError: sampling is needed, and shapiq is not installed.
    """
    perturber = options.perturber_for(model)
    perturber.prepare(sides(pairs))
    if any(needs_sampling(perturber, pair, options.budget) for pair in pairs):
        _shapiq()
    results = []
    for text_a, text_b in pairs:
        a, b = perturber.units_of(text_a), perturber.units_of(text_b)
        if needs_sampling(perturber, (text_a, text_b), options.budget):
            found = _sampled(perturber, text_a, text_b, options)
            left_out = f"interactions within one text, and others by {options.budget} sampled coalitions a pair"
        else:
            values = [_all_coalitions(perturber, text, options.operator) for text in (text_a, text_b)]
            found, left_out = exact_interactions(*values), "interactions within one text"
        matrix = np.zeros((len(a.groups), len(b.groups)))
        matrix[np.ix_(a.content, b.content)] = found.pairs
        single_a, single_b = np.zeros(len(a.groups)), np.zeros(len(b.groups))
        single_a[a.content], single_b[b.content] = found.singles_a, found.singles_b
        parts = {"main_effects_a": single_a, "main_effects_b": single_b, "baseline": found.empty}
        results.append(of_values(a.layout, b.layout, options, "shapley", matrix, left_out, **parts))
    return results


def needs_sampling(perturber: Perturber, pair: tuple[str, str], budget: int) -> bool:
    """Whether a text of the pair has more coalitions than the budget."""
    return any(2 ** len(perturber.units_of(text).content) > budget for text in pair)


def coalitions_needed(perturber: Perturber, pair: tuple[str, str], budget: int) -> int:
    """Returns the largest number of forward passes for a pair."""
    if needs_sampling(perturber, pair, budget):
        return 2 * budget
    return sum(2 ** len(perturber.units_of(text).content) for text in pair)


def exact_interactions(values_a: np.ndarray, values_b: np.ndarray) -> Interactions:
    """Computes k-SII of order two for the game e_a(S)·e_b(T).

    Args:
        values_a: (2ⁿ, E) embeddings of all coalitions; bit s of the index is set if unit s is in the coalition.
        values_b: (2ᵐ, E) embeddings of all coalitions of b.

    >>> a, b = np.array([[0.0], [2.0]]), np.array([[1.0], [4.0]])
    >>> exact_interactions(a, b).pairs
    array([[6.]])
    """
    n, m = (len(values).bit_length() - 1 for values in (values_a, values_b))
    gains_a, gains_b = _gains(values_a), _gains(values_b)
    pairs = np.einsum("ske,kl,tle->st", gains_a, _weights(n + m, 2, n, m), gains_b, optimize=True)
    singles = []
    for gains, values, others, size, other_size in (
        (gains_a, values_a, values_b, n, m),
        (gains_b, values_b, values_a, m, n),
    ):
        sums = _sums_by_size(others)
        alone = np.einsum("ske,kl,le->s", gains, _weights(n + m, 1, size, other_size + 1), sums, optimize=True)
        weights = _weights(n + m, 2, size - 1, other_size + 1)
        within = np.zeros((size, size))
        for one, other in combinations(range(size), 2):
            joint = _sums_by_size(_gained(_gained(values, other), one))
            within[one, other] = within[other, one] = np.einsum("ke,kl,le->", joint, weights, sums, optimize=True)
        singles.append((alone, within.sum(1)))
    (alone_a, within_a), (alone_b, within_b) = singles
    return Interactions(
        pairs,
        alone_a - (within_a + pairs.sum(1)) / 2,
        alone_b - (within_b + pairs.sum(0)) / 2,
        float(values_a[0] @ values_b[0]),
    )


def _weights(n_players: int, order: int, n_sizes: int, m_sizes: int) -> np.ndarray:
    """Returns the (K, L) weights w(k + l) of the Shapley interaction index."""
    most = n_players - order
    of_size = np.array([factorial(u) * factorial(most - u) / factorial(most + 1) for u in range(most + 1)])
    return of_size[np.add.outer(np.arange(n_sizes), np.arange(m_sizes))]


def _sizes(n_coalitions: int) -> np.ndarray:
    return np.array([place.bit_count() for place in range(n_coalitions)])


def _sums_by_size(values: np.ndarray) -> np.ndarray:
    """Returns (n + 1, E) sums over the coalitions of 0 … n units."""
    sizes = _sizes(len(values))
    return np.stack([values[sizes == size].sum(0) for size in range(sizes[-1] + 1)])


def _gained(values: np.ndarray, unit: int) -> np.ndarray:
    """Returns (2ⁿ⁻¹, E) differences that a unit adds to each coalition of the others, in their order."""
    halves = values.reshape(-1, 2, 2**unit, values.shape[-1])
    return (halves[:, 1] - halves[:, 0]).reshape(-1, values.shape[-1])


def _gains(values: np.ndarray) -> np.ndarray:
    """Returns (n, n, E) differences that each unit adds, summed over coalitions of 0 … n − 1 others."""
    n = len(values).bit_length() - 1
    return np.stack([_sums_by_size(_gained(values, each)) for each in range(n)])


def _all_coalitions(perturber: Perturber, text: str, operator: str) -> np.ndarray:
    """Returns (2ⁿ, E) embeddings of a text reduced to each coalition."""
    content = perturber.units_of(text).content
    edits = [
        EditedText(text, frozenset(unit for bit, unit in enumerate(content) if not place >> bit & 1), operator)
        for place in range(2 ** len(content))
    ]
    return perturber.embeddings(edits, "coalitions", keep=False)


def _shapiq() -> ModuleType:
    try:
        import shapiq
    except ImportError as error:
        raise ImportError(SHAPIQ) from error
    return shapiq


def _sampled(perturber: Perturber, text_a: str, text_b: str, options: MethodOptions) -> Interactions:
    """Returns an estimate by shapiq."""
    n, m = (len(perturber.units_of(text).content) for text in (text_a, text_b))
    game = _Game(perturber, text_a, text_b, options.operator)
    seed = zlib.crc32(f"{options.seed}\0{text_a}\0{text_b}".encode()) % 2**31
    approximator = _shapiq().approximator.KernelSHAPIQ(n + m, max_order=2, index="k-SII", random_state=seed)
    found = approximator.approximate(options.budget, game)
    return Interactions(
        np.array([[found[(s, n + t)] for t in range(m)] for s in range(n)]),
        np.array([found[(s,)] for s in range(n)]),
        np.array([found[(n + t,)] for t in range(m)]),
        float(game(np.zeros((1, n + m)))[0]),
    )


class _Game:
    """The similarity of two texts reduced to coalitions of units."""

    def __init__(self, perturber: Perturber, text_a: str, text_b: str, operator: str) -> None:
        self.perturber, self.texts, self.operator = perturber, (text_a, text_b), operator
        self.content = [perturber.units_of(text).content for text in self.texts]

    def __call__(self, coalitions: np.ndarray) -> np.ndarray:
        """Returns (K,) similarities of (K, n + m) coalitions."""
        coalitions = np.atleast_2d(coalitions).astype(bool)
        n = len(self.content[0])
        a, b = (
            self.perturber.embeddings([self._edit(side, row) for row in rows], "coalitions", keep=False)
            for side, rows in enumerate((coalitions[:, :n], coalitions[:, n:]))
        )
        return (a * b).sum(1)

    def _edit(self, side: int, present: np.ndarray) -> EditedText:
        gone = frozenset(unit for unit, kept in zip(self.content[side], present, strict=True) if not kept)
        return EditedText(self.texts[side], gone, self.operator)
