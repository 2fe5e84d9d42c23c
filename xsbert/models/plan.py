"""What is asked of an explanation, checked once and the same for every text of a call."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..attribution import TextFactors
from ..caller import caller_level
from ..integrated_jacobian import bytes_per_pass, check_chunk_size
from ..memory import check_memory_budget
from ..placement import Placement, check_tolerance, place_nodes, place_nodes_together
from ..quadrature import Quadrature, quadrature
from .reference import Reference

__all__ = ["BUDGET_OF_DERIVATIVES", "NO_LIMITS", "Accuracy", "Limits", "Plan", "TextPath"]

DEFAULT_TOLERANCE = 1e-2
# The rest of a memory budget is for what texts keep meanwhile, and for what an allocator adds.
BUDGET_OF_DERIVATIVES = 0.75
DERIVATIVE_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class TextPath:
    """A straight line from the reference to a text at some layer, and the rest of the model along it."""

    f: Callable[[Tensor], Tensor]
    x: Tensor
    """(S, H)"""
    r: Tensor
    """(S, H)"""
    f_x: Tensor
    """(E,)"""
    f_r: Tensor
    """(E,)"""
    in_float64: Callable[[], TextPath] | None = None
    """Makes the same path in float64; None where that would not be finer, or the device has no float64."""


@dataclass(frozen=True)
class Accuracy:
    """How accurately to integrate."""

    rule: Quadrature | None
    """None places nodes for the tolerance."""
    rule_name: str
    tolerance: float | None
    max_steps: int
    derivative_dtype: torch.dtype | None

    @classmethod
    def of(
        cls, tolerance: float | None, n_steps: int | None, rule: str, max_steps: int, derivative_dtype: str | None
    ) -> Accuracy:
        """Checked."""
        steps = quadrature(rule, 1 if n_steps is None else n_steps)
        if n_steps is not None and tolerance is not None:
            raise ValueError(f"give tolerance or n_steps, not both: got {tolerance!r} and {n_steps!r}")
        if n_steps is None and rule != "gauss-legendre":
            raise ValueError(f"rule={rule!r} needs n_steps: for a tolerance the nodes are placed where they are needed")
        if n_steps is None:
            tolerance = DEFAULT_TOLERANCE if tolerance is None else tolerance
            check_tolerance(tolerance, max_steps)
        if derivative_dtype is not None and derivative_dtype not in DERIVATIVE_DTYPES:
            known = ", ".join(map(repr, DERIVATIVE_DTYPES))
            raise ValueError(f"derivative_dtype must be None or one of {known}, got {derivative_dtype!r}")
        return cls(
            rule=None if n_steps is None else steps,
            rule_name="adaptive" if n_steps is None else rule,
            tolerance=None if tolerance is None else float(tolerance),
            max_steps=max_steps,
            derivative_dtype=None if derivative_dtype is None else DERIVATIVE_DTYPES[derivative_dtype],
        )

    def placements(self, paths: Sequence[TextPath], limits: Limits) -> list[Placement]:
        """Nodes placed for the tolerance; or the rule that was asked for, whose residual is not known yet.

        Where a path jumps within what float32 resolves, its nodes are placed in float64.
        """
        if self.rule is not None:
            orders = (len(self.rule.nodes),)
            return [
                Placement(self.rule, orders=orders, changes=_on_cpu(path.f_x - path.f_r)[None], widths=(1.0,))
                for path in paths
            ]
        xs, rs, changes = zip(*((path.x, path.r, path.f_x - path.f_r) for path in paths), strict=True)
        options = {"tolerance": self.tolerance, "max_steps": self.max_steps}
        finer = all(path.in_float64 is not None for path in paths)
        chunk_size = limits.chunk_for(paths[0], 1)
        found = place_nodes_together(paths[0].f, xs, rs, changes, **options, finer=finer, chunk_size=chunk_size)
        for place, path in enumerate(paths):
            if found[place].unresolved and path.in_float64 is not None:
                fine = path.in_float64()
                chunk_size = limits.chunk_for(fine, 1)
                again = place_nodes(fine.f, fine.x, fine.r, fine.f_x - fine.f_r, **options, chunk_size=chunk_size)
                n_passes = found[place].n_passes + again.n_passes
                found[place] = replace(again, n_passes=n_passes, in_float64=True)
        return found

    def check_reached(self, results: Sequence[TextFactors]) -> None:
        """Warn of residuals above the tolerance."""
        for result in results:
            if self.tolerance is not None and result.residual > self.tolerance:
                factors = (
                    "" if result.factor_error is None else f", that of the factors up to {result.factor_error:.1e}"
                )
                warnings.warn(
                    f"the tolerance of {self.tolerance:g} is out of reach for {result.text!r:.60}: with up to "
                    f"{self.max_steps} nodes the residual is {result.residual:.1e}{factors}, which "
                    f"{result.settings.n_steps} nodes reach. A deeper layer, more precision (float32, float64) or more "
                    "max_steps may help",
                    stacklevel=caller_level(),
                )

    def derivatives_of(self, dtype: torch.dtype, device: torch.device) -> str:
        """In what precision linear layers take their products of derivatives."""
        if self.derivative_dtype is not None:
            return str(self.derivative_dtype).removeprefix("torch.")
        if dtype == torch.float32 and device.type == "cuda" and _torch_takes_tf32():
            return "tf32"
        return str(dtype).removeprefix("torch.")


def _on_cpu(values: Tensor) -> Tensor:
    return values.cpu().double()


def _torch_takes_tf32() -> bool:
    """Whether this process lets CUDA multiply float32 matrices in TF32."""
    matmul = torch.backends.cuda.matmul
    # From torch 2.9 on the older of these names must not be read where the newer was set.
    return matmul.fp32_precision == "tf32" if hasattr(matmul, "fp32_precision") else matmul.allow_tf32


@dataclass(frozen=True)
class Limits:
    """What the computation may take, and show."""

    chunk_size: int | None
    memory_budget: float | None
    show_progress_bar: bool | None

    @classmethod
    def of(cls, chunk_size: int | None, memory_budget: float | None, show_progress_bar: bool | None) -> Limits:
        """Checked."""
        check_chunk_size(chunk_size)
        check_memory_budget(memory_budget, chunk_size)
        return cls(chunk_size, memory_budget, show_progress_bar)

    def options(self, path: TextPath, n_groups: int, *, reverse: bool = False) -> dict[str, Any]:
        """For the functions that integrate along a path, or others of its length, for so many groups of tokens."""
        chunk_size = self.chunk_for(path, n_groups, reverse=reverse)
        return {"chunk_size": chunk_size, "show_progress_bar": self.show_progress_bar}

    def chunk_for(self, path: TextPath, n_groups: int, *, reverse: bool = False) -> int | None:
        """The chunk size that was asked for, or that the budget allows. One group is for looks along the path."""
        if self.memory_budget is None:
            return self.chunk_size
        available = BUDGET_OF_DERIVATIVES * self.memory_budget
        each = bytes_per_pass(path.f, path.x, path.r, 1, reverse=reverse)
        if each > available:
            raise MemoryError(
                f"memory_budget={self.memory_budget:g} is too small: one product of {len(path.x)} tokens takes "
                f"{each:,} bytes, and a quarter of the budget is for what else is kept"
            )
        # Counting several at once is closer, and takes as much as eight of the first.
        if n_groups > 1 and 8 * each <= available:
            each = bytes_per_pass(path.f, path.x, path.r, n_groups, reverse=reverse)
        return int(available // each)


NO_LIMITS = Limits(None, None, None)


@dataclass(frozen=True)
class Plan:
    """What is the same for every text of a call."""

    layer: int
    reference: Reference
    accuracy: Accuracy
    limits: Limits
    fingerprint: str
    """Of all that makes the model's embeddings."""
