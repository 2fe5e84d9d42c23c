"""What would make derivatives wrong or impossible, told before any work is done."""

from __future__ import annotations

import torch
from sentence_transformers import SentenceTransformer
from torch import nn
from torch.autograd import forward_ad

from ..integrated_jacobian import EVALUATION

__all__ = ["check_context", "check_not_quantised"]

QUANTISING_PACKAGES = (
    "torch.ao.nn.",
    "torch.nn.quantized",
    "bitsandbytes.",
    "torchao.",
    "optimum.quanto.",
    "auto_gptq.",
)


def check_context(device_type: str) -> None:
    """Refuse to explain within a context of torch that reaches into the derivatives.

    Raises:
        RuntimeError: a level of forward-mode differentiation is open, or autocast is on.
    """
    # Another thread's explanation opens a level for the length of an evaluation, and holds the lock meanwhile.
    with EVALUATION:
        level = forward_ad._current_level
    if level >= 0:
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


def check_not_quantised(model: SentenceTransformer) -> None:
    """Refuse weights in integers, whose rounding no derivative sees.

    Raises:
        ValueError: the model is quantised.
    """
    found = _quantised_by(model)
    if found is not None:
        raise ValueError(
            f"a quantised model cannot be explained, got {found}: what it rounds to integers on the way has no "
            "derivative. Load the model without quantisation, in bfloat16 where memory is short"
        )


def _quantised_by(model: SentenceTransformer) -> str | None:
    inner = model[0].model
    for name in ("is_quantized", "hf_quantizer", "quantization_method"):
        if getattr(inner, name, None):
            method = getattr(inner, "quantization_method", None)
            return f"a {type(inner).__name__} with {name}" + (f" by {method}" if method else "")
    for module in model.modules():
        kind = type(module)
        if _quantises(kind):
            return f"{kind.__module__}.{kind.__qualname__}"
        for weight in _own(module):
            if weight.is_quantized or _quantises(type(weight)):
                return f"weights of {weight.dtype} in {kind.__qualname__}"
    return None


def _own(module: nn.Module) -> list[torch.Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]


def _quantises(kind: type) -> bool:
    return f"{kind.__module__}.".startswith(QUANTISING_PACKAGES)
