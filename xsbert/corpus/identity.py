"""Identity of a job: its settings, its model, its source and the versions of libraries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import torch

from .._utils.table_files.advice import advise
from ..models.comparing import ComparingModel
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


def check_same(folder: Folder, manifest: dict[str, Any], identity: dict[str, Any], source: Source | None) -> None:
    """Checks that a resumed job has the same settings, model, source and versions.

    Args:
        manifest: the manifest of the job.
        identity: the entries that must be the same.
        source: the source of the rows; None if rows are added to those of the job.
    """
    now = identity if source is None else {**identity, "source": source_identity(source)}
    found = {name: differences_of(name, manifest.get(name), value) for name, value in now.items()}
    differences = [line for lines in found.values() for line in lines]
    if not differences:
        return
    verb = "resumed" if source is not None else "appended to"
    error = ValueError(f"the job in {folder.path} cannot be {verb}, it was started with {'; '.join(differences)}")
    if [name for name, lines in found.items() if lines] == ["source"]:
        raise advise(
            error,
            "take another folder; if the source has grown, {append} takes its new rows, by the ids of {id}",
        )
    raise advise(error, "take another folder, or give the settings and the model that the job was begun with")


def resolved(identity: dict[str, Any], model: ComparingModel) -> dict[str, Any]:
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


def circumstances(model: ComparingModel, memory_budget: float | None) -> dict[str, Any]:
    """Returns circumstances that change only the rounding of numbers."""
    return {
        "device": str(model.device),
        "threads": torch.get_num_threads(),
        "memory_budget": memory_budget,
        "dtype": str(next(model.parameters()).dtype),
    }
