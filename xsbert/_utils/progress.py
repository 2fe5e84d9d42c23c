"""Progress bars that appear only for slow work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tqdm import tqdm

__all__ = ["PROGRESS_DELAY", "Progress", "tick", "watching"]

PROGRESS_DELAY = 2.0  # seconds of silence before an automatic progress bar appears


_watch: ContextVar[Callable[[Progress | None], None] | None] = ContextVar("_watch", default=None)


@contextmanager
def watching(watch: Callable[[Progress | None], None]) -> Iterator[None]:
    """Calls a function at the beginning, at each step and at the end of all work with a `Progress` in this thread.

    Between steps it is called with None, at each `tick`. An error that the function raises ends the work.

    >>> def show(work):
    ...     print(work.description, work.n, work.total)
    >>> with watching(show), Progress(1, "texts", show=False) as bar:
    ...     bar.update()
    texts 0 1
    texts 1 1
    texts 1 1
    """
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


def tick() -> None:
    """Calls the function of `watching`, if there is one: for work of unknown length, such as a search."""
    watch = _watch.get()
    if watch is not None:
        watch(None)


class Progress:
    """A tqdm bar that is created only when it is shown.

    Fast work therefore starts no tqdm thread and takes no tqdm lock, which could remain locked after a fork.

    Args:
        total: number of steps; with 0 there is no bar.
        description: label before the bar.
        show: True for a bar at once, False for none, None for one after ``PROGRESS_DELAY`` seconds.
        unit: unit of the steps.
        initial: number of steps done before.
        leave: whether the bar stays when the work is done.

    >>> with Progress(3, "texts", show=False) as progress:
    ...     for _ in range(3):
    ...         progress.update()
    >>> progress.n
    3
    """

    def __init__(
        self,
        total: int,
        description: str,
        *,
        show: bool | None,
        unit: str = "it",
        initial: int = 0,
        leave: bool = False,
    ) -> None:
        self.n = initial
        self.total = total
        self.description = description
        self.ended = False
        self._watch = _watch.get()
        self._show = False if not total else show
        self._how = {"total": total, "desc": description, "unit": unit, "initial": initial, "leave": leave}
        self._note = ""
        self._bar: tqdm | None = None
        self._started = time.time()

    def __enter__(self) -> Progress:
        self._started = time.time()
        if self._watch is not None:
            self._watch(self)
        if self._show:
            self._bar = tqdm(**self._how)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
        self.ended = True
        if self._watch is not None and exception == (None, None, None):
            self._watch(self)

    def update(self, n: int = 1) -> None:
        """Advances the bar by n steps."""
        self.n += n
        if self._watch is not None:
            self._watch(self)
        if self._bar is None and self._show is None and time.time() - self._started >= PROGRESS_DELAY:
            self._bar = tqdm(**self._how, delay=PROGRESS_DELAY)
            # The remaining time is estimated from the start of the work.
            self._bar.start_t = self._bar.last_print_t = self._started
            self._bar.set_postfix_str(self._note, refresh=False)
        if self._bar is not None:
            self._bar.update(self.n - self._bar.n)

    def note(self, text: str) -> None:
        """Shows the current activity after the bar."""
        self._note = text
        if self._bar is not None:
            self._bar.set_postfix_str(text)
