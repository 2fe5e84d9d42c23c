"""Heat maps of results: one, several side by side, and the difference of two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...text.display import shorten
from ..picture_options import Cells, Frame, check_flag
from ..protocols import PairView
from .checks import check_result, check_same_pair, check_similarity
from .matrix import Table, table_of
from .panels import Panel, draw_one, draw_panels
from .style import (
    baseline_chunk,
    limit_of,
    magnitude,
    part_chunks,
    score_chunks,
    title_chunks,
    unshifted_chunks,
    written,
)

__all__ = ["check_comparable", "check_one_pair", "draw_contrast", "draw_difference", "draw_heatmap", "draw_results"]

ATTRIBUTION, MAIN = "attribution", "main effect"


def draw_heatmap(result: PairView, cells: Cells, frame: Frame) -> tuple[Figure, Axes]:
    table = table_of(check_result(result), cells)
    chunks = [*score_chunks(result), *part_chunks(result, table.matrix), f"error {magnitude(result.error)}"]
    return draw_one(Panel(table, title_chunks(frame.title, chunks)), (ATTRIBUTION, MAIN), cells, frame)


def draw_contrast(
    matrix: np.ndarray, labels_a: Sequence[str], labels_b: Sequence[str], cells: Cells, frame: Frame
) -> tuple[Figure, Axes]:
    nothing = np.zeros(len(labels_a)), np.zeros(len(labels_b))
    plain = [False] * len(labels_a), [False] * len(labels_b)
    table = Table(matrix, *nothing, [*labels_a], [*labels_b], *plain)
    chunks = title_chunks(frame.title, ["contrast, not contributions: what stands out"])
    return draw_one(Panel(table, chunks), ("beyond row and column", MAIN), cells, frame)


def draw_difference(results: Mapping[str, PairView], cells: Cells, frame: Frame) -> tuple[Figure, Axes]:
    """Draw the second result minus the first. Messages use the given names."""
    check_comparable(results)
    result_1, result_2 = results.values()
    one, two = table_of(result_1, cells), table_of(result_2, cells)
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
    first, second = (_differing([result_1, result_2], place) for place in (0, 1))
    chunks = [
        f"change of {result_2.similarity} similarity {change} ({ends})",
        *(f"{name} {second[name]} minus {first[name]}" for name in first),
        f"error up to {magnitude(result_1.error + result_2.error)}",
    ]
    names = ("change of attribution", f"change of {MAIN}")
    return draw_one(Panel(table, title_chunks(frame.title, chunks)), names, cells, frame)


def draw_results(
    results: Sequence[PairView],
    panel_titles: Sequence[str] | None,
    own_scales: bool,
    cells: Cells,
    frame: Frame,
) -> tuple[Figure, np.ndarray]:
    """Draw results side by side."""
    check_results(results)
    check_similarity({f"results[{place}]": result for place, result in enumerate(results)})
    check_flag(own_scales, "own_scales")
    if own_scales and cells.limit is not None:
        raise ValueError("limit is that of one scale for all panels: give either limit or own_scales=True")
    titles = _panel_titles(results, panel_titles, bool(frame.title))
    tables = [table_of(result, cells) for result in results]
    panels = []
    for table, title in zip(tables, titles, strict=True):
        limits = (limit_of(table.matrix), limit_of(table.main_a, table.main_b)) if own_scales else None
        scale = [f"largest {written(limits[0], 3)}"] if limits else []
        panels.append(Panel(table, [*title, *scale], limits))
    texts = {(result.a.text, result.b.text) for result in results}
    heading = [f"{shorten(results[0].a.text, 60)}  /  {shorten(results[0].b.text, 60)}"] if len(texts) == 1 else []
    return draw_panels(panels, (ATTRIBUTION, MAIN), cells, frame, title_chunks(frame.title, heading))


def check_one_pair(results: Any) -> None:
    """Check that results are of the same pair, in the same units."""
    check_results(results)
    check_same_pair({f"results[{place}]": result for place, result in enumerate(results)})


def check_results(results: Any) -> None:
    if not isinstance(results, Sequence) or isinstance(results, str):
        raise TypeError(f"results must be a list of attributions, got {type(results).__name__}")
    if not results:
        raise ValueError("results must hold at least one attribution, got none")
    for place, result in enumerate(results):
        check_result(result, f"results[{place}]")


def _panel_titles(results: Sequence[PairView], titles: Any, with_parts: bool) -> list[list[str]]:
    if titles is None:
        parts = [_panel_parts(result) if with_parts else [] for result in results]
        return [[*_panel_name(results, place), *parts[place]] for place in range(len(results))]
    if isinstance(titles, str) or not isinstance(titles, Sequence) or not all(isinstance(t, str) for t in titles):
        raise TypeError(f"panel_titles must be a list of strings, one for each result, got {titles!r:.80}")
    if len(titles) != len(results):
        raise ValueError(f"panel_titles must be one for each result, {len(results)}, got {len(titles)}")
    return [[title] if title else [] for title in titles]


def _panel_name(results: Sequence[PairView], place: int) -> list[str]:
    """Return what distinguishes a result from the others; its layer if nothing does."""
    differing = _differing(results, place)
    settings = results[place].settings
    if "layer" in differing or not differing:
        differing = {"layer": f"{settings.layer} of {settings.n_layers}"} | {
            name: value for name, value in differing.items() if name != "layer"
        }
    return [
        value if name in ("model", "method", "text a", "text b") else f"{name} {value}"
        for name, value in differing.items()
    ]


def _differing(results: Sequence[PairView], place: int) -> dict[str, str]:
    """Return the properties of a result that differ between the results, by name."""
    properties = [_properties(result) for result in results]
    names = [name for name in properties[0] if len({each[name] for each in properties}) > 1]
    return {name: properties[place][name] for name in names}


def _properties(result: PairView) -> dict[str, str]:
    settings = result.settings
    return {
        "model": settings.model,
        "method": getattr(result, "method", "integrated"),
        "layer": str(settings.layer),
        "reference": settings.reference,
        "positions": settings.reference_positions,
        "shift": "yes" if settings.shift else "no",
        "rule": settings.rule,
        "tolerance": "none" if settings.tolerance is None else f"{settings.tolerance:g}",
        # The number of nodes follows from a tolerance, and need not be a choice.
        "nodes": str(settings.n_steps) if settings.tolerance is None else "",
        "text a": f"“{shorten(result.a.text, 30)}”",
        "text b": f"“{shorten(result.b.text, 30)}”",
    }


def _panel_parts(result: PairView) -> list[str]:
    return [
        f"score {written(result.score, 3)}",
        *unshifted_chunks(result, 3),
        f"error {magnitude(result.error)}",
        f"interactions {written(result.parts['interactions'], 3)}",
        baseline_chunk(result.baseline),
    ]


def check_comparable(results: Mapping[str, PairView]) -> None:
    """Check that the difference of two results has a meaning. Messages use the given names."""
    for name, result in results.items():
        check_result(result, name)
    check_same_pair(results)
    # Shifted results come first.
    (shifted, one), (other, two) = sorted(results.items(), key=lambda item: not item[1].settings.shift)
    if one.settings.shift != two.settings.shift:
        raise ValueError(
            f"{shifted} is of a shifted model, and its cells sum to its score; {other} is not: its cells leave out "
            "main effects and baseline, so that a difference of cells says nothing. Draw each with heatmap"
        )


def _joint_labels(one: list[str], two: list[str]) -> list[str]:
    return [first if first == second else f"{first}/{second}" for first, second in zip(one, two, strict=True)]
