"""Attributions to pairs of features of two texts' hidden states."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..factors.outputs import Outputs
from ..integrated_jacobian.factors import feature_pairs
from .initial_factors import numpy_of
from .integration import placements
from .options import Options
from .paths import paths_of
from .protocol import Explainable
from .reference import AnyReference
from .split_model import SplitModel
from .text_path import integrator_of
from .tokenization import TokenizedText

__all__ = ["feature_pairs_of"]

Numbers = tuple[Outputs | None, np.ndarray]


def feature_pairs_of(
    model: Explainable,
    encoder: SplitModel,
    texts: Sequence[TokenizedText],
    reference: AnyReference,
    options: Options,
) -> np.ndarray:
    """Compute attributions to pairs of features, (S, H, T, H), by reverse mode, without the division by c.

    Args:
        model: the model.
        encoder: the model, split at the layer.
        texts: two texts of S and T tokens.
        reference: their reference; with several, Jacobians times differences are averaged.
        options: place the nodes.
    """
    dtype = torch.float64 if model.dtype == torch.float64 else torch.float32
    sides: list[Tensor] = []
    numbers: list[Numbers] = []
    for text in texts:
        paths = paths_of(encoder, [text], reference, options)
        parts: list[Tensor] = []
        for path, placement in zip(paths, placements(paths, options), strict=True):
            if placement.in_float64 and path.in_float64 is not None:
                path = path.in_float64()
            (jacobian,) = integrator_of([path], len(path.f_x), reverse=True).jacobians([placement.rule])
            parts.append(jacobian[: model.truncate_dim].to(dtype) * (path.x - path.r).to(dtype))
        sides.append(torch.stack(parts).mean(0))
        outputs = None if paths[0].outputs is None else paths[0].outputs.of_text(text.tokens, text.encoded_by)
        numbers.append((outputs, numpy_of(paths[0].f_x)))
    a, b = _together(sides[0], sides[1], *numbers)
    return feature_pairs(a, torch.ones_like(a[0]), b, torch.ones_like(b[0])).cpu().numpy()


def _together(jacobian_a: Tensor, jacobian_b: Tensor, a: Numbers, b: Numbers) -> tuple[Tensor, Tensor]:
    """Bring the rows of two Jacobians (E, S, H) together, if each text has numbers of its own."""
    if a[0] is None or b[0] is None:
        return jacobian_a, jacobian_b
    _, first, second = a[0].joined(b[0], a[1], b[1])
    joined = (
        torch.from_numpy(rows(jacobian.movedim(0, -1).cpu().numpy())).movedim(-1, 0).to(jacobian.device)
        for rows, jacobian in ((first, jacobian_a), (second, jacobian_b))
    )
    one, other = joined
    return one, other
