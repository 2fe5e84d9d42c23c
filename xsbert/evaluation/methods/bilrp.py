"""BiLRP for transformers: relevance of token pairs, with propagation rules for layer norms and attention.

Relevance is propagated from each dimension of the embedding to the input embeddings. Two texts are combined over the
dimensions: R[s, t] = Σ_e R_a[e, s] R_b[e, t] (Eberle et al., 2020). The rules for transformers are (Ali et al., 2022;
Vasileiou and Eberle, NAACL 2024):

- layer norm: y = γ (x − mean x) / σ + β, with σ held constant;
- attention: y = P V, with the attention weights P held constant;
- activations: g(x) = x · g(x)/x, with the ratio held constant.

Derivation. With these held constant the model is an affine function of its input embeddings: f̃(m) with the embeddings
of token s times m[s] is f at m = 1, and affine in m. Relevance by the 0-rule of affine layers is gradient × input, so
R[e, s] = ∂f̃_e/∂m_s. An affine function equals its gradient × input plus its value at zero:

    f(x) = Σ_s R[:, s] + f̃(0),

where f̃(0) collects all biases, including those of layer norms. Without biases, Σ R = f(x) exactly. In general the
remainder f(x) − ΣR is not small. BiLRP assigns it to no token (`xsbert.evaluation.methods.common.of_factors` names it
ρ).

Limits. The dependence of attention weights and norms on a word gets no relevance: a word that only changes the
attention weights has none. The rules must cover each nonlinearity of the model, so only models of known types are
accepted. Relevance is not a difference to a reference: a token is compared with a zero vector.

The derivatives are computed in forward mode, with S products for S tokens. The operations are intercepted when they are
called. The model is not modified.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from sentence_transformers.sentence_transformer.modules import Dense, Dropout, Pooling, Transformer
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..._utils.progress import Progress
from ...engine.private_copy import private_copy
from ...models import XSTransformer
from .common import MethodOptions, Pairs, of_factors, sides

__all__ = ["MODEL_TYPES", "bilrp", "bilrp_obstacle", "relevance"]

MODEL_TYPES = ("bert", "roberta", "xlm-roberta", "mpnet", "distilbert", "electra")
# Allowed activations of dense layers after the pooling.
DENSE_ACTIVATIONS = (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU)
CHUNK = 16
EPSILON = 1e-9


class LrpRules(TorchFunctionMode):
    """Layer norms, attention and activations with their nonlinear parts held constant, and scaled embeddings.

    Args:
        scale: (S,) factors of the tokens' embeddings.
        width: width of the scaled embeddings.
    """

    def __init__(self, scale: Tensor, width: int) -> None:
        super().__init__()
        self.scale, self.width = scale, width

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.embedding:
            found = func(*args, **kwargs)
            return found * self.scale[:, None] if found.shape[-1] == self.width else found
        if func is F.layer_norm:
            return _layer_norm(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        if func in (F.softmax, torch.softmax, Tensor.softmax):
            return func(*args, **kwargs).detach()
        if func in ACTIVATIONS:
            return _held_ratio(func, *args, **kwargs)
        return func(*args, **kwargs)


ACTIVATIONS = {F.gelu, F.relu, F.silu, F.tanh, torch.tanh, torch.relu, Tensor.tanh, Tensor.relu}


def _layer_norm(
    x: Tensor,
    normalized_shape: Any,  # noqa: ARG001
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    y = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt().detach()
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,  # noqa: ARG001
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if is_causal or enable_gqa:
        raise ValueError("BiLRP supports only bidirectional attention with as many keys as queries")
    logits = query @ key.transpose(-1, -2) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if attn_mask is not None:
        logits = logits.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else logits + attn_mask
    return logits.softmax(-1).detach() @ value


def _held_ratio(func: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    y = func(x, *args, **kwargs)
    safe = torch.where(x.abs() > EPSILON, x, torch.full_like(x, EPSILON))
    return x * (y / safe).detach()


def relevance(model: XSTransformer, text: str) -> tuple[np.ndarray, np.ndarray]:
    """Computes the relevance of each token for each dimension of the embedding, and the remainder.

    Args:
        model: a model of one of `MODEL_TYPES`; not modified.
        text: a text of S tokens.

    Returns:
        (S, E) relevance and (E,) the remainder f(x) − ΣR due to biases; float64, before a trailing normalisation.

    Raises:
        ValueError: the model is of another type, is shifted, or its pooling is not linear.
    """
    obstacle = bilrp_obstacle(model)
    if obstacle is not None:
        raise ValueError(obstacle)
    prompt = None if model.default_prompt_name is None else model.prompts[model.default_prompt_name]
    features = {
        name: value.to(model.device) if isinstance(value, Tensor) else value
        for name, value in model.preprocess([text], prompt=prompt).items()
    }
    modules = private_copy(model.unshifted_modules())
    length = features["input_ids"].shape[1]
    width = cast(Tensor, cast(Transformer, model[0]).model.get_input_embeddings().weight).shape[1]

    def embedding(scale: Tensor) -> Tensor:
        with LrpRules(scale, width):
            found = dict(features)
            for module in modules:
                found = module(found)
            return found["sentence_embedding"][0, : model.truncate_dim]

    ones = torch.ones(length, device=model.device, dtype=model.dtype)
    product = torch.func.vmap(lambda row: torch.func.jvp(embedding, (ones,), (row,)), chunk_size=CHUNK)
    with torch.no_grad():
        values, rows = cast("tuple[Tensor, Tensor]", product(torch.eye(length, device=model.device, dtype=model.dtype)))
    rows = rows.double().cpu().numpy()
    return rows, values[0].double().cpu().numpy() - rows.sum(0)


def bilrp(model: XSTransformer, pairs: Pairs, options: MethodOptions) -> list:
    """BiLRP to the input embeddings, with the rules for transformers. Costs S products for a text of S tokens."""
    texts = sides(pairs)
    factors = {}
    with Progress(len(texts), "BiLRP", show=options.show_progress_bar) as progress:
        for text in texts:
            factors[text] = relevance(model, text)[0]
            progress.update()
    left_out = "what biases make, and what attention weights and norms owe to words"
    return of_factors(model, pairs, options, "bilrp", factors, left_out, 0)


def bilrp_obstacle(model: XSTransformer) -> str | None:
    """Returns why BiLRP cannot explain a model, or None."""
    kind = cast(Transformer, model[0]).config.model_type
    if kind not in MODEL_TYPES:
        return (
            f"BiLRP has rules for models of the types {', '.join(MODEL_TYPES)}, whose nonlinear operations are known; "
            f"this one is {kind!r}"
        )
    if model.shifted:
        return "BiLRP explains the embedding of a text, not its difference to a reference: the model is shifted"
    for module in model.unshifted_modules()[1:]:
        if isinstance(module, Pooling) and "max" in np.ravel(module.pooling_mode):
            return "BiLRP needs linear pooling, and this model pools by the maximum"
        if isinstance(module, Dense) and not isinstance(module.activation_function, DENSE_ACTIVATIONS):
            return f"BiLRP has no rule for the activation {module.activation_function} of a dense layer"
        if not isinstance(module, (Pooling, Dense, Dropout)):
            return f"BiLRP has no rule for the module {type(module).__name__}"
    return None
