"""The models published with the papers: download, unpack, load.

The archives are not trusted (see `xsbert.models.archives`). An archive that cannot be used is deleted, so that the next
call downloads it again.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from filelock import FileLock

from .._utils.validation import check_one_of
from .architectures import XSMPNet, XSRoberta
from .archives import check_configurations, convert_weights, find_root, unpack
from .transformer import XSTransformer

__all__ = ["load_model"]

BASE_URL = "https://www2.ims.uni-stuttgart.de/data/xsbert"
MAX_ARCHIVE_BYTES = 4 * 2**30
CHUNK = 2**20
# Errors of the system, which do not mean that the archive is bad.
OF_THE_SYSTEM = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EMFILE", "ENFILE", "EIO", "ENOMEM")
    if hasattr(errno, name)
}
# An archive is already compressed.
HEADERS = {"User-Agent": "xsbert", "Accept-Encoding": "identity"}


class Published(NamedTuple):
    model_class: type[XSTransformer]
    similarity: str


PUBLISHED = {
    "mpnet_cos": Published(XSMPNet, "cosine"),
    "mpnet_dot": Published(XSMPNet, "dot"),
    "droberta_cos": Published(XSRoberta, "cosine"),
    "droberta_dot": Published(XSRoberta, "dot"),
}


def load_model(
    name: str,
    model_dir: str | Path = "models",
    *,
    base_url: str = BASE_URL,
    timeout: float = 30.0,
    n_attempts: int = 3,
    show_progress_bar: bool = True,
    **kwargs: Any,
) -> XSTransformer:
    """Load one of the models published with the papers (Moeller et al., EMNLP 2023 and EACL 2024).

    The first call downloads it to ``model_dir/name``; later calls need no network.

    Args:
        name: ``"mpnet_cos"``, ``"mpnet_dot"``, ``"droberta_cos"`` or ``"droberta_dot"``.
        model_dir: folder for the models, created if missing.
        base_url: URL of the folder that contains ``name.zip``.
        timeout: seconds without data after which the connection is considered broken.
        n_attempts: maximum number of download attempts.
        show_progress_bar: show a progress bar of the download.
        **kwargs: as for `XSTransformer`, such as ``device``.

    Returns:
        the shifted model, an `XSMPNet` or `XSRoberta`, with the similarity that it was trained for.

    Raises:
        ValueError: there is no model of that name; the archive is damaged, unsafe to unpack or cannot be loaded, and
            was deleted; or the folder of an earlier download cannot be loaded.
        ConnectionError: the server could not be reached or closed the connection.
        FileNotFoundError: the server does not have the archive.
        FileExistsError: the path of the model's folder, or of its archive, is taken by something else.
        OSError: ``model_dir`` is not writable.
    """
    check_one_of(name, "name", PUBLISHED)
    published = PUBLISHED[name]
    folder = Path(model_dir) / name
    if not folder.is_dir():
        archive = folder.with_name(f".{name}.zip")
        # Another call may create the folder at the same time.
        for path, taken in ((folder, os.path.lexists(folder) and not folder.is_dir()), (archive, archive.is_dir())):
            if taken:
                raise FileExistsError(f"{path} is in the way of the model: remove it")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{name}.lock")):
            if not folder.is_dir():
                _download(f"{base_url}/{name}.zip", archive, timeout, n_attempts, show_progress_bar)
                _install(archive, folder, published)
    try:
        return published.model_class(str(folder), **{"similarity_fn_name": published.similarity, **kwargs})
    except Exception:
        # The cause is either an argument, or a bad folder that an earlier version or somebody else created.
        try:
            _try(folder, published)
        except Exception as error:
            raise ValueError(f"{folder} cannot be loaded: {error}. Delete it to download the model again") from error
        raise


# Download


class _Capped:
    """A file that accepts at most `MAX_ARCHIVE_BYTES`, more than any published model has."""

    def __init__(self, file: BinaryIO, url: str) -> None:
        self._file, self._url = file, url
        self._room = MAX_ARCHIVE_BYTES
        self.flush = file.flush

    def write(self, chunk: bytes) -> int:
        self._room -= len(chunk)
        if self._room < 0:
            raise ValueError(f"{self._url} is larger than any published model")
        return self._file.write(chunk)


def _download(url: str, target: Path, timeout: float, n_attempts: int, show_progress_bar: bool) -> None:
    # Imported here because the import is slow.
    import pooch
    import requests

    if not url.startswith(("https://", "http://")):
        raise ValueError(f"base_url must begin with https:// or http://, got {url!r}")

    def fetch(url: str, path: str, pooch_: Any) -> None:
        download = pooch.HTTPDownloader(show_progress_bar, CHUNK, timeout=timeout, headers=HEADERS)
        with open(path, "wb") as file:
            download(url, _Capped(file, url), pooch_)

    for attempt in range(1, n_attempts + 1):
        try:
            # The hashes of the published archives are not known.
            pooch.retrieve(url, None, target.name, target.parent, downloader=cast(Any, fetch))
        except requests.RequestException as error:
            answer = error.response
            if answer is not None and answer.status_code in (404, 410):
                raise FileNotFoundError(f"{url} does not exist (HTTP {answer.status_code})") from error
            reason = str(error) if answer is None else f"HTTP {answer.status_code} {answer.reason}"
        else:
            return
        if attempt == n_attempts:
            raise ConnectionError(f"{url} could not be downloaded ({reason}) after {n_attempts} attempts")


# Installing


def _install(archive: Path, folder: Path, published: Published) -> None:
    """Unpack and load the model next to its final folder, then move it there in one step.

    Raises:
        ValueError: the archive cannot be unpacked or loaded. It is deleted.
        OSError: for example, the disk is full. The archive stays for the next call.
    """
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        # A subfolder, because other users cannot read the folder that mkdtemp creates.
        content = staging / "content"
        content.mkdir()
        try:
            unpack(archive, content)
            root = find_root(content)
            for weights in [*root.rglob("pytorch_model.bin")]:
                convert_weights(weights)
            check_configurations(root, published.model_class.model_types or ())
            _try(root, published)
        # An archive that is not trusted can cause any error, and would cause it again.
        except Exception as error:
            if isinstance(error, OSError) and error.errno in OF_THE_SYSTEM:
                raise
            archive.unlink()
            reason = str(error) or type(error).__name__
            raise ValueError(f"the archive of {folder.name} cannot be used and was deleted: {reason}") from error
        root.replace(folder)
        archive.unlink()
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _try(folder: Path, published: Published) -> None:
    """Load a model without the caller's arguments and encode a word."""
    with warnings.catch_warnings():
        # They are repeated when the model is loaded for the caller.
        warnings.simplefilter("ignore")
        model = published.model_class(str(folder), device="cpu", similarity_fn_name=published.similarity)
        found = model.encode(["a"], show_progress_bar=False)
    if not np.isfinite(found).all():
        raise ValueError("the model's embeddings are not finite")
