"""The models published with the papers: download, unpack, load.

The archives come from elsewhere, so nothing in them is trusted: no path may leave its folder, no link is followed,
sizes are capped, and weights are read without unpickling code.
"""

from __future__ import annotations

import json
import pickle
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, cast

import torch
from filelock import FileLock
from safetensors.torch import save_file

from .architectures import XSMPNet, XSRoberta
from .transformer import XSTransformer

__all__ = ["load_model"]

BASE_URL = "https://www2.ims.uni-stuttgart.de/data/xsbert"
MAX_ARCHIVE_BYTES = 4 * 2**30
MAX_UNPACKED_BYTES = 8 * 2**30
MAX_MEMBERS = 1000
CHUNK = 2**20
# An archive is packed already.
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
        model_dir: folder for the models, made if there is none.
        base_url: where ``name.zip`` is.
        timeout: seconds without a byte after which a connection counts as broken.
        n_attempts: how often the download is begun.
        show_progress_bar: show how the download goes.
        **kwargs: as for `XSTransformer`, such as ``device``.

    Returns:
        the shifted model, an `XSMPNet` or `XSRoberta`, with the similarity it was trained for.

    Raises:
        ValueError: there is no model of that name, or the archive is damaged or not safe to unpack.
        ConnectionError: the server could not be reached or broke off.
        FileNotFoundError: the server does not have the archive.
        OSError: ``model_dir`` cannot be written.
    """
    if name not in PUBLISHED:
        raise ValueError(f"name must be one of {', '.join(PUBLISHED)}, got {name!r}")
    folder = Path(model_dir) / name
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{name}.lock")):
            if not folder.is_dir():
                archive = folder.with_name(f".{name}.zip")
                _download(f"{base_url}/{name}.zip", archive, timeout, n_attempts, show_progress_bar)
                _install(archive, folder)
    model_class, similarity = PUBLISHED[name]
    return model_class(str(folder), **{"similarity_fn_name": similarity, **kwargs})


# Download


class _Capped:
    """A file that takes no more than any published model has."""

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
    # Where this is used alone: it takes time to be imported.
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


# Unpacking


def _install(archive: Path, folder: Path) -> None:
    """Unpack next to the final folder, and put it there in one step when all is well."""
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        try:
            # A folder of its own, as that of mkdtemp is closed to other users.
            content = staging / "content"
            content.mkdir()
            _unpack(archive, content)
            root = _find_root(content)
            for weights in root.rglob("pytorch_model.bin"):
                _convert_weights(weights)
        except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, FileExistsError, NotADirectoryError) as error:
            # It would be no better the next time.
            archive.unlink()
            raise ValueError(f"the archive of {folder.name} cannot be used and was deleted: {error}") from error
        root.replace(folder)
        archive.unlink()
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _unpack(archive: Path, target: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        _check_members(members)
        room = MAX_UNPACKED_BYTES
        for member in members:
            path = target / member.filename
            if member.is_dir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with file.open(member) as source, path.open("xb") as destination:
                # What a member says of its size need not be true.
                room = _copy(source.read, destination.write, room)


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MAX_MEMBERS:
        raise ValueError(f"it has {len(members)} members, at most {MAX_MEMBERS} are allowed")
    total = sum(member.file_size for member in members)
    if total > MAX_UNPACKED_BYTES:
        raise ValueError(f"it unpacks to {total / 1e9:.1f} GB, at most {MAX_UNPACKED_BYTES / 1e9:.1f} GB are allowed")
    for member in members:
        path = PurePosixPath(member.filename)
        outside = path.is_absolute() or ".." in path.parts or any(mark in member.filename for mark in "\\:\0")
        if outside or not path.parts:
            raise ValueError(f"the path {member.filename!r} leads outside")
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f"{member.filename!r} is a link or a device, not a file")
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{member.filename!r} is encrypted or compressed in an unusual way")
    if len({member.filename.rstrip("/").lower() for member in members}) != len(members):
        raise ValueError("it names a file twice")


def _copy(read: Callable[[int], bytes], write: Callable[[bytes], Any], room: int) -> int:
    """Copy until nothing is left; returns how many bytes may still follow."""
    while chunk := read(CHUNK):
        room -= len(chunk)
        if room < 0:
            raise ValueError("it unpacks to more than its members say")
        write(chunk)
    return room


def _find_root(folder: Path) -> Path:
    """The folder with modules.json: the archive's own, or the only one in it."""
    found = [path.parent for path in folder.rglob("modules.json")]
    if len(found) != 1:
        raise ValueError(f"it must hold one model with a modules.json, got {len(found)}")
    try:
        json.loads((found[0] / "modules.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"modules.json is no JSON: {error}") from error
    return found[0]


def _convert_weights(weights: Path) -> None:
    """Turn pickled weights into safetensors, unpickling tensors and nothing else."""
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        tensors = {name: tensor.clone().contiguous() for name, tensor in state.items()}
    except (pickle.UnpicklingError, RuntimeError, AttributeError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{weights.name} holds something else than weights: {reason}") from error
    save_file(tensors, weights.with_name("model.safetensors"), metadata={"format": "pt"})
    weights.unlink()
