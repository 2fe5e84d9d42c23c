"""Measure how faithful explanations are to a model, by taking words out of texts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from tqdm import tqdm

from ..alignment import content_cells
from ..attribution import Attribution
from ..methods import METHODS, MethodOptions, checked_pairs
from ..methods.common import resolved_layer, sides
from ..methods.occlusion import single_edits
from ..models import XSTransformer
from ..perturbation import OPERATORS, Perturber
from .metrics import Effects, correlation, curve_of, deletion_effects, word_numbers
from .table import Faithfulness, FaithfulnessRow

__all__ = ["DEFAULT_METHODS", "cost_of_faithfulness", "faithfulness"]

DEFAULT_METHODS = tuple(name for name in METHODS if name not in ("shapley", "occlusion"))
DEFAULT_OPERATORS = ("remove", "unk", "mask")
REFERENCES = ("pad", "unk", "mask")


def faithfulness(
    model: XSTransformer,
    pairs: Iterable[tuple[str, str]],
    *,
    methods: Sequence[str] = DEFAULT_METHODS,
    layers: Sequence[int] | None = None,
    references: Sequence[str | None] | None = None,
    units: str = "words",
    operators: Sequence[str] = DEFAULT_OPERATORS,
    similarity: str | None = None,
    recommend: bool = False,
    tolerance: float = 0.05,
    budget: int = 256,
    seed: int = 0,
    n_bootstrap: int = 1000,
    show_progress_bar: bool | None = None,
) -> Faithfulness:
    """Measure how well methods predict what deletion does to a model's similarities.

    For each pair of texts, each operator and each pair of units the second-order effect c(a,b) − c(a∖s,b) − c(a,b∖t) +
    c(a∖s,b∖t) is computed, and compared with the method's numbers. Two-sided deletion curves and insertion are left
    out: since what is left of two emptied texts is alike, they rank even the effects themselves no higher than chance.
    `cost_of_faithfulness` tells the forward passes beforehand.

    Args:
        model: left as it is.
        pairs: n pairs of texts of the kind that will be explained; their mean is taken, so some dozens at least.
        methods: names in `xsbert.methods.METHODS`. Shapley interactions and occlusion are taken on request: the first
            need shapiq, and the second *is* the effect that is measured, up to its operator.
        layers: of ``"integrated"``, crossed with the references; other methods take the first. None takes −2 or, with
            ``recommend``, all.
        references: tokens as for `XSTransformer`; None takes the model's or, with ``recommend``, those of ``"pad"``,
            ``"unk"`` and ``"mask"`` that the tokenizer has.
        units: ``"words"``, ``"tokens"`` or ``"sentences"``.
        operators: of `xsbert.perturbation.OPERATORS`.
        similarity: ``"cosine"`` or ``"dot"``; None takes the model's own.
        recommend: look at all layers and references, for `Faithfulness.recommended`.
        tolerance: of the integrals; correlations need no finer one.
        budget: of methods that sample coalitions.
        seed: of methods that draw random numbers, and of the bootstrap.
        n_bootstrap: samples for the intervals.
        show_progress_bar: True or False; None shows bars after two seconds.

    Returns:
        a table, with a row for each method or, of integrated Jacobians, for each layer and reference.

    Raises:
        ValueError: a name is not known, a text is longer than the model reads or has no units, nothing is left of a
            text by deletion, or the tokenizer lacks a token.
        TypeError: pairs are not pairs of strings.
        ImportError: a method needs a library that is not installed.

    >>> pairs = [("A dog runs.", "A puppy plays."), ("He sings.", "She sings a song.")]
    >>> table = faithfulness(model, pairs, methods=["lexical", "random"], show_progress_bar=False)
    >>> [row.label for row in table.rows]
    ['lexical', 'random']
    """
    checked = checked_pairs(pairs)
    _check(methods, operators)
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
    variants = list(_variants(model, methods, *_grid(model, layers, references, recommend), options))
    effects = _all_effects(perturber, checked, operators)
    rows = []
    show = show_progress_bar
    with tqdm(variants, desc="methods", leave=False, disable=show is False, delay=0 if show else 2) as bar:
        for name, each in bar:
            bar.set_postfix_str(name)
            rows.append(_row(model, checked, name, each, effects, perturber))
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
    )


def cost_of_faithfulness(
    model: XSTransformer,
    pairs: Iterable[tuple[str, str]],
    *,
    n_rows: int,
    units: str = "words",
    operators: Sequence[str] = DEFAULT_OPERATORS,
) -> dict[str, int]:
    """Forward passes that `faithfulness` will take, counted by texts.

    Args:
        n_rows: of the table.

    Returns:
        passes for the effects, exactly; for the deletion curves, at most; and for each node of an integral over all
        distinct texts (of which a text takes some 5 to 20, those of shallow layers more).

    >>> sorted(cost_of_faithfulness(model, [("A cold day.", "Cold days")], n_rows=3))
    ['curves, at most', 'each node of an integral', 'effects']
    """
    checked = checked_pairs(pairs)
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
    }


def _check(methods: Sequence[str], operators: Sequence[str]) -> None:
    for argument, given, known in (("methods", methods, METHODS), ("operators", operators, OPERATORS)):
        if isinstance(given, str) or not given:
            raise ValueError(f"{argument} must be a list of names, got {given!r}")
        for name in given:
            if name not in known:
                raise ValueError(f"{argument} must be of {', '.join(map(repr, known))}, got {name!r}")


def _grid(
    model: XSTransformer, layers: Sequence[int] | None, references: Sequence[str | None] | None, recommend: bool
) -> tuple[list[int], list[str | None]]:
    """Layers counted from 0, and references."""
    if layers is None:
        layers = range(model.n_layers + 1) if recommend else [-2]
    if references is None:
        tokenizer = model[0].tokenizer
        known = [name for name in REFERENCES if getattr(tokenizer, f"{name}_token_id", None) is not None]
        references = known if recommend and not model.shifted else [None]
    if not len(layers) or not len(references):
        raise ValueError(f"layers and references must not be empty, got {layers!r} and {references!r}")
    return [resolved_layer(model, layer) for layer in layers], list(references)


def _variants(
    model: XSTransformer,
    methods: Sequence[str],
    layers: Sequence[int],
    references: Sequence[str | None],
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
    for place, (pair, result) in enumerate(zip(pairs, results, strict=True)):
        for operator, found in effects.items():
            for metric, value in _compared(result, found[place]).items():
                numbers.setdefault((metric, operator), []).append(value)
        curve, _ = curve_of(perturber, pair, word_numbers(result, main_effects=False))
        numbers.setdefault(("curve", "remove"), []).append(curve)
    uses = METHODS[name].uses
    return FaithfulnessRow(
        name,
        options.layer if "layer" in uses else None,
        results[0].settings.reference if "reference" in uses else None,
        {key: np.array(values) for key, values in numbers.items()},
        seconds,
        ranked=not METHODS[name].control and name != "occlusion",
    )


def _compared(result: Attribution, effects: Effects) -> dict[str, float]:
    """All metrics of one pair of texts but the curve."""
    cells, *_ = content_cells(result)
    found = {
        "pearson": correlation(cells, effects.pairs),
        "spearman": correlation(cells, effects.pairs, ranks=True),
        "top-1": float(_is_strongest(effects.pairs, int(np.argmax(cells)))),
    }
    for metric, main_effects in (("words", False), ("words + main effects", True)):
        a, b = word_numbers(result, main_effects)
        sides_of = [correlation(a, effects.words_a), correlation(b, effects.words_b)]
        defined = [value for value in sides_of if np.isfinite(value)]
        found[metric] = float(np.mean(defined)) if defined else float("nan")
    return found


def _is_strongest(effects: np.ndarray, place: int) -> bool:
    """Whether a cell has the largest effect, or one that equals it but for rounding."""
    return bool(effects.flat[place] >= effects.max() - 1e-4 * np.abs(effects).max())


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
