"""Alignments of the units of two texts, and a double-centred view of the attribution matrix.

A cell is what two units add to the score. Two articles add little; a rare word and an unrelated word may add more.
Links are a choice of cells and not an attribution. `Alignments.share` reports the part of the interactions that the
links cover.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse import csr_matrix, eye, kron

from .._utils.validation import checked_real
from ..text.units import TEXT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


from ..view.protocols import PairView

__all__ = ["ALIGNMENT_METHODS", "Alignments", "ContrastView", "Link", "alignments", "content_cells", "contrast_view"]


@dataclass(frozen=True)
class Link:
    """Two aligned units."""

    a: int
    """Position among the units of text a."""
    b: int
    value: float
    """The cell of the matrix: what the two units add to the score."""
    weight: float = 1.0
    """The weight of the link, at most 1. Only transport gives weights below 1."""


@dataclass(frozen=True)
class Alignments:
    """Links between the units of two texts. Prints as a list."""

    method: str
    tokens_a: tuple[str, ...]
    tokens_b: tuple[str, ...]
    links: tuple[Link, ...]
    """Largest value first."""
    unaligned_a: tuple[int, ...]
    """Units of text without a link."""
    unaligned_b: tuple[int, ...]
    share: float
    """The sum of the linked cells over the sum of all interactions. Cells have signs: it can be above 1 or below 0."""

    def __str__(self) -> str:
        rows = [f"  {self.tokens_a[link.a]} · {self.tokens_b[link.b]}  {link.value:+.4f}" for link in self.links]
        alone = [
            f"  {name} alone: " + ", ".join(tokens[place] for place in places)
            for name, tokens, places in (
                ("a", self.tokens_a, self.unaligned_a),
                ("b", self.tokens_b, self.unaligned_b),
            )
            if places
        ]
        title = f"{len(self.links)} links ({self.method}); their cells are {self.share:.0%} of the interactions"
        return "\n".join([title, *rows, *alone])


@dataclass(frozen=True)
class ContrastView:
    """A double-centred attribution matrix, for reading. It is not an attribution.

    Each cell is the deviation from the means of its row and its column. The cells sum to zero for any score. A
    negative cell can be a positive contribution.
    """

    matrix: np.ndarray = field(repr=False)
    """(N, M) double-centred cells of the units of text."""
    tokens_a: tuple[str, ...]
    tokens_b: tuple[str, ...]

    def plot(self, **options: Any) -> tuple[Figure, Axes]:
        """Draw the view, titled as no attribution. Takes the options of `heatmap`, such as ``values`` and ``limit``."""
        from ..view.plot.contrast import contrast

        return contrast(self.matrix, self.tokens_a, self.tokens_b, **options)


def contrast_view(result: PairView) -> ContrastView:
    """Double-centre the matrix over the units of text: subtract row and column means, add the overall mean.

    >>> view = contrast_view(out.words())
    >>> view.matrix.shape, bool(abs(view.matrix.sum(0)).max() < 1e-9)
    ((5, 7), True)
    """
    cells, rows, columns = content_cells(result)
    centred = cells - cells.mean(0) - cells.mean(1, keepdims=True) + cells.mean()
    tokens = (tuple(side.tokens[at] for at in places) for side, places in ((result.a, rows), (result.b, columns)))
    return ContrastView(centred, *tokens)


def alignments(
    result: PairView, method: str = "mutual", *, threshold: float = 0.0, contrast: bool = False
) -> Alignments:
    """Align the units of two texts.

    Args:
        result: An explanation by any method and in any units. Special tokens and prompts are left out.
        method: ``"mutual"`` takes cells that are the largest of their row and of their column. ``"threshold"`` takes
            all cells above the threshold. ``"assignment"`` links each unit at most once and maximizes the sum; a pair
            that lowers the sum is no link. ``"transport"`` gives all units of a text the same weight and links the
            cells of the transport plan with the largest sum.
        threshold: Links have cells above it, in units of the score. Transport may also use other cells; these are
            dropped from the links.
        contrast: Choose by `contrast_view` instead of the cells. Values and threshold still refer to the cells.

    Raises:
        ValueError: The method is unknown, or the threshold is not finite.

    >>> found = alignments(out.words(), "assignment")
    >>> [(found.tokens_a[link.a], found.tokens_b[link.b]) for link in found.links[:2]]
    [('coffee', 'coffee'), ('bad', 'good')]
    """
    if method not in ALIGNMENT_METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, ALIGNMENT_METHODS))}, got {method!r}")
    threshold = checked_real(threshold, "threshold")
    cells, rows, columns = content_cells(result)
    judged = contrast_view(result).matrix if contrast else cells
    allowed = cells > threshold
    weights = np.where(allowed, ALIGNMENT_METHODS[method](judged, allowed), 0)
    found = [
        Link(rows[s], columns[t], float(cells[s, t]), float(weights[s, t]))
        for s, t in zip(*np.nonzero(weights), strict=True)
    ]
    total = cells.sum()
    return Alignments(
        method,
        result.a.tokens,
        result.b.tokens,
        tuple(sorted(found, key=lambda link: -link.value)),
        tuple(each for each in rows if each not in {link.a for link in found}),
        tuple(each for each in columns if each not in {link.b for link in found}),
        float(sum(link.value for link in found) / total) if total else float("nan"),
    )


def content_cells(result: PairView) -> tuple[np.ndarray, list[int], list[int]]:
    """Return the (N, M) cells of the units of text, and the positions of these units.

    Raises:
        ValueError: One of the texts has no such unit.
    """
    rows, columns = ([at for at, role in enumerate(side.roles) if role == TEXT] for side in (result.a, result.b))
    if not rows or not columns:
        raise ValueError("both texts must have units beside special tokens")
    return result.matrix[np.ix_(rows, columns)], rows, columns


def mutual_best(cells: np.ndarray, _allowed: np.ndarray) -> np.ndarray:
    """Return (N, M) ones for the cells that are the largest of their row and column, ties included."""
    return ((cells == cells.max(0)) & (cells == cells.max(1, keepdims=True))).astype(float)


def all_cells(cells: np.ndarray, _allowed: np.ndarray) -> np.ndarray:
    """Return (N, M) ones: only the threshold selects."""
    return np.ones_like(cells)


def assignment(cells: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Return (N, M) ones, at most one in each row and column, that maximize the sum of allowed cells."""
    gains = np.where(allowed, np.maximum(cells, 0), 0)
    chosen = np.zeros_like(gains)
    chosen[linear_sum_assignment(gains, maximize=True)] = 1.0
    return np.where(gains > 0, chosen, 0)


def transport(cells: np.ndarray, _allowed: np.ndarray) -> np.ndarray:
    """Return the (N, M) transport plan from 1/N per row to 1/M per column with the largest sum, times min(N, M)."""
    n, m = cells.shape
    sums = csr_matrix(np.ones((1, m))), csr_matrix(np.ones((1, n)))
    constraints = np.vstack([kron(eye(n), sums[0]).toarray(), kron(sums[1], eye(m)).toarray()])
    masses = np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)])
    plan = linprog(-cells.ravel(), A_eq=constraints, b_eq=masses, method="highs").x.reshape(n, m)
    return np.where(plan > 1e-9, plan * min(n, m), 0)


# Functions from cells, and a mask of allowed links, to the weights of links.
ALIGNMENT_METHODS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "mutual": mutual_best,
    "threshold": all_cells,
    "assignment": assignment,
    "transport": transport,
}
