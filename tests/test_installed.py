"""What an editable install gives to editors and type checkers."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1]


def test_an_editable_install_is_a_plain_path(tmp_path):
    """A finder in Python, as setuptools would write one for this layout, is not followed by type checkers."""
    pytest.importorskip("setuptools", minversion="77")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(FOLDER / name, tmp_path)
    shutil.copytree(FOLDER / "xsbert", tmp_path / "xsbert", ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools.build_meta import build_editable; build_editable('wheels')"
    (tmp_path / "wheels").mkdir()
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        paths = [archive.read(name).decode() for name in archive.namelist() if name.endswith(".pth")]
        assert paths == [f"{tmp_path}\n"]
        assert not [name for name in archive.namelist() if name.endswith(".py")]
