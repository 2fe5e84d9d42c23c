"""What moved between two results, and two results side by side, as JSON."""

from __future__ import annotations

from typing import Any

from ..attribution.attribution import Attribution
from ..attribution.contrasts import contrast, contrast_models
from ..ranking.ranking import Ranking
from ..text.display import display_units
from ..text.units import TEXT
from ..view.effects import by_word

__all__ = ["beside", "moved"]


def moved(after: Attribution | Ranking, before: Attribution | Ranking) -> dict[str, Any]:
    """Return what an edit changed.

    Args:
        after: The result of the edited texts.
        before: The result before the edit: a pair that shares a text, or a ranking.

    Returns:
        For pairs ``score`` before and after, ``margin``, ``shared`` and ``edit`` as rows of labels and values, and the
        ``rest`` that no word has. For rankings the ``rows`` of all documents, with ranks and scores before and after.

    Raises:
        ValueError: The results cannot be compared.
    """
    if isinstance(after, Ranking) and isinstance(before, Ranking):
        return {"kind": "ranking", "rows": _ranks(after, before)}
    if not isinstance(after, Attribution) or not isinstance(before, Attribution):
        raise ValueError("a pair and a ranking have nothing that moved from one to the other")
    one, other = by_word(after), by_word(before)
    found = contrast(one, other)
    edit = [step for step in found.edit() if step.value]
    shared = [
        [label, float(value)]
        for label, role, value in zip(display_units(found.query_i), found.roles, found.by_word, strict=True)
        if role == TEXT
    ]
    return {
        "kind": "pair",
        "before": found.score_j,
        "after": found.score_i,
        "margin": found.margin,
        "text": found.query,
        "shared": shared,
        "rest": found.margin - sum(value for _, value in shared),
        "edit": [[step.kind, step.before, step.after, step.value] for step in edit],
    }


def _ranks(after: Ranking, before: Ranking) -> list[dict[str, Any]]:
    """Return the documents of both rankings, matched by their position among the documents."""
    hits = {hit.index: [rank, hit, None, None] for rank, hit in enumerate(after, 1)}
    for rank, hit in enumerate(before, 1):
        hits.setdefault(hit.index, [None, None, None, None])[2:] = [rank, hit]
    return [
        {
            "index": index,
            "text": (hit or earlier).text[:120],
            "edited": hit is not None and earlier is not None and hit.text != earlier.text,
            "after": None if hit is None else [rank, hit.score],
            "before": None if earlier is None else [earlier_rank, earlier.score],
        }
        for index, (rank, hit, earlier_rank, earlier) in hits.items()
    ]


def beside(one: Attribution | Ranking, other: Attribution | Ranking) -> dict[str, Any]:
    """Return two models' or references' explanations of the same texts, word by word.

    Returns:
        For pairs ``scores``, ``agreement`` (Spearman's correlation, None where undefined) and ``rows`` of text, word
        and both shares; for rankings as for `moved`.

    Raises:
        ValueError: The results cannot be compared.
    """
    if isinstance(one, Ranking) and isinstance(other, Ranking):
        return {"kind": "ranking", "rows": _ranks(one, other)}
    if not isinstance(one, Attribution) or not isinstance(other, Attribution):
        raise ValueError("a pair and a ranking cannot be set side by side")
    found = contrast_models(one, other)
    return {
        "kind": "pair",
        "scores": list(found.scores),
        "agreement": None if found.agreement != found.agreement else found.agreement,
        "rows": [
            [text, word, float(first), float(second)]
            for text, word, (first, second) in zip(found.texts, found.words, found.shares, strict=True)
        ],
    }
