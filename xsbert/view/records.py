"""Results as plain numbers, strings and lists."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .effects import effects
from .protocols import PairView

__all__ = ["to_dict"]


def to_dict(result: PairView) -> dict[str, Any]:
    """Return all numbers of a result in full precision, for `json.dumps`.

    Returns:
        ``similarity``, ``score``, ``score_unshifted``, ``parts``, ``baseline``, ``error``, ``settings``, and ``matrix``
        as S lists of T numbers. For each text, with suffix ``_a`` or ``_b``: ``text``, ``prompt``, ``encoded_by``,
        ``residual``, ``factor_error``, ``tokens``, ``roles``, ``spans``, ``n_cut``, ``main_effects``, ``effects``.
    """
    effects_a, effects_b = effects(result)
    return {
        "text_a": result.a.text,
        "text_b": result.b.text,
        "prompt_a": result.a.prompt,
        "prompt_b": result.b.prompt,
        "encoded_by_a": result.a.encoded_by,
        "encoded_by_b": result.b.encoded_by,
        "similarity": result.similarity,
        "score": float(result.score),
        "score_unshifted": None if result.score_unshifted is None else float(result.score_unshifted),
        "parts": {name: float(value) for name, value in result.parts.items()},
        "error": float(result.error),
        "residual_a": float(result.residual_a),
        "residual_b": float(result.residual_b),
        "factor_error_a": None if result.factor_error_a is None else float(result.factor_error_a),
        "factor_error_b": None if result.factor_error_b is None else float(result.factor_error_b),
        **_side("a", result.a),
        **_side("b", result.b),
        "matrix": result.matrix.tolist(),
        "main_effects_a": result.main_effects_a.tolist(),
        "main_effects_b": result.main_effects_b.tolist(),
        "effects_a": effects_a.tolist(),
        "effects_b": effects_b.tolist(),
        "baseline": float(result.baseline),
        "settings": asdict(result.settings),
    }


def _side(name: str, side: Any) -> dict[str, Any]:
    return {
        f"tokens_{name}": list(side.tokens),
        f"roles_{name}": list(side.roles),
        f"spans_{name}": None if side.spans is None else [[int(start), int(end)] for start, end in side.spans],
        f"n_cut_{name}": int(side.n_cut),
    }
