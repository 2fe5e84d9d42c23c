"""`xsbert corpus` as a nightly job: --append, --quiet, --log-format json, and exit statuses."""

import json
from datetime import datetime

import pytest

from tests.tiny_models import save_tiny_model
from xsbert import read_corpus
from xsbert.__main__ import main

ROWS = [{"id": n, "text_a": "a cat", "text_b": f"the dog sees {'it ' * n}"} for n in range(4)]


@pytest.fixture(scope="module")
def tiny_path(tmp_path_factory):
    return str(save_tiny_model(tmp_path_factory.mktemp("tiny")))


@pytest.fixture
def nightly(tmp_path, tiny_path, capfd):
    """Runs the command on rows; returns status, standard output, and lines of standard error."""

    def run(rows, *more):
        source = tmp_path / "rows.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        command = ["corpus", str(source), str(tmp_path / "out"), "--model", tiny_path, "--n-steps", "3", "--id", "id"]
        capfd.readouterr()
        status = main([*command, "--shard-size", "2", "--append", *more])
        out, err = capfd.readouterr()
        return status, out, err.splitlines()

    return run


def test_a_nightly_job(nightly, tmp_path):
    as_json = ("--quiet", "--log-format", "json")
    status, out, lines = nightly(ROWS[:3], *as_json)
    events = [json.loads(line) for line in lines]
    assert (status, out) == (0, "")
    assert all(datetime.fromisoformat(event["time"]).utcoffset().total_seconds() == 0 for event in events)
    kinds = [event["event"] for event in events]
    # The folder of the model has no modules.json, of which it is warned.
    assert kinds == ["warning", "begun", "shard", "shard", "changes", "finished"]
    assert events[-1]["rows"] == 3
    changed = [ROWS[1], {**ROWS[2], "text_a": "a bird"}, ROWS[3]]
    status, out, lines = nightly(changed, *as_json)
    assert (status, out) == (1, "")
    error = json.loads(lines[-1])
    assert (error["event"], error["type"]) == ("error", "ValueError")
    assert "1 row (id 2) has other texts or kept columns" in error["message"]
    assert "--changed says whether" in error["message"]
    assert "--removed says whether" in error["message"]
    assert len(read_corpus(tmp_path / "out")) == 3
    status, out, lines = nightly(changed, *as_json, "--changed", "replace", "--removed", "keep")
    events = {event["event"]: event for event in map(json.loads, lines)}
    assert (status, out) == (0, "")
    assert (events["changes"]["changed_ids"], events["changes"]["removed_ids"]) == ([2], [0])
    assert read_corpus(tmp_path / "out").to_table()["id"].to_pylist() == [0, 1, 2, 3]


def test_text_for_readers(nightly):
    status, out, _ = nightly(ROWS[:3])
    assert status == 0
    assert out.startswith("3 new rows, 0 unchanged, 0 changed, 0 no longer in the source\npairs of 3 of 3 rows")
    status, out, lines = nightly(ROWS[1:], "--removed", "drop")
    assert out.splitlines()[0].endswith("1 no longer in the source and dropped (id 0)")
    assert out.splitlines()[1].endswith("1 rows are retired")
    status, out, lines = nightly(ROWS[1:], "--quiet")
    assert (status, out) == (0, "")
    assert all(line.startswith("xsbert: warning: ") for line in lines)
    status, out, lines = nightly(ROWS, "--n-steps", "4")
    assert (status, out) == (1, "")
    assert "task options n_steps 3, now 4: take another folder, or give the settings" in lines[-1]


def test_arguments_that_make_no_sense(tmp_path, capsys):
    for more, message in (
        (["--append"], "--append needs --id"),
        (["--changed", "keep"], "--changed goes with --append"),
        (["--removed", "drop"], "--removed goes with --append"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["corpus", "rows.jsonl", str(tmp_path / "out"), *more])
        assert message in capsys.readouterr().err
