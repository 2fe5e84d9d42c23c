"""What a command reports on standard error: lines of text, or of JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

__all__ = ["FORMATS", "Log"]

FORMATS = ("text", "json")


class Log:
    """Writes messages and events to standard error.

    Args:
        kind: ``"text"`` writes messages for readers and no events. ``"json"`` writes one JSON object a line, with
            ``time`` in UTC and ``event``.
    """

    def __init__(self, kind: str) -> None:
        self._is_json = kind == "json"

    def event(self, event: Mapping[str, Any]) -> None:
        """Writes an event. It has the key ``event`` and values that JSON can hold."""
        if self._is_json:
            time = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            _write(json.dumps({"time": time, **event}, allow_nan=False))

    def message(self, kind: str, message: str, **entries: Any) -> None:
        """Writes a message for the user.

        Args:
            kind: ``"warning"``, ``"error"`` or ``"interrupted"``.
            message: the message, which becomes one line.
            **entries: further entries of the event.
        """
        line = " ".join(message.split())
        if self._is_json:
            self.event({"event": kind, **entries, "message": line})
        else:
            _write(f"xsbert: {line}" if kind == "interrupted" else f"xsbert: {kind}: {line}")


def _write(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
