"""Estimates of the time that `xsbert.faithfulness` takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...models.comparing import ComparingModel
from ...models.cost import spoken, timed
from ..methods import checked_pairs
from ..methods.common import MethodOptions, sides
from ..methods.occlusion import single_edits
from ..methods.shapley import coalitions_needed
from ..perturbation import OPERATORS, Perturber
from .request import DEFAULT_OPERATORS, checked_names, chosen_methods, grid, variants_of

__all__ = ["CostRow", "FaithfulnessCost", "cost_of_faithfulness"]


@dataclass(frozen=True)
class CostRow:
    """Cost of one part of the work."""

    name: str
    """``"effects"``, ``"curves"``, or a method with its layer and reference."""
    n_passes: int
    """Forward passes of one text: through the whole model, or for methods that use derivatives, from the layer on."""
    seconds: float


@dataclass(frozen=True)
class FaithfulnessCost:
    """Estimated cost of a call of `xsbert.faithfulness` on this machine, as it is now. Prints as a table."""

    rows: tuple[CostRow, ...]

    @property
    def n_passes(self) -> int:
        return sum(row.n_passes for row in self.rows)

    @property
    def seconds(self) -> float:
        return sum(row.seconds for row in self.rows)

    def __getitem__(self, name: str) -> CostRow:
        """Returns a row by its name. Raises KeyError if there is none."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"no row {name!r}; there are {', '.join(repr(row.name) for row in self.rows)}")

    def __str__(self) -> str:
        rows = [*self.rows, CostRow("in all", self.n_passes, self.seconds)]
        width = max(len(row.name) for row in rows)
        lines = [f"{row.name:{width}}  {row.n_passes:>12,}  {spoken(row.seconds):>12}" for row in rows]
        return "\n".join([f"{'':{width}}  {'passes':>12}  {'time':>12}", *lines])


def cost_of_faithfulness(
    model: ComparingModel,
    pairs: Iterable[tuple[str, str]],
    *,
    methods: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    references: Sequence[str | None] | None = None,
    units: str = "words",
    operators: Sequence[str] = DEFAULT_OPERATORS,
    similarity: str | None = None,
    recommend: bool = False,
    tolerance: float = 0.05,
    budget: int = 1024,
) -> FaithfulnessCost:
    """Estimates passes and seconds of `faithfulness` before the work begins.

    The passes for the effects are exact. Those for deletion curves and Shapley interactions are upper bounds. Other
    methods are timed on one or two of the texts (`xsbert.XSTransformer.estimate_cost`). BiLRP counts as two gradients
    at layer 0, and methods without derivatives as one pass for each text.

    Args:
        model, pairs, methods, layers, references, units, operators, similarity, recommend, tolerance, budget: as for
            `faithfulness`.

    Returns:
        One row for each part of the work, and their sum.

    Raises:
        As `faithfulness`.

    >>> cost = cost_of_faithfulness(model, [("A cold day.", "Cold days")], methods=["lexical", "gradient"])
    >>> [row.name for row in cost.rows], cost["effects"].n_passes
    (['effects', 'curves', 'lexical', 'gradient, layer 4'], 20)
    """
    checked = checked_pairs(pairs)
    operators = checked_names(operators, "operators", OPERATORS)
    chosen, _ = chosen_methods(model, methods)
    options = MethodOptions(
        units=units,
        similarity=model.similarity_fn_name if similarity is None else similarity,
        tolerance=tolerance,
        budget=budget,
    )
    variants = [*variants_of(chosen, *grid(model, layers, references, recommend), options)]
    perturber = Perturber(model, units, options.similarity, show_progress_bar=False)
    texts = list(dict.fromkeys(sides(checked)))
    perturber.prepare(texts)
    edits = [edit for text in texts for operator in operators for edit in single_edits(perturber, text, operator)]
    n_effects = perturber.cost(edits)
    sample = edits[: len(edits) // len(texts) + 1]
    n_sample = perturber.cost(sample)
    each = timed(lambda: perturber.embeddings(sample))[0] / n_sample
    n_content = {text: len(perturber.units_of(text).content) for text in texts}
    n_curves = len(variants) * sum(max(n_content[text] - 1, 0) for pair in checked for text in pair)
    rows = [CostRow("effects", n_effects, n_effects * each), CostRow("curves", n_curves, n_curves * each)]
    known: dict[Any, tuple[int, float]] = {}
    for name, own in variants:
        n_whole = len(texts)
        if name == "shapley":
            n_whole = sum(coalitions_needed(perturber, pair, options.budget) for pair in checked)
        cost = _of_derivatives(model, texts, name, own, known) or (n_whole, n_whole * each)
        rows.append(CostRow(_label(name, own, len(variants) > len(chosen)), *cost))
    return FaithfulnessCost(tuple(rows))


def _of_derivatives(
    model: ComparingModel, texts: list[str], name: str, options: MethodOptions, known: dict[Any, tuple[int, float]]
) -> tuple[int, float] | None:
    """Returns passes and seconds of a method that uses derivatives; None for other methods."""
    how: dict[str, Any] = {"layer": options.layer, "reference": options.reference}
    times = 1
    if name in ("integrated", "integrated + main effects", "randomised"):
        how["tolerance"] = options.tolerance
    elif name == "gradient":
        how |= {"n_steps": 1, "rule": "riemann-right"}
    elif name == "bilrp":
        how, times = {"layer": 0, "n_steps": 1}, 2
    else:
        return None
    key = tuple(how.items())
    if name == "integrated + main effects" and key in known:
        return 0, 0.0  # the same integrals
    if key not in known:
        cost = model.estimate_cost(texts, units=options.units, **how)
        known[key] = cost.n_passes, cost.seconds
    n_passes, seconds = known[key]
    return times * n_passes, times * seconds


def _label(name: str, options: MethodOptions, several: bool) -> str:
    if name not in ("integrated", "integrated + main effects", "randomised", "gradient"):
        return name
    reference = f", {options.reference}" if several and options.reference is not None else ""
    return f"{name}, layer {options.layer}{reference}"
