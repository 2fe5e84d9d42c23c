"""A fingerprint of what makes a model's embeddings, so that factors of different models are not combined.

It covers every bit of each weight and buffer that acts, the modules and their settings, every module within them by its
name, class, numbers and functions, the transformer's configuration, and the reference. It does not cover adapters that
do not act (`xsbert.engine.active_parts`), where the model lies, how its attention is computed, dropout, or what decides
only
which tokens a text has: the tokenizer, its length limit and prompts. A factor keeps its own tokens, and queries are
often cut shorter than documents. What modules hold is also up to the version of transformers, so that one that names it
otherwise gives another fingerprint.

Weights can be written to through ``.data`` without a trace, so they are read anew each time. A sum that wraps around is
the same in any order: on any device, in pieces of any size, with any number of threads.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from .reference import Reference

__all__ = ["model_fingerprint"]

# Tells these fingerprints from older ones, which are no evidence against them: those of version 0.1.0 had no prefix and
# knew 16 numbers of each weight, those of kind 2 did not look into the modules.
KIND = "3"
# 64-bit words that are summed to one. Rows of a matrix must not fall on multiples of it: see `_row_sums`.
ROW = 509
# Words that a device multiplies at once.
PIECE = ROW << 13
# What says where a model comes from, or how it is run, but not what it computes. A weight carries its own dtype.
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
# The same of what modules hold: what follows from where they lie, what is done in training alone, what is cached.
NOT_ATTRIBUTES = NOT_SETTINGS | {"added", "drop_prob", "forward", "layer_idx", "max_seq_len_cached", "name_or_path"}
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def model_fingerprint(model: Iterable[nn.Module], reference: Reference) -> str:
    """A fingerprint of all that turns the tokens of a text into its embedding, and those of its reference.

    Takes about twice as long as torch takes to sum all weights.

    Args:
        model: its modules, the first of them a `Transformer`.
        reference: what the texts are compared with.

    Returns:
        its kind, a colon, and 32 hexadecimal digits.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps([asdict(reference), *map(_described, model)], sort_keys=True, default=_type_name).encode())
    names, sums, known = [], [], {}
    for name, weight in _weights(model):
        # Modules that share a weight are as good as modules with equal ones.
        if id(weight) not in known:
            known[id(weight)] = _row_sums(weight.detach())
        names.append(f"{name} {tuple(weight.shape)} {weight.dtype}")
        sums.append(known[id(weight)])
    digest.update("\n".join(names).encode())
    if sums:
        # A device is asked once: each answer would have to wait for all that it has still to do.
        digest.update(torch.cat([part.to(sums[0].device) for part in sums]).cpu().numpy().astype("<i8").tobytes())
    return f"{KIND}:{digest.hexdigest()[:32]}"


def _described(module: nn.Module) -> list[Any]:
    """The class of a module and its settings."""
    settings_of: Callable[[], Any] = getattr(module, "get_config_dict", dict)
    described = [_type_name(module), _settings(settings_of())]
    parts = list(acting_parts(_holder(module)))
    if isinstance(module, Transformer):
        described += [_type_name(parts[0].module), _settings(module.config.to_diff_dict())]
    return [*described, *_parts(parts)]


def _parts(parts: Iterable[Part]) -> Iterator[list[Any]]:
    """Of a module and each one within it its name, class, what it says of itself, numbers and functions.

    They can be changed, by hand or by a library, where neither the configuration nor a weight is.
    """
    for part in parts:
        # It does nothing outside of training.
        if not isinstance(part.module, DROPOUTS):
            says = ADDRESS.sub("", part.module.extra_repr())
            yield [part.name, _type_name(part.module), says, _attributes(part.held)]


def _attributes(held: Mapping[str, Any]) -> dict[str, Any]:
    """Of what a module holds the plain values and the functions, such as activations; functions by their names.

    Values that are None are left out: a cache is None until it is filled.
    """
    found = {name: _plain(value) for name, value in held.items() if _is_attribute(name)}
    return {name: value for name, value in found.items() if value is not None}


def _is_attribute(name: str) -> bool:
    return not (name.startswith("_") or name == "training" or name in NOT_ATTRIBUTES or "dropout" in name)


def _plain(value: Any) -> Any:
    """What JSON holds of a number, a string, a function, or several of these; None of anything else."""
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
    """Without what is not a setting, in dictionaries within dictionaries too."""
    if not isinstance(entries, Mapping):
        return entries
    kept = {str(name): value for name, value in entries.items()}
    return {
        name: _settings(value) for name, value in kept.items() if name not in NOT_SETTINGS and not name.startswith("_")
    }


def _type_name(value: Any) -> str:
    return type(value).__name__


def _weights(model: Iterable[nn.Module]) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers by the number of their module and their name in it."""
    for number, module in enumerate(model):
        found = {name: tensor for part in acting_parts(_holder(module)) for name, tensor in part.tensors.items()}
        for name in sorted(found):
            yield f"{number}.{name}", found[name]


def _holder(module: nn.Module) -> nn.Module:
    """What holds the weights: how a Transformer names the model in it is up to the version of sentence-transformers."""
    return module.model if isinstance(module, Transformer) else module


def _row_sums(weight: Tensor) -> Tensor:
    """(n,) int64 on the weight's device: sums over rows of ROW of its 64-bit words, with fixed odd multipliers.

    Modulo 2⁶⁴ the change of any one word changes the sum. The highest bit of a word, the sign of one number in it,
    counts by its parity alone, so two changed signs could cancel where nothing else changes. With rows of an odd
    length, of which those of a matrix are no multiple, they do not for rows or columns of a matrix.
    """
    flat = weight.reshape(-1)
    if flat.stride() != (1,) or flat.storage_offset() * flat.itemsize % 8:
        flat = flat.clone(memory_format=torch.contiguous_format)
    raw = flat.view(torch.uint8)
    n_rows, n_left = divmod(len(raw), 8 * ROW)
    whole, rest = raw.split([len(raw) - n_left, n_left])
    sums = _sums(whole.view(torch.int64).view(n_rows, ROW))
    if not n_left:
        return sums
    padded = F.pad(rest, (0, 8 * ROW - n_left))
    return torch.cat([sums, _sums(padded.view(torch.int64).view(1, ROW))])


def _sums(words: Tensor) -> Tensor:
    """(n,) sums of (n, ROW) words."""
    multipliers = _multipliers()
    if words.device.type == "cpu":
        # In one pass, for which torch needs two.
        return torch.from_numpy(np.einsum("nk,k->n", words.numpy(), multipliers))
    return _sums_on_device(words, torch.from_numpy(multipliers).to(words.device))


def _sums_on_device(words: Tensor, multipliers: Tensor) -> Tensor:
    """The same on devices that numpy does not know, in pieces that bound the memory."""
    pieces = words.split(PIECE // ROW)
    return torch.cat([(piece * multipliers).sum(1) for piece in pieces]) if len(words) else words.new_zeros(0)


@lru_cache(maxsize=1)
def _multipliers() -> np.ndarray:
    """(ROW,) fixed odd numbers without a pattern."""
    drawn = hashlib.shake_256(b"xsbert").digest(8 * ROW)
    return np.frombuffer(drawn, "<i8").astype(np.int64) | 1
