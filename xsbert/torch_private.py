"""What is used of torch that torch does not promise to keep, all of it here.

Tried with torch 2.13. Where a later version has moved one of these names, the import of this module fails and says
which, and nothing else in the package has to change.
"""

from __future__ import annotations

from torch import Tensor, UntypedStorage
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
    "PICKLED_STATE",
    "TorchDispatchMode",
    "forward_mode_is_on",
    "is_batched",
    "is_tracked",
    "open_transform",
    "storage_key",
    "tree_leaves",
    "tree_map_only",
    "write_count",
]

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
    return None if innermost is None else innermost.key().name.lower()


def storage_key(storage: UntypedStorage) -> int:
    """A number that tells a storage from all others that are alive."""
    return storage._cdata


def write_count(tensor: Tensor) -> int:
    """How often torch has written to a tensor; what is written through ``.data`` is not counted."""
    return tensor._version
