"""Configuration of Sphinx: pages in MyST, the API from docstrings, the notebooks of `demos/` with committed outputs."""

import json
import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

from notebook_links import source_address, with_links  # noqa: E402

import xsbert  # noqa: E402

project = "xsbert"
author = copyright = "the xsbert authors"
release = version = xsbert.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_design"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"xsbert {release}"

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
# The tests execute the notebooks and compare the outputs that are committed.
nb_execution_mode = "off"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
napoleon_custom_sections = ["Raises, warns", "Returns, raises"]
suppress_warnings = ["mystnb.unknown_mime_type", "ref.python"]

# Sphinx reads what lies under its own folder only.
shutil.rmtree(DOCS / "notebooks", ignore_errors=True)
(DOCS / "notebooks").mkdir()
address = source_address(DOCS.parent / "pyproject.toml")
for notebook in (DOCS.parent / "demos").glob("*.ipynb"):
    linked = with_links(json.loads(notebook.read_text(encoding="utf-8")), notebook.name, address)
    (DOCS / "notebooks" / notebook.name).write_text(json.dumps(linked), encoding="utf-8")
