"""The reference shift e(x) = f(x) − f(r), as modules of a sentence transformer.

`xsbert.engine.reference` defines references.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from sentence_transformers.sentence_transformer.modules import Module, Transformer
from torch import Tensor

from .._utils.torch_internals import write_count

# Results pickled by version 0.1.0 import `Reference` from here.
from ..engine.reference import Reference, checked_reference, reference_features, resolve_reference

__all__ = ["Reference", "ReferenceShift", "ReferenceTransformer", "ShiftingReferenceTransformer"]

MAX_CACHED_TOKENS = 32_768


class ReferenceTransformer(Transformer):
    """A `Transformer` that also runs the references of its texts.

    It appends R rows to the B rows of the texts, one reference for each distinct length. Pooling and dense modules
    thus treat both alike. `ReferenceShift` then subtracts the references and removes their rows.

    In evaluation mode and without gradients, the hidden states of the references are cached by length. The cache is
    cleared when the weights, their device or dtype change, or when the model runs in training mode. It cannot detect
    writes to weights through ``.data``; call ``train()`` after these to clear it.

    Args:
        model_name_or_path: as for `Transformer`.
        reference: the reference, or its saved fields.
        **kwargs: as for `Transformer`.

    Raises:
        ValueError: there is no reference, its fields are incomplete, or they do not match the tokenizer or model.
    """

    reference: Reference | None = None
    _kept: tuple[Any, dict[int, Tensor]] | None = None

    def __init__(
        self, model_name_or_path: str, *, reference: Reference | Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(model_name_or_path, **kwargs)
        self.reference = checked_reference(self, reference)

    @classmethod
    def from_transformer(cls, transformer: Transformer, reference: Reference | None) -> ReferenceTransformer:
        """Wrap a loaded transformer, which stays unchanged and shares its weights. None runs no references."""
        module = cls.__new__(cls)
        vars(module).update(vars(transformer))
        for name in ("_modules", "_parameters", "_buffers"):
            vars(module)[name] = dict(getattr(transformer, name))
        module.reference = reference
        return module

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        if self.reference is None:
            return super().forward(features, **kwargs)
        if "attention_mask" not in features or "input_ids" not in features:
            raise ValueError(
                "the reference shift needs padded batches with input_ids and an attention_mask, got the "
                f"features {sorted(features)}; load the model with "
                "model_kwargs={'attn_implementation': 'sdpa'}"
            )
        referenced = reference_features(self.reference, features)
        lengths, index = features["attention_mask"].sum(1).unique(return_inverse=True)
        # References of the same length are equal, so any text of that length provides the row.
        rows = torch.stack([(index == position).nonzero()[0, 0] for position in range(len(lengths))])
        is_reference = (features["input_ids"] == referenced["input_ids"]).all(1)

        n_texts = len(index)
        texts = super().forward(dict(features), **kwargs)
        references = self._run_references(_take_rows(referenced, rows, n_texts), lengths, kwargs)
        both = {
            name: torch.cat([value, references[name]])
            if isinstance(value, Tensor) and isinstance(references.get(name), Tensor) and len(value) == n_texts
            else value
            for name, value in texts.items()
        }
        return {**both, "reference_index": n_texts + index, "is_reference": is_reference}

    def _run_references(self, features: dict[str, Any], lengths: Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Run references with R distinct lengths, except those with cached states."""
        kept = None if kwargs else self._kept_states(lengths.device.type)
        if kept is None:
            return super().forward(features, **kwargs)
        mask = features["attention_mask"].bool()
        found = {length: kept[length] for length in lengths.tolist() if length in kept}
        missing = [row for row, length in enumerate(lengths.tolist()) if length not in found]
        if missing:
            rows = torch.tensor(missing, device=mask.device)
            output = super().forward(_take_rows(features, rows, len(mask)))
            for row, states in zip(missing, output[self.module_output_name], strict=True):
                found[int(lengths[row])] = states[mask[row]]
            _keep(kept, found)
        states = torch.cat([found[length] for length in lengths.tolist()])
        padded = states.new_zeros((*mask.shape, states.shape[-1]))
        padded[mask] = states
        return {**features, self.module_output_name: padded}

    def _kept_states(self, device_type: str) -> dict[int, Tensor] | None:
        """Return the cached hidden states (S, H) of references by length S, or None if caching is not allowed.

        Threads share the dictionary without a lock. It belongs to one state of the weights; a thread that sees
        another state creates another dictionary.
        """
        if torch.compiler.is_compiling():
            return None
        if self.training or self.model.training or torch.is_grad_enabled():
            # A training step may follow, and fused optimizers do not increment the version counters of weights.
            self._kept = None
            return None
        weights = [*self.model.parameters(), *self.model.buffers()]
        # Replicas of DataParallel have no parameters of their own; inference tensors have no version counter.
        if not weights or any(weight.is_inference() for weight in weights):
            return None
        autocast = torch.is_autocast_enabled(device_type) and torch.get_autocast_dtype(device_type)
        state = (
            autocast,
            [(weight.data_ptr(), write_count(weight), weight.dtype, weight.device) for weight in weights],
        )
        if self._kept is None or self._kept[0] != state:
            self._kept = (state, {})
        return self._kept[1]

    def train(self, mode: bool = True) -> ReferenceTransformer:
        if mode:
            self._kept = None
        return super().train(mode)

    def get_config_dict(self) -> dict[str, Any]:
        config = super().get_config_dict()
        return config if self.reference is None else {**config, "reference": asdict(self.reference)}

    def _apply(self, *args: Any, **kwargs: Any) -> ReferenceTransformer:
        # Weights that are moved twice can return to their former addresses.
        self._kept = None
        return super()._apply(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_kept"}


class ShiftingReferenceTransformer(ReferenceTransformer):
    """Loads the first module of the models published with the papers.

    Their reference tokens are padding tokens at the model's own padding position.
    """

    @classmethod
    def load(cls, *args: Any, **kwargs: Any) -> ReferenceTransformer:
        transformer = Transformer.load(*args, **kwargs)
        reference = replace(resolve_reference(transformer, "pad"), position_offset=None)
        return ReferenceTransformer.from_transformer(transformer, reference)


class ReferenceShift(Module):
    """Subtracts the embedding of the reference from that of each text: e(x) = f(x) − f(r).

    (Moeller et al., EMNLP 2023, eq. 4.) It follows `ReferenceTransformer`, the pooling and any dense modules.

    Args:
        added: whether the shift was added to a model that was neither trained nor saved with it. The model's own
            scores are then those without the shift. `train` resets it, because later training includes the shift.
            It is not saved: for users who load a saved model, the shifted embeddings are the model's own.
    """

    def __init__(self, added: bool = False) -> None:
        super().__init__()
        self.added = added

    def train(self, mode: bool = True) -> ReferenceShift:
        if mode:
            self.added = False
        return super().train(mode)

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        index, is_reference = features.pop("reference_index"), features.pop("is_reference")
        n_texts, n_rows = len(index), len(features["sentence_embedding"])
        embedding = features["sentence_embedding"]
        shifted = embedding[:n_texts] - embedding[index]
        # f(r) − f(r) is exactly zero, even if two rows of a batch are rounded differently.
        features["sentence_embedding"] = shifted.masked_fill(is_reference[:, None], 0.0)
        return {
            name: value[:n_texts] if isinstance(value, Tensor) and value.ndim and len(value) == n_rows else value
            for name, value in features.items()
        }

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        self.save_config(output_path)


def _keep(kept: dict[int, Tensor], found: Mapping[int, Tensor]) -> None:
    """Cache hidden states of references, up to `MAX_CACHED_TOKENS` tokens."""
    room = MAX_CACHED_TOKENS - sum(list(kept))
    for length, states in found.items():
        if length not in kept and length <= room:
            kept[length] = states.clone()
            room -= length


def _take_rows(features: dict[str, Any], rows: Tensor, n_texts: int) -> dict[str, Any]:
    return {
        name: value[rows] if isinstance(value, Tensor) and value.ndim and len(value) == n_texts else value
        for name, value in features.items()
    }
