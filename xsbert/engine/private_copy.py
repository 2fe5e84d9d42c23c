"""Copy the modules of a model without copying its weights, and without what watches or trains it."""

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

# Hooks of these packages are part of how the model computes: weight and spectral norms, pruning, the collection of
# hidden states, tensor parallelism, adapters.
COMPUTING_PACKAGES = ("torch.nn.utils.", "transformers.", "peft.")
# What `PreTrainedModel.enable_input_require_grads` and peft register on the input embeddings.
GRADIENT_HOOKS = ("make_inputs_require_grads", "make_inputs_require_grad")
# Modules that run another one, by the attribute that holds it: torch.compile, activation checkpointing, data parallel.
WRAPPERS = {
    "OptimizedModule": "_orig_mod",
    "CheckpointWrapper": "_checkpoint_wrapped_module",
    "OffloadWrapper": "_checkpoint_wrapped_module",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
}


def private_copy(modules: Sequence[nn.Module], dtype: torch.dtype | None = None) -> list[nn.Module]:
    """Copy the structure of modules but not their weights, in evaluation mode.

    Parameters stay the same objects, and so does the tokenizer; with a dtype, weights are copied to it. Buffers are
    copied, because a module may write to them. Left out are gradient checkpointing, compilation, and hooks, except
    those of libraries that compute with them, such as weight normalisation. The hooks that accelerate needs to place
    weights on devices are not hooks of torch, and stay.

    Args:
        modules: of a model, the transformer first. They are left as they are.
        dtype: of the copy, None to share the weights.

    Raises:
        ValueError: adapters are merged into the weights and disabled at once.

    Warns:
        UserWarning: a forward hook is left out, which may change what the model computes.
    """
    parts = list({id(part): part for whole in modules for part in whole.modules()}.values())
    memo: dict[int, Any] = {}
    processor = getattr(unwrapped(modules[0]), "processor", None)
    memo[id(processor)] = processor
    left_out: list[str] = []
    for part in parts:
        # The next run would take them out of the weights, which the copy shares.
        if getattr(part, "merged_adapters", None) and getattr(part, "disable_adapters", False):
            raise ValueError(
                f"adapters are merged into the weights and disabled at once, in {type(part).__name__}: peft takes them "
                "out of the weights when the model runs next. Call `unmerge` of these layers, or encode a text, before"
            )
        for name in HOOKS:
            hooks = vars(part).get(name)
            # `deepcopy` takes what is in its memo for the copy, so that hooks and what they hold are never copied.
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
    # Inner modules come behind the outer ones, and what is wrapped must be in the memo before its wrapper is copied.
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
    """A model made of private copies of the modules of another one, to encode with.

    `encode` puts a model into evaluation mode and runs its hooks; of this one it leaves the user's model as it was.
    """
    copied = copy.copy(model)
    modules = private_copy(list(model))
    vars(copied).update({name: OrderedDict() for name in HOOKS})
    copied._modules = OrderedDict(zip(model._modules, cast(Any, modules), strict=True))
    vars(copied)["training"] = False
    ignore_global_hooks(copied)
    return copied


def unwrapped(module: nn.Module) -> nn.Module:
    """The module within one that is compiled, checkpointed or run in parallel; of others the module itself."""
    for kind in type(module).__mro__:
        inner = getattr(module, WRAPPERS.get(kind.__name__, ""), None)
        if isinstance(inner, nn.Module) and kind.__module__.startswith("torch."):
            return unwrapped(inner)
    return module


def _plain_tensors(module: nn.Module) -> Iterator[Tensor]:
    """Tensors that a module holds beside its parameters and buffers, such as a weight that a hook computes."""
    return (value for value in vars(module).values() if isinstance(value, Tensor))


def _converted(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    copied = tensor.detach().clone()
    return copied.to(dtype) if copied.is_floating_point() else copied


def _offloaded_weights(module: nn.Module) -> Iterator[Any]:
    """Where the hooks of accelerate on a module keep weights that are on no device, or shared between modules."""
    hook = getattr(module, "_hf_hook", None)
    for each in getattr(hook, "hooks", [hook]):
        for name in ("weights_map", "tied_params_map"):
            held = getattr(each, name, None)
            if held is not None:
                yield held


def _computes(hook: Callable) -> bool:
    """Whether a hook belongs to a library and takes part in the computation."""
    function = _function_of(hook)
    if getattr(function, "__name__", None) in GRADIENT_HOOKS:
        return False
    homes = [getattr(function, "__module__", None) or ""] if hasattr(function, "__code__") else _homes(function)
    return any(f"{home}.".startswith(COMPUTING_PACKAGES) for home in homes)


def _is_of_user(hook: Callable) -> bool:
    return not _computes(hook) and getattr(_function_of(hook), "__name__", None) not in GRADIENT_HOOKS


def _function_of(hook: Any) -> Any:
    """The function, or the callable object, behind partial functions and bound methods."""
    while isinstance(hook, partial):
        hook = hook.func
    return getattr(hook, "__func__", hook)


def _homes(value: Any) -> list[str]:
    return [kind.__module__ for kind in type(value).__mro__]


def _warn_of_hooks(names: list[str]) -> None:
    kinds = list(dict.fromkeys(names))
    named = ", ".join(kinds[:3]) + (f" and {len(kinds) - 3} other kinds of modules" if len(kinds) > 3 else "")
    warnings.warn(
        f"the forward hooks on {named} do not run in explanations, which are of the model "
        "without them. Hooks that only record are not affected. If one changes what the model computes, the explained "
        "score is not that of `encode`: put its computation into a module instead",
        UserWarning,
        stacklevel=caller_level(),
    )
