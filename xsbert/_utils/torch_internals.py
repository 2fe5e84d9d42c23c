"""All uses of private names of torch.

Tested with torch 2.13. If a later version moves a name, the import of this module fails with that name, and only this
module has to change.
"""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor, UntypedStorage, nn
from torch._C._functorch import (
    get_unwrapped,
    is_batchedtensor,
    is_functorch_wrapped_tensor,
    is_gradtrackingtensor,
    peek_interpreter_stack,
)
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

__all__ = [
    "FORWARD_HOOKS",
    "HOOKS",
    "PICKLED_STATE",
    "TorchDispatchMode",
    "forward_mode_is_on",
    "ignore_global_hooks",
    "is_batched",
    "is_tracked",
    "open_transform",
    "storage_key",
    "tree_leaves",
    "tree_map_only",
    "write_count",
]

# Attributes of a module with its hooks before and after forward and backward passes.
FORWARD_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
HOOKS = (*FORWARD_HOOKS, "_backward_pre_hooks", "_backward_hooks")


def ignore_global_hooks(module: nn.Module) -> None:
    """Makes calls of a module skip the global hooks of the process. Its own forward hooks still run."""
    # A weak reference: a cycle would keep the module's weights until they are collected.
    reference = weakref.ref(module)

    def call(*args: Any, **kwargs: Any) -> Any:
        called = reference()
        assert called is not None  # a module that is called is alive
        return _call(called, args, kwargs)

    object.__setattr__(module, "_compiled_call_impl", call)


def _call(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not module._forward_pre_hooks and not module._forward_hooks:
        return module.forward(*args, **kwargs)
    for key, hook in list(module._forward_pre_hooks.items()):
        if key in module._forward_pre_hooks_with_kwargs:
            changed = hook(module, args, kwargs)
            args, kwargs = (args, kwargs) if changed is None else changed
        else:
            changed = hook(module, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
    output = module.forward(*args, **kwargs)
    for key, hook in list(module._forward_hooks.items()):
        with_kwargs = key in module._forward_hooks_with_kwargs
        changed = hook(module, args, kwargs, output) if with_kwargs else hook(module, args, output)
        output = output if changed is None else changed
    return output


STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
PICKLED_STATE = {
    "collections OrderedDict",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor_v2",
    *(f"torch {kind}Storage" for kind in STORAGES),
}
"""Module and name of the globals in the pickle that `torch.save` writes for a state of plain tensors."""


def is_batched(tensor: Tensor) -> bool:
    """Whether a tensor is batched by `torch.func.vmap`."""
    while is_functorch_wrapped_tensor(tensor):
        if is_batchedtensor(tensor):
            return True
        tensor = get_unwrapped(tensor)
    return False


def is_tracked(tensor: Tensor) -> bool:
    """Whether `torch.func.vjp` tracks a tensor. It does not track a model's weights, which only require gradients."""
    return is_gradtrackingtensor(tensor) and tensor.requires_grad


def forward_mode_is_on() -> bool:
    """Whether a level of forward-mode differentiation is open. Torch has one level per process."""
    return forward_ad._current_level >= 0


def open_transform() -> str | None:
    """Returns the innermost active transform of `torch.func` in this thread, such as ``"vmap"``, or None."""
    innermost = peek_interpreter_stack()
    # The annotation of torch omits None.
    return None if innermost is None else innermost.key().name.lower()  # pyright: ignore[reportUnnecessaryComparison]


def storage_key(storage: UntypedStorage) -> int:
    """Returns a number that identifies a storage among all living ones."""
    return storage._cdata


def write_count(tensor: Tensor) -> int:
    """Returns how often torch has written to a tensor. Writes through ``.data`` are not counted."""
    return tensor._version
