"""Integrated Jacobians and variants: main effects spread over pairs, one gradient, randomised layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

import numpy as np

from ...attribution.attribution import Attribution
from ...factors.text_factors import TextFactors, settings_of
from ...models.comparing import ComparingModel
from ...text.units import TEXT
from ..control_models import randomised_layers
from .common import MethodOptions, Pairs, renamed
from .result import MethodAttribution

__all__ = ["gradient", "integrated", "integrated_with_main_effects", "randomised", "spread_main_effects"]


def integrated(model: ComparingModel, pairs: Pairs, options: MethodOptions) -> list[Attribution]:
    """Integrated Jacobians: the interactions of `xsbert.XSTransformer.explain_pairs`.

    With several references, factors that are cached for each of them are averaged.
    """
    reference = options.reference if options.reference is None or isinstance(options.reference, str) else None
    several = () if options.reference is None or reference is not None else tuple(options.reference)
    wanted = (options.layer, several or reference, options.tolerance, options.similarity, options.units)
    key = ("integrated", tuple(pairs), *wanted)
    if key not in options.cache:
        found = _averaged(pairs, options, several) if several else None
        if found is None:
            found = model.explain_pairs(
                pairs,
                similarity=options.similarity,
                units=options.units,
                tolerance=options.tolerance,
                **options.integration,
            )
        options.cache[key] = list(found)
    return list(options.cache[key])


def _averaged(pairs: Pairs, options: MethodOptions, references: Sequence[str]) -> list[Attribution] | None:
    """Return attributions by the means of cached factors, or None if some are not cached or hold for one pair only."""
    wanted = (options.tolerance, options.similarity, options.units)
    known = []
    for each in references:
        found = options.cache.get(("integrated", tuple(pairs), options.layer, each, *wanted))
        if found is None or any(result.pulled_back for result in found):
            return None
        known.append(found)
    token = " + ".join(sorted(str(found[0].settings.reference) for found in known))
    results = []
    for same in zip(*known, strict=True):
        a, b = (_mean([getattr(each, side) for each in same], token) for side in "ab")
        results.append(Attribution.of(a, b, options.similarity))
    return results


def _mean(parts: Sequence[TextFactors], token: str) -> TextFactors:
    """Return the mean of a text's factors over references."""
    factors = np.mean([part.factors for part in parts], axis=0)
    size = float(np.linalg.norm(factors)) or 1.0
    missed = np.mean([(part.factor_error or 0.0) * np.linalg.norm(part.factors) for part in parts])
    joined = "".join(settings_of(part).fingerprint for part in parts)
    how = replace(
        settings_of(parts[0]),
        reference=token,
        fingerprint=f"mean:{blake2b(joined.encode(), digest_size=16).hexdigest()}",
        n_steps=sum(settings_of(part).n_steps for part in parts),
        n_looks=sum(settings_of(part).n_looks for part in parts),
        n_float64=sum(settings_of(part).n_float64 for part in parts),
    )
    term = np.mean([part.reference_term for part in parts], axis=0)
    return replace(parts[0], factors=factors, reference_term=term, factor_error=float(missed / size), settings=how)


def integrated_with_main_effects(
    model: ComparingModel, pairs: Pairs, options: MethodOptions
) -> list[MethodAttribution]:
    """Integrated Jacobians, with the main effect of each unit spread evenly over its pairs."""
    name = "integrated + main effects"
    left_out = "the baseline and the special tokens' main effects have no cell"
    return [
        renamed(
            result,
            name,
            left_out,
            matrix=spread_main_effects(result),
            main_effects_a=_of_special(result.a.roles, result.main_effects_a),
            main_effects_b=_of_special(result.b.roles, result.main_effects_b),
        )
        for result in integrated(model, pairs, options)
    ]


def gradient(model: ComparingModel, pairs: Pairs, options: MethodOptions) -> list[MethodAttribution]:
    """One gradient times input minus reference: the Jacobian at the text replaces the integral."""
    left_out = "not complete: one node does not integrate; see the residuals"
    results = model.explain_pairs(
        pairs,
        similarity=options.similarity,
        units=options.units,
        n_steps=1,
        rule="riemann-right",
        errors="raise",
        **options.integration,
    )
    return [renamed(result, "gradient", left_out) for result in results]


def randomised(model: ComparingModel, pairs: Pairs, options: MethodOptions) -> list[MethodAttribution]:
    """Control: integrated Jacobians of a copy of the model with shuffled weights in its layers.

    If a measure rates it as faithful as the real explanation, the measure depends only on the words (Adebayo et al.,
    2018).
    """
    copy = randomised_layers(model, seed=options.seed)
    left_out = "a control: it explains a model with random layers"
    quick = replace(options, tolerance=max(options.tolerance, 0.05), cache={})
    return [renamed(result, "randomised", left_out) for result in integrated(copy, pairs, quick)]


def spread_main_effects(result: Attribution) -> np.ndarray:
    """Returns (S, T) interactions with the main effect of each unit of text spread evenly over its partners."""
    rows, columns = (np.array([role == TEXT for role in side.roles]) for side in (result.a, result.b))
    cells = np.outer(rows, columns)
    spread_a = np.where(rows, result.main_effects_a, 0)[:, None] / max(columns.sum(), 1)
    spread_b = np.where(columns, result.main_effects_b, 0)[None, :] / max(rows.sum(), 1)
    return result.matrix + np.where(cells, spread_a + spread_b, 0)


def _of_special(roles: tuple[str, ...], effects: np.ndarray) -> np.ndarray:
    return np.where([role == TEXT for role in roles], 0, effects)
