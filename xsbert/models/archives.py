"""Unpacks untrusted model archives within bounds, and converts them to a form that can be loaded.

Nothing in an archive is trusted. No path may leave its folder, and no link is followed. Bounds apply to the archive's
directory, to the unpacked size, to JSON before parsing, to tensors after expansion, and to the model that a
configuration describes, which must match the weights. Weights are read without unpickling code. Violations raise a
ValueError; a damaged archive may raise other errors.
"""

from __future__ import annotations

import pickletools
import stat
import struct
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from .._utils.header_limits import check_structure, parse_json
from .._utils.json_fields import require
from .._utils.torch_internals import PICKLED_STATE

__all__ = ["check_configurations", "convert_weights", "find_root", "unpack"]

MAX_UNPACKED_BYTES = 8 * 2**30
# Weights hardly compress, and other files are small.
MAX_RATIO = 20
MAX_MEMBERS = 1000
MAX_DIRECTORY_BYTES = 4 * 2**20
# For a file without weights. Vocabularies of 250,000 pieces take 17 MB and fewer than a million values.
MAX_OTHER_BYTES = 64 * 2**20
MAX_JSON_VALUES = 4_000_000
MAX_NAME, MAX_PATH, MAX_FOLDERS = 255, 1024, 16
MAX_PICKLE_BYTES = 16 * 2**20
# Tied weights may occur twice in a state.
MAX_EXPANSION = 2
CHUNK = 2**20
WEIGHTS = (".bin", ".safetensors", ".h5", ".msgpack", ".onnx", ".ot", ".pt")

OTHER_NAMES = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID"}
# Entries of configurations that determine sizes of tensors. Each must be a size of some tensor of the weights.
SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "embedding_size",
    "relative_attention_num_buckets",
    "in_features",
    "out_features",
)
COUNTS = ("num_hidden_layers", "num_attention_heads")
SMALL = 64


def unpack(archive: Path, target: Path) -> None:
    """Unpack an archive into an empty folder.

    Raises:
        ValueError: a name, a kind or a size is not allowed.
        zipfile.BadZipFile, NotImplementedError, zlib.error and others: the archive is damaged or of another version.
    """
    _check_directory(archive)
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        room = min(MAX_UNPACKED_BYTES, MAX_RATIO * archive.stat().st_size + MAX_OTHER_BYTES)
        _check_members(members, room)
        for member in members:
            path = target / member.filename
            if member.is_dir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with file.open(member) as source, path.open("xb") as destination:
                # The declared size of a member need not be true.
                room = _copy(source.read, destination.write, room)


def find_root(folder: Path) -> Path:
    """Return the only folder with a modules.json, after checking all its JSON files.

    Raises:
        ValueError: there is not exactly one model, or a JSON file is too large, too deep or invalid.
    """
    found = [path for path in folder.rglob("modules.json") if path.is_file()]
    require(len(found) == 1, f"it must hold one model with a modules.json, got {len(found)}")
    for path in found[0].parent.rglob("*.json"):
        require(path.is_file(), f"{path.name} is a folder, not a file")
        try:
            check_structure(path.read_bytes(), MAX_JSON_VALUES)
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from error
    modules = _read_json(found[0])
    require(
        isinstance(modules, list) and all(isinstance(module, dict) for module in modules),
        "modules.json is no list of modules",
    )
    for module in modules:
        path = module.get("path", "")
        require(isinstance(path, str) and _stays_inside(path), f"the path {path!r:.80} of a module leads outside")
    return found[0].parent


def convert_weights(weights: Path) -> None:
    """Convert pickled weights to safetensors, unpickling only tensors.

    Raises:
        ValueError: the file holds anything but named plain tensors, or tensors that are larger than the file allows.
    """
    try:
        _check_pickled(weights)
        state = torch.load(weights, map_location="cpu", weights_only=True)
        tensors = _plain_tensors(state, MAX_EXPANSION * weights.stat().st_size)
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{weights.name} does not hold weights: {reason}") from error
    save_file(tensors, weights.with_name("model.safetensors"), metadata={"format": "pt"})
    weights.unlink()


def check_configurations(root: Path, model_types: tuple[str, ...]) -> None:
    """Reject configurations that do not match the weights, before memory is allocated for the model.

    Args:
        root: folder of the model, with weights as safetensors.
        model_types: allowed model types.

    Raises:
        ValueError: a configuration has another type, or a size that no tensor has.
    """
    sizes, n_tensors = {*range(SMALL + 1)}, 0
    for path in root.rglob("*.safetensors"):
        require(path.is_file(), f"{path.name} is a folder, not a file")
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                sizes.update(file.get_slice(name).get_shape())
                n_tensors += 1
    require(n_tensors > 0, "it holds no weights")
    for path in root.rglob("*config.json"):
        for content in _objects(_read_json(path)):
            if "model_type" in content:
                kind = content["model_type"]
                require(
                    kind in model_types, f"{path.name} has the model_type {kind!r:.40}, not {' or '.join(model_types)}"
                )
            for name in SIZES:
                size = content.get(name)
                fits = not isinstance(size, (int, float)) or size in sizes
                require(fits, f"{path.name} has {name} {size!r:.40}, which no tensor of its weights has")
            for name in COUNTS:
                count = content.get(name)
                fits = not isinstance(count, (int, float)) or count <= n_tensors
                require(fits, f"{path.name} has {name} {count!r:.40}, with {n_tensors} tensors of weights")


def _check_directory(archive: Path) -> None:
    """Reject a list of members that takes too much memory to read."""
    with archive.open("rb") as file:
        n_bytes = file.seek(0, 2)
        start = max(0, n_bytes - 2**16 - 22)
        file.seek(start)
        tail = file.read()
        # Found as in `zipfile`: at the very end, or before a comment.
        plain = tail[-22:-18] == b"PK\x05\x06" and tail[-2:] == b"\0\0"
        place = len(tail) - 22 if plain else tail.rfind(b"PK\x05\x06")
        if place < 0 or len(tail) - place < 22:
            return
        (size,) = struct.unpack_from("<L", tail, place + 12)
        if place >= 20 and tail[place - 20 : place - 16] == b"PK\x06\x07":
            file.seek(max(0, start + place - 20 - 56))
            record = file.read(56)
            if record[:4] == b"PK\x06\x06":
                size = max(size if size < 2**32 - 1 else 0, struct.unpack_from("<Q", record, 40)[0])
    require(
        size <= MAX_DIRECTORY_BYTES,
        f"the list of its members takes {size} bytes, at most {MAX_DIRECTORY_BYTES} allowed",
    )


def _check_members(members: list[zipfile.ZipInfo], room: int) -> None:
    require(len(members) <= MAX_MEMBERS, f"it has {len(members)} members, at most {MAX_MEMBERS} are allowed")
    total = sum(member.file_size for member in members)
    require(
        total <= room,
        f"it unpacks to {total / 1e9:.1f} GB, at most {room / 1e9:.1f} GB are allowed for an archive of its size",
    )
    for member in members:
        name, path = member.filename, PurePosixPath(member.filename)
        require(_stays_inside(name) and path.parts, f"the path {name!r:.80} leads outside")
        require(
            len(path.parts) <= MAX_FOLDERS
            and len(name.encode("utf-8", "surrogatepass")) <= MAX_PATH
            and all(len(part.encode("utf-8", "surrogatepass")) <= MAX_NAME for part in path.parts),
            f"the name {name!r:.40}… of {len(name)} characters is too long",
        )
        kind = stat.S_IFMT(member.external_attr >> 16)
        require(kind in (0, stat.S_IFREG, stat.S_IFDIR), f"{name!r:.80} is a link or a device, not a file")
        usual = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) and not member.flag_bits & 1
        require(usual, f"{name!r:.80} is encrypted or compressed in an unusual way")
        require(
            member.file_size <= MAX_OTHER_BYTES or path.suffix.lower() in WEIGHTS,
            f"{name!r:.80} has {member.file_size} bytes, at most {MAX_OTHER_BYTES} are allowed for what is no weights",
        )
    names = [_as_some_systems(member.filename) for member in members]
    require(len({*names}) == len(names), "it names a file twice")
    files = {name for name, member in zip(names, members, strict=True) if not member.is_dir()}
    for name in names:
        above = [*map(str, PurePosixPath(name).parents)]
        both = next((each for each in above if each in files), None)
        require(both is None, f"{both!r:.80} is a file and a folder")


def _as_some_systems(name: str) -> str:
    """Normalise a name like file systems that ignore case and the encoding of accents."""
    return unicodedata.normalize("NFC", str(PurePosixPath(name)).casefold())


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and not any(mark in name for mark in "\\:\0")


def _copy(read: Callable[[int], bytes], write: Callable[[bytes], Any], room: int) -> int:
    """Copy all data. Returns the number of bytes that are still allowed."""
    while chunk := read(CHUNK):
        room -= len(chunk)
        require(room >= 0, "it unpacks to more than its members say")
        write(chunk)
    return room


def _read_json(path: Path) -> Any:
    require(path.is_file(), f"{path.name} is a folder, not a file")
    try:
        return parse_json(path.read_bytes(), MAX_JSON_VALUES)
    except ValueError as error:
        raise ValueError(f"{path.name} is no JSON: {error}") from error


def _objects(content: Any) -> Iterator[Mapping[str, Any]]:
    """Yield all objects in a JSON value."""
    if isinstance(content, dict):
        yield content
    if isinstance(content, (dict, list)):
        for value in content.values() if isinstance(content, dict) else content:
            yield from _objects(value)


def _check_pickled(weights: Path) -> None:
    """Reject pickled weights that need more memory or other names than plain tensors do."""
    require(weights.is_file(), "it is a folder")
    require(zipfile.is_zipfile(weights), "it is not as torch writes tensors since version 1.6")
    _check_directory(weights)
    with zipfile.ZipFile(weights) as file:
        members = file.infolist()
        stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
        total = sum(member.file_size for member in members)
        require(stored and total <= weights.stat().st_size, "its parts are compressed or overlap")
        pickles = [member for member in members if member.filename.rpartition("/")[2] == "data.pkl"]
        require(len(pickles) == 1, f"it has {len(pickles)} pickles")
        require(pickles[0].file_size <= MAX_PICKLE_BYTES, f"its pickle has {pickles[0].file_size} bytes")
        with file.open(pickles[0]) as pickled:
            for opcode, argument, _ in pickletools.genops(pickled.read()):
                named = opcode.name == "GLOBAL" and argument not in PICKLED_STATE
                require(not named and opcode.name not in OTHER_NAMES, f"it names {argument or opcode.name!r:.80}")


def _plain_tensors(state: Any, most_bytes: int) -> dict[str, torch.Tensor]:
    """Return contiguous copies of a state's tensors, of at most ``most_bytes`` in total."""
    require(isinstance(state, dict), f"{type(state).__name__} in place of tensors by name")
    left = most_bytes
    for name, tensor in state.items():
        require(isinstance(name, str), f"the name {name!r:.80} is no string")
        plain = isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided and tensor.device.type == "cpu"
        require(plain and not tensor.is_quantized, f"{name!r:.80} is no plain tensor")
        n_bytes = tensor.numel() * tensor.element_size()
        left -= n_bytes
        require(
            n_bytes <= tensor.untyped_storage().nbytes() and left >= 0,
            f"{name!r:.80} takes {n_bytes} bytes, more than the file holds of it",
        )
    return {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}
