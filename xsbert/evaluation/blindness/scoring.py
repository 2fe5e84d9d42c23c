"""Scores of edited texts by the model's own embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ..._utils.progress import Progress
from ...engine import Explainer
from ...engine.batch_run import numpy_of
from ...engine.preconditions import check_run
from ...engine.private_copy import private_model
from ...engine.tokenization import Prompt
from ...models.comparing import ComparingModel

__all__ = ["Scorer"]

BATCH = 64


class Scorer:
    """Embeds texts as the model does, each once, and compares them.

    Args:
        model: not modified.
        explainer: an explainer of the model.
        prompts: prompts of text a and of text b.
        similarity: ``"cosine"`` or ``"dot"``.
        show_progress_bar: True or False; None shows a bar after two seconds.
    """

    def __init__(
        self,
        model: ComparingModel,
        explainer: Explainer,
        prompts: tuple[Prompt, Prompt],
        similarity: str,
        show_progress_bar: bool | None,
    ) -> None:
        check_run(explainer.model)
        self._model: Any = private_model(model)
        self._explainer, self._similarity, self._show = explainer, similarity, show_progress_bar
        self._prompts = dict(zip("ab", prompts, strict=True))
        self._tokens: dict[tuple[str, Prompt], tuple[str, ...] | None] = {}
        self._embeddings: dict[tuple[str, Prompt], Tensor] = {}

    def tokens(self, text: str, side: str, name: str = "text") -> tuple[str, ...] | None:
        """Returns the tokens of a text, or None if the model does not read all of it.

        Raises:
            ValueError: the text is empty or is not valid Unicode. The message has its name.
        """
        key = text, self._prompts[side]
        if key not in self._tokens:
            found = self._explainer.tokenized(text, key[1], name=name, warn=False)
            self._tokens[key] = None if found.n_cut else found.tokens
        return self._tokens[key]

    def embed(self, texts: Sequence[tuple[str, str]]) -> None:
        """Embeds texts, given as (text, side).

        Raises:
            ValueError: an embedding is not finite.
        """
        wanted = dict.fromkeys((text, self._prompts[side]) for text, side in texts)
        # Texts of similar length need little padding.
        keys = sorted((key for key in wanted if key not in self._embeddings), key=lambda key: -len(key[0]))
        by_prompt = {prompt: [text for text, own in keys if own == prompt] for prompt in self._prompts.values()}
        with Progress(len(keys), "texts", show=self._show) as progress:
            for prompt, own in by_prompt.items():
                encode = getattr(self._model, prompt.encoded_by or "encode")
                for start in range(0, len(own), BATCH):
                    batch = own[start : start + BATCH]
                    found = encode(batch, prompt=prompt.text or "", convert_to_tensor=True, show_progress_bar=False)
                    rows = (found.to_dense() if found.is_sparse else found).detach().cpu()
                    for text, row in zip(batch, rows, strict=True):
                        if not row.isfinite().all():
                            raise ValueError(f"the embedding of {text!r:.60} is not finite")
                        self._embeddings[text, prompt] = row
                    progress.update(len(batch))

    def score(self, text: str, side: str, other: str) -> float:
        """Returns the similarity of a text, on its side, and the other text, on the other side."""
        keys = (text, self._prompts[side]), (other, self._prompts["b" if side == "a" else "a"])
        one, two = (numpy_of(self._embeddings[key]) for key in keys)
        if self._similarity == "dot":
            return float(one @ two)
        norms = np.linalg.norm(one) * np.linalg.norm(two)
        # A shifted model embeds a text that equals its reference as zero.
        return float(one @ two / norms) if norms else 0.0
