"""`Explainer`: texts in, factors out."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..caller import caller_level
from ..factors import ProjectedFactors, TextFactors
from ..integrated_jacobian import (
    PROGRESS_DELAY,
    bytes_per_pass,
    default_chunk_size,
    derivatives_along_paths,
    feature_pairs,
    integrated_jacobian,
)
from .context import check_context
from .described import described, numpy_of
from .encoder import Encoder
from .explainable import Explainable
from .fingerprint import model_fingerprint
from .integration import Integrated, ProjectedBy, SummedOver, Way, integrated, limits, placements
from .options import Options
from .paths import TextPath, batches, check_finite, chunk_for, paths_of, within_budget
from .reference import chosen_reference
from .texts import TokenizedText, resolved_prompt, tokenize

__all__ = ["UNITS", "Explainer"]

UNITS = ("tokens", "words", "sentences")
# What a vector-Jacobian product costs, counted in Jacobian-vector products: as much time (0.87 to 1.01 measured, for
# texts of 12 to 250 tokens), and more memory. Where factors that are pulled back serve one pair only, they must save
# more.
REVERSE_COST, BACKWARD_COST = 1.1, 1.5

Text = str | TokenizedText


@dataclass(frozen=True)
class _Run:
    """What is made anew for each call: a copy of the model cut open at the layer, and a fingerprint of its weights."""

    encoder: Encoder
    fingerprint: str


class Explainer:
    """Computes the factors of texts for one model, with options that are checked once.

    It can be used for any number of texts, and by several threads. Weights may change meanwhile: each call reads them
    anew.

    Args:
        model: such as `xsbert.XSTransformer`. It is left untouched.
        options: how to explain; None takes the defaults.

    Raises:
        ValueError: the model has no such layer or reference.
    """

    def __init__(self, model: Explainable, options: Options | None = None) -> None:
        self.model = model
        self.options = Options() if options is None else options
        self.reference = chosen_reference(
            model[0], model.reference, model.shifted, self.options.reference, self.options.reference_positions
        )
        self.layer = _resolved_layer(self.options.layer, model.n_layers)

    def __repr__(self) -> str:
        changed = [f"{name}={value!r}" for name, value in vars(self.options).items() if value != getattr(Options, name)]
        return f"<{type(self).__name__}: {', '.join([self.model.label, *changed])}>"

    def tokenized(
        self, text: Text, prompt: str | None = None, prompt_name: str | None = None, *, name: str = "text"
    ) -> TokenizedText:
        """A text as the model sees it. What is tokenized already is returned as it is.

        Args:
            text: not empty.
            prompt, prompt_name: put before it, as in `encode`.
            name: what messages call it.
        """
        if isinstance(text, TokenizedText):
            return text
        return tokenize(self.model, text, resolved_prompt(self.model, prompt, prompt_name), name)

    def tokenized_all(
        self,
        texts: Iterable[Text],
        prompt: str | None = None,
        prompt_name: str | None = None,
        *,
        name: str = "texts[{}]",
    ) -> list[TokenizedText]:
        """Texts as the model sees them, each distinct one tokenized once. Arguments as for `tokenized`.

        Args:
            name: what messages call a text, with ``{}`` for its place.
        """
        if isinstance(texts, str):
            raise TypeError(f"{name.partition('[')[0]} must hold strings, got one string: {texts!r:.60}")
        before = resolved_prompt(self.model, prompt, prompt_name)
        known: dict[str, TokenizedText] = {}
        found = []
        for place, text in enumerate(texts):
            if isinstance(text, TokenizedText):
                found.append(text)
                continue
            if not isinstance(text, str) or text not in known:
                known[text] = tokenize(self.model, text, before, name.format(place))
            found.append(known[text])
        return found

    def factors(
        self,
        texts: Iterable[Text],
        *,
        units: str = "tokens",
        prompt: str | None = None,
        prompt_name: str | None = None,
    ) -> list[TextFactors]:
        """The factors of texts, each distinct text computed once.

        Args:
            texts: one or more texts.
            units: ``"tokens"``, ``"words"`` or ``"sentences"``: the coarser ones give the sums of their tokens' factors
                for as many passes as there are units.
            prompt, prompt_name: put before each text, as in `encode`.

        Returns:
            one factor for each text, in order.

        Raises, warns:
            as `XSTransformer.token_factors`.
        """
        if units not in UNITS:
            raise ValueError(f"units must be one of {', '.join(map(repr, UNITS))}, got {units!r}")
        tokenized = self.tokenized_all(texts, prompt, prompt_name)
        places: dict[tuple[str, str], int] = {}
        for place, text in enumerate(tokenized):
            places.setdefault((text.prompt, text.text), place)
        distinct = [tokenized[place] for place in places.values()]
        found = dict(zip(places, self._in_batches(distinct, units), strict=True))
        return [found[text.prompt, text.text] for text in tokenized]

    def pair(self, text_a: Text, text_b: Text) -> tuple[TextFactors, TextFactors]:
        """The factors of two texts, by the cheaper direction.

        Where one text is much longer than the other, its factors are pulled back from those of the shorter one, and
        are good for this pair alone.
        """
        a, b = self.tokenized(text_a, name="text_a"), self.tokenized(text_b, name="text_b")
        run = self._run()
        if len(a.tokens) < len(b.tokens):
            factors_b, factors_a = self._pair(run, b, a)
            return factors_a, factors_b
        return self._pair(run, a, b)

    def pulled_back(self, text: Text, directions: np.ndarray) -> TextFactors:
        """The factors of a text, projected on the span of directions of the embedding, by reverse mode.

        Args:
            text: S tokens.
            directions: (K, E), such as the factors and the reference term of another text. Not all zero.

        Returns:
            (S, E) factors, whose products with these directions, and whatever they span, are those of the full ones.
        """
        tokenized, checked = self.tokenized(text), _checked_directions(directions)
        return self._pulled_back(self._run(), tokenized, checked)

    def projected(
        self,
        texts: Iterable[Text],
        directions: Sequence[np.ndarray],
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
    ) -> list[ProjectedFactors]:
        """For each of n texts its factors along a few directions of its own, by reverse mode, texts of one length
        together.

        Costs K backward passes per node, whatever the number of tokens: for a ranking, one per document.

        Args:
            texts: n texts.
            directions: n times (K, E), whose K may differ. Texts of one length cost as much as if all of them had as
                many directions as the one with most.
            prompt, prompt_name: put before each text, as in `encode`.

        Returns:
            n projected factors (S, K), in order, with their residuals and errors. The residual is relative to
            the length of f(x) − f(r), as that of full factors: the larger of what the nodes leave in all directions
            and what is missing in these.

        Raises:
            ValueError: directions do not fit the texts or the embedding, or hold numbers that are not finite.
            Further as `factors`.
        """
        tokenized = self.tokenized_all(texts, prompt, prompt_name)
        if len(directions) != len(tokenized):
            raise ValueError(
                f"directions must hold one array for each text, got {len(directions)} for {len(tokenized)} texts"
            )
        checked = [_checked_directions(each) for each in directions]
        run = self._run()
        found: dict[int, ProjectedFactors] = {}
        for places in self._batched(run, tokenized):
            batch = [tokenized[place] for place in places]
            results = self._projected(run, batch, [checked[place] for place in places])
            found.update(zip(places, results, strict=True))
        return [found[place] for place in range(len(tokenized))]

    def feature_pairs(self, text_a: Text, text_b: Text) -> np.ndarray:
        """Attributions to pairs of features, (S, H, T, H), before the division by c, by reverse mode."""
        texts = self.tokenized(text_a, name="text_a"), self.tokenized(text_b, name="text_b")
        check_context(self.model.device.type)
        encoder = Encoder(self.model, self.layer)
        dtype = torch.float64 if self.model.dtype == torch.float64 else torch.float32
        sides: list[Tensor] = []
        for text in texts:
            (path,) = paths_of(encoder, [text], self.reference, self.options)
            (placement,) = placements([path], self.options)
            if placement.in_float64 and path.in_float64 is not None:
                path = path.in_float64()
            bounds = limits(path, len(path.f_x), self.options, reverse=True)
            jacobian = integrated_jacobian(path.f, path.x, path.r, placement.rule, **bounds)
            sides += [jacobian[: self.model.truncate_dim].to(dtype), (path.x - path.r).to(dtype)]
        return feature_pairs(*sides).cpu().numpy()

    def path(self, text: Text) -> TextPath:
        """The straight line from the reference to a text at the layer, and the rest of the model f along it.

        For those who want to integrate by themselves, with the functions of `xsbert.integrated_jacobian`.
        """
        tokenized = self.tokenized(text)
        check_context(self.model.device.type)
        encoder = Encoder(self.model, self.layer, self.options.derivatives)
        (path,) = paths_of(encoder, [tokenized], self.reference, self.options)
        return path

    def predicted_memory(self, text: Text) -> int:
        """How many bytes the factors of a text would take at once besides the model, by forward mode."""
        path = self.path(text)
        passes = self.options.chunk_size or default_chunk_size(path.x)
        return passes * bytes_per_pass(path.f, path.x, path.r, len(path.x))

    def _run(self) -> _Run:
        check_context(self.model.device.type)
        fingerprint = model_fingerprint(self.model, self.reference)
        return _Run(Encoder(self.model, self.layer, self.options.derivatives), fingerprint)

    def _in_batches(self, texts: Sequence[TokenizedText], units: str) -> list[TextFactors]:
        run = self._run()
        quiet = replace(self.options, show_progress_bar=False)
        found: dict[int, TextFactors] = {}
        for places in self._batched(run, texts):
            results = self._batch(run, [texts[place] for place in places], quiet, units)
            found.update(zip(places, results, strict=True))
        return [found[place] for place in range(len(texts))]

    def _batched(self, run: _Run, texts: Sequence[TokenizedText]) -> Iterator[list[int]]:
        """Places of texts that are computed together, with a bar that counts texts."""
        show = self.options.show_progress_bar
        delay = 0 if show else PROGRESS_DELAY
        with tqdm(total=len(texts), desc="texts", leave=False, disable=show is False, delay=delay) as bar:
            for batch in batches(texts, self.reference):
                for places in within_budget(run.encoder, batch, texts[batch[0]], self.options):
                    yield places
                    bar.update(len(places))

    def _batch(self, run: _Run, texts: Sequence[TokenizedText], options: Options, units: str) -> list[TextFactors]:
        """The factors of texts that are alike (see `batches`), by forward mode; or, with more tokens than outputs, by
        reverse mode."""
        paths = paths_of(run.encoder, texts, self.reference, options)
        results = [self._described(run, text, path) for text, path in zip(texts, paths, strict=True)]
        n_outputs = len(results[0].embedding)
        way: Way
        if units == "tokens" and _reverse_is_cheaper(n_outputs, len(paths[0].x), REVERSE_COST):
            outputs = torch.eye(n_outputs, len(paths[0].f_x), device=self.model.device)
            way = ProjectedBy([outputs] * len(texts), options)
        elif units == "tokens":
            way = SummedOver(None, options)
        else:
            way = SummedOver([result.groups(units) for result in results], options)
            results = [result.words() if units == "words" else result.over(units) for result in results]
        found = _checked(integrated(paths, options, way), texts)
        finished = [
            _finished(result, each, factors=numpy_of(each.factors)[:, :n_outputs])
            for result, each in zip(results, found, strict=True)
        ]
        _warn_unless_reached(finished, options)
        return finished

    def _pair(self, run: _Run, long: TokenizedText, short: TokenizedText) -> tuple[TextFactors, TextFactors]:
        """Factors of both texts, those of the longer one by the cheaper direction."""
        (known,) = self._batch(run, [short], self.options, "tokens")
        needed = np.vstack([known.factors, known.reference_term[None]])
        directions = needed[needed.any(1)]
        if len(directions) and _reverse_is_cheaper(len(directions), len(long.tokens), BACKWARD_COST):
            return self._pulled_back(run, long, directions), known
        return self._batch(run, [long], self.options, "tokens")[0], known

    def _pulled_back(self, run: _Run, text: TokenizedText, directions: np.ndarray) -> TextFactors:
        # Not numpy's: its threads would go on spinning, and slow the model's down.
        _, sizes, basis = (part.numpy() for part in torch.linalg.svd(torch.from_numpy(directions), full_matrices=False))
        basis = basis[sizes > 1e-12 * sizes[0]]
        (found,) = self._projected(run, [text], [basis], self.options)
        return TextFactors(**{**_fields(found), "factors": found.factors @ basis})

    def _projected(
        self,
        run: _Run,
        texts: Sequence[TokenizedText],
        directions: Sequence[np.ndarray],
        options: Options | None = None,
    ) -> list[ProjectedFactors]:
        """Texts that are alike, each projected on directions (K, E) of its own."""
        options = replace(self.options, show_progress_bar=False) if options is None else options
        paths = paths_of(run.encoder, texts, self.reference, options)
        x = paths[0].x
        n_dimensions = len(paths[0].f_x[: self.model.truncate_dim])
        wide = [_widened(each, n_dimensions, len(paths[0].f_x)) for each in directions]
        on_device = [torch.as_tensor(each, dtype=x.dtype, device=x.device) for each in wide]
        found = _checked(integrated(paths, options, ProjectedBy(on_device, options)), texts)
        of_nodes = self._residuals_of_nodes(paths, found, options)
        results = []
        for text, path, each, own, full, residual in zip(texts, paths, found, directions, wide, of_nodes, strict=True):
            values, change = numpy_of(each.factors), numpy_of(path.f_x) - numpy_of(path.f_r)
            # Completeness in the directions that were pulled back: nodes and rounding of this very run.
            size = float(np.linalg.norm(change[: self.model.truncate_dim])) or 1.0
            seen = _within_span(values.sum(0) - full @ change, own) / size
            plain = _finished(self._described(run, text, path), each, factors=values)
            known = {**_fields(plain), "known_residual": max(residual, seen)}
            results.append(ProjectedFactors(**known, directions=own))
        _warn_unless_reached(results, options)
        return results

    def _residuals_of_nodes(
        self, paths: Sequence[TextPath], found: Sequence[Integrated], options: Options
    ) -> list[float]:
        """The residuals that the nodes leave in all directions of the embedding, measured where they are not known."""
        placed = [each.placement for each in found]
        if self.model.truncate_dim is None and all(placement.residual is not None for placement in placed):
            return [float(placement.residual or 0.0) for placement in placed]
        chunk_size = chunk_for(paths[0], 1, options)
        ends = [path.x for path in paths], [path.r for path in paths]
        nodes = [placement.rule.nodes for placement in placed]
        derivatives = derivatives_along_paths(paths[0].f, *ends, nodes, chunk_size=chunk_size)
        residuals = []
        for path, placement, slopes in zip(paths, placed, derivatives, strict=True):
            change = (numpy_of(path.f_x) - numpy_of(path.f_r))[: self.model.truncate_dim]
            total = (placement.rule.weights @ numpy_of(slopes))[: self.model.truncate_dim]
            residuals.append(float(np.linalg.norm(total - change) / (np.linalg.norm(change) or 1.0)))
        return residuals

    def _described(self, run: _Run, text: TokenizedText, path: TextPath) -> TextFactors:
        return described(self.model, self.options, self.reference, self.layer, run.fingerprint, text, path)


def _resolved_layer(layer: int, n_layers: int) -> int:
    if not -n_layers <= layer <= n_layers:
        raise ValueError(f"layer must be between {-n_layers} and {n_layers}, the last hidden state, got {layer}")
    return int(layer) if layer >= 0 else n_layers + int(layer)


def _checked_directions(directions: np.ndarray) -> np.ndarray:
    found = np.asarray(directions, dtype=np.float64)
    if found.ndim != 2 or not len(found):
        raise ValueError(f"directions must have the shape (K, E) with K of at least 1, got {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError("directions hold numbers that are not finite")
    if not found.any():
        raise ValueError("directions must not all be zero")
    return found


def _checked(found: list[Integrated], texts: Sequence[TokenizedText]) -> list[Integrated]:
    for text, each in zip(texts, found, strict=True):
        check_finite(each.factors, f"the attributions of {text.text!r:.60}")
    return found


def _widened(directions: np.ndarray, n_dimensions: int, n_outputs: int) -> np.ndarray:
    """(K, E) directions of an embedding, which may be truncated, as directions of the whole one."""
    if directions.shape[1] != n_dimensions:
        raise ValueError(f"directions must have the embedding's {n_dimensions} dimensions, got {directions.shape[1]}")
    return np.pad(directions, ((0, 0), (0, n_outputs - n_dimensions)))


def _within_span(gaps: np.ndarray, directions: np.ndarray) -> float:
    """The length of the shortest vector whose products with directions (K, E) are gaps (K,)."""
    inverse = torch.linalg.pinv(torch.from_numpy(directions), rtol=1e-6)
    return float((inverse @ torch.from_numpy(gaps)).norm())


def _finished(result: TextFactors, found: Integrated, **known: Any) -> TextFactors:
    """What is known after the integration."""
    placement = found.placement
    settings = replace(
        result.settings,
        n_steps=len(placement.rule.nodes),
        n_looks=placement.n_passes,
        n_float64=found.n_float64,
    )
    return replace(result, settings=settings, factor_error=found.factor_error, **known)


def _fields(factors: TextFactors) -> dict[str, Any]:
    return {each.name: getattr(factors, each.name) for each in fields(TextFactors)}


def _warn_unless_reached(results: Sequence[TextFactors], options: Options) -> None:
    """Warn of residuals above the tolerance."""
    tolerance = options.target
    for result in results:
        if tolerance is not None and result.residual > tolerance:
            factors = "" if result.factor_error is None else f", that of the factors up to {result.factor_error:.1e}"
            warnings.warn(
                f"the tolerance of {tolerance:g} is out of reach for {result.text!r:.60}: with up to "
                f"{options.max_steps} nodes the residual is {result.residual:.1e}{factors}, which "
                f"{result.settings.n_steps} nodes reach. A deeper layer, more precision (float32, float64) or more "
                "max_steps may help",
                stacklevel=caller_level(),
            )


def _reverse_is_cheaper(n_directions: int, n_tokens: int, cost: float) -> bool:
    """Whether that many vector-Jacobian products, at their cost, are fewer than one Jacobian-vector product a token."""
    return cost * (n_directions + 1) < n_tokens + 1
