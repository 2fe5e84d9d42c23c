"""A ranking with explanations: hits, best first, with the contributions of words of query and document."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from typing_extensions import deprecated

from .._utils.atomic_files import write_text
from .._utils.cached_property import cached_property
from .._utils.checksummed_safetensors import reading
from .._utils.optional_imports import pandas
from ..attribution.contrasts import Contrast, ModelContrast, contrast_models, contrast_of
from ..factors.contributions import Contributions
from ..factors.text_factors import TextFactors
from ..view.html.ranking_page import fragment, page
from ..view.ranking_terminal import summarize
from .files import as_dict, check_ranking, read_ranking, save_ranking
from .hit import Hit, Passage
from .query import Query

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Ranking"]


@dataclass(frozen=True, eq=False, repr=False)
class Ranking(Sequence[Hit]):
    """Documents for a query, best first; a sequence of `Hit`.

    >>> ranking = model.explain_ranking("cold weather", ["It rains.", "A cold day."])
    >>> ranking.order, ranking[0].text, ranking[0].tagged()
    ([1, 0], 'A cold day.', 'A <mark>cold</mark> day.')
    """

    asked: Query
    """The query, without factors until they are used."""
    hits: tuple[Hit, ...]
    similarity: str
    detail: str
    """``"highlights"`` or ``"pairs"``."""
    n_documents: int
    """Number of ranked documents; the hits are the best of them."""
    pooling: str | None = None
    """Pooling of the passages' scores into the document's: ``"max"``, ``"mean"``, or None without passages."""
    relative: bool = False
    """Whether hits have contributions that are relative to the norm, `Hit.document_relative`."""

    @overload
    def __getitem__(self, place: int) -> Hit: ...

    @overload
    def __getitem__(self, place: slice) -> Ranking: ...

    def __getitem__(self, place: int | slice) -> Hit | Ranking:
        """Return the hit at a rank, counted from 0, or a slice of the ranking."""
        return replace(self, hits=self.hits[place]) if isinstance(place, slice) else self.hits[place]

    def __len__(self) -> int:
        return len(self.hits)

    @property
    def query_factors(self) -> TextFactors:
        """Factors of the query's tokens, computed on first use."""
        return self.asked.factors

    @property
    def query(self) -> str:
        """The query, without its prompt."""
        return self.asked.encoded.text[len(self.asked.encoded.prompt) :]

    @property
    def order(self) -> list[int]:
        """Indices of the documents, best first."""
        return [hit.index for hit in self.hits]

    @property
    def scores(self) -> list[float]:
        """Scores in the same order."""
        return [hit.score for hit in self.hits]

    @cached_property
    def query_words(self) -> Contributions:
        """Contributions of the query's units, averaged over the explained hits."""
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
        """(n hits, S) contributions of the query's units to each score; rows of unexplained hits are NaN."""
        width = len(self.query_words.units)
        return np.array([hit.query.values if hit.explained else np.full(width, np.nan) for hit in self.hits])

    def over(self, units: str) -> Ranking:
        """Return the ranking with other units of the documents, without any new computation of the model.

        >>> ranking.over("tokens")[0].document.units
        ('[CLS]', 'a', 'cold', 'day', '.', '[SEP]')
        """
        return replace(self, hits=tuple(hit.over(units) for hit in self.hits))

    def contrast(self, i: int, j: int, *, relative: bool = False) -> Contrast:
        """Attribute the difference in score between the hits at ranks i and j to the words of query and documents.

        Args:
            i, j: ranks, counted from 0.
            relative: use the contributions of `Hit.query_relative` and `Hit.document_relative`. They do not sum to the
                difference but, with their baseline, to zero.

        Raises:
            IndexError: there is no such rank.
            TypeError: a rank is not an integer.
            ValueError: a hit is not explained, or has no relative contributions.

        >>> why = ranking.contrast(0, 1)
        >>> why.words[int(why.by_word.argmax())]
        'cold'
        """
        one, other = self._hit(i, "i"), self._hit(j, "j")
        how = self.asked.encoded.settings
        if relative:
            one_sides, other_sides = ((hit.query_relative, hit.document_relative) for hit in (one, other))
        else:
            one_sides, other_sides = ((hit.query, hit.document) for hit in (one, other))
        return contrast_of(one.score, *one_sides, other.score, *other_sides, self.similarity, how, relative=relative)

    def contrast_models(self, other: Ranking, index: int) -> ModelContrast:
        """Compare two models' explanations of one document, word by word, each on its own scale.

        Args:
            other: ranking of another model for the same query. Both need ``detail="pairs"``.
            index: position of the document among the given documents.

        Raises:
            ValueError: the queries differ, or one of the rankings lacks the document.

        >>> texts = ["It rains.", "A cold day."]
        >>> one, other = (model.explain_ranking("cold weather", texts, detail="pairs", layer=layer) for layer in (4, 5))
        >>> one.contrast_models(other, index=1).words
        ('cold', 'weather', 'A', 'cold', 'day', '.')
        """
        own, others = (next((hit for hit in each if hit.index == index), None) for each in (self, other))
        if own is None or others is None:
            raise ValueError(f"document {index} is not among the hits of both rankings")
        return contrast_models(own.over("words").attribution, others.over("words").attribution)

    @deprecated("contrast_model() of a ranking is deprecated, its name is contrast_models()")
    def contrast_model(self, other: Ranking, index: int) -> ModelContrast:
        """Deprecated name of `contrast_models`, from version 0.1.0."""
        return self.contrast_models(other, index)

    def to_dict(self) -> dict[str, Any]:
        """Return the texts and all numbers as JSON types, with the spans that `Hit.tagged` marks.

        ``xsbert.json_schema("ranking")`` describes them. `save` also stores the factors.

        >>> import json
        >>> [hit["index"] for hit in json.loads(json.dumps(ranking.to_dict()))["hits"]]
        [1, 0]
        """
        return as_dict(self)

    def to_dataframe(self) -> pd.DataFrame:
        """Return a data frame with one row for each unit of each document.

        Returns:
            columns ``rank`` from 0, ``index``, ``id``, ``score``, ``unit``, ``role``, ``start``, ``end`` and
            ``contribution``. An unexplained hit has one row, with None as the unit and its reason as the role.

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
        # As a numeric column, a missing id would turn integers into floats.
        frame["id"] = pandas().Series([row[2] for row in rows], dtype=object)
        return frame

    def to_html(self, path: str | PathLike[str] | None = None) -> str:
        """Return a self-contained page with the query's words and the highlighted hits. It needs no network.

        Args:
            path: also write the page to this file in UTF-8, atomically.

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
        """Write the ranking to one safetensors file atomically. An existing file is replaced.

        Raises:
            ValueError: the ranking holds numbers that are not finite.
            OSError: the file cannot be written.

        >>> ranking.save(folder / "ranking.safetensors")
        """
        save_ranking(self, path)

    @staticmethod
    def load(path: str | PathLike[str]) -> Ranking:
        """Read a ranking that `save` wrote.

        Raises:
            OSError: the file does not exist or cannot be read.
            ValueError: the file is damaged, is not a saved ranking, or has a newer format.

        >>> ranking.save(folder / "ranking.safetensors")
        >>> xsbert.Ranking.load(folder / "ranking.safetensors").order == ranking.order
        True
        """
        with reading(path, "saved ranking"):
            fields = read_ranking(path)
            asked = Query(fields.pop("query_factors"))
            hits = tuple(
                Hit(**{**hit, "asked": asked, "passages": tuple(Passage(**passage) for passage in hit["passages"])})
                for hit in fields.pop("hits")
            )
            ranking = Ranking(asked=asked, hits=hits, **fields)
            check_ranking(ranking)
        return ranking

    def __str__(self) -> str:
        return "\n".join(summarize(self))

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
