"""One load of weights at a time in each process."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager

__all__ = ["loading"]

_lock = threading.RLock()


def loading() -> AbstractContextManager[object]:
    """Return a lock to hold while transformers loads weights.

    transformers replaces methods of `PreTrainedModel` during a load. Two loads that overlap can leave a replacement in
    place, after which no model with tied weights loads in the process.
    """
    return _lock


def _renew() -> None:
    global _lock
    _lock = threading.RLock()


# A fork may happen while another thread holds the lock, which nobody releases in the child.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
