"""Creates the integration paths of tokenized texts: straight lines between hidden states of reference and text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from sentence_transformers.util import batch_to_device
from torch import Tensor

from ..integrated_jacobian.functions import PathFunction
from ..integrated_jacobian.integrator import PathIntegrator
from .heads import Frozen
from .kept_prompt import reference_inputs
from .options import Options
from .reference import AnyReference, Reference
from .split_model import RecordedPass, SplitModel
from .text_path import TextPath, WorkLimits, check_finite
from .tokenization import TokenizedText

__all__ = ["paths_of"]


def paths_of(
    encoder: SplitModel,
    texts: Sequence[TokenizedText],
    reference: AnyReference,
    options: Options,
    *,
    check: bool = True,
) -> list[TextPath]:
    """Return the straight paths from each reference to each text of a batch at the encoder's layer, with f.

    Args:
        encoder: the model, split at the layer.
        texts: n texts, a batch of `batches`.
        reference: k references of the texts.
        options: give the memory bound and the precision of derivatives.
        check: check that f depends on nothing but the hidden states that enter the layer.

    Returns:
        n · k paths: those of the first text from each reference, then those of the second.

    Raises:
        FloatingPointError: an embedding is not finite.
        ValueError: f depends on more than the hidden states that enter the layer.
        MemoryError: the budget is too small for a single product.
    """
    device = encoder.device
    if encoder.head.freezes:
        return [_frozen_path(encoder, text, member, options) for text in texts for member in reference.members]
    features = [batch_to_device(dict(text.features), device) for text in texts]
    referenced = [reference_inputs(member, texts[0], features[0], options) for member in reference.members]
    same = [torch.equal(features[0]["input_ids"], each["input_ids"]) for each in referenced]
    if all(same):
        at_reference = encoder.record(referenced[0])
        r, f_r = at_reference.hidden[0], at_reference.embeddings[0]
        check_finite(f_r, f"the embedding of {texts[0].name}, {texts[0].text!r:.60},")
        f = encoder.function(at_reference)
        return [TextPath(f, r, r, f_r, f_r, WorkLimits(f, r, r, len(f_r), options))] * (len(texts) * len(referenced))
    at_first, ends, starts = _recorded(
        encoder, features, [None if at else each for at, each in zip(same, referenced, strict=True)]
    )
    for text, (_, embedding) in zip(texts, ends, strict=True):
        check_finite(embedding, f"the embedding of {text.name}, {text.text!r:.60},")
    for _, f_r in starts:
        check_finite(f_r, f"the embedding of the reference of {texts[0].name}, {texts[0].text!r:.60},")
    precise = encoder.function(at_first)
    f = precise if options.derivatives is None else encoder.function(at_first, options.derivatives)
    limits = WorkLimits(f, ends[0][0], starts[0][0], len(ends[0][1]), options)
    other = None if f is precise else precise
    paths = [
        TextPath(f, x, r, f_x, f_r, limits, _in_float64(encoder, inputs, x, r, options), other)
        for inputs, (x, f_x) in zip(features, ends, strict=True)
        for r, f_r in starts
    ]
    if check:
        _check_depends_on_states_alone(encoder, f, limits.chunk_size(), [*starts, *ends[1:]])
    return paths


def _frozen_path(encoder: SplitModel, text: TokenizedText, reference: Reference, options: Options) -> TextPath:
    """Return the path of one text, whose f has its choices frozen."""
    features = batch_to_device(dict(text.features), encoder.device)
    referenced = reference_inputs(reference, text, features, options)
    at_text, [(x, y_x)], [(r, y_r)] = _recorded(encoder, [features], [referenced])
    for values, of in ((y_x, "embedding"), (y_r, "embedding of the reference")):
        check_finite(values, f"the {of} of {text.name}, {text.text!r:.60},")
    frozen = encoder.head.freeze(y_x, y_r, options.kinks == "integrate")
    if torch.equal(features["input_ids"], referenced["input_ids"]):
        r, frozen = x, replace(frozen, f_r=frozen.f_x)
    precise = encoder.function(at_text, choices=frozen.choices)
    f = precise
    if options.derivatives is not None:
        f = encoder.function(at_text, options.derivatives, frozen.choices)
    limits = WorkLimits(f, x, r, len(frozen.f_x), options)
    other = None if f is precise else precise
    fine = _in_float64(encoder, features, x, r, options, frozen)
    path = TextPath(f, x, r, frozen.f_x, frozen.f_r, limits, fine, other, frozen.outputs)
    if len(frozen.outputs):
        _check_depends_on_states_alone(encoder, f, limits.chunk_size(), [(r, path.f_r), (x, path.f_x)])
    return path


State = tuple[Tensor, Tensor]
"""Hidden states (S, H) at the layer, and the embedding (E,)."""


def _recorded(
    encoder: SplitModel, features: Sequence[dict[str, Any]], referenced: Sequence[dict[str, Any] | None]
) -> tuple[RecordedPass, list[State], list[State]]:
    """Record n texts and their k references, None for a reference that is the text itself.

    Returns the recording of the first text, and the states of all texts and of all references. Reading the weights of a
    large model takes as long as running a short text, so passes are combined if possible.
    """
    # A reference of padding has explicit positions; texts get theirs from the model.
    together = [each for each in referenced if each is not None and each.keys() == features[0].keys()]
    recorded = encoder.record(_together([*features, *together]))
    states = list(zip(recorded.hidden, recorded.embeddings, strict=True))
    ends, others = states[: len(features)], iter(states[len(features) :])
    starts: list[State] = []
    for each in referenced:
        if each is None:
            starts.append(ends[0])
        elif each.keys() == features[0].keys():
            starts.append(next(others))
        else:
            alone = encoder.record(each)
            starts.append((alone.hidden[0], alone.embeddings[0]))
    return recorded.of(0), ends, starts


def _check_depends_on_states_alone(
    encoder: SplitModel, f: PathFunction, chunk_size: int, states: Sequence[State]
) -> None:
    """Reject models in which f of the first text does not give the embeddings of the references and other texts."""
    places = [hidden for hidden, _ in states]
    expected = torch.stack([embedding for _, embedding in states])
    integrator = PathIntegrator(f, places, places, chunk_size=chunk_size)
    found = torch.cat(integrator.values([np.zeros(1)] * len(places)))
    gaps = (found - expected).double().norm(dim=1)
    tolerance = 0.05 if expected.dtype.itemsize == 2 else 1e-3
    sizes = expected.double().norm(dim=1)
    if encoder.head.freezes:
        # No term that a text activates need be active at the reference: f(r) may be zero.
        sizes = sizes.max().expand_as(sizes)
    if (gaps > tolerance * sizes).any():
        raise ValueError(
            f"{encoder.model_name} cannot be explained at layer {encoder.layer}: its output depends on more than the "
            "hidden states that enter this layer"
        )


def _in_float64(
    encoder: SplitModel,
    features: dict[str, Any],
    x: Tensor,
    r: Tensor,
    options: Options,
    frozen: Frozen | None = None,
) -> Callable[[], TextPath] | None:
    """Return a cached function that creates the path in float64; None if x is not float32 or float64 is unsupported."""
    if x.dtype != torch.float32 or x.device.type == "mps":
        return None

    @cache
    def make() -> TextPath:
        fine = encoder.in_float64
        f = fine.function(fine.record(features), choices=None if frozen is None else frozen.choices)
        fine_x, fine_r = x.double(), r.double()
        ends = [fine_x, fine_r]
        (f_x,), (f_r,) = PathIntegrator(f, ends, ends).values([np.zeros(1)] * 2)
        limits = WorkLimits(f, fine_x, fine_r, len(f_x), options)
        return TextPath(f, fine_x, fine_r, f_x, f_r, limits, outputs=None if frozen is None else frozen.outputs)

    return make


def _together(features: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Concatenate inputs that differ only in their token ids into one batch."""
    return {
        name: torch.cat([one[name] for one in features]) if isinstance(value, Tensor) and value.ndim else value
        for name, value in features[0].items()
    }
