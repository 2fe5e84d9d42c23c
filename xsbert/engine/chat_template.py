"""The place of a text in a chat template, as the processors of Qwen3-VL-Embedding and similar models render it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..text.units import PROMPT, SPECIAL, TEXT, visible_span
from .token_layout import TokenLayout

__all__ = ["templated_layout"]

# A character of the private use area, which no template and no text has.
PLACEHOLDER = "\ue000"


def templated_layout(transformer: Any, features: Mapping[str, Any], text: str, prompt: str, name: str) -> TokenLayout:
    """Return the layout of a text in its rendered template. Tokens of the template are special tokens.

    Args:
        transformer: the first module of a sentence transformer.
        features: its inputs for prompt and text, batch size 1.
        text: the text itself.
        prompt: the prompt, which templates put into a message of its own, or an empty string.
        name: name of the text in messages.

    Raises:
        ValueError: the place of the text cannot be found.
    """
    before, behind = _around(transformer, prompt)
    encodings = getattr(features, "encodings", None)
    rendered = _rendered(transformer, text, prompt)
    if not encodings or rendered != before + text + behind or encodings[0].overflowing:
        reason = (
            "its tokenizer has no offsets"
            if not encodings
            else "the text is cut"
            if encodings[0].overflowing
            else "the template changes the text"
        )
        raise ValueError(
            f"this model renders {name} by a chat template, in which the place of its words is not known: {reason}. "
            "Pass a modality_config with plain text when the Transformer module is made"
        )
    start = len(before)
    at_prompt = before.rfind(prompt) if prompt else -1
    roles, spans = [], []
    for offsets in encodings[0].offsets:
        first, last = visible_span(rendered, offsets)
        if first < last and start < last <= start + len(text):
            roles.append(TEXT)
            spans.append((max(first, start) - start + len(prompt), last - start + len(prompt)))
        elif first < last and at_prompt >= 0 and at_prompt < last <= at_prompt + len(prompt):
            roles.append(PROMPT)
            spans.append((max(first, at_prompt) - at_prompt, last - at_prompt))
        else:
            roles.append(SPECIAL)
            spans.append((0, 0))
    words = tuple(word if role == TEXT else None for word, role in zip(encodings[0].word_ids, roles, strict=True))
    tokens = tuple(encodings[0].tokens)
    return TokenLayout(tokens, tuple(roles), words, tuple(spans), n_cut=0)


def _around(transformer: Any, prompt: str) -> tuple[str, str]:
    """Return what a template puts before and behind a text."""
    before, _, behind = _rendered(transformer, PLACEHOLDER, prompt).partition(PLACEHOLDER)
    return before, behind


def _rendered(transformer: Any, text: str, prompt: str) -> str:
    formatter = transformer.input_formatter
    _, inputs = formatter.batch_to_message("text", {"text": [text]})
    messages = inputs["message"]
    if prompt:
        messages = formatter.prepend_prompt_to_messages(messages, prompt)
    options = dict((getattr(transformer, "processing_kwargs", None) or {}).get("chat_template", {}))
    options.pop("restore_suffix", None)
    return transformer.processor.apply_chat_template(messages[0], tokenize=False, **options)
