"""Early checks for contexts of torch and states of a model in which derivatives are wrong or impossible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from .._utils.torch_internals import forward_mode_is_on, open_transform
from ..integrated_jacobian.chunks import EVALUATION
from .protocol import Explainable

__all__ = ["check_context", "check_not_quantised", "check_not_to_be_quantised", "check_run"]


def check_run(model: Explainable) -> None:
    """Check the torch context, and that the model was not quantised after it was wrapped.

    Raises:
        RuntimeError: as for `check_context`.
        ValueError: the model is quantised.
    """
    check_context(model.device.type)
    check_not_quantised(model)


def check_context(device_type: str) -> None:
    """Reject contexts of torch that affect derivatives.

    Raises:
        RuntimeError: a level of forward-mode differentiation or a transform of `torch.func` is open, or autocast is on.
    """
    # Explanations in other threads open a level during an evaluation, and hold this lock meanwhile.
    with EVALUATION:
        is_on = forward_mode_is_on()
    if is_on:
        raise RuntimeError(
            "a torch.autograd.forward_ad.dual_level() or torch.func.jvp is active. Torch has one such level per "
            "process and explanations need it: leave it before the call"
        )
    transform = open_transform()
    if transform is not None:
        raise RuntimeError(
            f"a {transform} of torch.func is active, and its tensors hold no numbers of their own: leave it before "
            "the call"
        )
    if torch.is_autocast_enabled(device_type):
        dtype = str(torch.get_autocast_dtype(device_type)).removeprefix("torch.")
        raise RuntimeError(
            f"torch.autocast({device_type!r}, dtype=torch.{dtype}) is active and changes the dtype of single "
            "operations: leave it before the call. For lower precision load the model with "
            f"model_kwargs={{'dtype': torch.{dtype}}}, or pass derivative_dtype={dtype!r}"
        )


QUANTISING_PACKAGES = (
    "torch.ao.nn.",
    "torch.nn.quantized",
    "bitsandbytes.",
    "torchao.",
    "optimum.quanto.",
    "auto_gptq.",
)
# Current and former options of transformers that load a quantised model.
QUANTISING_OPTIONS = ("load_in_4bit", "load_in_8bit", "quantization_config")


def check_not_quantised(model: Iterable[nn.Module]) -> None:
    """Reject quantised models, because rounding to integers has no derivative.

    The check is cheap enough for each run: it only reads the classes of modules and weights. It is repeated because
    libraries quantise a loaded model in place, or a copy of the same class.

    Args:
        model: modules of the model, a `Transformer` first.

    Raises:
        ValueError: the model is quantised.
    """
    found = _quantised_by(model)
    if found is not None:
        raise ValueError(
            f"a quantised model cannot be explained, got {found}: rounding to integers has no derivative. Load the "
            "model without quantisation, in bfloat16 to save memory"
        )


def _quantised_by(model: Iterable[nn.Module]) -> str | None:
    modules = [*model]
    inner = modules[0].model
    for name in ("is_quantized", "hf_quantizer", "quantization_method"):
        if getattr(inner, name, None):
            method = getattr(inner, "quantization_method", None)
            return f"a {type(inner).__name__} with {name}" + (f" by {method}" if method else "")
    for module in (part for whole in modules for part in whole.modules()):
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


def check_not_to_be_quantised(name: str, given: Mapping[str, Any] | None) -> None:
    """Reject loading options that would quantise the model.

    Args:
        name: name of the argument that holds the options.
        given: options for transformers.

    Raises:
        ValueError: the model would be quantised.
    """
    for option in QUANTISING_OPTIONS:
        if given and given.get(option):
            raise ValueError(
                f"a quantised model cannot be explained, got {option!r} in {name}: quantised weights have no exact "
                "derivatives. Load the model without quantisation, in bfloat16 to save memory"
            )
