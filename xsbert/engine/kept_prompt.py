"""Inputs of a text's reference, in which the prompt's tokens are replaced as well or kept."""

from __future__ import annotations

from typing import Any

import torch

from ..text.units import PROMPT, SPECIAL
from .options import Options
from .reference import Reference, reference_features
from .tokenization import TokenizedText

__all__ = ["keeps_prompt_of", "kept_tokens", "reference_inputs"]


def keeps_prompt_of(text: TokenizedText, options: Options) -> bool:
    """Return whether the reference of a text keeps tokens of its prompt."""
    return options.reference_prompt == "keep" and PROMPT in text.roles


def kept_tokens(text: TokenizedText, options: Options) -> tuple[tuple[int, int], ...]:
    """Return the positions and ids of the tokens that the reference of a text keeps, besides special ones."""
    kept = {PROMPT} if keeps_prompt_of(text, options) else set()
    if text.keeps_special:
        kept.add(SPECIAL)
    if not kept:
        return ()
    ids = text.features["input_ids"][0].tolist()
    return tuple((at, ids[at]) for at, role in enumerate(text.roles) if role in kept)


def reference_inputs(
    reference: Reference, text: TokenizedText, features: dict[str, Any], options: Options
) -> dict[str, Any]:
    """Return the model's inputs of the reference of a text.

    Args:
        reference: the reference.
        text: the tokenized text.
        features: its inputs on the model's device, batch size 1.
        options: say whether the prompt is kept.
    """
    referenced = reference_features(reference, features)
    kept = kept_tokens(text, options)
    if kept:
        ids = referenced["input_ids"].clone()
        places, values = zip(*kept, strict=True)
        ids[0, list(places)] = torch.tensor(values, dtype=ids.dtype, device=ids.device)
        referenced["input_ids"] = ids
    return referenced
