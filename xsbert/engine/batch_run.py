"""One call of an `Explainer`, which computes the factors of batches of tokenized texts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch

from .._utils.memory import give_back_memory
from .._utils.progress import Progress
from .._utils.stacklevel import caller_level
from ..factors.text_factors import (
    ProjectedFactors,
    TextFactors,
    needed_directions,
    projected_on,
    settings_of,
)
from .batching import batches, within_budget
from .failures import OF_A_TEXT, skip_or_raise
from .few_directions import along_few_directions, nodes_along
from .fingerprint import model_fingerprint
from .initial_factors import initial_factors, numpy_of
from .integration import Integrated, averaged, integrated, way_of_mean
from .modes import ForwardMode, Mode, ReverseMode
from .options import Options
from .paths import paths_of
from .preconditions import check_run
from .protocol import Explainable
from .reference import AnyReference
from .static_model import closed_form_factors, has_closed_form, split
from .text_path import TextPath, check_finite
from .tokenization import TokenizedText

__all__ = [
    "BACKWARD_COST",
    "Directions",
    "Run",
    "chosen_directions",
    "reverse_is_cheaper",
    "spanning",
]

Directions = np.ndarray | Callable[[TextFactors], np.ndarray]
"""(K, E) directions; or what returns them for a text without factors, if each text has numbers of its own."""


# Cost of a vector-Jacobian product in Jacobian-vector products: 0.8 to 1.3 times the time (benchmarks/waiting.py,
# 20 directions), and more memory. Factors by reverse mode that are valid for only one pair must save more.
REVERSE_COST, BACKWARD_COST = 1.2, 1.5
# Number of `sinh_gauss_legendre` nodes to try before evaluating the path for placement, by the layer's distance from
# the last hidden state, and the smallest tolerance for which they are tried; docs/background/placement.md has the
# figures for four models. With many directions, an unneeded node costs more than the evaluations that it saves.
FIRST_NODES, FIRST_TOLERANCE, FEW_DIRECTIONS = {1: 6, 2: 8}, 0.005, 24
Item = TypeVar("Item")


class Run:
    """The state of one call: a copy of the model, split at the layer, and a fingerprint of its weights.

    Args:
        model: model to explain.
        options: options of the explanation.
        reference: reference of the texts, or references.
        layer: 0 … L.

    Raises:
        RuntimeError: an open context of torch affects derivatives.
        ValueError: the model is quantised.
    """

    def __init__(self, model: Explainable, options: Options, reference: AnyReference, layer: int) -> None:
        check_run(model)
        self.model, self.options, self.reference, self.layer = model, options, reference, layer
        self.fingerprint = model_fingerprint(model, reference)
        self.encoder, self.has_closed_form = split(model, layer), has_closed_form(model)
        self._checked = False

    def factors(self, texts: Sequence[TokenizedText], units: str, errors: str) -> list[TextFactors | None]:
        """Return the factors of texts, with None for skipped texts."""
        quiet = replace(self.options, show_progress_bar=False)
        found: dict[int, TextFactors | None] = {}
        for places in self.batched(texts):
            batch = [texts[place] for place in places]
            found.update(zip(places, self._skipping(batch, quiet, units, errors), strict=True))
        return [found[place] for place in range(len(texts))]

    def _skipping(
        self, texts: Sequence[TokenizedText], options: Options, units: str, errors: str
    ) -> Sequence[TextFactors | None]:
        """Compute the factors of a batch, or of each text separately if the batch fails."""
        try:
            return self.batch(texts, options, units)
        except OF_A_TEXT as error:
            if errors == "raise" or len(texts) == 1:
                named = [text.name for text in texts if text.name in str(error)]
                skip_or_raise(error, errors, [*named, texts[0].name][0])
                return [None]
        return [each for text in texts for each in self._skipping([text], options, units, errors)]

    def batched(self, texts: Sequence[TokenizedText]) -> Iterator[list[int]]:
        """Yield positions of texts to compute together, and update a progress bar that counts texts."""
        with Progress(len(texts), "texts", show=self.options.show_progress_bar) as progress:
            for batch in batches(texts, self.reference, self.options, self.encoder.head.freezes):
                n_references = len(self.reference.members)
                for places in within_budget(self.encoder, batch, texts[batch[0]], self.options, n_references):
                    yield places
                    progress.update(len(places))
                    give_back_memory()

    def batch(self, texts: Sequence[TokenizedText], options: Options, units: str) -> list[TextFactors]:
        """Compute the factors of a batch, by reverse mode if tokens outnumber outputs, else by forward mode.

        Those of a static model are in closed form. See `batches`.
        """
        if self.has_closed_form:
            found = closed_form_factors(self.encoder, texts, self.reference, options, self._described)
            return [each.in_units(units) for each in found]
        groups = self._paths(texts, options)
        paths = [path for group in groups for path in group]
        results = [self._described(text, group) for text, group in zip(texts, groups, strict=True)]
        n_outputs = len(results[0].embedding)
        if not n_outputs:
            # A sparse encoder finds no term in these texts.
            return [replace(each.in_units(units), factor_error=0.0) for each in results]
        modes: list[Mode]
        if units == "tokens" and reverse_is_cheaper(n_outputs, len(paths[0].x), REVERSE_COST):
            outputs = torch.eye(n_outputs, len(paths[0].f_x), device=self.model.device)
            modes = [ReverseMode(outputs)] * len(texts)
        elif units == "tokens":
            modes = [ForwardMode()] * len(texts)
        else:
            modes = [ForwardMode(result.groups(units)) for result in results]
            results = [result.in_units(units) for result in results]
        n_each = len(self.reference.members)
        modes = [mode for mode in modes for _ in range(n_each)]
        found = _checked(integrated(paths, options, modes, n_references=n_each), texts)
        finished = [
            _finished(result, averaged(own), factors=numpy_of(averaged(own).factors)[:, :n_outputs])
            for result, own in zip(results, _in_groups(found, n_each), strict=True)
        ]
        _warn_unless_reached(finished, options)
        return finished

    def encoded(self, text: TokenizedText) -> TextFactors:
        """Return a text's embedding, reference term and settings, with zeros as factors."""
        (group,) = self._paths([text], self.options, check=False)
        return self._described(text, group)

    def pair(self, long: TokenizedText, short: TokenizedText, units: str) -> tuple[TextFactors, TextFactors]:
        """Compute the factors of both texts, those of the longer one by the cheaper direction."""
        if self.has_closed_form:
            of_long, of_short = (self.batch([text], self.options, units)[0] for text in (long, short))
            return of_long, of_short
        together = [*batches([long, short], self.reference, self.options, self.encoder.head.freezes)]
        if self.options.memory_budget is None and len(together) == 1:
            of_long, of_short = self.batch([long, short], self.options, units)
            return of_long, of_short
        (known,) = self.batch([short], self.options, units)
        n_directions = len(needed_directions(self._about(long, known), known))
        if n_directions and reverse_is_cheaper(n_directions, len(long.tokens), BACKWARD_COST):
            return self.pulled_back(long, lambda text: needed_directions(text, known)).in_units(units), known
        return self.batch([long], self.options, units)[0], known

    def pulled_back(self, text: TokenizedText, directions: Directions) -> TextFactors:
        """Compute (S, E) factors, projected on the span of directions (K, E), which are not all zero."""
        wanted: Directions = lambda own: spanning(in_numbers_of(own, directions))  # noqa: E731
        if not callable(directions) and not self.model.own_outputs:
            wanted = spanning(directions)
        (found,) = self.projected([text], [wanted], self.options)
        return found.expanded()

    def projected_all(
        self, texts: Sequence[TokenizedText], directions: Sequence[Directions], *, with_own: bool = False
    ) -> list[ProjectedFactors]:
        """Compute the factors of texts, each projected on its own directions (K, E), batch by batch.

        Args:
            texts: n texts.
            directions: n of them.
            with_own: add each text's own embedding, and project on an orthonormal basis of the span.
        """
        found: dict[int, ProjectedFactors] = {}
        for places in self.batched(texts):
            batch = [texts[place] for place in places]
            own = self.projected(batch, [directions[place] for place in places], with_own=with_own)
            found.update(zip(places, own, strict=True))
        return [found[place] for place in range(len(texts))]

    def projected(
        self,
        texts: Sequence[TokenizedText],
        directions: Sequence[Directions],
        options: Options | None = None,
        *,
        with_own: bool = False,
    ) -> list[ProjectedFactors]:
        """Compute the factors of a batch, each text projected on its own directions (K, E)."""
        options = replace(self.options, show_progress_bar=False) if options is None else options
        if self.has_closed_form:
            whole = self.batch(texts, options, "tokens")
            chosen = [chosen_directions(each, own, with_own) for each, own in zip(whole, directions, strict=True)]
            return [projected_on(each, own) for each, own in zip(whole, chosen, strict=True)]
        n_nodes = self._n_known(options, directions, with_own)
        groups = self._paths(texts, options, check=not (n_nodes and self._checked))
        results = [self._described(text, group) for text, group in zip(texts, groups, strict=True)]
        directions = [chosen_directions(each, given, with_own) for each, given in zip(results, directions, strict=True)]
        first = groups[0][0]
        if not len(first.f_x):
            return [_without_numbers(each) for each in results]
        n_dimensions = len(first.f_x[: self.model.truncate_dim])
        wide = [_widened(each, n_dimensions, len(first.f_x)) for each in directions]
        n_each = len(self.reference.members)
        on_device = [torch.as_tensor(each, dtype=first.x.dtype, device=first.x.device) for each in wide]
        modes = [ReverseMode(each) for each in on_device for _ in range(n_each)]
        n_directions = max(map(len, directions))
        found = _checked(self._integrated(groups, options, modes, n_nodes, n_directions), texts)
        finished = []
        every = zip(results, groups, _in_groups(found, n_each), directions, wide, strict=True)
        for result, group, parts, own, full in every:
            mean = averaged(parts)
            values = numpy_of(mean.factors)
            change = np.mean([numpy_of(path.f_x) - numpy_of(path.f_r) for path in group], axis=0)
            # Completeness in these directions, which includes the errors of nodes and rounding in this run.
            size = float(np.linalg.norm(change[: self.model.truncate_dim])) or 1.0
            seen = _within_span(values.sum(0) - full @ change, own) / size
            known = {"factors": values, "known_residual": max(self._residual_of_nodes(group, parts), seen)}
            finished.append(ProjectedFactors.of(_finished(result, mean, **known), own))
        _warn_unless_reached(finished, options)
        return finished

    def _integrated(
        self,
        groups: Sequence[Sequence[TextPath]],
        options: Options,
        modes: Sequence[ReverseMode],
        n_nodes: int,
        n_directions: int,
    ) -> list[Integrated]:
        """Integrate along all paths: with a given number of nodes where that suffices, otherwise with placed nodes."""
        n_each = len(groups[0])
        paths = [path for group in groups for path in group]
        found: list[Integrated | None] = [None] * len(paths)
        if n_nodes:
            ratio = min(map(way_of_mean, groups))
            found = along_few_directions(paths, options, modes, n_nodes, ratio)
        # All paths of a text together, since their mean has to be within the tolerance.
        left = [place for place in range(len(paths)) if None in found[place - place % n_each :][:n_each]]
        if left:
            n_first = self._n_first(options, n_directions)
            rest = [paths[place] for place in left]
            more = integrated(rest, options, [modes[place] for place in left], n_first, n_each)
            found = [*found]
            for place, each in zip(left, more, strict=True):
                found[place] = each
        return [each for each in found if each is not None]

    def _paths(self, texts: Sequence[TokenizedText], options: Options, check: bool = True) -> list[list[TextPath]]:
        """Return the paths of each text, one from each reference."""
        paths = paths_of(self.encoder, texts, self.reference, options, check=check)
        self._checked = self._checked or check
        return _in_groups(paths, len(self.reference.members))

    def _n_known(self, options: Options, directions: Sequence[Directions], with_own: bool) -> int:
        """Return the number of nodes to try without placing any; 0 where few directions are not known to suffice."""
        arrays = [each for each in directions if not callable(each)]
        if self.model.own_outputs or len(arrays) < len(directions):
            return 0
        return nodes_along(options, self.model.n_layers - self.layer, max(map(len, arrays)) + with_own)

    def _n_first(self, options: Options, n_directions: int) -> int:
        """Return the number of nodes to try before evaluating the path for placement."""
        # The paths of sparse encoders take fewer nodes than those that would be tried.
        most = 1 if self.model.own_outputs else FEW_DIRECTIONS
        few = n_directions <= most and (options.target or 0.0) >= FIRST_TOLERANCE
        return FIRST_NODES.get(self.model.n_layers - self.layer, 0) if few else 0

    def _residual_of_nodes(self, group: Sequence[TextPath], parts: Sequence[Integrated]) -> float:
        """Return the residual of the nodes in all directions of the embedding; 0 where these were not evaluated."""
        gaps, changes = [], []
        for path, found in zip(group, parts, strict=True):
            change = (numpy_of(path.f_x) - numpy_of(path.f_r))[: self.model.truncate_dim]
            changes.append(change)
            if found.slopes is None:
                return 0.0
            gaps.append((found.placement.rule.weights @ numpy_of(found.slopes))[: self.model.truncate_dim] - change)
        return float(np.linalg.norm(np.mean(gaps, axis=0)) / (np.linalg.norm(np.mean(changes, axis=0)) or 1.0))

    def _described(self, text: TokenizedText, group: Sequence[TextPath]) -> TextFactors:
        return initial_factors(self.model, self.options, self.reference, self.layer, self.fingerprint, text, group)

    def _about(self, text: TokenizedText, known: TextFactors) -> TextFactors:
        """Return a text without factors, to find its directions; for a dense model any text will do."""
        return known if known.outputs is None else self.encoded(text)


def _in_groups(items: Sequence[Item], size: int) -> list[list[Item]]:
    """Return consecutive items in lists of one size."""
    return [[*items[start : start + size]] for start in range(0, len(items), size)]


def in_numbers_of(text: TextFactors, directions: Directions) -> np.ndarray:
    """Return directions (K, E) in the numbers of a text, at least one of them."""
    if callable(directions):
        found = directions(text)
    elif text.outputs is None:
        return directions
    else:
        found = text.outputs.picked(directions)
    # Two texts may have no term in common. Any direction then does.
    return found if found.any() else np.eye(1, found.shape[1])


def chosen_directions(text: TextFactors, directions: Directions, with_own: bool) -> np.ndarray:
    """Return directions (K, E) of a text; with its own embedding, an orthonormal basis of their span."""
    found = in_numbers_of(text, directions)
    if not with_own:
        return found
    stacked = np.vstack([found, text.embedding])
    return spanning(stacked) if stacked.any() else stacked


def _without_numbers(text: TextFactors) -> ProjectedFactors:
    """Return the projected factors of a text in which a sparse encoder finds no term."""
    known = replace(text, factors=np.zeros((len(text.tokens), 1)), known_residual=0.0, factor_error=0.0)
    return ProjectedFactors.of(known, np.zeros((1, 0)))


def _checked(found: list[Integrated], texts: Sequence[TokenizedText]) -> list[Integrated]:
    n_each = len(found) // len(texts)
    for place, each in enumerate(found):
        text = texts[place // n_each]
        check_finite(each.factors, f"the attributions of {text.name}, {text.text!r:.60},")
    return found


def _widened(directions: np.ndarray, n_dimensions: int, n_outputs: int) -> np.ndarray:
    """Pad (K, E) directions of a truncated embedding to directions of the full one."""
    if directions.shape[1] != n_dimensions:
        raise ValueError(f"directions must have the embedding's {n_dimensions} dimensions, got {directions.shape[1]}")
    return np.pad(directions, ((0, 0), (0, n_outputs - n_dimensions)))


def _within_span(gaps: np.ndarray, directions: np.ndarray) -> float:
    """Return the norm of the shortest vector that has the products gaps (K,) with directions (K, E)."""
    inverse = torch.linalg.pinv(torch.from_numpy(directions), rtol=1e-6)
    return float((inverse @ torch.from_numpy(gaps)).norm())


def _finished(result: TextFactors, found: Integrated, **known: Any) -> TextFactors:
    """Add the results of the integration."""
    settings = replace(
        settings_of(result),
        n_steps=found.n_nodes,
        n_looks=found.n_passes,
        n_float64=found.n_float64,
    )
    return replace(result, settings=settings, factor_error=found.factor_error, **known)


def _warn_unless_reached(results: Sequence[TextFactors], options: Options) -> None:
    """Warn of residuals and factor errors above their tolerances."""
    advice = "A deeper layer, more precision (float32, float64) or more max_steps"
    if options.derivative_dtype is not None:
        advice = f"Leaving out derivative_dtype={options.derivative_dtype!r}, whose rounding more nodes cannot mend,"
    asked = {"tolerance": options.target, "factor_tolerance": options.factor_tolerance}
    for result in results:
        reached = {"tolerance": result.residual, "factor_tolerance": result.factor_error or 0.0}
        missed = [f"{name} of {most:g}" for name, most in asked.items() if most is not None and reached[name] > most]
        if missed:
            factors = "" if result.factor_error is None else f", that of the factors up to {result.factor_error:.1e}"
            warnings.warn(
                f"the {' and the '.join(missed)} {'is' if len(missed) == 1 else 'are'} out of reach for "
                f"{result.text!r:.60}: with up to {options.max_steps} nodes the residual is {result.residual:.1e}"
                f"{factors}, which {settings_of(result).n_steps} nodes reach. {advice} may help",
                stacklevel=caller_level(),
            )


def reverse_is_cheaper(n_directions: int, n_tokens: int, cost: float = BACKWARD_COST) -> bool:
    """Return whether one vector-Jacobian product per direction costs less than one Jacobian-vector product per token.

    >>> reverse_is_cheaper(12, 200), reverse_is_cheaper(12, 15)
    (True, False)
    """
    return cost * (n_directions + 1) < n_tokens + 1


def spanning(vectors: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis (K, E) of the span of vectors (N, E), which are not all zero."""
    # numpy's SVD would leave threads spinning that slow down the model's.
    if not vectors.shape[1]:
        return vectors[:1]
    _, sizes, basis = (part.numpy() for part in torch.linalg.svd(torch.from_numpy(vectors), full_matrices=False))
    return basis[sizes > 1e-12 * sizes[0]]
