"""Baselines: products and cosines of hidden states, and cosines of static embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import Tensor

from ...engine.options import resolved_layer
from ...engine.private_copy import private_copy
from ...factors.text_factors import TextFactors
from ...models.comparing import ComparingModel
from ...text.units import TEXT
from ..perturbation import Perturber
from .common import MethodOptions, Pairs, of_factors, of_values, sides

__all__ = ["cosines", "hidden_states", "layer_cosines", "products", "static_cosines"]

BATCH = 64


def hidden_states(model: ComparingModel, texts: Sequence[str], layer: int) -> dict[str, np.ndarray]:
    """Returns the (S, H) inputs of a layer for distinct texts. Texts of equal length form a batch.

    Args:
        layer: 0 … L, or negative.
    """
    layer = resolved_layer(layer, model.n_layers)
    prompt = None if model.default_prompt_name is None else model.prompts[model.default_prompt_name]
    features = {text: dict(model.preprocess([text], prompt=prompt)) for text in dict.fromkeys(texts)}
    by_length: dict[int, list[str]] = {}
    for text, each in features.items():
        by_length.setdefault(each["input_ids"].shape[1], []).append(text)
    network = cast(Transformer, private_copy([model[0]])[0]).model
    found = {}
    for group in by_length.values():
        for start in range(0, len(group), BATCH):
            batch = group[start : start + BATCH]
            names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in features[batch[0]]]
            inputs = {name: torch.cat([features[text][name] for text in batch]).to(model.device) for name in names}
            with torch.no_grad():
                states: Sequence[Tensor] = network(**inputs, output_hidden_states=True).hidden_states
            found.update(zip(batch, states[layer].double().cpu().numpy(), strict=True))
    return found


def products(model: ComparingModel, pairs: Pairs, options: MethodOptions) -> list:
    """Inner products of the last hidden states, each state divided by the number of tokens.

    They sum to the score of a model that ends with mean pooling.
    """
    states = hidden_states(model, sides(pairs), model.n_layers)
    factors = {text: each / len(each) for text, each in states.items()}
    layouts = options.layouts(model, sides(pairs))
    if any(layouts[text].embedding.shape != each.shape[1:] for text, each in states.items()):
        return _inner(model, pairs, options, "products", factors, "not in units of the score: the model goes on behind")
    left_out = "the mixing of words before the last layer; what pooling and later modules do beyond a mean"
    return of_factors(model, pairs, options, "products", factors, left_out, model.n_layers)


def cosines(model: ComparingModel, pairs: Pairs, options: MethodOptions) -> list:
    """Cosines of the last hidden states. The state of a unit is the mean over its tokens."""
    states = hidden_states(model, sides(pairs), model.n_layers)
    return _cosines(model, pairs, options, "cosines", states, model.n_layers)


def layer_cosines(model: ComparingModel, pairs: Pairs, options: MethodOptions) -> list:
    """Cosines of the inputs of the layer. The state of a unit is the mean over its tokens."""
    layer = resolved_layer(options.layer, model.n_layers)
    states = hidden_states(model, sides(pairs), layer)
    return _cosines(model, pairs, options, "layer cosines", states, layer)


def static_cosines(model: ComparingModel, pairs: Pairs, options: MethodOptions) -> list:
    """Cosines of the word embeddings, before positions and layers."""
    table = cast(Tensor, cast(Transformer, model[0]).model.get_input_embeddings().weight)
    perturber = Perturber(model, "tokens", show_progress_bar=False)
    perturber.prepare(sides(pairs))
    ids = {text: perturber.units_of(text).features["input_ids"][0].to(table.device) for text in sides(pairs)}
    vectors = {text: table[each].detach().double().cpu().numpy() for text, each in ids.items()}
    return _cosines(model, pairs, options, "static cosines", vectors, 0)


def _cosines(
    model: ComparingModel,
    pairs: Pairs,
    options: MethodOptions,
    name: str,
    vectors: dict[str, np.ndarray],
    layer: int,
) -> list:
    left_out = "not in units of the score: cosines between units, whatever they add to it"
    layouts = options.layouts(model, sides(pairs))
    results = []
    for text_a, text_b in pairs:
        a, b = layouts[text_a], layouts[text_b]
        means_a, means_b = (
            _unit_means(each, vectors[text], options.units) for each, text in ((a, text_a), (b, text_b))
        )
        if options.units != "tokens":
            a, b = a.over(options.units), b.over(options.units)
        rows, columns = (np.array([role == TEXT for role in side.roles]) for side in (a, b))
        values = np.where(np.outer(rows, columns), means_a @ means_b.T, 0)
        results.append(of_values(a, b, options, name, values, left_out, layer=layer))
    return results


def _unit_means(layout: TextFactors, vectors: np.ndarray, units: str) -> np.ndarray:
    """Returns (G, H) means over the tokens of each unit, with norm one."""
    groups = [[s] for s in range(len(layout.tokens))] if units == "tokens" else layout.groups(units)
    means = np.stack([vectors[group].mean(0) for group in groups])
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    return np.divide(means, norms, out=np.zeros_like(means), where=norms > 0)


def _inner(
    model: ComparingModel,
    pairs: Pairs,
    options: MethodOptions,
    name: str,
    factors: dict[str, np.ndarray],
    left_out: str,
) -> list:
    layouts = options.layouts(model, sides(pairs))
    return [
        of_values(layouts[a], layouts[b], options, name, factors[a] @ factors[b].T, left_out).in_units(options.units)
        for a, b in pairs
    ]
