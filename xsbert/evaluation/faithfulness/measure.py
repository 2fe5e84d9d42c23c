"""Measure how faithful explanations are to a model, by removing words from texts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from ..._utils.progress import Progress
from ..._utils.sequences import as_entries
from ..._utils.validation import checked_integer
from ...attribution.alignment import content_cells
from ...attribution.attribution import Attribution
from ...models import XSTransformer
from ..methods import METHODS, checked_pairs
from ..methods.common import MethodOptions, resolved_layer, sides
from ..methods.occlusion import single_edits
from ..methods.shapley import coalitions_needed
from ..perturbation import OPERATORS, Perturber
from .metrics import Effects, correlation, curves_of, deletion_effects, found_strongest, word_numbers
from .rows import FaithfulnessRow
from .table import Faithfulness

__all__ = ["DEFAULT_METHODS", "cost_of_faithfulness", "faithfulness"]

DEFAULT_METHODS = tuple(name for name in METHODS if name not in ("shapley", "occlusion"))
DEFAULT_OPERATORS = ("remove", "unk", "mask")
REFERENCES = ("pad", "unk", "mask")


def faithfulness(
    model: XSTransformer,
    pairs: Iterable[tuple[str, str]],
    *,
    methods: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    references: Sequence[str | Sequence[str] | None] | None = None,
    units: str = "words",
    operators: Sequence[str] = DEFAULT_OPERATORS,
    similarity: str | None = None,
    recommend: bool = False,
    tolerance: float = 0.05,
    budget: int = 1024,
    seed: int = 0,
    n_bootstrap: int = 1000,
    show_progress_bar: bool | None = None,
) -> Faithfulness:
    """Measure how well methods predict what deletion does to a model's similarities.

    For each pair of texts, operator and pair of units, the second-order effect
    c(a,b) − c(a∖s,b) − c(a,b∖t) + c(a∖s,b∖t) is computed and compared with the method's numbers. Two-sided deletion
    curves and insertion are omitted: two emptied texts are alike, so the cosine rises towards one whichever units are
    removed. `cost_of_faithfulness` returns the number of forward passes in advance.

    Args:
        model: not modified.
        pairs: n pairs of texts of the kind that will be explained. Results are means over pairs, so use some dozens
            at least. With fewer than ten pairs the table gives no verdict.
        methods: names in `xsbert.evaluation.methods.METHODS`. None uses those of `DEFAULT_METHODS` that can explain
            the model; the table gives the reason for each omitted one. Shapley interactions and occlusion run only on
            request: the former are expensive, and the latter *is* the measured effect, up to its operator.
        layers: layers of ``"integrated"``, crossed with the references; other methods use the first. None uses −2 or,
            with ``recommend``, all.
        references: tokens as for `XSTransformer`, or sequences of several tokens. None uses the model's or, with
            ``recommend``, those of ``"pad"``, ``"unk"`` and ``"mask"`` that the tokenizer has, and all combinations of
            them. A combination after its tokens costs next to nothing.
        units: ``"words"``, ``"tokens"`` or ``"sentences"``.
        operators: names in `xsbert.evaluation.perturbation.OPERATORS`.
        similarity: ``"cosine"`` or ``"dot"``; None uses the model's own.
        recommend: evaluate all layers and references, for `Faithfulness.recommended`.
        tolerance: tolerance of the integrals. The default suffices for correlations.
        budget: coalitions of either text of a pair, for Shapley interactions: see
            `xsbert.evaluation.methods.common.MethodOptions`.
        seed: seed of random methods and of the bootstrap.
        n_bootstrap: samples for the intervals.
        show_progress_bar: True or False; None shows bars after two seconds.

    Returns:
        A table with one row for each method; integrated Jacobians have one for each layer and reference.

    Raises:
        ValueError: a name is unknown or given twice, a method cannot explain the model, a text is longer than the
            model reads or has no units, deletion leaves an empty text, or the tokenizer lacks a token. The names of
            methods, and whether each can explain the model, are checked before anything is computed.
        TypeError: pairs are not pairs of strings, or an argument is not a list.
        ImportError: a method needs a library that is not installed.

    >>> pairs = [("A dog runs.", "A puppy plays."), ("He sings.", "She sings a song.")]
    >>> table = faithfulness(model, pairs, methods=["lexical", "random"], show_progress_bar=False)
    >>> [row.label for row in table.rows]
    ['lexical', 'random']
    """
    checked = checked_pairs(pairs)
    operators = _checked(operators, "operators", OPERATORS)
    n_bootstrap = checked_integer(n_bootstrap, "n_bootstrap", least=1, wrong_type=ValueError)
    seed = checked_integer(seed, "seed", least=0)
    chosen, unfit = _methods(model, methods)
    options = MethodOptions(
        units=units,
        similarity=model.similarity_fn_name if similarity is None else similarity,
        tolerance=tolerance,
        budget=budget,
        seed=seed,
        show_progress_bar=show_progress_bar,
    )
    perturber = Perturber(model, units, options.similarity, show_progress_bar=show_progress_bar)
    options = replace(options, perturber=perturber)
    variants = list(_variants(chosen, *_grid(model, layers, references, recommend), options))
    effects = _all_effects(perturber, checked, operators)
    rows = []
    with Progress(len(variants), "methods", show=show_progress_bar) as progress:
        for name, each in variants:
            progress.note(name)
            rows.append(_row(model, checked, name, each, effects, perturber))
            progress.update()
    whole = [
        perturber.embeddings([single_edits(perturber, text, operators[0])[0] for text in pair]) for pair in checked
    ]
    return Faithfulness(
        model=model.label,
        similarity=options.similarity,
        units=units,
        operators=tuple(operators),
        n_pairs=len(checked),
        rows=tuple(rows),
        agreement=_agreement(effects, operators),
        scores=np.array([a @ b for a, b in whole]),
        n_passes=perturber.n_passes,
        n_bootstrap=n_bootstrap,
        seed=seed,
        notes=tuple(f"left out, {name}: {reason}" for name, reason in unfit.items()),
    )


def cost_of_faithfulness(
    model: XSTransformer,
    pairs: Iterable[tuple[str, str]],
    *,
    n_rows: int,
    units: str = "words",
    operators: Sequence[str] = DEFAULT_OPERATORS,
    budget: int = 1024,
) -> dict[str, int]:
    """Returns the number of forward passes of `faithfulness`, counted in texts.

    Args:
        n_rows: number of rows of the table.
        budget: as for `faithfulness`.

    Returns:
        The passes for the effects (exact), for the deletion curves of all rows (upper bound), for each node of an
        integral over all distinct texts, and for Shapley interactions if they are requested (upper bound). A text
        takes some 5 to 20 nodes, more at shallow layers. One gradient is one node. BiLRP costs about two nodes of
        layer 0.

    Raises:
        ValueError: ``n_rows`` is below 1; otherwise as `faithfulness`.

    >>> sorted(cost_of_faithfulness(model, [("A cold day.", "Cold days")], n_rows=3))
    ['Shapley interactions, at most', 'curves, at most', 'each node of an integral', 'effects']
    """
    n_rows = checked_integer(n_rows, "n_rows", least=1)
    budget = checked_integer(budget, "budget", least=2)
    checked = checked_pairs(pairs)
    operators = _checked(operators, "operators", OPERATORS)
    perturber = Perturber(model, units, show_progress_bar=False)
    perturber.prepare(sides(checked))
    edits = [
        edit for text in sides(checked) for operator in operators for edit in single_edits(perturber, text, operator)
    ]
    lengths = {text: len(perturber.units_of(text).content) for text in sides(checked)}
    groups = sum(len(perturber.units_of(text).groups) + 1 for text in lengths)
    return {
        "effects": perturber.cost(edits),
        "curves, at most": n_rows * sum(max(lengths[text] - 1, 0) for pair in checked for text in pair),
        "each node of an integral": groups,
        "Shapley interactions, at most": sum(coalitions_needed(perturber, pair, budget) for pair in checked),
    }


def _checked(given: Sequence[str], argument: str, known: Mapping[str, Any]) -> list[str]:
    if isinstance(given, str):
        raise ValueError(f"{argument} must be a list of names, got {given!r}")
    names = as_entries(given, argument, "names")
    if not names:
        raise ValueError(f"{argument} must be a list of names, got {given!r}")
    for name in names:
        if name not in known:
            raise ValueError(f"{argument} must be of {', '.join(map(repr, known))}, got {name!r}")
    _check_distinct(names, argument)
    return names


def _check_distinct(given: Sequence[Any], argument: str) -> None:
    twice = [each for place, each in enumerate(given) if each in given[:place]]
    if twice:
        raise ValueError(f"{argument} must be distinct, got {twice[0]!r} twice")


def _methods(model: XSTransformer, methods: Sequence[str] | None) -> tuple[Sequence[str], dict[str, str]]:
    """Returns the methods to run, and the omitted ones with the reason."""
    if methods is not None:
        methods = _checked(methods, "methods", METHODS)
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


def _grid(
    model: XSTransformer,
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
        several = [each for size in (2, 3) for each in combinations(known, size)]
        references = [*known, *several] if recommend and not model.shifted else [None]
    lists = []
    for argument, given, what in (("layers", layers, "integers"), ("references", references, "names")):
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise TypeError(f"{argument} must be a list, got {given!r}")
        lists.append(as_entries(given, argument, what))
        if not lists[-1]:
            raise ValueError(f"{argument} must not be empty, got {given!r}")
    resolved = [resolved_layer(model, layer) for layer in lists[0]]
    _check_distinct(resolved, "layers, counted from 0,")
    chosen = [each if each is None or isinstance(each, str) else tuple(each) for each in lists[1]]
    _check_distinct([frozenset(each) if isinstance(each, tuple) else each for each in chosen], "references")
    return resolved, chosen


def _variants(
    methods: Sequence[str],
    layers: Sequence[int],
    references: Sequence[str | tuple[str, ...] | None],
    options: MethodOptions,
) -> Iterable[tuple[str, MethodOptions]]:
    for name in methods:
        crossed = name == "integrated"
        for reference in references if crossed else references[:1]:
            for layer in layers if crossed else layers[:1]:
                yield name, replace(options, layer=layer, reference=reference)


def _all_effects(
    perturber: Perturber, pairs: Sequence[tuple[str, str]], operators: Sequence[str]
) -> dict[str, list[Effects]]:
    perturber.prepare(sides(pairs))
    edits = [
        edit for text in sides(pairs) for operator in operators for edit in single_edits(perturber, text, operator)
    ]
    perturber.embeddings(edits, "deletion effects")
    return {operator: [deletion_effects(perturber, *pair, operator) for pair in pairs] for operator in operators}


def _row(
    model: XSTransformer,
    pairs: Sequence[tuple[str, str]],
    name: str,
    options: MethodOptions,
    effects: dict[str, list[Effects]],
    perturber: Perturber,
) -> FaithfulnessRow:
    start = time.perf_counter()
    results = METHODS[name].explain(model, pairs, options)
    seconds = time.perf_counter() - start
    numbers: dict[tuple[str, str], list[float]] = {}
    for place, result in enumerate(results):
        for operator, found in effects.items():
            for metric, value in _compared(result, found[place]).items():
                numbers.setdefault((metric, operator), []).append(value)
    curves = curves_of(perturber, pairs, [word_numbers(result, main_effects=False) for result in results])
    uses = METHODS[name].uses
    return FaithfulnessRow(
        name,
        options.layer if "layer" in uses else None,
        _reference_of(model, results[0], options) if "reference" in uses else None,
        {key: np.array(values) for key, values in numbers.items()} | {("curve", "remove"): curves},
        seconds,
        ranked=not METHODS[name].control and name != "occlusion",
    )


def _reference_of(model: XSTransformer, result: Attribution, options: MethodOptions) -> str | tuple[str, ...]:
    """Returns the token of the reference as the vocabulary spells it, or several tokens."""
    several = options.reference is not None and not isinstance(options.reference, str)
    known = model.explainer(reference=options.reference).reference if several else model.reference
    if not several and (options.reference is not None or len(known.members) == 1):
        return result.settings.reference
    return tuple(member.token for member in known.members)


def _compared(result: Attribution, effects: Effects) -> dict[str, float]:
    """Returns all metrics of one pair of texts except the curve."""
    cells, *_ = content_cells(result)
    found = {
        "pearson": correlation(cells, effects.pairs),
        "spearman": correlation(cells, effects.pairs, ranks=True),
        "top-1": found_strongest(cells, effects.pairs),
    }
    for metric, main_effects in (("words", False), ("words + main effects", True)):
        a, b = word_numbers(result, main_effects)
        sides_of = [correlation(a, effects.words_a), correlation(b, effects.words_b)]
        defined = [value for value in sides_of if np.isfinite(value)]
        found[metric] = float(np.mean(defined)) if defined else float("nan")
    return found


def _agreement(
    effects: dict[str, list[Effects]], operators: Sequence[str]
) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    return {
        (one, other): {
            kind: np.array(
                [
                    correlation(x.pairs, y.pairs, ranks=kind == "spearman")
                    for x, y in zip(effects[one], effects[other], strict=True)
                ]
            )
            for kind in ("pearson", "spearman")
        }
        for one, other in combinations(operators, 2)
    }
