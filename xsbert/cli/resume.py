"""A file of results that grows line by line and can be resumed."""

from __future__ import annotations

import json
import os
from typing import Any

from .pairs import Pair

__all__ = ["Results"]

# Settings that all results of a file share. Without a tolerance, also the rule and its nodes.
HOW = (
    "model",
    "fingerprint",
    "layer",
    "reference",
    "reference_positions",
    "shift",
    "dtype",
    "tolerance",
    "factor_tolerance",
)
FIXED = ("rule", "n_steps")


class Results:
    """Results of pairs in a file of JSON lines.

    Args:
        path: path of the file.
        resume: append to existing results. A truncated last line is written again.

    Raises:
        ValueError: the file is not empty and ``resume`` is False, or it contains other data than results.
        OSError: the file cannot be read or written.
    """

    def __init__(self, path: str, resume: bool) -> None:
        self._path = path
        self._done: dict[int, tuple[str, str]] = {}
        self._last: dict[str, Any] | None = None
        size = 0
        if os.path.exists(path) and os.path.getsize(path):
            if not resume:
                raise ValueError(f"--output {path} is not empty; --resume continues it")
            size = self._read()
        self._file = open(path, "ab")  # noqa: SIM115
        if self._file.tell() > size:
            self._file.truncate(size)

    def close(self) -> None:
        self._file.close()

    def has(self, pair: Pair) -> bool:
        """Whether the file has the pair's result.

        Raises:
            ValueError: the result of its line has other texts.
        """
        if pair.line not in self._done:
            return False
        texts = self._done[pair.line]
        # The texts of results begin with the prompt.
        if not (texts[0].endswith(pair.text_a) and texts[1].endswith(pair.text_b)):
            raise ValueError(f"--resume: {self._path} holds another pair for line {pair.line} than the file of pairs")
        return True

    def add(self, content: dict[str, Any], line: str) -> None:
        """Writes one result.

        Raises:
            ValueError: existing results have other settings.
        """
        if self._last is not None:
            self._check_same(self._last, content)
            self._last = None
        self._file.write(line.encode() + b"\n")
        self._file.flush()

    def _read(self) -> int:
        """Returns the number of bytes of complete results."""
        size = 0
        with open(self._path, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    content = json.loads(line)
                    self._done[content["line"]] = (content["text_a"], content["text_b"])
                except (ValueError, TypeError, KeyError) as error:
                    raise ValueError(
                        f"--resume: line {number} of {self._path} is not a result of --pairs, got {line[:60]!r}"
                    ) from error
                self._last = content
                size += len(line)
        return size

    def _check_same(self, was: dict[str, Any], now: dict[str, Any]) -> None:
        names = HOW if now["settings"]["tolerance"] is not None else HOW + FIXED
        for name in names:
            one, other = was["settings"].get(name), now["settings"][name]
            if one != other:
                raise ValueError(f"--resume: {self._path} has results of {name} {one!r}, this run would have {other!r}")
        for name in ("similarity", "units"):
            if was.get(name) != now[name]:
                raise ValueError(
                    f"--resume: {self._path} has results of {name} {was.get(name)!r}, this run would have {now[name]!r}"
                )
        if ("matrix" in was) != ("matrix" in now):
            raise ValueError(f"--resume: {self._path} was written {'without' if 'matrix' in was else 'with'} --top")
