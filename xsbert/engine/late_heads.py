"""Heads of late-interaction models: a vector for each token, some of which are scored.

The scored tokens are those of the text, by the model's mask: with query expansion, without the words of a skip list.
They are frozen at the text, so that its reference has the same ones. A normalisation of the vectors is left out of f:
norms are constants of a pair (see `xsbert.factors.vectors`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from sentence_transformers.base.modules import Normalize
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from torch import Tensor, nn

from ..factors.vectors import Vectors
from .heads import Frozen

__all__ = ["LateHead", "ends_in_normalisation"]


class LateHead:
    """Dense layers that work token by token, and the mask of the scored tokens.

    Args:
        modules: modules behind the transformer.
        mean: whether the score is the mean over the query's vectors.
    """

    freezes = True
    behind_base_model = False

    def __init__(self, modules: Sequence[nn.Module], mean: bool) -> None:
        self._masks = [module for module in modules if isinstance(module, MultiVectorMask)]
        steps = [module for module in modules if not isinstance(module, MultiVectorMask)]
        self._normalised = ends_in_normalisation(modules)
        while steps and isinstance(steps[-1], Normalize):
            steps.pop()
        self._steps, self._mean = steps, mean

    def record(self, features: dict[str, Any]) -> Tensor:
        """Return the vectors (B, S, D + 1) of all tokens; the last number is 1 if the token is scored."""
        scored = dict(features)
        for mask in self._masks:
            scored = mask(scored, task=features.get("task"))
        vectors = self._vectors(features, features["token_embeddings"])
        return torch.cat([vectors, scored["attention_mask"].bool()[..., None].to(vectors.dtype)], dim=-1)

    def freeze(self, at_text: Tensor, at_reference: Tensor, integrate_kinks: bool) -> Frozen:
        if integrate_kinks:
            raise ValueError(
                "kinks='integrate': which vectors match is a choice of two texts, and is frozen; only kinks='freeze' "
                "is allowed"
            )
        (chosen,) = at_text[:, -1].nonzero(as_tuple=True)
        if not len(chosen):
            raise ValueError(
                "the model's mask leaves no vector of the text, such as a skip list that has all of its tokens: it "
                "has no score"
            )
        outputs = Vectors(chosen.cpu().numpy(), at_text.shape[1] - 1, self._normalised, self._mean)
        f_x, f_r = (vectors[chosen, :-1].flatten() for vectors in (at_text, at_reference))
        return Frozen(f_x, f_r, outputs, chosen)

    def reading(self, choices: Tensor) -> AbstractContextManager[None]:
        return nullcontext()

    def read(self, features: dict[str, Any], choices: Tensor) -> Tensor:
        return self._vectors(features, features["token_embeddings"][:, choices]).flatten(1)

    def _vectors(self, features: dict[str, Any], states: Tensor) -> Tensor:
        known = {**features, "token_embeddings": states}
        for module in self._steps:
            known = module(known)
        return known["token_embeddings"]


def ends_in_normalisation(modules: Sequence[nn.Module]) -> bool:
    """Return whether the last module that changes vectors is a normalisation."""
    changing = [module for module in modules if not isinstance(module, MultiVectorMask)]
    return bool(changing) and isinstance(changing[-1], Normalize)
