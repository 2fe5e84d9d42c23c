"""Measure how faithful explanations are to a model, by removing words from texts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from ..._utils.progress import Progress
from ..._utils.validation import checked_integer
from ...attribution.alignment import content_cells
from ...attribution.pair_result import PairResult
from ...models.comparing import ComparingModel
from ..methods import METHODS, checked_pairs
from ..methods.common import MethodOptions, sides
from ..methods.occlusion import single_edits
from ..perturbation import OPERATORS, Perturber
from .metrics import Effects, correlation, curves_of, deletion_effects, found_strongest, word_numbers
from .request import DEFAULT_OPERATORS, checked_names, chosen_methods, grid, variants_of
from .rows import FaithfulnessRow
from .table import Faithfulness

__all__ = ["faithfulness"]


def faithfulness(
    model: ComparingModel,
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
    operators = checked_names(operators, "operators", OPERATORS)
    n_bootstrap = checked_integer(n_bootstrap, "n_bootstrap", least=1, wrong_type=ValueError)
    seed = checked_integer(seed, "seed", least=0)
    chosen, unfit = chosen_methods(model, methods)
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
    variants = list(variants_of(chosen, *grid(model, layers, references, recommend), options))
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
    model: ComparingModel,
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


def _reference_of(model: ComparingModel, result: PairResult, options: MethodOptions) -> str | tuple[str, ...]:
    """Returns the token of the reference as the vocabulary spells it, or several tokens."""
    several = options.reference is not None and not isinstance(options.reference, str)
    known = model.explainer(reference=options.reference).reference if several else model.reference
    if not several and (options.reference is not None or len(known.members) == 1):
        return result.settings.reference
    return tuple(member.token for member in known.members)


def _compared(result: PairResult, effects: Effects) -> dict[str, float]:
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
