"""`xsbert --pairs` reads Parquet, as the other commands do."""

import json
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.tiny_models import save_tiny_model
from xsbert.__main__ import main

ROWS = [
    {
        "Query": f"a cat {'sees it ' * n}",
        "document": None if n == 2 else f"the dog {n}",
        "ID": n,
        "day": date(2026, 1, 1),
    }
    for n in range(70)
]


@pytest.fixture(scope="module")
def tiny_path(tmp_path_factory):
    return str(save_tiny_model(tmp_path_factory.mktemp("tiny")))


@pytest.fixture
def run(tmp_path, tiny_path, capsys):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "pairs.parquet", row_group_size=16)

    def run(*options, path="pairs.parquet"):
        command = [
            "--pairs",
            str(tmp_path / path),
            "--model",
            tiny_path,
            "--n-steps",
            "1",
            "--layer",
            "1",
            "--top",
            "1",
        ]
        status = main([*command, *options])
        out, err = capsys.readouterr()
        return status, [json.loads(line) for line in out.splitlines()], " ".join(err.split())

    return run


def test_rows_of_parquet(run):
    """By the known names of columns, a row that cannot be used among them."""
    status, found, err = run()
    assert status == 1
    assert "pairs.parquet, row 2: text_b must hold some text, got None" in err
    assert "1 line could not be explained" in err
    rows = [row for row in range(70) if row != 2]
    assert [(each["row"], each["id"]) for each in found] == [(row, row) for row in rows]
    assert [(each["text_a"], each["text_b"]) for each in found] == [
        (ROWS[row]["Query"], ROWS[row]["document"]) for row in rows
    ]
    assert "line" not in found[0]
    _, named, _ = run("--text-a", "document", "--text-b", "Query", "--id", "day")
    assert (named[0]["text_a"], named[0]["id"]) == ("the dog 0", "2026-01-01")


def test_results_go_on(run, tmp_path):
    output = tmp_path / "out.jsonl"
    run("--output", str(output))
    whole = output.read_bytes()
    lines = whole.splitlines(keepends=True)
    output.write_bytes(b"".join(lines[:30]) + lines[30][:9])
    run("--output", str(output), "--resume")
    assert output.read_bytes() == whole
    pq.write_table(pa.Table.from_pylist([{**row, "document": "a bird"} for row in ROWS]), tmp_path / "pairs.parquet")
    status, _, err = run("--output", str(output), "--resume")
    assert status == 1
    assert "holds another pair for row 0 than the file of pairs" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--text-a", "a", "--text-b", "b"], "there is no column 'a', 'b', but 'Query', 'document', 'ID', 'day'"),
        (["--quoting"], "quoting cannot be chosen for this kind of file: --quoting goes with CSV and TSV"),
        (["--format", "csv"], "--format csv does not go with"),
    ],
)
def test_what_is_refused(run, options, message):
    status, found, err = run(*options)
    assert (status, found) == (1, [])
    assert message in err


def test_files_that_are_none(run, tmp_path):
    (tmp_path / "text.parquet").write_text("text_a,text_b")
    assert "text.parquet is no Parquet file" in run(path="text.parquet")[2]
    (tmp_path / "folder").mkdir()
    assert "folder holds no Parquet files; it holds nothing" in run(path="folder")[2]
    assert "No such file" in run(path="missing.parquet")[2]
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "sound.parquet", row_group_size=16, write_page_checksum=True)
    content = bytearray((tmp_path / "sound.parquet").read_bytes())
    # In the texts of the last rows: nothing is explained before.
    content[pq.read_metadata(tmp_path / "sound.parquet").row_group(4).column(0).data_page_offset - 9] ^= 1
    (tmp_path / "damaged.parquet").write_bytes(content)
    status, found, err = run(path="damaged.parquet")
    assert (status, found) == (1, [])
    assert "damaged.parquet" in err
