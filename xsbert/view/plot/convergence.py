"""Plot of the error against the number of nodes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from ..._utils.validation import is_real
from ..picture_options import Frame
from .layout import Drawing, inches_of, root_of, settle, single_axes
from .measure import ems
from .style import MUTED, grid, ink, set_title, sizes_of, title_chunks

__all__ = ["CYCLE", "MARKERS", "draw_convergence"]

# Okabe and Ito's colours, ordered for contrast in lightness. The ink colour comes before them.
CYCLE = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = "osD^vPX"


def draw_convergence(
    errors: Mapping[str, Sequence[tuple[int, float]]], slope: float | None, frame: Frame
) -> tuple[Figure, Axes]:
    curves = _check_errors(errors)
    if slope is not None and (not is_real(slope) or not math.isfinite(slope)):
        raise ValueError(f"slope must be None or a finite number, got {slope!r}")
    sizes = sizes_of(frame.fontsize)
    width = frame.width or 5.0
    ax = single_axes(frame, width, max(2.0, 0.72 * width))
    _draw_curves(ax, curves)
    if slope is not None:
        _draw_slope(ax, curves, slope)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("nodes", fontsize=sizes.axis)
    ax.set_ylabel("error", fontsize=sizes.axis)
    ax.tick_params(labelsize=sizes.ticks)
    ax.grid(True, color=grid(), linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    legend = ax.legend(fontsize=sizes.axis, frameon=False)
    for text in legend.get_texts():
        text.set(parse_math=False)
    chunks = title_chunks(frame.title, [])
    steps = sorted({int(step) for curve in curves.values() for step in curve[:, 0]})

    def draw() -> None:
        if len(steps) <= 8 and _fit(ax, steps, sizes.ticks):
            ax.set_xticks(steps)
        set_title(ax, chunks, inches_of(ax)[0], sizes.title)

    settle(Drawing([ax], lambda: (1.0, 0.8), draw), frame)
    figure: Any = ax.figure
    return figure, ax


def _fit(ax: Axes, steps: list[int], size: float) -> bool:
    """Return whether the numbers of all steps fit beside one another under a logarithmic axis."""
    places = ax.transData.transform([(step, 1.0) for step in steps])[:, 0] * 72 / root_of(ax).dpi
    halves = [ems(str(step)) * size / 2 + 1 for step in steps]
    return all(places[at + 1] - places[at] > halves[at] + halves[at + 1] for at in range(len(steps) - 1))


def _draw_curves(ax: Axes, curves: Mapping[str, np.ndarray]) -> None:
    positive = [error for curve in curves.values() for error in curve[:, 1] if error > 0]
    floor = min(positive, default=1.0) / 3
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    colours = (ink(), *CYCLE)
    for place, (rule, curve) in enumerate(curves.items()):
        colour = colours[place % len(colours)]
        marker = MARKERS[place % len(MARKERS)]
        zero = curve[:, 1] == 0
        steps, heights = curve[:, 0], np.where(zero, floor, curve[:, 1])
        if not zero.all():
            ax.plot(steps[~zero], heights[~zero], color=colour, marker=marker, markersize=5, linewidth=1.2, label=rule)
        if zero.any():
            ax.plot(
                steps[zero],
                heights[zero],
                color=colour,
                marker="v",
                markerfacecolor="none",
                markersize=7,
                linestyle="none",
                label=f"{rule}, exactly 0",
            )


def _check_errors(errors: Any) -> dict[str, np.ndarray]:
    if not isinstance(errors, Mapping):
        raise TypeError(f"errors must be a mapping of rule to pairs (n_steps, error), got {type(errors).__name__}")
    if not errors:
        raise ValueError("errors must hold at least one rule, got none")
    curves = {}
    for rule, pairs in errors.items():
        curve = np.asarray(list(pairs), dtype=np.float64)
        if curve.ndim != 2 or curve.shape[1] != 2:
            raise ValueError(f"errors[{rule!r}] must be pairs (n_steps, error), at least one, got {pairs!r:.100}")
        if not np.isfinite(curve).all() or (curve[:, 0] < 1).any() or (curve[:, 1] < 0).any():
            raise ValueError(
                f"errors[{rule!r}] must have finite n_steps of at least 1 and errors of at least 0, got {pairs!r:.100}"
            )
        curves[str(rule)] = curve[np.argsort(curve[:, 0], kind="stable")]
    return curves


def _draw_slope(ax: Axes, curves: Mapping[str, np.ndarray], slope: float) -> None:
    """Draw the slope through the first positive point of the curves."""
    points = [point for curve in curves.values() for point in curve if point[1] > 0]
    if not points:
        return
    step, error = points[0]
    ends = np.array([min(point[0] for point in points), max(point[0] for point in points)])
    ax.plot(ends, error * (ends / step) ** slope, "--", color=MUTED, linewidth=1, label=f"slope {slope:g}", zorder=1)
