"""Many pairs on the command line: formats, columns, ids, bad lines, streams, and going on after what is there."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from xsbert.__main__ import main
from xsbert._utils.table_files.text import lines_of
from xsbert.cli import run as commands
from xsbert.cli.lines import Lines
from xsbert.cli.pairs import BadLine, Columns, Pair, read_pairs

FEW = ["--layer", "5", "--n-steps", "1"]
A, B = "The coffee is bad.", "This is not a good coffee."


def read(content, name="pairs.tsv", kind="auto", notes=None, quoting=None, **columns):
    """All that is read of a file, empty lines left out."""
    lines = lines_of([content.encode() if isinstance(content, str) else content], name)
    note = (notes if notes is not None else []).append
    found = read_pairs(lines, name, kind, Columns(**columns), note, quoting)
    return [entry for entry in found if entry is not None]


def run(capsys, *argv):
    status = main([*map(str, argv)])
    out, err = capsys.readouterr()
    return status, [json.loads(line) for line in out.splitlines()], err


@pytest.fixture(autouse=True)
def _loaded_once(monkeypatch, request):
    """The model of the other tests, where one is loaded: before output is captured, since loading shows a bar."""
    if "capsys" in request.fixturenames:
        request.getfixturevalue("model")
    monkeypatch.setattr(commands, "load_model", lambda options: request.getfixturevalue("model"))


# Reading


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.tsv", "one coffee\tgood tea\n\ngreen\u2028tea\tblack\x0ctea\n"),
        ("p.tsv", "\ufeffone coffee\tgood tea\r\n\r\ngreen\u2028tea\tblack\x0ctea"),
        ("p.txt", "one coffee\tgood tea\n \ngreen\u2028tea\tblack\x0ctea"),
        ("p.csv", 'one coffee,good tea\n\n"green\u2028tea",black\x0ctea\n'),
        (
            "p",
            '{"text_a": "one coffee", "text_b": "good tea", "score": 3}\n\n'
            '{"text_b": "black\\u000ctea", "text_a": "green\\u2028tea"}\n',
        ),
    ],
)
def test_formats(name, content):
    assert read(content, name) == [Pair(1, "one coffee", "good tea"), Pair(3, "green\u2028tea", "black\x0ctea")]


@pytest.mark.parametrize("names", [("sentence1", "sentence2"), ("Query", "Passage"), ("TEXT_A", "text_b")])
@pytest.mark.parametrize(("ending", "separator"), [("csv", ","), ("tsv", "\t")])
def test_a_header_is_no_pair(names, ending, separator):
    notes = []
    rows = [[names[1], "score", names[0]], ["b1", "3", "a1"], ["b2", "4", "a2"]]
    content = "\n".join(map(separator.join, rows))
    assert read(content, f"p.{ending}", notes=notes) == [Pair(2, "a1", "b1"), Pair(3, "a2", "b2")]
    assert notes == [f"line 1 names the columns, {names[0]!r}, {names[1]!r} are read"]
    # Without another column the header would be read as a pair.
    assert read(f"{names[0]}{separator}{names[1]}\na{separator}b", f"p.{ending}") == [Pair(2, "a", "b")]


def test_named_columns_and_ids():
    content = "key\tleft\tright\nx7\tone\ttwo\n"
    columns = {"texts": ("right", "left"), "id": "key"}
    assert read(content, **columns) == [Pair(2, "two", "one", "x7")]
    assert read(content, header=True, **columns) == [Pair(2, "two", "one", "x7")]
    assert read(content.replace("key", "id"), texts=("left", "right")) == [Pair(2, "one", "two", "x7")]
    record = json.dumps({"key": [1, {"a": None}], "left": "one", "right": "two"})
    assert read(record, "p.jsonl", **columns) == [Pair(1, "two", "one", [1, {"a": None}])]


def test_numbered_columns():
    content = "7\tx\tone\ttwo\n8\ty\tthree\tfour"
    expected = [Pair(1, "one", "two", "7"), Pair(2, "three", "four", "8")]
    assert read(content, texts=("3", "4"), id="1") == expected
    assert read(content, texts=("3", "4"), id="1", header=False) == expected
    assert read(content, texts=("3", "4"), id="1", header=True) == expected[1:]


def test_whether_there_is_a_header_can_be_said():
    content = "sentence1\tsentence2\none\ttwo"
    assert read(content, header=False) == [Pair(1, "sentence1", "sentence2"), Pair(2, "one", "two")]
    assert read("erster\tzweiter\none\ttwo", header=True) == [Pair(2, "one", "two")]


@pytest.mark.parametrize(
    ("content", "columns", "problem"),
    [
        ("a\tb\tc\n", {"texts": ("left", "b")}, "there is no column 'left', but 'a', 'b', 'c'"),
        ("a\tb\tc\n", {"id": "key"}, "there is no column 'key'"),
        ("a\tb\tc\n", {"header": True}, "the line has 'a', 'b', 'c'; no two of these are known column names"),
        ("a\tb\n", {"header": False, "texts": ("a", "b")}, "columns are given by number from 1, got a, b"),
        ("a\tb\n", {"texts": ("0", "1")}, "columns are given by number from 1, got 0, 1"),
    ],
)
def test_columns_that_are_not_there(content, columns, problem):
    with pytest.raises(ValueError, match=problem):
        read(content, **columns)


def test_fields_in_quotes():
    content = 'text_a,text_b\n"one, ""two""\nand three",four\nfive,six\n'
    assert read(content, "p.csv") == [Pair(2, 'one, "two"\nand three', "four"), Pair(4, "five", "six")]
    # A quote is a character as others are, where tabs separate.
    assert read('"one\ttwo"\n') == [Pair(1, '"one', 'two"')]


@pytest.mark.parametrize(
    ("name", "bad", "problem"),
    [
        ("p.tsv", b"no tab", "two texts with one separator between them are needed, got 1 field"),
        ("p.tsv", b"a\tb\tc", "got 3 fields; --columns says which"),
        ("p.tsv", b"a\t ", "text_b must hold some text, got ' '"),
        ("p.tsv", b"\t\t", "it has 3 fields, all of them empty"),
        ("p.tsv", b" \t ", "it has 2 fields, all of them empty"),
        ("p.csv", b",", "it has 2 fields, all of them empty"),
        ("p.jsonl", b'{"text_a": "a"}', "the line has 'text_a'; 'text_b' is missing"),
        ("p.jsonl", b'{"id": 1, "Query": "a"}', "the line has 'id', 'Query'; 'document' or 'passage' is missing"),
        ("p.jsonl", b'{"id": 1}', "the line has 'id'; no two of these are known column names, as 'text_a' and"),
        ("p.jsonl", b"{}", "the line has no columns; no two"),
        ("p.jsonl", b'{"text_a": "a", "text_b": 5}', "text_b must hold some text, got 5"),
        ("p.jsonl", b'{"text_a": "a", "text_b": "\\ud800"}', "half a surrogate pair"),
        ("p.jsonl", b'{"text_a": "a"', "it is no JSON"),
        ("p.jsonl", b'{"text_a": "a", "text_b": "b", "id": NaN}', "its id cannot be passed through, got nan: Out of"),
        ("p.jsonl", b'{"text_a": "a", "text_b": "b", "id": 1e400}', "its id cannot be passed through, got inf"),
        ("p.jsonl", b'{"text_a": "a", "text_b": "b", "ID": {"x": [-Infinity]}}', "its id cannot be passed through"),
        ("p.jsonl", b'{"text_a": "a", "text_b": "b", "text_b": "c"}', "the key 'text_b' occurs more than once"),
        ("p.jsonl", b"[1, 2]", "a JSON object is needed, got '[1, 2]'"),
        ("p.jsonl", b"[" * 100_000, "it is no JSON"),
    ],
)
def test_a_bad_line_is_told_from_its_neighbours(name, bad, problem):
    good = {
        "p.tsv": b"one\ttwo",
        "p.csv": b"one,two",
        "p.jsonl": b'{"text_a": "one", "text_b": "two"}',
    }[name]
    first, second, third = read(good + b"\n" + bad + b"\n" + good, name)
    assert (first, third) == (Pair(1, "one", "two"), Pair(3, "one", "two"))
    assert isinstance(second, BadLine)
    assert second.line == 2
    assert problem in second.problem


def test_empty_fields_before_a_header_are_reported_and_leave_it_one():
    found = read("\n\t\t\ntext_a\tid\ttext_b\none\t1\ttwo\n")
    assert found == [BadLine(2, "it has 3 fields, all of them empty"), Pair(4, "one", "two", "1")]
    assert read("\n\t\n") == [BadLine(2, "it has 2 fields, all of them empty")]


# Lines of a stream


def test_lines_are_cut_at_line_feeds_alone(tmp_path):
    content = "one\ntw\x0c\u2028o\r\n\n" + "x" * 200_000 + "\nlast"
    (tmp_path / "f").write_text(content, encoding="utf-8", newline="")
    with Lines(str(tmp_path / "f"), "f") as lines:
        assert list(lines) == ["one\n", "tw\x0c\u2028o\r\n", "\n", "x" * 200_000 + "\n", "last"]
        assert lines.n_read == 5
    (tmp_path / "f").write_bytes(b"one\n")
    with Lines(str(tmp_path / "f"), "f") as lines:
        assert list(lines) == ["one\n"]


def test_what_has_not_come_is_not_waited_for():
    ours, theirs = os.pipe()
    with os.fdopen(theirs, "wb", buffering=0) as writer:
        lines = Lines(ours, "a pipe")
        assert not lines.ready()
        writer.write(b"half a li")
        assert not lines.ready()
        writer.write(b"ne\nanother\n")
        assert lines.ready()
        assert [next(lines), next(lines)] == ["half a line\n", "another\n"]
        assert not lines.ready()
    assert list(lines) == []
    os.close(ours)


# Explaining


def check(content, result, **expected):
    assert {name: content[name] for name in expected} == expected
    assert content["tokens_a"] == result.tokens_a
    np.testing.assert_allclose(content["matrix"], result.matrix, atol=1e-5)
    assert content["score"] == pytest.approx(result.score, abs=1e-6)


def test_pairs_are_computed_together_and_come_in_order(capsys, tmp_path, model, monkeypatch):
    texts = [(f"coffee number {n}", f"{'tea ' * (n % 3 + 1)}number {n}") for n in range(11)]
    path = tmp_path / "pairs.csv"
    path.write_text("id,text_a,text_b\n" + "".join(f"k{n},{a},{b}\n" for n, (a, b) in enumerate(texts)))
    together, own = [], type(model).explain_pairs
    monkeypatch.setattr(
        type(model), "explain_pairs", lambda self, pairs, **how: together.append(len(pairs)) or own(self, pairs, **how)
    )
    status, lines, err = run(capsys, "--pairs", path, *FEW)
    assert (status, err) == (0, f"xsbert: {path}: line 1 names the columns, 'text_a', 'text_b', 'id' are read\n")
    assert together == [0, 4, 7]
    assert len(lines) == 11
    for n, (line, pair) in enumerate(zip(lines, texts, strict=True)):
        check(line, model.attribute_prediction(*pair, layer=5, n_steps=1), line=n + 2, id=f"k{n}", units="tokens")


def test_bad_lines_lose_nothing(capsys, tmp_path, model):
    path = tmp_path / "pairs.tsv"
    path.write_bytes(b"one coffee\tgood tea\nno tab\n \tb\nblack tea\tgreen tea\n")
    status, lines, err = run(capsys, "--pairs", path, *FEW)
    assert status == 1
    assert [line["line"] for line in lines] == [1, 4]
    check(lines[1], model.attribute_prediction("black tea", "green tea", layer=5, n_steps=1))
    told = err.splitlines()
    assert len(told) == 3
    assert told[0].startswith(f"xsbert: error: {path}, line 2: two texts with one separator")
    assert told[1].startswith(f"xsbert: error: {path}, line 3: text_a must hold some text")
    assert told[2] == "xsbert: error: 2 lines could not be explained"


def test_a_pair_that_cannot_be_explained_loses_nothing(capsys, tmp_path, shifted, monkeypatch):
    """The reference itself has no cosine: a shifted model embeds it to zero. Two batches have it in the same place."""
    monkeypatch.setattr(commands, "load_model", lambda options: shifted)
    path = tmp_path / "pairs.tsv"
    texts = ["[PAD]" if n in (2, 6, 7) else f"coffee {n}" for n in range(9)]
    path.write_text("".join(f"{text}\ttea {n}\n" for n, text in enumerate(texts)))
    status, lines, err = run(capsys, "--pairs", path, *FEW)
    assert status == 1
    assert [line["line"] for line in lines] == [1, 2, 4, 5, 6, 9]
    problem = "text_a: the cosine of a zero embedding is not defined: a text without words"
    told = [line for line in err.splitlines() if "xsbert: error" in line]
    assert [line[: line.index(" of its own")] for line in told[:3]] == [
        f"xsbert: error: {path}, line {line}: {problem}" for line in (3, 7, 8)
    ]
    assert told[3:] == ["xsbert: error: 3 lines could not be explained"]


@pytest.mark.parametrize("many", [True, False])
def test_warnings_name_the_line(capsys, tmp_path, many):
    path = tmp_path / "pairs.tsv"
    path.write_text(("one\ttwo\n" if many else "\n") + f"coffee\t{'tea ' * 300}\n")
    if many:
        # In the second batch, at the place that the first one has it in.
        path.write_text(path.read_text() + "three\tfour\n" * 3 + f"black coffee\t{'tea ' * 310}\n")
    status, lines, err = run(capsys, "--pairs", path, "--layer", "6", "--n-steps", "1")
    assert status == 0
    assert lines[-1]["n_cut_b"] == (56 if many else 46)
    told = [line.partition(" tokens")[0] for line in err.splitlines()]
    assert told == [
        f"xsbert: warning: line {line}, text_b is longer than the model's limit of 256"
        for line in ([2, 6] if many else [2])
    ]


def test_what_makes_no_sense_for_any_pair_is_told_once(capsys, tmp_path):
    (tmp_path / "p.tsv").write_text("one\ttwo\nthree\tfour\n")
    status, lines, err = run(capsys, "--pairs", tmp_path / "p.tsv", "--layer", "99")
    assert (status, lines, err.count("\n")) == (1, [], 1)
    assert "layer must be between -6 and 6" in err
    status, lines, err = run(capsys, "--pairs", tmp_path / "p.tsv", "--prompt-name", "x", "--prompt-name", "y")
    assert (status, lines, err.count("\n")) == (1, [], 1)
    assert "prompt_name must be one of" in err


def test_prompts_of_each_side(capsys, tmp_path, model):
    (tmp_path / "p.tsv").write_text("one\ttwo\nthree\tfour\n")
    argv = ["--pairs", tmp_path / "p.tsv", *FEW, "--prompt", "ask: ", "--prompt", "say: "]
    status, lines, _ = run(capsys, *argv)
    assert status == 0
    assert [(line["text_a"], line["text_b"]) for line in lines] == [
        ("ask: one", "say: two"),
        ("ask: three", "say: four"),
    ]
    result = model.attribute_prediction("three", "four", layer=5, n_steps=1, prompt=("ask: ", "say: "))
    check(lines[1], result, roles_a=list(result.a.roles))


def test_an_empty_file_and_none(capsys, tmp_path):
    (tmp_path / "empty.tsv").write_text("\n\n")
    status, lines, err = run(capsys, "--pairs", tmp_path / "empty.tsv")
    assert (status, lines, err) == (1, [], f"xsbert: error: {tmp_path / 'empty.tsv'} holds no pairs\n")
    status, lines, err = run(capsys, "--pairs", tmp_path / "none.tsv")
    assert "No such file or directory" in err


@pytest.mark.parametrize("words", [True, False])
def test_the_strongest_pairs(capsys, tmp_path, model, words):
    (tmp_path / "p.tsv").write_text(f"{A}\t{B}\n")
    argv = [*FEW, "--top-k", "3", *(["--units", "words"] if words else [])]
    status, (line,), _ = run(capsys, "--pairs", tmp_path / "p.tsv", *argv)
    assert status == 0
    assert "matrix" not in line
    assert line["units"] == ("words" if words else "tokens")
    result = model.attribute_prediction(A, B, layer=5, n_steps=1)
    result = result.words() if words else result
    inner = result.matrix[1:-1, 1:-1]
    assert [abs(pair["value"]) for pair in line["top_pairs"]] == pytest.approx(sorted(np.abs(inner).ravel())[:-4:-1])
    for pair in line["top_pairs"]:
        assert pair["value"] == result.matrix[pair["a"], pair["b"]]
        assert (pair["token_a"], pair["token_b"]) == (result.tokens_a[pair["a"]], result.tokens_b[pair["b"]])
    assert main([A, B, *argv]) == 0
    account, shown = capsys.readouterr().out.split("  strongest pairs\n")
    assert str(result).startswith(account)
    assert [float(text.split()[-1]) for text in shown.splitlines()] == [
        round(pair["value"], 4) for pair in line["top_pairs"]
    ]


def test_the_strongest_pairs_are_those_of_the_library(capsys, model):
    argv = ["Rain", "Wet", *FEW, "--prompt", "search query: ", "--top-k", "3"]
    result = model.attribute_prediction("Rain", "Wet", prompt="search query: ", layer=5, n_steps=1)
    expected = result.top_pairs(3, special_tokens=False)
    assert main([*argv, "--json", "-"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [(pair["a"], pair["b"], pair["value"]) for pair in content["top_pairs"]] == expected
    whole = result.to_dict()
    del whole["matrix"], content["top_pairs"]
    assert content == whole
    assert main(argv) == 0
    shown = capsys.readouterr().out.split("  strongest pairs\n")[1]
    assert [line.split()[:3] for line in shown.splitlines()] == [
        [one, "·", other] for one, other, _ in result.top_pairs(3, names=True, special_tokens=False)
    ]


def test_a_text_that_reads_like_the_account_is_shown_whole(capsys):
    text = "  strongest pairs"
    assert main([text, "Wet", *FEW, "--top-k", "1"]) == 0
    assert "parts of the score" in capsys.readouterr().out


# Standard input


@pytest.mark.slow
def test_standard_input_is_explained_as_it_comes():
    """Each line is answered while nothing of the next has come."""
    command = [sys.executable, "-m", "xsbert", "--pairs", "-", *FEW, "--top-k", "1"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True) as process:
        for number, (a, b) in enumerate([("one", "two"), ("three", "four")], 1):
            process.stdin.write(f"{a}\t{b}\n")
            process.stdin.flush()
            line = json.loads(process.stdout.readline())
            assert (line["line"], line["text_a"]) == (number, a)
        process.stdin.close()
        assert process.stdout.read() == ""
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_standard_input_of_a_file(capsys, tmp_path, monkeypatch):
    (tmp_path / "p").write_text("one\ttwo\nthree\tfour\n")
    with (tmp_path / "p").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        status, lines, err = run(capsys, "--pairs", "-", *FEW)
    assert (status, err, [line["line"] for line in lines]) == (0, "", [1, 2])


# Going on


@pytest.fixture
def whole(capsys, tmp_path):
    """A file of pairs, and the results of all of them."""
    (tmp_path / "p.tsv").write_text("".join(f"coffee {n}\ttea {n}\n" for n in range(6)))
    assert run(capsys, "--pairs", tmp_path / "p.tsv", "--output", tmp_path / "whole", *FEW) == (0, [], "")
    return (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("cut", [0, 10, 0.2, 0.5, 0.99, 1.0])
def test_resumed_results_are_those_of_one_run(capsys, tmp_path, whole, monkeypatch, cut):
    n_kept = int(cut * len(whole)) if isinstance(cut, float) else cut
    (tmp_path / "part").write_bytes(whole[:n_kept])
    explained, own = [], commands._explain_together
    monkeypatch.setattr(
        commands,
        "_explain_together",
        lambda model, pairs, options: explained.extend(pairs) or own(model, pairs, options),
    )
    argv = ["--pairs", tmp_path / "p.tsv", "--output", tmp_path / "part", "--resume", *FEW]
    assert run(capsys, *argv) == (0, [], "")
    n_done = whole[:n_kept].count(b"\n")
    assert len(explained) == 6 - n_done
    lines, expected = ([json.loads(line) for line in f.splitlines()] for f in ((tmp_path / "part").read_bytes(), whole))
    assert [line["line"] for line in lines] == [1, 2, 3, 4, 5, 6]
    for line, wanted in zip(lines, expected, strict=True):
        assert line.keys() == wanted.keys()
        np.testing.assert_allclose(line["matrix"], wanted["matrix"], atol=1e-5)


def test_results_are_not_written_over(capsys, tmp_path, whole):
    argv = ["--pairs", tmp_path / "p.tsv", "--output", tmp_path / "whole", *FEW]
    status, lines, err = run(capsys, *argv)
    assert (status, lines) == (1, [])
    assert "is not empty; --resume continues it" in err
    assert (tmp_path / "whole").read_bytes() == whole


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["--layer", "4", "--n-steps", "1"], "has results of layer 5, this run would have 4"),
        (["--layer", "5", "--n-steps", "2"], "has results of n_steps 1, this run would have 2"),
        (["--layer", "5", "--tolerance", "0.1"], "has results of tolerance None, this run would have 0.1"),
        ([*FEW, "--similarity", "dot"], "has results of similarity 'cosine', this run would have 'dot'"),
        ([*FEW, "--units", "words"], "has results of units 'tokens', this run would have 'words'"),
        ([*FEW, "--top-k", "3"], "was written without --top-k"),
    ],
)
def test_results_of_another_kind_are_not_gone_on_with(capsys, tmp_path, whole, argv, problem):
    part = whole[: whole.index(b"\n") + 1]
    (tmp_path / "part").write_bytes(part)
    status, _, err = run(capsys, "--pairs", tmp_path / "p.tsv", "--output", tmp_path / "part", "--resume", *argv)
    assert status == 1
    assert problem in err
    assert (tmp_path / "part").read_bytes() == part


def test_results_of_another_tolerance_of_factors_are_not_gone_on_with(capsys, tmp_path):
    (tmp_path / "p.tsv").write_text("coffee\ttea\nrain\tsnow\n")
    argv = ["--pairs", tmp_path / "p.tsv", "--output", tmp_path / "part", "--layer", "5", "--factor-tolerance", "0.1"]
    assert run(capsys, *argv)[0] == 0
    first = (tmp_path / "part").read_bytes().splitlines(keepends=True)[0]
    (tmp_path / "part").write_bytes(first)
    status, _, err = run(capsys, *argv[:-1], "0.05", "--resume")
    assert status == 1
    assert "results of factor_tolerance 0.1, this run would have 0.05" in err
    assert (tmp_path / "part").read_bytes() == first
    assert run(capsys, *argv, "--resume")[0] == 0


def test_results_of_other_pairs(capsys, tmp_path, whole):
    (tmp_path / "p.tsv").write_text("another\tpair\n")
    argv = ["--pairs", tmp_path / "p.tsv", "--output", tmp_path / "whole", "--resume", *FEW]
    status, _, err = run(capsys, *argv)
    assert status == 1
    assert "holds another pair for line 1 than the file of pairs" in err
    (tmp_path / "whole").write_text("something else\n")
    status, _, err = run(capsys, *argv)
    assert status == 1
    assert "line 1 of" in err
    assert "is not a result of --pairs, got b'something else" in err
    assert (tmp_path / "whole").read_text() == "something else\n"
