"""The numerical core: integrated Jacobians of any differentiable function. It knows no transformer."""

from .factors import factors_from_jacobian, feature_pairs, integrated_jacobian, projected_factors, token_factors
from .functions import PathFunction
from .integrator import PathIntegrator
from .rules import RULES, Quadrature, quadrature

__all__ = [
    "RULES",
    "PathFunction",
    "PathIntegrator",
    "Quadrature",
    "factors_from_jacobian",
    "feature_pairs",
    "integrated_jacobian",
    "projected_factors",
    "quadrature",
    "token_factors",
]
