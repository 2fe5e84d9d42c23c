"""JSON Schemas of all JSON that the package writes, as files beside this module."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

__all__ = ["SCHEMAS", "json_schema"]

SCHEMAS = (
    "blind_spots",
    "contrast",
    "contributions",
    "corpus",
    "corpus_settings",
    "faithfulness",
    "pair",
    "pairs_line",
    "ranking",
    "table",
)
"""Names of the schemas."""


def json_schema(name: str) -> dict[str, Any]:
    """Return a JSON Schema (draft 2020-12) of JSON that the package writes.

    Its ``$id`` ends in a version, which grows when readers of the JSON have to change.

    Args:
        name: ``"pair"`` (`Attribution.to_dict`, `xsbert --json`), ``"pairs_line"`` (a line of `xsbert --pairs`),
            ``"ranking"`` (`Ranking.to_dict`, `xsbert rank --json`), ``"contrast"``, ``"contributions"``,
            ``"faithfulness"``, ``"blind_spots"`` (`BlindSpots.to_dict`, `xsbert blind-spots --json`), ``"table"``
            (linguistics), ``"corpus"`` (the manifest of a corpus job) or
            ``"corpus_settings"`` (the settings of its rows).

    Raises:
        ValueError: There is no schema of this name.

    >>> json_schema("ranking")["$id"]
    'urn:xsbert:ranking:1'
    """
    if name not in SCHEMAS:
        raise ValueError(f"name must be one of {', '.join(map(repr, SCHEMAS))}, got {name!r}")
    return json.loads(files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8"))
