"""Differences of two scores, split over words.

For two documents i and j of one query q, with c_i and c_j as in `Attribution`,

    score_i − score_j = Σ_s V_q[s]·(e_i/c_i − e_j/c_j) + ρ_q·(e_i/c_i − e_j/c_j)

holds up to the integration error of the query's factors. Each score also splits over its own document.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

import numpy as np

from .._utils.arrays import spearman
from .._utils.optional_imports import pandas
from ..factors.contributions import Contributions, contributions_of
from ..text.units import TEXT
from .attribution import Attribution

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Contrast", "EditStep", "ModelContrast", "contrast", "contrast_models", "contrast_of"]


@dataclass(frozen=True)
class EditStep:
    """One step of an edit, and how much it changes the score."""

    kind: str
    """``"kept"``, ``"removed"`` or ``"added"``."""
    before: str
    after: str
    value: float
    """Contribution after the edit minus contribution before it."""


@dataclass(frozen=True, eq=False)
class Contrast:
    """The difference of the scores of a query with two texts i and j."""

    query: str
    words: tuple[str, ...]
    """(S,) labels of the units of the query."""
    roles: tuple[str, ...]
    score_i: float
    score_j: float
    query_i: Contributions = field(repr=False)
    """Contributions of the query's units to score i; ``query_j`` holds those to score j."""
    query_j: Contributions = field(repr=False)
    document_i: Contributions | None = field(repr=False)
    """Contributions of the units of each document to its own score. None if unknown."""
    document_j: Contributions | None = field(repr=False)
    similarity: str
    settings: Any = field(repr=False)
    relative: bool = False
    """Whether the contributions are relative to the norms, and so sum to zero with their baseline."""

    @property
    def margin(self) -> float:
        """score_i − score_j."""
        return self.score_i - self.score_j

    @property
    def by_word(self) -> np.ndarray:
        """(S,) contributions of the query's units to the margin. Positive values favour i."""
        return self.query_i.values - self.query_j.values

    @property
    def baseline(self) -> float:
        """The contribution of the query's reference to the margin."""
        return self.query_i.baseline - self.query_j.baseline

    @property
    def residual(self) -> float:
        """The margin, or zero for relative contributions, minus `by_word` and `baseline`: the integration error."""
        total = 0.0 if self.relative else self.margin
        return total - float(self.by_word.sum()) - self.baseline

    def edit(self) -> list[EditStep]:
        """Treat document i as an edit of document j, and return how each word changes the score.

        Words that both documents have in the same order are paired by spelling. The values sum to the margin minus
        the difference of the documents' baselines and integration errors.

        Raises:
            ValueError: The contributions of one document are unknown.
        """
        if self.document_i is None or self.document_j is None:
            raise ValueError("an edit needs the contributions of both documents")
        after, before = self.document_i, self.document_j
        steps: list[EditStep] = []
        matcher = SequenceMatcher(None, before.units, after.units, autojunk=False)
        for kind, i1, i2, j1, j2 in matcher.get_opcodes():
            if kind == "equal":
                steps += [
                    EditStep("kept", before.units[i], after.units[j], float(after.values[j] - before.values[i]))
                    for i, j in zip(range(i1, i2), range(j1, j2), strict=True)
                ]
                continue
            steps += [EditStep("removed", before.units[i], "", -float(before.values[i])) for i in range(i1, i2)]
            steps += [EditStep("added", "", after.units[j], float(after.values[j])) for j in range(j1, j2)]
        return steps

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as a dictionary that JSON can hold."""
        return {
            "query": self.query,
            "similarity": self.similarity,
            "relative": self.relative,
            "score_i": self.score_i,
            "score_j": self.score_j,
            "margin": self.margin,
            "words": list(self.words),
            "roles": list(self.roles),
            "by_word": self.by_word.tolist(),
            "baseline": self.baseline,
            "residual": self.residual,
            "document_i": None if self.document_i is None else self.document_i.to_dict(),
            "document_j": None if self.document_j is None else self.document_j.to_dict(),
        }

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each unit of the query: ``word``, ``role``, ``i``, ``j`` and ``margin``.

        Raises:
            ImportError: pandas is not installed.
        """
        columns = {"word": self.words, "role": self.roles, "i": self.query_i.values, "j": self.query_j.values}
        return pandas().DataFrame(columns | {"margin": self.by_word})

    def __str__(self) -> str:
        order = np.argsort(-np.abs(self.by_word), kind="stable")
        lines = [
            f"{self.similarity} similarity {self.score_i:.4f} − {self.score_j:.4f} = {self.margin:+.4f}",
            *(f"    {self.words[s]:<24}{self.by_word[s]:>+10.4f}" for s in order if self.roles[s] == TEXT),
            f"    {'(other tokens)':<24}{sum(self.by_word[s] for s in order if self.roles[s] != TEXT):>+10.4f}",
            f"    {'(reference)':<24}{self.baseline:>+10.4f}",
            f"    {'error':<24}{self.residual:>+10.1e}",
        ]
        return "\n".join(lines)


def contrast(a: Attribution, b: Attribution) -> Contrast:
    """Split the score of ``a`` minus the score of ``b`` over the text that both share.

    Args:
        a, b: Results of the same model, layer and reference that share a text. The shared text must have the same
            units in both.

    Returns:
        The difference by units of the shared text, and both scores by units of the other texts.

    Raises:
        ValueError: The results share no text, differ in its units, or come from different models or similarities.
            `contrast_models` compares models.

    >>> other = model.explain("The coffee is bad.", "The tea is cold.")
    >>> why = contrast(out, other)
    >>> bool(abs(out.score - other.score - why.by_word.sum() - why.baseline - why.residual) < 1e-6)
    True
    """
    if a.similarity != b.similarity:
        raise ValueError(f"similarities must be the same, got {a.similarity!r} and {b.similarity!r}")
    for name in ("fingerprint", "layer", "reference", "reference_positions"):
        one, other = getattr(a.settings, name), getattr(b.settings, name)
        if one != other:
            raise ValueError(
                f"scores with different {name} cannot be subtracted: {one!r} and {other!r}; "
                "use contrast_models to compare two models"
            )
    shared = [(p, q) for p in "ab" for q in "ab" if getattr(a, p).text == getattr(b, q).text]
    if not shared:
        raise ValueError(
            f"a and b share no text: got {a.a.text!r:.40}, {a.b.text!r:.40} and {b.a.text!r:.40}, {b.b.text!r:.40}"
        )
    one, other = _seen_from(a, shared[0][0]), _seen_from(b, shared[0][1])
    return contrast_of(*one, *other, a.similarity, a.settings)


def contrast_of(
    score_i: float,
    query_i: Contributions,
    document_i: Contributions | None,
    score_j: float,
    query_j: Contributions,
    document_j: Contributions | None,
    similarity: str,
    settings: Any,
    *,
    relative: bool = False,
) -> Contrast:
    """Build a `Contrast` from scores and contributions.

    Raises:
        ValueError: The query's units differ.
    """
    if query_i.units != query_j.units:
        raise ValueError(
            f"the shared text must have the same units in both, got {len(query_i.units)} and {len(query_j.units)}"
        )
    names = {"query": query_i.text, "words": query_i.units, "roles": query_i.roles}
    scores = {"score_i": score_i, "score_j": score_j, "query_i": query_i, "query_j": query_j}
    return Contrast(
        **names,
        **scores,
        document_i=document_i,
        document_j=document_j,
        similarity=similarity,
        settings=settings,
        relative=relative,
    )


@dataclass(frozen=True, eq=False)
class ModelContrast:
    """Explanations of one pair of texts by two models, word by word.

    Scores of two models have no common unit and are not subtracted. ``shares`` are each model's values over the sum
    of their absolute values. ``agreement`` compares their order.
    """

    models: tuple[str, str]
    scores: tuple[float, float]
    words: tuple[str, ...]
    """(W,) words of both texts, as characters. Only words that both tokenizers recognize."""
    texts: tuple[str, ...]
    """(W,) the text of each word, ``"a"`` or ``"b"``."""
    shares: np.ndarray = field(repr=False)
    """(W, 2) normalized values, from −1 to 1."""

    @property
    def agreement(self) -> float:
        """Spearman's rank correlation of both columns. NaN for fewer than three words or constant shares."""
        if len(self.words) < 3 or not np.ptp(self.shares, axis=0).all():
            return float("nan")
        return spearman(self.shares[:, 0], self.shares[:, 1])

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each word: ``text``, ``word``, and both models' shares ``first`` and ``second``.

        Raises:
            ImportError: pandas is not installed.
        """
        columns = {"text": self.texts, "word": self.words, "first": self.shares[:, 0], "second": self.shares[:, 1]}
        return pandas().DataFrame(columns)

    def __str__(self) -> str:
        lines = [f"{'':<26}{self.models[0][-18:]:>20}{self.models[1][-18:]:>20}"]
        lines.append(f"{'score':<26}{self.scores[0]:>20.4f}{self.scores[1]:>20.4f}")
        for text, word, (first, second) in zip(self.texts, self.words, self.shares, strict=True):
            lines.append(f"  {text}  {word:<21}{first:>+20.3f}{second:>+20.3f}")
        return "\n".join([*lines, f"rank agreement {self.agreement:.3f}"])


def contrast_models(a: Attribution, b: Attribution) -> ModelContrast:
    """Compare two models' explanations of the same two texts, word by word.

    Args:
        a, b: Results for the same two texts, in tokens, from fast tokenizers. Prompts may differ.

    Raises:
        ValueError: The texts differ, or a tokenizer has no words.

    >>> shallow = model.explain("The coffee is bad.", "This is not a good coffee.", layer=2)
    >>> beside = contrast_models(out, shallow)  # the results of two models, or of two layers of one
    >>> beside.words[:5], beside.shares.shape
    (('The', 'coffee', 'is', 'bad', '.'), (12, 2))
    """
    sides: list[tuple[str, str, tuple[float, float]]] = []
    for name in "ab":
        one, other = _word_shares(a, name), _word_shares(b, name)
        if one.text != other.text:
            raise ValueError(
                f"text {name} must be the same for both models, got {one.text!r:.40} and {other.text!r:.40}"
            )
        known = dict(zip(_places(other), other.values, strict=True))
        sides += [
            (name, one.text[place[0] : place[1]], (float(value), float(known[place])))
            for place, value in zip(_places(one), one.values, strict=True)
            if place is not None and place in known
        ]
    values = np.array([pair for *_, pair in sides]).reshape(-1, 2)
    sizes = np.abs(values).sum(0)
    return ModelContrast(
        models=(a.settings.model, b.settings.model),
        scores=(a.score, b.score),
        words=tuple(word for _, word, _ in sides),
        texts=tuple(name for name, *_ in sides),
        shares=values / np.where(sizes > 0, sizes, 1.0),
    )


def _seen_from(result: Attribution, side: str) -> tuple[float, Contributions, Contributions]:
    """Return the score, and the contributions of one text and of the other."""
    own, other = (result.a, result.b) if side == "a" else (result.b, result.a)
    query = contributions_of(own, other.embedding, result.scale)
    return result.score, query, contributions_of(other, own.embedding, result.scale)


def _word_shares(result: Attribution, side: str) -> Contributions:
    own, other = (result.a, result.b) if side == "a" else (result.b, result.a)
    words = own.words() if own.word_ids is not None else own
    return contributions_of(words, other.embedding, result.scale)


def _places(shares: Contributions) -> list[tuple[int, int] | None]:
    """Return the characters of each word, without surrounding white space. None for units that are no words."""
    if shares.spans is None:
        raise ValueError("two models are compared by words, which need a fast tokenizer")
    places: list[tuple[int, int] | None] = []
    for (start, end), role in zip(shares.spans, shares.roles, strict=True):
        piece = shares.text[start:end]
        trimmed = (end - len(piece.lstrip()), start + len(piece.rstrip()))
        places.append(trimmed if role == TEXT and trimmed[0] < trimmed[1] else None)
    return places
