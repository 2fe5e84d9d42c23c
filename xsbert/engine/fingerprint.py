"""A fingerprint of everything that determines a model's embeddings. It prevents combining factors of different models.

It covers every bit of each active weight and buffer, the modules and their settings, each submodule by its name, class,
numbers and functions, the transformer's configuration, and the reference. It does not cover inactive adapters
(`xsbert.engine.active_parts`), the model's path, the attention implementation, dropout, or the settings that only
determine the tokens of a text: tokenizer, length limit and prompts. Factors store their own tokens, and queries are
often truncated more than documents. Attributes of modules depend on the version of transformers, so a version with
other names gives another fingerprint.

Writes to weights through ``.data`` cannot be detected, so weights are read again each time. Sums that wrap around do
not depend on the order: they are the same on any device, in pieces of any size, with any number of threads.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from numbers import Integral, Real
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import Tensor, nn

from .active_parts import Part, acting_parts
from .reference import AnyReference

__all__ = ["model_fingerprint"]

# Distinguishes fingerprints from older kinds, which cannot be compared with them: those of version 0.1.0 had no prefix
# and covered 16 numbers of each weight; those of kind 2 did not cover submodules.
KIND = "3"
# Number of 64-bit words in one sum. Row lengths of matrices must not be multiples of it: see `_row_sums`.
ROW = 509
# Number of words that a device multiplies at once.
PIECE = ROW << 13
# Settings of a model's origin or execution, which do not change its output. Weights have their own dtype.
NOT_SETTINGS = frozenset(
    {
        "architectures",
        "attn_implementation",
        "auto_map",
        "dtype",
        "gradient_checkpointing",
        "id2label",
        "label2id",
        "max_seq_length",
        "processing_kwargs",
        "reference",
        "tokenizer_class",
        "torch_dtype",
        "transformers_version",
        "unpad_inputs",
        "use_cache",
    }
)
# Attributes of modules that do not change the output: derived from the path, used only in training, or cached.
NOT_ATTRIBUTES = NOT_SETTINGS | {
    "added",
    "base_model",
    "drop_prob",
    "forward",
    "layer_idx",
    "max_seq_len_cached",
    "name_or_path",
}
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def model_fingerprint(model: Iterable[nn.Module], reference: AnyReference) -> str:
    """Compute a fingerprint of everything that maps the tokens of a text and of its reference to embeddings.

    It takes about twice as long as the sum of all weights in torch.

    Args:
        model: modules of the model, a `Transformer` first.
        reference: reference of the texts, or references.

    Returns:
        the kind of fingerprint, a colon, and 32 hexadecimal digits.
    """
    digest = hashlib.sha256()
    modules = [(module, list(acting_parts(_holder(module)))) for module in model]
    described = [_described(module, parts) for module, parts in modules]
    digest.update(json.dumps([asdict(reference), *described], sort_keys=True, default=_type_name).encode())
    names, sums, known = [], [], {}
    for name, weight in _weights(parts for _, parts in modules):
        # Modules that share a weight are equivalent to modules with equal weights.
        if id(weight) not in known:
            known[id(weight)] = _row_sums(weight.detach())
        names.append(f"{name} {tuple(weight.shape)} {weight.dtype}")
        sums.append(known[id(weight)])
    digest.update("\n".join(names).encode())
    if sums:
        # One transfer only: each transfer waits for all pending work of the device.
        digest.update(torch.cat([part.to(sums[0].device) for part in sums]).cpu().numpy().astype("<i8").tobytes())
    return f"{KIND}:{digest.hexdigest()[:32]}"


def _described(module: nn.Module, parts: Sequence[Part]) -> list[Any]:
    """Return the class, the settings and the parts of a module."""
    settings_of: Callable[[], Any] = getattr(module, "get_config_dict", dict)
    described = [_type_name(module), _settings(settings_of())]
    if isinstance(module, Transformer):
        described += [_type_name(parts[0].module), _settings(module.config.to_diff_dict())]
    return [*described, *_parts(parts)]


def _parts(parts: Iterable[Part]) -> Iterator[list[Any]]:
    """Yield the name, class, ``extra_repr``, numbers and functions of a module and each submodule.

    A user or a library can change them without changing the configuration or a weight.
    """
    for part in parts:
        # Dropout has no effect in evaluation mode.
        if not isinstance(part.module, DROPOUTS):
            says = ADDRESS.sub("", part.module.extra_repr())
            yield [part.name, _type_name(part.module), says, _attributes(part.held)]


def _attributes(held: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain values of a module's attributes, and the names of functions such as activations.

    Values of None are omitted, because a cache is None until it is filled.
    """
    found = {name: _plain(value) for name, value in held.items() if _is_attribute(name)}
    return {name: value for name, value in found.items() if value is not None}


def _is_attribute(name: str) -> bool:
    return not (name.startswith("_") or name == "training" or name in NOT_ATTRIBUTES or "dropout" in name)


def _plain(value: Any) -> Any:
    """Convert a number, a string, a function or a list of these to JSON types, and anything else to None."""
    if isinstance(value, (bool, str)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, partial):
        return [_plain(value.func), _plain(value.args), {name: _plain(each) for name, each in value.keywords.items()}]
    if isinstance(value, (FunctionType, BuiltinFunctionType)):
        return f"function {value.__qualname__}"
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else None


def _settings(entries: Any) -> Any:
    """Remove the entries that are not settings, also in nested dictionaries."""
    if not isinstance(entries, Mapping):
        return entries
    kept = {str(name): value for name, value in entries.items()}
    return {
        name: _settings(value) for name, value in kept.items() if name not in NOT_SETTINGS and not name.startswith("_")
    }


def _type_name(value: Any) -> str:
    return type(value).__name__


def _weights(modules: Iterable[Sequence[Part]]) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters and buffers with the number of their module and their name in it."""
    for number, parts in enumerate(modules):
        found = {name: tensor for part in parts for name, tensor in part.tensors.items()}
        for name in sorted(found):
            yield f"{number}.{name}", found[name]


def _holder(module: nn.Module) -> nn.Module:
    """Return the module with the weights. The name of a Transformer's inner model depends on sentence-transformers."""
    return module.model if isinstance(module, Transformer) else module


def _row_sums(weight: Tensor) -> Tensor:
    """Return (n,) int64 sums over rows of ROW 64-bit words of a weight, with fixed odd multipliers, on its device.

    Modulo 2⁶⁴, any change of a single word changes its sum. The highest bit of a word is the sign of one of its
    numbers. Only the parity of these bits enters a sum, so two changed signs could cancel. ROW is odd, and row lengths
    of matrices are not multiples of it, so changed signs of a row or column of a matrix do not cancel.
    """
    flat = weight.reshape(-1)
    if flat.stride() != (1,) or flat.storage_offset() * flat.itemsize % 8:
        flat = flat.clone(memory_format=torch.contiguous_format)
    raw = flat.view(torch.uint8)
    if raw.device.type == "cpu":
        return torch.from_numpy(_sums_in_memory(raw.numpy()))
    n_left = len(raw) % (8 * ROW)
    whole, rest = raw.split([len(raw) - n_left, n_left])
    pieces = [whole, F.pad(rest, (0, 8 * ROW - n_left))] if n_left else [whole]
    multipliers = torch.from_numpy(_multipliers()).to(raw.device)
    return torch.cat([_sums_on_device(each.view(torch.int64).view(-1, ROW), multipliers) for each in pieces])


def _sums_in_memory(raw: np.ndarray) -> np.ndarray:
    """Compute the sums of bytes in one pass: numpy needs one, torch two."""
    n_whole = len(raw) // (8 * ROW) * 8 * ROW
    sums = np.einsum("nk,k->n", raw[:n_whole].view(np.int64).reshape(-1, ROW), _multipliers())
    if n_whole == len(raw):
        return sums
    rest = np.zeros(8 * ROW, dtype=np.uint8)
    rest[: len(raw) - n_whole] = raw[n_whole:]
    return np.append(sums, rest.view(np.int64) @ _multipliers())


def _sums_on_device(words: Tensor, multipliers: Tensor) -> Tensor:
    """Compute the sums on devices without numpy, in pieces that bound the memory."""
    pieces = words.split(PIECE // ROW)
    return torch.cat([(piece * multipliers).sum(1) for piece in pieces]) if len(words) else words.new_zeros(0)


@lru_cache(maxsize=1)
def _multipliers() -> np.ndarray:
    """Return (ROW,) fixed pseudorandom odd numbers."""
    drawn = hashlib.shake_256(b"xsbert").digest(8 * ROW)
    return np.frombuffer(drawn, "<i8").astype(np.int64) | 1
