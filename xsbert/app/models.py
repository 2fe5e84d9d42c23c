"""The models of the app, each loaded when it is first used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

from ..models import XSTransformer

__all__ = ["Models"]


class Models:
    """Models by name. Each is loaded once, by the first request that needs it.

    Args:
        names: Names or paths, the default first.
        load: Called with a name, returns the model.

    Raises:
        ValueError: There is no name, or a name is given twice.
    """

    def __init__(self, names: Sequence[str], load: Callable[[str], XSTransformer]) -> None:
        if not names:
            raise ValueError("names must hold at least one model")
        if len(set(names)) < len(names):
            raise ValueError(f"names must be distinct, got {', '.join(map(repr, names))}")
        self.names = tuple(names)
        self._load = load
        self._loaded: dict[str, XSTransformer] = {}
        self._lock = Lock()

    def get(self, name: str) -> XSTransformer:
        """Return a model, loaded if necessary.

        Raises:
            ValueError: The app has no model of this name.
            OSError: The model cannot be loaded.
        """
        if name not in self.names:
            raise ValueError(f"model must be one of {', '.join(map(repr, self.names))}, got {name!r}")
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._load(name)
            return self._loaded[name]

    def described(self, name: str) -> dict[str, Any]:
        """Return what the page offers for a model. The number of layers is known once it is loaded."""
        model = self._loaded.get(name)
        short = "/".join(name.replace("\\", "/").rstrip("/").split("/")[-2:])
        return {"name": name, "label": short, "n_layers": None if model is None else model.n_layers}
