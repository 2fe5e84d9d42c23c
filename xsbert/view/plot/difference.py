"""Plot of the difference between two results."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..protocols import PairView
from .checks import check_result, check_same_pair
from .style import magnitude, title_chunks, written
from .table import Table, draw_figure, table_of

__all__ = ["difference", "named_difference"]


def difference(
    result_1: PairView,
    result_2: PairView,
    *,
    special_tokens: bool = True,
    values: bool | None = None,
    title: bool | str = True,
    limit: float | None = None,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw the difference of two results of the same pair: the second minus the first.

    The results may come from two models, two layers, or before and after tuning. Special tokens match with any
    spelling, so the `words()` of models with different tokenizers are comparable.

    Args:
        result_1: The result to subtract.
        result_2: The result to subtract from, with the same units.
        special_tokens: As for `heatmap`.
        values: As for `heatmap`.
        title: As for `heatmap`.
        limit: As for `heatmap`.
        ax: As for `heatmap`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The results differ in units or similarity (the message says where), or only one is of a shifted
            model, so that their cells are parts of different sums; other errors as for `heatmap`.

    Warns:
        UserWarning: As for `heatmap`.
    """
    results = {"result_1": result_1, "result_2": result_2}
    return named_difference(results, special_tokens=special_tokens, values=values, title=title, limit=limit, ax=ax)


def named_difference(
    results: Mapping[str, PairView],
    *,
    special_tokens: bool,
    values: bool | None,
    title: bool | str,
    limit: float | None,
    ax: Axes | None,
) -> tuple[Figure, Axes]:
    """Draw the `difference` of two results, the second minus the first. Messages use the given names."""
    for name, result in results.items():
        check_result(result, name)
    check_same_pair(results)
    _check_same_sum(results)
    result_1, result_2 = results.values()
    one, two = table_of(result_1, special_tokens), table_of(result_2, special_tokens)
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
    ends = f"{written(result_1.score, 2)} to {written(result_2.score, 2)}"
    chunks = title_chunks(
        title,
        [
            f"change of {result_2.similarity} similarity {change} ({ends})",
            *_settings_chunks(result_1, result_2),
            f"error up to {magnitude(result_1.error + result_2.error)}",
        ],
    )
    return draw_figure(table, values, chunks, limit, ax, "change of attribution")


def _check_same_sum(results: Mapping[str, PairView]) -> None:
    # Shifted results come first.
    (shifted, one), (other, two) = sorted(results.items(), key=lambda item: not item[1].settings.shift)
    if one.settings.shift != two.settings.shift:
        raise ValueError(
            f"{shifted} is of a shifted model, and its cells sum to its score; {other} is not: its cells leave out "
            "main effects and baseline, so that a difference of cells says nothing. Draw each with heatmap"
        )


def _settings_chunks(one: PairView, two: PairView) -> list[str]:
    """Return the settings that differ between two results."""
    first, second = vars(one.settings), vars(two.settings)
    names = {"model": "model", "layer": "layer", "reference": "reference", "reference_positions": "positions"}
    changed = [name for name in names if first[name] != second[name]]
    return [f"{names[name]} {second[name]} minus {first[name]}" for name in changed]


def _joint_labels(one: list[str], two: list[str]) -> list[str]:
    return [first if first == second else f"{first}/{second}" for first, second in zip(one, two, strict=True)]
