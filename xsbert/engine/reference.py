"""References, which represent the absence of words.

The reference of a text has the same length and keeps the special tokens around it. All other tokens are one reference
token, by default the unknown token. The attention mask includes all of them. The reference therefore depends only on
the length of the text.

Its tokens have the positions of the text. In models that number positions around padding, a reference of padding can
instead have the model's own numbering: all padding tokens share the padding position, and only special tokens are
counted. The models published with the papers, and their code for other models, use that numbering.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from sentence_transformers.sentence_transformer.modules import StaticEmbedding, Transformer
from torch import nn

from .token_layout import special_tokens, tokenizer_of

__all__ = [
    "AnyReference",
    "Reference",
    "SeveralReferences",
    "checked_reference",
    "chosen_reference",
    "default_reference",
    "positions_of_reference",
    "reference_features",
    "resolve_reference",
    "resolve_references",
]

SPECIAL_NAMES = ("pad", "unk", "mask")
POSITIONS = ("text", "padding")
ZERO = "zero"
"""The reference of static models: zero rows instead of a token's."""


@dataclass(frozen=True)
class Reference:
    """The token that represents the absence of a word, and the number of special tokens around a text."""

    token: str
    """Token of the vocabulary, such as ``"[PAD]"``; ``"zero"`` for a static model."""
    token_id: int
    """Its id; −1 for zero."""
    n_prefix: int
    """Number of special tokens before a text."""
    n_suffix: int
    """Number of special tokens after a text."""
    position_offset: int | None
    """Position of the first token in models that number positions around padding, such as RoBERTa. A reference of
    padding then gets explicit positions; any other gets them from the model. None always leaves the positions to the
    model: either they do not depend on the tokens, or all padding tokens of the reference share one position, as in the
    models published with the papers."""

    @property
    def members(self) -> tuple[Reference, ...]:
        """The reference itself, as the only one."""
        return (self,)


@dataclass(frozen=True)
class SeveralReferences:
    """Several references of each text. Factors and reference terms are means over them."""

    members: tuple[Reference, ...]
    """At least two, of distinct tokens, in the order of their ids."""

    @property
    def token(self) -> str:
        """The tokens, joined by ``" + "``."""
        return " + ".join(member.token for member in self.members)


AnyReference = Reference | SeveralReferences


def default_reference(transformer: Transformer) -> str:
    """Return ``"unk"`` if the tokenizer has an unknown token, otherwise ``"pad"``, as for some byte-level BPE.

    A static model, which embeds nothing as zero, has the reference ``"zero"``.

    The unknown token changes a model's scores less and leaves more of them to the interactions
    (benchmarks/references.py).
    """
    if isinstance(transformer, StaticEmbedding):
        return ZERO
    return "pad" if tokenizer_of(transformer).unk_token is None else "unk"


def resolve_references(transformer: Transformer, tokens: str | Sequence[str], positions: str = "text") -> AnyReference:
    """Look up one reference token, or several.

    Args:
        transformer, positions: as for `resolve_reference`.
        tokens: a token, as for `resolve_reference`, or a sequence of tokens in any order.

    Raises:
        TypeError: ``tokens`` is neither a string nor a sequence of strings.
        ValueError: there are none, or two of them are the same token; others as for `resolve_reference`.
    """
    if isinstance(tokens, str) or not isinstance(tokens, Sequence):
        return resolve_reference(transformer, tokens, positions)
    found = [resolve_reference(transformer, token, positions) for token in tokens]
    if not found:
        raise ValueError(f"reference must name at least one token, got {tokens!r}")
    distinct = {each.token_id: each for each in found}
    if len(distinct) < len(found):
        raise ValueError(f"reference must name distinct tokens, got {tokens!r}")
    if len(found) == 1:
        return found[0]
    return SeveralReferences(tuple(distinct[token_id] for token_id in sorted(distinct)))


def resolve_reference(transformer: Transformer, token: str, positions: str = "text") -> Reference:
    """Look up a reference token.

    Args:
        transformer: the first module of a sentence transformer.
        token: ``"pad"``, ``"unk"`` or ``"mask"`` for the tokenizer's special tokens, or any token of the vocabulary.
        positions: ``"text"`` for the positions of the text, ``"padding"`` for those that the model gives to a sequence
            of padding tokens.

    Raises:
        TypeError: ``token`` is not a string.
        ValueError: the tokenizer does not have the token, ``positions`` is neither value, the model has no padding
            position, or the model numbers the token like text.
    """
    if positions not in POSITIONS:
        raise ValueError(f"reference_positions must be None, 'text' or 'padding', got {positions!r}")
    tokenizer = tokenizer_of(transformer)
    if not isinstance(token, str):
        raise TypeError(f"reference must be a string, got {token!r}")
    if isinstance(transformer, StaticEmbedding):
        if (token, positions) != (ZERO, "text"):
            raise ValueError(
                f"a static model is explained against the reference {ZERO!r}, the embedding of no text, and has no "
                f"positions; got reference={token!r}, reference_positions={positions!r}"
            )
        return Reference(ZERO, -1, 0, 0, None)
    spelled = getattr(tokenizer, f"{token}_token") if token in SPECIAL_NAMES else token
    if spelled is None:
        others = [role for role in SPECIAL_NAMES if getattr(tokenizer, f"{role}_token") is not None]
        raise ValueError(
            f"reference={token!r}: this tokenizer has no {token} token; it has {others}; any token of its vocabulary "
            "is allowed"
        )
    token_id = tokenizer.convert_tokens_to_ids(spelled)
    if not isinstance(token_id, int) or tokenizer.convert_ids_to_tokens(token_id) != spelled:
        raise ValueError(
            f"reference={token!r} is not in the tokenizer's vocabulary; allowed are 'pad', 'unk', 'mask' "
            "where the tokenizer has them, and any token as its vocabulary spells it"
        )
    n_prefix, n_suffix = _special_tokens_around(transformer)
    reference = Reference(spelled, token_id, n_prefix, n_suffix, _position_offset(transformer))
    return _at_positions_of_padding(transformer, reference) if positions == "padding" else reference


def chosen_reference(
    transformer: Transformer, own: AnyReference, shifted: bool, token: str | Sequence[str] | None, positions: str | None
) -> AnyReference:
    """Return the requested reference, or references.

    Args:
        transformer: the first module of a sentence transformer.
        own: the model's reference.
        shifted: whether the reference is part of the model's embeddings.
        token, positions: as for `resolve_references`; None uses the model's own.

    Raises:
        ValueError: the model is shifted by another reference; others as for `resolve_reference`.
    """
    if token is None and positions is None:
        return own
    own_positions = positions_of_reference(transformer, own)
    if not shifted:
        # Only padding tokens can have padding positions.
        if token is None:
            token = "pad" if positions == "padding" else [member.token for member in own.members]
        return resolve_references(transformer, token, own_positions if positions is None else positions)
    (own,) = own.members
    if token is not None and [each.token_id for each in resolve_references(transformer, token).members] != [
        own.token_id
    ]:
        raise ValueError(
            f"this model is shifted by the reference {own.token!r}, which is part of its embeddings, got "
            f"reference={token!r}. Start from the unshifted model to use another reference"
        )
    if positions is not None:
        asked = resolve_reference(transformer, own.token, positions)
        if positions_of_reference(transformer, asked) != own_positions:
            raise ValueError(
                f"this model is shifted by the reference {own.token!r} with "
                f"reference_positions={own_positions!r}, which are part of its embeddings; got "
                f"reference_positions={positions!r}. Start from the unshifted model to use others"
            )
    return own


def positions_of_reference(transformer: Transformer, reference: AnyReference) -> str:
    """Return ``"padding"`` if all tokens of the reference have the model's padding position, otherwise ``"text"``."""
    if isinstance(reference, SeveralReferences):
        return "text"
    left_to_model = reference.position_offset is None
    return "padding" if left_to_model and reference.token_id == _padding_id(transformer) else "text"


def reference_features(reference: Reference, features: dict[str, Any]) -> dict[str, Any]:
    """Return the model inputs of a batch's references: row i is the reference of text i, with its length.

    Args:
        reference: the reference.
        features: model inputs with ``input_ids`` and ``attention_mask`` (B, S), padded on either side.
    """
    mask = features["attention_mask"].bool()
    place = mask.cumsum(1) - 1
    length = mask.sum(1, keepdim=True)
    content = mask & (place >= reference.n_prefix) & (place < length - reference.n_suffix)
    referenced = {**features, "input_ids": features["input_ids"].masked_fill(content, reference.token_id)}
    if reference.position_offset is not None and reference.token_id == reference.position_offset - 1:
        # These models would give all padding tokens one position; the reference keeps the positions of the text.
        referenced["position_ids"] = (place + reference.position_offset) * mask
    return referenced


def checked_reference(transformer: Transformer, reference: Reference | Mapping[str, Any] | None) -> Reference:
    """Return a saved reference after checking that it matches the tokenizer and the model."""
    names = [field.name for field in fields(Reference)]
    if isinstance(reference, Mapping) and sorted(reference) == sorted(names):
        reference = Reference(**reference)
    if not isinstance(reference, Reference):
        raise ValueError(
            f"the reference of a shifted model must be saved with it, with {', '.join(names)}; got {reference!r}"
        )
    counts = (reference.token_id, reference.n_prefix, reference.n_suffix, reference.position_offset or 0)
    if any(type(count) is not int or count < 0 for count in counts):
        raise ValueError(f"ids, numbers of tokens and positions of a reference must be whole numbers, got {reference}")
    if not isinstance(reference.token, str):
        raise ValueError(f"the token of a saved reference must be a string, got {reference.token!r}")
    found = resolve_reference(transformer, reference.token)
    if found.token_id != reference.token_id:
        raise ValueError(
            f"the model was shifted by {reference.token!r} with id {reference.token_id}, which has id "
            f"{found.token_id} in this tokenizer: the tokenizer does not match the reference"
        )
    for name, what in (("n_prefix", "before"), ("n_suffix", "after")):
        saved, real = getattr(reference, name), getattr(found, name)
        if saved != real:
            raise ValueError(
                f"the saved reference has {name}={saved}, and the tokenizer puts {real} special tokens {what} a text: "
                "the tokenizer does not match the reference"
            )
    if reference.position_offset not in (None, found.position_offset):
        raise ValueError(
            f"the saved reference has position_offset={reference.position_offset}, and the model allows "
            f"{'None' if found.position_offset is None else f'{found.position_offset} or None'}: the model does not "
            "match the reference"
        )
    return reference


def _special_tokens_around(transformer: Transformer) -> tuple[int, int]:
    """Return the numbers of special tokens before and after a text."""
    features = transformer.preprocess(["a"])
    special = special_tokens(transformer, features)
    content = [position for position, flag in enumerate(special) if not flag]
    return content[0], len(special) - 1 - content[-1]


def _at_positions_of_padding(transformer: Transformer, reference: Reference) -> Reference:
    padding_id = _padding_id(transformer)
    if padding_id is None:
        raise ValueError(
            f"reference_positions='padding': {type(transformer.model).__name__} has no position of padding, its "
            "positions do not depend on the tokens; only 'text' is allowed"
        )
    if reference.token_id != padding_id:
        raise ValueError(
            f"reference_positions='padding': {type(transformer.model).__name__} gives the padding position only to "
            f"the token with id {padding_id}, and numbers the reference {reference.token!r} with id "
            f"{reference.token_id} like text; use reference_positions='text'"
        )
    return replace(reference, position_offset=None)


def _position_offset(transformer: Transformer) -> int | None:
    padding_id = _padding_id(transformer)
    return None if padding_id is None else padding_id + 1


def _padding_id(transformer: Transformer) -> int | None:
    """Return the padding id in models that number positions around padding, otherwise None."""
    for module in getattr(transformer, "model", nn.Module()).modules():
        table = getattr(module, "position_embeddings", None)
        padding_id = getattr(module, "padding_idx", None)
        if isinstance(table, nn.Embedding) and isinstance(padding_id, int):
            return padding_id
    return None
