"""Room for drawings: sizes of figures, and errors for figures that are too small."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..._utils.stacklevel import caller_level
from ..picture_options import Frame
from .checks import axes_of

__all__ = ["Drawing", "inches_of", "is_laid_out", "new_figure", "root_of", "settle", "single_axes"]

# Texts may reach this far beyond the figure, in inches: rounding of renderers.
SLACK = 0.02
PASSES = 5
TRIES = 14
"""Number of larger figures that are tried."""


def new_figure(width: float, height: float) -> Figure:
    return plt.figure(figsize=(width, height), layout="constrained")


def single_axes(frame: Frame, width: float, height: float) -> Axes:
    """Return the given axes, or those of a new figure. ``width`` and ``height`` are used where none is requested."""
    if frame.ax is None:
        return new_figure(frame.width or width, frame.height or height).add_subplot()
    return axes_of(frame.ax)


def inches_of(ax: Axes) -> tuple[float, float]:
    box = ax.get_window_extent().transformed(root_of(ax).dpi_scale_trans.inverted())
    return box.width, box.height


def is_laid_out(ax: Axes) -> bool:
    """Return whether a layout engine makes room for the labels of the axes."""
    return root_of(ax).get_layout_engine() is not None and ax.get_subplotspec() is not None


@dataclass(frozen=True)
class Drawing:
    """What is drawn again whenever the size of its axes changes."""

    axes: Sequence[Axes]
    """Axes of one figure."""
    least: Callable[[], tuple[float, float]]
    """Returns the smallest width and height of the axes for the present layout, in inches, without labels."""
    draw: Callable[[], Any]
    bars: Sequence[Any] = ()
    """Colour bars."""

    def attempt(self) -> tuple[float, float] | None:
        """Lay out and draw until the layout stays the same. Return the missing inches, or None if the layout failed."""
        root = root_of(self.axes[0])
        before: list[float] = []
        for _ in range(PASSES):
            if not _lay_out(root):
                return None
            sizes = [size for ax in self.axes for size in inches_of(ax)]
            if before and max(abs(one - two) for one, two in zip(sizes, before, strict=True)) < 0.05:
                break
            before = sizes
            self.draw()
        else:
            # The sizes go back and forth. The labels of the last pass stay.
            if not _lay_out(root):
                return None
        sizes = [size for ax in self.axes for size in inches_of(ax)]
        least = self.least()
        missing = [max(0.0, wanted - min(sizes[side::2]) - SLACK) for side, wanted in enumerate(least)]
        if is_laid_out(self.axes[0]):
            missing = [max(one, two) for one, two in zip(missing, self.overhang(), strict=True)]
        return missing[0], missing[1]

    def overhang(self) -> tuple[float, float]:
        """Return how far texts reach outside the figure, in inches."""
        root = root_of(self.axes[0])
        # This also moves the texts to their places in the present layout.
        found = (ax.get_tightbbox() for ax in (*self.axes, *(bar.ax for bar in self.bars)))
        boxes = [box for box in found if box is not None]
        far = max([0.0, *(max(-box.x0, box.x1 - root.bbox.x1) for box in boxes)])
        high = max([0.0, *(max(-box.y0, box.y1 - root.bbox.y1) for box in boxes)])
        return max(0.0, far / root.dpi - SLACK), max(0.0, high / root.dpi - SLACK)

    def sufficient(self, missing: tuple[float, float] | None) -> tuple[float, float]:
        """Make the figure larger until the drawing fits. Return its size in inches."""
        root = root_of(self.axes[0])
        for _ in range(TRIES):
            size = root.get_size_inches()
            if missing is None:
                size = np.maximum(1.15 * size, 1.0)
            else:
                more = self._grid() * np.array(missing)
                size = size + np.where(more > 0, more + 0.05, 0.0)
            root.set_size_inches(np.ceil(10 * size - 1e-9) / 10)
            missing = self.attempt()
            if missing is not None and not any(missing):
                break
        width, height = root.get_size_inches()
        return float(width), float(height)

    def _grid(self) -> np.ndarray:
        """Return the numbers of columns and rows of axes, which share what is added to the figure."""
        spec = self.axes[0].get_subplotspec()
        return np.array((1, 1) if spec is None else (spec.get_gridspec().ncols, spec.get_gridspec().nrows))


def settle(drawing: Drawing, frame: Frame) -> None:
    """Lay out a drawing. A new figure grows where no size was requested.

    Raises:
        ValueError: The figure is too small. It is closed, or the given axes are cleared.

    Warns:
        UserWarning: Labels reach outside a figure without a layout engine.
    """
    ax = drawing.axes[0]
    root, missing = root_of(ax), drawing.attempt()
    if missing is not None and not any(missing):
        if not is_laid_out(ax) and any(drawing.overhang()):
            warnings.warn(
                'labels reach outside the figure: create it with layout="constrained", which makes room for them, or '
                'save it with bbox_inches="tight"',
                stacklevel=caller_level(),
            )
        return
    before = root.get_size_inches()
    enough = drawing.sufficient(missing)
    fixed = (frame.width, frame.height) if frame.ax is None else before
    if all(wanted is None or size < wanted + SLACK for wanted, size in zip(fixed, enough, strict=True)):
        return
    name, layout = (
        ("figsize", "") if frame.ax is None else ("ax", "" if is_laid_out(ax) else ' with layout="constrained"')
    )
    if frame.ax is None:
        plt.close(root)
    else:
        for bar in drawing.bars:
            bar.remove()
        for each in drawing.axes:
            each.clear()
        root.set_size_inches(before)
    raise ValueError(
        f"{name} is too small for the labels: the figure is {before[0]:.1f} × {before[1]:.1f} in; "
        f"{enough[0]:.1f} × {enough[1]:.1f} in{layout} would do, or a smaller fontsize"
    )


def _lay_out(root: Figure) -> bool:
    """Run the layout engine. Return whether it found room for the axes."""
    engine = root.get_layout_engine()
    if engine is None:
        return True
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        engine.execute(root)
    return not any("not applied" in str(warning.message) for warning in caught)


def root_of(ax: Axes) -> Any:
    """Return the figure, also of axes in a subfigure."""
    figure: Any = ax.figure
    return figure.figure
