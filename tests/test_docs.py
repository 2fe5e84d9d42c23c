"""Pages, notebooks and comments: what they point to exists."""

import ast
import importlib
import re
from pathlib import Path

import nbformat
import pytest

from xsbert import load_attributions

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)])
NOTEBOOKS = sorted((ROOT / "demos").glob("*.ipynb"))
CODE = sorted(path for folder in ("xsbert", "benchmarks", "demos") for path in (ROOT / folder).rglob("*.py"))

LINK = re.compile(r"\]\(([^()\s]+)\)")
FENCE = re.compile(r"^(`{3,}).*?^\1", flags=re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#{1,6} (.+)$", flags=re.MULTILINE)
TARGET = re.compile(r"^\(([\w-]+)\)=$", flags=re.MULTILINE)
# A file that a command is to write need not be there.
OWN_PATH = re.compile(
    r"(?<!--json )\b((?:docs|demos|benchmarks|tests|xsbert)/[\w./-]*\w\.(?:md|py|ipynb|json|png|js|css|html))\b"
)
RECORD = re.compile(r"`(?:benchmarks/results/)?(\w+\.json)`")
# These are written by examples, or are files of other projects.
NOT_RECORDS = {"modules.json", "manifest.json"}


def name_of(path):
    return str(path.relative_to(ROOT))


def text_of(path):
    """A page's text, or that of a notebook's own words."""
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def anchors_of(path):
    """Anchors of a page's headings, as GitHub and MyST make them, and those that it sets itself."""
    text = text_of(path)
    headings = [re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading) for heading in HEADING.findall(FENCE.sub("", text))]
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(TARGET.findall(text))


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=name_of)
def test_links_lead_somewhere(path):
    broken = []
    for link in LINK.findall(FENCE.sub("", text_of(path))):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS, *CODE], ids=name_of)
def test_named_files_exist(path):
    """Paths of this repository, in words, comments and docstrings, and records by their names."""
    text = text_of(path)
    assert [name for name in OWN_PATH.findall(text) if not (ROOT / name).exists()] == []
    if path.suffix == ".md":
        names = set(RECORD.findall(text)) - NOT_RECORDS
        assert [name for name in names if not (ROOT / "benchmarks/results" / name).exists()] == []


BY_POSITION = re.compile(r"\b(?:see|sentences|texts|pairs?|figures?|both) \[?(?:above|below)\b", flags=re.IGNORECASE)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_pages_refer_by_link_and_not_by_position(path):
    """Pages are read one by one, and sections move: “see below” and “the sentences above” come to point nowhere."""
    assert BY_POSITION.findall(text_of(path)) == []


@pytest.mark.parametrize("path", sorted((DOCS / "guides").glob("*.md")), ids=lambda path: path.stem)
def test_a_guide_is_short(path):
    """One task a page, in at most 600 words beside the code. What needs more is background."""
    assert len(FENCE.sub("", text_of(path)).split()) <= 600


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_refer_to_pages(path):
    """The README is a summary, and its tables move to pages."""
    assert "README" not in text_of(path)


def test_nothing_promises_every_model():
    """Some are refused, and the page on models says which."""
    promises = re.compile(
        r"\b(?:any|every|all)\b[^.|]{0,30}\bsentence-transformers models?\b(?! (?:that|whose|with))", re.IGNORECASE
    )
    scripts = [*CODE, ROOT / "pyproject.toml"]
    found = {name_of(path): promises.findall(text_of(path)) for path in [*PAGES, *NOTEBOOKS, *scripts]}
    assert {name: said for name, said in found.items() if said} == {}


NAME = re.compile(r"\bxsbert(?:\.[A-Za-z_]\w*)+")
NAME_IN_CODE = re.compile(r"`(xsbert(?:\.[A-Za-z_]\w*)+)")
IMPORT = re.compile(r"\bfrom (xsbert[\w.]*) import ([\w, ]+)")


def resolved(name):
    """What a dotted name stands for: attributes of the longest part of it that is a module."""
    parts = name.split(".")
    for n_parts in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:n_parts]))
        except ModuleNotFoundError as error:
            if not str(error.name).startswith("xsbert"):
                raise
            continue
        for part in parts[n_parts:]:
            thing = getattr(thing, part)
        return thing
    raise AttributeError(name)


def names_in(path):
    """Dotted names of the package, also those that examples import. Of code those between backquotes."""
    if path.suffix == ".py":
        return set(NAME_IN_CODE.findall(path.read_text(encoding="utf-8")))
    cells = nbformat.read(path, as_version=4).cells if path.suffix == ".ipynb" else None
    text = path.read_text(encoding="utf-8") if cells is None else "\n\n".join(cell.source for cell in cells)
    imported = {f"{module}.{name.split()[0]}" for module, names in IMPORT.findall(text) for name in names.split(",")}
    return imported.union(NAME.findall(text))


def names_in_first_columns(path):
    cells = re.findall(r"^\| ([^|]*) \|", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return set(NAME.findall(" ".join(cells)))


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS, *CODE], ids=name_of)
@pytest.mark.filterwarnings("error:.* is now:DeprecationWarning")
def test_named_modules_exist(path):
    """The changelog also has names of earlier versions, in the first column of its tables."""
    earlier = names_in_first_columns(path) if path.stem == "CHANGELOG" else set()
    missing = []
    for name in sorted(names_in(path) - earlier):
        try:
            resolved(name)
        except (AttributeError, DeprecationWarning):
            missing.append(name)
    assert missing == []


# Modules that users import from. Their public names are in the reference.
FOR_USERS = [
    "xsbert",
    "xsbert.attribution",
    "xsbert.attribution.alignment",
    "xsbert.corpus",
    "xsbert.engine",
    "xsbert.evaluation",
    "xsbert.evaluation.blindness",
    "xsbert.evaluation.control_models",
    "xsbert.evaluation.faithfulness",
    "xsbert.evaluation.gold_alignments",
    "xsbert.evaluation.linguistics",
    "xsbert.evaluation.methods",
    "xsbert.evaluation.perturbation",
    "xsbert.factors",
    "xsbert.integrated_jacobian",
    "xsbert.models",
    "xsbert.ranking",
    "xsbert.ranking.retrievers",
    "xsbert.utils",
]


def test_the_reference_is_complete():
    """Each public function and class of these modules has its place in docs/api, by itself or with its module."""
    directives = [
        found
        for page in (DOCS / "api").glob("*.md")
        for found in re.findall(r"^\.\. auto(\w+):: ([\w.]+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    ]
    documented = set()
    for kind, name in directives:
        module, _, last = name.rpartition(".")
        names = importlib.import_module(name).__all__ if kind == "module" else [last]
        home = importlib.import_module(name if kind == "module" else module)
        documented |= {id(getattr(home, each)) for each in names}
    missing = [
        f"{module}.{name}"
        for module in FOR_USERS
        for name in importlib.import_module(module).__all__
        if callable(thing := getattr(importlib.import_module(module), name)) and id(thing) not in documented
    ]
    assert missing == []


class TestNotebookLinks:
    """The line that the documentation adds to each notebook."""

    @pytest.fixture(autouse=True)
    def links(self, monkeypatch):
        pytest.importorskip("tomllib", reason="the documentation is built with Python 3.11 or later")
        monkeypatch.syspath_prepend(DOCS)
        self.module = importlib.import_module("notebook_links")

    @pytest.mark.parametrize("address", [None, "https://github.com/some-one/xs.bert", "https://github.com/o/n.git"])
    def test_they_follow_the_heading_of_a_valid_notebook(self, address):
        for path in NOTEBOOKS:
            whole = nbformat.read(path, as_version=4)
            linked = self.module.with_links(whole, path.name, address)
            nbformat.validate(nbformat.from_dict(linked))
            assert [linked["cells"][0], *linked["cells"][2:]] == whole["cells"]
            source = linked["cells"][1]["source"]
            assert source.startswith(f"{{download}}`Download this notebook <{path.name}>`")
            project = address and address.removeprefix("https://github.com/").removesuffix(".git")
            colab = f"https://colab.research.google.com/github/{project}/blob/main/demos/{path.name}"
            assert (colab in source) == (address is not None)

    def test_the_address_is_a_setting_of_the_package(self, tmp_path):
        pyproject = tmp_path / "pyproject.toml"
        pyproject.write_text("[project]\nname = 'x'\n")
        assert self.module.source_address(pyproject) is None
        pyproject.write_text("[project]\nname = 'x'\nurls.Source = 'https://github.com/o/n'\n")
        assert self.module.source_address(pyproject) == "https://github.com/o/n"

    def test_another_address_is_refused(self):
        with pytest.raises(ValueError, match=r"address must be https://github.com/OWNER/NAME, got 'https://gitlab"):
            self.module.with_links({"cells": [{}]}, "1.ipynb", "https://gitlab.com/o/n")


PYTHON = re.compile(r"^```python\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_code_is_python_and_imports_what_is_there(path):
    for code in PYTHON.findall(text_of(path)):
        for statement in ast.walk(ast.parse(code)):
            if isinstance(statement, ast.ImportFrom) and statement.module.split(".")[0] == "xsbert":
                module = importlib.import_module(statement.module)
                missing = [alias.name for alias in statement.names if not hasattr(module, alias.name)]
                assert missing == []


def test_the_recipe_of_a_figure_runs_from_its_first_line_to_its_last(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    figure, tables, strongest = PYTHON.findall(text_of(DOCS / "guides/paper_figure.md"))
    names = {}
    exec(figure + strongest.replace("print(strongest_pairs", "print(table := strongest_pairs"), names)
    exec(tables, names)
    assert (tmp_path / "references.pdf").read_bytes().startswith(b"%PDF")
    assert len(load_attributions("references.safetensors")) == 2
    assert "coffee" in capsys.readouterr().out
    assert r"\label{tab:faithfulness}" in Path("table.tex").read_text()
    assert "coffee" in Path("table.csv").read_text()
