"""Copies the modules of a model without its weights, and without hooks and settings for training or monitoring."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from .._utils.stacklevel import caller_level
from .._utils.torch_internals import FORWARD_HOOKS, HOOKS, ignore_global_hooks

__all__ = ["private_copy", "private_model", "unwrapped"]

Model = TypeVar("Model", bound=nn.Sequential)

# Hooks of these packages take part in the computation: weight and spectral norms, pruning, collection of hidden
# states, tensor parallelism, adapters.
COMPUTING_PACKAGES = ("torch.nn.utils.", "transformers.", "peft.")
# Hooks that `PreTrainedModel.enable_input_require_grads` and peft register on the input embeddings.
GRADIENT_HOOKS = ("make_inputs_require_grads", "make_inputs_require_grad")
# Modules that wrap another one, with its attribute: torch.compile, activation checkpointing, data parallelism.
WRAPPERS = {
    "OptimizedModule": "_orig_mod",
    "CheckpointWrapper": "_checkpoint_wrapped_module",
    "OffloadWrapper": "_checkpoint_wrapped_module",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
}


def private_copy(modules: Sequence[nn.Module], dtype: torch.dtype | None = None) -> list[nn.Module]:
    """Copy the structure of modules but not their weights, in evaluation mode.

    The copy shares parameters and the tokenizer; with a dtype, weights are converted copies. Buffers are copied,
    because a module may write to them. Gradient checkpointing, compilation and hooks are removed, except hooks that
    take part in the computation, such as weight normalisation. The hooks of accelerate that place weights on devices
    are not torch hooks, and stay.

    Args:
        modules: modules of a model, the transformer first. They stay unchanged.
        dtype: dtype of the copied weights; None shares the weights.

    Raises:
        ValueError: adapters are both merged into the weights and disabled.

    Warns:
        UserWarning: a forward hook is removed that may change the output of the model.
    """
    parts = list({id(part): part for whole in modules for part in whole.modules()}.values())
    memo: dict[int, Any] = {}
    processor = getattr(unwrapped(modules[0]), "processor", None)
    memo[id(processor)] = processor
    left_out: list[str] = []
    for part in parts:
        # The next run would unmerge them from the weights, which the copy shares.
        if getattr(part, "merged_adapters", None) and getattr(part, "disable_adapters", False):
            raise ValueError(
                f"adapters are merged into the weights and disabled at once, in {type(part).__name__}: peft removes "
                "them from the weights when the model runs next. Call `unmerge` on these layers, or encode a text, "
                "first"
            )
        for name in HOOKS:
            hooks = vars(part).get(name)
            # `deepcopy` uses memo entries as copies, so hooks and the objects that they hold are never copied.
            if hooks is not None:
                memo[id(hooks)] = OrderedDict((key, hook) for key, hook in hooks.items() if _computes(hook))
                if name in FORWARD_HOOKS and any(map(_is_of_user, hooks.values())):
                    left_out.append(type(part).__name__)
        for tensor in _plain_tensors(part):
            memo[id(tensor)] = tensor if dtype is None else _converted(tensor, dtype)
        if dtype is None:
            memo.update((id(weight), weight) for weight in part.parameters(recurse=False))
        for offloaded in _offloaded_weights(part):
            memo[id(offloaded)] = offloaded
    if left_out:
        _warn_of_hooks(left_out)
    # Inner modules follow outer ones. A wrapped module must be in the memo before its wrapper is copied.
    for part in reversed(parts):
        if unwrapped(part) is not part:
            memo[id(part)] = copy.deepcopy(unwrapped(part), memo)
    copies: list[nn.Module] = copy.deepcopy(list(modules), memo)
    for module in copies:
        module.eval()
        if dtype is not None:
            module.to(dtype)
        for part in module.modules():
            ignore_global_hooks(part)
            if getattr(part, "gradient_checkpointing", False):
                vars(part).update(gradient_checkpointing=False)
    return copies


def private_model(model: Model) -> Model:
    """Return a private copy of a model for encoding.

    `encode` sets evaluation mode and runs hooks. On the copy, it leaves the user's model unchanged.
    """
    copied = copy.copy(model)
    modules = private_copy(list(model))
    vars(copied).update({name: OrderedDict() for name in HOOKS})
    copied._modules = OrderedDict(zip(model._modules, cast(Any, modules), strict=True))
    vars(copied)["training"] = False
    ignore_global_hooks(copied)
    return copied


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the inner module of a compiled, checkpointed or parallel module; any other module unchanged."""
    for kind in type(module).__mro__:
        inner = getattr(module, WRAPPERS.get(kind.__name__, ""), None)
        if isinstance(inner, nn.Module) and kind.__module__.startswith("torch."):
            return unwrapped(inner)
    return module


def _plain_tensors(module: nn.Module) -> Iterator[Tensor]:
    """Return tensors of a module that are not parameters or buffers, such as a weight that a hook computes."""
    return (value for value in vars(module).values() if isinstance(value, Tensor))


def _converted(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    copied = tensor.detach().clone()
    return copied.to(dtype) if copied.is_floating_point() else copied


def _offloaded_weights(module: nn.Module) -> Iterator[Any]:
    """Yield the maps in which a module's accelerate hooks keep offloaded or tied weights."""
    hook = getattr(module, "_hf_hook", None)
    for each in getattr(hook, "hooks", [hook]):
        for name in ("weights_map", "tied_params_map"):
            held = getattr(each, name, None)
            if held is not None:
                yield held


def _computes(hook: Callable) -> bool:
    """Return whether a hook belongs to a library and takes part in the computation."""
    function = _function_of(hook)
    if getattr(function, "__name__", None) in GRADIENT_HOOKS:
        return False
    homes = [getattr(function, "__module__", None) or ""] if hasattr(function, "__code__") else _homes(function)
    return any(f"{home}.".startswith(COMPUTING_PACKAGES) for home in homes)


def _is_of_user(hook: Callable) -> bool:
    return not _computes(hook) and getattr(_function_of(hook), "__name__", None) not in GRADIENT_HOOKS


def _function_of(hook: Any) -> Any:
    """Return the function or callable object inside partial functions and bound methods."""
    while isinstance(hook, partial):
        hook = hook.func
    return getattr(hook, "__func__", hook)


def _homes(value: Any) -> list[str]:
    return [kind.__module__ for kind in type(value).__mro__]


def _warn_of_hooks(names: list[str]) -> None:
    kinds = list(dict.fromkeys(names))
    named = ", ".join(kinds[:3]) + (f" and {len(kinds) - 3} other kinds of modules" if len(kinds) > 3 else "")
    warnings.warn(
        f"the forward hooks on {named} do not run in explanations: the model is explained without them. This does "
        "not matter for hooks that only record. If a hook changes what the model computes, the explained score "
        "differs from that of `encode`: move its computation into a module",
        UserWarning,
        stacklevel=caller_level(),
    )
