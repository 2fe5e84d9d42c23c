"""Effect of the reference shift on a model: on annotated pairs of texts, and on the model's own scores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from operator import index

import numpy as np
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize

from .._utils.arrays import pearson, spearman
from .._utils.sequences import as_entries, as_pairs, as_texts
from .._utils.validation import checked_integer
from ..attribution.similarity import SIMILARITIES, similarity_hint
from ..engine.position_limit import may_exceed_positions
from ..engine.private_copy import private_model
from ..engine.reference import SPECIAL_NAMES
from ..models import XSTransformer
from ..text.display import shorten
from .reference_tables import ReferenceChoice, ReferenceChoiceRow, ShiftCost, ShiftCostRow

__all__ = ["choose_reference", "shift_cost"]


def shift_cost(
    model: SentenceTransformer,
    texts_a: Sequence[str],
    texts_b: Sequence[str],
    scores: Sequence[float],
    *,
    references: Sequence[str] | None = None,
    reference_positions: str = "text",
    similarity: str | None = None,
    prompt: str | None = None,
    batch_size: int = 32,
    show_progress_bar: bool = False,
) -> ShiftCost:
    """Measure how the reference shift changes a model's correlations with annotated scores, without training.

    A shifted model explains its similarities exactly (Moeller et al., EMNLP 2023). If its correlations with annotated
    scores do not fall, it can be used as it is; otherwise it needs fine-tuning. Each text is embedded once, and one
    reference for each text length.

    Args:
        model: any model that `XSTransformer` accepts, not shifted; not modified.
        texts_a: n texts, at least 3: a list, or a column of pandas, numpy, Arrow, polars or datasets, read by position.
        texts_b: n texts, as ``texts_a``.
        scores: n annotated similarities on any scale, not all equal.
        references: reference tokens, as for `XSTransformer`. None uses those of ``"pad"``, ``"unk"`` and ``"mask"``
            that the tokenizer has, or only ``"pad"`` if the reference positions are ``"padding"``.
        reference_positions: ``"text"`` or ``"padding"``, as for `XSTransformer`.
        similarity: ``"cosine"`` or ``"dot"``; None uses the model's own.
        prompt: prompt of all texts; None uses the model's default.
        batch_size: texts per batch.
        show_progress_bar: show a bar while texts are embedded.

    Returns:
        A row for the original model, and one for each reference.

    Raises:
        TypeError: texts or references are a single string, a table, a dictionary or a set, or contain no strings.
        ValueError: an argument is outside its allowed values, or the model is already shifted.

    >>> a, b = ["A cold day.", "Rain", "Stock prices fell."], ["It is freezing.", "Sun", "A dog barks."]
    >>> cost = shift_cost(model, a, b, [5.0, 2.0, 0.0], references=["unk"], show_progress_bar=False)
    >>> [row.reference for row in cost.rows]
    [None, '[UNK]']
    """
    texts_a, texts_b = as_texts(texts_a, "texts_a"), as_texts(texts_b, "texts_b")
    batch_size = checked_integer(batch_size, "batch_size", least=1)
    gold = _check_annotated(texts_a, texts_b, scores)
    shifts = _Shifts.of(model, references, similarity, reference_positions)
    texts = list(dict.fromkeys([*texts_a, *texts_b]))
    place = {text: number for number, text in enumerate(texts)}
    pairs = np.array([[place[text] for text in side] for side in (texts_a, texts_b)])
    base, *others = shifts.scores(texts, pairs, prompt, batch_size, show_progress_bar)
    tokens = [None, *shifts.tokens]
    rows = [_row(token, found, base, gold) for token, found in zip(tokens, [base, *others], strict=True)]
    rows[1:] = [replace(row, reference_positions=reference_positions) for row in rows[1:]]
    return ShiftCost(shifts.similarity, len(gold), tuple(rows))


def choose_reference(
    model: SentenceTransformer,
    texts: Sequence[str],
    *,
    pairs: Sequence[tuple[int, int]] | None = None,
    references: Sequence[str] | None = None,
    max_texts: int = 1000,
    similarity: str | None = None,
    prompt: str | None = None,
    batch_size: int = 32,
    show_progress_bar: bool = False,
) -> ReferenceChoice:
    """Compare references by how much the shift by each of them changes a model's own scores.

    The texts need no annotation. If a shift keeps the order of the scores, the shifted model explains nearly the
    scores of the original model. `shift_cost` measures the effect on the agreement with annotators. Each text is
    embedded once, and one reference for each text length.

    Args:
        model: as for `shift_cost`; not modified.
        texts: n texts of the kind that will be explained, at least 3 distinct ones: a list, or a column of pandas,
            numpy, Arrow, polars or datasets, read by position.
        pairs: indices (i, j) into ``texts`` of the pairs to score, at least 3. None scores all pairs of distinct texts.
        references: as for `shift_cost`.
        max_texts: if all pairs are scored, the largest number of texts used, at least 3. If there are more, that many
            evenly spaced texts are used.
        similarity, prompt, batch_size, show_progress_bar: as for `shift_cost`.

    Returns:
        A row for each reference. ``best`` is the row with the highest rank agreement.

    Raises:
        IndexError: an index of a pair is not in ``texts``.
        TypeError, ValueError: as for `shift_cost`.

    >>> texts = ["A cold day.", "Rain", "Stock prices fell.", "A dog barks."]
    >>> choice = choose_reference(model, texts, references=["unk", "pad"], show_progress_bar=False)
    >>> choice.best.reference
    '[UNK]'
    """
    batch_size = checked_integer(batch_size, "batch_size", least=1)
    texts = as_texts(texts, "texts")
    _check_texts(texts, "texts")
    shifts = _Shifts.of(model, references, similarity)
    if pairs is None:
        texts = _spread(list(dict.fromkeys(texts)), checked_integer(max_texts, "max_texts", least=3))
        places = np.array([*combinations(range(len(texts)), 2)], dtype=np.int64).reshape(-1, 2).T
    else:
        places = _check_places(pairs, len(texts))
    if places.shape[1] < 3:
        raise ValueError(f"at least 3 pairs of texts are needed, got {places.shape[1]}")
    if not shifts.shifted:
        raise ValueError("references must name at least one token, got none")
    base, *others = shifts.scores(list(texts), places, prompt, batch_size, show_progress_bar)
    rows = [
        ReferenceChoiceRow(token, _rank_agreement(token, found, base), float(np.abs(found - base).mean()))
        for token, found in zip(shifts.tokens, others, strict=True)
    ]
    return ReferenceChoice(shifts.similarity, places.shape[1], tuple(rows))


@dataclass(frozen=True)
class _Shifts:
    """A model, its versions shifted by several references, and the similarity between embeddings."""

    whole: XSTransformer
    shifted: list[XSTransformer]
    """One model for each reference, without normalisation and truncation."""
    similarity: str

    @classmethod
    def of(
        cls,
        model: SentenceTransformer,
        references: Sequence[str] | None,
        similarity: str | None,
        reference_positions: str | None = None,
    ) -> _Shifts:
        """Checks the arguments and wraps the models, before any long computation."""
        whole = XSTransformer.wrap(model)
        if whole.shifted:
            raise ValueError("the model is shifted already: measure the model from which it was made")
        similarity = whole.similarity_fn_name if similarity is None else similarity
        if similarity not in SIMILARITIES:
            hint = similarity_hint(similarity)
            raise ValueError(f"similarity must be None, 'cosine' or 'dot', got {similarity!r}{hint}")
        if isinstance(references, str):
            raise TypeError(f"references must be a sequence of strings, got {references!r}")
        if references is None:
            names = ("pad",) if reference_positions == "padding" else SPECIAL_NAMES
            references = [name for name in names if getattr(whole.tokenizer, f"{name}_token") is not None]
        references = as_texts(references, "references")
        shifted = [
            _without_normalisation(
                XSTransformer.wrap(model, shift=True, reference=name, reference_positions=reference_positions)
            )
            for name in references
        ]
        return cls(whole, shifted, similarity)

    @property
    def tokens(self) -> list[str]:
        """The references, as the vocabulary spells them."""
        return [model.reference.token for model in self.shifted]

    def scores(
        self, texts: list[str], pairs: np.ndarray, prompt: str | None, batch_size: int, show_progress_bar: bool
    ) -> Iterator[np.ndarray]:
        """Yields (P,) similarities of (2, P) pairs of texts: first of the original model, then of each shifted one."""
        options = {"prompt": prompt, "batch_size": batch_size}
        explainer = self.whole.explainer()
        if may_exceed_positions(explainer.model[0]):
            for text in texts:
                explainer.tokenized(text, explainer.prompt(prompt), name=f"the text {shorten(text, 60)!r}", warn=False)
        unshifted = private_model(_without_normalisation(XSTransformer.wrap(self.whole)))
        f_x = unshifted.encode(texts, show_progress_bar=show_progress_bar, **options).astype(np.float64)
        yield self._compared(f_x, pairs)
        _, first, group = np.unique(_lengths(self.whole, texts, **options), return_index=True, return_inverse=True)
        for model in self.shifted:
            # f(r) = f(x) − e(x) is the same for all texts of one length, so one text of each length suffices.
            f_r = f_x[first] - private_model(model).encode([texts[i] for i in first], **options)
            yield self._compared(f_x - f_r[group], pairs)

    def _compared(self, embeddings: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        if isinstance(self.whole[len(self.whole) - 1], Normalize):
            embeddings = _unit(embeddings)
        embeddings = embeddings[:, : self.whole.truncate_dim]
        if self.similarity == "cosine":
            embeddings = _unit(embeddings)
        # In parts, to avoid two embeddings per pair in memory.
        return np.concatenate([(embeddings[a] * embeddings[b]).sum(1) for a, b in _parts(pairs)])


def _check_annotated(texts_a: Sequence[str], texts_b: Sequence[str], scores: Sequence[float]) -> np.ndarray:
    gold = np.asarray(as_entries(scores, "scores", "numbers"), dtype=np.float64)
    sizes = (len(texts_a), len(texts_b), gold.size)
    if gold.ndim != 1 or len(set(sizes)) != 1 or sizes[0] < 3:
        raise ValueError(f"texts_a, texts_b and scores must be equally many, at least 3, got {sizes}")
    if not np.isfinite(gold).all() or np.ptp(gold) == 0:
        raise ValueError("scores must be finite and not all the same")
    _check_texts(texts_a, "texts_a")
    _check_texts(texts_b, "texts_b")
    return gold


def _check_texts(texts: Sequence[str], name: str) -> None:
    for place, text in enumerate(texts):
        if not text.strip():
            raise ValueError(f"{name}[{place}] must hold some text, got {text!r:.80}")


def _check_places(pairs: Sequence[tuple[int, int]], n_texts: int) -> np.ndarray:
    """Returns the (2, P) indices of pairs."""
    places = []
    for number, pair in enumerate(as_pairs(pairs, "pairs")):
        try:
            a, b = map(index, pair)
        except (TypeError, ValueError):
            raise TypeError(f"pairs[{number}] must be two places in texts, got {pair!r:.80}") from None
        if not (0 <= a < n_texts and 0 <= b < n_texts):
            raise IndexError(f"pairs[{number}] must name places between 0 and {n_texts - 1}, got {(a, b)}")
        places.append((a, b))
    return np.array(places, dtype=np.int64).reshape(-1, 2).T


def _spread(texts: list[str], most: int) -> list[str]:
    """Returns all texts or, above the limit of at least 3, evenly spaced ones."""
    if len(texts) <= most:
        return texts
    return [texts[place] for place in np.linspace(0, len(texts) - 1, most).round().astype(int)]


def _parts(pairs: np.ndarray, size: int = 10_000) -> Iterator[np.ndarray]:
    return (pairs[:, start : start + size] for start in range(0, pairs.shape[1], size))


def _without_normalisation(model: XSTransformer) -> XSTransformer:
    """Returns a wrapped model that computes f or e, before a trailing normalisation and truncation."""
    while isinstance(model[len(model) - 1], Normalize):
        del model[len(model) - 1]
    model.truncate_dim = None
    return model


def _lengths(model: XSTransformer, texts: list[str], prompt: str | None, batch_size: int) -> np.ndarray:
    """Returns the number of tokens of each text, special tokens included, as in `encode`."""
    if prompt is None and model.default_prompt_name is not None:
        prompt = model.prompts[model.default_prompt_name]
    batches = [
        model.preprocess(texts[start : start + batch_size], prompt=prompt)["attention_mask"].sum(1)
        for start in range(0, len(texts), batch_size)
    ]
    return np.concatenate([batch.cpu().numpy() for batch in batches])


def _unit(embeddings: np.ndarray) -> np.ndarray:
    """Returns embeddings with norm one; zero vectors stay zero."""
    return embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)


def _row(reference: str | None, similarities: np.ndarray, base: np.ndarray, gold: np.ndarray) -> ShiftCostRow:
    return ShiftCostRow(
        reference=reference,
        rank_agreement=_rank_agreement(reference, similarities, base),
        spearman=spearman(similarities, gold),
        pearson=pearson(similarities, gold),
    )


def _rank_agreement(reference: str | None, similarities: np.ndarray, base: np.ndarray) -> float:
    for name, values in ((None, base), (reference, similarities)):
        if np.ptp(values) == 0 or not math.isfinite(values.sum()):
            raise ValueError(f"the similarities are not finite or all the same (reference {name!r})")
    return spearman(similarities, base)
