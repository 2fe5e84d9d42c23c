"""Tokens of static models, which take all texts of a batch in one sequence without padding."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from transformers import BatchEncoding

__all__ = ["as_batch"]


def as_batch(transformer: Any, features: Any, text: str, name: str) -> Any:
    """Return the inputs of one text as a batch of one, with the tokenizer's encoding. Those of other models are so.

    Args:
        transformer: the first module of a sentence transformer.
        features: its own inputs for prompt and text. The ids of a static model have no batch axis.
        text: prompt and text.
        name: name of the text in messages.

    Raises:
        ValueError: the text has no tokens.
    """
    if not isinstance(transformer, StaticEmbedding):
        return features
    ids = features["input_ids"]
    if not len(ids):
        raise ValueError(
            f"{name} has no tokens in this model's vocabulary, so that it embeds to zero and there is nothing to "
            f"explain, got {text!r:.80}"
        )
    encodings = transformer.tokenizer.encode_batch([text], add_special_tokens=False)
    inputs = {"input_ids": ids[None], "attention_mask": torch.ones_like(ids)[None]}
    return BatchEncoding(inputs, encoding=encodings if encodings[0].ids == ids.tolist() else None)
