"""`ComparingModel`: explains many pairs, and rankings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, overload

from .._utils.validation import checked_integer
from ..attribution.attribution import Attribution
from ..attribution.similarity import resolved_similarity
from ..engine.options import takes_options
from ..engine.pairing import pairs_of, two_texts
from ..engine.private_copy import private_model
from ..factors.text_factors import TextFactors
from ..ranking.explain import Request, check_prompt_of_both, explained_ranking
from ..ranking.ranking import Ranking
from ..ranking.request import checked_embeddings
from .cost import CostEstimate, estimated_cost, n_passes
from .explaining import ExplainingModel
from .pair_inputs import Sides, both_sides, combined, sides_of
from .shift_warning import warn_of_shifted_ranking, warning_once

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..engine import OptionKeywords

__all__ = ["ComparingModel"]


class ComparingModel(ExplainingModel):
    """A model with a reference, and all methods that explain it."""

    @overload
    def explain_pairs(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        similarity: str | None = ...,
        units: str = ...,
        prompt: Sides = ...,
        prompt_name: Sides = ...,
        task: Sides = ...,
        errors: Literal["raise"] = ...,
        **options: Unpack[OptionKeywords],
    ) -> Iterator[Attribution]: ...
    @overload
    def explain_pairs(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        similarity: str | None = ...,
        units: str = ...,
        prompt: Sides = ...,
        prompt_name: Sides = ...,
        task: Sides = ...,
        errors: str,
        **options: Unpack[OptionKeywords],
    ) -> Iterator[Attribution | None]: ...
    @takes_options
    def explain_pairs(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        similarity: str | None = None,
        units: str = "tokens",
        prompt: Sides = None,
        prompt_name: Sides = None,
        task: Sides = None,
        errors: str = "raise",
        **options: Unpack[OptionKeywords],
    ) -> Iterator[Attribution | None]:
        """Explain many pairs, computing each distinct text once.

        The factors of a text that is much longer than all its partners together are computed by reverse mode from the
        partners' factors. They are then valid for these pairs only, as `Attribution.pulled_back` reports.

        Args:
            pairs: pairs of texts; dictionaries with ``text_a`` and ``text_b``; or a data frame, an Arrow table or a
                `datasets.Dataset` with these columns, or with only two columns.
            similarity, prompt, prompt_name, task: as for `explain`.
            units: as for `text_factors`.
            errors: ``"raise"``, or ``"skip"`` to warn of a text that cannot be explained, giving its position, and
                to yield None for its pairs.
            **options: see `Options`.

        Yields:
            one attribution for each pair, in order. None of them is kept in memory.

        Raises:
            TypeError: an entry of ``pairs`` does not hold two texts, or a table has other columns. Other errors are
                those of `explain`.

        Warns:
            UserWarning: as for `explain`.
            ShiftWarning: once, at the first pair with a score that an added shift changes by more than 0.05.

        >>> for out in model.explain_pairs([("A cold day.", "Freezing."), ("A cold day.", "A hot day.")], layer=5):
        ...     print(out.a.text, out.b.text, f"{out.score:.2f}")
        A cold day. Freezing. 0.62
        A cold day. A hot day. 0.76
        """
        explainer = self.explainer(**options)
        similarity = resolved_similarity(similarity, self.similarity_fn_name)
        prompts = sides_of(explainer, prompt, prompt_name, task)
        both = [two_texts(pair, place) for place, pair in enumerate(pairs_of(pairs))]
        left, right = [text_a for text_a, _ in both], [text_b for _, text_b in both]
        names = "pairs[{}][0]", "pairs[{}][1]"
        n_pairs = len(left)
        places = [(n, n_pairs + n) for n in range(n_pairs)]
        a, b = both_sides(explainer, (left, right), prompts, names, similarity, units, errors, places)
        return warning_once(
            None if one is None or other is None else combined(one, other, similarity, units)
            for one, other in zip(a, b, strict=True)
        )

    @takes_options
    def explain_matrix(
        self,
        queries: Iterable[str],
        documents: Iterable[str],
        *,
        similarity: str | None = None,
        units: str = "tokens",
        prompt: Sides = None,
        prompt_name: Sides = None,
        task: Sides = None,
        errors: str = "raise",
        **options: Unpack[OptionKeywords],
    ) -> Iterator[tuple[int, int, Attribution]]:
        """Explain each of n queries against each of m documents, at the cost of at most n + m factors.

        The factors of a document that is much longer than all queries together are computed by reverse mode from the
        factors of the queries, and vice versa. They are then valid for these pairs only, as
        `Attribution.pulled_back` reports.

        Args:
            queries, documents: texts, as for `text_factors`.
            similarity, prompt, prompt_name, task: as for `explain`. The first item of a pair applies to
                the queries. ``task=("query", "document")`` explains the similarities of `encode_query` and
                `encode_document`.
            units: as for `text_factors`.
            errors: ``"raise"``, or ``"skip"`` to warn of a text that cannot be explained, giving its position, and
                to omit its row or column.
            **options: see `Options`.

        Yields:
            index of the query, index of the document, attribution; row by row. None of them is kept in memory.

        Warns:
            as for `explain_pairs`.

        >>> cells = model.explain_matrix(["weather"], ["A cold day.", "Stock prices fell."], layer=5)
        >>> [(i, j, round(out.score, 1)) for i, j, out in cells]
        [(0, 0, 0.5), (0, 1, 0.2)]
        """
        explainer = self.explainer(**options)
        similarity = resolved_similarity(similarity, self.similarity_fn_name)
        prompts = sides_of(explainer, prompt, prompt_name, task)
        names = "queries[{}]", "documents[{}]"
        rows, columns = both_sides(explainer, (queries, documents), prompts, names, similarity, units, errors)
        left = [(i, row) for i, row in enumerate(rows) if row is not None]
        right = [(j, column) for j, column in enumerate(columns) if column is not None]
        results = warning_once(combined(row, column, similarity, units) for _, row in left for _, column in right)
        places = ((i, j) for i, _ in left for j, _ in right)
        return ((i, j, result) for (i, j), result in zip(places, results, strict=True) if result is not None)

    @takes_options
    def explain_ranking(
        self,
        query: str,
        documents: Any,
        *,
        top_k: int | None = None,
        detail: str = "highlights",
        units: str = "words",
        text_column: str | None = None,
        id: str | None = None,
        similarity: str | None = None,
        prompt: Sides = None,
        prompt_name: Sides = None,
        document_embeddings: Any = None,
        passages: int | None = None,
        overlap: int = 32,
        pooling: str = "max",
        relative: bool = False,
        **options: Unpack[OptionKeywords],
    ) -> Ranking:
        """Rank documents for a query by the model's own scores, and attribute each score to the words of both.

        Scores and order are those of `encode_query`, `encode_document` and `util.semantic_search`. For a fixed query,
        the score is linear in the factors of the document. The contributions of its words therefore take one backward
        pass for each node, at any query length. Those of the query take one set of factors for all documents, which is
        computed when it is first used.

        Args:
            query: S tokens.
            documents: at least one; strings, or the results of a retriever (see `xsbert.ranking.retrievers`). Data
                frames, tables and rows have columns of texts and ids.
            text_column: name of the column of texts; None takes ``"text"``.
            id: name of the column for `Hit.id`; None takes ``"id"``, in any case, if there is one.
            top_k: number of best documents to explain and return; None returns all.
            detail: ``"highlights"`` for the contributions of the units of documents and query; ``"pairs"`` also for
                their pairs, by the cheaper direction for each document.
            units: of the documents: ``"tokens"``, ``"words"`` or ``"sentences"``. They cost the same, and
                `Ranking.over` changes them afterwards.
            similarity: ``"cosine"`` or ``"dot"``; None uses the model's own.
            prompt, prompt_name: a pair for query and documents, which replaces the model's own prompts. A single
                value for both is allowed if the model treats the two sides alike.
            document_embeddings: (n, E) output of `encode_document` for the documents. The scores use it, and the
                documents are not embedded again.
            passages: split documents between words into windows of at most this many tokens, and score a document by
                its passages. None keeps documents whole, truncated at the model's limit; hits and a warning report
                the truncation.
            overlap: number of tokens that a passage shares with the previous one.
            pooling: ``"max"`` takes the score of the best passage as that of the document, and explains this passage.
                ``"mean"`` takes the mean over all passages, and explains all.
            relative: with ``detail="highlights"``, also compute the factors along each document's own embedding, for
                `Hit.document_relative`, at half the cost of those along the query's. ``detail="pairs"`` includes them.
            **options: see `Options`.

        Returns:
            the hits, best first. Documents that cannot be explained are included, with the reason.

        Raises:
            TypeError: an argument is of the wrong type.
            ValueError: an argument is out of range, or a document is empty or is not valid Unicode and so has no
                score; the message gives its position.

        Warns:
            UserWarning: the query is truncated; documents are truncated (once for all of them); given embeddings
                score far from the model's own; or scores of a retriever whose measure is known differ from the
                model's own by more than rounding or a compressed index.
            ShiftWarning: once, at the first hit with a score that an added shift changes by more than 0.05.

        >>> ranking = model.explain_ranking("weather", ["Stock prices fell.", "A cold day."], layer=5)
        >>> [hit.index for hit in ranking]
        [1, 0]
        """
        request = Request(top_k, detail, units, passages, overlap, pooling, relative)
        explainer = self.explainer(**options)
        check_prompt_of_both(explainer, prompt, prompt_name)
        ranking = explained_ranking(
            self,
            explainer,
            query,
            documents,
            similarity=resolved_similarity(similarity, self.similarity_fn_name),
            prompts=sides_of(explainer, prompt, prompt_name, ("query", "document")),
            request=request,
            text_column=text_column,
            id_column=id,
            document_embeddings=document_embeddings,
        )
        warn_of_shifted_ranking(ranking)
        return ranking

    @takes_options
    def estimate_cost(
        self,
        texts: Iterable[str],
        *,
        query: str | None = None,
        top_k: int | None = None,
        detail: str = "highlights",
        units: str = "tokens",
        prompt: Sides = None,
        prompt_name: Sides = None,
        task: str | None = None,
        document_embeddings: Any = None,
        **options: Unpack[OptionKeywords],
    ) -> CostEstimate:
        """Estimate passes and seconds of `text_factors`, or with a query of `explain_ranking`, before the work begins.

        A text of median and one of largest length are explained and timed, and the others are extrapolated from them.
        The estimate is that of this machine with its present load. Many texts of equal length take less, because they
        are computed together. Pairs take the cost of their distinct texts.

        Args:
            texts: the texts, or the documents of a ranking; at least one.
            query, top_k, detail, document_embeddings: as for `explain_ranking`. With document embeddings, documents
                are not encoded.
            units, task: as for `text_factors`.
            prompt, prompt_name: as for `text_factors`, or with a query as for `explain_ranking`.
            **options: see `Options`.

        Raises:
            ValueError: there are no texts, ``top_k`` or ``document_embeddings`` is given without a query, ``task``
                with one; otherwise as for `text_factors` and `explain_ranking`.

        >>> cost = model.estimate_cost(["A cold day.", "Rain"], layer=5)
        >>> cost.n_texts, [text.n_tokens for text in cost.timed]
        (2, [3, 6])
        """
        explainer = self.explainer(**options)
        if query is None and (top_k is not None or document_embeddings is not None):
            raise ValueError("top_k and document_embeddings belong to a ranking: give its query")
        if query is not None and task is not None:
            raise ValueError("task has no effect with a query: documents are embedded as documents")
        sides = sides_of(explainer, prompt, prompt_name, task if query is None else ("query", "document"))
        tokenized = explainer.tokenized_all(texts, sides[1])
        distinct = list({text.key: text for text in tokenized}.values()) if query is None else tokenized
        if not distinct:
            raise ValueError("texts must hold at least one text, got none")
        given = None if document_embeddings is None else checked_embeddings(document_embeddings, len(distinct), self)
        quiet = self.explainer(**{**options, "show_progress_bar": False})
        how = {**options, "prompt": prompt, "prompt_name": prompt_name, "detail": detail, "show_progress_bar": False}

        def explain(places: list[int]) -> list[tuple[TextFactors, int]]:
            chosen = [distinct[place] for place in places]
            if query is None:
                return [(side, n_passes(side)) for side in quiet.factors_of(chosen, units=units)]
            known = given[places] if given is not None else None
            ranking = self.explain_ranking(query, [each.text for each in chosen], document_embeddings=known, **how)
            explained = {hit.index: hit.passages[0].side for hit in ranking if hit.explained}
            if len(explained) < len(places):
                raise ValueError(next(hit.reason for hit in ranking if not hit.explained))
            most = len(ranking.asked.encoded.tokens) + 2
            sides = [explained[place] for place in range(len(places))]
            return [(each, n_passes(each, min(most, each.factors.shape[-1], len(each.factors)))) for each in sides]

        def encode(places: list[int]) -> None:
            encoder: Any = private_model(self)
            encoder.encode(
                [distinct[place].text for place in places], prompt=sides[1].text or "", show_progress_bar=False
            )

        lengths = [len(text.tokens) for text in distinct]
        top_k = checked_integer(top_k, "top_k", least=1, optional=True, wrong_type=ValueError)
        return estimated_cost(explain, encode, lengths, top_k, encodes=query is not None and given is None)
