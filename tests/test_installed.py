"""What an editable install gives to editors and type checkers."""

import re
import runpy
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


@pytest.fixture(scope="module")
def describe():
    return runpy.run_path(str(FOLDER / "setup.py"), run_name="setup")["long_description"]


def test_the_long_description_has_nothing_relative(describe):
    """A package index shows the README, but not the files beside it."""
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "](docs/" in readme
    for text in (describe(readme, None), describe(readme, "https://example.org/x")):
        assert [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith(("https://", "#"))] == []
    assert describe("![a](docs/a.png) [b](docs/b.md)", None) == " b"
    linked = "![a](https://example.org/x/raw/main/docs/a.png) [b](https://example.org/x/blob/main/docs/b.md)"
    assert describe("![a](docs/a.png) [b](docs/b.md)", "https://example.org/x") == linked
