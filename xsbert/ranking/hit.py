"""One hit of a ranking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .._utils.cached_property import cached_property
from .._utils.deprecation import renamed_keywords
from .._utils.validation import checked_integer
from ..attribution.attribution import Attribution
from ..attribution.scale import length_of
from ..factors.contributions import (
    Contributions,
    by_sentence,
    contributions_of,
    relative_direction,
    summed_contributions,
    unit_vector,
)
from ..factors.text_factors import ProjectedFactors, TextFactors, directions_of
from ..text.marks import Highlight, marked_spans, tagged
from ..text.units import check_units
from .answers import Answer
from .highlights import highlights_of
from .query import Query

__all__ = ["Hit", "Passage"]


@dataclass(frozen=True, eq=False)
class Passage:
    """A part of a document that contributes to its score, with its factors."""

    start: int
    end: int
    """Characters [start, end) of the document: the whole document if it was not split into passages."""
    weight: float
    """Weight in the document's score: 1, or 1/n if the score is the mean over n passages."""
    side: TextFactors = field(repr=False)
    """Factors of tokens. Without pairs, a `ProjectedFactors` along the query's embedding."""


@dataclass(frozen=True, eq=False, repr=False)
class Hit:
    """One document of a ranking."""

    index: int
    """Position among the given documents."""
    score: float
    """The model's own score, by `encode_query` and `encode_document`, or that of the given embeddings. A score that is
    not finite becomes NaN; the hit then ranks last and has a `reason`."""
    text: str
    """The document."""
    passages: tuple[Passage, ...]
    """Passages that determine the score: one, or all if the score is their mean. Empty without an explanation."""
    asked: Query = field(repr=False)
    """The query, without factors until they are used."""
    similarity: str
    units: str = "words"
    """Units of `contributions`: ``"tokens"``, ``"words"`` or ``"sentences"``."""
    n_passages: int = 1
    """Number of passages of the document. The best one, or all, determine the score."""
    n_cut: int = 0
    """Number of tokens of the document that were truncated and so do not contribute to the score."""
    reason: str | None = None
    """Reason why there is no explanation; None if there is one."""
    id: str | int | float | None = None
    """The retriever's id of the document. A number stays a number."""
    retriever_score: float | None = None
    """The retriever's finite score, on its own scale. Ranks and explanations use `score` instead."""
    relative: bool = False
    """Whether the factors of the document tell the contributions of `document_relative`."""

    @property
    def query_factors(self) -> TextFactors:
        """Factors of the query's tokens, computed on first use for all hits."""
        return self.asked.factors

    @property
    def explained(self) -> bool:
        """Whether there is an explanation. If not, the properties below raise a ValueError with the reason."""
        return self.reason is None

    @cached_property
    def document(self) -> Contributions:
        """Contributions of the document's units to the score. Spans are characters of `text`."""
        self._require_explained()
        if self.units == "sentences" and len(self.passages) > 1:
            return by_sentence(self.over("words").document)
        query = self.asked.encoded
        return self._over_passages(
            [(directions_of(passage.side, query, query.embedding), self._scale(passage)) for passage in self.passages]
        )

    @cached_property
    def document_relative(self) -> Contributions:
        """Contributions of the document's units, measured against the weight of each unit in the document.

        A cosine is divided by the norm of the document's embedding, to which each unit adds. To first order, removing
        a unit with the factor V lowers the score s by V·(ê_q − s·ê_d)/‖e_d‖, with ê the embeddings divided by their
        norms. A unit with a positive value is more similar to the query than the document as a whole. With their
        baseline, the values sum to zero, up to the integration error.

        Raises:
            ValueError: the factors were computed along the query alone (see ``relative`` of `explain_ranking`), or the
                score is a dot product, which is not divided by the norm.
        """
        self._require_relative()
        if self.units == "sentences" and len(self.passages) > 1:
            return by_sentence(self.over("words").document_relative)
        query = self.asked.encoded
        directions = [directions_of(passage.side, query, unit_vector(query.embedding)) for passage in self.passages]
        return self._over_passages(
            [
                relative_direction(direction, passage.side.embedding)
                for direction, passage in zip(directions, self.passages, strict=True)
            ]
        )

    @cached_property
    def query(self) -> Contributions:
        """Contributions of the query's units to the score: tokens if `units` are tokens, otherwise words."""
        self._require_explained()
        units = "tokens" if self.units == "tokens" else "words"
        known = self.query_factors.in_units(units)
        parts = [
            contributions_of(known, directions_of(known, side, side.embedding), self._scale(passage))
            for passage in self.passages
            for side in [passage.side]
        ]
        weights = np.array([passage.weight for passage in self.passages])
        values = weights @ np.array([part.values for part in parts])
        return replace(parts[0], values=values, baseline=float(weights @ [part.baseline for part in parts]))

    @cached_property
    def query_relative(self) -> Contributions:
        """Contributions of the query's units, measured against the weight of each unit in the query.

        See `document_relative`.
        """
        self._require_relative()
        units = "tokens" if self.units == "tokens" else "words"
        known = self.query_factors.in_units(units)
        parts = []
        for passage in self.passages:
            other = directions_of(known, passage.side, unit_vector(passage.side.embedding))
            direction, scale = relative_direction(other, known.embedding)
            parts.append(contributions_of(known, direction, scale))
        weights = np.array([passage.weight for passage in self.passages])
        values = weights @ np.array([part.values for part in parts])
        return replace(parts[0], values=values, baseline=float(weights @ [part.baseline for part in parts]))

    @property
    def contributions(self) -> np.ndarray:
        """(U,) contributions of the document's units. With `baseline`, they sum to the score up to `error`."""
        return self.document.values

    @property
    def baseline(self) -> float:
        """Contribution of the document's reference, which has its length but not its words."""
        return self.document.baseline

    @property
    def error(self) -> float:
        """Absolute difference between the score and the sum of contributions and baseline."""
        return abs(self.score - self.document.total)

    @property
    def residual(self) -> float:
        """Largest relative integration error of the passages."""
        self._require_explained()
        return max(passage.side.residual for passage in self.passages)

    @property
    def factor_error(self) -> float | None:
        """Upper estimate of the relative error ‖V − V*‖ / ‖V*‖ of the tokens' contributions V.

        See `xsbert.integrated_jacobian.error_estimates`. Along the query's direction
        alone it relies on few numbers and is wide (docs/guides/rankings.md).
        """
        self._require_explained()
        errors = [passage.side.factor_error for passage in self.passages]
        known = [each for each in errors if each is not None]
        return max(known) if len(known) == len(errors) else None

    @cached_property
    def score_unshifted(self) -> float | None:
        """The model's own score if a shift was added to the model, as in `Attribution`."""
        self._require_explained()
        query = self.asked.encoded.embedding_unshifted
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
        """Attribution to pairs of units of the query (text a) and the document (text b).

        Raises:
            ValueError: the ranking has only highlights, or the score is the mean over several passages.
        """
        self._require_explained()
        if len(self.passages) > 1:
            raise ValueError("the score is the mean over passages: see attribution_of(place) of each")
        return self.attribution_of(0)

    def attribution_of(self, place: int) -> Attribution:
        """Return the attribution of one of the passages that determine the score."""
        side = self.passages[place].side
        if isinstance(side, ProjectedFactors):
            raise ValueError('pairs of words were not computed: explain the ranking with detail="pairs"')
        units = "tokens" if self.units == "tokens" else "words"
        query = self.query_factors.in_units(units)
        return Attribution.of(query, side.in_units(self.units), self.similarity)

    @property
    def has_pairs(self) -> bool:
        """Whether `attribution` is available."""
        return self.explained and not any(isinstance(passage.side, ProjectedFactors) for passage in self.passages)

    @renamed_keywords(merge="units", k="top_k")
    def highlights(self, units: str = "words", top_k: int | None = None, *, relative: bool = False) -> list[Highlight]:
        """Return spans of the document with their contributions to the score, largest first.

        Args:
            units: ``"words"`` or ``"sentences"``; see `xsbert.ranking.highlights`. Words are those of the tokenizer,
                also if those of the hit are tokens or sentences.
            top_k: maximum number of spans; None returns all.
            relative: use the contributions of `document_relative`.
        """
        top_k = checked_integer(top_k, "top_k", least=1, optional=True, wrong_type=ValueError)
        words = self.over("words")
        return highlights_of(words.document_relative if relative else words.document, units)[:top_k]

    @renamed_keywords(merge="units")
    def tagged(
        self,
        pre: str = "<mark>",
        post: str = "</mark>",
        threshold: float = 0.5,
        *,
        units: str = "words",
        escape: Callable[[str], str] | None = None,
        relative: bool = False,
    ) -> str:
        """Return the document with tags around its highlights, as search engines do.

        Args:
            pre, post: inserted before and after each highlight.
            threshold: between 0 and 1; weights below this fraction of the largest are not marked.
            units, relative: as for `highlights`.
            escape: applied to each piece of the text, such as `html.escape` for a page.
        """
        return tagged(self.text, self.highlights(units, relative=relative), pre, post, threshold, escape)

    def marked(self, threshold: float = 0.5, *, units: str = "words", relative: bool = False) -> list[Highlight]:
        """Return the spans that `tagged` marks, in text order. Adjacent highlights are merged, with summed weights.

        Args:
            threshold, units, relative: as for `tagged`.
        """
        return marked_spans(self.text, self.highlights(units, relative=relative), threshold)

    def answer(self, method: str = "maxsim") -> Answer:
        """Return the sentence that answers the query best, by a finder. It is no attribution of the score.

        Args:
            method: ``"maxsim"`` or ``"sentences"``; see `xsbert.ranking.answers`. Either takes about one encoding of
                the passages that determine the score.

        Raises:
            ValueError: the method is neither of these, the document is not explained, or the ranking was loaded from a
                file or copied, without the model.

        >>> ranking[0].answer().text
        'A cold day.'
        """
        self._require_explained()
        if self.asked.finder is None:
            raise ValueError("answers need the model, which a loaded or copied ranking does not have")
        return self.asked.finder.find(self.text, [(each.start, each.end) for each in self.passages], method)

    def within(self, sentence: int) -> Contributions:
        """Return the contributions of the words of one sentence, given its index from 0. No model pass is needed.

        Raises:
            IndexError: there is no such sentence, or it was truncated.
        """
        words = self.over("words").document
        sentences = sorted(highlights_of(words, "sentences"), key=lambda each: each.start)
        if not 0 <= sentence < len(sentences):
            raise IndexError(f"the model saw {len(sentences)} sentences, got sentence {sentence}")
        chosen = sentences[sentence]
        spans = words.spans or ()
        kept = [
            at for at, (start, end) in enumerate(spans) if chosen.start <= start and end <= chosen.end and start < end
        ]
        return Contributions(
            text=words.text,
            units=tuple(words.units[at] for at in kept),
            roles=tuple(words.roles[at] for at in kept),
            spans=tuple(spans[at] for at in kept),
            values=words.values[kept],
            baseline=0.0,
        )

    def over(self, units: str) -> Hit:
        """Return the hit with other units of the document, without any new computation of the model."""
        check_units(units)
        return self if units == self.units else replace(self, units=units)

    def _require_explained(self) -> None:
        if self.reason is not None:
            raise ValueError(f"document {self.index} is not explained: {self.reason}")

    def _require_relative(self) -> None:
        self._require_explained()
        if not self.relative:
            raise ValueError(
                "these factors do not tell contributions that are relative to the norm: explain the ranking by its "
                "cosine, with relative=True"
            )

    def _over_passages(self, directions: Sequence[tuple[np.ndarray, float]]) -> Contributions:
        """Return the contributions along a direction and with a scale for each passage, summed by their weights."""
        parts = [
            contributions_of(passage.side.in_units(self.units), direction, scale, text=self.text, start=passage.start)
            for passage, (direction, scale) in zip(self.passages, directions, strict=True)
        ]
        return summed_contributions(parts, [passage.weight for passage in self.passages])

    def _scale(self, passage: Passage) -> float:
        """Return the scale c of the score of the query and one passage."""
        return length_of(self.asked.encoded, self.similarity) * length_of(passage.side, self.similarity)

    def __repr__(self) -> str:
        how = "not explained" if self.reason else f"{len(self.document.units)} {self.units}"
        return f"<{type(self).__name__} {self.index}: {self.score:.4f}, {how}, {self.text!r:.40}>"
