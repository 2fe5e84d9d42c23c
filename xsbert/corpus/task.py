"""The task of a corpus job: what to compute for every row."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any

from .._utils.validation import check_keywords, check_one_of, is_integer, keywords_of, plain_number
from ..attribution.similarity import resolved_similarity
from ..engine import Options
from ..engine.position_limit import length_limit
from ..engine.reference import positions_of_reference
from ..factors.text_factors import settings_of
from ..models.comparing import ComparingModel
from ..models.referenced import check_able
from ..text.units import check_units

__all__ = ["DTYPES", "OPTIONS", "TEXT_COLUMNS", "Task", "model_identity", "quiet", "resolved_options"]

TEXT_COLUMNS = {"pairs": ("text_a", "text_b"), "factors": ("text",), "highlights": ("query", "document")}
DTYPES = ("float16", "float32", "float64")
# Limits and progress bars change no row, so each call has its own.
LIMITS = ("chunk_size", "memory_budget", "show_progress_bar")
# Numbers of a text that has its own, to estimate the size of its factors.
TYPICAL_WIDTH = 256
OPTIONS = tuple(each.name for each in fields(Options) if each.name not in LIMITS)


@dataclass(frozen=True)
class Task:
    """What to compute for each row.

    Two jobs with equal tasks, models and sources have the same rows.
    """

    what: str
    """``"pairs"``, ``"factors"`` or ``"highlights"``."""
    similarity: str
    """``"cosine"`` or ``"dot"``."""
    units: str
    """``"tokens"``, ``"words"`` or ``"sentences"``."""
    top_k: int | None
    """Number of strongest pairs of units in a row of pairs; None keeps the whole matrix."""
    dtype: str
    """Dtype of stored factors: ``"float16"``, ``"float32"`` or ``"float64"``."""
    sides: tuple[tuple[str | None, str | None], ...]
    """The prompt of each column of texts, and ``"query"``, ``"document"`` or None, as for
    `XSTransformer.text_factors`."""
    options: tuple[tuple[str, Any], ...]
    """Further arguments of `XSTransformer.text_factors`, by name, as returned by `resolved_options`."""
    fingerprint: str
    """Fingerprint of the model, as in `xsbert.factors.text_factors.Settings`."""
    width: int
    """E, the number of dimensions of an embedding."""

    @classmethod
    def of(
        cls,
        model: ComparingModel,
        what: str = "pairs",
        *,
        similarity: str | None = None,
        units: str = "tokens",
        top_k: int | None = None,
        dtype: str = "float16",
        prompt: str | tuple[str | None, str | None] | None = None,
        prompt_name: str | tuple[str | None, str | None] | None = None,
        task: str | tuple[str | None, str | None] | None = None,
        **options: Any,
    ) -> Task:
        """Creates a task and checks it by explaining one word with the model.

        Args:
            model, what, similarity, units, top_k, dtype, prompt, prompt_name, task, options: as for
                `xsbert.corpus.explain_corpus`.

        Raises:
            TypeError: an option is unknown or of the wrong type.
            ValueError: an option is outside its allowed values.
        """
        check_one_of(what, "what", TEXT_COLUMNS)
        check_units(units)
        check_one_of(dtype, "dtype", DTYPES)
        if top_k is not None:
            if not is_integer(top_k):
                raise TypeError(f"top_k must be None or an integer, got {top_k!r}")
            if top_k < 1 or what != "pairs":
                raise ValueError(f"top_k must be at least 1 and requires what='pairs', got {top_k} and {what!r}")
        if what != "pairs":
            check_able(model, "corpus" if what == "highlights" else "corpus of factors")
        check_keywords(options, [*keywords_of(cls.of), *OPTIONS])
        resolved = resolved_options(model, options)
        with quiet():
            (probe,) = model.text_factors(["a"], units=units, prompt="", show_progress_bar=False, **dict(resolved))
        return cls(
            what=what,
            similarity=resolved_similarity(similarity, model.similarity_fn_name),
            units=units,
            top_k=plain_number(top_k),
            dtype=dtype,
            sides=_sides(model, what, prompt, prompt_name, task),
            options=resolved,
            fingerprint=settings_of(probe).fingerprint,
            width=TYPICAL_WIDTH if model.own_outputs else len(probe.embedding),
        )

    @classmethod
    def from_json(cls, entries: dict[str, Any]) -> Task:
        """Creates a task from the result of `to_json`."""
        fixed = {name: tuple(map(tuple, entries[name])) for name in ("sides", "options")}
        # Several references are a list in JSON.
        fixed["options"] = tuple(
            (name, tuple(value) if isinstance(value, list) else value) for name, value in fixed["options"]
        )
        return cls(**{**entries, **fixed})

    def to_json(self) -> dict[str, Any]:
        """Returns the fields for JSON, with lists for tuples."""
        return json.loads(json.dumps(asdict(self)))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of texts."""
        return TEXT_COLUMNS[self.what]


def resolved_options(model: ComparingModel, options: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Returns options with all defaults, sorted by name, so that equal settings give equal results.

    Layers are counted from 0. None and the model's own reference, which the fingerprint covers, are omitted.

    Raises:
        TypeError: an option is of the wrong type.
        ValueError: an option is outside its allowed values.
    """
    explainer = model.explainer(**{name: value for name, value in options.items() if value is not None})
    found = {name: getattr(explainer.options, name) for name in OPTIONS}
    found |= {"layer": explainer.layer, "tolerance": explainer.options.target}
    own = explainer.reference == model.reference
    tokens = tuple(member.token for member in explainer.reference.members)
    found["reference"] = None if own else tokens[0] if len(tokens) == 1 else tokens
    found["reference_prompt"] = explainer.reference_prompt
    found["reference_positions"] = None if own else positions_of_reference(explainer.model[0], explainer.reference)
    # Jobs of before it was an option can be resumed.
    found["kinks"] = None if found["kinks"] == Options.kinks else found["kinks"]
    return tuple(sorted((name, value) for name, value in found.items() if value is not None))


def model_identity(model: ComparingModel) -> dict[str, Any]:
    """Returns the settings of tokenization, which the model's fingerprint does not cover."""
    tokenizer = model.tokenizer
    # The tokenizer of a static model is such a backend itself.
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer if hasattr(tokenizer, "to_str") else None)
    described: Any = sorted(tokenizer.get_vocab().items())
    if backend is not None:
        # Every call sets padding and truncation.
        described = {
            name: value for name, value in json.loads(backend.to_str()).items() if name not in ("padding", "truncation")
        }
    digest = hashlib.blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=16).hexdigest()
    return {
        "tokenizer": digest,
        "max_seq_length": length_limit(model[0]) if model.max_seq_length == math.inf else model.max_seq_length,
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Suppresses warnings about single texts. Rows report them instead."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _sides(model: ComparingModel, what: str, prompt: Any, prompt_name: Any, task: Any) -> tuple[tuple[Any, Any], ...]:
    """Returns prompt and task of each column of texts. Highlights default to query and document without prompts."""
    if what == "highlights" and prompt is None and prompt_name is None and task is None:
        task = ("query", "document")
    names = {"prompt": prompt, "prompt_name": prompt_name, "task": task}
    each = [_each(name, value, len(TEXT_COLUMNS[what])) for name, value in names.items()]
    explainer = model.explainer()
    return tuple((explainer.prompt(*given).text, given[2]) for given in zip(*each, strict=True))


def _each(name: str, value: Any, n_columns: int) -> tuple[str | None, ...]:
    values = value if isinstance(value, tuple) else (value,) * n_columns
    if len(values) != n_columns or any(not isinstance(item, (str, type(None))) for item in values):
        raise TypeError(f"{name} must be a string, None, or a tuple of {n_columns} of these, got {value!r}")
    return values
