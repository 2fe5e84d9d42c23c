"""The demos run, and the notebooks are committed with the outputs that they have today."""

import os
import re
import runpy
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import real_or_skipped

DEMOS = Path(__file__).parent.parent / "demos"
NOTEBOOKS = sorted(DEMOS.glob("*.ipynb"))
NUMBER = re.compile(r"[-+−]?\b\d+(\.\d+)?(e[-+]?\d+)?\b")


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell):
    """What a cell shows, without its numbers, which differ in the last digits from machine to machine."""
    found, printed = [], ""
    for output in cell.outputs:
        if output.output_type == "stream":
            # A kernel may send what one cell prints in several parts, cut anywhere.
            printed += output.text if output.name == "stdout" else ""
        elif output.output_type != "display_data" or "image/png" in output.data:
            found += [sorted(output.data)]
            if "image/png" not in output.data:
                found += [NUMBER.sub("#", output.data["text/plain"]).split()]
    return found, NUMBER.sub("#", printed).split()


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS] == [
        "1_first_pair",
        "2_what_the_matrix_leaves_out",
        "3_rankings",
        "4_can_i_believe_it",
        "5_layers_and_errors",
        "6_exact_model",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_with_clean_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert sum("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs) >= 2
    for cell in cells:
        assert cell.metadata == {}
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr"
    text = "".join(line for line in path.read_text(encoding="utf-8").splitlines() if '"image/png"' not in line)
    assert re.findall(r"(?<![\w.])/(?:home|root|tmp|work|usr|Users)/", text) == []
    assert "Warning" not in text
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_is_committed(path, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(DEMOS.parent), prepend=os.pathsep)
    if "XSBERT_MPNET" in path.read_text(encoding="utf-8"):
        # Results are headed by the last two parts of a model's path, links resolved: so the files alone are links.
        folder = tmp_path / "sentence-transformers" / "all-mpnet-base-v2"
        shutil.copytree(real_or_skipped(), folder, copy_function=os.symlink)
        monkeypatch.setenv("XSBERT_MPNET", str(folder))
    committed = nbformat.read(path, as_version=4)
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    for ours, theirs in zip(code_cells(committed), code_cells(notebook), strict=True):
        assert shown(ours) == shown(theirs), ours.source


def test_quickstart(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(DEMOS / "quickstart.py"), run_name="__main__")
    assert capsys.readouterr().out.startswith("cosine similarity 0.7915\n")
    assert (tmp_path / "heatmap.png").read_bytes().startswith(b"\x89PNG")
    assert "This is not a good coffee." in (tmp_path / "view.html").read_text(encoding="utf-8")
