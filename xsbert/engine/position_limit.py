"""The number of positions of a model, which can differ from the length at which texts are truncated."""

from __future__ import annotations

from typing import Any

from sentence_transformers.sentence_transformer.modules import Transformer
from torch import nn

__all__ = ["check_positions", "length_limit", "may_exceed_positions", "position_limit"]

# Attributes of position tables: BERT and similar models, GPT-2, OPT, CLIP.
TABLES = ("position_embeddings", "wpe", "embed_positions", "position_embedding")
# A tokenizer without a limit reports a huge number.
NO_LIMIT = 10**9


def position_limit(transformer: Any) -> int | None:
    """Return the number of tokens that the position embeddings support; None for models without such a table.

    Models that number positions around padding, such as RoBERTa, start after the row of padding. They have fewer
    positions than rows.
    """
    limits = []
    for module in getattr(transformer, "model", nn.Module()).modules():
        for name in TABLES:
            table = getattr(module, name, None)
            if isinstance(table, nn.Embedding):
                padding_id = getattr(module, "padding_idx", None)
                first = padding_id + 1 if isinstance(padding_id, int) else getattr(table, "offset", 0)
                limits.append(table.num_embeddings - first)
    return min(limits, default=None)


def length_limit(transformer: Any) -> int | None:
    """Return the length at which texts are truncated, ``max_seq_length``; None without a limit."""
    limit = transformer.max_seq_length
    truncation = getattr(transformer.tokenizer, "truncation", None)
    if isinstance(truncation, dict):
        # A static model has no limit but that of its tokenizer.
        limit = truncation["max_length"]
    return None if limit is None or limit > NO_LIMIT else int(limit)


def may_exceed_positions(transformer: Any) -> bool:
    """Return whether a text truncated to ``max_seq_length`` can still have more tokens than the model has positions."""
    length, positions = length_limit(transformer), position_limit(transformer)
    return positions is not None and (length is None or length > positions)


def check_positions(transformer: Transformer, n_tokens: int, name: str, limit: int | None = None) -> None:
    """Reject a text with more tokens than the model has positions.

    Args:
        transformer: the first module of a sentence transformer.
        n_tokens: number of tokens, special tokens included, after truncation to ``max_seq_length``.
        name: name of the text in the message.
        limit: number of positions; None uses the model's position table.

    Raises:
        ValueError: the text has too many tokens.
    """
    limit = position_limit(transformer) if limit is None else limit
    if limit is not None and n_tokens > limit:
        given = transformer.max_seq_length
        shown = f"{given:g}" if given is not None and given > NO_LIMIT else given
        raise ValueError(
            f"max_seq_length={shown} leaves {name} {n_tokens} tokens, and "
            f"{type(transformer.model).__name__} has positions for {limit}: set the model's max_seq_length to at most "
            f"{limit}, which cuts longer texts, or shorten the text"
        )
