"""Jobs of a corpus that are stopped, damaged, doubled or changed end with the rows of an undisturbed run."""

import json
import os
import pickle
import shutil
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.tiny_models import TEXTS, save_tiny_model
from xsbert import XSTransformer, aggregate, explain_corpus, read_corpus
from xsbert.__main__ import main
from xsbert.corpus import job as jobs
from xsbert.corpus.folder import Folder
from xsbert.corpus.task import Task

FEW = {"n_steps": 3, "show_progress_bar": False, "shard_size": 3}
# Two texts in each of four shards recur in others.
ROWS = [
    *[(TEXTS[0], f"the cat sees a tree {'and a dog ' * n}") for n in range(4)],
    *[(f"a bird sings under it {'it ' * n}", TEXTS[n % 3]) for n in range(5)],
    ("", TEXTS[0]),
    (TEXTS[1], "dog"),
]


@pytest.fixture(scope="module")
def tiny_path(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tiny(tiny_path):
    return XSTransformer(tiny_path, device="cpu")


@pytest.fixture(scope="module")
def undisturbed(tiny, tmp_path_factory):
    """The bytes of the shards."""
    folder = tmp_path_factory.mktemp("undisturbed") / "out"
    explain_corpus(tiny, ROWS, folder, **FEW)
    return contents(folder)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*"))}


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in sorted(folder.glob("part-*"))}


def leftovers(folder):
    """Files that are neither whole nor meant to stay."""
    files = [path.name for path in folder.rglob("*") if path.is_file()]
    return [name for name in files if name.startswith((".unfinished", ".shared")) or name.endswith(".safetensors")]


def stopped_at(monkeypatch, name, n, error):
    """Let a step of the job fail when it is taken for the n-th time."""
    step, calls = getattr(jobs.Job, name), []

    def fail(self, *arguments):
        calls.append(arguments)
        if len(calls) == n:
            raise error
        return step(self, *arguments)

    monkeypatch.setattr(jobs.Job, name, fail)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("disk full"), MemoryError()])
@pytest.mark.parametrize(("step", "n"), [("run_unit", 1), ("run_shard", 1), ("run_shard", 3)])
def test_a_job_that_was_stopped_goes_on(tmp_path, tiny, undisturbed, monkeypatch, step, n, error):
    folder = tmp_path / "out"
    with monkeypatch.context() as patch:
        stopped_at(patch, step, n, error)
        with pytest.raises(type(error)):
            explain_corpus(tiny, ROWS, folder, **FEW)
    before = times(folder)
    assert len(before) == (n - 1 if step == "run_shard" else 0)
    assert len(read_corpus(folder, partial=True).shards) == len(before)
    explain_corpus(tiny, ROWS, folder, **FEW)
    assert contents(folder) == undisturbed
    assert before.items() <= times(folder).items()
    assert not leftovers(folder)


def test_a_write_that_fails_leaves_no_shard(tmp_path, tiny, undisturbed, monkeypatch):
    folder, replace = tmp_path / "out", os.replace

    def fail(source, target):
        if str(target).endswith("part-00001.parquet"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="No space left"):
            explain_corpus(tiny, ROWS, folder, **FEW)
    assert [*contents(folder)] == ["part-00000.parquet"]
    assert not [name for name in leftovers(folder) if not name.endswith(".safetensors")]
    explain_corpus(tiny, ROWS, folder, **FEW)
    assert contents(folder) == undisturbed


def test_a_job_that_was_killed_goes_on(tmp_path, tiny, undisturbed):
    folder = tmp_path / "out"
    pid = os.fork()
    if pid == 0:
        try:
            run, calls = jobs.Job.run_shard, []

            def run_shard(self, *arguments):
                calls.append(arguments)
                if len(calls) == 3:
                    (folder / ".unfinished-part").write_bytes(b"half")
                    os.kill(os.getpid(), signal.SIGKILL)
                return run(self, *arguments)

            jobs.Job.run_shard = run_shard
            explain_corpus(tiny, ROWS, folder, **FEW)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    before = times(folder)
    assert len(before) == 2
    explain_corpus(tiny, ROWS, folder, **FEW)
    assert contents(folder) == undisturbed
    assert before.items() <= times(folder).items()
    assert not leftovers(folder)


def test_each_distinct_text_is_computed_once(tmp_path, tiny, monkeypatch):
    compute, computed = tiny.text_factors, []

    def counted(texts, **options):
        computed.extend(texts)
        return compute(texts, **options)

    monkeypatch.setattr(tiny, "text_factors", counted)
    explain_corpus(tiny, ROWS, tmp_path / "out", **FEW)
    wanted = {text for pair in ROWS if all(pair) for text in pair}
    assert computed[0] == "a"  # which checks the settings
    assert sorted(computed[1:]) == sorted(wanted)


def test_factors_that_do_not_stay_in_memory_are_read_again(tmp_path, tiny, undisturbed, monkeypatch):
    monkeypatch.setattr(jobs.Job, "_remember", lambda self, known: None)
    explain_corpus(tiny, ROWS, tmp_path / "out", **FEW)
    assert contents(tmp_path / "out") == undisturbed


def test_a_budget_bounds_the_factors_of_a_shard(tmp_path, tiny):
    how = {"n_steps": 3, "layer": 2, "show_progress_bar": False}
    wide = explain_corpus(tiny, ROWS, tmp_path / "wide", **how)
    small = explain_corpus(tiny, ROWS, tmp_path / "small", memory_budget=4 * 20_000, **how)
    assert len(wide.starts) == 1 < len(small.starts)
    for start, end in pairwise([*small.starts, len(ROWS)]):
        n_tokens = [small.row(row)[f"tokens_{side}"] for row in range(start, end) for side in "ab"]
        n_bytes = sum(8 * 16 * len(tokens or ()) for tokens in n_tokens)
        assert n_bytes <= 20_000 or end - start == 1
    rows = [table.to_table().drop_columns(["settings"]).to_pylist() for table in (wide, small)]
    assert [row["tokens_a"] for row in rows[0]] == [row["tokens_a"] for row in rows[1]]
    np.testing.assert_allclose(
        [row["score"] for row in rows[0] if row["reason"] is None],
        [row["score"] for row in rows[1] if row["reason"] is None],
        atol=1e-6,
    )


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "empty"])
def test_a_damaged_shard_is_written_again(tmp_path, tiny, undisturbed, damage):
    folder = tmp_path / "out"
    corpus = explain_corpus(tiny, ROWS, folder, **FEW)
    path = folder / "part-00002.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes({"flip": content, "truncate": content[:-9], "remove": b"", "empty": b""}[damage])
    if damage == "remove":
        path.unlink()
    assert corpus.damaged() == [path]
    before = times(folder)
    explain_corpus(tiny, ROWS, folder, **FEW)
    assert contents(folder) == undisturbed
    changed = {name for name, when in times(folder).items() if before.get(name) != when}
    assert changed == {path.name}
    assert corpus.damaged() == []


def test_a_damaged_shard_is_not_read(tmp_path, tiny):
    """Wherever a bit is flipped, and however the rows are asked for."""
    folder = tmp_path / "out"
    rows = explain_corpus(tiny, ROWS, folder, **FEW).to_table()
    path = folder / "part-00001.parquet"
    whole, draw = path.read_bytes(), np.random.default_rng(0)
    places = [*draw.integers(0, len(whole), 40), 1, len(whole) - 1]
    reads = [
        lambda corpus: corpus.to_table(),
        lambda corpus: [*corpus.batches()],
        lambda corpus: corpus.row(3),
        lambda corpus: corpus.failures(),
        lambda corpus: corpus.dataset(),
        aggregate,
    ]
    for trial, at in enumerate(places):
        content = bytearray(whole)
        content[at] ^= 1 << draw.integers(8)
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"part-00001\.parquet is damaged: .* Resuming the job computes it again"):
            reads[trial % len(reads)](read_corpus(folder))
    assert read_corpus(folder).row(0)["row"] == 0
    path.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match=f"it has {len(whole) - 1} bytes of {len(whole)}"):
        read_corpus(folder).to_table()
    path.write_bytes(whole)
    assert read_corpus(folder).to_table().equals(rows)


def test_pages_are_checked_where_there_is_no_record(tmp_path, tiny):
    """Of shards that were copied alone, and of what is damaged after it was checked."""
    folder = tmp_path / "out"
    corpus = explain_corpus(tiny, ROWS, folder, **FEW)
    corpus.to_table()
    path = folder / "part-00000.parquet"
    content = bytearray(path.read_bytes())
    group = pq.read_metadata(path).row_group(0)
    columns = {column.path_in_schema: column for column in map(group.column, range(group.num_columns))}
    start = columns["score"].dictionary_page_offset or columns["score"].data_page_offset
    content[start + columns["score"].total_compressed_size - 3] ^= 1
    path.write_bytes(content)
    shutil.rmtree(folder / ".work")
    for opened in (corpus, read_corpus(folder)):
        for read in (
            lambda corpus: corpus.to_table(),
            lambda corpus: corpus.row(0),
            lambda corpus: [*corpus.batches()],
        ):
            with pytest.raises(ValueError, match=r"part-00000\.parquet is damaged: .*CRC checksum"):
                read(opened)
        with pytest.raises(OSError, match="CRC checksum"):
            opened.dataset().to_table()
        assert opened.row(5)["row"] == 5


def test_damaged_factors_of_several_shards_are_computed_again(tmp_path, tiny, undisturbed, monkeypatch):
    folder = tmp_path / "out"
    with monkeypatch.context() as patch:
        stopped_at(patch, "run_shard", 2, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            explain_corpus(tiny, ROWS, folder, **FEW)
    path = Folder(folder).unit(0)
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    explain_corpus(tiny, ROWS, folder, **FEW)
    assert contents(folder) == undisturbed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top_k": 4}, "task top_k None, now 4"),
        ({"n_steps": 4}, "task options n_steps 3, now 4"),
        ({"units": "words"}, "task units 'tokens', now 'words'"),
        ({"shard_size": 4}, "shard_size 3, now 4"),
        ({"similarity": "dot"}, "task similarity 'cosine', now 'dot'"),
        ({"prompt": "the "}, "task sides"),
        ({"reference": "pad"}, "task fingerprint"),
    ],
)
def test_other_settings_are_refused(tmp_path, tiny, undisturbed, change, message):
    explain_corpus(tiny, ROWS, tmp_path / "out", **FEW)
    with pytest.raises(ValueError, match=message):
        explain_corpus(tiny, ROWS, tmp_path / "out", **{**FEW, **change})
    assert contents(tmp_path / "out") == undisturbed


DEFAULTS = {"layer": 0, "tolerance": 0.01, "rule": "gauss-legendre", "max_steps": 512, "reference": "unk"}


@pytest.mark.parametrize("given", [{}, {"layer": -2}, DEFAULTS])
def test_the_same_settings_spelled_otherwise_are_the_same_job(tmp_path, tiny, given):
    rows, how = [("a cat", "dog")], {"show_progress_bar": False}
    assert Task.of(tiny, **given) == Task.of(tiny) == Task.of(tiny, **DEFAULTS)
    explain_corpus(tiny, rows, tmp_path / "out", **given, **how)
    before = times(tmp_path / "out")
    # As version 0.1.0 wrote them: those alone that were given, as they were.
    manifest = tmp_path / "out" / "_corpus.json"
    content = {**json.loads(manifest.read_text()), "format_version": 1}
    del content["sealed_by"], content["work"], content["columns"]
    content["task"]["options"] = [list(item) for item in sorted(given.items())]
    for options in ({}, {"layer": -2}, DEFAULTS, {"reference_positions": "text"}):
        explain_corpus(tiny, rows, tmp_path / "out", **options, **how)
        manifest.write_text(json.dumps(content))
    assert times(tmp_path / "out") == before
    with pytest.raises(ValueError, match="task options layer 0, now 2"):
        explain_corpus(tiny, rows, tmp_path / "out", layer=2, **how)
    with pytest.raises(ValueError, match=r"task options tolerance 0\.01, now 0\.02"):
        explain_corpus(tiny, rows, tmp_path / "out", tolerance=0.02, **how)


def test_another_model_tokenizer_or_version_is_refused(tmp_path, tiny, tiny_path, monkeypatch):
    explain_corpus(tiny, ROWS, tmp_path / "out", **FEW)
    other = XSTransformer(tiny_path, device="cpu")
    other.max_seq_length = 20
    with pytest.raises(ValueError, match="model max_seq_length 60, now 20"):
        explain_corpus(other, ROWS, tmp_path / "out", **FEW)
    other = XSTransformer(tiny_path, device="cpu")
    other.tokenizer.add_tokens(["zebra"])
    with pytest.raises(ValueError, match="model tokenizer"):
        explain_corpus(other, ROWS, tmp_path / "out", **FEW)
    monkeypatch.setattr(jobs, "library_versions", lambda: {"xsbert": "99"})
    with pytest.raises(ValueError, match="versions xsbert"):
        explain_corpus(tiny, ROWS, tmp_path / "out", **FEW)


@pytest.mark.parametrize(
    "rows", [ROWS[:-1], [*ROWS, ROWS[0]], [ROWS[1], ROWS[0], *ROWS[2:]], [*ROWS[:-1], ("x", "dog")]]
)
def test_another_source_is_refused(tmp_path, tiny, rows):
    explain_corpus(tiny, ROWS, tmp_path / "out", **FEW)
    with pytest.raises(ValueError, match="source fingerprint"):
        explain_corpus(tiny, rows, tmp_path / "out", **FEW)


def test_folders_that_are_refused(tmp_path, tiny):
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match="must be a folder"):
        explain_corpus(tiny, ROWS, tmp_path / "file", **FEW)
    with pytest.raises(FileExistsError, match="files that do not belong to a job"):
        explain_corpus(tiny, ROWS, tmp_path, **FEW)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    explain_corpus(tiny, ROWS, tmp_path / "out", **FEW)
    with pytest.raises(FileExistsError, match="holds a job already"):
        explain_corpus(tiny, ROWS, tmp_path / "out", resume=False, **FEW)


def test_two_jobs_in_one_folder(tmp_path, tiny, tiny_path, undisturbed, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    run = jobs.Job.run

    def slow(self, *arguments):
        begun.set()
        assert go_on.wait(60)
        run(self, *arguments)

    monkeypatch.setattr(jobs.Job, "run", slow)
    other = XSTransformer(tiny_path, device="cpu")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(explain_corpus, tiny, ROWS, tmp_path / "out", **FEW)
        assert begun.wait(60)
        with pytest.raises(BlockingIOError, match="another job is running"):
            explain_corpus(other, ROWS, tmp_path / "out", **FEW)
        second = pool.submit(explain_corpus, other, ROWS, tmp_path / "out", lock_timeout=60, **FEW)
        go_on.set()
        first.result()
        written = times(tmp_path / "out")
        second.result()
    assert contents(tmp_path / "out") == undisturbed
    assert times(tmp_path / "out") == written


def test_a_job_can_be_sent_to_another_process(tmp_path, tiny, undisturbed):
    explain_corpus(tiny, ROWS, tmp_path / "out", **FEW)
    corpus = read_corpus(tmp_path / "out")
    job = pickle.loads(
        pickle.dumps(jobs.Job(Folder(tmp_path / "out"), corpus.task, corpus.starts, corpus.n_rows, None))
    )
    for path in contents(tmp_path / "out"):
        (tmp_path / "out" / path).unlink()
    shards = job.pending_shards()
    # In another order than that of the rows.
    for number in job.pending_units(shards):
        job.run_unit(tiny, number)
    for number in reversed(shards):
        job.run_shard(tiny, number)
    assert contents(tmp_path / "out") == undisturbed


def test_the_command_line(tmp_path, tiny_path, capsys, monkeypatch):
    (tmp_path / "rows.tsv").write_text("a\tb\n" + "".join(f"{a}\t{b}\n" for a, b in ROWS if a))
    how = ["--model", tiny_path, "--n-steps", "3", "--columns", "a", "b", "--top", "3", "--shard-size", "3"]
    command = ["corpus", str(tmp_path / "rows.tsv"), str(tmp_path / "out"), *how]
    with monkeypatch.context() as patch:
        stopped_at(patch, "run_shard", 2, KeyboardInterrupt())
        assert main(command) == 130
    assert "--resume goes on" in capsys.readouterr().err
    assert [*contents(tmp_path / "out")] == ["part-00000.parquet"]
    assert main(command) == 1
    assert "holds a job already" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        f"pairs of {len(ROWS) - 1} of {len(ROWS) - 1} rows in 4 of 4 shards; 0 could not be explained"
    )
    assert len(read_corpus(tmp_path / "out").row(0)["top"]) == 3
    for wrong in (
        ["--top", "3", "--what", "factors"],
        ["--columns", "a"],
        ["--rule", "midpoint"],
        ["--factor-tolerance", "0.1", "--n-steps", "3"],
    ):
        with pytest.raises(SystemExit) as ended:
            main([*command[:5], *wrong])
        assert ended.value.code == 2


def test_a_tolerance_of_the_factors_on_the_command_line(tmp_path, tiny_path):
    (tmp_path / "rows.tsv").write_text("a\tb\n" + "".join(f"{a}\t{b}\n" for a, b in ROWS[:1]))
    command = ["corpus", str(tmp_path / "rows.tsv"), str(tmp_path / "out"), "--model", tiny_path, "--columns", "a", "b"]
    assert main([*command, "--tolerance", "0.1", "--factor-tolerance", "0.003"]) == 0
    assert dict(read_corpus(tmp_path / "out").task.options)["factor_tolerance"] == 0.003


@pytest.mark.slow
@pytest.mark.parametrize("dies", [False, True])
def test_two_actors_of_ray_give_the_same_rows(tmp_path, tiny, tiny_path, undisturbed, dies):
    ray = pytest.importorskip("ray")
    from xsbert.corpus import ray_job

    marker = tmp_path / "died"

    def load():
        model = XSTransformer(tiny_path, device="cpu")
        compute = model.text_factors

        def text_factors(texts, **options):
            # The first actor that reaches this text ends as by kill -9, with its shard half done.
            if dies and ROWS[6][0] in texts and not marker.exists():
                marker.write_text("x")
                os.kill(os.getpid(), signal.SIGKILL)
            return compute(texts, **options)

        model.text_factors = text_factors
        return model

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        options = {**FEW, "num_cpus": 0.5}
        corpus = ray_job(load, ROWS, tmp_path / "out", **options)
    finally:
        ray.shutdown()
    assert marker.exists() == dies
    assert contents(tmp_path / "out") == undisturbed
    assert corpus.damaged() == []
    explain_corpus(tiny, ROWS, tmp_path / "out", **FEW)
    assert contents(tmp_path / "out") == undisturbed
