"""Gold alignments of chunks (SemEval 2016 task 2, interpretable STS), and scores of matrices against them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from .._utils.sequences import as_entries
from ..attribution.alignment import ALIGNMENT_METHODS
from ..attribution.attribution import Attribution

__all__ = ["AGGREGATIONS", "AlignmentScores", "GoldLink", "GoldPair", "read_ists", "score_alignments"]

SENTENCE = re.compile(r"<sentence id=\"([^\"]*)\".*?>(.*?)</sentence>", re.DOTALL)
ALIGNMENT = re.compile(r"^([\d ]+)<==>([\d ]+)//\s*([^/]*?)\s*//\s*([^/]*?)\s*//", re.MULTILINE)
WORD = re.compile(r"^(\d+) (.+?) : *$", re.MULTILINE)
UNALIGNED = {"NOALI", "ALIC"}

AGGREGATIONS: dict[str, Callable[[np.ndarray], float]] = {
    "sum": lambda cells: float(cells.sum()),
    "mean": lambda cells: float(cells.mean()),
    "max": lambda cells: float(cells.max()),
}
"""Functions that reduce the cells of two chunks to one number. Only the sum keeps the total."""


@dataclass(frozen=True)
class GoldLink:
    """Two chunks that annotators aligned."""

    a: int
    b: int
    kind: str
    """``"EQUI"``, ``"OPPO"``, ``"SPE1"``, ``"SPE2"``, ``"SIMI"`` or ``"REL"``, without polarity or factuality marks."""


@dataclass(frozen=True)
class GoldPair:
    """Two texts of words separated by white space, their chunks, and the gold links between chunks."""

    text_a: str
    text_b: str
    words_a: tuple[tuple[int, int], ...]
    """Characters [start, end) of each word."""
    words_b: tuple[tuple[int, int], ...]
    chunks_a: tuple[tuple[int, ...], ...]
    """Positions of words."""
    chunks_b: tuple[tuple[int, ...], ...]
    links: tuple[GoldLink, ...]


@dataclass(frozen=True)
class AlignmentScores:
    """Agreement of numbers for pairs of chunks with the gold links, as means over pairs of texts."""

    average_precision: float
    """Average precision. Chunk pairs with equal numbers share one threshold, as in scikit-learn."""
    auc: float
    f1: float
    """F1 of the links that a method of `xsbert.attribution.alignment` chooses."""
    recall_by_kind: dict[str, tuple[float, int]]
    """Recall and number of the gold links of each kind."""
    n_pairs: int
    n_skipped: int
    """Number of skipped pairs of texts: all or none of their chunk pairs are linked, so ranking is undefined."""
    per_pair: np.ndarray = field(repr=False)
    """(n,) average precision of each pair."""


def read_ists(path: str | PathLike[str]) -> list[GoldPair]:
    """Read a ``.wa`` file of interpretable STS.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file has no sentence pairs, or an alignment names a word that does not exist.
    """
    content = Path(path).read_text(encoding="utf-8", errors="strict")
    found = [_pair(name, body) for name, body in SENTENCE.findall(content)]
    if not found:
        raise ValueError(f"{path} has no <sentence> of the interpretable STS format")
    return found


def _pair(name: str, body: str) -> GoldPair:
    sides = []
    for tag in ("source", "translation"):
        block = body.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        sides.append([word for _, word in WORD.findall(block)])
    chunks: tuple[dict, dict] = ({}, {})
    links = []
    for left, right, kind, _ in ALIGNMENT.findall(body):
        places = []
        for side, numbers in enumerate((left, right)):
            words = tuple(int(each) - 1 for each in numbers.split())
            if words and max(words) >= len(sides[side]):
                raise ValueError(f"sentence {name}: an alignment names word {max(words) + 1} of {len(sides[side])}")
            known = min(words, default=-1) >= 0
            places.append(chunks[side].setdefault(words, len(chunks[side])) if known else None)
        mark = kind.split("_")[0].upper()
        if None not in places and mark not in UNALIGNED:
            links.append(GoldLink(places[0], places[1], mark))
    ranges = [_ranges(words) for words in sides]
    texts = [" ".join(words) for words in sides]
    return GoldPair(texts[0], texts[1], ranges[0], ranges[1], tuple(chunks[0]), tuple(chunks[1]), tuple(links))


def _ranges(words: Sequence[str]) -> tuple[tuple[int, int], ...]:
    found, start = [], 0
    for word in words:
        found.append((start, start + len(word)))
        start += len(word) + 1
    return tuple(found)


def score_alignments(
    gold: Sequence[GoldPair],
    matrices: Sequence[np.ndarray],
    aggregation: str = "sum",
    method: str = "mutual",
) -> AlignmentScores:
    """Score matrices over words against gold links between chunks.

    Args:
        gold: n pairs of texts.
        matrices: n arrays (words of a, words of b), as returned by `word_matrix`.
        aggregation: a name in `AGGREGATIONS`.
        method: a name in `xsbert.attribution.alignment.ALIGNMENT_METHODS`; links have positive numbers.

    Raises:
        ValueError: a name is unknown, the numbers of matrices and pairs differ, a matrix does not fit its texts or is
            not finite, or all pairs are skipped.
    """
    gold = as_entries(gold, "gold", "pairs")
    if not isinstance(matrices, np.ndarray):
        matrices = as_entries(matrices, "matrices", "arrays")
    if len(gold) != len(matrices):
        raise ValueError(f"matrices must be as many as gold pairs, got {len(matrices)} and {len(gold)}")
    if aggregation not in AGGREGATIONS or method not in ALIGNMENT_METHODS:
        raise ValueError(f"aggregation must be of {list(AGGREGATIONS)}, method of {list(ALIGNMENT_METHODS)}")
    precisions, areas, f1s, hits = [], [], [], {}
    skipped = 0
    for place, (pair, matrix) in enumerate(zip(gold, matrices, strict=True)):
        shape = len(pair.words_a), len(pair.words_b)
        if matrix.shape != shape:
            raise ValueError(f"matrices[{place}] must be of shape {shape}, got {matrix.shape}")
        if not np.isfinite(matrix).all():
            raise ValueError(f"matrices[{place}] must be finite")
        reduce = AGGREGATIONS[aggregation]
        scores = np.array([[reduce(matrix[np.ix_(a, b)]) for b in pair.chunks_b] for a in pair.chunks_a])
        linked = np.zeros(scores.shape, dtype=bool)
        for link in pair.links:
            linked[link.a, link.b] = True
        if not scores.size or linked.all() or not linked.any():
            skipped += 1
            continue
        precisions.append(average_precision_score(linked.ravel(), scores.ravel()))
        areas.append(roc_auc_score(linked.ravel(), scores.ravel()))
        chosen = (ALIGNMENT_METHODS[method](scores, scores > 0) > 0) & (scores > 0)
        f1s.append(2 * (chosen & linked).sum() / (chosen.sum() + linked.sum()))
        for link in pair.links:
            hits.setdefault(link.kind, []).append(bool(chosen[link.a, link.b]))
    if not precisions:
        raise ValueError("gold must have at least one pair of texts with both linked and unlinked chunks")
    kinds = {kind: (float(np.mean(each)), len(each)) for kind, each in sorted(hits.items())}
    precision, area, f1 = (float(np.mean(each)) for each in (precisions, areas, f1s))
    return AlignmentScores(precision, area, f1, kinds, len(precisions), skipped, np.array(precisions))


def word_matrix(result: Attribution, pair: GoldPair) -> np.ndarray:
    """Returns the (words of a, words of b) sums of a result over tokens within the words of a gold pair.

    Raises:
        ValueError: a word has no token.
    """
    result = result.over(a=pair.words_a, b=pair.words_b)
    places = []
    for side, words in ((result.a, pair.words_a), (result.b, pair.words_b)):
        if side.spans is None:
            raise ValueError("words of a gold pair need the tokenizer's offsets, which only fast tokenizers have")
        offset = len(side.prompt)
        known = {span: at for at, span in enumerate(side.spans) if side.roles[at] == "text"}
        places.append([known[start + offset, end + offset] for start, end in words])
    return result.matrix[np.ix_(*places)]
