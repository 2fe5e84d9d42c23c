"""Identity of a job: its settings, its model, its source and the versions of libraries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import torch

from ..models import XSTransformer
from .folder import Folder
from .sharding import Source, columns_of
from .sources import Fingerprint
from .task import resolved_options

__all__ = ["check_same", "circumstances", "differences_of", "read_source", "resolved", "source_identity"]


def read_source(tables: Iterable[pa.Table]) -> Source:
    """Computes the identity of a source, without writing shards."""
    fingerprint, columns = Fingerprint(), {}
    for table in tables:
        fingerprint.update(table)
        columns = columns or columns_of(table)
    return Source(str(fingerprint), fingerprint.n_rows, columns, [])


def source_identity(source: Source) -> dict[str, Any]:
    """Returns the entries of a source in the manifest."""
    return {"fingerprint": source.fingerprint, "n_rows": source.n_rows}


def check_same(folder: Folder, manifest: dict[str, Any], identity: dict[str, Any], source: Source) -> None:
    """Checks that a resumed job has the same settings, model, source and versions."""
    now = {**identity, "source": source_identity(source)}
    differences = [line for name, value in now.items() for line in differences_of(name, manifest.get(name), value)]
    if differences:
        raise ValueError(
            f"the job in {folder.path} cannot be resumed, it was started with {'; '.join(differences)}. "
            "Take another folder"
        )


def resolved(identity: dict[str, Any], model: XSTransformer) -> dict[str, Any]:
    """Returns the identity with all options of the task by name. Version 0.1.0 wrote only the given ones."""
    try:
        task = identity["task"]
        return {**identity, "task": {**task, "options": dict(resolved_options(model, dict(task["options"])))}}
    except (KeyError, TypeError, ValueError):
        # For example, the model lacks the layer. Then the model differs, which the comparison reports.
        return identity


def differences_of(name: str, before: Any, now: Any) -> list[str]:
    """Returns a line for each different entry, also within dictionaries."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = dict.fromkeys([*before, *now])
        return [line for key in keys for line in differences_of(f"{name} {key}", before.get(key), now.get(key))]
    return [] if before == now else [f"{name} {before!r:.80}, now {now!r:.80}"]


def circumstances(model: XSTransformer, memory_budget: float | None) -> dict[str, Any]:
    """Returns circumstances that change only the rounding of numbers."""
    return {
        "device": str(model.device),
        "threads": torch.get_num_threads(),
        "memory_budget": memory_budget,
        "dtype": str(next(model.parameters()).dtype),
    }
