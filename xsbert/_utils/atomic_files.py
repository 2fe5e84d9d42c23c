"""Files that are whole or not there: written beside their place and renamed."""

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
except ImportError:  # Windows: nothing there tells a file that is being written from one that was left behind.
    fcntl = None

__all__ = ["check_regular", "write", "write_text"]

# Absent on Windows, which has no such files.
NOFOLLOW, NONBLOCK = getattr(os, "O_NOFOLLOW", 0), getattr(os, "O_NONBLOCK", 0)
BINARY = getattr(os, "O_BINARY", 0)


def write(path: str | PathLike[str], chunks: Iterable[bytes | np.ndarray]) -> None:
    """Write all of a file or nothing: no reader ever sees half of it, and a failure leaves the old file as it was.

    A symbolic link stays one, and what it leads to is written; an existing file keeps its permissions. Devices and
    pipes are written to as they are. What a killed call has left behind is removed by the next one for the same file.

    Raises:
        FileNotFoundError: the folder that it is to be in is not there.
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
        # Where there are locks the file is still open, so that nobody takes it for left behind.
        os.replace(unfinished, target)
    except BaseException:
        if fcntl is None:
            file.close()
        unfinished.unlink(missing_ok=True)
        raise
    finally:
        file.close()


def write_text(path: str | PathLike[str], text: str) -> None:
    """`write` a text in UTF-8."""
    write(path, [text.encode()])


def check_regular(path: str | PathLike[str]) -> None:
    """Refuse what is no file to be read: opening a pipe would wait for a writer.

    Raises:
        OSError: there is no such file, or it is a folder, a pipe or a device.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Not a regular file", os.fspath(path))


def _write_through(path: str | PathLike[str], chunks: Iterable[bytes | np.ndarray]) -> None:
    """Write to a device or a pipe. A pipe that nobody reads is an error at once, where it would wait for ever."""
    number = os.open(path, os.O_WRONLY | NONBLOCK)
    os.set_blocking(number, True)
    with os.fdopen(number, "wb") as file:
        for chunk in chunks:
            file.write(chunk.data if isinstance(chunk, np.ndarray) else chunk)


def _claim(target: Path) -> tuple[Path, int]:
    """A new file beside the target, opened and locked, at the first place where nobody else is writing.

    The places have fixed names, so that what was left behind is found without a search of the folder.
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
        # Another call may have taken the new file for left behind before it was locked.
        if _lock(number) and os.fstat(number).st_nlink:
            return path, number
        os.close(number)


def _remove_left_behind(path: Path) -> bool:
    """Remove an unfinished file unless somebody is writing it; whether its place is free now."""
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
        # Its writer may have finished since it was opened: then it has its name, and the place may be somebody else's.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(number), os.stat(path, follow_symlinks=False)):
                path.unlink()
        return True
    finally:
        os.close(number)


def _lock(number: int) -> bool:
    """Lock an open file until it is closed, also by the end of the process; False where another has the lock."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # A file system without locks: what is left behind there stays.
        return True
    return True


def _take_over_permissions(path: Path, status: os.stat_result) -> None:
    if hasattr(os, "chown"):
        # Only root may give a file away, and then must: its owner could not read it any more.
        with suppress(OSError):
            os.chown(path, status.st_uid, status.st_gid)
    os.chmod(path, stat.S_IMODE(status.st_mode))
