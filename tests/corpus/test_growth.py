"""A source that has grown is added to a folder by id: old shards stay, and changed and removed rows are reported."""

import json
import os
import shutil
import signal

import pandas as pd
import pyarrow as pa
import pytest

from tests.tiny_models import TEXTS, save_tiny_model
from xsbert import XSTransformer, aggregate, explain_corpus, read_corpus
from xsbert.corpus import job as jobs
from xsbert.corpus import opening
from xsbert.corpus.folder import Folder

HOW = {"n_steps": 3, "show_progress_bar": False, "shard_size": 3, "id": "id", "keep": ["year"]}
ROWS = [
    *[
        {"id": f"a{n}", "text_a": TEXTS[n % 3], "text_b": f"the cat sees {'it ' * n}", "year": 2000 + n}
        for n in range(7)
    ],
    {"id": "bad", "text_a": "", "text_b": "dog", "year": None},
]
NEW = [{"id": f"b{n}", "text_a": TEXTS[0], "text_b": f"a bird sings {'it ' * n}", "year": 2020} for n in range(5)]


@pytest.fixture(scope="module")
def tiny_path(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tiny(tiny_path):
    return XSTransformer(tiny_path, device="cpu")


@pytest.fixture(scope="module")
def begun(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("begun") / "out"
    explain_corpus(tiny, ROWS, folder, append=True, **HOW)
    return folder


@pytest.fixture
def folder(begun, tmp_path):
    shutil.copytree(begun, tmp_path / "out")
    return tmp_path / "out"


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*"))}


def without_row(table):
    return table.drop_columns(["row"]).to_pylist()


def added(tiny, rows, folder, **how):
    return explain_corpus(tiny, rows, folder, append=True, **{**HOW, **how})


@pytest.mark.parametrize("kind", [list, iter, pd.DataFrame, pa.Table.from_pylist])
def test_new_rows_are_added(tiny, begun, folder, tmp_path, kind):
    """Wherever they stand in the source. The rows are those of one job with all of them."""
    before = contents(begun)
    corpus = added(tiny, kind([*NEW[:2], *ROWS[4:], *ROWS[:4], *NEW[2:]]), folder)
    assert before.items() <= contents(folder).items()
    assert (len(corpus), corpus.starts, corpus.damaged()) == (13, (0, 3, 6, 8, 11), [])
    assert (corpus.changes.n_new, corpus.changes.n_unchanged, corpus.changes.changed, corpus.changes.removed) == (
        5,
        8,
        (),
        (),
    )
    whole = explain_corpus(tiny, [*ROWS, *NEW], tmp_path / "whole", **HOW)
    assert corpus.to_table()["row"].to_pylist() == [*range(13)]
    assert without_row(corpus.to_table()) == without_row(whole.to_table())
    assert corpus.counts() == whole.counts()
    assert aggregate(corpus).equals(aggregate(whole))
    assert corpus.row(12)["id"] == "b4"
    assert read_corpus(folder).to_table().equals(corpus.to_table())
    # Once more: there is nothing to do, also for a third addition.
    after, manifest = contents(folder), (folder / "_corpus.json").read_bytes()
    assert added(tiny, [*NEW, *ROWS], folder).changes.n_new == 0
    assert (contents(folder), (folder / "_corpus.json").read_bytes()) == (after, manifest)
    more = added(tiny, [*ROWS, *NEW, {**NEW[0], "id": "c"}], folder)
    assert after.items() <= contents(folder).items()
    assert (more.row(13)["id"], more.starts[-1]) == ("c", 13)


def test_the_first_call_begins_the_job(tiny, begun, tmp_path):
    same = explain_corpus(tiny, ROWS, tmp_path / "out", **HOW)
    assert contents(tmp_path / "out") == contents(begun)
    assert (same.changes, len(same)) == (None, 8)
    explain_corpus(tiny, ROWS, begun, **HOW)  # which resumes what append began


CHANGED = [{**ROWS[0], "text_b": "another dog"}, {**ROWS[1], "year": 1}, *ROWS[3:], NEW[0]]


def test_changed_and_removed_rows_are_refused_unless_it_is_said_what_to_do(tiny, begun, folder):
    with pytest.raises(
        ValueError,
        match=r'2 rows \(ids "a0", "a1"\) have other texts.*1 row \(id "a2"\) is gone.*'
        "changed says.*; removed says",
    ):
        added(tiny, CHANGED, folder)
    with pytest.raises(ValueError, match=r'1 row \(id "a2"\) is gone'):
        added(tiny, CHANGED, folder, changed="replace")
    assert contents(folder) == contents(begun)
    assert (folder / "_corpus.json").read_bytes() == (begun / "_corpus.json").read_bytes()
    assert sorted(path.name for path in (folder / ".work").glob("s*")) == ["shared.parquet", "source.parquet"]


@pytest.mark.parametrize("changed", ["keep", "replace"])
@pytest.mark.parametrize("removed", ["keep", "drop"])
def test_changed_and_removed_rows(tiny, begun, folder, changed, removed):
    corpus = added(tiny, CHANGED, folder, changed=changed, removed=removed)
    assert contents(begun).items() <= contents(folder).items()
    changes = corpus.changes
    assert (changes.n_new, changes.n_unchanged, changes.changed, changes.removed) == (1, 5, ("a0", "a1"), ("a2",))
    retired = [*([0, 1] if changed == "replace" else []), *([2] if removed == "drop" else [])]
    assert corpus.retired == retired == read_corpus(folder).retired
    rows = corpus.to_table().to_pylist()
    assert [row["row"] for row in rows] == [n for n in range(corpus.n_rows) if n not in retired]
    assert len(corpus) == len(rows) == corpus.n_rows - len(retired)
    assert [batch["row"].to_pylist() for batch in corpus.batches()] == [
        batch for batch in (table["row"].to_pylist() for table in corpus.dataset().to_batches()) if batch
    ]
    by_id = {row["id"]: row for row in rows}
    replaced = changed == "replace"
    assert by_id["a0"]["text_b"] == ("another dog" if replaced else ROWS[0]["text_b"])
    assert by_id["a1"]["year"] == (1 if replaced else 2001)
    assert ("a2" in by_id) == (removed == "keep")
    assert corpus.row(0)["text_b"] == ROWS[0]["text_b"]
    assert corpus.failures()["id"].to_pylist() == ["bad"]
    assert corpus.counts().get("retired", 0) == len(retired)
    assert sum(aggregate(corpus, by="role")["count"].to_pylist()) == sum(
        len(row[f"tokens_{side}"]) for row in rows if row["reason"] is None for side in "ab"
    )
    # The same source again changes nothing; a row that comes back is a new one.
    again = added(tiny, CHANGED, folder, changed=changed, removed=removed)
    assert (again.changes.n_new, again.retired, again.n_rows) == (0, retired, corpus.n_rows)
    back = added(tiny, [*CHANGED, ROWS[2]], folder, changed=changed)
    assert back.changes.n_new == (removed == "drop")
    assert [row["id"] for row in back.to_table().to_pylist()].count("a2") == 1


def test_rows_that_only_go(tiny, begun, folder):
    """No shard is written, and a bare manifest is."""
    corpus = added(tiny, ROWS[:5], folder, removed="drop")
    assert (corpus.retired, contents(folder)) == ([5, 6, 7], contents(begun))
    assert corpus.failures().num_rows == 0
    with pytest.raises(ValueError, match="source has no rows"):
        added(tiny, [], folder, removed="drop")


def test_a_job_that_was_killed_goes_on(tiny, begun, folder, tmp_path):
    """Killed in the first rows, then in the addition: the rows are those of a job that was not."""
    explain_corpus(tiny, [*ROWS, *NEW], tmp_path / "whole", **HOW)
    shutil.rmtree(folder)
    for at, rows in ((2, ROWS), (3, [*ROWS, *NEW]), (1, [*ROWS, *NEW])):
        pid = os.fork()
        if pid == 0:
            try:
                run, calls = jobs.Job.run_shard, []

                def run_shard(self, *arguments, run=run, calls=calls, at=at):
                    calls.append(arguments)
                    if len(calls) == at:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return run(self, *arguments)

                jobs.Job.run_shard = run_shard
                added(tiny, rows, folder)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert len(contents(folder)) == 3
    with pytest.raises(FileNotFoundError, match="2 of 5 shards are missing"):
        read_corpus(folder)
    assert len(read_corpus(folder, partial=True).to_table()) == 8
    corpus = added(tiny, [*ROWS, *NEW], folder)
    assert contents(begun).items() <= contents(folder).items()
    assert without_row(corpus.to_table()) == without_row(read_corpus(tmp_path / "whole").to_table())
    assert not [path for path in folder.rglob("*") if path.name.startswith(".unf") or path.suffix == ".safetensors"]


def stopped(tiny, rows, folder, monkeypatch, at=2):
    run, calls = jobs.Job.run_shard, []

    def run_shard(self, *arguments):
        calls.append(arguments)
        if len(calls) == at:
            raise KeyboardInterrupt
        return run(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(jobs.Job, "run_shard", run_shard)
        with pytest.raises(KeyboardInterrupt):
            added(tiny, rows, folder)


def test_lost_working_files(tiny, begun, folder, monkeypatch):
    """Rows of an addition that are not explained yet are added again. Finished ones are read from their shards."""
    stopped(tiny, [*ROWS, *NEW], folder, monkeypatch)
    before = contents(folder)
    assert len(before) == 4
    (folder / ".work" / "source-00001.parquet").unlink()
    (folder / ".work" / "source.parquet").write_bytes(b"no table")
    corpus = added(tiny, [*ROWS, *NEW], folder)
    assert before.items() <= contents(folder).items()
    assert corpus.to_table()["id"].to_pylist() == [row["id"] for row in [*ROWS, *NEW]]
    assert (corpus.changes.n_new, corpus.starts) == (2, (0, 3, 6, 8, 11))


def test_lost_working_files_of_the_first_rows(tiny, tmp_path, monkeypatch):
    stopped(tiny, ROWS, tmp_path / "out", monkeypatch)
    (tmp_path / "out" / ".work" / "source.parquet").unlink()
    with pytest.raises(ValueError, match=r"source\.parquet is damaged or missing\. Run the job again with the same"):
        added(tiny, [*ROWS, *NEW], tmp_path / "out")
    explain_corpus(tiny, ROWS, tmp_path / "out", **HOW)
    assert len(added(tiny, [*ROWS, *NEW], tmp_path / "out")) == 13


def test_other_settings_are_refused(tiny, begun, folder):
    for change, message in (
        (
            {"n_steps": 4},
            "cannot be appended to, it was started with task options n_steps 3, now 4: take another folder",
        ),
        ({"units": "words"}, "task units 'tokens', now 'words'"),
        ({"keep": []}, "keep the columns id, text_a, text_b, year, these have id, text_a, text_b: give the same"),
        ({"id": None}, "compared by their ids: append needs id"),
        ({"changed": "drop"}, "changed must be one of 'refuse', 'keep', 'replace', got 'drop'"),
        ({"removed": "replace"}, "removed must be one of 'refuse', 'keep', 'drop', got 'replace'"),
    ):
        with pytest.raises(ValueError, match=message):
            added(tiny, [*ROWS, *NEW], folder, **change)
    with pytest.raises(ValueError, match=r"removed='drop' says what happens to rows of the folder: give append"):
        explain_corpus(tiny, ROWS, folder, removed="drop", **HOW)
    with pytest.raises(ValueError, match=r"source fingerprint.*append takes its new rows, by the ids of id"):
        explain_corpus(tiny, [*ROWS, *NEW], folder, **HOW)
    assert contents(folder) == contents(begun)


def test_ids_that_recur_or_are_missing(tiny, begun, folder, tmp_path):
    with pytest.raises(ValueError, match="the id 'b0' belongs to the rows 8 and 9 of the source"):
        added(tiny, [*ROWS, NEW[0], NEW[0]], folder)
    assert contents(folder) == contents(begun)
    with pytest.warns(UserWarning, match="1 rows of the source have no id and are left out"):
        corpus = added(tiny, [*ROWS, {**NEW[0], "id": None}, NEW[1]], folder)
    assert (corpus.changes.n_without_id, len(corpus)) == (1, 9)
    twice = [ROWS[0], {**ROWS[1], "id": "a0"}]
    explain_corpus(tiny, twice, tmp_path / "twice", **HOW)
    with pytest.raises(ValueError, match="the id 'a0' belongs to the rows 0 and 1 in"):
        added(tiny, ROWS, tmp_path / "twice")
    explain_corpus(tiny, twice, tmp_path / "none", **{**HOW, "id": None})
    with pytest.raises(ValueError, match="have no ids, so that new rows cannot be told from others"):
        added(tiny, ROWS, tmp_path / "none")


def test_types_of_columns_stay(tiny, folder, tmp_path):
    with pytest.raises(ValueError, match=r"column 'year' holds int64 .* and string in the source"):
        added(tiny, pd.DataFrame([*ROWS, *NEW]).astype({"year": str}), folder)
    numbers = [{**row, "id": n, "year": None} for n, row in enumerate(ROWS)]
    explain_corpus(tiny, numbers, tmp_path / "numbers", **HOW)
    with pytest.raises(ValueError, match=r"column 'id' holds int64 .* and string in the source"):
        added(tiny, [{**row, "id": str(row["id"])} for row in numbers], tmp_path / "numbers")
    # Whole numbers are the same as floats, and a column of nulls as one of any type.
    frame = pd.DataFrame([*ROWS, {**NEW[0], "year": 2020.0}])
    assert frame["year"].dtype == float
    assert added(tiny, frame, folder).changes.n_new == 1
    assert added(tiny, [{**NEW[1], "year": None}], folder, removed="keep").row(9)["year"] is None


def test_other_versions(tiny, folder, tmp_path, monkeypatch):
    """Nightly jobs outlive versions: finished rows stay, with a warning; a shard is never of two."""
    monkeypatch.setattr(opening, "library_versions", lambda: {"torch": "99"})
    with pytest.warns(UserWarning, match="the rows before were explained with versions .*99"):
        corpus = added(tiny, [*ROWS, *NEW], folder)
    assert corpus.manifest["additions"][0]["versions"] == {"torch": "99"}
    stopped(tiny, ROWS, tmp_path / "other", monkeypatch)
    monkeypatch.setattr(opening, "library_versions", lambda: {"torch": "100"})
    with pytest.raises(ValueError, match=r"shards of the job in .* are unfinished, and it was started with versions"):
        added(tiny, ROWS, tmp_path / "other")


def test_a_finished_folder_needs_no_writing(tiny, begun, monkeypatch):
    monkeypatch.setattr(Folder, "write_json", lambda *arguments: pytest.fail("wrote"))
    assert added(tiny, ROWS, begun).changes.n_unchanged == 8


def test_events(tiny, folder):
    events = []
    added(tiny, [*CHANGED, *NEW[1:]], folder, changed="keep", removed="keep", on_event=events.append)
    assert [event["event"] for event in events] == ["begun", "shard", "shard", "changes", "finished"]
    assert json.loads(json.dumps(events)) == events
    assert events[0] == {"event": "begun", "rows": 5, "rows_left": 5, "shards_left": 2}
    assert events[1].pop("seconds") >= 0
    assert events[1] == {
        "event": "shard",
        "file": "part-00003.parquet",
        "rows": 3,
        "failed": 0,
        "cut": 0,
        "missed": 0,
        "rows_done": 3,
        "rows_total": 5,
    }
    assert (events[3]["new"], events[3]["changed_ids"], events[3]["removed_ids"]) == (5, ["a0", "a1"], ["a2"])
    assert events[4]["rows"] == 13
