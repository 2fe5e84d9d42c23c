"""From tokens to straight lines between hidden states: a text, its reference, and the rest of the model along them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from sentence_transformers.util import batch_to_device
from torch import Tensor

from ..integrated_jacobian import bytes_per_pass, values_along_paths
from ..memory import peak_bytes
from .encoder import Encoder, Recording
from .options import Options
from .reference import Reference, reference_features
from .texts import TokenizedText

__all__ = ["TextPath", "batches", "check_finite", "chunk_for", "paths_of", "within_budget"]

# Texts of one length that are computed together, and their tokens: enough for short ones to fill a chunk.
MAX_TEXTS, MAX_TOKENS = 32, 4096
# The rest of a memory budget is for what texts keep meanwhile, and for what an allocator adds.
BUDGET_OF_DERIVATIVES = 0.75


@dataclass(frozen=True)
class TextPath:
    """A straight line from the reference to a text at some layer, and the rest of the model along it."""

    f: Callable[[Tensor], Tensor]
    x: Tensor
    """(S, H)"""
    r: Tensor
    """(S, H)"""
    f_x: Tensor
    """(E,)"""
    f_r: Tensor
    """(E,)"""
    in_float64: Callable[[], TextPath] | None = None
    """Makes the same path in float64; None where that would not be finer, or the device has no float64."""
    precise: Callable[[Tensor], Tensor] | None = None
    """f with derivatives in the model's own precision, where those of ``f`` have less: what nodes are placed by, lest
    rounding be taken for the path."""


def paths_of(
    encoder: Encoder, texts: Sequence[TokenizedText], reference: Reference, options: Options
) -> list[TextPath]:
    """The straight lines from the reference to texts that are alike, at the encoder's layer, and f along them.

    Args:
        encoder: of the model and the layer.
        texts: as `batches` puts them together.
        reference: what they are compared with.
        options: bound the memory, and name the precision of the derivatives.

    Raises:
        FloatingPointError: an embedding is not finite.
        ValueError: what follows the layer depends on more than the hidden states that enter it.
        MemoryError: the budget is too small for a single product.
    """
    device = encoder.device
    features = [batch_to_device(dict(text.features), device) for text in texts]
    referenced = reference_features(reference, features[0])
    if torch.equal(features[0]["input_ids"], referenced["input_ids"]):
        at_reference = encoder.record(referenced)
        r, f_r = at_reference.hidden[0], at_reference.embeddings[0]
        check_finite(f_r, f"the embedding of {texts[0].name}, {texts[0].text!r:.60},")
        return [TextPath(encoder.function(at_reference), r, r, f_r, f_r)] * len(texts)
    at_first, (*hidden, r), (*embeddings, f_r) = _recorded(encoder, features, referenced)
    for text, embedding in zip(texts, embeddings, strict=True):
        check_finite(embedding, f"the embedding of {text.name}, {text.text!r:.60},")
    check_finite(f_r, f"the embedding of the reference of {texts[0].name}, {texts[0].text!r:.60},")
    precise = encoder.function(at_first)
    f = precise if options.derivatives is None else encoder.function(at_first, options.derivatives)
    paths = [
        TextPath(f, x, r, f_x, f_r, _in_float64(encoder, inputs, x, r), None if f is precise else precise)
        for inputs, x, f_x in zip(features, hidden, embeddings, strict=True)
    ]
    expected = torch.stack([f_r, *embeddings[1:]])
    _check_depends_on_states_alone(encoder, paths, expected, options)
    return paths


def _recorded(
    encoder: Encoder, features: Sequence[dict[str, Any]], referenced: dict[str, Any]
) -> tuple[Recording, Tensor, Tensor]:
    """What the first of n texts leaves behind; hidden states and embeddings of all of them, and last of the reference.

    To read the weights of a large model takes as long as to run a short text, so the fewest passes are the fastest.
    """
    if referenced.keys() == features[0].keys():
        recorded = encoder.record(_together([*features, referenced]))
        return recorded.of(0), recorded.hidden, recorded.embeddings
    # A reference of padding has positions of its own, and those of texts are the model's business.
    recorded, at_reference = encoder.record(_together(features)), encoder.record(referenced)
    hidden = torch.cat([recorded.hidden, at_reference.hidden])
    return recorded.of(0), hidden, torch.cat([recorded.embeddings, at_reference.embeddings])


def _check_depends_on_states_alone(
    encoder: Encoder, paths: Sequence[TextPath], expected: Tensor, options: Options
) -> None:
    """Refuse models in which f, made of the first text, does not give the reference and the other texts."""
    elsewhere = [paths[0].r, *(path.x for path in paths[1:])]
    chunk_size = chunk_for(paths[0], 1, options)
    starts = [np.zeros(1)] * len(elsewhere)
    found = torch.cat(values_along_paths(paths[0].f, elsewhere, elsewhere, starts, chunk_size=chunk_size))
    gaps = (found - expected).double().norm(dim=1)
    tolerance = 0.05 if expected.dtype.itemsize == 2 else 1e-3
    if (gaps > tolerance * expected.double().norm(dim=1)).any():
        raise ValueError(
            f"{encoder.model_name} cannot be explained at layer {encoder.layer}: what follows depends "
            "on more than the hidden states that enter it"
        )


def _in_float64(encoder: Encoder, features: dict[str, Any], x: Tensor, r: Tensor) -> Callable[[], TextPath] | None:
    """Makes the same path in float64, once; None where x is not float32, or its device has no float64."""
    if x.dtype != torch.float32 or x.device.type == "mps":
        return None

    @cache
    def make() -> TextPath:
        fine = encoder.in_float64
        f = fine.function(fine.record(features))
        fine_x, fine_r = x.double(), r.double()
        ends = [fine_x, fine_r]
        (f_x,), (f_r,) = values_along_paths(f, ends, ends, [np.zeros(1)] * 2)
        return TextPath(f, fine_x, fine_r, f_x, f_r)

    return make


def chunk_for(path: TextPath, n_groups: int, options: Options, *, reverse: bool = False) -> int | None:
    """The chunk size that was asked for, or that the budget allows for a number of groups of tokens.

    One group is for looks along the path.

    Raises:
        MemoryError: the budget is too small for a single product.
    """
    if options.memory_budget is None:
        return options.chunk_size
    available = BUDGET_OF_DERIVATIVES * options.memory_budget
    each = bytes_per_pass(path.f, path.x, path.r, 1, reverse=reverse)
    if each > available:
        raise MemoryError(
            f"memory_budget={options.memory_budget:g} is too small: one product of {len(path.x)} tokens takes "
            f"{each:,} bytes, and a quarter of the budget is for what else is kept"
        )
    # Counting several at once is closer, and takes as much as eight of the first.
    if n_groups > 1 and 8 * each <= available:
        each = bytes_per_pass(path.f, path.x, path.r, n_groups, reverse=reverse)
    return math.floor(available / each)


def batches(texts: Sequence[TokenizedText], reference: Reference) -> Iterator[list[int]]:
    """Places of texts that can be computed together: of one length, so that none is padded, and with f the same for
    all.

    The longest come first: the estimate of the time that is left errs on the safe side.
    """
    alike: dict[Any, list[int]] = {}
    for place, text in enumerate(texts):
        alike.setdefault(_kind(text, reference), []).append(place)
    for group in sorted(alike.values(), key=lambda group: -len(texts[group[0]].tokens)):
        size = max(1, min(MAX_TEXTS, MAX_TOKENS // len(texts[group[0]].tokens)))
        for start in range(0, len(group), size):
            yield group[start : start + size]


def within_budget(encoder: Encoder, places: list[int], first: TokenizedText, options: Options) -> Iterator[list[int]]:
    """A batch in parts whose forward passes fit the memory budget beside derivatives, of one text at least."""
    size = len(places)
    if options.memory_budget is not None:
        features = batch_to_device(dict(first.features), encoder.device)
        beside = (1 - BUDGET_OF_DERIVATIVES) * options.memory_budget
        # Beside the texts goes their reference.
        size = max(1, int(beside // peak_bytes(lambda: encoder.record(features))) - 1)
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _kind(text: TokenizedText, reference: Reference) -> tuple[Any, ...]:
    """Equal for texts whose inputs differ in nothing but the ids of their tokens."""
    ids = text.features["input_ids"]
    is_reference = torch.equal(ids, reference_features(reference, text.features)["input_ids"])
    others = sorted((name, value) for name, value in text.features.items() if name != "input_ids")
    described = ((name, value.tolist() if isinstance(value, Tensor) else value) for name, value in others)
    return tuple(ids.shape), is_reference, repr(list(described))


def _together(features: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One batch of inputs that differ in nothing but the ids of their tokens."""
    return {
        name: torch.cat([one[name] for one in features]) if isinstance(value, Tensor) and value.ndim else value
        for name, value in features[0].items()
    }


def check_finite(values: Tensor, what: str) -> None:
    """Raise FloatingPointError unless all numbers are finite."""
    if not torch.isfinite(values).all():
        raise FloatingPointError(
            f"{what} holds numbers that are not finite; the model's weights or its dtype ({values.dtype}) may be "
            "the cause"
        )
