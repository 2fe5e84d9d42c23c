"""Embeddings of texts with words removed or replaced.

Words are removed after tokenization, so that the tokens of other words do not change. Texts of equal length are
embedded in one batch without padding. Every distinct text is embedded once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._utils.progress import Progress
from .._utils.sequences import as_texts
from .._utils.validation import checked_integer
from ..attribution.similarity import check_similarity
from ..engine.private_copy import private_copy
from ..factors.text_factors import TextFactors
from ..models import XSTransformer
from ..text.units import TEXT, check_units

__all__ = ["OPERATORS", "EditedText", "Perturber", "TextUnits", "text_layout"]

OPERATORS = {
    "remove": "the words are taken out, and those behind move up",
    "unk": "each of their tokens becomes the unknown token",
    "mask": "each of their tokens becomes the mask token",
    "pad": "each of their tokens becomes the padding token, which is attended to",
}


@dataclass(frozen=True)
class EditedText:
    """A text, some of its units, and the operator that edits them."""

    text: str
    units: frozenset[int]
    """Positions among the units of the text, special tokens included."""
    operator: str = "remove"


@dataclass(frozen=True)
class TextUnits:
    """A tokenized text and its units."""

    layout: TextFactors
    """Labels, roles and character ranges of the G units."""
    groups: list[list[int]]
    """(G,) lists of token positions."""
    features: Mapping[str, Any]
    """The model's inputs, batch size 1."""

    @property
    def content(self) -> list[int]:
        """Positions of the units of text, without special tokens and prompt."""
        return [place for place, role in enumerate(self.layout.roles) if role == TEXT]


def text_layout(
    model: XSTransformer, texts: Sequence[str], show_progress_bar: bool | None = False
) -> list[TextFactors]:
    """Returns tokens, roles, ranges and embeddings of texts with zero factors. Each costs a few forward passes."""
    found = model.text_factors(texts, layer=model.n_layers, n_steps=1, show_progress_bar=show_progress_bar)
    return [replace(each, factors=np.zeros_like(each.factors), known_residual=0.0, factor_error=None) for each in found]


class Perturber:
    """Embeds texts with some of their units removed or replaced.

    Embeddings are cached. They become invalid when the weights of the model change.

    Args:
        model: not modified.
        units: ``"tokens"``, ``"words"`` or ``"sentences"``.
        similarity: ``"cosine"`` or ``"dot"``; embeddings are normalised for the cosine.
        batch_size: texts per batch.
        show_progress_bar: True or False; None shows a bar after two seconds.

    Raises:
        ValueError: the units or the similarity are unknown.
    """

    def __init__(
        self,
        model: XSTransformer,
        units: str = "words",
        similarity: str = "cosine",
        batch_size: int = 64,
        show_progress_bar: bool | None = None,
    ) -> None:
        check_units(units)
        check_similarity(similarity)
        self.model, self.units, self.similarity = model, units, similarity
        self.batch_size = checked_integer(batch_size, "batch_size", least=1)
        self.show_progress_bar = show_progress_bar
        self.n_passes = 0
        """Number of texts embedded so far."""
        self._modules = private_copy(list(model))
        self._texts: dict[str, TextUnits] = {}
        self._known: dict[tuple[int, ...], np.ndarray] = {}

    def prepare(self, texts: Iterable[str]) -> None:
        """Tokenize texts and find their units.

        Raises:
            ValueError: a text is longer than the model reads, or has only special tokens.
        """
        new = [text for text in dict.fromkeys(as_texts(texts, "texts")) if text not in self._texts]
        if not new:
            return
        for text, layout in zip(new, text_layout(self.model, new, self.show_progress_bar), strict=True):
            if layout.n_cut:
                raise ValueError(
                    f"the text {text!r:.60} has {layout.n_cut} tokens more than the model reads; deleting them has "
                    "no effect. Shorten the text"
                )
            coarse = layout if self.units == "tokens" else layout.over(self.units)
            groups = [[s] for s in range(len(layout.tokens))] if self.units == "tokens" else layout.groups(self.units)
            features = self.model.preprocess([text], prompt=layout.prompt or None)
            found = TextUnits(coarse, groups, dict(features))
            if not found.content:
                raise ValueError(f"the text {text!r:.60} has no {self.units} beside special tokens")
            self._texts[text] = found

    def units_of(self, text: str) -> TextUnits:
        """Returns a text and its units."""
        self.prepare([text])
        return self._texts[text]

    def cost(self, edits: Iterable[EditedText]) -> int:
        """Returns the number of forward passes for the embeddings that are not cached yet."""
        return len({self._ids(edit) for edit in edits} - self._known.keys())

    def embeddings(
        self, edits: Sequence[EditedText], description: str = "edited texts", *, keep: bool = True
    ) -> np.ndarray:
        """Returns (n, E) embeddings in float64, with norm one for the cosine.

        Args:
            edits: n texts.
            description: label of the progress bar.
            keep: cache the embeddings. This affects only memory and time.

        Raises:
            ValueError: the tokenizer lacks the operator's token, or an edited text is empty.
        """
        self.prepare(edit.text for edit in edits)
        ids = [self._ids(edit) for edit in edits]
        missing: dict[tuple[Any, ...], dict[tuple[int, ...], EditedText]] = {}
        for key, edit in zip(ids, edits, strict=True):
            if key not in self._known:
                prompt_length = int(self._texts[edit.text].features.get("prompt_length") or 0)
                missing.setdefault((len(key), prompt_length), {})[key] = edit
        known = self._known if keep else dict(self._known)
        total = sum(map(len, missing.values()))
        with Progress(total, description, show=self.show_progress_bar) as progress:
            for group in missing.values():
                self._embed(group, known, progress)
        return np.stack([known[key] for key in ids]) if ids else np.zeros((0, 0))

    def _embed(
        self, group: dict[tuple[int, ...], EditedText], known: dict[tuple[int, ...], np.ndarray], progress: Progress
    ) -> None:
        items = list(group.items())
        for start in range(0, len(items), self.batch_size):
            batch = items[start : start + self.batch_size]
            features = [self._features(edit) for _, edit in batch]
            joined = {
                name: torch.cat([each[name] for each in features]).to(self.model.device)
                if isinstance(value, Tensor)
                else value
                for name, value in features[0].items()
            }
            with torch.no_grad():
                for module in self._modules:
                    joined = module(joined)
            # As in `encode`: truncated dimensions are not part of the score.
            found = joined["sentence_embedding"][:, : self.model.truncate_dim].double().cpu().numpy()
            if self.similarity == "cosine":
                norms = np.linalg.norm(found, axis=1, keepdims=True)
                # A shifted model embeds a text that equals its reference as zero; its cosine is set to zero.
                found = np.divide(found, norms, out=np.zeros_like(found), where=norms > 0)
            known.update((key, row) for (key, _), row in zip(batch, found, strict=True))
            self.n_passes += len(batch)
            progress.update(len(batch))

    def _positions(self, edit: EditedText) -> list[int]:
        groups = self._texts[edit.text].groups
        return sorted(position for unit in edit.units for position in groups[unit])

    def _token(self, operator: str) -> int:
        if operator not in OPERATORS:
            raise ValueError(f"operators must be of {', '.join(map(repr, OPERATORS))}, got {operator!r}")
        token = getattr(self.model[0].tokenizer, f"{operator}_token_id")
        if token is None:
            raise ValueError(f"the model's tokenizer has no token for the operator {operator!r}")
        return token

    def _ids(self, edit: EditedText) -> tuple[int, ...]:
        ids = self._texts[edit.text].features["input_ids"][0].tolist()
        touched = self._positions(edit)
        if edit.operator == "remove":
            gone = set(touched)
            left = tuple(each for place, each in enumerate(ids) if place not in gone)
            if not left:
                raise ValueError(f"nothing is left of {edit.text!r:.60} without {len(edit.units)} of its units")
            return left
        token = self._token(edit.operator)
        for place in touched:
            ids[place] = token
        return tuple(ids)

    def _features(self, edit: EditedText) -> dict[str, Any]:
        """Returns the model inputs of one edited text, batch size 1."""
        features = self._texts[edit.text].features
        length = features["input_ids"].shape[1]
        if edit.operator == "remove":
            gone = set(self._positions(edit))
            kept = torch.tensor([place for place in range(length) if place not in gone])
            return {
                name: value[:, kept] if isinstance(value, Tensor) and value.shape[:2] == (1, length) else value
                for name, value in features.items()
            }
        ids = torch.tensor([self._ids(edit)], dtype=features["input_ids"].dtype)
        return {**features, "input_ids": ids}
