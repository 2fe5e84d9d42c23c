"""What is used of torch that torch does not promise to keep, all of it here.

Tried with torch 2.13. Where a later version has moved one of these names, the import of this module fails and says
which, and nothing else in the package has to change.
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

# Where a module keeps what runs before and behind its forward and backward passes.
FORWARD_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
HOOKS = (*FORWARD_HOOKS, "_backward_pre_hooks", "_backward_hooks")


def ignore_global_hooks(module: nn.Module) -> None:
    """Call a module without the hooks that are registered for all modules of the process; its own forward hooks run."""
    # A weak reference: a cycle would keep the module's weights until they are collected.
    reference = weakref.ref(module)

    def call(*args: Any, **kwargs: Any) -> Any:
        called = reference()
        assert called is not None  # as it is being called
        return _call(called, args, kwargs)

    object.__setattr__(module, "_compiled_call_impl", call)


def _call(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
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
"""Module and name of what the pickle of a state of plain tensors refers to, as `torch.save` writes it."""


def is_batched(tensor: Tensor) -> bool:
    """Whether a tensor is one of many to `torch.func.vmap`."""
    while is_functorch_wrapped_tensor(tensor):
        if is_batchedtensor(tensor):
            return True
        tensor = get_unwrapped(tensor)
    return False


def is_tracked(tensor: Tensor) -> bool:
    """Whether `torch.func.vjp` follows a tensor, which a model's weights are not though they require gradients."""
    return is_gradtrackingtensor(tensor) and tensor.requires_grad


def forward_mode_is_on() -> bool:
    """Whether a level of forward-mode differentiation is open, of which torch has one per process."""
    return forward_ad._current_level >= 0


def open_transform() -> str | None:
    """The innermost transform of `torch.func` that this thread is within, such as ``"vmap"``; None if there is none."""
    innermost = peek_interpreter_stack()
    # The annotation of torch leaves None out.
    return None if innermost is None else innermost.key().name.lower()  # pyright: ignore[reportUnnecessaryComparison]


def storage_key(storage: UntypedStorage) -> int:
    """A number that tells a storage from all others that are alive."""
    return storage._cdata


def write_count(tensor: Tensor) -> int:
    """How often torch has written to a tensor; what is written through ``.data`` is not counted."""
    return tensor._version
