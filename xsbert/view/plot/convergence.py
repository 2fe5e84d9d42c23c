"""Plot of the error against the number of nodes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from .checks import figure_of, is_number
from .style import FONT_SIZE, MUTED, grid, ink, set_title, title_chunks

__all__ = ["CYCLE", "MARKERS", "convergence"]

# Okabe and Ito's colours, ordered for contrast in lightness. The ink colour comes before them.
CYCLE = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = "osD^vPX"


def convergence(
    errors: Mapping[str, Sequence[tuple[int, float]]],
    *,
    slope: float | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw the given errors against the number of nodes, both on logarithmic axes.

    An error of exactly 0 is drawn as a hollow triangle at the lower edge.

    Args:
        errors: Pairs of n_steps (at least 1) and error (at least 0) for each rule.
        slope: Also draw a dashed line for an error proportional to n_steps to this power, such as −1.
        title: The title, or None.
        ax: The axes to draw on. None creates a figure.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: There is nothing to draw, or a number is out of range.
    """
    curves = _check_errors(errors)
    if slope is not None and (not is_number(slope) or not math.isfinite(slope)):
        raise ValueError(f"slope must be None or a finite number, got {slope!r}")
    if ax is None:
        fig = plt.figure(figsize=(5.0, 3.6), layout="constrained")
        ax = fig.add_subplot()
    else:
        fig = figure_of(ax)
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
    if slope is not None:
        _draw_slope(ax, curves, slope)
    steps = sorted({int(step) for curve in curves.values() for step in curve[:, 0]})
    ax.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    if len(steps) <= 8:
        ax.set_xticks(steps)
    ax.set_xlabel("nodes", fontsize=FONT_SIZE)
    ax.set_ylabel("error", fontsize=FONT_SIZE)
    ax.tick_params(labelsize=FONT_SIZE - 1)
    ax.grid(True, color=grid(), linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    legend = ax.legend(fontsize=FONT_SIZE - 1, frameon=False)
    for text in legend.get_texts():
        text.set(parse_math=False)
    if title is not None:
        set_title(ax, title_chunks(title, []), 4.0)
    return fig, ax


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
