"""`xsbert rank` on the command line."""

import io
import json

import pandas as pd
import pytest

from xsbert.__main__ import main
from xsbert.cli.rank_run import read_documents
from xsbert.ranking.ranking import Ranking
from xsbert.ranking.retrievers import Retrieved

LINES = ['{"text": "The choir sings on Sundays.", "name": 7}', '{"text": "Prices rose sharply.", "name": "b"}']


@pytest.fixture
def documents(tmp_path):
    path = tmp_path / "documents.jsonl"
    path.write_text("\n".join([*LINES, ""]), encoding="utf-8")
    return str(path)


def test_a_ranking_is_told_and_written(documents, tmp_path, capsys):
    files = {name: str(tmp_path / name) for name in ("page.html", "ranking", "numbers.json")}
    options = ["--html", files["page.html"], "--save", files["ranking"], "--json", files["numbers.json"]]
    assert main(["rank", "who sings", documents, "--id", "name", "--tolerance", "0.1", *options]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("2 of 2 documents for “who sings”\n")
    assert "document 0 (7)" in out
    assert "sings" in out
    ranking = Ranking.load(files["ranking"])
    assert ranking.order == [0, 1]
    with open(files["numbers.json"], encoding="ascii") as file:
        assert json.load(file) == json.loads(json.dumps(ranking.to_dict()))
    with open(files["page.html"], encoding="utf-8") as file:
        assert file.read() == ranking.to_html()


def test_a_tolerance_of_the_factors_costs_nodes(documents, capsys):
    nodes = []
    for more in ([], ["--factor-tolerance", "0.001"]):
        assert (
            main(["rank", "who sings", documents, "--detail", "pairs", "--tolerance", "0.1", *more, "--json", "-"]) == 0
        )
        nodes.append(json.loads(capsys.readouterr().out)["settings"]["n_steps"])
    assert nodes[1] > nodes[0]


def test_numbers_on_standard_output(documents, capsys):
    arguments = ["--detail", "pairs", "--top-k", "1", "--units", "tokens", "--layer", "6", "--json", "-"]
    assert main(["rank", "who sings", documents, *arguments]) == 0
    content = json.loads(capsys.readouterr().out)
    (hit,) = content["hits"]
    assert len(hit["pairs"][0]) == len(hit["document"]["units"])
    assert content["n_documents"] == 2


def test_plain_lines_and_standard_input(tmp_path, monkeypatch):
    path = tmp_path / "documents.txt"
    path.write_bytes("\ufeffOne text.\r\n\nAnother\u2028one.\n".encode())
    assert read_documents(str(path)) == [Retrieved("One text."), Retrieved("Another\u2028one.")]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(LINES[0].encode())))
    assert read_documents("-", id="name") == [Retrieved("The choir sings on Sundays.", "7")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no documents"),
        (b"\n \n", "holds no documents"),
        (b'{"text": "a"}\n{"body": "b"}', "line 2: some text under 'text' is needed, got None"),
        (b'{"text": "a"}\n{"text": " "}', "line 2: some text under 'text' is needed"),
        (b'{"text": "a"}\n{"text"', "line 2: "),
        (b"\xff", "is not UTF-8: line 1 holds the bytes ff"),
        (b'{"text": "a"}\n{"text": "b \\ud800"}', "line 2: character 2 is half of a surrogate pair"),
        (b'["a dog", "a cat"]', "like a JSON array"),
        (b'[\n {"text": "a"}\n]', "like a JSON array"),
        (b"[1] a note", "begins with [, like JSON or CSV"),
        (b'"a dog"\n"a cat"\n', 'begins with ", like JSON or CSV'),
    ],
)
def test_bad_files(content, message, tmp_path, capsys):
    path = tmp_path / "documents"
    path.write_bytes(content)
    assert main(["rank", "a query", str(path)]) == 1
    assert message in capsys.readouterr().err


ROWS = [{"name": "7", "text": "One text, with a comma."}, {"name": "b", "text": "Another\none."}]


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_tables(kind, tmp_path, capsys):
    path, frame = tmp_path / f"documents.{kind}", pd.DataFrame(ROWS)
    if kind == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="," if kind == "csv" else "\t")
    # In TSV quotes are characters, if nothing else is said.
    quoting = True if kind == "tsv" else None
    expected = [Retrieved(row["text"], row["name"]) for row in ROWS]
    assert read_documents(str(path), id="name", quoting=quoting) == expected
    assert read_documents(str(path), column="name", quoting=quoting) == [Retrieved("7"), Retrieved("b")]
    with pytest.raises(ValueError, match=rf"documents\.{kind} has no column body, id; it has name, text: columns and"):
        read_documents(str(path), "body", "id")
    assert main(["rank", "a query", str(path), "--columns", "body"]) == 1
    assert "has no column body; it has name, text: --columns and --id name others" in capsys.readouterr().err
    if kind == "csv":
        frame.assign(text=["a", ""]).to_csv(path, index=False)
        with pytest.raises(ValueError, match=r"documents\.csv, line 3: some text under 'text' is needed"):
            read_documents(str(path))
        path.write_text("text\na dog, a cat\n")
        with pytest.raises(ValueError, match="line 2: it has 2 fields, the first record has 1"):
            read_documents(str(path))
        path.write_text("text\n")
        with pytest.raises(ValueError, match="holds no documents"):
            read_documents(str(path))


def test_the_name_tells_what_lines_are(tmp_path):
    (tmp_path / "documents.txt").write_text('"Quoted," he said.\n[1] A note.\n')
    assert read_documents(str(tmp_path / "documents.txt")) == [
        Retrieved('"Quoted," he said.'),
        Retrieved("[1] A note."),
    ]
    (tmp_path / "strings.jsonl").write_text('"a dog"\n')
    with pytest.raises(ValueError, match="line 1: a JSON object is needed, got"):
        read_documents(str(tmp_path / "strings.jsonl"))


@pytest.mark.parametrize("option", ["--html", "--save", "--json"])
def test_files_that_cannot_be_written_are_refused_before_the_work(option, documents, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("xsbert.cli.rank_run.load_model", lambda options: pytest.fail("the work has begun"))
    assert main(["rank", "who sings", documents, option, str(tmp_path / "nosuch" / "file")]) == 1
    assert "there is no folder" in capsys.readouterr().err
    assert main(["rank", "who sings", documents, option, str(tmp_path)]) == 1
    assert "Is a directory" in capsys.readouterr().err


def test_a_file_that_is_not_there(capsys, tmp_path):
    assert main(["rank", "a query", str(tmp_path / "nosuch")]) == 1
    assert "nosuch" in capsys.readouterr().err


def test_what_makes_no_sense(documents, capsys):
    for argv, message in [
        (["--top-k", "0"], "argument --top-k: must be above 0, got 0"),
        (["--units", "letters"], "invalid choice: 'letters'"),
        (["--n-steps", "2", "--tolerance", "0.1"], "give --tolerance or --n-steps, not both"),
        (["--document-prompt", "b", "--prompt-name", "c"], "give --prompt or --prompt-name, not both"),
        ([*["--prompt", "a"] * 3], "--prompt can be given twice at most, once for each text"),
    ]:
        with pytest.raises(SystemExit, match="2"):
            main(["rank", "a query", documents, *argv])
        assert message in capsys.readouterr().err


def test_a_forgotten_file_is_not_taken_for_a_pair_of_texts(capsys):
    """“rank” and the query are two texts as well, whose similarity nobody asked for."""
    with pytest.raises(SystemExit, match="2"):
        main(["rank", "another text"])
    assert "the following arguments are required: FILE" in capsys.readouterr().err
    assert main(["--layer", "6", "--n-steps", "1", "--", "rank", "another text"]) == 0
    assert "\n  a  rank\n" in capsys.readouterr().out
