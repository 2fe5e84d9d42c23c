"""One file gives the same rows or the same refusal to --pairs, to a corpus and to a ranking."""

import csv
import io
import json
import os
import random
import re
import warnings

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict

from tests.tiny_models import save_tiny_model
from xsbert import XSTransformer
from xsbert.__main__ import main
from xsbert._utils.table_files.advice import advise, option_message
from xsbert._utils.table_files.rows import read_rows
from xsbert._utils.table_files.text import TextLines, lines_of
from xsbert.cli.pairs import BadLine, Columns, read_pairs
from xsbert.cli.rank_run import read_documents
from xsbert.corpus import explain_corpus, read_corpus
from xsbert.corpus.sources import rows_of_source

NAMES = ("text_a", "text_b")
# What readers of tables have taken apart, or altered.
PIECES = [
    "a",
    "cat",
    " ",
    '"',
    '""',
    ",",
    ";",
    "'",
    "\\",
    "é",
    "😀",
    "\u2028",
    "\x0c",
    "\x85",
    "\ufeff",
    "null",
    "#",
    "{",
]
LINE_ENDS = ["\n", "\r\n", "\r", "\t"]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"]


def random_text(random, pieces):
    return "a" + "".join(random.choice(pieces) for _ in range(random.randrange(8))) + random.choice(["b", '"', ' "'])


def random_table(random, kind):
    """Ids and texts."""
    pieces = PIECES if kind == "tsv" else PIECES + LINE_ENDS
    return [
        (f"k{row}", random_text(random, pieces), random_text(random, pieces)) for row in range(random.randrange(1, 6))
    ]


def quoted(random, field):
    if any(character in field for character in '",\n\r') or random.random() < 0.3:
        return '"' + field.replace('"', '""') + '"'
    return field


def records(random, rows, kind):
    """The records of a file, the header included, each with as many lines as it has."""
    names = ["id", *NAMES]
    order = random.sample(range(3), 3)
    if kind == "jsonl":
        return [json.dumps({names[at]: row[at] for at in order}, ensure_ascii=random.random() < 0.5) for row in rows]
    delimiter, spell = ("\t", lambda field: field) if kind == "tsv" else (",", lambda field: quoted(random, field))
    return [delimiter.join(spell(row[at]) for at in order) for row in [names, *rows]]


FAULTS = {
    "csv": ["ragged", "after", "bare", "open", "return", "twice", "latin", "nul"],
    "tsv": ["ragged", "empty", "twice", "latin", "nul"],
    "jsonl": ["cut", "array", "number", "lacking", "twice in it", "latin", "nul", "nan"],
}
BAD_RECORDS = {
    "ragged": {"csv": "x,y", "tsv": "x\ty"},
    "after": '"x" y,b,c',
    "bare": 'k,x "y" z,c',
    "open": 'k,"x,y',
    "return": "k,x\ry,z",
    "empty": " \t\t",
    "cut": '{"id": "k", "text_a": "x"',
    "number": "7",
    "lacking": '{"id": "k", "text_a": "x"}',
    "twice in it": '{"id": "k", "text_a": "x", "text_b": "y", "text_b": "z"}',
    "nan": '{"id": [NaN], "text_a": "x", "text_b": "y"}',
    "nul": "k\0",
}


def with_fault(random, lines, kind, fault):
    """Records with one fault among them, and the number of the line that it begins in; None where it has none."""
    if fault == "array":
        return ["[" + lines[0], *lines[1:]], None
    if fault == "twice":
        delimiter = "," if kind == "csv" else "\t"
        return [delimiter.join(["text_b", *NAMES]), *lines[1:]], 1
    bad = "caf\udce9" if fault == "latin" else BAD_RECORDS[fault]
    bad = bad[kind] if isinstance(bad, dict) else bad
    place = random.randrange(kind != "jsonl", len(lines) + 1)
    return [*lines[:place], bad, *lines[place:]], sum(line.count("\n") + 1 for line in lines[:place]) + 1


def encoded(random, lines, encoding):
    end = random.choice(["\n", "\r\n"])
    text = end.join(lines) + random.choice(["", end, end + end])
    if encoding == "utf-8":
        return text.encode("utf-8", "surrogateescape")
    return ("\ufeff" + text).encode(encoding) if encoding.endswith("-be") else text.encode(encoding)


def chunked(random, content):
    """As a pipe may hand it over."""
    at = 0
    while at < len(content):
        size = random.randrange(1, 9)
        yield content[at : at + size]
        at += size


def problem_line(message):
    found = re.search(r"line (\d+)", message)
    return int(found[1]) if found else None


def pairs_of(path, lines=None):
    """Ids and texts of good rows, and lines and problems of bad ones; or the refusal."""
    lines = lines_of(path, path) if lines is None else lines
    try:
        found = [entry for entry in read_pairs(lines, path, "auto", Columns(), lambda note: None) if entry is not None]
    except ValueError as error:
        return str(error)
    good = [(entry.id, *entry.texts) for entry in found if not isinstance(entry, BadLine)]
    return good, [(entry.line, entry.problem) for entry in found if isinstance(entry, BadLine)]


def corpus_of(path):
    try:
        rows = [row for table in rows_of_source(path, NAMES, None, "id", []) for row in table.to_pylist()]
    except ValueError as error:
        return str(error)
    good = [(row["id"], row["text_a"], row["text_b"]) for row in rows if not (row["bad_text_a"] or row["bad_text_b"])]
    return good, [row["bad_text_a"] or row["bad_text_b"] for row in rows if row["bad_text_a"] or row["bad_text_b"]]


def rank_of(path):
    try:
        sides = [read_documents(path, name, "id") for name in NAMES]
    except ValueError as error:
        return str(error)
    return [(a.id, a.text, b.text) for a, b in zip(*sides, strict=True)]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_whole_file_is_read_alike_and_unaltered(kind, encoding, tmp_path):
    rng = random.Random(f"{kind} {encoding}")
    for number in range(60):
        rows = random_table(rng, kind)
        path = str(tmp_path / f"{number}.{kind}")
        content = encoded(rng, records(rng, rows, kind), encoding)
        (tmp_path / f"{number}.{kind}").write_bytes(content)
        assert pairs_of(path) == corpus_of(path) == (rows, [])
        assert rank_of(path) == rows
        assert pairs_of(path, lines_of(chunked(rng, content), path)) == (rows, [])


@pytest.mark.parametrize(("kind", "fault"), [(kind, fault) for kind, faults in FAULTS.items() for fault in faults])
def test_a_fault_is_the_same_to_all_and_named_by_its_line(kind, fault, tmp_path):
    rng = random.Random(f"{kind} {fault}")
    for number in range(20):
        rows = random_table(rng, kind)
        lines, line = with_fault(rng, records(rng, rows, kind), kind, fault)
        file = tmp_path / f"{number}.{kind}"
        file.write_bytes(encoded(rng, lines, "utf-8"))
        path = str(file)
        pairs, corpus, rank = pairs_of(path), corpus_of(path), rank_of(path)
        if fault == "open":
            # A later quote may close it.
            assert pairs == corpus == rank
            assert f"line {line}" in pairs
            continue
        if kind == "csv" or fault in ("array", "twice", "latin", "nul"):
            assert pairs == corpus == rank
            assert path in pairs
            assert problem_line(pairs) == line
            continue
        # In TSV and JSON lines each line stands alone, but no ranking is made of a part of the documents.
        good, bad = pairs
        assert (corpus[0], good) == (rows, rows)
        assert [line for line, _ in bad] == [line]
        assert len(corpus[1]) == 1
        if fault != "lacking":
            assert problem_line(corpus[1][0]) == line
        if fault == "nan":
            assert "passed through" in bad[0][1]
        elif fault != "lacking":
            assert corpus[1][0] == f"line {line}: {bad[0][1]}"
        assert f"{path}, line {line}: " in rank


def test_csv_is_what_pythons_strict_reader_takes_it_for(tmp_path):
    rng = random.Random(5)
    for number in range(60):
        rows = [["x", "y"], *([random_text(rng, PIECES + LINE_ENDS) for _ in "xy"] for _ in range(4))]
        written = io.StringIO(newline="")
        csv.writer(written, quoting=rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])).writerows(rows)
        (tmp_path / f"{number}.csv").write_text(written.getvalue(), encoding="utf-8", newline="")
        found = [[*row.content.values()] for row in read_rows(tmp_path / f"{number}.csv")]
        assert found == list(csv.reader(io.StringIO(written.getvalue(), newline=""), strict=True))[1:]


def test_the_rows_of_the_issue_of_two_readings(tmp_path):
    content = 'text_a\ttext_b\nShe said "no.\t"Why\nhe went.\tBecause."\nEnd.\tOf it.\n'
    (tmp_path / "p.tsv").write_text(content)
    rows = [('She said "no.', '"Why'), ("he went.", 'Because."'), ("End.", "Of it.")]
    path = str(tmp_path / "p.tsv")
    assert pairs_of(path) == ([(None, *row) for row in rows], [])
    assert [tuple(row.content.values()) for row in read_rows(path)] == rows
    for quoting, name in ((True, "p.tsv"), (None, "p.csv")):
        (tmp_path / name).write_text(content if name == "p.tsv" else content.replace("\t", ","))
        with pytest.raises(ValueError, match="line 2: field 1 holds a quote"):
            list(read_rows(tmp_path / name, quoting=quoting))
    (tmp_path / "p.csv").write_text('text_a,text_b\na " b,"c\n')
    assert [row.content for row in read_rows(tmp_path / "p.csv", quoting=False)] == [
        {"text_a": 'a " b', "text_b": '"c'}
    ]
    (tmp_path / "p.jsonl").write_text('{"text_a": "x"}\n')
    with pytest.raises(ValueError, match="quoting goes with CSV and TSV"):
        list(read_rows(tmp_path / "p.jsonl", quoting=True))
    with pytest.raises(TypeError, match="quoting must be True, False or None, got 'yes'"):
        list(read_rows(tmp_path / "p.csv", quoting="yes"))


def test_a_field_is_not_as_long_as_a_file(monkeypatch, tmp_path):
    monkeypatch.setattr("xsbert._utils.table_files.records.LONGEST_FIELD", 1000)
    (tmp_path / "p.csv").write_text('text\n"' + "x\n" * 5000)
    with pytest.raises(ValueError, match="line 2: a quote is not closed within 1000 characters"):
        list(read_rows(tmp_path / "p.csv"))


@pytest.fixture(scope="module")
def tiny_path(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def three(tmp_path, tiny_path, capsys):
    """Runs the three commands on one file; gives of each its status, output and messages."""

    def run(path, *options):
        model = ["--model", tiny_path, "--layer", "1"]
        commands = [
            ["--pairs", path, *model, "--n-steps", "1", "--top-k", "1"],
            [
                "corpus",
                path,
                str(tmp_path / f"out-{len(os.listdir(tmp_path))}"),
                *model,
                "--n-steps",
                "1",
                "--id",
                "id",
            ],
            ["rank", "a cat", path, *model, "--columns", "text_a", "--json", "-"],
        ]
        found = []
        for command in commands:
            status = main([*command, *options])
            found.append((status, *capsys.readouterr()))
        return found, commands[1][2]

    return run


@pytest.mark.parametrize(("kind", "encoding"), [("csv", "utf-16"), ("tsv", "utf-8-sig"), ("jsonl", "utf-8")])
def test_the_three_commands_give_the_same_texts(kind, encoding, tmp_path, three):
    rng = random.Random(kind)
    rows = [(f"k{n}", f'the "cat {n}', "a dog\r\nsings, it" if kind != "tsv" else 'a "dog') for n in range(3)]
    (tmp_path / f"rows.{kind}").write_bytes(encoded(rng, records(rng, rows, kind), encoding))
    (pairs, corpus, rank), folder = three(str(tmp_path / f"rows.{kind}"))
    assert [one[0] for one in (pairs, corpus, rank)] == [0, 0, 0]
    assert [(r["id"], r["text_a"], r["text_b"]) for r in map(json.loads, pairs[1].splitlines())] == rows
    assert [tuple(row.values()) for row in read_corpus(folder).to_table(["id", *NAMES]).to_pylist()] == rows
    hits = json.loads(rank[1])["hits"]
    # Without --id, too.
    assert sorted((hit["id"], hit["document"]["text"]) for hit in hits) == [row[:2] for row in rows]


def binary(kind):
    table = pa.table({"text_a": ["a cat"], "text_b": ["a dog"]})
    if kind == "parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        return sink.getvalue().to_pybytes()
    if kind == "arrow":
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue().to_pybytes()
    return {"zip": b"PK\x03\x04\x14\0", "gzip": b"\x1f\x8b\x08\0", "xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"}[kind] * 9


TEXT = "id\ttext_a\ttext_b\n1\ta cat\ta dog\n2\ta café\ta dog\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", binary("parquet"), "is a Parquet file, and no text"),
        ("rows.tsv", binary("zip"), "is a zip archive, as .xlsx and .ods files are"),
        ("rows.jsonl", binary("gzip"), "is compressed by gzip"),
        ("rows.tsv", binary("xls"), "is an .xls or another Office file"),
        ("rows", binary("arrow"), "is an Arrow file"),
        ("rows.tsv", TEXT.encode("utf-16-le"), "line 1 holds a NUL character, as binary files do, and UTF-16 without"),
        ("rows.tsv", TEXT.encode("latin-1"), "is not UTF-8: line 3 holds the bytes e9"),
        ("rows.tsv", b"\xff\xfe" + TEXT.encode("utf-16-le") + b"a", "is not UTF-16: line 4"),
        ("rows.json", b'[{"text_a": "a", "text_b": "b"}]', "JSON array"),
        ("rows.jsonl", b'[\n{"text_a": "a", "text_b": "b"}\n]', "JSON array"),
        ("rows.csv", b"text_a,text_b,text_b\na,b,c\n", "line 1: the column name 'text_b' occurs more than once"),
        ("rows.csv", b"text_a,id,text_b\na cat,1,dog\na,3\n", "line 3: it has 2 fields, the first record has 3"),
        ("rows.csv", b'text_a,id,text_b\na cat,1,dog\na,3,"b\nc\n', "line 3: a quote is opened but never closed"),
        ("rows.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a Git LFS pointer"),
    ],
)
def test_what_is_refused_is_named_before_anything_is_explained(name, content, message, tmp_path, three):
    (tmp_path / name).write_bytes(content)
    found, _ = three(str(tmp_path / name))
    for status, out, err in found:
        assert (status, out) == (1, "")
        assert message in " ".join(err.split())
        assert str(tmp_path / name) in err


def test_a_folder_of_parquet_files_with_others_beside(tmp_path, three):
    folder = tmp_path / "clone"
    (folder / "data").mkdir(parents=True)
    (folder / ".git").mkdir()
    for name in (".gitattributes", "README.md", "dataset_infos.json", ".git/config"):
        (folder / name).write_text("something else")
    rows = [{"text_a": f"a cat {n}", "text_b": "dog", "id": f"k{n}", "a.b": n} for n in range(3)]
    pq.write_table(pa.Table.from_pylist(rows[:2]), folder / "data" / "0.parquet")
    pq.write_table(pa.Table.from_pylist(rows[2:]), folder / "data" / "1.parquet")
    (pairs, corpus, rank), out = three(str(folder))
    said = f"warning: of the folder {folder} its Parquet files are read, .git, .gitattributes, README.md, "
    assert (pairs[0], corpus[0], rank[0]) == (0, 0, 0)
    assert said + "dataset_infos.json passed over" in corpus[2]
    assert pairs[2].count(said) == 1
    assert [(each["row"], each["id"]) for each in map(json.loads, pairs[1].splitlines())] == [
        *enumerate(["k0", "k1", "k2"])
    ]
    assert said in rank[2]
    assert read_corpus(out).to_table([*NAMES, "id"]).to_pylist() == [
        {name: row[name] for name in (*NAMES, "id")} for row in rows
    ]
    with pytest.warns(UserWarning, match="passed over"):
        tables = list(rows_of_source(folder, NAMES, None, None, ["a.b"]))
    assert [value for table in tables for value in table["a.b"].to_pylist()] == [0, 1, 2]


def test_folders_that_are_refused(tmp_path):
    dataset = Dataset.from_dict({"text_a": ["a"], "text_b": ["b"]})
    dataset.save_to_disk(str(tmp_path / "one"))
    DatasetDict({"train": dataset}).save_to_disk(str(tmp_path / "many"))
    for name in ("one", "many"):
        with pytest.raises(ValueError, match=rf"{name} was written by datasets' save_to_disk.*load_from_disk"):
            list(rows_of_source(tmp_path / name, NAMES, None, None, []))
        with pytest.raises(ValueError, match=r"datasets\.load_from_disk"):
            read_documents(str(tmp_path / name))
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "rows.csv").write_text("text_a,text_b\n")
    with pytest.raises(ValueError, match=r"csv holds no Parquet files; it holds rows\.csv"):
        list(rows_of_source(tmp_path / "csv", NAMES, None, None, []))
    (tmp_path / "csv" / "x.parquet").write_text("text_a,text_b\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=r"x\.parquet is no Parquet file"):
            list(rows_of_source(tmp_path / "csv", NAMES, None, None, []))
    pq.write_table(pa.table([["a"], ["b"], ["c"]], names=["text_a", "text_b", "text_b"]), tmp_path / "twice.parquet")
    for read in (read_documents, lambda path: list(rows_of_source(path, NAMES, None, None, []))):
        with pytest.raises(ValueError, match="the column name 'text_b' occurs more than once"):
            read(str(tmp_path / "twice.parquet"))


@pytest.mark.parametrize("lacking", [0, 1, 2])
@pytest.mark.parametrize("key", ["text_a", "id"])
def test_a_row_of_json_lines_that_lacks_a_key_has_a_reason(lacking, key, tmp_path):
    rows = [{"id": n, "text_a": f"a {n}", "text_b": "b", "kept": n} for n in range(3)]
    del rows[lacking][key], rows[lacking]["kept"]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (table,) = rows_of_source(path, NAMES, None, "id", ["kept"])
    bad = [row["row"] for row in table.to_pylist() if row["bad_text_a"]]
    assert bad == [lacking]
    assert table["kept"].to_pylist() == [None if n == lacking else n for n in range(3)]
    with pytest.raises(ValueError, match=r"no line of .*rows\.jsonl has name; line 1 has"):
        list(rows_of_source(path, NAMES, None, "name", []))


def test_messages_name_arguments_in_python_and_options_on_the_command_line(tmp_path, tiny_path, capsys):
    (tmp_path / "rows.csv").write_text("query,document,n\na cat,a dog,1\n")
    tiny = XSTransformer(tiny_path, device="cpu")
    how = {"what": "factors", "n_steps": 1, "show_progress_bar": False}
    with pytest.raises(
        ValueError, match=r"rows\.csv has no column text; it has query, document, n: columns are named "
    ):
        explain_corpus(tiny, tmp_path / "rows.csv", tmp_path / "out", **how)
    explain_corpus(tiny, tmp_path / "rows.csv", tmp_path / "out", columns=("query",), **how)
    with pytest.raises(FileExistsError, match="out holds a job already: resume=True goes on with it"):
        explain_corpus(tiny, tmp_path / "rows.csv", tmp_path / "out", columns=("query",), resume=False, **how)
    command = ["corpus", str(tmp_path / "rows.csv"), str(tmp_path / "out"), "--model", tiny_path, "--what", "factors"]
    assert main(command) == 1
    assert "out holds a job already: --resume goes on with it" in capsys.readouterr().err
    command[2] = str(tmp_path / "other")
    assert main(command) == 1
    assert "columns are named by --columns, --id and --keep" in capsys.readouterr().err
    assert main([*command, "--columns", "query", "--id", "key"]) == 1
    assert "has no column key; it has query, document, n" in capsys.readouterr().err
    error = advise(ValueError("x {y}"), "{quoting=True} or {quoting=False}")
    assert (str(error), option_message(error)) == (
        "x {y}: quoting=True or quoting=False",
        "x {y}: --quoting or --no-quoting",
    )


def test_a_value_that_json_cannot_hold_stops_nothing(tmp_path, tiny_path, capsys):
    """What is passed through is refused by its line, also when results are gone on with; what is not read may be it."""
    values = ["1", "NaN", "1e400", '{"x": [-Infinity]}', '"two"', "[" * 990 + "]" * 990, "null"]
    lines = [f'{{"text_a": "a cat", "text_b": "dog", "other": NaN, "id": {value}}}' for value in values]
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    output = tmp_path / "results"
    command = ["--pairs", str(tmp_path / "p.jsonl"), "--model", tiny_path, "--layer", "1", "--n-steps", "1"]
    for more in ([], ["--resume"]):
        assert main([*command, "--output", str(output), *more]) == 1
        err = capsys.readouterr().err
        assert [problem_line(line) for line in err.splitlines() if ", line " in line] == [2, 3, 4, 6]
        assert "4 lines could not be explained" in err
        found = [json.loads(line) for line in output.read_text().splitlines()]
        assert [(line["line"], line.get("id")) for line in found] == [(1, 1), (5, "two"), (7, None)]
        # As if the first run had been stopped before its end.
        output.write_bytes(output.read_bytes()[:-20])


@pytest.mark.parametrize("key", ["id", "ID", "Id"])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_ids_are_taken_along_whatever_their_case(key, kind, tmp_path):
    path = tmp_path / f"rows.{kind}"
    row = {key: 7, "text_a": "a cat", "text_b": "dog"}
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
    else:
        path.write_text(json.dumps(row) if kind == "jsonl" else f"{','.join(row)}\n7,a cat,dog\n")
        assert pairs_of(str(path)) == ([("7" if kind == "csv" else 7, "a cat", "dog")], [])
    assert [document.id for document in read_documents(str(path), "text_a")] == ["7"]


def test_a_known_name_in_several_cases(tmp_path):
    (tmp_path / "p.csv").write_text("Text_A,text_a,text_b\nx,a,b\n")
    assert pairs_of(str(tmp_path / "p.csv")) == ([(None, "a", "b")], [])
    (tmp_path / "p.csv").write_text("Text_A,TEXT_A,text_b\nx,a,b\n")
    assert pairs_of(str(tmp_path / "p.csv")) == (
        "'Text_A', 'TEXT_A' differ only in case; --columns says which is meant"
    )


def test_a_pipe_is_explained_until_its_fault(tmp_path, tiny_path, capsys, monkeypatch):
    ours, theirs = os.pipe()
    os.write(theirs, b'a cat,dog\n"a" cat,dog\nthe cat,dog\n')
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        monkeypatch.setattr("sys.stdin", pipe)
        command = ["--pairs", "-", "--format", "csv", "--model", tiny_path, "--layer", "1", "--n-steps", "1"]
        assert main(command) == 1
    out, err = capsys.readouterr()
    assert [json.loads(line)["line"] for line in out.splitlines()] == [1]
    assert "standard input, line 2: ' ' follows the closing quote of field 1" in err


def test_lines_are_not_held_back(tmp_path):
    """Each is there as soon as its line feed is, in any encoding."""
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        text = TextLines("a pipe")
        first, second = "ab\n".encode(encoding), "ਊc\n".encode(encoding.replace("utf-16", "utf-16-le"))
        assert text.feed(first) == ["ab\n"]
        assert text.feed(second.removeprefix(b"\xef\xbb\xbf")) == ["ਊc\n"]
        assert text.finish() == []
