"""How many tokens a model has positions for, which is not what its tokenizer cuts texts to."""

from __future__ import annotations

from typing import Any

from sentence_transformers.sentence_transformer.modules import Transformer
from torch import nn

__all__ = ["check_positions", "length_limit", "may_exceed_positions", "position_limit"]

# Where architectures keep a table of positions: BERT and its kin, GPT-2, OPT, CLIP.
TABLES = ("position_embeddings", "wpe", "embed_positions", "position_embedding")
# A tokenizer without a limit states an absurd one.
NO_LIMIT = 10**9


def position_limit(transformer: Any) -> int | None:
    """The most tokens that a table of position embeddings has rows for; None for models without such a table.

    Models that number positions around padding, such as RoBERTa, begin after the row of padding and so have fewer
    positions than rows.
    """
    limits = []
    for module in transformer.model.modules():
        for name in TABLES:
            table = getattr(module, name, None)
            if isinstance(table, nn.Embedding):
                padding_id = getattr(module, "padding_idx", None)
                first = padding_id + 1 if isinstance(padding_id, int) else getattr(table, "offset", 0)
                limits.append(table.num_embeddings - first)
    return min(limits, default=None)


def length_limit(transformer: Any) -> int | None:
    """The length that texts are cut to, ``max_seq_length``; None where there is none."""
    limit = transformer.max_seq_length
    return None if limit is None or limit > NO_LIMIT else int(limit)


def may_exceed_positions(transformer: Any) -> bool:
    """Whether a text can be longer than the model has positions for, after it was cut to ``max_seq_length``."""
    length, positions = length_limit(transformer), position_limit(transformer)
    return positions is not None and (length is None or length > positions)


def check_positions(transformer: Transformer, n_tokens: int, name: str, limit: int | None = None) -> None:
    """Refuse a text that is longer than the model has positions for.

    Args:
        transformer: the first module of a sentence transformer.
        n_tokens: of the text, special tokens included, after it was cut to ``max_seq_length``.
        name: of the text, for the message.
        limit: the number of positions; None looks for the model's table of them.

    Raises:
        ValueError: that is so.
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
