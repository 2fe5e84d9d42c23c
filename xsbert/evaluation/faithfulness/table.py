"""The table that `xsbert.faithfulness` returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._utils.optional_imports import pandas
from ..._utils.printed_tables import TableMixin, html_table, text_table
from ..._utils.validation import check_one_of
from ...view.charts import estimates
from .estimate import Estimate
from .rows import FaithfulnessRow, find_row

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["METRICS", "Estimate", "Faithfulness", "FaithfulnessRow"]

METRICS = {
    "pearson": "Pearson correlation of the pairs with second-order effects, mean over pairs of texts",
    "spearman": "the same by ranks",
    "words": "Pearson correlation of sums of rows and columns with first-order effects",
    "words + main effects": "the same with the method's main effects added",
    "top-1": "share of pairs of texts whose strongest pair of units is that of the strongest effect",
    "curve": "similarity while the strongest units are removed one by one, of that of the pair; lower is better",
}
MEAN = "mean"
# The only operator that inserts no token. The others favour the reference whose token they insert.
UNBIASED = "remove"
# Smallest number of pairs of texts for a verdict. Bootstrap intervals of fewer pairs are too narrow.
FEWEST_PAIRS = 10


@dataclass(frozen=True)
class Faithfulness(TableMixin):
    """Faithfulness of methods to one model. Prints as a table with a summary; see `METRICS` for the columns.

    >>> found = xsbert.faithfulness(model, [("A cold day.", "Cold days")], methods=["products", "random"], layers=[-2])
    >>> found.best.method, found.estimate(0, "pearson").n
    ('products', 1)
    """

    model: str
    similarity: str
    units: str
    operators: tuple[str, ...]
    n_pairs: int
    rows: tuple[FaithfulnessRow, ...]
    agreement: dict[tuple[str, str], dict[str, np.ndarray]] = field(repr=False)
    """(n,) correlations between the second-order effects of two operators: ``"pearson"`` and ``"spearman"``."""
    scores: np.ndarray = field(repr=False)
    """(n,) similarities of the pairs."""
    n_passes: int
    """Number of forward passes of edited texts."""
    n_bootstrap: int = 1000
    seed: int = 0
    notes: tuple[str, ...] = ()
    """Remarks, for example on methods that cannot explain the model."""

    def estimate(self, row: FaithfulnessRow | int | str, metric: str = "pearson", operator: str = MEAN) -> Estimate:
        """Returns the estimate of a metric for a row.

        Args:
            row: a row, its index, or its name: the label that the table prints, such as ``"integrated, layer 4,
                [UNK]"``, or an unambiguous part of it, such as ``"bilrp"``, ``"integrated, layer 4"`` or
                ``"integrated, unk"``.
            metric: a name in `METRICS`.
            operator: an operator, or ``"mean"`` over all operators of the table. The curve has only ``"remove"``.

        Raises:
            ValueError: the metric or the operator is not in the table, or no row or several rows have the name.
            IndexError: the index is out of range.
            TypeError: ``row`` is none of these.

        >>> found = table.estimate(0, "pearson", "remove")
        >>> found.low <= found.value <= found.high, found.n
        (True, 2)
        """
        return self._estimate([self._numbers(row, metric, operator)], metric)

    def difference(
        self,
        one: FaithfulnessRow | int | str,
        other: FaithfulnessRow | int | str,
        metric: str = "pearson",
        operator: str = MEAN,
    ) -> Estimate:
        """Returns the metric of one row minus that of another, on the same pairs of texts.

        Args:
            one, other: rows, their indices or their names, as for `estimate`.
            metric, operator: as for `estimate`.

        Raises:
            As `estimate`.

        >>> table.difference("products", "random") == table.difference(0, 1)
        True
        """
        return self._estimate([self._numbers(row, metric, operator) for row in (one, other)], metric)

    def operator_agreement(self, ranks: bool = False) -> dict[tuple[str, str], Estimate]:
        """Returns the correlations between the second-order effects of the operators.

        >>> list(table.operator_agreement())
        [('remove', 'unk')]
        """
        kind = "spearman" if ranks else "pearson"
        return {names: self._estimate([found[kind]], "pearson") for names, found in self.agreement.items()}

    def ceiling(self, ranks: bool = False) -> Estimate:
        """Returns an upper bound of the mean correlation over operators.

        For k standardised vectors of effects with correlations r, their sum has the highest mean correlation with
        them, √(Σ r) / k. With ranks, no ranking exceeds this value.

        >>> table.ceiling().value >= table.estimate(0).value
        True
        """
        kind = "spearman" if ranks else "pearson"
        total = len(self.operators) + 2 * sum(found[kind] for found in self.agreement.values())
        most = np.sqrt(np.maximum(total, 0)) / len(self.operators)
        return self._estimate([np.broadcast_to(most, (self.n_pairs,))], "pearson")

    @property
    def best(self) -> FaithfulnessRow:
        """The row with the highest Pearson correlation, mean over operators, without controls and occlusion."""
        return max(self._ranked(), key=self._value)

    @property
    def recommended(self) -> tuple[int, str | tuple[str, ...] | None]:
        """Layer and reference, or references, for explaining the model as it is: those of ``recommended_row``."""
        row = self.recommended_row
        assert row.layer is not None  # integrated Jacobians have one
        return row.layer, row.reference

    @property
    def recommended_row(self) -> FaithfulnessRow:
        """The most faithful row of integrated Jacobians.

        If the table has several references, the operator ``"remove"`` decides, because others favour the reference
        whose token they insert. Otherwise, or without that operator, it is the mean over operators.
        `xsbert.choose_reference` compares references for this and for making an exact model.

        Raises:
            ValueError: the table has no such row.
        """
        row = self._best_integrated()
        if row is None:
            raise ValueError("the table has no row of method 'integrated'")
        return row

    @property
    def sentence(self) -> str:
        """Summary of the table."""
        best = self.best
        n_defined = self.estimate(best).n
        if n_defined < FEWEST_PAIRS:
            return (
                f"{n_defined} of {self.n_pairs} pairs tell something here (of one unit, or of effects that are all "
                f"alike, none does): too few for a verdict, which takes {FEWEST_PAIRS} at least."
            )
        lines = [f"For this model {best.label} follows deletions best ({self.estimate(best)}, mean over operators)."]
        top = self._best_integrated()
        family = [row for row in self.rows if row.method == "integrated" and row is not top]
        if top is not None and family:
            decides = self._deciding_operator
            ties = [row.label for row in family if self.difference(top, row, operator=decides).is_zero]
            by = "" if decides == MEAN else f" by {decides!r}, which inserts no token of a reference"
            lines.append(
                f"Of integrated Jacobians take {top.label.removeprefix('integrated, ')}{by}; "
                + (f"it does not differ from {'; '.join(ties)}." if ties else "all others are less faithful.")
            )
        if len(self.operators) > 1:
            winners = {
                operator: max(self._ranked(), key=lambda row: self._value(row, operator)).label
                for operator in self.operators
            }
            if len(set(winners.values())) > 1:
                each = "; ".join(f"{operator}: {label}" for operator, label in winners.items())
                lines.append(f"The operators do not agree on the best ({each}).")
        if self._has_several_references and self.operators != (UNBIASED,):
            lines.append("An operator that puts in a reference's own token can favour it.")
        return " ".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Returns all estimates for JSON: value, lower and upper bound, number of pairs; None where undefined.

        >>> [row["method"] for row in table.to_dict()["rows"]]
        ['products', 'random']
        """
        return {
            "model": self.model,
            "similarity": self.similarity,
            "units": self.units,
            "n_pairs": self.n_pairs,
            "n_passes": self.n_passes,
            "n_bootstrap": self.n_bootstrap,
            "seed": self.seed,
            "sentence": self.sentence,
            "rows": [
                {
                    "method": row.method,
                    "layer": row.layer,
                    "reference": row.reference,
                    "seconds": round(row.seconds, 1),
                    "pearson, mean, minus the best": self.difference(row, self.best).as_list(),
                    **{
                        f"{metric}, {operator}": self.estimate(row, metric, operator).as_list()
                        for metric, operator in self._columns()
                    },
                }
                for row in self.rows
            ],
            "agreement of operators": {
                " / ".join(names): {
                    kind: self.operator_agreement(kind == "spearman")[names].as_list()
                    for kind in ("pearson", "spearman")
                }
                for names in self.agreement
            },
            "ceiling of the mean": {
                kind: self.ceiling(kind == "spearman").as_list() for kind in ("pearson", "spearman")
            },
            "notes": list(self.notes),
        }

    def plot(self, metric: str = "pearson", **options: Any) -> tuple[Figure, Axes]:
        """Plots each row's mean over operators with its interval, and single operators as open markers.

        Args:
            metric: a name in `METRICS`.
            options: ``title``, ``figsize``, ``fontsize`` and ``ax``, as for `xsbert.utils.heatmap`.

        Raises:
            ValueError: the metric is not in the table.

        >>> fig, ax = table.plot("words")
        """
        operators = self._operators_of(metric)
        means = {row.label: self.estimate(row, metric) for row in self.rows}
        single = {
            operator: [self.estimate(row, metric, operator).value for row in self.rows]
            for operator in operators
            if len(operators) > 1
        }
        intervals = {label: (each.value, each.low, each.high) for label, each in means.items()}
        return estimates(intervals, single, f"{metric} ({self.n_pairs} pairs, {self.units})", "operator", **options)

    def to_dataframe(self) -> pd.DataFrame:
        """Returns a row for each estimate.

        Returns:
            columns ``method``, ``layer``, ``reference``, ``metric``, ``operator`` (or ``"mean"``), ``value``, ``low``
            and ``high`` (the 95 % interval), ``n`` (pairs of texts for which it is defined), and ``seconds``.

        Raises:
            ImportError: pandas is not installed.

        >>> sorted(set(table.to_dataframe().method))
        ['products', 'random']
        """
        rows = []
        for row in self.rows:
            for metric, operator in self._columns():
                found = self.estimate(row, metric, operator)
                numbers = found.value, found.low, found.high, found.n
                rows.append((row.method, row.layer, row.reference, metric, operator, *numbers, row.seconds))
        names = ["method", "layer", "reference", "metric", "operator", "value", "low", "high", "n", "seconds"]
        # Rows without a layer would turn the others into floats.
        return pandas().DataFrame(rows, columns=names).astype({"layer": "Int64"})

    def latex_frame(self) -> pd.DataFrame:
        """Returns the printed table: a row for each method, means with half of their intervals.

        >>> len(table.latex_frame())
        2
        """
        head, *rows = self._cells()
        return pandas().DataFrame(rows, columns=head)

    def __str__(self) -> str:
        return text_table(self._title(), self._cells(), [*self._agreement_lines(), self.sentence])

    def _repr_html_(self) -> str:
        return html_table(self._title(), self._cells(), [*self._agreement_lines(), self.sentence])

    def _title(self) -> str:
        what = f"{self.model}, {self.n_pairs} pairs, {self.units}, {self.similarity}"
        return f"{what}; {self.n_passes} passes of edited texts"

    def _columns(self) -> list[tuple[str, str]]:
        found = []
        for metric in METRICS:
            operators = self._operators_of(metric)
            found += [(metric, operator) for operator in operators]
            found += [(metric, MEAN)] if len(operators) > 1 else []
        return found

    def _operators_of(self, metric: str) -> tuple[str, ...]:
        return ("remove",) if metric == "curve" else self.operators

    def _cells(self) -> list[list[str]]:
        columns = [(metric, operator) for metric, operator in self._columns() if metric == "pearson"]
        columns += [(metric, MEAN) for metric in METRICS if metric != "pearson"]
        head = ["method", *(f"{metric} {operator}" for metric, operator in columns)]
        rows = []
        for row in self.rows:
            rows.append([row.label, *(self.estimate(row, *column).short() for column in columns)])
        return [head, *rows]

    def _agreement_lines(self) -> list[str]:
        linear, ranks = self.operator_agreement(), self.operator_agreement(ranks=True)
        lines = [
            f"operators {one} and {other} agree at Pearson {linear[one, other].value:.2f}, "
            f"Spearman {ranks[one, other].value:.2f}"
            for one, other in combinations(self.operators, 2)
        ]
        if lines:
            lines.append(
                "so that no method can have more in the mean than "
                f"Pearson {self.ceiling().value:.2f}, Spearman {self.ceiling(ranks=True).value:.2f}"
            )
        return [*lines, *self.notes]

    def _best_integrated(self) -> FaithfulnessRow | None:
        family = [row for row in self.rows if row.method == "integrated"]
        return max(family, key=lambda row: self._value(row, self._deciding_operator), default=None)

    @property
    def _has_several_references(self) -> bool:
        return len({row.reference for row in self.rows if row.method == "integrated"}) > 1

    @property
    def _deciding_operator(self) -> str:
        return UNBIASED if self._has_several_references and UNBIASED in self.operators else MEAN

    def _value(self, row: FaithfulnessRow, operator: str = MEAN) -> float:
        """Returns the Pearson correlation; if undefined, a value below all others."""
        return float(np.nan_to_num(self.estimate(row, operator=operator).value, nan=-np.inf))

    def _ranked(self) -> list[FaithfulnessRow]:
        return [row for row in self.rows if row.ranked] or list(self.rows)

    def _numbers(self, row: FaithfulnessRow | int | str, metric: str, operator: str) -> np.ndarray:
        check_one_of(metric, "metric", METRICS)
        known = self._operators_of(metric)
        check_one_of(operator, "operator", (*known, MEAN))
        found = find_row(self.rows, row)
        chosen = known if operator == MEAN else (operator,)
        return np.mean([found.numbers[metric, each] for each in chosen], axis=0)

    def _estimate(self, numbers: Sequence[np.ndarray], metric: str) -> Estimate:
        weights = self.scores if metric == "curve" else np.ones(self.n_pairs)
        defined = np.all([np.isfinite(each) for each in numbers], axis=0)
        places = np.flatnonzero(defined)
        if not len(places):
            return Estimate(float("nan"), float("nan"), float("nan"), 0)

        def value(chosen: np.ndarray) -> np.ndarray:
            """Returns (…) ratios of sums over the last axis; with weights of one they are means."""
            means = [each[chosen].sum(-1) / weights[chosen].sum(-1) for each in numbers]
            return means[0] - means[1] if len(means) == 2 else means[0]

        if len(places) == 1:
            return Estimate(float(value(places)), float("nan"), float("nan"), 1)
        generator = np.random.default_rng(self.seed)
        samples = value(places[generator.integers(len(places), size=(self.n_bootstrap, len(places)))])
        low, high = np.quantile(samples, [0.025, 0.975])
        return Estimate(float(value(places)), float(low), float(high), len(places))
