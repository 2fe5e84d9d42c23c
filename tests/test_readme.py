"""The README's own code and account."""

import json
import re
from pathlib import Path

import pytest

from xsbert import XSTransformer

README = Path(__file__).parents[1] / "README.md"
ERROR = re.compile(r"\d\.\de[-+]\d\d")
CONCEPTS, REFERENCES = README.parent / "docs/background/concepts.md", README.parent / "docs/guides/reference.md"


def test_the_first_code_runs_and_the_account_is_of_this_version(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = README.read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    assert len([line for line in code.splitlines() if line.strip()]) == 8
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "heatmap.png").stat().st_size > 10_000
    shown = re.search(r"```\n(cosine similarity.*?)```", text, re.DOTALL).group(1)
    for line, printed in zip(shown.splitlines(), capsys.readouterr().out.splitlines(), strict=False):
        if "residuals" in line or "error" in line:
            # Rounding differs from machine to machine, but is far below these.
            assert ERROR.sub("#", line) == ERROR.sub("#", printed)
            errors = [[float(error) for error in ERROR.findall(each)] for each in (line, printed)]
            assert errors[0] == pytest.approx(errors[1], rel=0.05)
        else:
            assert line == printed


@pytest.mark.parametrize("reference", [None, "pad"])
def test_the_parts_of_the_example(reference, minilm_path):
    out = XSTransformer(minilm_path, reference=reference, device="cpu").attribute_prediction(
        "The coffee is bad.", "This is not a good coffee."
    )
    lines = CONCEPTS.read_text(encoding="utf-8").replace("−", "-").splitlines()
    parts = [out.parts[key] for key in ("interactions", "main effects a", "main effects b", "baseline")]
    cells = " | ".join(f"{number:.2f}" for number in (out.score, *parts))
    assert sum(line.startswith(f"| `{reference or 'unk'}`") and line.endswith(f" | {cells} |") for line in lines) == 1


@pytest.mark.parametrize("name", ["minilm", "mpnet"])
def test_the_tables_of_references_are_those_of_the_records(name):
    record = json.loads((README.parent / f"benchmarks/results/references_{name}.json").read_text(encoding="utf-8"))
    lines = REFERENCES.read_text(encoding="utf-8").replace("**", "").replace("−", "-").splitlines()
    every, own = record["chosen"].values()
    for few, many, split in zip(own["rows"], every["rows"], record["parts"], strict=True):
        numbers = [row[key] for row in (few, many) for key in ("rank_agreement", "mean_change")]
        cells = " | ".join([f"`{few['reference']}`", *(f"{number:.4f}" for number in numbers)])
        assert sum(f"| {cells} |" in line for line in lines) == 1
        parts = [split[key] for key in ("interactions", "main effects a", "main effects b", "baseline")]
        interactions, main_a, main_b, baseline = (f"{part:.2f}" for part in parts)
        cells = f"{split['score']:.2f} | {interactions} | {main_a}, {main_b} | {baseline} | "
        assert sum(f"`{few['reference']}` | {cells}{split['negative cells']:.0%} |" in line for line in lines) == 1


def test_what_it_says_of_references_is_what_was_found():
    found = {}
    for name in ("minilm", "mpnet"):
        record = json.loads((README.parent / f"benchmarks/results/references_{name}.json").read_text(encoding="utf-8"))
        rows = record["chosen"]["all pairs of 400 texts"]["rows"]
        assert max(rows, key=lambda row: row["rank_agreement"])["reference"] == "[UNK]"
        found[name] = {row["reference"].strip("[]<>").lower(): f"{row['rank_agreement']:.2f}" for row in rows}
    lines = README.read_text(encoding="utf-8").splitlines()
    for token, start in (("unk", "| unknown token, the default |"), ("pad", "| padding token, as in the papers")):
        cells = " | ".join(found[name][token] for name in ("minilm", "mpnet"))
        assert sum(line.startswith(start) and line.endswith(f" | {cells} |") for line in lines) == 1


def test_the_commands_are_there_and_what_they_name_exists():
    text = README.read_text(encoding="utf-8")
    commands = re.findall(r"```bash\n(python3 -m venv .*?)```", text, re.DOTALL)
    assert len(commands) == 2
    for name in ("demos/quickstart.py", "constraints.txt", "docs/heatmap.png", "docs/view.png"):
        assert name in text
        assert (README.parent / name).exists()
