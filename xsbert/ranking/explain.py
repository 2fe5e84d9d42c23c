"""Computes a ranking: the model's own scores first, then explanations of the best documents."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._utils.stacklevel import caller_level
from ..attribution.scale import check_scalable
from ..engine import Explainer
from ..engine.batch_run import Directions, Run, reverse_is_cheaper, spanning
from ..engine.failures import OF_A_TEXT
from ..engine.position_limit import length_limit, may_exceed_positions, position_limit
from ..engine.preconditions import check_run
from ..engine.private_copy import private_model
from ..engine.protocol import Explainable
from ..engine.tokenization import Prompt, TokenizedText
from ..factors.text_factors import TextFactors, directions_of
from ..text.passages import passages_of
from .answers import AnswerFinder
from .hit import Hit, Passage
from .own_scores import encoded_documents, encoded_query, is_late, scores_of
from .query import Query
from .ranking import Ranking
from .request import Request, Scored, best_documents, checked_embeddings
from .retriever_scores import MAX_SCORE_GAP, warn_of_other_scores
from .retrievers import Retrieved, retrieved

__all__ = ["check_prompt_of_both", "explained_ranking"]


def check_prompt_of_both(explainer: Explainer, prompt: Any, prompt_name: Any) -> None:
    """Reject a single prompt if the model has different prompts for queries and documents.

    Raises:
        ValueError: the model has different prompts, and a single one was given.
    """
    own = [explainer.prompt(task=task).text or "" for task in ("query", "document")]
    for name, value in (("prompt", prompt), ("prompt_name", prompt_name)):
        if isinstance(value, str) and own[0] != own[1]:
            raise ValueError(
                f"this model has one prompt for queries, {own[0]!r}, and another for documents, {own[1]!r}: {name} "
                f"must be a pair, got {value!r} for both"
            )


def explained_ranking(
    model: Any,
    explainer: Explainer,
    query: str,
    documents: Any,
    *,
    similarity: str,
    prompts: tuple[Prompt, Prompt],
    request: Request,
    document_embeddings: Any = None,
    text_column: str | None = None,
    id_column: str | None = None,
) -> Ranking:
    """Rank documents by the model's own scores and explain the best of them. See `XSTransformer.explain_ranking`."""
    found = retrieved(documents, text_column, id_column)
    if document_embeddings is not None and request.passages is not None:
        raise ValueError("pass document_embeddings or passages, not both: each passage gets its own embedding")
    is_cosine = not is_late(similarity) and (similarity == "cosine" or explainer.model.normalised)
    if request.relative and not is_cosine:
        raise ValueError(
            f"relative=True needs a similarity that is divided by the norm, such as 'cosine', got {similarity!r}"
        )
    if document_embeddings is not None and is_late(similarity):
        raise ValueError(
            "document_embeddings must be None for a late-interaction model: its documents are embedded anew, as lists "
            "of vectors"
        )
    asked = explainer.tokenized(query, prompts[0], name="query")
    given = None if document_embeddings is None else checked_embeddings(document_embeddings, len(found), model)
    check_run(explainer.model)
    encoder = private_model(model)
    at = encoded_query(encoder, query, prompts[0].text or "", similarity)
    embeddings = None
    if request.passages is None:
        texts = [each.text for each in found]
        embeddings = _encoded(encoder, texts, prompts[1], explainer, similarity) if given is None else given
        best = best_documents(at, embeddings, texts, similarity, request)
    else:
        best = _best_by_passages(encoder, at, found, prompts[1], similarity, request, explainer)
    run = explainer.run()
    finder = AnswerFinder(model, explainer, asked, prompts, similarity)
    if request.detail == "pairs" or run.has_closed_form:
        (computed,) = explainer.factors_of([asked])
        known = Query(computed, None, finder)
    else:
        known = Query(run.encoded(asked), lambda: explainer.factors_of([asked])[0], finder)
    chosen = [(found[each.index], each) for each in best]
    request = replace(request, relative=is_cosine and (request.relative or request.detail == "pairs"))
    hits = _explained(explainer, run, known, chosen, prompts[1], similarity, request)
    ranking = Ranking(
        asked=known,
        hits=tuple(hits),
        similarity=similarity,
        detail=request.detail,
        n_documents=len(found),
        pooling=None if request.passages is None else request.pooling,
        relative=request.relative,
    )
    if given is not None:
        _warn_of_other_embeddings(ranking)
    if embeddings is not None and not is_late(similarity):
        _compare_scores(found, at, embeddings, ranking, explainer.model.shift_added)
    return ranking


def _encoded(model: Any, texts: list[str], prompt: Prompt, explainer: Explainer, similarity: str) -> Any:
    if may_exceed_positions(explainer.model[0]):
        for place, text in enumerate(texts):
            explainer.tokenized(text, prompt, name=f"documents[{place}]", warn=False)
    show = bool(explainer.options.show_progress_bar)
    return encoded_documents(model, texts, prompt.text or "", similarity, show)


def _best_by_passages(
    model: Any,
    query: Tensor,
    documents: Sequence[Retrieved],
    prompt: Prompt,
    similarity: str,
    request: Request,
    explainer: Explainer,
) -> list[Scored]:
    """Rank documents by the maximum or the mean of their passages' scores."""
    assert request.passages is not None
    _check_limit(explainer.model, request.passages, prompt)
    ranges = [passages_of(each.text, model.tokenizer, request.passages, request.overlap) for each in documents]
    texts = [each.text[start:end] for each, parts in zip(documents, ranges, strict=True) for start, end in parts]
    embeddings = _encoded(model, texts, prompt, explainer, similarity)
    scores = scores_of(query, embeddings, similarity).double().cpu().numpy()
    scored, start = [], 0
    for index, parts in enumerate(ranges):
        own = scores[start : start + len(parts)]
        start += len(parts)
        if request.pooling == "max":
            best = int(own.argmax())
            scored.append(Scored(index, float(own[best]), ((*parts[best], 1.0),), len(parts)))
        else:
            kept = tuple((*part, 1 / len(parts)) for part in parts)
            scored.append(Scored(index, float(own.mean()), kept, len(parts)))
    return sorted(scored, key=lambda each: math.inf if math.isnan(each.score) else -each.score)[: request.top_k]


def _check_limit(model: Explainable, size: int, prompt: Prompt) -> None:
    """Reject passages that the model would truncate."""
    own = getattr(model[0], "document_length", None)
    limits = [limit for limit in (length_limit(model[0]), position_limit(model[0]), own) if limit is not None]
    around = model.preprocess(["a"], prompt=prompt.text)["input_ids"].numel() - 1
    if limits and size + around > min(limits):
        raise ValueError(
            f"passages={size} is above what the model's limit of {min(limits)} tokens leaves beside special tokens and "
            f"prompt, {min(limits) - around}"
        )


def _explained(
    explainer: Explainer,
    run: Run,
    query: Query,
    best: Sequence[tuple[Retrieved, Scored]],
    prompt: Prompt,
    similarity: str,
    request: Request,
) -> list[Hit]:
    """Return the hits. Those that cannot be explained have a reason."""
    pieces = [(document.text[start:end], scored) for document, scored in best for start, end, _ in scored.passages]
    found = [_tokenized(explainer, piece, prompt, scored.index) for piece, scored in pieces]
    texts = [each for each in found if isinstance(each, TokenizedText)]
    _warn_of_texts(texts)
    computed = iter(_sides(run, query.encoded, texts, request))
    sides = [each if isinstance(each, str) else next(computed) for each in found]
    hits: list[Hit] = []
    at = 0
    for document, scored in best:
        own = slice(at, at + len(scored.passages))
        at += len(scored.passages)
        known = [each for each in sides[own] if not isinstance(each, str)]
        failed = [each for each in sides[own] if isinstance(each, str)]
        reason = failed[0] if failed else _no_score(known, similarity)
        if not math.isfinite(scored.score):
            reason = "the model's score of it is not finite"
        passages = (
            ()
            if reason
            else tuple(
                Passage(start, end, weight, side)
                for (start, end, weight), side in zip(scored.passages, known, strict=True)
            )
        )
        hits.append(
            Hit(
                index=scored.index,
                score=scored.score,
                text=document.text,
                passages=passages,
                asked=query,
                similarity=similarity,
                units=request.units,
                n_passages=scored.n_passages,
                n_cut=sum(text.n_cut for text in found[own] if isinstance(text, TokenizedText)),
                reason=reason,
                id=document.id,
                retriever_score=document.score,
                relative=request.relative,
            )
        )
    return hits


def _tokenized(explainer: Explainer, text: str, prompt: Prompt, index: int) -> TokenizedText | str:
    """Tokenize a document or passage, or return the reason why the model cannot process it."""
    try:
        return explainer.tokenized(text, prompt, name=f"documents[{index}]", warn=False)
    except ValueError as error:
        return str(error)


def _warn_of_texts(texts: Sequence[TokenizedText]) -> None:
    """Warn once of all truncated texts (`Hit.n_cut` has each number), and once of texts of which nothing is left."""
    cut = sorted((text for text in texts if text.n_cut), key=lambda text: -text.n_cut)
    unseen = [text for text in texts if text.nothing_left]
    notes = [(cut, cut and cut[0].cut, ", and those of {} further hits (Hit.n_cut)")]
    notes += [(unseen, unseen and unseen[0].nothing_left, ", and so it is of {} further hits")]
    for affected, problem, more in notes:
        if affected:
            others = "" if len(affected) == 1 else more.format(len(affected) - 1)
            warnings.warn(
                f"{problem}{others}, so the explanation covers only what the model read", stacklevel=caller_level()
            )


def _sides(run: Run, query: TextFactors, texts: Sequence[TokenizedText], request: Request) -> list[TextFactors | str]:
    """Return the factors that explain each text's score with the query, or the reason why there are none."""
    if not query.embedding.any():
        return ["the embedding of the query is zero"] * len(texts)
    try:
        return [*_computed(run, query, texts, request)]
    except OF_A_TEXT:
        # At least one text failed. Run them one at a time to find which.
        return [_alone(run, query, text, request) for text in texts]


def _alone(run: Run, query: TextFactors, text: TokenizedText, request: Request) -> TextFactors | str:
    try:
        return _computed(run, query, [text], request)[0]
    except OF_A_TEXT as error:
        return str(error) or type(error).__name__


def _computed(run: Run, query: TextFactors, texts: Sequence[TokenizedText], request: Request) -> Sequence[TextFactors]:
    if request.detail == "highlights":
        return _along_query(run, query, texts, request)
    return _against_query(run, query, texts, request)


def _along_query(
    run: Run, query: TextFactors, texts: Sequence[TokenizedText], request: Request
) -> Sequence[TextFactors]:
    """Compute the factors of each text along the query's embedding and, for relative contributions, its own."""
    direction = query.embedding[None] / np.linalg.norm(query.embedding)
    return run.projected_all(texts, [_directions(query, direction)] * len(texts), with_own=request.relative)


def _directions(query: TextFactors, vectors: np.ndarray) -> Directions:
    """Return directions (K, E) of the query for the projected factors of other texts."""
    return vectors if query.outputs is None else lambda text: directions_of(text, query, vectors)


def _span(query: TextFactors, basis: np.ndarray) -> Directions:
    """Return an orthonormal basis of the directions of the query, in the numbers of another text."""
    return basis if query.outputs is None else lambda text: spanning(directions_of(text, query, basis))


def _against_query(
    run: Run, query: TextFactors, texts: Sequence[TokenizedText], request: Request
) -> Sequence[TextFactors]:
    """Compute the factors of each text for all tokens of the query, by the cheaper direction.

    For relative contributions also along the text's own embedding.
    """
    basis = spanning(np.vstack([query.factors, query.reference_term[None], query.embedding[None]]))
    long = [at for at, text in enumerate(texts) if reverse_is_cheaper(len(basis) + request.relative, len(text.tokens))]
    short = [at for at in range(len(texts)) if at not in set(long)]
    found: dict[int, TextFactors] = {}
    if long:
        every = [_span(query, basis)] * len(long)
        projected = run.projected_all([texts[at] for at in long], every, with_own=request.relative)
        found.update(zip(long, (each.expanded() for each in projected), strict=True))
    if short:
        factors = run.factors([texts[at] for at in short], "tokens", "raise")
        found.update((at, each) for at, each in zip(short, factors, strict=True) if each is not None)
    return [found[at] for at in range(len(texts))]


def _no_score(sides: Sequence[TextFactors], similarity: str) -> str | None:
    try:
        for side in sides:
            check_scalable(side, similarity)
    except ValueError as error:
        return str(error)
    return None


def _warn_of_other_embeddings(ranking: Ranking) -> None:
    """Warn if given embeddings score far from the model's own, which the explanation uses."""
    query = ranking.asked.encoded
    unit = 1.0 if ranking.similarity == "cosine" else float(np.linalg.norm(query.embedding))
    far = [
        hit for hit in ranking if hit.explained and hit.error > (MAX_SCORE_GAP + 2 * hit.residual) * unit * _length(hit)
    ]
    if far:
        worst = max(far, key=lambda hit: hit.error)
        warnings.warn(
            f"the given embedding of documents[{worst.index}] scores {worst.score:.4f}, and the model's own "
            f"{worst.document.total:.4f}, which is what is explained: {len(far)} of {len(ranking)} given embeddings "
            "do not belong to this model and these texts",
            stacklevel=caller_level(),
        )


def _compare_scores(
    documents: Sequence[Retrieved], query: Tensor, embeddings: Tensor, ranking: Ranking, shift_added: bool
) -> None:
    """Warn if scores of the retriever are not the model's. Passages are not compared: retrievers embed other texts."""
    places = [at for at, each in enumerate(documents) if each.measure is not None and each.score is not None]
    hits = {hit.index: hit for hit in ranking if hit.explained}
    unshifted = {at: hit.passages[0].side.embedding_unshifted for at, hit in hits.items()}
    if shift_added:
        # The retriever may have embedded without the shift. Only explained hits have the unshifted embeddings.
        places = [at for at in places if unshifted.get(at) is not None]
    if not places:
        return
    chosen = embeddings.index_select(0, torch.tensor(places, device=embeddings.device))
    sides = [_dense(query).double().cpu().numpy(), _dense(chosen).double().cpu().numpy()]
    candidates = [(sides[0], sides[1])]
    if shift_added:
        own = [unshifted[at] for at in places]
        candidates.append((np.asarray(ranking.asked.encoded.embedding_unshifted), np.asarray(own)))
    warn_of_other_scores(documents, places, candidates, ranking.similarity)


def _dense(embeddings: Tensor) -> Tensor:
    return embeddings.to_dense() if embeddings.is_sparse else embeddings


def _length(hit: Hit) -> float:
    if hit.similarity == "cosine":
        return 1.0
    return max(float(np.linalg.norm(passage.side.embedding)) for passage in hit.passages)
