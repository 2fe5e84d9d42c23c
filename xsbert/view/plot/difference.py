"""What changes from one result to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .checks import check_result, check_same_pair
from .style import magnitude, title_chunks, written
from .table import Table, draw_figure, table_of

if TYPE_CHECKING:
    from ...attribution import Attribution

__all__ = ["difference"]


def difference(
    result_1: Attribution,
    result_2: Attribution,
    *,
    values: bool | None = None,
    title: bool | str = True,
    limit: float | None = None,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw what changes from one result to another of the same pair: the second minus the first.

    Of two models, two layers, or before and after tuning. Special tokens match whatever their spelling, so that
    the `words()` of models with different tokenizers can be compared too.

    Args:
        result_1: what is subtracted.
        result_2: what it is subtracted from, with the same units.
        values: as for `heatmap`.
        title: as for `heatmap`.
        limit: as for `heatmap`.
        ax: as for `heatmap`.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: the two differ in their units or in the kind of similarity (the message says where); other
            errors as for `heatmap`.

    Warns:
        UserWarning: as for `heatmap`.
    """
    check_result(result_1, "result_1")
    check_result(result_2, "result_2")
    check_same_pair({"result_1": result_1, "result_2": result_2})
    one, two = table_of(result_1), table_of(result_2)
    table = Table(
        matrix=two.matrix - one.matrix,
        main_a=two.main_a - one.main_a,
        main_b=two.main_b - one.main_b,
        labels_a=_joint_labels(one.labels_a, two.labels_a),
        labels_b=_joint_labels(one.labels_b, two.labels_b),
        muted_a=two.muted_a,
        muted_b=two.muted_b,
    )
    change = written(result_2.score - result_1.score, 4, sign=True)
    parts = {name: value - result_1.parts[name] for name, value in result_2.parts.items()}
    chunks = title_chunks(
        title,
        [
            f"change of {result_2.similarity} similarity {change}",
            f"error up to {magnitude(result_1.error + result_2.error)}",
            *_settings_chunks(result_1, result_2),
            *(f"{name} {written(value, 3, sign=True)}" for name, value in parts.items() if value),
        ],
    )
    return draw_figure(table, values, chunks, limit, ax, "change of attribution")


def _settings_chunks(one: Attribution, two: Attribution) -> list[str]:
    """What the second was computed with and the first was not."""
    first, second = vars(one.settings), vars(two.settings)
    names = {"n_steps": "nodes", "n_layers": "number of layers"}
    changed = [name for name in first if first[name] != second[name]]
    return [f"{names.get(name, name)} {second[name]} minus {first[name]}" for name in changed]


def _joint_labels(one: list[str], two: list[str]) -> list[str]:
    return [first if first == second else f"{first}/{second}" for first, second in zip(one, two, strict=True)]
