"""The parts of a model that affect its output.

peft adapters that are inactive, disabled, merged into the weights or scaled by zero do not. Neither do modules that
only wrap another one, such as those of `torch.compile`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor, nn

from .private_copy import unwrapped

__all__ = ["Part", "acting_parts"]


class Part(NamedTuple):
    """A module without its submodules, or one adapter of a layer."""

    name: str
    """Name of the module in the model without adapters and wrappers."""
    module: nn.Module
    held: dict[str, Any]
    """Attributes of the module, or settings of the adapter."""
    tensors: dict[str, Tensor]
    """Parameters and buffers, by their names in the model."""


def acting_parts(module: nn.Module, name: str = "") -> Iterator[Part]:
    """Yield a module and its active submodules, each module before its children.

    A layer with adapters yields its base layer under its own name, and then the active adapters. These are named by
    number, because the same adapter can have different names.
    """
    module = _without_peft(unwrapped(module))
    if _is_adapter_layer(module):
        yield from acting_parts(_child(module, "base_layer"), name)
        for number, adapter in enumerate(_acting_adapters(module)):
            yield from _adapter_parts(module, adapter, _joined(name, f"adapter {number}"))
        return
    own = {**module._parameters, **module._buffers}
    tensors = {_joined(name, key): tensor for key, tensor in own.items() if tensor is not None}
    yield Part(name, module, vars(module), tensors)
    for key, child in module._modules.items():
        if child is not None:
            yield from acting_parts(child, _joined(name, key))


def _without_peft(module: nn.Module) -> nn.Module:
    """Return the base module of a peft model, or the active copy of a module that peft saves."""
    if not any(kind.__module__.startswith("peft.") for kind in type(module).__mro__):
        return module
    if "modules_to_save" in module._modules:
        copies = _child(module, "modules_to_save")._modules
        active: list[str] = [] if _get(module, "disable_adapters") else list(_get(module, "active_adapters"))
        chosen = copies.get(active[0]) if active else None
        return _without_peft(unwrapped(chosen or _child(module, "original_module")))
    if hasattr(module, "get_base_model") and not getattr(module.active_peft_config, "is_prompt_learning", False):
        return _without_peft(unwrapped(_get(module, "get_base_model")()))
    return module


def _is_adapter_layer(module: nn.Module) -> bool:
    return "base_layer" in module._modules and hasattr(module, "adapter_layer_names")


def _acting_adapters(layer: nn.Module) -> list[str]:
    """Return the adapters that change a layer's output, in the order in which it applies them."""
    if _get(layer, "disable_adapters") or _get(layer, "merged"):
        return []
    names = _get(layer, "adapter_layer_names")
    return [
        adapter
        for adapter in _get(layer, "active_adapters")
        if any(adapter in _held(layer, name) for name in names) and not _is_scaled_by_zero(layer, adapter)
    ]


def _is_scaled_by_zero(layer: nn.Module, adapter: str) -> bool:
    # A variant such as DoRA may still rescale the base layer's weights.
    return adapter not in _held(layer, "lora_variant") and _held(layer, "scaling", adapter) == 0


def _adapter_parts(layer: nn.Module, adapter: str, name: str) -> Iterator[Part]:
    """Yield the parts of one adapter of a layer."""
    names = dict.fromkeys((*_get(layer, "adapter_layer_names"), *_get(layer, "other_param_names"), "lora_variant"))
    found = {key: _held(layer, key, adapter) for key in names}
    # Attributes common to all adapters, such as whether a weight is stored transposed.
    held = {key: value for key, value in vars(layer).items() if key not in names and key != "merged_adapters"}
    for key, value in found.items():
        if not isinstance(value, (nn.Module, Tensor)):
            held[key] = type(value).__name__ if key == "lora_variant" else value
    yield Part(
        name, layer, held, {_joined(name, key): value for key, value in found.items() if isinstance(value, Tensor)}
    )
    for key, value in found.items():
        if isinstance(value, nn.Module):
            yield from acting_parts(value, _joined(name, key))


def _held(layer: nn.Module, name: str, adapter: str | None = None) -> Any:
    """Return a layer's mapping from adapter names, such as a dictionary of modules, or the entry of one adapter."""
    kept: Any = getattr(layer, name, None)
    kept = kept if hasattr(kept, "keys") else {}
    if adapter is None:
        return kept
    # A ModuleDict has no `get`.
    return kept[adapter] if adapter in kept else None  # noqa: SIM401


def _get(module: nn.Module, name: str) -> Any:
    return getattr(module, name, ())


def _child(module: nn.Module, name: str) -> nn.Module:
    child = module._modules[name]
    assert child is not None
    return child


def _joined(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key
