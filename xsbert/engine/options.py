"""The options that all methods share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import wraps
from typing import Any, TypedDict, TypeVar, cast

import torch

from .._utils.memory import check_memory_budget
from .._utils.validation import check_keywords, check_one_of, checked_integer, keywords_of, plain_number
from ..integrated_jacobian.adaptive import check_tolerance
from ..integrated_jacobian.chunks import check_chunk_size
from ..integrated_jacobian.rules import Quadrature, quadrature

__all__ = ["OptionKeywords", "Options", "resolved_layer", "takes_options"]

DEFAULT_TOLERANCE = 1e-2
REFERENCE_PROMPTS = ("replace", "keep")
# Measured by benchmarks/prompts.py: docs/guides/prompts.md.
DEFAULT_REFERENCE_PROMPT = "keep"
DERIVATIVE_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
KINKS = ("freeze", "integrate")
AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


class OptionKeywords(TypedDict, total=False):
    """The fields of `Options` as keywords, for editors and type checkers."""

    layer: int
    tolerance: float | None
    factor_tolerance: float | None
    n_steps: int | None
    rule: str
    reference: str | Sequence[str] | None
    reference_positions: str | None
    reference_prompt: str | None
    max_steps: int
    derivative_dtype: str | None
    kinks: str
    chunk_size: int | None
    memory_budget: float | None
    show_progress_bar: bool | None


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of an explanation. Those that do not depend on a model are checked on creation.

    Args:
        layer: attribute to the hidden states that enter this layer, 0 … L. 0 is the embeddings, L the last hidden
            state. A negative value means L + layer.
        tolerance: relative residual that both texts must reach, above 0. Nodes are added until they reach it. The
            default is 0.01 unless ``n_steps`` is given.
        factor_tolerance: relative error that the tokens' factors must reach as well, above 0, by its upper estimate
            (`Attribution.factor_error_a`). Nodes are added until they reach it. None requires only the residual,
            which is the error of the factors' sum.
        n_steps: number of interpolation steps N between reference and text, at least 1, instead of a tolerance.
        rule: quadrature rule for ``n_steps``: ``"gauss-legendre"``, ``"midpoint"``, or ``"riemann-right"``, the rule
            of the papers.
        reference: token of the reference, as for `XSTransformer`, or several tokens: factors and reference terms are
            then means over them. None uses the model's. A shifted model has one.
        reference_positions: positions of its tokens, as for `XSTransformer`; None uses the model's.
        reference_prompt: ``"keep"`` leaves the tokens of a prompt in the reference, like special tokens.
            ``"replace"`` replaces them like those of the text. None keeps them, except in a shifted model.
        max_steps: maximum number of nodes for a text with a tolerance.
        derivative_dtype: ``"bfloat16"`` or ``"float16"`` computes the products of derivatives in linear layers in
            that precision, if this is faster on the hardware. The score does not change. The residuals include the
            error. None uses the model's dtype.
        kinks: of sparse encoders, whose terms are maxima over tokens: ``"freeze"`` keeps the token that each term
            comes from, and integrates its logit. ``"integrate"`` integrates maximum and activation as well, which
            takes many times as many nodes. Other models have no kinks and ignore it.
        chunk_size: number of Jacobian-vector products computed at once. It bounds the memory and does not change
            the result. None chooses it automatically.
        memory_budget: maximum peak memory besides the model, in bytes, instead of a chunk size. The memory of a few
            products is measured first, and as many are computed at once as fit.
        show_progress_bar: True or False; None shows a bar if the work takes longer than two seconds.

    Raises:
        TypeError: an option is of the wrong type.
        ValueError: an option is out of range.

    >>> Options(layer=4, n_steps=8).rule_name, Options().target
    ('gauss-legendre', 0.01)
    """

    layer: int = -2
    tolerance: float | None = None
    factor_tolerance: float | None = None
    n_steps: int | None = None
    rule: str = "gauss-legendre"
    reference: str | Sequence[str] | None = None
    reference_positions: str | None = None
    reference_prompt: str | None = None
    max_steps: int = 512
    derivative_dtype: str | None = None
    kinks: str = "freeze"
    chunk_size: int | None = None
    memory_budget: float | None = None
    show_progress_bar: bool | None = None

    def __post_init__(self) -> None:
        checked_integer(self.layer, "layer")
        quadrature(self.rule, 1 if self.n_steps is None else self.n_steps)
        if self.n_steps is not None and self.tolerance is not None:
            raise ValueError(f"pass tolerance or n_steps, not both, got {self.tolerance!r} and {self.n_steps!r}")
        if self.factor_tolerance is not None:
            if self.n_steps is not None:
                raise ValueError(
                    f"pass factor_tolerance or n_steps, not both, got {self.factor_tolerance!r} and {self.n_steps!r}"
                )
            check_tolerance(self.factor_tolerance, self.max_steps, "factor_tolerance")
        if self.n_steps is None and self.rule != "gauss-legendre":
            raise ValueError(f"rule={self.rule!r} needs n_steps: with a tolerance, the library places the nodes itself")
        if self.n_steps is None:
            check_tolerance(DEFAULT_TOLERANCE if self.tolerance is None else self.tolerance, self.max_steps)
        check_one_of(self.derivative_dtype, "derivative_dtype", DERIVATIVE_DTYPES, optional=True)
        check_one_of(self.kinks, "kinks", KINKS)
        check_one_of(self.reference_prompt, "reference_prompt", REFERENCE_PROMPTS, optional=True)
        if self.reference is not None and not isinstance(self.reference, str):
            object.__setattr__(self, "reference", _tokens(self.reference))
        check_chunk_size(self.chunk_size)
        check_memory_budget(self.memory_budget, self.chunk_size)
        for each in fields(self):
            object.__setattr__(self, each.name, plain_number(getattr(self, each.name)))

    @property
    def target(self) -> float | None:
        """Requested relative residual; None with a given number of nodes."""
        if self.n_steps is not None:
            return None
        return DEFAULT_TOLERANCE if self.tolerance is None else float(self.tolerance)

    @property
    def steps(self) -> Quadrature | None:
        """Requested quadrature rule; None places nodes adaptively for the tolerance."""
        return None if self.n_steps is None else quadrature(self.rule, self.n_steps)

    @property
    def rule_name(self) -> str:
        """Name of the rule, ``"adaptive"`` for a tolerance."""
        return "adaptive" if self.n_steps is None else self.rule

    @property
    def derivatives(self) -> torch.dtype | None:
        """Precision of the products of derivatives in linear layers; None for the model's."""
        return None if self.derivative_dtype is None else DERIVATIVE_DTYPES[self.derivative_dtype]


def resolved_layer(layer: int, n_layers: int) -> int:
    """Return a layer counted from 0. A static model has only layer 0, which the default stands for.

    Args:
        layer: counted from 0, or from the end if negative.
        n_layers: number of encoder layers L. L is the last hidden state.

    Raises:
        TypeError: the layer is not an integer.
        ValueError: the model has no such layer.

    >>> resolved_layer(-2, 6), resolved_layer(6, 6)
    (4, 6)
    """
    layer = checked_integer(layer, "layer")
    if not n_layers and layer == Options.layer:
        return 0
    if not -n_layers <= layer <= n_layers:
        raise ValueError(f"layer must be between {-n_layers} and {n_layers}, the last hidden state, got {layer}")
    return layer if layer >= 0 else n_layers + layer


def _tokens(given: Any) -> str | tuple[str, ...]:
    """Return several tokens of references as a tuple, and a single one as a string."""
    if not isinstance(given, Sequence) or isinstance(given, bytes) or not all(isinstance(each, str) for each in given):
        raise TypeError(f"reference must be a string or a sequence of strings, got {given!r:.80}")
    if not given:
        raise ValueError(f"reference must name at least one token, got {given!r}")
    return given[0] if len(given) == 1 else tuple(given)


def takes_options(function: AnyFunction) -> AnyFunction:
    """Show the options of a function with ``**options`` in ``help()`` and completion, and reject unknown keywords.

    The options replace ``**options`` in the signature and its entry in the docstring.
    """
    signature = inspect.signature(function)
    parameters = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
    taken = {each.name for each in parameters}
    keywords = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=field.type,
        )
        for field in fields(Options)
        if field.name not in taken
    ]

    @wraps(function)
    def checked(*args: Any, **given: Any) -> Any:
        check_keywords(given, known)
        return function(*args, **given)

    checked.__signature__ = signature.replace(parameters=[*parameters, *keywords])  # type: ignore[attr-defined]
    known = keywords_of(checked)
    if function.__doc__:
        checked.__doc__ = _with_entries(inspect.cleandoc(function.__doc__))
    return cast(AnyFunction, checked)


def _with_entries(text: str) -> str:
    """Return a docstring with the entries of `Options` in place of that of ``**options``."""
    lines = text.splitlines()
    places = [at for at, line in enumerate(lines) if line.startswith("    **options:")]
    if not places:
        return text
    (at,) = places
    return "\n".join([*lines[:at], *_entries(), *lines[at + 1 :]])


def _entries() -> list[str]:
    """Return the argument entries of the docstring of `Options`."""
    lines = inspect.cleandoc(Options.__doc__ or "").splitlines()
    start = lines.index("Args:") + 1
    return lines[start : lines.index("", start)]
