"""Tokenize one text as the model's own `encode` does, and keep what is needed to read the result."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from ..caller import caller_level
from ..utils.tokens import PROMPT, SPECIAL, TEXT
from .explainable import Explainable

__all__ = ["TokenizedText", "resolved_prompt", "tokenize"]


@dataclass(frozen=True)
class TokenizedText:
    """One text as the model sees it: S tokens, special tokens included."""

    text: str
    """Prompt and text."""
    features: dict[str, Any]
    """The model's inputs, batch size 1."""
    tokens: tuple[str, ...]
    """As the vocabulary spells them."""
    roles: tuple[str, ...]
    """``"text"``, ``"special"`` or ``"prompt"``."""
    word_ids: tuple[int | None, ...] | None
    """The tokenizer's own word of each token; None altogether where it has no such notion."""
    spans: tuple[tuple[int, int], ...] | None
    """Characters [start, end) of ``text``; None altogether where the tokenizer does not tell."""
    n_cut: int
    """Tokens that the model's length limit cut off."""
    prompt: str
    """What ``text`` begins with before the text itself."""


def tokenize(model: Explainable, text: str, prompt: str | None, name: str) -> TokenizedText:
    """Tokenize a text with its prompt.

    Args:
        model: tokenizes with its own settings.
        text: not empty.
        prompt: put before the text, or None.
        name: the argument's name, for messages.

    Raises:
        TypeError: ``text`` is not a string.
        ValueError: ``text`` is empty or only white space, or the model renders texts with a chat template.

    Warns:
        UserWarning: the text is longer than the model's limit; says how many tokens were cut.
    """
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a string, got {type(text).__name__}: {text!r:.80}")
    if not text.strip():
        raise ValueError(f"{name} must hold some text, got {text!r:.80}")
    transformer = model[0]
    features = model.preprocess([text], prompt=prompt)
    if features.get("modality", "text") != "text":
        raise ValueError(
            f"this model renders {name} as {features['modality']!r} (a chat template), in which its words have no "
            "place of their own; pass a modality_config with plain text when the Transformer module is made"
        )
    if "attention_mask" not in features:
        raise ValueError(
            "this model packs its texts without padding (flash attention), which has no forward-mode derivative; "
            "load it with model_kwargs={'attn_implementation': 'sdpa'}"
        )
    ids = features["input_ids"][0].tolist()
    encodings = getattr(features, "encodings", None)
    if encodings:
        encoding = encodings[0]
        special = [bool(flag) for flag in encoding.special_tokens_mask]
        word_ids, spans = tuple(encoding.word_ids), tuple(encoding.offsets)
        n_cut = sum(part.special_tokens_mask.count(0) for part in encoding.overflowing)
    else:
        special = [token_id in transformer.tokenizer.all_special_ids for token_id in ids]
        word_ids, spans, n_cut = None, None, 0
    n_prompt = int(features.get("prompt_length") or 0)
    roles = tuple(SPECIAL if flag else PROMPT if place < n_prompt else TEXT for place, flag in enumerate(special))
    if n_cut:
        warnings.warn(
            f"{name} is longer than the model's limit of {len(ids)} tokens: the last {n_cut} tokens are cut off, "
            "and the explanation is of what the model saw",
            stacklevel=caller_level(),
        )
    return TokenizedText(
        text=(prompt or "") + text,
        features=dict(features),
        tokens=tuple(transformer.tokenizer.convert_ids_to_tokens(ids)),
        roles=roles,
        word_ids=word_ids,
        spans=spans,
        n_cut=n_cut,
        prompt=prompt or "",
    )


def resolved_prompt(model: Explainable, prompt: str | None, prompt_name: str | None) -> str | None:
    """What is put before a text, as `encode` does: a prompt, the one of a name, the model's default, or None.

    Raises:
        TypeError: prompt or name is not a string.
        ValueError: both are given, or the model has no prompt of that name.
    """
    for name, value in (("prompt", prompt), ("prompt_name", prompt_name)):
        if not isinstance(value, (str, type(None))):
            raise TypeError(f"{name} must be a string or None, got {value!r}")
    if prompt is not None and prompt_name is not None:
        raise ValueError(f"give prompt or prompt_name, not both: got {prompt!r} and {prompt_name!r}")
    if prompt is not None:
        return prompt
    name = model.default_prompt_name if prompt_name is None else prompt_name
    if name is not None and name not in model.prompts:
        raise ValueError(f"prompt_name must be one of {sorted(model.prompts)}, got {name!r}")
    return None if name is None else model.prompts[name]
