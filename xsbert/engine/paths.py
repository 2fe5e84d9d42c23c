"""Creates the integration paths of tokenized texts: straight lines between hidden states of reference and text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from sentence_transformers.util import batch_to_device
from torch import Tensor

from ..integrated_jacobian.integrator import PathIntegrator
from .options import Options
from .reference import Reference, reference_features
from .split_model import RecordedPass, SplitModel
from .text_path import TextPath, WorkLimits, check_finite
from .tokenization import TokenizedText

__all__ = ["paths_of"]


def paths_of(
    encoder: SplitModel, texts: Sequence[TokenizedText], reference: Reference, options: Options
) -> list[TextPath]:
    """Return the straight paths from the reference to each text of a batch at the encoder's layer, with f.

    Args:
        encoder: the model, split at the layer.
        texts: a batch of `batches`.
        reference: reference of the texts.
        options: give the memory bound and the precision of derivatives.

    Raises:
        FloatingPointError: an embedding is not finite.
        ValueError: f depends on more than the hidden states that enter the layer.
        MemoryError: the budget is too small for a single product.
    """
    device = encoder.device
    features = [batch_to_device(dict(text.features), device) for text in texts]
    referenced = reference_features(reference, features[0])
    if torch.equal(features[0]["input_ids"], referenced["input_ids"]):
        at_reference = encoder.record(referenced)
        r, f_r = at_reference.hidden[0], at_reference.embeddings[0]
        check_finite(f_r, f"the embedding of {texts[0].name}, {texts[0].text!r:.60},")
        f = encoder.function(at_reference)
        return [TextPath(f, r, r, f_r, f_r, WorkLimits(f, r, r, len(f_r), options))] * len(texts)
    at_first, (*hidden, r), (*embeddings, f_r) = _recorded(encoder, features, referenced)
    for text, embedding in zip(texts, embeddings, strict=True):
        check_finite(embedding, f"the embedding of {text.name}, {text.text!r:.60},")
    check_finite(f_r, f"the embedding of the reference of {texts[0].name}, {texts[0].text!r:.60},")
    precise = encoder.function(at_first)
    f = precise if options.derivatives is None else encoder.function(at_first, options.derivatives)
    limits = WorkLimits(f, hidden[0], r, len(f_r), options)
    other = None if f is precise else precise
    paths = [
        TextPath(f, x, r, f_x, f_r, limits, _in_float64(encoder, inputs, x, r, options), other)
        for inputs, x, f_x in zip(features, hidden, embeddings, strict=True)
    ]
    expected = torch.stack([f_r, *embeddings[1:]])
    _check_depends_on_states_alone(encoder, paths, expected)
    return paths


def _recorded(
    encoder: SplitModel, features: Sequence[dict[str, Any]], referenced: dict[str, Any]
) -> tuple[RecordedPass, Tensor, Tensor]:
    """Record n texts and their reference.

    Returns the recording of the first text, and the hidden states and embeddings of all texts, the reference last.
    Reading the weights of a large model takes as long as running a short text, so passes are combined if possible.
    """
    if referenced.keys() == features[0].keys():
        recorded = encoder.record(_together([*features, referenced]))
        return recorded.of(0), recorded.hidden, recorded.embeddings
    # A reference of padding has explicit positions; texts get theirs from the model.
    recorded, at_reference = encoder.record(_together(features)), encoder.record(referenced)
    hidden = torch.cat([recorded.hidden, at_reference.hidden])
    return recorded.of(0), hidden, torch.cat([recorded.embeddings, at_reference.embeddings])


def _check_depends_on_states_alone(encoder: SplitModel, paths: Sequence[TextPath], expected: Tensor) -> None:
    """Reject models in which f of the first text does not give the embeddings of the reference and the other texts."""
    elsewhere = [paths[0].r, *(path.x for path in paths[1:])]
    chunk_size = paths[0].limits.chunk_size()
    integrator = PathIntegrator(paths[0].f, elsewhere, elsewhere, chunk_size=chunk_size)
    found = torch.cat(integrator.values([np.zeros(1)] * len(elsewhere)))
    gaps = (found - expected).double().norm(dim=1)
    tolerance = 0.05 if expected.dtype.itemsize == 2 else 1e-3
    if (gaps > tolerance * expected.double().norm(dim=1)).any():
        raise ValueError(
            f"{encoder.model_name} cannot be explained at layer {encoder.layer}: its output depends on more than the "
            "hidden states that enter this layer"
        )


def _in_float64(
    encoder: SplitModel, features: dict[str, Any], x: Tensor, r: Tensor, options: Options
) -> Callable[[], TextPath] | None:
    """Return a cached function that creates the path in float64; None if x is not float32 or float64 is unsupported."""
    if x.dtype != torch.float32 or x.device.type == "mps":
        return None

    @cache
    def make() -> TextPath:
        fine = encoder.in_float64
        f = fine.function(fine.record(features))
        fine_x, fine_r = x.double(), r.double()
        ends = [fine_x, fine_r]
        (f_x,), (f_r,) = PathIntegrator(f, ends, ends).values([np.zeros(1)] * 2)
        return TextPath(f, fine_x, fine_r, f_x, f_r, WorkLimits(f, fine_x, fine_r, len(f_x), options))

    return make


def _together(features: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Concatenate inputs that differ only in their token ids into one batch."""
    return {
        name: torch.cat([one[name] for one in features]) if isinstance(value, Tensor) and value.ndim else value
        for name, value in features[0].items()
    }
