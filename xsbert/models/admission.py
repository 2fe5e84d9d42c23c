"""Checks that reject models that cannot be explained."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from safetensors import SafetensorError, safe_open
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    BoW,
    CLIPModel,
    Normalize,
    Router,
    StaticEmbedding,
    Transformer,
    WeightedLayerPooling,
    WordEmbeddings,
    WordWeights,
)

from ..engine.preconditions import check_not_quantised
from ..engine.split_model import encoder_layers
from .reference import ReferenceShift, ReferenceTransformer

__all__ = ["check_supported", "damaged_weights"]

# With these modules, the embedding is not a function of the hidden states at one layer.
REFUSED = {
    BoW: "a bag of words has no encoder layers to attribute to",
    WordEmbeddings: "word embeddings have no encoder layers to attribute to",
    CLIPModel: "image models are not covered, xsbert explains pairs of texts",
    Router: "a router chooses its encoder per input; wrap one of its routes, as in "
    "XSTransformer.wrap(model, route='query')",
    WeightedLayerPooling: "it mixes the outputs of all layers, so no single layer carries the embedding",
    WordWeights: "it weights tokens by their identity, which the hidden states do not carry",
}


def check_supported(model: SentenceTransformer, model_types: tuple[str, ...] | None) -> None:
    """Reject a model that cannot be explained.

    Args:
        model: a loaded model.
        model_types: the transformers model types that its class supports, None for any.

    Raises:
        ValueError: the model cannot be explained; the message gives the reason.
    """
    if model.backend != "torch":
        raise ValueError(f"only the torch backend can be differentiated, got backend={model.backend!r}")
    for module in model:
        for refused, reason in REFUSED.items():
            if isinstance(module, refused):
                raise ValueError(f"a model with {refused.__name__} cannot be explained: {reason}")
    first = model[0]
    if isinstance(first, StaticEmbedding):
        _check_static(model, model_types)
        return
    if not isinstance(first, Transformer):
        raise ValueError(f"the first module must be a sentence-transformers Transformer, got {type(first).__name__}")
    text = first.modality_config.get("text")
    if text is None or text["method"] != "forward" or first.module_output_name != "token_embeddings":
        raise ValueError(
            f"the model must turn text into token embeddings, got the modalities {first.modality_config}; "
            "image models are not covered"
        )
    model_type = first.config.model_type
    if model_types is not None and model_type not in model_types:
        raise ValueError(
            f"{type(model).__name__} is for models of type {' or '.join(model_types)}, got "
            f"{model_type!r}; XSTransformer takes any"
        )
    check_not_quantised(model)
    encoder_layers(first)
    check_shift(model)


def _check_static(model: SentenceTransformer, model_types: tuple[str, ...] | None) -> None:
    """Reject a static model of another kind than the mean of its table's rows."""
    first = cast(StaticEmbedding, model[0])
    table = first.embedding
    if type(first).forward is not StaticEmbedding.forward:
        raise ValueError(
            f"{type(first).__name__} has its own forward, and may embed a text otherwise than by the mean of its "
            "tokens' rows, which is what xsbert explains in a static model"
        )
    if model_types is not None:
        raise ValueError(
            f"{type(model).__name__} is for models of type {' or '.join(model_types)}, got a static model; "
            "XSTransformer takes any"
        )
    check_not_quantised(model)
    if not table.weight.is_floating_point():
        raise ValueError(f"a static model of whole numbers ({table.weight.dtype}) cannot be explained: convert it")
    others = {"mode": table.mode, "max_norm": table.max_norm, "padding_idx": table.padding_idx}
    usual = {"mode": "mean", "max_norm": None, "padding_idx": None}
    for name, value in others.items():
        if value != usual[name]:
            raise ValueError(f"static embeddings must have {name}={usual[name]!r}, got {value!r}")


def check_shift(model: SentenceTransformer) -> None:
    """Reject a shift after which the embedding of the reference would not be zero."""
    names = [type(module).__name__ for module in model]
    shifts = [place for place, module in enumerate(model) if isinstance(module, ReferenceShift)]
    runners = [place for place, module in enumerate(model) if isinstance(module, ReferenceTransformer)]
    if not shifts and not runners:
        return
    if len(shifts) != 1 or runners != [0]:
        raise ValueError(
            "a shifted model has one ReferenceTransformer in front, which runs the references, and one "
            f"ReferenceShift behind it, which subtracts them; got the modules {', '.join(names)}"
        )
    if cast(ReferenceTransformer, model[0]).reference is None:
        raise ValueError("the ReferenceTransformer of a shifted model must have a reference, got None")
    behind = list(model)[shifts[0] + 1 :]
    changing = [type(module).__name__ for module in behind if not isinstance(module, Normalize)]
    if changing:
        raise ValueError(
            f"{' and '.join(changing)} behind the reference shift would take the reference away from zero, so "
            "attributions would no longer add up to the score; only a normalization may follow the shift"
        )


def damaged_weights(model_name_or_path: str | None) -> str:
    """Return the first weight file in a folder that cannot be opened, or the model's name if there is none."""
    for file in sorted(Path(str(model_name_or_path)).rglob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):
                pass
        except SafetensorError:
            return str(file)
    return str(model_name_or_path)
