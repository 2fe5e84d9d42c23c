"""Estimates of the time that explanations take, from one or two texts that are explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

import numpy as np

from ..factors.text_factors import ProjectedFactors, TextFactors, settings_of

__all__ = ["CostEstimate", "TimedText", "estimated_cost", "n_passes", "spoken", "timed"]

Result = TypeVar("Result")


@dataclass(frozen=True)
class TimedText:
    """A text that was explained for an estimate."""

    n_tokens: int
    n_steps: int
    """Number of nodes."""
    n_passes: int
    seconds: float


@dataclass(frozen=True)
class CostEstimate:
    """Estimated cost of explanations on this machine, as it is now. Prints as a sentence."""

    n_texts: int
    """Number of texts that are explained: distinct texts, or the ``top_k`` documents."""
    n_tokens: int
    """Their tokens, special tokens included; on average, if ``top_k`` documents are chosen from more."""
    n_passes: int
    """Passes of one text through the layers from the explained one on. A backward pass counts as one."""
    seconds: float
    """Seconds in all, encoding included where a ranking needs it."""
    seconds_to_encode: float
    """Seconds that `encode` takes for all texts or documents, for comparison."""
    timed: tuple[TimedText, ...]
    """The texts that were explained for this estimate."""

    def __str__(self) -> str:
        lengths = " and ".join(str(each.n_tokens) for each in self.timed)
        return (
            f"{self.n_texts} texts, {self.n_tokens} tokens: about {self.n_passes:,} passes and {spoken(self.seconds)}. "
            f"Encoding takes {spoken(self.seconds_to_encode)}. Timed with texts of {lengths} tokens"
        )


def n_passes(side: TextFactors, n_rows: int | None = None) -> int:
    """Return the number of passes behind the factors of a text.

    Args:
        side: the factors.
        n_rows: products per node, besides the one for f itself; None takes it from the factors.
    """
    if n_rows is None:
        n_rows = len(side.directions) if isinstance(side, ProjectedFactors) else len(side.factors)
    settings = settings_of(side)
    return settings.n_looks + settings.n_steps * (n_rows + 1)


def estimated_cost(
    explain: Callable[[list[int]], list[tuple[TextFactors, int]]],
    encode: Callable[[list[int]], object],
    lengths: Sequence[int],
    n_explained: int | None = None,
    *,
    encodes: bool = False,
) -> CostEstimate:
    """Time texts of median and of largest length, and extrapolate to all of them.

    The time of a text is taken as proportional to its number of passes times its number of tokens, which are linear in
    its length. What a call takes besides is measured as the difference between one text and two.

    Args:
        explain: explains some of the texts, by their positions, and returns for each its factors and passes.
        encode: encodes some of the texts.
        lengths: number of tokens of each text, at least one.
        n_explained: how many of them are explained; None for all.
        encodes: whether the work encodes all texts, too.
    """
    order = np.argsort(lengths, kind="stable")
    median, longest = int(order[(len(order) - 1) // 2]), int(order[-1])
    chosen = [median] if median == longest else [median, longest]
    explain([int(order[0])])  # the first call of a process also loads libraries and fills caches
    encode([median])
    seconds, found = timed(lambda: explain([median]))
    if len(chosen) == 2:
        seconds_both, found = timed(lambda: explain(chosen))
        of_last = max(seconds_both - seconds, 0.0)
    else:
        of_last = seconds
    seconds_encoded, _ = timed(lambda: encode([median]))
    sizes = np.array(lengths, dtype=float)
    passes = np.array([count for _, count in found], dtype=float)
    at = sizes[chosen]
    per_token = (passes[-1] - passes[0]) / (at[-1] - at[0]) if at[-1] > at[0] else passes[0] / at[0]
    every = np.maximum(passes[0] + per_token * (sizes - at[0]), 1.0)
    work = every * sizes
    each = of_last * work / work[longest]
    fixed = max(seconds - each[median], 0.0) if len(chosen) == 2 else 0.0
    share = 1.0 if n_explained is None else min(n_explained, len(sizes)) / len(sizes)
    to_encode = seconds_encoded * float(sizes.sum()) / sizes[median]
    steps = [settings_of(side).n_steps for side, _ in found]
    spent = [float(each[place]) for place in chosen]
    return CostEstimate(
        n_texts=round(share * len(sizes)),
        n_tokens=round(share * float(sizes.sum())),
        n_passes=round(share * float(every.sum())),
        seconds=fixed + share * float(each.sum()) + (to_encode if encodes else 0.0),
        seconds_to_encode=to_encode,
        timed=tuple(
            TimedText(int(size), step, int(count), second)
            for size, step, count, second in zip(at, steps, passes, spent, strict=True)
        ),
    )


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Return the wall-clock seconds of a call, and its result."""
    start = perf_counter()
    result = work()
    return perf_counter() - start, result


def spoken(seconds: float) -> str:
    """Return a duration for readers, with two digits.

    >>> spoken(0.4321), spoken(75), spoken(600)
    ('0.43 s', '75 s', '10 minutes')
    """
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
