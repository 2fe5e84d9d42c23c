"""The routes of a router, and pairs of texts that two routes embed."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import replace
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Router
from torch import nn

from ..attribution.attribution import Attribution
from ..factors.text_factors import TextFactors, settings_of

__all__ = ["attribution_across", "modules_of_route"]


def modules_of_route(model: SentenceTransformer, route: str | None) -> OrderedDict[str, nn.Module]:
    """Return the modules that embed by one route of a router, or all modules of a model without a router.

    Raises:
        ValueError: the model has a router and ``route`` is not one of its routes, or it has none and a route is given.
    """
    modules: OrderedDict[str, Any] = OrderedDict(model._modules)
    first = next(iter(modules.values()))
    if not isinstance(first, Router):
        if route is not None:
            raise ValueError(f"route must be None for a model without a router, got {route!r}")
        return modules
    routes = sorted(first.sub_modules)
    if route not in routes:
        raise ValueError(
            f"route must be one of {', '.join(map(repr, routes))}, the routes of the router, got {route!r}"
        )
    chosen: Any = first.sub_modules[route]
    behind = list(modules.values())[1:]
    return OrderedDict((str(at), module) for at, module in enumerate([*chosen, *behind]))


def attribution_across(one: Any, other: Any, text_a: str, text_b: str, similarity: str, options: Any) -> Attribution:
    """Explain the similarity of a text under one model with a text under another, which embed into one space.

    Raises:
        ValueError: the embeddings are not of one width.
    """
    (a,) = one.text_factors([text_a], **options)
    (b,) = other.text_factors([text_b], **options)
    if len(a.embedding) != len(b.embedding):
        raise ValueError(
            f"both models must embed into one space: their embeddings have {len(a.embedding)} and {len(b.embedding)} "
            "dimensions"
        )
    return Attribution.of(*_of_one_kind(a, b), similarity)


def _of_one_kind(a: TextFactors, b: TextFactors) -> tuple[TextFactors, TextFactors]:
    """Give both texts the settings of the pair of models, so that they combine with each other and with no others."""
    first, second = settings_of(a), settings_of(b)
    both = f"{first.fingerprint} {second.fingerprint}".encode()
    names = ("model", "rule", "reference", "dtype")
    named = {name: _both(getattr(first, name), getattr(second, name)) for name in names}
    kind = first.fingerprint.partition(":")[0]
    fingerprint = f"{kind}:{hashlib.sha256(both).hexdigest()[:32]}"
    common = replace(first, **named, fingerprint=fingerprint)
    counts = {name: getattr(second, name) for name in ("n_steps", "n_looks", "n_float64")}
    return replace(a, settings=common), replace(b, settings=replace(common, **counts))


def _both(one: str, other: str) -> str:
    return one if one == other else f"{one} and {other}"
