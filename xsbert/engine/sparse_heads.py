"""Heads of sparse encoders: logits of a masked language model pooled by term, and sparse autoencoders.

An entry of a SPLADE embedding is e[v] = max_p φ(z[p, v]) over the tokens p, or the sum over them, where z are the
logits of a masked language model and φ = log1p∘relu (once more log1p for ``log1p_relu``). Only the terms with e[v] > 0,
the support, are computed. By default the choices are frozen at the text: the token p_v at which the maximum lies, or
the tokens with positive logits in a sum. The logits are integrated, and φ becomes its secant from reference to text:

    f[v](h) = Σ_p w[p, v] (z[p, v](h) − z[p, v](x)) + e[v],    w = (φ(z(x)) − φ(z(r))) / (z(x) − z(r))

so that f(x) is the embedding, f(r)[v] = Σ_p φ(z[p, v](r)), and f is as smooth as the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder, SpladePooling
from torch import Tensor, nn

from ..factors.outputs import Terms
from .heads import Frozen

__all__ = ["AutoencoderHead", "SpladeHead"]

Labels = Callable[[Sequence[int]], Sequence[str]]
"""Maps positions in the embedding to what readers see."""


@dataclass(frozen=True)
class _Choices:
    """What is frozen at one text, for a support of E terms."""

    ids: Tensor
    """(E,) the terms."""
    weights: Tensor | None = None
    """(S, E) w, float64, zero for tokens that do not matter; None where nothing but the support is frozen."""
    constant: Tensor | None = None
    """(E,) what f adds to the weighted logits, float64."""


class SpladeHead:
    """Pooled logits of a masked language model.

    Args:
        network: private copy of the masked language model.
        pooling: pooling of its logits.
        max_active_dims: at most so many terms, the largest, are kept; None keeps all.
        labels: names of the terms.
    """

    freezes = True
    behind_base_model = True

    def __init__(self, network: Any, pooling: SpladePooling, max_active_dims: int | None, labels: Labels) -> None:
        self._pooling, self._most, self._labels = pooling, max_active_dims, labels
        self._decoder: nn.Linear = network.get_output_embeddings()
        self._chosen: _Choices | None = None
        self._full = self._decoder.forward
        self._decoder.forward = self._decoded

    def record(self, features: dict[str, Any]) -> Tensor:
        """Return the logits (B, S, V)."""
        return features["token_embeddings"]

    def freeze(self, at_text: Tensor, at_reference: Tensor, integrate_kinks: bool) -> Frozen:
        logits = at_text.double()
        embedding = self._pooled(logits[None])[0]
        ids = _support(embedding, self._most)
        outputs = Terms(ids.cpu().numpy(), tuple(self._labels(ids.tolist())), logits.shape[-1])
        z_x, z_r, e_x = logits[:, ids], at_reference[:, ids].double(), embedding[ids]
        if integrate_kinks:
            return _frozen(e_x, self._pooled(z_r[None])[0], outputs, _Choices(ids), at_text)
        chosen = z_x > 0
        if self._pooling.pooling_strategy == "max":
            chosen = torch.zeros_like(chosen).scatter_(0, z_x.argmax(0, keepdim=True), 1)
        weights = torch.where(chosen, _secant(self._activation, z_x, z_r), 0.0)
        choices = _Choices(ids, weights, e_x - (weights * z_x).sum(0))
        return _frozen(e_x, e_x - (weights * (z_x - z_r)).sum(0), outputs, choices, at_text)

    @contextmanager
    def reading(self, choices: _Choices) -> Iterator[None]:
        self._chosen = choices
        try:
            yield
        finally:
            self._chosen = None

    def read(self, features: dict[str, Any], choices: _Choices) -> Tensor:
        found = features["token_embeddings"]
        return self._pooled(found) if choices.weights is None else found[:, 0] + _as(choices.constant, found)

    def _decoded(self, input: Tensor) -> Tensor:
        """Return all logits (B, S, V); or within `reading` what the choices need of them, (B, S, E) or (B, 1, E)."""
        chosen = self._chosen
        if chosen is None:
            return self._full(input)
        rows = self._decoder.weight[chosen.ids]
        bias = cast("Tensor | None", self._decoder.bias)
        bias = None if bias is None else bias[chosen.ids]
        if chosen.weights is None:
            return torch.nn.functional.linear(input, rows, bias)
        weights = _as(chosen.weights, input)
        found = ((weights.T @ input) * rows).sum(-1)
        return (found if bias is None else found + weights.sum(0) * bias)[:, None]

    def _activation(self, logits: Tensor) -> Tensor:
        found = logits.relu().log1p()
        return found.log1p() if self._pooling.activation_function == "log1p_relu" else found

    def _pooled(self, logits: Tensor) -> Tensor:
        """Return embeddings (B, E) of logits (B, S, E)."""
        if self._pooling.pooling_strategy == "max":
            return self._activation(logits.max(1).values)
        return self._activation(logits).sum(1)


class AutoencoderHead:
    """A sparse autoencoder on a pooled embedding, which keeps its k largest latents if they are positive.

    The k latents of a text are frozen, and relu becomes its secant.

    Args:
        modules: modules between the transformer and the autoencoder, such as a pooling.
        autoencoder: private copy.
        max_active_dims: k, if it is not the autoencoder's own.
    """

    freezes = True
    behind_base_model = False

    def __init__(
        self, modules: Sequence[nn.Module], autoencoder: SparseAutoEncoder, max_active_dims: int | None
    ) -> None:
        self._modules, self._autoencoder = modules, autoencoder
        self._most = max_active_dims or autoencoder.k

    def record(self, features: dict[str, Any]) -> Tensor:
        """Return the latents (B, V) before the choice of the largest."""
        for module in self._modules:
            features = module(features)
        prepared, _ = self._autoencoder.prepare(features["sentence_embedding"])
        return self._autoencoder.encode_pre_act(prepared)

    def freeze(self, at_text: Tensor, at_reference: Tensor, integrate_kinks: bool) -> Frozen:
        if integrate_kinks:
            raise ValueError(
                "kinks='integrate' needs a function without jumps, and the latents of a sparse autoencoder jump where "
                "another is among the largest: only kinks='freeze' is allowed"
            )
        latents = at_text.double()
        ids = _support(latents.relu(), self._most)
        outputs = Terms(ids.cpu().numpy(), tuple(f"latent {each}" for each in ids.tolist()), len(latents))
        z_x, z_r = latents[ids], at_reference[ids].double()
        weights = _secant(torch.relu, z_x, z_r)
        choices = _Choices(ids, weights, z_x - weights * z_x)
        return _frozen(z_x, z_x - weights * (z_x - z_r), outputs, choices, at_text)

    @contextmanager
    def reading(self, choices: _Choices) -> Iterator[None]:
        yield

    def read(self, features: dict[str, Any], choices: _Choices) -> Tensor:
        latents = self.record(features)
        return latents[:, choices.ids] * _as(choices.weights, latents) + _as(choices.constant, latents)


def _support(embedding: Tensor, most: int | None) -> Tensor:
    """Return the positions of the positive entries of an embedding (V,), at most so many of the largest; ascending."""
    (ids,) = (embedding > 0).nonzero(as_tuple=True)
    if most is not None and len(ids) > most:
        ids = ids[embedding[ids].topk(most).indices].sort().values
    return ids


def _secant(activation: Callable[[Tensor], Tensor], z_x: Tensor, z_r: Tensor) -> Tensor:
    """Return the slope of the activation between z_r and z_x, or its derivative at z_x where both are equal."""
    gap = z_x - z_r
    same = gap.abs() <= 1e-9 * z_x.abs()
    slopes = (activation(z_x) - activation(z_r)) / torch.where(same, 1.0, gap)
    step = 1e-6 * (1 + z_x.abs())
    tangents = (activation(z_x + step) - activation(z_x - step)) / (2 * step)
    return torch.where(same, tangents, slopes)


def _frozen(f_x: Tensor, f_r: Tensor, outputs: Terms, choices: _Choices, like: Tensor) -> Frozen:
    return Frozen(f_x.to(like.dtype), f_r.to(like.dtype), outputs, choices)


def _as(values: Tensor | None, like: Tensor) -> Tensor:
    assert values is not None
    return values.to(like.dtype)
