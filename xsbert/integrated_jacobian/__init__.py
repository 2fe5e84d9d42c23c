"""The numerical core: integrated Jacobians of any differentiable function. It knows no transformer."""

from .reverse_mode import factors_from_jacobian, feature_pairs, integrated_jacobian, pulled_back_factors
from .rules import RULES, Quadrature, quadrature
from .token_factors import token_factors

__all__ = [
    "RULES",
    "Quadrature",
    "factors_from_jacobian",
    "feature_pairs",
    "integrated_jacobian",
    "pulled_back_factors",
    "quadrature",
    "token_factors",
]
