"""Lines of a file or a stream, read as they arrive."""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType

from .._utils.table_files.text import TextLines

__all__ = ["Lines"]

CHUNK = 1 << 16


class Lines:
    """Reads lines of text, each with its line feed. `ready` returns whether a line is available without waiting.

    Args:
        path: path of a file or a pipe, or the descriptor of an open one, which stays open.
        name: name of the file, for messages.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: str | int, name: str) -> None:
        self._number = path if isinstance(path, int) else os.open(path, os.O_RDONLY)
        self._close: Callable[[int], None] | None = None if isinstance(path, int) else os.close
        self._lines: deque[str] = deque()
        self._text = TextLines(name)
        self._ended = False
        self.n_read = 0
        """Number of lines returned."""

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._close is not None:
            self._close(self._number)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while not self._lines and not self._ended:
            self._read()
        if not self._lines:
            raise StopIteration
        self.n_read += 1
        return self._lines.popleft()

    def ready(self) -> bool:
        """Whether a line is available without waiting."""
        while not self._lines and not self._ended and self._has_bytes():
            self._read()
        return bool(self._lines)

    def _has_bytes(self) -> bool:
        try:
            return bool(select.select([self._number], [], [], 0)[0])
        except OSError:
            # On Windows, `select` supports only sockets.
            return False

    def _read(self) -> None:
        """Waits for bytes and splits them into lines."""
        chunk = os.read(self._number, CHUNK)
        self._ended = not chunk
        self._lines += self._text.feed(chunk) if chunk else self._text.finish()
