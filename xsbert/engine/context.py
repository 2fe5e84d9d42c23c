"""Contexts of torch in which derivatives would be wrong or impossible, told before any work is done."""

from __future__ import annotations

import torch

from ..integrated_jacobian import EVALUATION
from ..torch_private import forward_mode_is_on

__all__ = ["check_context"]


def check_context(device_type: str) -> None:
    """Refuse to explain within a context of torch that reaches into the derivatives.

    Raises:
        RuntimeError: a level of forward-mode differentiation is open, or autocast is on.
    """
    # Another thread's explanation opens a level for the length of an evaluation, and holds the lock meanwhile.
    with EVALUATION:
        is_on = forward_mode_is_on()
    if is_on:
        raise RuntimeError(
            "a torch.autograd.forward_ad.dual_level() or torch.func.jvp is open, and torch has one such level per "
            "process, which explanations need for themselves: leave it before the call"
        )
    if torch.is_autocast_enabled(device_type):
        dtype = str(torch.get_autocast_dtype(device_type)).removeprefix("torch.")
        raise RuntimeError(
            f"torch.autocast({device_type!r}, dtype=torch.{dtype}) is on, which gives each operation a dtype of its "
            "own, while an explanation is of a model in one: leave it before the call, and for less precision load "
            f"the model with model_kwargs={{'dtype': torch.{dtype}}}, or pass derivative_dtype={dtype!r}"
        )
