"""Reference tokens, and the reference shift e(x) = f(x) − f(r).

The reference of a text has the same length, keeps the special tokens that the tokenizer puts around it,
and holds one token, by default the padding token, in every other place, all attended to and at the
text's own positions. It therefore depends on the length of the text alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from sentence_transformers.sentence_transformer.modules import Module, Transformer
from torch import Tensor, nn

__all__ = ["Reference", "ReferenceShift", "ReferenceTransformer", "reference_features", "resolve_reference"]

ROLES = ("pad", "unk", "mask")


@dataclass(frozen=True)
class Reference:
    """Which token stands for the absence of a word, and what the tokenizer puts around a text."""

    token: str
    """The token as the vocabulary spells it, such as ``"[PAD]"``."""
    token_id: int
    n_prefix: int
    """Special tokens before a text."""
    n_suffix: int
    """Special tokens after a text."""
    position_offset: int | None
    """Position of the first token in models that number positions around padding, such as RoBERTa;
    None where positions do not depend on the tokens."""


def resolve_reference(transformer: Transformer, token: str) -> Reference:
    """Look up a reference token.

    Args:
        transformer: the first module of a sentence transformer.
        token: ``"pad"``, ``"unk"`` or ``"mask"`` for the tokenizer's special tokens, or any token as the
            vocabulary spells it.

    Raises:
        TypeError: ``token`` is not a string.
        ValueError: the tokenizer has no such token.
    """
    tokenizer = transformer.tokenizer
    if not isinstance(token, str):
        raise TypeError(f"reference must be a string, got {token!r}")
    spelled = getattr(tokenizer, f"{token}_token") if token in ROLES else token
    if spelled is None:
        others = [role for role in ROLES if getattr(tokenizer, f"{role}_token") is not None]
        raise ValueError(
            f"reference={token!r}: this tokenizer has no {token} token; it has {others}, "
            "or name any token of its vocabulary"
        )
    token_id = tokenizer.convert_tokens_to_ids(spelled)
    if token_id is None or tokenizer.convert_ids_to_tokens(token_id) != spelled:
        raise ValueError(
            f"reference={token!r} is not in the tokenizer's vocabulary; allowed are 'pad', 'unk', 'mask' "
            "where the tokenizer has them, and any token as its vocabulary spells it"
        )
    n_prefix, n_suffix = _special_tokens_around(transformer)
    return Reference(spelled, token_id, n_prefix, n_suffix, _position_offset(transformer))


def reference_features(reference: Reference, features: dict[str, Any]) -> dict[str, Any]:
    """The model inputs of the references of a batch: row i is the reference of row i, at its own length.

    Args:
        reference: the reference token.
        features: model inputs with ``input_ids`` and ``attention_mask`` (B, S), padded on either side.
    """
    mask = features["attention_mask"].bool()
    place = mask.cumsum(1) - 1
    length = mask.sum(1, keepdim=True)
    content = mask & (place >= reference.n_prefix) & (place < length - reference.n_suffix)
    referenced = {**features, "input_ids": features["input_ids"].masked_fill(content, reference.token_id)}
    if reference.position_offset is not None:
        # These models would number every padding token alike; the reference keeps the text's positions.
        referenced["position_ids"] = (place + reference.position_offset) * mask
    return referenced


class ReferenceTransformer(Transformer):
    """A `Transformer` that runs the references of its texts along with them.

    Behind the B rows of the texts come R rows, one reference for each distinct length, so that the pooling
    and dense modules treat both alike; `ReferenceShift` then subtracts and takes the R rows away.
    """

    reference: Reference | None = None

    @classmethod
    def from_transformer(cls, transformer: Transformer, reference: Reference) -> ReferenceTransformer:
        """Take over a loaded transformer, sharing its weights and leaving it as it is."""
        module = cls.__new__(cls)
        vars(module).update(vars(transformer))
        for name in ("_modules", "_parameters", "_buffers"):
            vars(module)[name] = dict(getattr(transformer, name))
        module.reference = reference
        return module

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        if self.reference is None:
            return super().forward(features, **kwargs)
        if "attention_mask" not in features or "input_ids" not in features:
            raise ValueError(
                "the reference shift needs padded batches with input_ids and an attention_mask, got the "
                f"features {sorted(features)}; load the model with "
                "model_kwargs={'attn_implementation': 'sdpa'}"
            )
        referenced = reference_features(self.reference, features)
        lengths, index = features["attention_mask"].sum(1).unique(return_inverse=True)
        # Any text of a length can lend its row: references of one length are the same.
        rows = torch.stack([(index == position).nonzero()[0, 0] for position in range(len(lengths))])
        is_reference = (features["input_ids"] == referenced["input_ids"]).all(1)

        n_texts = len(index)
        texts = super().forward(dict(features), **kwargs)
        references = super().forward(_take_rows(referenced, rows, n_texts), **kwargs)
        both = {
            name: torch.cat([value, references[name]])
            if isinstance(value, Tensor) and isinstance(references.get(name), Tensor) and len(value) == n_texts
            else value
            for name, value in texts.items()
        }
        return {**both, "reference_index": n_texts + index, "is_reference": is_reference}


class ReferenceShift(Module):
    """Subtracts from the embedding of each text that of its reference: e(x) = f(x) − f(r).

    (Moeller et al., EMNLP 2023, eq. 4.) Follows `ReferenceTransformer`, the pooling and any dense modules.
    """

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        index, is_reference = features.pop("reference_index"), features.pop("is_reference")
        n_texts, n_rows = len(index), len(features["sentence_embedding"])
        embedding = features["sentence_embedding"]
        shifted = embedding[:n_texts] - embedding[index]
        # f(r) − f(r) is zero, also where two rows of one batch are rounded differently.
        features["sentence_embedding"] = shifted.masked_fill(is_reference[:, None], 0.0)
        return {
            name: value[:n_texts] if isinstance(value, Tensor) and value.ndim and len(value) == n_rows else value
            for name, value in features.items()
        }

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        self.save_config(output_path)


def _take_rows(features: dict[str, Any], rows: Tensor, n_texts: int) -> dict[str, Any]:
    return {
        name: value[rows] if isinstance(value, Tensor) and value.ndim and len(value) == n_texts else value
        for name, value in features.items()
    }


def _special_tokens_around(transformer: Transformer) -> tuple[int, int]:
    """How many special tokens the tokenizer puts before and after a text."""
    features = transformer.preprocess(["a"])
    ids = features["input_ids"][0].tolist()
    if getattr(features, "encodings", None):
        special = [bool(flag) for flag in features.encodings[0].special_tokens_mask]
    else:
        special = [token_id in transformer.tokenizer.all_special_ids for token_id in ids]
    content = [position for position, flag in enumerate(special) if not flag]
    return content[0], len(ids) - 1 - content[-1]


def _position_offset(transformer: Transformer) -> int | None:
    for module in transformer.model.modules():
        table = getattr(module, "position_embeddings", None)
        padding_id = getattr(module, "padding_idx", None)
        if isinstance(table, nn.Embedding) and isinstance(padding_id, int):
            return padding_id + 1
    return None
