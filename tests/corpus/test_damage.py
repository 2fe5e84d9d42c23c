"""Working files that are damaged, missing or read-only: the rows are those of an undisturbed run, or none."""

import errno
import json
import os
import shutil
from pathlib import Path

import filelock
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.corpus.test_jobs import FEW, ROWS, contents, stopped_at
from tests.tiny_models import save_tiny_model
from xsbert import XSTransformer, explain_corpus, read_corpus
from xsbert.corpus import job as jobs
from xsbert.corpus.folder import Folder, output_folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return XSTransformer(save_tiny_model(tmp_path_factory.mktemp("tiny")), device="cpu")


@pytest.fixture(scope="module")
def undisturbed(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "out"
    explain_corpus(tiny, ROWS, folder, **FEW)
    return contents(folder)


@pytest.fixture(scope="module")
def stopped(tiny, tmp_path_factory):
    """A job with one finished shard, whose shared factors are there."""
    folder = tmp_path_factory.mktemp("stopped") / "out"
    with pytest.MonkeyPatch.context() as patch:
        stopped_at(patch, "run_shard", 2, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            explain_corpus(tiny, ROWS, folder, **FEW)
    assert [*contents(folder)] == ["part-00000.parquet"]
    return folder


def resumed(tiny, stopped, folder, damage, source=ROWS, **options):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(stopped, folder)
    damage(Folder(folder))
    explain_corpus(tiny, source, folder, **{**FEW, **options})
    return contents(folder)


WORKING = ("source.parquet", "shared.parquet", "shared-00000.safetensors", "done/shared-00000.safetensors.json")


@pytest.mark.parametrize("name", [*WORKING, "done/part-00000.parquet.json"])
def test_a_flipped_bit_changes_no_row(tmp_path, tiny, stopped, undisturbed, name):
    size = (stopped / ".work" / name).stat().st_size
    # Also the last bytes, which are the lengths and the footer of a table.
    places = [*np.random.default_rng(0).integers(0, size, 2).tolist(), size - 6]
    for place in places:

        def flip(folder, place=place):
            path = folder.work / name
            content = bytearray(path.read_bytes())
            content[place] ^= 1 << (place % 8)
            path.write_bytes(content)

        assert resumed(tiny, stopped, tmp_path / "out", flip) == undisturbed, place
        assert read_corpus(tmp_path / "out").damaged() == []


def as_of_another_table(folder):
    """A table that is sound, with its own checksums, and holds other rows."""
    table = pq.read_table(folder.source)
    texts = pa.array(["a dog"] * len(table))
    place = table.column_names.index("text_b")
    table = table.set_column(place, "text_b", texts)
    pq.write_table(table, folder.source, row_group_size=3)


def exchanged_places(folder):
    """A record of shared factors that gives one text the factors of another."""
    path = folder.work / "done" / "shared-00000.safetensors.json"
    record = json.loads(path.read_text())
    record["counts"]["places"].reverse()
    path.write_text(json.dumps(record))


DAMAGES = {
    "other rows": as_of_another_table,
    "other places": exchanged_places,
    "truncated": lambda folder: os.truncate(folder.source, 100),
    "empty": lambda folder: os.truncate(folder.shared, 0),
    "missing": lambda folder: folder.source.unlink(),
    "nothing": lambda folder: shutil.rmtree(folder.work),
}


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(damage, id=name, marks=[pytest.mark.slow] if name in ("truncated", "empty", "nothing") else [])
        for name, damage in DAMAGES.items()
    ],
)
def test_working_files_are_made_again(tmp_path, tiny, stopped, undisturbed, damage):
    # A source that can be read once alone, and a budget by which shards would begin elsewhere.
    rows = resumed(tiny, stopped, tmp_path / "out", damage, source=iter(ROWS), memory_budget=1e6)
    assert rows == undisturbed
    manifest = Folder(tmp_path / "out").read_manifest()
    assert all(
        Folder(tmp_path / "out").is_recorded(tmp_path / "out" / ".work" / name, manifest) for name in WORKING[:2]
    )


@pytest.mark.parametrize("version", [1, 2])
def test_a_job_of_the_earlier_format_is_cut_again(tmp_path, tiny, stopped, undisturbed, version):
    def age(folder):
        content = json.loads(folder.manifest.read_text())
        for name in ("sealed_by", "work", "columns"):
            del content[name]
        folder.manifest.write_text(json.dumps({**content, "format_version": version}))
        if version == 1:
            as_of_another_table(folder)

    if version == 2:
        with pytest.raises(ValueError, match=r"_corpus\.json is damaged: it has no checksum"):
            resumed(tiny, stopped, tmp_path / "out", age)
        return
    assert resumed(tiny, stopped, tmp_path / "out", age) == undisturbed


def test_a_damaged_source_and_another_one(tmp_path, tiny, stopped):
    """The damaged file stays, and so does what is finished."""
    before = contents(stopped)
    with pytest.raises(ValueError, match=r"source fingerprint .*take another folder"):
        resumed(tiny, stopped, tmp_path / "out", DAMAGES["truncated"], source=ROWS[:-1])
    assert Folder(tmp_path / "out").source.stat().st_size == 100
    assert contents(tmp_path / "out") == before
    # What a column is, the source's own schema says where all its values are null.
    named = [{"text_a": a, "text_b": b, "n": None} for a, b in ROWS]
    table = pa.Table.from_pylist(named, pa.schema({"text_a": pa.string(), "text_b": pa.string(), "n": pa.int16()}))
    explain_corpus(tiny, table, tmp_path / "types", keep=["n"], **FEW)
    DAMAGES["nothing"](Folder(tmp_path / "types"))
    with pytest.raises(ValueError, match=r"source\.parquet is damaged or missing.*columns n 'int16', now 'null'"):
        explain_corpus(tiny, named, tmp_path / "types", keep=["n"], **FEW)


def test_a_damaged_manifest_is_refused(tmp_path, tiny, stopped):
    whole = (stopped / "_corpus.json").read_bytes()
    for place in np.random.default_rng(1).integers(0, len(whole), 25).tolist():
        content = bytearray(whole)
        content[place] ^= 1

        def damage(folder, content=content):
            folder.manifest.write_bytes(content)

        try:
            as_before = json.loads(content) == json.loads(whole)
        except ValueError:
            as_before = False
        if as_before:
            continue
        with pytest.raises(ValueError, match=r"_corpus\.json (is damaged: .*Restore it|was written by a newer)"):
            resumed(tiny, stopped, tmp_path / "out", damage)
    nested = Folder(tmp_path / "nested")
    nested.path.mkdir()
    nested.manifest.write_text("[" * 200_000)
    with pytest.raises(ValueError, match="is damaged"):
        read_corpus(nested.path)


def test_a_table_that_is_damaged_while_the_job_runs_is_named(tmp_path, tiny, monkeypatch):
    run = jobs.Job.run

    def damaged(self, *arguments):
        os.truncate(self.folder.source, 60)
        return run(self, *arguments)

    monkeypatch.setattr(jobs.Job, "run", damaged)
    with pytest.raises(ValueError, match=r"source\.parquet is damaged: .*Run the job again with the same source"):
        explain_corpus(tiny, ROWS, tmp_path / "out", **FEW)


# Folders that cannot be written to


def refuse_writing(patch):
    def refuse(self, *arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self.lock_file))

    patch.setattr(filelock.FileLock, "acquire", refuse)
    patch.setattr(Folder, "write_json", lambda *arguments: pytest.fail("wrote"))
    patch.setattr(Folder, "_beside", lambda *arguments: pytest.fail("wrote"))


def test_a_finished_job_needs_no_writing(tmp_path, tiny, stopped, undisturbed, monkeypatch):
    explain_corpus(tiny, ROWS, tmp_path / "out", **FEW)
    # A job that is finished has no use for what it was cut from.
    Folder(tmp_path / "out").source.unlink()
    shutil.copytree(stopped, tmp_path / "stopped")
    with monkeypatch.context() as patch:
        refuse_writing(patch)
        corpus = explain_corpus(tiny, ROWS, tmp_path / "out", **FEW)
        assert corpus.counts()["rows"] == len(ROWS)
        with pytest.raises(ValueError, match="source fingerprint"):
            explain_corpus(tiny, ROWS[:-1], tmp_path / "out", **FEW)
        with pytest.raises(OSError, match="Read-only"):
            explain_corpus(tiny, ROWS, tmp_path / "stopped", **FEW)
        with pytest.raises(OSError, match="Read-only"):
            explain_corpus(tiny, ROWS, tmp_path / "new", **FEW)
    assert contents(tmp_path / "out") == undisturbed


# Folders that make no sense


@pytest.mark.parametrize(
    ("output", "error", "message"),
    [
        ("", ValueError, "output must name a folder, got an empty string"),
        ("a\0b", ValueError, r"output must be a path without NUL characters, got 'a\\x00b'"),
        ("a\udcff", ValueError, r"output must be a path in Unicode, got 'a\\udcff'"),
        (Path("a\ud800/b"), ValueError, "output must be a path in Unicode"),
        (b"out", TypeError, r"output must be the path of a folder, got bytes: b'out'"),
        (None, TypeError, "output must be the path of a folder, got NoneType"),
        (7, TypeError, "output must be the path of a folder, got int"),
    ],
)
def test_outputs_that_are_no_path(tmp_path, tiny, monkeypatch, output, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        explain_corpus(tiny, ROWS, output, **FEW)
    assert [*tmp_path.iterdir()] == []


def test_an_output_in_its_source(tmp_path, tiny, monkeypatch):
    """The next run would take its shards for rows."""
    folder = tmp_path / "texts"
    folder.mkdir()
    pq.write_table(pa.table({"text_a": ["a cat"], "text_b": ["a dog"]}), folder / "rows.parquet")
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(folder)
    for output in (folder, folder / "out", folder / "deep" / "er", "out", ".", tmp_path / "link" / "out"):
        for source in (str(folder), tmp_path / "link"):
            with pytest.raises(ValueError, match="output must lie outside the source"):
                explain_corpus(tiny, source, output, **FEW)
    with pytest.raises(ValueError, match="source must lie outside the output"):
        explain_corpus(tiny, folder / "rows.parquet", folder, **FEW)
    assert [path.name for path in folder.iterdir()] == ["rows.parquet"]
    assert output_folder(tmp_path / "texts-out", folder) == tmp_path / "texts-out"
    explain_corpus(tiny, folder, tmp_path / "texts-out", **FEW)
    with pytest.raises(ValueError, match="source must lie outside the output"):
        explain_corpus(tiny, tmp_path / "texts-out" / ".work" / "source.parquet", tmp_path / "texts-out", **FEW)
