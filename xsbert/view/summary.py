"""Text summaries of a result: one sentence, and the summary that `print` shows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._utils.arrays import largest_entries
from ..text.display import display_tokens, shorten
from ..text.units import holds_text
from .effects import top_pairs
from .protocols import PairView, TextView, shown_parts
from .terminal import columns

__all__ = [
    "Sentence",
    "factor_error_lines",
    "labelled_pairs",
    "read_score",
    "score_name",
    "sentence",
    "side_lines",
    "summarize",
]

N_FOR, N_AGAINST = 3, 2
LEAST_SHARE = 0.1
"""Smallest fraction of the strongest pair for a pair to be named."""
LONGEST_TEXT = 90
LONGEST_WORD = 40


class Sentence(NamedTuple):
    """A one-sentence summary: the score and the pairs that explain it."""

    score: str
    lead: str
    """How much of the positive interactions the named pairs hold, in words."""
    pairs_for: tuple[tuple[str, str], ...]
    pairs_against: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        parts = [self.lead, ", ".join(map(" · ".join, self.pairs_for))]
        text = f"{self.score}: {' '.join(filter(None, parts))}"
        if not self.pairs_against:
            return text
        return f"{text}; against it: {', '.join(map(' · '.join, self.pairs_against))}"


def sentence(result: PairView) -> Sentence:
    """Summarize which interactions between words explain the score.

    Pairs of the same two words are summed over all positions. Up to three positive and two negative pairs are named,
    none below a tenth of the strongest. "mostly" means that the named pairs hold at least half of all positive
    interactions between words. After `over`, text outside the ranges counts as a word.

    Args:
        result: A result in words or other units.
    """
    names, matrix = _by_label(result)
    positive, negative = np.maximum(matrix, 0.0), np.maximum(-matrix, 0.0)
    least = LEAST_SHARE * max(positive.max(initial=0.0), negative.max(initial=0.0))
    named_for, named_against = (
        [place for place in largest_entries(side, k) if side[place] > 0 and side[place] >= least]
        for side, k in ((positive, N_FOR), (negative, N_AGAINST))
    )
    share = sum(positive[place] for place in named_for) / positive.sum() if named_for else 0.0
    lead = "mostly" if share >= 0.5 else "spread over many pairs, first" if named_for else "no pair of words adds to it"
    return Sentence(
        read_score(result.score, 2),
        lead,
        tuple((names[0][s], names[1][t]) for s, t in named_for),
        tuple((names[0][s], names[1][t]) for s, t in named_against),
    )


def _by_label(result: PairView) -> tuple[list[list[str]], np.ndarray]:
    """Return the distinct words of each text, and the matrix summed over their positions."""
    names, places, kept = [], [], []
    for side in (result.a, result.b):
        known: dict[str, int] = {}
        shown: list[str] = []
        at = [place for place, role in enumerate(side.roles) if holds_text(role)]
        labels = display_tokens(side)
        for place in at:
            key = labels[place].casefold()
            if key not in known:
                known[key] = len(known)
                shown.append(shorten(labels[place], LONGEST_WORD))
        names.append(shown)
        places.append(np.array([known[labels[place].casefold()] for place in at], dtype=int))
        kept.append(np.array(at, dtype=int))
    matrix = np.zeros((len(names[0]), len(names[1])))
    np.add.at(matrix, (places[0][:, None], places[1][None, :]), result.matrix[np.ix_(kept[0], kept[1])])
    return names, matrix


def score_name(result: PairView) -> str:
    """Return the name of the score: the similarity, and the sides of a model with a query and a document side.

    The sides are named by the model's methods or, if these are the same, by the prompts.
    """
    return f"{result.similarity} similarity{''.join(f' {line}' for line in side_lines(result))}"


def side_lines(result: PairView) -> list[str]:
    """Return a description of the model's two sides: its methods, or the prompts. Empty for most models."""
    a, b = result.a, result.b
    if a.encoded_by and b.encoded_by:
        return [f"of {a.encoded_by}(a) and {b.encoded_by}(b)"]
    if not (a.prompt or b.prompt):
        return []
    prompts = [f"“{shorten(side.prompt, 30)}”" if side.prompt else "no prompt" for side in (a, b)]
    return [f"of texts with prompts, a: {prompts[0]}, b: {prompts[1]}"]


def read_score(value: float, decimals: int) -> str:
    """Format a number with a true minus sign (U+2212), and none before zero."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def labelled_pairs(result: PairView, top_k: int, special_tokens: bool) -> list[tuple[str, str, float]]:
    """Return the pairs with the largest absolute attributions, by unit name."""
    labels_a, labels_b = display_tokens(result.a), display_tokens(result.b)
    return [(labels_a[s], labels_b[t], value) for s, t, value in top_pairs(result, top_k, special_tokens)]


def summarize(result: PairView, k: int = 6) -> str:
    """Return a summary with texts, settings, parts of the score, errors and the k strongest pairs."""
    how = result.settings
    lines = [
        f"{result.similarity} similarity {result.score:.4f}",
        *(f"  {line}" for line in side_lines(result)),
        *_unshifted_lines(result),
        f"  a  {shorten(result.a.text, LONGEST_TEXT)}{_cut(result.a)}",
        f"  b  {shorten(result.b.text, LONGEST_TEXT)}{_cut(result.b)}",
        f"  {how.model}, {how.described_layer}, {how.described_nodes}"
        f"{f' ({how.n_float64} in float64)' if how.n_float64 else ''}"
        f"{how.described_tolerance}, "
        f"reference {how.described_reference}{', shifted' if how.shift else ''}, {how.precision}"
        f"{f', {result.pulled_back} pulled back' if result.pulled_back else ''}",
        "",
        f"  parts of the score ({result.kind})",
        *(f"    {name:<16}{value:>10.4f}" for name, value in shown_parts(result).items()),
        f"    {'sum':<16}{sum(result.parts.values()):>10.4f}",
        f"    {'error':<16}{result.error:>10.1e}",
        f"    residuals: a {result.residual_a:.1e}, b {result.residual_b:.1e}",
        *(f"    {line}" for line in factor_error_lines(result)),
        "",
        "  strongest pairs",
        *_strongest_lines(result, k),
    ]
    return "\n".join(lines)


def factor_error_lines(result: PairView) -> list[str]:
    """Return the estimated errors of the factors of both texts, or nothing if one is unknown."""
    if result.factor_error_a is None or result.factor_error_b is None:
        return []
    return [f"factors' errors up to: a {result.factor_error_a:.1e}, b {result.factor_error_b:.1e}"]


def _unshifted_lines(result: PairView) -> list[str]:
    if result.score_unshifted is None:
        return []
    return [f"  is that of the shifted model; the model's own, without the shift, is {result.score_unshifted:.4f}"]


def _strongest_lines(result: PairView, k: int) -> list[str]:
    pairs = [(f"{one} · {other}", value) for one, other, value in labelled_pairs(result, k, special_tokens=False)]
    width = max((columns(label) for label, _ in pairs), default=0)
    lines = [f"    {label}{' ' * (width - columns(label))}{value:>+10.4f}" for label, value in pairs]
    return lines or ["    none between words"]


def _cut(text: TextView) -> str:
    return f"  [{text.n_cut} tokens cut off by the model's limit]" if text.n_cut else ""
