"""Static models: a text is embedded as the mean of a table's rows, one row for each of its tokens.

The hidden states of a text are the rows of its tokens, the reference is zero, and f is the mean followed by the modules
behind the table. Without a nonlinear module, f is affine: V[s] is the row of token s divided by S and passed through
the linear modules. That is exact without integration. With a nonlinear module, the factors are integrated as for any
other model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from sentence_transformers.sentence_transformer.modules import Dense, Dropout, StaticEmbedding
from sentence_transformers.util import batch_to_device
from torch import Tensor, nn

from .._utils.cached_property import cached_property
from .._utils.progress import tick
from ..factors.text_factors import TextFactors, settings_of
from .heads import PooledHead
from .kept_prompt import reference_inputs
from .options import Options
from .private_copy import private_copy
from .protocol import Explainable
from .reference import AnyReference
from .split_model import RecordedPass, SplitModel
from .text_path import TextPath, WorkLimits, check_finite
from .tokenization import TokenizedText

__all__ = ["CLOSED_FORM", "StaticModel", "closed_form_factors", "has_closed_form", "split"]

CLOSED_FORM = "closed form"
"""Name in `Settings.rule` of factors without integration."""


def split(model: Explainable, layer: int) -> SplitModel:
    """Return a model split at a layer; a static model has only layer 0."""
    return StaticModel(model) if isinstance(model[0], StaticEmbedding) else SplitModel(model, layer)


def has_closed_form(model: Explainable) -> bool:
    """Return whether the factors need no integration: a static model with only linear modules behind its table."""
    first, *behind = model.unshifted_modules()
    return isinstance(first, StaticEmbedding) and all(map(_is_affine, behind))


class StaticModel(SplitModel):
    """A static model as `SplitModel` presents others: hidden states are rows of the table, f is the rest.

    Args:
        model: model to split, a `StaticEmbedding` first. It is not modified.
        dtype: dtype of the computation; None for the model's.
    """

    def __init__(self, model: Explainable, dtype: torch.dtype | None = None) -> None:
        table, *behind = model.unshifted_modules()
        assert isinstance(table, StaticEmbedding)
        self._model, self._dtype = model, dtype
        self._table: Tensor = table.embedding.weight.detach()
        self.head = PooledHead(private_copy(behind, dtype) if behind else [])
        self.device = model.device
        self.model_name = type(table).__name__
        self.layer, self._fed = 0, False

    @cached_property
    def in_float64(self) -> SplitModel:
        """The same model in float64. Only the rows that a text needs are converted."""
        return StaticModel(self._model, torch.float64)

    def record(self, features: dict[str, Any]) -> RecordedPass:
        """Embed texts of one length exactly as `encode` would. Tokens of the reference, of id −1, are zero rows."""
        is_text = (features["input_ids"] >= 0)[..., None]
        ids = features["input_ids"].clamp(min=0)
        with torch.no_grad():
            hidden = F.embedding(ids, self._table) * is_text
            if self._dtype is None:
                # As `encode` computes it: its sum rounds in another order than the mean of the rows.
                means = F.embedding_bag(ids, self._table, mode="mean")
                means = torch.where(is_text.all(1), means, hidden.mean(1))
            else:
                hidden = hidden.to(self._dtype)
                means = hidden.mean(1)
            embeddings = self.head.record({**features, "sentence_embedding": means})
        return RecordedPass(features=features, hidden=hidden, embeddings=embeddings, earlier=())

    def run(self, recording: RecordedPass, entering: Tensor, choices: Any = None) -> Tensor:
        """Return the embedding (E,) for rows (1, S, H)."""
        tick()
        return self.head.record({**recording.features, "sentence_embedding": entering.mean(1)})[0]

    def linear(self, rows: Tensor) -> Tensor:
        """Apply the modules behind the table, which are affine, to vectors (N, H), without their constant part."""
        both = self.head.record({"sentence_embedding": torch.cat([rows, torch.zeros_like(rows[:1])])})
        return both[:-1] - both[-1]


def closed_form_factors(
    encoder: SplitModel,
    texts: Sequence[TokenizedText],
    reference: AnyReference,
    options: Options,
    describe: Callable[[TokenizedText, Sequence[TextPath]], TextFactors],
) -> list[TextFactors]:
    """Return the factors of texts of one length, which are exact up to rounding.

    Args:
        encoder: a `StaticModel` with affine modules.
        texts: a batch of `batches`.
        reference: zero.
        options: of the explanation; those of nodes do not matter.
        describe: gives a text's factors without numbers, for the path with its embeddings.

    Raises:
        FloatingPointError: an embedding is not finite.
        ValueError: the factors do not sum to the embedding.
    """
    assert isinstance(encoder, StaticModel)
    features = [batch_to_device(dict(text.features), encoder.device) for text in texts]
    ids = torch.cat([each["input_ids"] for each in features])
    (zero,) = reference.members
    both = torch.cat([ids, reference_inputs(zero, texts[0], features[0], options)["input_ids"]])
    recorded = encoder.record({**features[0], "input_ids": both})
    f, r, f_r = encoder.function(recorded.of(0)), recorded.hidden[-1], recorded.embeddings[-1]
    rows = (recorded.hidden[:-1] - r).double()
    fine = encoder.in_float64
    assert isinstance(fine, StaticModel)
    with torch.no_grad():
        factors = fine.linear(rows.flatten(0, 1) / rows.shape[1]).view(*rows.shape[:2], -1).cpu().numpy()
    results = []
    for text, x, f_x, own in zip(texts, recorded.hidden, recorded.embeddings, factors, strict=False):
        check_finite(f_x, f"the embedding of {text.name}, {text.text!r:.60},")
        path = TextPath(f, x, r, f_x, f_r, WorkLimits(f, x, r, len(f_x), options))
        found = describe(text, [path])
        settings = replace(
            settings_of(found), rule=CLOSED_FORM, n_steps=0, tolerance=None, factor_tolerance=None, derivative_dtype=""
        )
        # The factors are exact in float64; the model's own embedding has its dtype's rounding.
        found = replace(
            found,
            factors=own[:, : len(found.embedding)],
            settings=settings,
            factor_error=float(torch.finfo(torch.float64).eps) * len(own),
        )
        if found.residual > (0.05 if f_x.dtype.itemsize == 2 else 1e-3):
            raise ValueError(
                f"the embedding of {text.name} by {encoder.model_name} is not the mean of its tokens' rows, passed "
                "through the linear modules: they do something else as well"
            )
        results.append(found)
    return results


def _is_affine(module: nn.Module) -> bool:
    if isinstance(module, Dense):
        return isinstance(module.activation_function, nn.Identity) and type(module).forward is Dense.forward
    return isinstance(module, Dropout)
