"""Rows of Parquet files and of folders of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from ..optional_imports import optional
from ..stacklevel import caller_level
from .records import Record, check_names

__all__ = ["is_parquet", "parquet_batches", "parquet_files", "parquet_rows"]

ENDINGS = (".parquet", ".pq")
CHUNK = 4096
# Files of a `datasets.Dataset` and a `datasets.DatasetDict` saved to disk.
OF_DATASETS = ("state.json", "dataset_dict.json")
N_NAMED = 5
POINTER = b"version https://git-lfs.github.com/spec/"


def is_parquet(path: str | PathLike[str]) -> bool:
    """Whether a path is read as Parquet: by its suffix, or as a folder."""
    return Path(path).is_dir() or Path(path).suffix.lower() in ENDINGS


def parquet_files(path: Path) -> list[Path]:
    """Returns a Parquet file, or those of a folder and its subfolders, by name. Warns of skipped files.

    Names that begin with a dot or an underscore are not data, as in other readers of such folders.

    Raises:
        ValueError: the folder has no Parquet files.
    """
    if not path.is_dir():
        return [path]
    if any((path / name).is_file() for name in OF_DATASETS):
        raise ValueError(
            f"the folder {path} was written by datasets' save_to_disk: load it with datasets.load_from_disk and pass "
            "the Dataset, or save it with to_parquet"
        )
    files = sorted(file for file in path.rglob("*") if file.is_file())
    found = [file for file in files if file.suffix.lower() in ENDINGS and not _is_hidden(file.relative_to(path))]
    others = list(dict.fromkeys(_shown(file.relative_to(path)) for file in files if file not in set(found)))
    listed = ", ".join(others[:N_NAMED]) + (f" and {len(others) - N_NAMED} more" if len(others) > N_NAMED else "")
    if not found:
        raise ValueError(f"the folder {path} holds no Parquet files; it holds {listed or 'nothing'}")
    if others:
        warnings.warn(
            f"of the folder {path} its Parquet files are read, {listed} passed over", stacklevel=caller_level()
        )
    return found


def parquet_rows(path: Path, choose: Callable[[Sequence[str], str], Sequence[str]]) -> Iterator[Record]:
    """Yields the rows of a Parquet file or of a folder of them, counted from 0.

    Args:
        path: path of the file or folder.
        choose: function of the column names of a file and the file's name that returns the columns to read.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: a file is not Parquet, is damaged, or has duplicate column names; or ``choose`` raises it.
    """
    number = 0
    for batch in parquet_batches(path, choose):
        for row in batch.to_pylist():
            yield Record(f"row {number}", row)
            number += 1


def parquet_batches(path: Path, choose: Callable[[Sequence[str], str], Sequence[str]]) -> Iterator[Any]:
    """Yields the rows of `parquet_rows` as Arrow record batches, which keep the column types.

    Args:
        path, choose: as for `parquet_rows`.

    Raises:
        ImportError, ValueError: as for `parquet_rows`.
    """
    parquet = _parquet()
    for file in parquet_files(path):
        with _open(parquet, file) as opened:
            names = opened.schema_arrow.names
            check_names(names, str(file), "its schema")
            yield from _batches(opened, file, choose(names, str(file)))


def _parquet() -> Any:
    return optional("pyarrow.parquet", '"xsbert[corpus]"', "a Parquet file")


def _open(parquet: Any, file: Path) -> Any:
    with file.open("rb") as opened:
        if opened.read(len(POINTER)) == POINTER:
            raise ValueError(f"{file} is a Git LFS pointer, not the file itself: run `git lfs pull`")
    try:
        return parquet.ParquetFile(file, page_checksum_verification=True)
    except ValueError as error:
        raise ValueError(f"{file} is no Parquet file: {error}") from None


def _batches(opened: Any, file: Path, columns: Sequence[str]) -> Iterator[Any]:
    try:
        yield from opened.iter_batches(batch_size=CHUNK, columns=[*columns])
    except OSError as error:
        # Errors of the system have numbers; errors of damaged pages have none.
        if error.errno is not None:
            raise
        raise ValueError(f"the Parquet file {file} is damaged: {error}") from None


def _is_hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def _shown(path: Path) -> str:
    """Returns a file's name, or the name of the hidden folder that contains it."""
    hidden = next((place for place, part in enumerate(path.parts) if part.startswith((".", "_"))), None)
    return str(path) if hidden is None else str(Path(*path.parts[: hidden + 1]))
