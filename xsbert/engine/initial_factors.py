"""What is known of a text before its factors: embeddings and settings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..factors.text_factors import Settings, TextFactors
from .kept_prompt import keeps_prompt_of
from .options import Options
from .protocol import Explainable
from .reference import AnyReference, positions_of_reference
from .text_path import TextPath
from .tokenization import TokenizedText

__all__ = ["initial_factors", "numpy_of", "precision_of_derivatives"]


def initial_factors(
    model: Explainable,
    options: Options,
    reference: AnyReference,
    layer: int,
    fingerprint: str,
    text: TokenizedText,
    paths: Sequence[TextPath],
) -> TextFactors:
    """Return a `TextFactors` with embeddings and settings, and zeros as factors, for the paths from each reference."""
    f_x, f_r = numpy_of(paths[0].f_x), np.mean([numpy_of(path.f_r) for path in paths], axis=0)
    kept = slice(model.truncate_dim)
    embedding = f_x - f_r if model.shifted else f_x
    unshifted = f_x / (np.linalg.norm(f_x) or 1.0) if model.normalised else f_x
    return TextFactors(
        text=text.text,
        prompt=text.prompt,
        encoded_by=text.encoded_by,
        tokens=text.tokens,
        roles=text.roles,
        word_ids=text.word_ids,
        spans=text.spans,
        factors=np.zeros((len(text.tokens), len(f_x[kept]))),
        embedding=embedding[kept],
        reference_term=np.zeros_like(f_r[kept]) if model.shifted else f_r[kept],
        normalisation=float(np.linalg.norm(embedding)) if model.normalised else 1.0,
        n_cut=text.n_cut,
        embedding_unshifted=unshifted[kept] if model.shift_added else None,
        outputs=None if paths[0].outputs is None else paths[0].outputs.of_text(text.tokens, text.encoded_by),
        settings=Settings(
            model=model.label,
            layer=layer,
            n_layers=model.n_layers,
            rule=options.rule_name,
            n_steps=0,
            reference=reference.token,
            shift=model.shifted,
            dtype=_name(model.dtype),
            tolerance=options.target,
            factor_tolerance=options.factor_tolerance,
            fingerprint=fingerprint,
            derivative_dtype=precision_of_derivatives(options, model.dtype, model.device),
            reference_positions=positions_of_reference(model[0], reference),
            reference_prompt="keep" if keeps_prompt_of(text, options) else "replace",
        ),
    )


def precision_of_derivatives(options: Options, dtype: torch.dtype | None, device: torch.device) -> str:
    """Return the precision of products of derivatives in linear layers, ``"tf32"`` if torch uses it for float32."""
    if options.derivatives is not None:
        return _name(options.derivatives)
    if dtype == torch.float32 and device.type == "cuda" and _torch_takes_tf32():
        return "tf32"
    return _name(dtype)


def numpy_of(tensor: Tensor) -> np.ndarray:
    """Convert a tensor to a float64 array."""
    return tensor.detach().cpu().double().numpy()


def _name(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.")


def _torch_takes_tf32() -> bool:
    """Return whether this process allows CUDA to multiply float32 matrices in TF32."""
    matmul = torch.backends.cuda.matmul
    # From torch 2.9 on, the older name must not be read if the newer one was set.
    return matmul.fp32_precision == "tf32" if hasattr(matmul, "fp32_precision") else bool(matmul.allow_tf32)
