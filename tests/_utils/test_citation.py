import re
import subprocess
import sys
from pathlib import Path

import yaml

import xsbert
from xsbert.__main__ import main

ROOT = Path(__file__).parents[2]


def test_the_entries_in_bibtex_are_those_of_the_citation_file_and_of_the_readme(capsys):
    assert main(["cite"]) == 0
    printed = capsys.readouterr().out.strip()
    assert printed == xsbert.cite()
    assert printed in (ROOT / "README.md").read_text(encoding="utf-8")

    known = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert known["version"] == xsbert.__version__
    assert f"version = {{{xsbert.__version__}}}" in printed
    assert str(known["date-released"])[:4] in printed
    for paper in known["references"]:
        entry = next(each for each in printed.split("\n\n") if paper["doi"] in each)
        assert paper["title"] in re.sub(r"[{}]", "", entry)
        assert str(paper["year"]) in entry
        for author in paper["authors"]:
            assert author["family-names"].replace("Padó", r"Pad{\'o}") in entry


def test_the_entries_have_balanced_braces():
    assert xsbert.cite().count("{") == xsbert.cite().count("}")


def test_a_reader_that_goes_away_is_no_error():
    command = [sys.executable, "-m", "xsbert", "cite"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True) as process:
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == ""
