"""The methods, layers, references and operators that a table of faithfulness is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from ..._utils.sequences import as_entries
from ..._utils.validation import check_one_of
from ...engine.options import resolved_layer
from ...models.comparing import ComparingModel
from ...models.referenced import check_able
from ..methods import METHODS
from ..methods.common import MethodOptions

__all__ = ["DEFAULT_METHODS", "DEFAULT_OPERATORS", "checked_names", "chosen_methods", "grid", "variants_of"]

DEFAULT_METHODS = tuple(name for name in METHODS if name not in ("shapley", "occlusion", "integrated kinks"))
DEFAULT_OPERATORS = ("remove", "unk", "mask")
REFERENCES = ("pad", "unk", "mask")


def checked_names(given: Sequence[str], argument: str, known: Mapping[str, Any]) -> list[str]:
    """Returns distinct names of a list, each of which is known. Raises ValueError otherwise."""
    if isinstance(given, str):
        raise ValueError(f"{argument} must be a list of names, got {given!r}")
    names = as_entries(given, argument, "names")
    if not names:
        raise ValueError(f"{argument} must be a list of names, got {given!r}")
    for place, name in enumerate(names):
        check_one_of(name, f"{argument}[{place}]", known)
    _check_distinct(names, argument)
    return names


def _check_distinct(given: Sequence[Any], argument: str) -> None:
    twice = [each for place, each in enumerate(given) if each in given[:place]]
    if twice:
        raise ValueError(f"{argument} must be distinct, got {twice[0]!r} twice")


def chosen_methods(model: ComparingModel, methods: Sequence[str] | None) -> tuple[Sequence[str], dict[str, str]]:
    """Returns the methods to run, and the omitted ones with the reason."""
    check_able(model, "faithfulness")
    if methods is not None:
        methods = checked_names(methods, "methods", METHODS)
    unfit = {}
    for name in DEFAULT_METHODS if methods is None else methods:
        reason = METHODS[name].obstacle(model)
        if reason is not None:
            unfit[name] = reason
    if methods is not None and unfit:
        name, reason = next(iter(unfit.items()))
        raise ValueError(f"methods: {name!r} cannot explain this model. {reason}")
    chosen = methods if methods is not None else [name for name in DEFAULT_METHODS if name not in unfit]
    return chosen, unfit


def grid(
    model: ComparingModel,
    layers: Sequence[int] | None,
    references: Sequence[str | Sequence[str] | None] | None,
    recommend: bool,
) -> tuple[list[int], list[str | tuple[str, ...] | None]]:
    """Returns layers counted from 0, and references. Combinations come after their tokens."""
    if layers is None:
        layers = range(model.n_layers + 1) if recommend else [-2]
    if references is None:
        tokenizer = model[0].tokenizer
        known = [name for name in REFERENCES if getattr(tokenizer, f"{name}_token_id", None) is not None]
        several = [] if model.own_outputs else [each for size in (2, 3) for each in combinations(known, size)]
        references = [*known, *several] if recommend and not model.shifted else [None]
    lists = []
    for argument, given, what in (("layers", layers, "integers"), ("references", references, "names")):
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise TypeError(f"{argument} must be a list, got {given!r}")
        lists.append(as_entries(given, argument, what))
        if not lists[-1]:
            raise ValueError(f"{argument} must not be empty, got {given!r}")
    resolved = [resolved_layer(layer, model.n_layers) for layer in lists[0]]
    _check_distinct(resolved, "layers, counted from 0,")
    chosen = [each if each is None or isinstance(each, str) else tuple(each) for each in lists[1]]
    _check_distinct([frozenset(each) if isinstance(each, tuple) else each for each in chosen], "references")
    return resolved, chosen


def variants_of(
    methods: Sequence[str],
    layers: Sequence[int],
    references: Sequence[str | tuple[str, ...] | None],
    options: MethodOptions,
) -> Iterator[tuple[str, MethodOptions]]:
    """Yields the method and the options of each row: ``"integrated"`` has one for each reference and layer."""
    for name in methods:
        crossed = name == "integrated"
        for reference in references if crossed else references[:1]:
            for layer in layers if crossed else layers[:1]:
                yield name, replace(options, layer=layer, reference=reference)
