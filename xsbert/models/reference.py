"""The reference shift e(x) = f(x) − f(r), as modules of a sentence transformer.

What a reference is, `xsbert.engine.reference` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from sentence_transformers.sentence_transformer.modules import Module, Transformer
from torch import Tensor

from .._utils.torch_internals import write_count

# Results that were pickled by version 0.1.0 look for `Reference` here.
from ..engine.reference import Reference, checked_reference, reference_features, resolve_reference

__all__ = ["Reference", "ReferenceShift", "ReferenceTransformer", "ShiftingReferenceTransformer"]

MAX_CACHED_TOKENS = 32_768


class ReferenceTransformer(Transformer):
    """A `Transformer` that runs the references of its texts along with them.

    Behind the B rows of the texts come R rows, one reference for each distinct length, so that the pooling
    and dense modules treat both alike; `ReferenceShift` then subtracts and takes the R rows away.

    In evaluation mode and without gradients, the hidden states of the references are kept by length until the
    weights, their device or dtype change, or the model runs in training. Of weights that are written to through
    ``.data`` torch tells nothing: call ``train()`` then, which forgets the kept states.

    Args:
        model_name_or_path: as for `Transformer`.
        reference: the reference token, or its fields as they were saved.
        **kwargs: as for `Transformer`.

    Raises:
        ValueError: there is no reference, its fields are incomplete, or tokenizer or model have something else there.
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
        """Take over a loaded transformer, sharing its weights and leaving it as it is; None runs no references."""
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
        # Any text of a length can lend its row: references of one length are the same.
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
        """Run references with R distinct lengths, those of unknown lengths at least."""
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
        """Hidden states (S, H) of references by their length S; None where nothing may be kept.

        Threads share the dictionary without a lock: it belongs to one state of the weights, and a thread that
        sees another state starts another dictionary.
        """
        if torch.compiler.is_compiling():
            return None
        if self.training or self.model.training or torch.is_grad_enabled():
            # A step of training may follow, and fused optimizers do not count up the versions of the weights.
            self._kept = None
            return None
        weights = [*self.model.parameters(), *self.model.buffers()]
        # The replicas of DataParallel have no parameters of their own, and inference tensors no version.
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
        # Weights that are moved twice can come to lie where they lay before.
        self._kept = None
        return super()._apply(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_kept"}


class ShiftingReferenceTransformer(ReferenceTransformer):
    """The first module of the models published with the papers, loaded from what they saved of it.

    Their reference tokens are padding, and keep the position that the model itself gives to padding.
    """

    @classmethod
    def load(cls, *args: Any, **kwargs: Any) -> ReferenceTransformer:
        transformer = Transformer.load(*args, **kwargs)
        reference = replace(resolve_reference(transformer, "pad"), position_offset=None)
        return ReferenceTransformer.from_transformer(transformer, reference)


class ReferenceShift(Module):
    """Subtracts from the embedding of each text that of its reference: e(x) = f(x) − f(r).

    (Moeller et al., EMNLP 2023, eq. 4.) Follows `ReferenceTransformer`, the pooling and any dense modules.

    Args:
        added: the shift was put into a model that was neither trained nor saved with it, so that the model's own scores
            are those without it. `train` ends this, since weights that are trained from then on are trained with the
            shift; and it is not saved, since who loads the model was given shifted embeddings.
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
        # f(r) − f(r) is zero, also where two rows of one batch are rounded differently.
        features["sentence_embedding"] = shifted.masked_fill(is_reference[:, None], 0.0)
        return {
            name: value[:n_texts] if isinstance(value, Tensor) and value.ndim and len(value) == n_rows else value
            for name, value in features.items()
        }

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        self.save_config(output_path)


def _keep(kept: dict[int, Tensor], found: Mapping[int, Tensor]) -> None:
    """Keep hidden states of references up to a bound on their memory."""
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
