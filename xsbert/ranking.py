"""A ranking that tells why: hits, best first, with what the words of query and document have in each score."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from .attribution import Attribution
from .cached import cached_property
from .contrasts import Contrast, ModelContrast, contrast_models, contrast_of
from .factors import ProjectedFactors, TextFactors
from .highlights import Highlight, highlights_of, tagged
from .optional import pandas
from .plain import checked_integer
from .ranking_files import as_dict, load_ranking, save_ranking
from .shares import Shares, by_sentence, shares_of, summed_shares
from .storage import write_text
from .units import check_units
from .view.ranking_page import fragment, page
from .view.ranking_terminal import account

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Hit", "Passage", "Ranking"]


@dataclass(frozen=True, eq=False)
class Passage:
    """A part of a document that has a share in its score, and its factors."""

    start: int
    end: int
    """Characters [start, end) of the document: all of it, where passages were not asked for."""
    weight: float
    """Its share in the document's score: 1, or 1/n where the score is the mean over n passages."""
    side: TextFactors = field(repr=False)
    """Tokens. Along the query's embedding alone, a `ProjectedFactors`, unless pairs were asked for."""


@dataclass(frozen=True, eq=False, repr=False)
class Hit:
    """One document of a ranking."""

    index: int
    """Its place among the documents that were given."""
    score: float
    """The model's own, of `encode_query` and `encode_document`, or of the embeddings that were given; NaN, with a
    `reason` and behind all others, where it is not finite."""
    text: str
    """The document."""
    passages: tuple[Passage, ...]
    """What made the score: one passage, or all of them where the score is their mean; none without explanation."""
    query_factors: TextFactors = field(repr=False)
    """The query's, as tokens."""
    similarity: str
    units: str = "words"
    """``"tokens"``, ``"words"`` or ``"sentences"``: what `contributions` are of."""
    n_passages: int = 1
    """Passages of the document, of which the best one, or all, made the score."""
    n_cut: int = 0
    """Tokens of the document that the model's limit cut off, so that they have no share in the score."""
    reason: str | None = None
    """Why there is no explanation; None where there is one."""
    id: str | int | float | None = None
    """What the retriever calls the document; a number stays one."""
    retriever_score: float | None = None
    """What the retriever gave, on its own scale, finite; ranks and explanations are of `score`."""

    @property
    def explained(self) -> bool:
        """Whether there is an explanation. The properties below raise a ValueError with the reason where not."""
        return self.reason is None

    @cached_property
    def document(self) -> Shares:
        """What the units of the document have in the score; spans are characters of `text`."""
        self._require_explained()
        if self.units == "sentences" and len(self.passages) > 1:
            return by_sentence(self.over("words").document)
        direction = self.query_factors.embedding
        parts = [
            shares_of(
                _in_units(passage.side, self.units),
                direction,
                self._scale(passage),
                text=self.text,
                start=passage.start,
            )
            for passage in self.passages
        ]
        return summed_shares(parts, [passage.weight for passage in self.passages])

    @cached_property
    def query(self) -> Shares:
        """What the units of the query, which are words unless tokens were asked for, have in the score."""
        self._require_explained()
        units = "tokens" if self.units == "tokens" else "words"
        known = _in_units(self.query_factors, units)
        parts = [shares_of(known, passage.side.embedding, self._scale(passage)) for passage in self.passages]
        weights = np.array([passage.weight for passage in self.passages])
        values = weights @ np.array([part.values for part in parts])
        return replace(parts[0], values=values, baseline=float(weights @ [part.baseline for part in parts]))

    @property
    def contributions(self) -> np.ndarray:
        """(U,) one number for each unit of the document; with `baseline` they sum to the score, up to `error`."""
        return self.document.values

    @property
    def baseline(self) -> float:
        """What the document's reference, of its length and without its words, has in the score."""
        return self.document.baseline

    @property
    def error(self) -> float:
        """The distance between the score and contributions plus baseline."""
        return abs(self.score - self.document.total)

    @property
    def residual(self) -> float:
        """The largest relative integration error of its passages."""
        self._require_explained()
        return max(passage.side.residual for passage in self.passages)

    @property
    def factor_error(self) -> float | None:
        """Upper estimate of the relative error ‖V − V*‖ / ‖V*‖ of the tokens' shares V; see `xsbert.accuracy`.

        Along the query's direction alone few numbers tell it, so that it is wide (docs/guides/rankings.md).
        """
        self._require_explained()
        errors = [passage.side.factor_error for passage in self.passages]
        known = [each for each in errors if each is not None]
        return max(known) if len(known) == len(errors) else None

    @cached_property
    def score_unshifted(self) -> float | None:
        """The model's own score where a shift was added to it, as in `Attribution`."""
        self._require_explained()
        query = self.query_factors.embedding_unshifted
        scores = []
        for passage in self.passages:
            document = passage.side.embedding_unshifted
            if query is None or document is None:
                return None
            norms = np.linalg.norm(query) * np.linalg.norm(document) if self.similarity == "cosine" else 1.0
            scores.append(passage.weight * float(query @ document) / norms)
        return float(sum(scores))

    @property
    def attribution(self) -> Attribution:
        """Query and document, pair by pair, in words (text a is the query).

        Raises:
            ValueError: only highlights were asked for, or the score is the mean over several passages.
        """
        self._require_explained()
        if len(self.passages) > 1:
            raise ValueError("the score is the mean over passages: see attribution_of(place) of each")
        return self.attribution_of(0)

    def attribution_of(self, place: int) -> Attribution:
        """The same of one of the passages that made the score."""
        side = self.passages[place].side
        if isinstance(side, ProjectedFactors):
            raise ValueError('pairs of words were not asked for: explain the ranking with detail="pairs"')
        units = "tokens" if self.units == "tokens" else "words"
        query = _in_units(self.query_factors, units)
        return Attribution.of(query, _in_units(side, self.units), self.similarity)

    @property
    def has_pairs(self) -> bool:
        """Whether `attribution` is there."""
        return self.explained and not any(isinstance(passage.side, ProjectedFactors) for passage in self.passages)

    def highlights(self, merge: str = "words", k: int | None = None) -> list[Highlight]:
        """Stretches of the document with their weights in the score, that of largest weight first.

        Args:
            merge: ``"words"``, ``"sentences"`` or ``"passages"``, the runs of words that stand out; see
                `xsbert.highlights`. Words are those of the tokenizer, also where `units` are tokens or sentences.
            k: most of them.
        """
        k = checked_integer(k, "k", least=1, optional=True, wrong_type=ValueError)
        return highlights_of(self.over("words").document, merge)[:k]

    def tagged(
        self,
        pre: str = "<mark>",
        post: str = "</mark>",
        threshold: float = 0.5,
        *,
        merge: str = "words",
        escape: Callable[[str], str] | None = None,
    ) -> str:
        """The document with marks around its highlights, as search engines give it.

        Args:
            pre, post: put around each stretch.
            threshold: between 0 and 1: weights below this share of the largest are not marked.
            merge: as for `highlights`.
            escape: applied to each piece of the text; `html.escape` for a page.
        """
        return tagged(self.text, self.highlights(merge), pre, post, threshold, escape)

    def within(self, sentence: int) -> Shares:
        """The words of one sentence of the document, by its place among all, from 0. Costs nothing.

        Raises:
            IndexError: there is no such sentence, or the model's limit cut it off.
        """
        words = self.over("words").document
        sentences = sorted(highlights_of(words, "sentences"), key=lambda each: each.start)
        if not 0 <= sentence < len(sentences):
            raise IndexError(f"the model saw {len(sentences)} sentences, there is none with the place {sentence}")
        chosen = sentences[sentence]
        spans = words.spans or ()
        kept = [
            at for at, (start, end) in enumerate(spans) if chosen.start <= start and end <= chosen.end and start < end
        ]
        return Shares(
            text=words.text,
            units=tuple(words.units[at] for at in kept),
            roles=tuple(words.roles[at] for at in kept),
            spans=tuple(spans[at] for at in kept),
            values=words.values[kept],
            baseline=0.0,
        )

    def over(self, units: str) -> Hit:
        """The same hit with other units of the document; nothing is computed anew."""
        check_units(units)
        return self if units == self.units else replace(self, units=units)

    def _require_explained(self) -> None:
        if self.reason is not None:
            raise ValueError(f"document {self.index} is not explained: {self.reason}")

    def _scale(self, passage: Passage) -> float:
        """c of the query and one passage."""
        if self.similarity == "cosine":
            return float(np.linalg.norm(self.query_factors.embedding) * np.linalg.norm(passage.side.embedding))
        return self.query_factors.normalisation * passage.side.normalisation

    def __repr__(self) -> str:
        how = "not explained" if self.reason else f"{len(self.document.units)} {self.units}"
        return f"<{type(self).__name__} {self.index}: {self.score:.4f}, {how}, {self.text!r:.40}>"


@dataclass(frozen=True, eq=False, repr=False)
class Ranking(Sequence[Hit]):
    """Documents for a query, best first; a sequence of `Hit`.

    >>> ranking = model.explain_ranking("cold weather", ["It rains.", "A cold day."])
    >>> ranking.order, ranking[0].text, ranking[0].tagged()
    ([1, 0], 'A cold day.', 'A <mark>cold</mark> day.')
    """

    query_factors: TextFactors
    """The query's, as tokens."""
    hits: tuple[Hit, ...]
    similarity: str
    detail: str
    """``"highlights"`` or ``"pairs"``."""
    n_documents: int
    """How many were ranked, of which these are the best."""
    pooling: str | None = None
    """How the score of a document is made of those of its passages: ``"max"``, ``"mean"``, or None without passages."""

    @overload
    def __getitem__(self, place: int) -> Hit: ...

    @overload
    def __getitem__(self, place: slice) -> Ranking: ...

    def __getitem__(self, place: int | slice) -> Hit | Ranking:
        """The hit of a rank, counted from 0; or a part of the ranking."""
        return replace(self, hits=self.hits[place]) if isinstance(place, slice) else self.hits[place]

    def __len__(self) -> int:
        return len(self.hits)

    @property
    def query(self) -> str:
        """The query, without its prompt."""
        return self.query_factors.text[len(self.query_factors.prompt) :]

    @property
    def order(self) -> list[int]:
        """Places of the documents, best first."""
        return [hit.index for hit in self.hits]

    @property
    def scores(self) -> list[float]:
        """In the same order."""
        return [hit.score for hit in self.hits]

    @cached_property
    def query_words(self) -> Shares:
        """Units of the query; their values here are means over the hits that are explained."""
        explained = [hit.query for hit in self.hits if hit.explained]
        if not explained:
            raise ValueError("no hit is explained: " + "; ".join(str(hit.reason) for hit in self.hits))
        return replace(
            explained[0],
            values=np.mean([each.values for each in explained], axis=0),
            baseline=float(np.mean([each.baseline for each in explained])),
        )

    @property
    def query_matrix(self) -> np.ndarray:
        """(n hits, S) what each unit of the query has in each score; NaN in the rows of hits without explanation."""
        width = len(self.query_words.units)
        return np.array([hit.query.values if hit.explained else np.full(width, np.nan) for hit in self.hits])

    def over(self, units: str) -> Ranking:
        """The same with other units of the documents; nothing is computed anew.

        >>> ranking.over("tokens")[0].document.units
        ('[CLS]', 'a', 'cold', 'day', '.', '[SEP]')
        """
        return replace(self, hits=tuple(hit.over(units) for hit in self.hits))

    def contrast(self, i: int, j: int) -> Contrast:
        """Why the hit of rank i scores higher (or lower) than that of rank j, by the words of the query and of both.

        Args:
            i, j: ranks, counted from 0.

        Raises:
            IndexError: there is no such rank.
            TypeError: a rank is no integer.
            ValueError: a hit is not explained.

        >>> why = ranking.contrast(0, 1)
        >>> why.words[int(why.by_word.argmax())]
        'cold'
        """
        one, other = self._hit(i, "i"), self._hit(j, "j")
        how = self.query_factors.settings
        sides = one.score, one.query, one.document, other.score, other.query, other.document
        return contrast_of(*sides, self.similarity, how)

    def contrast_model(self, other: Ranking, index: int) -> ModelContrast:
        """This model's and another's explanation of one document, word by word, each on its own scale.

        Args:
            other: a ranking by the other model for the same query, both with ``detail="pairs"``.
            index: the document's place among the documents that were given.

        Raises:
            ValueError: the queries differ, or the document is in one of the rankings alone.

        >>> texts = ["It rains.", "A cold day."]
        >>> one, other = (model.explain_ranking("cold weather", texts, detail="pairs", layer=layer) for layer in (4, 5))
        >>> one.contrast_model(other, index=1).words
        ('cold', 'weather', 'A', 'cold', 'day', '.')
        """
        own, others = (next((hit for hit in each if hit.index == index), None) for each in (self, other))
        if own is None or others is None:
            raise ValueError(f"document {index} is not among the hits of both rankings")
        return contrast_models(own.over("words").attribution, others.over("words").attribution)

    def to_dict(self) -> dict[str, Any]:
        """All numbers of the account, as JSON can hold them. `save` keeps the factors as well.

        >>> import json
        >>> [hit["index"] for hit in json.loads(json.dumps(ranking.to_dict()))["hits"]]
        [1, 0]
        """
        return as_dict(self)

    def to_dataframe(self) -> pd.DataFrame:
        """A row for each unit of each document.

        Returns:
            ``rank`` from 0, ``index``, ``id``, ``score``, ``unit``, ``role``, ``start``, ``end``, ``contribution``. A
            hit without explanation has one row, with None for its unit and its reason as the role.

        Raises:
            ImportError: pandas is not installed.

        >>> frame = ranking.to_dataframe()
        >>> frame.loc[frame.contribution.idxmax(), "unit"]
        'cold'
        """
        rows: list[tuple] = []
        for rank, hit in enumerate(self.hits):
            head = (rank, hit.index, hit.id, hit.score)
            if not hit.explained:
                rows.append((*head, None, hit.reason, None, None, float("nan")))
                continue
            shares = hit.document
            spans = shares.spans or [(None, None)] * len(shares.units)
            for unit, role, span, value in zip(shares.units, shares.roles, spans, shares.values, strict=True):
                rows.append((*head, unit, role, *span, float(value)))
        names = ["rank", "index", "id", "score", "unit", "role", "start", "end", "contribution"]
        frame = pandas().DataFrame(rows, columns=names)
        # Beside a missing one, whole numbers would become fractions.
        frame["id"] = pandas().Series([row[2] for row in rows], dtype=object)
        return frame

    def to_html(self, path: str | PathLike[str] | None = None) -> str:
        """One self-contained page: the query's words above, hits below with their highlights. Needs no network.

        Args:
            path: also write the page to this file, in UTF-8, all of it or nothing.

        Raises:
            ValueError: a number is not finite.

        >>> ranking.to_html(folder / "ranking.html").startswith("<!doctype html>")
        True
        """
        text = page(self)
        if path is not None:
            write_text(path, text)
        return text

    def _repr_html_(self) -> str:
        return fragment(self)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the ranking to one file (safetensors), all of it or nothing; an existing file is replaced.

        Raises:
            ValueError: it holds numbers that are not finite.
            OSError: the file cannot be written.

        >>> ranking.save(folder / "ranking.safetensors")
        """
        save_ranking(self, path)

    @staticmethod
    def load(path: str | PathLike[str]) -> Ranking:
        """Read a ranking that `save` wrote.

        Raises:
            OSError: there is no such file, or it cannot be read.
            ValueError: the file is damaged, is no saved ranking, or was written in a newer format.

        >>> ranking.save(folder / "ranking.safetensors")
        >>> xsbert.Ranking.load(folder / "ranking.safetensors").order == ranking.order
        True
        """
        return load_ranking(path, (Ranking, Hit, Passage))

    def __str__(self) -> str:
        return "\n".join(account(self))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)} of {self.n_documents} documents for {self.query!r:.40}>"

    def _hit(self, place: int, name: str) -> Hit:
        try:
            at = operator.index(place)
        except TypeError:
            raise TypeError(f"{name} must be a rank, an integer from 0, got {place!r}") from None
        if not -len(self) <= at < len(self):
            raise IndexError(f"{name} must be a rank between 0 and {len(self) - 1}, got {place}")
        return self.hits[at]


def _in_units(side: TextFactors, units: str) -> TextFactors:
    if units == "tokens":
        return side
    return side.words() if units == "words" else side.over(units)
