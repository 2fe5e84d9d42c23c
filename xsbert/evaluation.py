"""What the reference shift costs a model on annotated pairs of texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize

from .attribution import similarity_hint
from .models import XSTransformer

__all__ = ["ShiftCost", "ShiftCostRow", "shift_cost"]

ROLES = ("pad", "unk", "mask")


@dataclass(frozen=True)
class ShiftCostRow:
    """How well one model's similarities agree with the annotated scores. All between −1 and 1."""

    reference: str | None
    """The token of the reference that the model is shifted by; None for the model as it is."""
    spearman: float
    """Rank correlation with the annotated scores."""
    pearson: float
    """Linear correlation with the annotated scores."""
    rank_agreement: float
    """Rank correlation with the similarities of the model as it is."""


@dataclass(frozen=True)
class ShiftCost:
    """The correlations of a model as it is, and of the same model shifted. Prints as a table."""

    similarity: str
    """``"cosine"`` or ``"dot"``."""
    n_pairs: int
    rows: tuple[ShiftCostRow, ...]
    """First the model as it is, then one row for each reference."""

    @property
    def best(self) -> ShiftCostRow:
        """The shifted row with the highest Spearman correlation."""
        return max(self.rows[1:], key=lambda row: row.spearman)

    def _cells(self) -> list[tuple[str, ...]]:
        base = self.rows[0].spearman
        cells = [("reference", "Spearman", "change", "Pearson", "rank agreement")]
        for row in self.rows:
            change = "" if row.reference is None else f"{row.spearman - base:+.4f}"
            numbers = (f"{row.spearman:.4f}", change, f"{row.pearson:.4f}", f"{row.rank_agreement:.4f}")
            cells.append((row.reference or "(not shifted)", *numbers))
        return cells

    def __str__(self) -> str:
        cells = self._cells()
        widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
            for row in cells
        ]
        return "\n".join([f"{self.similarity} similarity on {self.n_pairs} pairs", *lines])

    def _repr_html_(self) -> str:
        def line(row: tuple[str, ...], tag: str) -> str:
            cells = (cell.replace("&", "&amp;").replace("<", "&lt;") for cell in row)
            return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"

        head, *body = self._cells()
        caption = f"<caption>{self.similarity} similarity on {self.n_pairs} pairs</caption>"
        return f"<table>{caption}{line(head, 'th')}{''.join(line(row, 'td') for row in body)}</table>"


def shift_cost(
    model: SentenceTransformer,
    texts_a: Sequence[str],
    texts_b: Sequence[str],
    scores: Sequence[float],
    *,
    references: Sequence[str] | None = None,
    similarity: str | None = None,
    prompt: str | None = None,
    batch_size: int = 32,
    show_progress_bar: bool = False,
) -> ShiftCost:
    """Measure what the reference shift would cost a model, without training it.

    A shifted model explains its similarities exactly (Moeller et al., EMNLP 2023). Where its correlations with
    annotated scores stay as they are, that comes for free; otherwise the shifted model needs some fine-tuning. Texts
    are embedded once, and one reference for each of their lengths.

    Args:
        model: any model that `XSTransformer` takes, not shifted itself; left as it is.
        texts_a: n texts, at least 3.
        texts_b: n texts.
        scores: n annotated similarities on any scale, not all the same.
        references: reference tokens, as for `XSTransformer`; None takes those of ``"pad"``, ``"unk"`` and ``"mask"``
            that the tokenizer has.
        similarity: ``"cosine"`` or ``"dot"``; None takes the model's own.
        prompt: put before all texts; None takes the model's default.
        batch_size: texts per batch.
        show_progress_bar: show a bar while the texts are embedded.

    Returns:
        a row for the model as it is, and one for each reference.

    Raises:
        TypeError: ``references`` is a single string.
        ValueError: an argument is outside what is allowed, or the model is shifted already.
    """
    gold = _check_pairs(texts_a, texts_b, scores)
    whole = XSTransformer.wrap(model)
    if whole.shifted:
        raise ValueError("the model is shifted already: measure the model that it was made from")
    similarity = whole.similarity_fn_name if similarity is None else similarity
    if similarity not in ("cosine", "dot"):
        raise ValueError(f"similarity must be None, 'cosine' or 'dot', got {similarity!r}{similarity_hint(similarity)}")
    if isinstance(references, str):
        raise TypeError(f"references must be a sequence of strings, got {references!r}")
    if references is None:
        references = [role for role in ROLES if getattr(whole.tokenizer, f"{role}_token") is not None]
    # Wrapped first, so that a reference that does not exist stops the call before it takes long.
    shifted = [_without_normalisation(XSTransformer.wrap(model, shift=True, reference=name)) for name in references]

    texts = list(dict.fromkeys([*texts_a, *texts_b]))
    place = {text: index for index, text in enumerate(texts)}
    a, b = ([place[text] for text in side] for side in (texts_a, texts_b))
    unshifted = _without_normalisation(whole)
    options = {"prompt": prompt, "batch_size": batch_size}
    f_x = unshifted.encode(texts, show_progress_bar=show_progress_bar, **options).astype(np.float64)
    lengths = _lengths(whole, texts, **options)
    _, first, index = np.unique(lengths, return_index=True, return_inverse=True)

    def similarities(embeddings: np.ndarray) -> np.ndarray:
        if isinstance(model[len(model) - 1], Normalize):
            embeddings = _unit(embeddings)
        embeddings = embeddings[:, : model.truncate_dim]
        if similarity == "cosine":
            embeddings = _unit(embeddings)
        return (embeddings[a] * embeddings[b]).sum(1)

    base = similarities(f_x)
    rows = [_row(None, base, base, gold)]
    for wrapped in shifted:
        # One text of each length tells f(r) = f(x) − e(x), the same for all texts of that length.
        f_r = f_x[first] - wrapped.encode([texts[i] for i in first], **options)
        rows.append(_row(wrapped[0].reference.token, similarities(f_x - f_r[index]), base, gold))
    return ShiftCost(similarity, len(gold), tuple(rows))


def _check_pairs(texts_a: Sequence[str], texts_b: Sequence[str], scores: Sequence[float]) -> np.ndarray:
    gold = np.asarray(scores, dtype=np.float64)
    sizes = (len(texts_a), len(texts_b), gold.size)
    if gold.ndim != 1 or len(set(sizes)) != 1 or sizes[0] < 3:
        raise ValueError(f"texts_a, texts_b and scores must be equally many, at least 3, got {sizes}")
    if not np.isfinite(gold).all() or np.ptp(gold) == 0:
        raise ValueError("scores must be finite and not all the same")
    for name, texts in (("texts_a", texts_a), ("texts_b", texts_b)):
        for index, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"{name}[{index}] must hold some text, got {text!r:.80}")
    return gold


def _without_normalisation(model: XSTransformer) -> XSTransformer:
    """A wrapped model that embeds as f or e, before a trailing normalisation and truncation."""
    while isinstance(model[len(model) - 1], Normalize):
        del model[len(model) - 1]
    model.truncate_dim = None
    return model


def _lengths(model: XSTransformer, texts: list[str], prompt: str | None, batch_size: int) -> np.ndarray:
    """Tokens of each text, special tokens included, as `encode` sees them."""
    if prompt is None and model.default_prompt_name is not None:
        prompt = model.prompts[model.default_prompt_name]
    batches = [
        model.preprocess(texts[start : start + batch_size], prompt=prompt)["attention_mask"].sum(1)
        for start in range(0, len(texts), batch_size)
    ]
    return np.concatenate([batch.cpu().numpy() for batch in batches])


def _unit(embeddings: np.ndarray) -> np.ndarray:
    """Length one, or zero where there is no length."""
    return embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)


def _row(reference: str | None, similarities: np.ndarray, base: np.ndarray, gold: np.ndarray) -> ShiftCostRow:
    if np.ptp(similarities) == 0 or not math.isfinite(similarities.sum()):
        raise ValueError(f"the similarities are not finite or all the same (reference {reference!r})")
    return ShiftCostRow(
        reference=reference,
        spearman=float(spearmanr(similarities, gold).statistic),
        pearson=float(pearsonr(similarities, gold).statistic),
        rank_agreement=float(spearmanr(similarities, base).statistic),
    )
