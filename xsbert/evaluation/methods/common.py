"""Options of the methods, and conversion of their numbers to results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..._utils.validation import checked_integer, plain_number
from ...attribution.attribution import Attribution
from ...attribution.pair_result import check_pair
from ...attribution.scale import length_of
from ...factors.text_factors import TextFactors, joined, settings_of
from ...models.comparing import ComparingModel
from ..perturbation import Perturber, text_layout
from .result import MethodAttribution

__all__ = ["MethodOptions", "Pairs", "no_hidden_states", "of_factors", "of_values", "renamed", "sides"]

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class MethodOptions:
    """Options of methods. Each method uses those that apply to it.

    Args:
        layer: for methods that attribute to hidden states, as for `xsbert.XSTransformer.explain`.
        reference: token of the reference, or several; None uses the model's.
        units: ``"tokens"``, ``"words"`` or ``"sentences"``.
        similarity: ``"cosine"`` or ``"dot"``.
        operator: for methods that remove units, one of `xsbert.evaluation.perturbation.OPERATORS`.
        tolerance: for methods that integrate.
        budget: for methods that evaluate coalitions, their number for either text of a pair. If a text has no more
            coalitions (by default, up to ten units), all are evaluated; otherwise this number is sampled.
        seed: for methods that use random numbers.
        perturber: caches the embeddings of edited texts, for use by several methods.
        cache: intermediate results shared by several methods; one cache for each model.
        show_progress_bar: True or False; None shows bars after two seconds.
    """

    layer: int = -2
    reference: str | Sequence[str] | None = None
    units: str = "words"
    similarity: str = "cosine"
    operator: str = "remove"
    tolerance: float = 0.01
    budget: int = 1024
    seed: int = 0
    perturber: Perturber | None = field(default=None, repr=False)
    cache: dict[Any, Any] = field(default_factory=dict, repr=False)
    show_progress_bar: bool | None = None

    def __post_init__(self) -> None:
        # A text of one unit has two coalitions.
        checked_integer(self.budget, "budget", least=2, wrong_type=ValueError)
        checked_integer(self.layer, "layer")
        checked_integer(self.seed, "seed")
        for each in ("layer", "budget", "seed", "tolerance"):
            object.__setattr__(self, each, plain_number(getattr(self, each)))

    def perturber_for(self, model: ComparingModel) -> Perturber:
        """Returns the given perturber, or a new one."""
        if self.perturber is not None:
            return self.perturber
        return Perturber(model, self.units, self.similarity, show_progress_bar=self.show_progress_bar)

    def layouts(self, model: ComparingModel, texts: Sequence[str]) -> dict[str, TextFactors]:
        """Returns tokens, character ranges and embeddings of distinct texts, without factors."""
        key = ("layouts", tuple(texts))
        if key not in self.cache:
            found = text_layout(model, texts, self.show_progress_bar)
            self.cache[key] = dict(zip(texts, found, strict=True))
        return self.cache[key]

    @property
    def integration(self) -> dict[str, Any]:
        """Returns the options for the model's own methods."""
        return {"layer": self.layer, "reference": self.reference, "show_progress_bar": self.show_progress_bar}


def no_hidden_states(model: ComparingModel) -> str | None:
    """Returns why a method that needs hidden states cannot explain a model, or None."""
    return None if model.n_layers else "It needs the hidden states of encoder layers, which a static model has not"


def sides(pairs: Pairs) -> list[str]:
    """Returns the distinct texts of pairs, in order."""
    return list(dict.fromkeys(text for pair in pairs for text in pair))


def of_values(
    a: TextFactors,
    b: TextFactors,
    options: MethodOptions,
    name: str,
    values: np.ndarray,
    left_out: str,
    **fields: Any,
) -> MethodAttribution:
    """Returns a result with given numbers, for the units of ``a`` and ``b``.

    Args:
        a, b: layouts of the texts.
        values: (S, T) numbers.
        left_out: description of the part of the score that the numbers omit.
        **fields: ``main_effects_a``, ``main_effects_b`` and ``baseline``, zero by default; ``layer`` of the settings.
    """
    layer = fields.pop("layer", 0)
    settings = replace(settings_of(a), rule=name, n_steps=0, n_looks=0, layer=layer, tolerance=None, reference="none")
    zeros = {"main_effects_a": np.zeros(len(a.tokens)), "main_effects_b": np.zeros(len(b.tokens))}
    check_pair(a, b, options.similarity)
    return MethodAttribution(
        a,
        b,
        options.similarity,
        settings,
        method=name,
        left_out=left_out,
        matrix=np.asarray(values, dtype=np.float64),
        **{**zeros, **fields},
    )


def of_factors(
    model: ComparingModel,
    pairs: Pairs,
    options: MethodOptions,
    name: str,
    factors: dict[str, np.ndarray],
    left_out: str,
    layer: int = 0,
) -> list[MethodAttribution]:
    """Returns results with cells V_a·V_b / c, where c is the denominator of the score.

    Args:
        factors: (S, E) factors V of the tokens of each distinct text. The residual ρ = e(x) − ΣV of the embedding e(x)
            belongs to no token. The parts of the score are those of `Attribution`.
        left_out: description of ρ.
    """
    texts = sides(pairs)
    layouts = options.layouts(model, texts)
    results = []
    for text_a, text_b in pairs:
        a, b = (replace(layouts[text], factors=factors[text]) for text in (text_a, text_b))
        a, b = joined(a, b)
        v_a, v_b = a.factors, b.factors
        a, b = (replace(side, factors=np.zeros_like(side.factors)) for side in (a, b))
        rest_a, rest_b = (side.embedding - v.sum(0) for side, v in ((a, v_a), (b, v_b)))
        check_pair(a, b, options.similarity)
        scale = length_of(a, options.similarity) * length_of(b, options.similarity)
        parts = {
            "main_effects_a": v_a @ rest_b / scale,
            "main_effects_b": v_b @ rest_a / scale,
            "baseline": float(rest_a @ rest_b / scale),
        }
        result = of_values(a, b, options, name, v_a @ v_b.T / scale, left_out, layer=layer, **parts)
        results.append(result.in_units(options.units))
    return results


def renamed(result: Attribution, name: str, left_out: str, **numbers: Any) -> MethodAttribution:
    """Converts an attribution to the result of another method. Given numbers replace its own."""
    own = {key: getattr(result, key) for key in ("matrix", "main_effects_a", "main_effects_b", "baseline")}
    return MethodAttribution(
        result.a,
        result.b,
        result.similarity,
        result.settings,
        method=name,
        left_out=left_out,
        **{**own, **numbers},
    )
