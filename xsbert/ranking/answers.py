"""Finders of the sentence of a document that answers a query best. They find; they do not explain a score.

A search page often wants that sentence alone. A finder compares the query with each sentence, while an explanation
splits the score of the whole document. The two disagree where the document is similar to the query for other reasons
than the answer (docs/background/rankings.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer, util
from sentence_transformers.sentence_transformer.modules import Transformer
from sentence_transformers.util import batch_to_device
from torch import Tensor

from .._utils.validation import check_one_of
from ..engine import Explainer
from ..engine.private_copy import private_model
from ..engine.tokenization import Prompt, TokenizedText
from ..text.units import TEXT, sentence_ranges, visible_span
from .own_scores import encoded_documents, encoded_query, scores_of

__all__ = ["ANSWER_METHODS", "Answer", "AnswerFinder"]

ANSWER_METHODS = ("maxsim", "sentences")


@dataclass(frozen=True)
class Answer:
    """The sentence of a document that answers a query best, by a finder. It is not an attribution of the score."""

    start: int
    end: int
    """Characters [start, end) of the document."""
    text: str
    score: float
    """Similarity of query and sentence by the method, comparable between sentences of all documents for one query."""
    method: str
    """``"maxsim"`` or ``"sentences"``."""


class AnswerFinder:
    """Finds answers to one query.

    Args:
        model: the model of the ranking.
        explainer: its explainer.
        query: the query.
        prompts: of the query and of documents.
        similarity: of the ranking, for sentences encoded by themselves.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        explainer: Explainer,
        query: TokenizedText,
        prompts: tuple[Prompt, Prompt],
        similarity: str,
    ) -> None:
        self._model, self._explainer, self._query = model, explainer, query
        self._prompts, self._similarity = prompts, similarity

    def find(self, text: str, parts: Sequence[tuple[int, int]], method: str = "maxsim") -> Answer:
        """Return the sentence that answers the query best.

        Args:
            text: the document.
            parts: characters [start, end) of the passages that are searched.
            method: ``"maxsim"`` encodes each passage once, and scores a sentence by the mean over the query's tokens of
                the largest cosine of its last hidden state with one of the sentence's tokens. ``"sentences"`` encodes
                each sentence by itself.

        Raises:
            ValueError: the method is neither of these, or it is ``"maxsim"`` and the model is sparse or static or its
                tokenizer has no character offsets; or the model saw nothing of the document.
        """
        check_one_of(method, "method", ANSWER_METHODS)
        find = self._by_tokens if method == "maxsim" else self._by_sentences
        found = [(start, *each) for start, end in parts for each in find(text[start:end])]
        if not found:
            raise ValueError(f"no sentence of {text!r:.60} has a token that the model sees")
        offset, (start, end), score = max(found, key=lambda each: each[2])
        start, end = visible_span(text, (offset + start, offset + end))
        return Answer(start, end, text[start:end], score, method)

    def _by_tokens(self, text: str) -> list[tuple[tuple[int, int], float]]:
        """Return the sentences that the model sees, with their scores by late interaction."""
        document = self._explainer.tokenized(text, self._prompts[1], name="document", warn=False)
        if document.spans is None:
            raise ValueError("method='maxsim' needs the tokenizer's offsets, which only fast tokenizers have")
        query = self._states(self._query)[self._kept(self._query)]
        cosines = util.cos_sim(query, self._states(document)).numpy()
        sentences = sentence_ranges(text)
        starts = [start for start, _ in sentences]
        tokens: dict[int, list[int]] = {}
        n_prompt = len(document.prompt)
        for at in self._kept(document):
            place = int(np.searchsorted(starts, document.spans[at][0] - n_prompt, side="right")) - 1
            tokens.setdefault(max(0, place), []).append(at)
        return [(sentences[place], float(cosines[:, own].max(1).mean())) for place, own in tokens.items()]

    def _by_sentences(self, text: str) -> list[tuple[tuple[int, int], float]]:
        """Return all sentences, with the model's own scores of each by itself."""
        model: Any = private_model(self._model)
        ranges = [each for each in sentence_ranges(text) if text[slice(*each)].strip()]
        if not ranges:
            return []
        own, similarity = self._query.text[len(self._query.prompt) :], self._similarity
        query = encoded_query(model, own, self._prompts[0].text or "", similarity)
        texts = [text[start:end] for start, end in ranges]
        sentences = encoded_documents(model, texts, self._prompts[1].text or "", similarity, show=False)
        return list(zip(ranges, scores_of(query, sentences, similarity).tolist(), strict=True))

    def _states(self, text: TokenizedText) -> Tensor:
        """Return the last hidden states (S, H) of a text, on the CPU."""
        model = private_model(self._model)
        if not isinstance(model[0], Transformer) or self._explainer.model.own_outputs:
            raise ValueError(
                "method='maxsim' compares the last hidden states of dense models with a transformer, got "
                f"{type(self._model).__name__} with {type(model[0]).__name__}: use method='sentences'"
            )
        with torch.no_grad():
            output = model[0](batch_to_device(dict(text.features), model.device))
        return output["token_embeddings"][0].float().cpu()

    @staticmethod
    def _kept(text: TokenizedText) -> list[int]:
        """Return the positions of the tokens of the text itself, or all if it has none."""
        return [at for at, role in enumerate(text.roles) if role == TEXT] or list(range(len(text.roles)))
