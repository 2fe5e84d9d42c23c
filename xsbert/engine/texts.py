"""Tokenize one text as the model's own `encode` does, and keep what is needed to read the result."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from ..caller import caller_level
from ..plain import half_surrogate
from ..sequences import plain_text
from ..units import PROMPT, SPECIAL, TEXT
from .explainable import Explainable

__all__ = ["Prompt", "TokenizedText", "resolved_prompt", "tokenize"]

# Names under which sentence-transformers looks for the prompt of a task, in this order.
TASKS = {"query": ("query",), "document": ("document", "passage", "corpus")}


@dataclass(frozen=True)
class Prompt:
    """What is put before a text, and which of the model's methods does so."""

    text: str | None
    encoded_by: str = ""
    """``"encode_query"``, ``"encode_document"`` or ``"encode"``; empty where all three do the same."""


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
    encoded_by: str
    """Which method of the model embeds it so; empty where that makes no difference."""
    name: str
    """What messages call it, such as ``"texts[3]"``."""

    @property
    def key(self) -> tuple[str, str, str]:
        """Equal for texts whose explanations are."""
        return self.prompt, self.encoded_by, self.text


def resolved_prompt(model: Explainable, prompt: str | None, prompt_name: str | None, task: str | None = None) -> Prompt:
    """What `encode`, or with a task `encode_query` or `encode_document`, puts before a text.

    Args:
        model: has prompts by their names, and may have one for all texts.
        prompt: the prompt itself.
        prompt_name: the name of one of the model's prompts.
        task: ``"query"`` or ``"document"`` takes the model's prompt of that side, unless one is given.

    Raises:
        TypeError: prompt or name is not a string.
        ValueError: both are given, the model has no prompt of that name, or there is no such task.
    """
    for name, value in (("prompt", prompt), ("prompt_name", prompt_name)):
        if not isinstance(value, (str, type(None))):
            raise TypeError(f"{name} must be a string or None, got {value!r}")
    if prompt is not None and prompt_name is not None:
        raise ValueError(f"give prompt or prompt_name, not both: got {prompt!r} and {prompt_name!r}")
    if task is not None and task not in TASKS:
        raise ValueError(f"task must be None, 'query' or 'document', got {task!r}")
    if prompt_name is not None and prompt_name not in model.prompts:
        raise ValueError(f"prompt_name must be one of {sorted(model.prompts)}, got {prompt_name!r}")
    encoded_by = f"encode_{task}" if task else "encode"
    if not any(model.prompts.get(name) for names in TASKS.values() for name in names):
        encoded_by = ""
    if prompt is not None:
        return Prompt(prompt, encoded_by)
    of_task = [name for name in TASKS.get(task or "", ()) if name in model.prompts]
    names = [prompt_name] if prompt_name is not None else [*of_task, model.default_prompt_name]
    return Prompt(None if names[0] is None else model.prompts[names[0]], encoded_by)


def tokenize(model: Explainable, text: str, prompt: Prompt, name: str, *, warn: bool = True) -> TokenizedText:
    """Tokenize a text with its prompt.

    Args:
        model: tokenizes with its own settings.
        text: not empty.
        prompt: put before the text.
        name: the argument's name, for messages.
        warn: of a text that is cut; False leaves that to the caller.

    Raises:
        TypeError: ``text`` is not a string.
        ValueError: ``text`` is empty, only white space or no Unicode text, or the model renders texts with a chat
            template.

    Warns:
        UserWarning: the text is longer than the model's limit; says how many tokens were cut.
    """
    text = plain_text(text)
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a string, got {type(text).__name__}: {text!r:.80}")
    if not text.strip():
        raise ValueError(f"{name} must hold some text, got {text!r:.80}")
    broken = half_surrogate(text)
    if broken is not None:
        raise ValueError(
            f"{name} must be Unicode text, got half of a surrogate pair at character {broken}: {text!r:.80}"
        )
    transformer = model[0]
    features = model.preprocess([text], prompt=prompt.text)
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
    if n_cut and warn:
        warnings.warn(
            f"{name} is longer than the model's limit of {len(ids)} tokens: the last {n_cut} tokens are cut off, "
            "and the explanation is of what the model saw",
            stacklevel=caller_level(),
        )
    return TokenizedText(
        text=(prompt.text or "") + text,
        features=dict(features),
        tokens=tuple(transformer.tokenizer.convert_ids_to_tokens(ids)),
        roles=roles,
        word_ids=word_ids,
        spans=spans,
        n_cut=n_cut,
        prompt=prompt.text or "",
        encoded_by=prompt.encoded_by,
        name=name,
    )
