"""Tokenizes texts as the model's own `encode` does, and keeps what the results need."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from .._utils.sequences import plain_text
from .._utils.stacklevel import caller_level
from .._utils.unicode import half_surrogate
from .._utils.validation import check_one_of
from ..text.units import TEXT
from .chat_template import templated_layout
from .position_limit import check_positions, position_limit
from .protocol import Explainable
from .static_tokens import as_batch
from .token_layout import TokenLayout, token_layout

__all__ = ["Prompt", "TokenizedText", "checked_text", "resolved_prompt", "tokenize", "unknown_token"]

# Names that sentence-transformers tries for the prompt of a task, in this order.
TASKS = {"query": ("query",), "document": ("document", "passage", "corpus")}


@dataclass(frozen=True)
class Prompt:
    """A prompt, which is prepended to a text, and the model's method that does so."""

    text: str | None
    encoded_by: str = ""
    """``"encode_query"``, ``"encode_document"`` or ``"encode"``; empty if all three give the same result."""
    task: str | None = None
    """``"query"`` or ``"document"`` if the model tokenizes these differently, beside the prompt."""


@dataclass(frozen=True)
class TokenizedText:
    """A tokenized text: S tokens, special tokens included."""

    text: str
    """Prompt and text."""
    features: dict[str, Any]
    """The model's inputs, batch size 1."""
    layout: TokenLayout
    """Roles and spans of the tokens."""
    prompt: str
    """Prompt at the start of ``text``."""
    encoded_by: str
    """Method of the model that embeds the text in this way; empty if all methods give the same result."""
    name: str
    """Name in messages, such as ``"texts[3]"``."""
    unknown_token: str | None = None
    """The tokenizer's unknown token, or None."""
    keeps_special: bool = False
    """Whether the reference keeps all special tokens, such as those of a chat template or of a query expansion, and not
    only those around a text."""

    @property
    def tokens(self) -> tuple[str, ...]:
        """(S,) tokens of the vocabulary."""
        return self.layout.tokens

    @property
    def roles(self) -> tuple[str, ...]:
        """(S,) roles of the tokens: ``"text"``, ``"special"`` or ``"prompt"``."""
        return self.layout.roles

    @property
    def word_ids(self) -> tuple[int | None, ...] | None:
        """(S,) the tokenizer's word index of each token; None if the tokenizer has no words."""
        return self.layout.word_ids

    @property
    def spans(self) -> tuple[tuple[int, int], ...] | None:
        """(S,) characters [start, end) of ``text``; None if the tokenizer has no offsets."""
        return self.layout.spans

    @property
    def n_cut(self) -> int:
        """Number of truncated tokens."""
        return self.layout.n_cut

    @property
    def key(self) -> tuple[str, str, str]:
        """A key that is equal for texts with equal explanations."""
        return self.prompt, self.encoded_by, self.text

    @property
    def cut(self) -> str | None:
        """A message on the truncated tokens; None if there are none."""
        if not self.n_cut:
            return None
        end, n_prompt = ("first" if self.layout.cut_at_start else "last"), self.layout.n_cut_of_prompt
        of_prompt = f" ({n_prompt} of them of the prompt)" if n_prompt else ""
        return (
            f"{self.name} is longer than the model's limit of {len(self.tokens)} tokens: "
            f"the {end} {self.n_cut} tokens{of_prompt} are cut off"
        )

    @property
    def nothing_left(self) -> str | None:
        """A message if only special, prompt or unknown tokens are left of the text; otherwise None."""
        own = [token for token, role in zip(self.tokens, self.roles, strict=True) if role == TEXT]
        shown = f"{self.name}, {self.text[len(self.prompt) :]!r:.60}"
        if not any(token.strip("▁Ġ") for token in own):
            also = " and the prompt" if self.prompt else ""
            why = "the length limit cut it off" if self.n_cut else "the tokenizer drops its characters"
            return f"nothing but special tokens{also} is left of {shown}: {why}"
        if all(token == self.unknown_token for token in own if token.strip("▁Ġ")):
            return f"nothing but unknown tokens is left of {shown}: the tokenizer's vocabulary has none of it"
        return None


def resolved_prompt(model: Explainable, prompt: str | None, prompt_name: str | None, task: str | None = None) -> Prompt:
    """Return the prompt that `encode`, or with a task `encode_query` or `encode_document`, prepends to a text.

    Args:
        model: has named prompts, and may have a default one.
        prompt: the prompt itself.
        prompt_name: name of one of the model's prompts.
        task: ``"query"`` or ``"document"`` uses the model's prompt for that task, unless one is given.

    Raises:
        TypeError: prompt or name is not a string.
        ValueError: both are given, the model has no prompt of that name, or the task is unknown.
    """
    for name, value in (("prompt", prompt), ("prompt_name", prompt_name)):
        if not isinstance(value, (str, type(None))):
            raise TypeError(f"{name} must be a string or None, got {value!r}")
    if prompt is not None and prompt_name is not None:
        raise ValueError(f"pass prompt or prompt_name, not both, got {prompt!r} and {prompt_name!r}")
    check_one_of(task, "task", TASKS, optional=True)
    if prompt_name is not None:
        check_one_of(prompt_name, "prompt_name", sorted(model.prompts))
    encoded_by = f"encode_{task}" if task else "encode"
    if not any(model.prompts.get(name) for names in TASKS.values() for name in names):
        encoded_by = ""
    if prompt is not None:
        return Prompt(prompt, encoded_by)
    of_task = [name for name in TASKS.get(task or "", ()) if name in model.prompts]
    names = [prompt_name] if prompt_name is not None else [*of_task, model.default_prompt_name]
    return Prompt(None if names[0] is None else model.prompts[names[0]], encoded_by)


def checked_text(text: str, name: str) -> str:
    """Return a text that a tokenizer can take.

    Raises:
        TypeError: it is not a string.
        ValueError: it is empty, white space or invalid Unicode.
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
    return text


def tokenize(model: Explainable, text: str, prompt: Prompt, name: str, *, warn: bool = True) -> TokenizedText:
    """Tokenize a text with its prompt.

    Args:
        model: tokenizes with its own settings.
        text: a text that is not empty.
        prompt: prepended to the text.
        name: name of the argument in messages.
        warn: warn if the text is truncated or if nothing is left of it.

    Raises:
        TypeError: ``text`` is not a string.
        ValueError: ``text`` is empty, white space or invalid Unicode; it has more tokens than the model has positions;
            the model's ``max_seq_length`` is None; or its chat template changes the text.

    Warns:
        UserWarning: tokens are truncated (the message says which), or only special or unknown tokens are left.
    """
    text = checked_text(text, name)
    transformer: Any = model[0]
    try:
        features = model.preprocess([text], prompt=prompt.text, **({"task": prompt.task} if prompt.task else {}))
    except TypeError as error:
        if transformer.max_seq_length is not None:
            raise
        limit = position_limit(transformer)
        raise ValueError(
            "max_seq_length=None: the model's tokenizer needs a number; set the model's max_seq_length to "
            f"{'one' if limit is None else f'at most {limit}, for which the model has positions'}"
        ) from error
    features = as_batch(transformer, features, (prompt.text or "") + text, name)
    modality = features.get("modality", "text")
    if modality not in ("text", "message"):
        raise ValueError(f"this model reads {name} as {modality!r}, and xsbert explains models of text")
    if "attention_mask" not in features:
        raise ValueError(
            "this model packs its texts without padding (flash attention), which has no forward-mode derivative; "
            "load it with model_kwargs={'attn_implementation': 'sdpa'}"
        )
    in_template = modality == "message"
    layout = (
        templated_layout(transformer, features, text, prompt.text or "", name)
        if in_template
        else token_layout(transformer, features, text, prompt.text or "")
    )
    found = TokenizedText(
        text=(prompt.text or "") + text,
        features={**features, **({"task": prompt.task} if prompt.task else {})},
        layout=layout,
        prompt=prompt.text or "",
        encoded_by=prompt.encoded_by,
        name=name,
        unknown_token=unknown_token(transformer.tokenizer),
        keeps_special=in_template,
    )
    # Models that number positions around padding need no positions for the padding that a tokenizer may add.
    check_positions(transformer, int(features["attention_mask"].sum()), name)
    if warn:
        for problem in filter(None, (found.cut, found.nothing_left)):
            warnings.warn(f"{problem}, so the explanation covers only what the model read", stacklevel=caller_level())
    return found


def unknown_token(tokenizer: Any) -> str | None:
    """Return the unknown token of a tokenizer of transformers, or of one of the package tokenizers."""
    # Tokenizers of transformers may have an attribute `model`, too: the class of their backend's model.
    owner = tokenizer if hasattr(tokenizer, "unk_token") else getattr(tokenizer, "model", None)
    return getattr(owner, "unk_token", None)
