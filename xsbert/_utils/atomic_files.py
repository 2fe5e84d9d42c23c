"""Atomic writing of files: a temporary file in the same folder is renamed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from os import PathLike
from pathlib import Path

import numpy as np

try:
    import fcntl
except ImportError:  # Windows: a file that is being written cannot be distinguished from an abandoned one.
    fcntl = None

__all__ = ["check_regular", "write", "write_text"]

# Absent on Windows.
NOFOLLOW, NONBLOCK = getattr(os, "O_NOFOLLOW", 0), getattr(os, "O_NONBLOCK", 0)
BINARY = getattr(os, "O_BINARY", 0)


def write(path: str | PathLike[str], chunks: Iterable[bytes | np.ndarray]) -> None:
    """Write a file atomically: no reader sees a partial file, and a failure leaves the old file unchanged.

    The target of a symbolic link is written. An existing file keeps its permissions. Devices and pipes are written
    directly. The next call for the same file removes temporary files of a killed call.

    Raises:
        FileNotFoundError: the folder does not exist.
        OSError: the file cannot be written, or a pipe has no reader.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        status = None
    if status is not None and not stat.S_ISREG(status.st_mode):
        _write_through(path, chunks)
        return
    target = Path(os.path.realpath(path))
    unfinished, number = _claim(target)
    file = os.fdopen(number, "wb")
    try:
        if status is not None:
            _take_over_permissions(unfinished, status)
        for chunk in chunks:
            file.write(chunk.data if isinstance(chunk, np.ndarray) else chunk)
        file.flush()
        if fcntl is None:
            file.close()
        # With locks, the file is still open and locked, so no other call removes it as abandoned.
        os.replace(unfinished, target)
    except BaseException:
        if fcntl is None:
            file.close()
        unfinished.unlink(missing_ok=True)
        raise
    finally:
        file.close()


def write_text(path: str | PathLike[str], text: str) -> None:
    """Write a text in UTF-8, as `write`."""
    write(path, [text.encode()])


def check_regular(path: str | PathLike[str]) -> None:
    """Checks that a path is a regular file. Opening a pipe would wait for a writer.

    Raises:
        OSError: the file does not exist, or it is a folder, a pipe or a device.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Not a regular file", os.fspath(path))


def _write_through(path: str | PathLike[str], chunks: Iterable[bytes | np.ndarray]) -> None:
    """Writes to a device or a pipe. A pipe without reader raises an error at once instead of waiting."""
    number = os.open(path, os.O_WRONLY | NONBLOCK)
    os.set_blocking(number, True)
    with os.fdopen(number, "wb") as file:
        for chunk in chunks:
            file.write(chunk.data if isinstance(chunk, np.ndarray) else chunk)


def _claim(target: Path) -> tuple[Path, int]:
    """Opens and locks a new temporary file in the target's folder, under the first name that is not in use.

    The names are fixed, so abandoned files are found without listing the folder.
    """
    stem = f".{target.name[:40]}.{sha256(os.fsencode(target.name)).hexdigest()[:8]}"
    place = 0
    while True:
        path = target.with_name(f"{stem}.{place}.unfinished")
        try:
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, 0o666)
        except FileExistsError:
            place += not _remove_left_behind(path)
            continue
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(target.parent)) from None
        # Another call may have removed the new file as abandoned before it was locked.
        if _lock(number) and os.fstat(number).st_nlink:
            return path, number
        os.close(number)


def _remove_left_behind(path: Path) -> bool:
    """Removes an abandoned file. Returns whether its name is free."""
    if fcntl is None:
        return False
    try:
        number = os.open(path, os.O_RDONLY | NOFOLLOW | NONBLOCK)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        if not _lock(number):
            return False
        # The writer may have renamed its file since it was opened, and another writer may use the name.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(number), os.stat(path, follow_symlinks=False)):
                path.unlink()
        return True
    finally:
        os.close(number)


def _lock(number: int) -> bool:
    """Locks an open file until it is closed or the process ends. Returns False if another process has the lock."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # A file system without locks: abandoned files stay.
        return True
    return True


def _take_over_permissions(path: Path, status: os.stat_result) -> None:
    if hasattr(os, "chown"):
        # Only root can change the owner, and must do so for the owner to be able to read the file.
        with suppress(OSError):
            os.chown(path, status.st_uid, status.st_gid)
    os.chmod(path, stat.S_IMODE(status.st_mode))
