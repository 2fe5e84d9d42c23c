"""Groups texts into batches that fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from sentence_transformers.util import batch_to_device
from torch import Tensor

from .._utils.memory import peak_bytes
from .kept_prompt import kept_tokens, reference_inputs
from .options import Options
from .reference import AnyReference
from .split_model import SplitModel
from .text_path import BUDGET_OF_DERIVATIVES
from .tokenization import TokenizedText

__all__ = ["batches", "within_budget"]

# Maximum numbers of texts and tokens in a batch: enough for short texts to fill a chunk.
MAX_TEXTS, MAX_TOKENS = 32, 4096


def batches(
    texts: Sequence[TokenizedText], reference: AnyReference, options: Options, alone: bool = False
) -> Iterator[list[int]]:
    """Yield positions of texts that can be computed together: with the same f and one length, so without padding.

    The longest come first, so that the progress bar overestimates the remaining time. ``alone`` yields texts one at a
    time, because f depends on the text.
    """
    n_references = len(reference.members)
    alike: dict[Any, list[int]] = {}
    for place, text in enumerate(texts):
        alike.setdefault(_kind(text, reference, options), []).append(place)
    for group in sorted(alike.values(), key=lambda group: -len(texts[group[0]].tokens)):
        size = 1 if alone else max(1, min(MAX_TEXTS, MAX_TOKENS // len(texts[group[0]].tokens)) // n_references)
        for start in range(0, len(group), size):
            yield group[start : start + size]


def within_budget(
    encoder: SplitModel, places: list[int], first: TokenizedText, options: Options, n_references: int = 1
) -> Iterator[list[int]]:
    """Split a batch into parts of at least one text. Their forward passes fit the memory budget beside derivatives."""
    size = len(places)
    if options.memory_budget is not None:
        features = batch_to_device(dict(first.features), encoder.device)
        beside = (1 - BUDGET_OF_DERIVATIVES) * options.memory_budget
        # The forward pass includes the references.
        size = max(1, int(beside // peak_bytes(lambda: encoder.record(features))) - n_references)
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _kind(text: TokenizedText, reference: AnyReference, options: Options) -> tuple[Any, ...]:
    """Return a key that is equal for texts with one reference and inputs that differ only in their token ids."""
    ids = text.features["input_ids"]
    is_reference = tuple(
        torch.equal(ids, reference_inputs(member, text, text.features, options)["input_ids"])
        for member in reference.members
    )
    others = sorted((name, value) for name, value in text.features.items() if name != "input_ids")
    described = ((name, value.tolist() if isinstance(value, Tensor) else value) for name, value in others)
    return tuple(ids.shape), is_reference, kept_tokens(text, options), repr(list(described))
