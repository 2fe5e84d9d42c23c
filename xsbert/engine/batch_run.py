"""One call of an `Explainer`, which computes the factors of batches of tokenized texts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._utils.memory import give_back_memory
from .._utils.progress import Progress
from .._utils.stacklevel import caller_level
from ..factors.text_factors import (
    ProjectedFactors,
    Settings,
    TextFactors,
    needed_directions,
    projected_on,
    settings_of,
)
from .batching import batches, within_budget
from .failures import OF_A_TEXT, skip_or_raise
from .fingerprint import model_fingerprint
from .integration import Integrated, integrated
from .kept_prompt import keeps_prompt_of
from .modes import ForwardMode, Mode, ReverseMode
from .options import Options
from .paths import paths_of
from .preconditions import check_run
from .protocol import Explainable
from .reference import Reference, positions_of_reference
from .static_model import closed_form_factors, has_closed_form, split
from .text_path import TextPath, check_finite
from .tokenization import TokenizedText

__all__ = [
    "BACKWARD_COST",
    "Directions",
    "Run",
    "in_numbers_of",
    "initial_factors",
    "numpy_of",
    "precision_of_derivatives",
    "reverse_is_cheaper",
    "spanning",
]

Directions = np.ndarray | Callable[[TextFactors], np.ndarray]
"""(K, E) directions; or what returns them for a text without factors, if each text has numbers of its own."""


def initial_factors(
    model: Explainable,
    options: Options,
    reference: Reference,
    layer: int,
    fingerprint: str,
    text: TokenizedText,
    path: TextPath,
) -> TextFactors:
    """Return a `TextFactors` with embeddings and settings, and zeros as factors."""
    f_x, f_r = numpy_of(path.f_x), numpy_of(path.f_r)
    kept = slice(model.truncate_dim)
    embedding = f_x - f_r if model.shifted else f_x
    unshifted = f_x / (np.linalg.norm(f_x) or 1.0) if model.normalised else f_x
    return TextFactors(
        text=text.text,
        prompt=text.prompt,
        encoded_by=text.encoded_by,
        tokens=text.tokens,
        roles=text.roles,
        word_ids=text.word_ids,
        spans=text.spans,
        factors=np.zeros((len(text.tokens), len(f_x[kept]))),
        embedding=embedding[kept],
        reference_term=np.zeros_like(f_r[kept]) if model.shifted else f_r[kept],
        normalisation=float(np.linalg.norm(embedding)) if model.normalised else 1.0,
        n_cut=text.n_cut,
        embedding_unshifted=unshifted[kept] if model.shift_added else None,
        outputs=None if path.outputs is None else path.outputs.of_text(text.tokens, text.encoded_by),
        settings=Settings(
            model=model.label,
            layer=layer,
            n_layers=model.n_layers,
            rule=options.rule_name,
            n_steps=0,
            reference=reference.token,
            shift=model.shifted,
            dtype=_name(model.dtype),
            tolerance=options.target,
            factor_tolerance=options.factor_tolerance,
            fingerprint=fingerprint,
            derivative_dtype=precision_of_derivatives(options, model.dtype, model.device),
            reference_positions=positions_of_reference(model[0], reference),
            reference_prompt="keep" if keeps_prompt_of(text, options) else "replace",
        ),
    )


def precision_of_derivatives(options: Options, dtype: torch.dtype | None, device: torch.device) -> str:
    """Return the precision of products of derivatives in linear layers, ``"tf32"`` if torch uses it for float32."""
    if options.derivatives is not None:
        return _name(options.derivatives)
    if dtype == torch.float32 and device.type == "cuda" and _torch_takes_tf32():
        return "tf32"
    return _name(dtype)


def numpy_of(tensor: Tensor) -> np.ndarray:
    """Convert a tensor to a float64 array."""
    return tensor.detach().cpu().double().numpy()


def _name(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.")


def _torch_takes_tf32() -> bool:
    """Return whether this process allows CUDA to multiply float32 matrices in TF32."""
    matmul = torch.backends.cuda.matmul
    # From torch 2.9 on, the older name must not be read if the newer one was set.
    return matmul.fp32_precision == "tf32" if hasattr(matmul, "fp32_precision") else bool(matmul.allow_tf32)


# Cost of a vector-Jacobian product in Jacobian-vector products: 0.8 to 1.3 times the time (benchmarks/waiting.py,
# 20 directions), and more memory. Factors by reverse mode that are valid for only one pair must save more.
REVERSE_COST, BACKWARD_COST = 1.2, 1.5
# Number of `sinh_gauss_legendre` nodes to try before evaluating the path for placement, by the layer's distance from
# the last hidden state, and the smallest tolerance for which they are tried; docs/background/placement.md has the
# figures for four models. With many directions, an unneeded node costs more than the evaluations that it saves.
FIRST_NODES, FIRST_TOLERANCE, FEW_DIRECTIONS = {1: 6, 2: 8}, 0.005, 24


class Run:
    """The state of one call: a copy of the model, split at the layer, and a fingerprint of its weights.

    Args:
        model: model to explain.
        options: options of the explanation.
        reference: reference of the texts.
        layer: 0 … L.

    Raises:
        RuntimeError: an open context of torch affects derivatives.
        ValueError: the model is quantised.
    """

    def __init__(self, model: Explainable, options: Options, reference: Reference, layer: int) -> None:
        check_run(model)
        self.model, self.options, self.reference, self.layer = model, options, reference, layer
        self.fingerprint = model_fingerprint(model, reference)
        self.encoder, self.has_closed_form = split(model, layer), has_closed_form(model)

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
                for places in within_budget(self.encoder, batch, texts[batch[0]], self.options):
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
        paths = paths_of(self.encoder, texts, self.reference, options)
        results = [self._described(text, path) for text, path in zip(texts, paths, strict=True)]
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
        found = _checked(integrated(paths, options, modes), texts)
        finished = [
            _finished(result, each, factors=numpy_of(each.factors)[:, :n_outputs])
            for result, each in zip(results, found, strict=True)
        ]
        _warn_unless_reached(finished, options)
        return finished

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
        (found,) = self.projected([text], [lambda own: spanning(in_numbers_of(own, directions))], self.options)
        return found.expanded()

    def projected(
        self,
        texts: Sequence[TokenizedText],
        directions: Sequence[Directions],
        options: Options | None = None,
    ) -> list[ProjectedFactors]:
        """Compute the factors of a batch, each text projected on its own directions (K, E)."""
        options = replace(self.options, show_progress_bar=False) if options is None else options
        if self.has_closed_form:
            whole = self.batch(texts, options, "tokens")
            return [projected_on(each, in_numbers_of(each, own)) for each, own in zip(whole, directions, strict=True)]
        paths = paths_of(self.encoder, texts, self.reference, options)
        described = [self._described(text, path) for text, path in zip(texts, paths, strict=True)]
        directions = [in_numbers_of(each, given) for each, given in zip(described, directions, strict=True)]
        if not len(paths[0].f_x):
            return [_without_numbers(each) for each in described]
        x = paths[0].x
        n_dimensions = len(paths[0].f_x[: self.model.truncate_dim])
        wide = [_widened(each, n_dimensions, len(paths[0].f_x)) for each in directions]
        on_device = [torch.as_tensor(each, dtype=x.dtype, device=x.device) for each in wide]
        n_first = self._n_first(options, max(map(len, directions)))
        found = _checked(integrated(paths, options, [ReverseMode(each) for each in on_device], n_first), texts)
        results = []
        for text, path, each, own, full in zip(described, paths, found, directions, wide, strict=True):
            values, change = numpy_of(each.factors), numpy_of(path.f_x) - numpy_of(path.f_r)
            # Completeness in these directions, which includes the errors of nodes and rounding in this run.
            size = float(np.linalg.norm(change[: self.model.truncate_dim])) or 1.0
            seen = _within_span(values.sum(0) - full @ change, own) / size
            known = {"factors": values, "known_residual": max(self._residual_of_nodes(path, each), seen)}
            results.append(ProjectedFactors.of(_finished(text, each, **known), own))
        _warn_unless_reached(results, options)
        return results

    def _n_first(self, options: Options, n_directions: int) -> int:
        """Return the number of nodes to try before evaluating the path for placement."""
        # The paths of sparse encoders take fewer nodes than those that would be tried.
        most = 1 if self.model.own_outputs else FEW_DIRECTIONS
        few = n_directions <= most and (options.target or 0.0) >= FIRST_TOLERANCE
        return FIRST_NODES.get(self.model.n_layers - self.layer, 0) if few else 0

    def _residual_of_nodes(self, path: TextPath, found: Integrated) -> float:
        """Return the residual of the nodes in all directions of the embedding."""
        placement = found.placement
        if path.precise is None and placement.residual is not None and self.model.truncate_dim is None:
            return placement.residual
        assert found.slopes is not None
        change = (numpy_of(path.f_x) - numpy_of(path.f_r))[: self.model.truncate_dim]
        total = (placement.rule.weights @ numpy_of(found.slopes))[: self.model.truncate_dim]
        return float(np.linalg.norm(total - change) / (np.linalg.norm(change) or 1.0))

    def _about(self, text: TokenizedText, known: TextFactors) -> TextFactors:
        """Return a text without factors, to find its directions; for a dense model any text will do."""
        if known.outputs is None:
            return known
        (path,) = paths_of(self.encoder, [text], self.reference, self.options)
        return self._described(text, path)

    def _described(self, text: TokenizedText, path: TextPath) -> TextFactors:
        return initial_factors(self.model, self.options, self.reference, self.layer, self.fingerprint, text, path)


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


def _without_numbers(text: TextFactors) -> ProjectedFactors:
    """Return the projected factors of a text in which a sparse encoder finds no term."""
    known = replace(text, factors=np.zeros((len(text.tokens), 1)), known_residual=0.0, factor_error=0.0)
    return ProjectedFactors.of(known, np.zeros((1, 0)))


def _checked(found: list[Integrated], texts: Sequence[TokenizedText]) -> list[Integrated]:
    for text, each in zip(texts, found, strict=True):
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
    placement = found.placement
    settings = replace(
        settings_of(result),
        n_steps=len(placement.rule.nodes),
        n_looks=placement.n_passes,
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
