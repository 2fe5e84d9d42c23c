"""Reference tokens, and the reference shift e(x) = f(x) − f(r).

The reference of a text has the same length, keeps the special tokens that the tokenizer puts around it,
and holds one token, by default the unknown token, in every other place, all attended to. It therefore
depends on the length of the text alone.

Its tokens stand at the text's own positions, or, in models that number positions around padding, as these models
number them by themselves: padding tokens all at the position of padding, and only the special tokens counted on.
The models published with the papers, and their code for models off the shelf, have the latter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from sentence_transformers.sentence_transformer.modules import Module, Transformer
from torch import Tensor, nn

__all__ = [
    "Reference",
    "ReferenceShift",
    "ReferenceTransformer",
    "ShiftingReferenceTransformer",
    "default_reference",
    "positions_of_reference",
    "reference_features",
    "resolve_reference",
]

ROLES = ("pad", "unk", "mask")
POSITIONS = ("text", "padding")
MAX_CACHED_TOKENS = 32_768


@dataclass(frozen=True)
class Reference:
    """Which token stands for the absence of a word, and what the tokenizer puts around a text."""

    token: str
    """The token as the vocabulary spells it, such as ``"[PAD]"``."""
    token_id: int
    n_prefix: int
    """Special tokens before a text."""
    n_suffix: int
    """Special tokens after a text."""
    position_offset: int | None
    """Position of the first token in models that number positions around padding, such as RoBERTa. None
    leaves the positions to the model: where they do not depend on the tokens, or, with such a model, to number
    reference tokens that are padding all alike, as the models published with the papers do."""


def default_reference(transformer: Transformer) -> str:
    """``"unk"`` where the tokenizer has an unknown token, which those of byte-level BPE need not have, else ``"pad"``.

    Of the two, the unknown token changes a model's scores less and leaves more of them to the interactions
    (benchmarks/references.py).
    """
    return "pad" if transformer.tokenizer.unk_token is None else "unk"


def resolve_reference(transformer: Transformer, token: str, positions: str = "text") -> Reference:
    """Look up a reference token.

    Args:
        transformer: the first module of a sentence transformer.
        token: ``"pad"``, ``"unk"`` or ``"mask"`` for the tokenizer's special tokens, or any token as the
            vocabulary spells it.
        positions: ``"text"`` for the text's own, ``"padding"`` for those that the model itself gives to a sequence of
            padding tokens.

    Raises:
        TypeError: ``token`` is not a string.
        ValueError: the tokenizer has no such token, ``positions`` is neither, or the model has no position of padding
            or numbers the token as it does text.
    """
    if positions not in POSITIONS:
        raise ValueError(f"reference_positions must be None, 'text' or 'padding', got {positions!r}")
    tokenizer = transformer.tokenizer
    if not isinstance(token, str):
        raise TypeError(f"reference must be a string, got {token!r}")
    spelled = getattr(tokenizer, f"{token}_token") if token in ROLES else token
    if spelled is None:
        others = [role for role in ROLES if getattr(tokenizer, f"{role}_token") is not None]
        raise ValueError(
            f"reference={token!r}: this tokenizer has no {token} token; it has {others}, "
            "or name any token of its vocabulary"
        )
    token_id = tokenizer.convert_tokens_to_ids(spelled)
    if token_id is None or tokenizer.convert_ids_to_tokens(token_id) != spelled:
        raise ValueError(
            f"reference={token!r} is not in the tokenizer's vocabulary; allowed are 'pad', 'unk', 'mask' "
            "where the tokenizer has them, and any token as its vocabulary spells it"
        )
    n_prefix, n_suffix = _special_tokens_around(transformer)
    reference = Reference(spelled, token_id, n_prefix, n_suffix, _position_offset(transformer))
    return _at_positions_of_padding(transformer, reference) if positions == "padding" else reference


def positions_of_reference(transformer: Transformer, reference: Reference) -> str:
    """``"padding"`` where the tokens of the reference all have the model's position of padding, else ``"text"``."""
    left_to_model = reference.position_offset is None
    return "padding" if left_to_model and reference.token_id == _padding_id(transformer) else "text"


def reference_features(reference: Reference, features: dict[str, Any]) -> dict[str, Any]:
    """The model inputs of the references of a batch: row i is the reference of row i, at its own length.

    Args:
        reference: the reference token.
        features: model inputs with ``input_ids`` and ``attention_mask`` (B, S), padded on either side.
    """
    mask = features["attention_mask"].bool()
    place = mask.cumsum(1) - 1
    length = mask.sum(1, keepdim=True)
    content = mask & (place >= reference.n_prefix) & (place < length - reference.n_suffix)
    referenced = {**features, "input_ids": features["input_ids"].masked_fill(content, reference.token_id)}
    if reference.position_offset is not None:
        # These models would number every padding token alike; the reference keeps the text's positions.
        referenced["position_ids"] = (place + reference.position_offset) * mask
    return referenced


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
        self.reference = _checked_reference(self, reference)

    @classmethod
    def from_transformer(cls, transformer: Transformer, reference: Reference) -> ReferenceTransformer:
        """Take over a loaded transformer, sharing its weights and leaving it as it is."""
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
        found = {length: kept.get(length) for length in lengths.tolist()}
        missing = [row for row, states in enumerate(found.values()) if states is None]
        if missing:
            rows = torch.tensor(missing, device=mask.device)
            output = super().forward(_take_rows(features, rows, len(mask)))
            for row, states in zip(missing, output[self.module_output_name], strict=True):
                found[int(lengths[row])] = states[mask[row]]
            _keep(kept, found)
        states = torch.cat(list(found.values()))
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
        state = (autocast, [(weight.data_ptr(), weight._version, weight.dtype, weight.device) for weight in weights])
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


def _checked_reference(transformer: Transformer, reference: Reference | Mapping[str, Any] | None) -> Reference:
    """The reference as it was saved, if tokenizer and model still have it."""
    names = [field.name for field in fields(Reference)]
    if isinstance(reference, Mapping) and sorted(reference) == sorted(names):
        reference = Reference(**reference)
    if not isinstance(reference, Reference):
        raise ValueError(
            f"the reference of a shifted model must be saved with it, with {', '.join(names)}; got {reference!r}"
        )
    counts = (reference.token_id, reference.n_prefix, reference.n_suffix, reference.position_offset or 0)
    if any(type(count) is not int or count < 0 for count in counts):
        raise ValueError(f"ids, numbers of tokens and positions of a reference are whole numbers, got {reference}")
    if not isinstance(reference.token, str):
        raise ValueError(f"the token of a saved reference must be a string, got {reference.token!r}")
    found = resolve_reference(transformer, reference.token)
    if found.token_id != reference.token_id:
        raise ValueError(
            f"the model was shifted by {reference.token!r} with id {reference.token_id}, which has id "
            f"{found.token_id} in this tokenizer: tokenizer and reference do not belong together"
        )
    for name, what in (("n_prefix", "before"), ("n_suffix", "after")):
        saved, real = getattr(reference, name), getattr(found, name)
        if saved != real:
            raise ValueError(
                f"the saved reference has {name}={saved}, and the tokenizer puts {real} special tokens {what} a text: "
                "tokenizer and reference do not belong together"
            )
    if reference.position_offset not in (None, found.position_offset):
        raise ValueError(
            f"the saved reference has position_offset={reference.position_offset}, and the model allows "
            f"{'None' if found.position_offset is None else f'{found.position_offset} or None'}: model and reference "
            "do not belong together"
        )
    return reference


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


def _special_tokens_around(transformer: Transformer) -> tuple[int, int]:
    """How many special tokens the tokenizer puts before and after a text."""
    features = transformer.preprocess(["a"])
    ids = features["input_ids"][0].tolist()
    if getattr(features, "encodings", None):
        special = [bool(flag) for flag in features.encodings[0].special_tokens_mask]
    else:
        special = [token_id in transformer.tokenizer.all_special_ids for token_id in ids]
    content = [position for position, flag in enumerate(special) if not flag]
    return content[0], len(ids) - 1 - content[-1]


def _at_positions_of_padding(transformer: Transformer, reference: Reference) -> Reference:
    padding_id = _padding_id(transformer)
    if padding_id is None:
        raise ValueError(
            f"reference_positions='padding': {type(transformer.model).__name__} has no position of padding, its "
            "positions do not depend on the tokens; only 'text' is allowed"
        )
    if reference.token_id != padding_id:
        raise ValueError(
            f"reference_positions='padding': {type(transformer.model).__name__} gives the position of padding to the "
            f"token with id {padding_id} alone, and numbers the reference {reference.token!r} with id "
            f"{reference.token_id} as it does text; give reference_positions='text'"
        )
    return replace(reference, position_offset=None)


def _position_offset(transformer: Transformer) -> int | None:
    padding_id = _padding_id(transformer)
    return None if padding_id is None else padding_id + 1


def _padding_id(transformer: Transformer) -> int | None:
    """The id that has a position of its own, in models that number positions around padding."""
    for module in transformer.model.modules():
        table = getattr(module, "position_embeddings", None)
        padding_id = getattr(module, "padding_idx", None)
        if isinstance(table, nn.Embedding) and isinstance(padding_id, int):
            return padding_id
    return None
