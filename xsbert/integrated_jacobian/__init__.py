"""The numerical core: integrated Jacobians of any differentiable function. It knows no transformer."""

from .adaptive import Placement, place_nodes
from .error_estimates import ERROR, ErrorSettings
from .factors import factors_from_jacobian, feature_pairs, integrated_jacobian, projected_factors, token_factors
from .functions import PathFunction
from .integrator import Measured, PathIntegrator
from .rules import RULES, Quadrature, quadrature
from .settings import SEARCH, SearchSettings

__all__ = [
    "ERROR",
    "RULES",
    "SEARCH",
    "ErrorSettings",
    "Measured",
    "PathFunction",
    "PathIntegrator",
    "Placement",
    "Quadrature",
    "SearchSettings",
    "factors_from_jacobian",
    "feature_pairs",
    "integrated_jacobian",
    "place_nodes",
    "projected_factors",
    "quadrature",
    "token_factors",
]
