"""Models whose weights are integers, which have no derivatives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

__all__ = ["check_not_quantised", "check_not_to_be_quantised"]

QUANTISING_PACKAGES = (
    "torch.ao.nn.",
    "torch.nn.quantized",
    "bitsandbytes.",
    "torchao.",
    "optimum.quanto.",
    "auto_gptq.",
)
# What loads a model quantised, by the names that transformers has or had for it.
QUANTISING_OPTIONS = ("load_in_4bit", "load_in_8bit", "quantization_config")


def check_not_quantised(model: Iterable[nn.Module]) -> None:
    """Refuse weights in integers, whose rounding no derivative sees.

    Cheap: it looks at the classes of modules and weights, so that it can be asked before each run. Libraries quantise
    a loaded model in place, or a copy that is of its class still.

    Args:
        model: its modules, the first of them a `Transformer`.

    Raises:
        ValueError: the model is quantised.
    """
    found = _quantised_by(model)
    if found is not None:
        raise ValueError(
            f"a quantised model cannot be explained, got {found}: what it rounds to integers on the way has no "
            "derivative. Load the model without quantisation, in bfloat16 where memory is short"
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
    """Refuse options of a model that is still to be loaded.

    Args:
        name: of the argument that holds them.
        given: what transformers would be given.

    Raises:
        ValueError: the model would be quantised.
    """
    for option in QUANTISING_OPTIONS:
        if given and given.get(option):
            raise ValueError(
                f"a quantised model cannot be explained, got {option!r} in {name}: quantised weights have no exact "
                "derivatives. Load the model without quantisation, in bfloat16 where memory is short"
            )
