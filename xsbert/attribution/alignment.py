"""From a matrix to choices: which units go together. And a view that shows what stands out.

Alignment is not what a score is made of. A cell tells what two units add to the score, so that an article beside an
article counts little and a rare word beside an unrelated one may count more. Links are choices among cells, they are
no attributions: what they leave out of the interactions is kept beside them, in `Alignments.share`.
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
    """Two units that were put together."""

    a: int
    """Position among the units of text a."""
    b: int
    value: float
    """Their cell of the matrix: what they add to the score."""
    weight: float = 1.0
    """How much of either unit the link takes, at most 1; below 1 for transport alone."""


@dataclass(frozen=True)
class Alignments:
    """Links between units of two texts. Prints as a list."""

    method: str
    tokens_a: tuple[str, ...]
    tokens_b: tuple[str, ...]
    links: tuple[Link, ...]
    """Largest value first."""
    unaligned_a: tuple[int, ...]
    """Units of text in no link."""
    unaligned_b: tuple[int, ...]
    share: float
    """What the linked cells add up to, of all interactions; it can be above 1 or below 0, since cells have signs."""

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
    """A matrix without the general level of its rows and columns, for reading. It is no attribution.

    What remains of a cell is how much it stands out from the mean of its row and of its column. Its sum is zero,
    whatever the score; a negative cell here can be a positive contribution.
    """

    matrix: np.ndarray = field(repr=False)
    """(N, M) double-centred cells of the units of text."""
    tokens_a: tuple[str, ...]
    tokens_b: tuple[str, ...]

    def plot(self, **options: Any) -> tuple[Figure, Axes]:
        """Draw it, with a title that says that it is no attribution; options of `heatmap`: ``values``, ``limit`` …"""
        from ..view.plot.contrast import contrast

        return contrast(self.matrix, self.tokens_a, self.tokens_b, **options)


def contrast_view(result: PairView) -> ContrastView:
    """Subtract from each cell the means of its row and column, and add the mean of all; units of text alone.

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
    """Choose which units of the texts go together.

    Args:
        result: of any method and units; special tokens and prompts are left out.
        method: ``"mutual"``: cells that are the largest of their row and of their column. ``"threshold"``: all cells
            above the threshold. ``"assignment"``: each unit at most once, with the largest sum; a pair that would take
            from the sum is no link. ``"transport"``: units spread over each other, all of them with the same weight, at
            the largest sum; links are what is moved.
        threshold: links have cells above it; a value in units of the score. Transport alone moves weight through other
            cells, too, and leaves that out.
        contrast: choose by `contrast_view` in place of the cells. Values and the threshold stay those of the cells.

    Raises:
        ValueError: the method is not known, or the threshold is not finite.

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
    """(N, M) cells of the units of text, and the positions of these.

    Raises:
        ValueError: one of the texts has none.
    """
    rows, columns = ([at for at, role in enumerate(side.roles) if role == TEXT] for side in (result.a, result.b))
    if not rows or not columns:
        raise ValueError("both texts must have units beside special tokens")
    return result.matrix[np.ix_(rows, columns)], rows, columns


def mutual_best(cells: np.ndarray, _allowed: np.ndarray) -> np.ndarray:
    """(N, M) one for the largest of its row and column, of equal ones all."""
    return ((cells == cells.max(0)) & (cells == cells.max(1, keepdims=True))).astype(float)


def all_cells(cells: np.ndarray, _allowed: np.ndarray) -> np.ndarray:
    """(N, M) ones: the threshold alone decides."""
    return np.ones_like(cells)


def assignment(cells: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """(N, M) ones where each row and each column has at most one, with the largest sum of allowed cells."""
    gains = np.where(allowed, np.maximum(cells, 0), 0)
    chosen = np.zeros_like(gains)
    chosen[linear_sum_assignment(gains, maximize=True)] = 1.0
    return np.where(gains > 0, chosen, 0)


def transport(cells: np.ndarray, _allowed: np.ndarray) -> np.ndarray:
    """(N, M) the plan that moves 1/N from each row to 1/M in each column at the largest sum, times min(N, M)."""
    n, m = cells.shape
    sums = csr_matrix(np.ones((1, m))), csr_matrix(np.ones((1, n)))
    constraints = np.vstack([kron(eye(n), sums[0]).toarray(), kron(sums[1], eye(m)).toarray()])
    masses = np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)])
    plan = linprog(-cells.ravel(), A_eq=constraints, b_eq=masses, method="highs").x.reshape(n, m)
    return np.where(plan > 1e-9, plan * min(n, m), 0)


# Of cells, and where they may be linked: the weights of links.
ALIGNMENT_METHODS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "mutual": mutual_best,
    "threshold": all_cells,
    "assignment": assignment,
    "transport": transport,
}
