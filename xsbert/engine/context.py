"""Contexts of torch, and states of a model, in which derivatives would be wrong or impossible, told before any work."""

from __future__ import annotations

import torch

from ..integrated_jacobian import EVALUATION
from ..torch_private import forward_mode_is_on, open_transform
from .explainable import Explainable
from .quantised import check_not_quantised

__all__ = ["check_context", "check_run"]


def check_run(model: Explainable) -> None:
    """Refuse to explain a model now: what `check_context` refuses, and a model that was quantised since it was wrapped.

    Raises:
        RuntimeError: as `check_context`.
        ValueError: the model is quantised.
    """
    check_context(model.device.type)
    check_not_quantised(model)


def check_context(device_type: str) -> None:
    """Refuse to explain within a context of torch that reaches into the derivatives.

    Raises:
        RuntimeError: a level of forward-mode differentiation or a transform of `torch.func` is open, or autocast is on.
    """
    # Another thread's explanation opens a level for the length of an evaluation, and holds the lock meanwhile.
    with EVALUATION:
        is_on = forward_mode_is_on()
    if is_on:
        raise RuntimeError(
            "a torch.autograd.forward_ad.dual_level() or torch.func.jvp is open, and torch has one such level per "
            "process, which explanations need for themselves: leave it before the call"
        )
    transform = open_transform()
    if transform is not None:
        raise RuntimeError(
            f"a {transform} of torch.func is open, whose tensors stand for others, while explanations need numbers: "
            "leave it before the call"
        )
    if torch.is_autocast_enabled(device_type):
        dtype = str(torch.get_autocast_dtype(device_type)).removeprefix("torch.")
        raise RuntimeError(
            f"torch.autocast({device_type!r}, dtype=torch.{dtype}) is on, which gives each operation a dtype of its "
            "own, while an explanation is of a model in one: leave it before the call, and for less precision load "
            f"the model with model_kwargs={{'dtype': torch.{dtype}}}, or pass derivative_dtype={dtype!r}"
        )
