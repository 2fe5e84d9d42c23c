"""Reliability of `xsbert.corpus` jobs: kill −9, a full disk, damaged shards, two jobs, a changed source, odd texts.

Each trial compares every file of rows with that of an uninterrupted run, byte by byte. The script fails if one differs.
Jobs run in forked children of this process, which already has the model in memory, so that kills hit the computation
and not the loading of libraries. Needs Linux.

    python benchmarks/reliability.py --texts sts-test.csv --json benchmarks/results/reliability.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from common import MODEL_HELP, environment, load, settings, write_json

from xsbert import XSTransformer
from xsbert.corpus import explain_corpus, read_corpus

SHARD_SIZE = 4
# Exit statuses of children.
REFUSED, DISK_FULL = 10, 11
SPECIAL = ("[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]", "<s>", "</s>", "<pad>", "<|endoftext|>")
MARKS = ("\u200f", "\u200e", "\u202e", "\u2066", "\u200b", "\u200d", "\ufeff", "\u00ad", "\u0301")
EMOJI = ("👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪", "1️⃣", "🧑‍🚀")
WORDS = ("river", "naïve", "Straße", "東京", "مرحبا", "שלום", "ไทย", "हिन्दी", "x" * 40, "3.14", "don't")


def rows_of(file: Path, n_pairs: int) -> list[tuple[Any, Any]]:
    """Pairs of the file, some of whose texts recur, and a few that cannot be explained."""
    lines = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    pairs: list[tuple[Any, Any]] = [(line[5], line[6]) for line in lines if len(line[5]) + len(line[6]) < 100]
    pairs = pairs[:n_pairs]
    pairs[5::7] = [(pairs[0][0], b) for _, b in pairs[5::7]]
    pairs[3], pairs[n_pairs // 2] = ("", "x"), ("\ud800", "x")
    return pairs


def job(model: XSTransformer, rows: Any, folder: Path, **more: Any) -> None:
    """The job that is disturbed, with few nodes: kills are to fall on all its steps."""
    how = {"shard_size": SHARD_SIZE, "show_progress_bar": False, "layer": -1, "n_steps": 3}
    explain_corpus(model, rows, folder, **{**how, **more})


def forked(work: Callable[[], Any]) -> BaseProcess:
    """Run in a child, which ends with 0 or the status of its error."""

    def run() -> None:
        try:
            work()
        except BlockingIOError:
            sys.exit(REFUSED)
        except OSError:
            sys.exit(DISK_FULL)

    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    return child


def ended(child: BaseProcess) -> int:
    """The status of a child: its own, or minus the signal that ended it."""
    child.join()
    assert child.exitcode is not None
    return child.exitcode


def contents(folder: Path) -> dict[str, bytes]:
    """The files of rows."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*.parquet"))}


def check_same(folder: Path, undisturbed: dict[str, bytes], what: str) -> None:
    """Fail unless all rows are there, once each, in files with the same bytes."""
    found = contents(folder)
    if found != undisturbed:
        raise SystemExit(f"{what}: rows differ from those of the undisturbed run")
    rows = read_corpus(folder).to_table(["row"])["row"].to_pylist()
    if rows != list(range(len(rows))):
        raise SystemExit(f"{what}: rows are lost or there twice")


def finished_shards(folder: Path) -> dict[str, int]:
    """Shards with a record, and when they were written."""
    records = (folder / ".work" / "done").glob("part-*.json")
    parts = [folder / record.name.removesuffix(".json") for record in records]
    return {part.name: part.stat().st_mtime_ns for part in parts if part.exists()}


def killed(model: XSTransformer, rows: Any, place: Path, undisturbed: dict[str, bytes], options: Any) -> dict[str, Any]:
    """Kill jobs at random moments until as many were killed as was asked for; each goes on to its end."""
    draw = random.Random(options.seed)
    start = time.perf_counter()
    ended(forked(lambda: job(model, rows, place / "timed")))
    longest_life = options.longest_life * (time.perf_counter() - start)
    n_killed = n_jobs = n_again = 0
    at_kill: list[int] = []
    while n_killed < options.n_kills:
        folder = place / f"killed-{n_jobs}"
        while True:
            before = finished_shards(folder)
            child = forked(lambda folder=folder: job(model, rows, folder))
            if n_killed < options.n_kills:
                time.sleep(draw.uniform(0, longest_life))
                child.kill()
            status = ended(child)
            after = finished_shards(folder)
            n_again += sum(after[name] != when for name, when in before.items())
            if status == -signal.SIGKILL:
                n_killed += 1
                at_kill.append(len(after))
            elif status == 0:
                break
            else:
                raise SystemExit(f"a resumed job ended with status {status}")
        check_same(folder, undisturbed, f"job {n_jobs}, killed")
        shutil.rmtree(folder)
        n_jobs += 1
    return {
        "kills": n_killed,
        "jobs": n_jobs,
        "longest life in seconds": longest_life,
        "shards of a job": len(undisturbed),
        "finished shards computed again": n_again,
        "finished shards at each kill": at_kill,
        "files that differ": 0,
    }


def damaged(
    model: XSTransformer, rows: Any, place: Path, undisturbed: dict[str, bytes], options: Any
) -> dict[str, Any]:
    """Flip a bit of a finished shard, or cut it short; the next run finds it and writes it again."""
    draw = random.Random(options.seed)
    folder = place / "damaged"
    job(model, rows, folder)
    found: Counter[str] = Counter()
    for trial in range(options.n_damages):
        path = folder / draw.choice(sorted(undisturbed))
        content = bytearray(path.read_bytes())
        at = draw.randrange(len(content))
        kind = ("flipped", "truncated", "removed")[trial % 3]
        if kind == "flipped":
            content[at] ^= 1 << draw.randrange(8)
        path.write_bytes(content if kind == "flipped" else content[:at])
        if kind == "removed":
            path.unlink()
        elif read_corpus(folder).damaged() != [path]:
            raise SystemExit(f"{path.name}, {kind} at {at}, was not noticed")
        job(model, rows, folder)
        check_same(folder, undisturbed, f"shard {kind} at {at}")
        found[kind] += 1
    return {"noticed and written again": dict(found)}


def disk_full(model: XSTransformer, rows: Any, place: Path, undisturbed: dict[str, bytes]) -> dict[str, Any]:
    """A folder on disks of few kilobytes; then there is room, and the job goes on."""
    found = []
    for share in (0.5, 0.75, 1, 1.25, 2):
        size = int(share * sum(map(len, undisturbed.values())))
        folder = place / f"full-{share}"
        folder.mkdir()
        with small_disk(folder, size) as make_room:
            status = ended(forked(lambda folder=folder: job(model, rows, folder / "out")))
            if status not in (0, DISK_FULL):
                raise SystemExit(f"a full disk ended the job with status {status}, not an OSError")
            n_finished = len(finished_shards(folder / "out"))
            half = [path.name for path in folder.rglob(".unfinished-*")]
            make_room()
            job(model, rows, folder / "out")
            check_same(folder / "out", undisturbed, "after a full disk")
        found.append({"bytes": size, "full": status != 0, "finished shards": n_finished, "half files": len(half)})
    return {"disks": found}


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Callable[[], None]]:
    """A file system in memory, which takes rights to mount."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=1g", str(folder)], check=True)
    finally:
        # pyarrow's threads close what they read a moment later.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def two_jobs(model: XSTransformer, rows: Any, place: Path, undisturbed: dict[str, bytes]) -> dict[str, Any]:
    """The second of two jobs in a folder is refused, or waits and finds the work done."""
    folder = place / "two"
    first = forked(lambda: job(model, rows, folder))
    while not (folder / "_corpus.json").exists():
        time.sleep(0.05)
    refused = ended(forked(lambda: job(model, rows, folder)))
    waited = ended(forked(lambda: job(model, rows, folder, lock_timeout=600)))
    statuses = (ended(first), refused, waited)
    if statuses != (0, REFUSED, 0):
        raise SystemExit(f"two jobs in a folder ended with {statuses}")
    check_same(folder, undisturbed, "two jobs")
    return {"second job at once": "refused", "second job that waits": "found the rows finished"}


def changed_source(model: XSTransformer, rows: list, place: Path, undisturbed: dict[str, bytes]) -> dict[str, Any]:
    """A changed, a missing, an added row and two rows in another order are refused; the same rows are not."""
    folder = place / "changed"
    job(model, rows, folder)
    changed = [*rows]
    changed[7] = (rows[7][0], rows[7][1] + " ")
    sources = {
        "changed": changed,
        "missing": rows[:-1],
        "added": [*rows, rows[0]],
        "in another order": [rows[1], rows[0], *rows[2:]],
    }
    for name, source in sources.items():
        try:
            job(model, source, folder)
        except ValueError:
            continue
        raise SystemExit(f"a source with rows {name} was not refused")
    job(model, iter(rows), folder)
    check_same(folder, undisturbed, "changed source")
    return {"refused": sorted(sources)}


def odd_texts(n_texts: int, seed: int) -> list[Any]:
    """What users' tables hold."""
    draw = random.Random(seed)
    pieces = [*SPECIAL, *MARKS, *EMOJI, *WORDS, "\x00", "\x1b[31m", "\r\n", "\t", "\u2028", "\U0010ffff", "\ufffd"]
    strange: list[Any] = [None, "", " \n\u3000", 7, 0.5, b"bytes", "\ud83d", "ok \udc00", "\x00", "\u200b", "[PAD]"]

    def text(place: int) -> Any:
        if place % 1000 == 999:
            return " ".join(draw.choice(WORDS) for _ in range(5000))
        if place % 20 == 19:
            return draw.choice(strange)
        return draw.choice(("", " ")).join(draw.choice(pieces) for _ in range(draw.randint(1, 12)))

    return [text(place) for place in range(n_texts)]


def survived(model: XSTransformer, place: Path, n_texts: int, seed: int) -> dict[str, Any]:
    """A row for each odd text. At the last layer and with one node, since the question is not the accuracy."""
    texts = odd_texts(n_texts, seed)
    cheap = {"what": "factors", "layer": model.n_layers, "n_steps": 1, "shard_size": 1000}
    corpus = explain_corpus(model, texts, place / "odd", show_progress_bar=False, **cheap)
    table = corpus.to_table(["row", "text", "reason", "tokens"])
    for row, text in zip(table.to_pylist(), texts, strict=True):
        if row["reason"] is None and (row["text"] != text or not row["tokens"]):
            raise SystemExit(f"row {row['row']} is not that of its text {text!r:.80}")
        if row["reason"] is not None and isinstance(text, str) and text.isprintable() and text.strip():
            raise SystemExit(f"a plain text was not explained: {text!r:.80}: {row['reason']}")
    reasons = Counter(reason.partition(":")[0] for reason in table["reason"].drop_null().to_pylist())
    return {"texts": len(table), "counts": corpus.counts(), "reasons": dict(reasons)}


def memory(options: Any, most: int, *more: str) -> dict[str, Any]:
    """Peak memory of processes that explain many texts and a tenth of them."""
    peaks = {}
    for n_texts in (most // 10, most):
        command = [sys.executable, __file__, "--texts", str(options.texts), "--model", options.model]
        out = subprocess.run([*command, "--measure", str(n_texts), *more], check=True, capture_output=True, text=True)
        peaks[n_texts] = int(json.loads(out.stdout)["peak"])
    few, many = peaks.values()
    return {"peak bytes": peaks, "ratio": many / few}


def measure(options: Any) -> None:
    """Print the peak memory of this process after it explained distinct texts.

    They are explained at the last layer with one node, which is cheap, or with the default options.
    """
    model = load(options.model, shift=False, reference="unk")
    lines = [line.split("\t") for line in options.texts.read_text(encoding="utf-8").splitlines()]
    own = [line[5] for line in lines]
    texts = (f"{own[place % len(own)]} {place}" for place in range(options.measure))
    how: dict[str, Any] = {"what": "factors", "shard_size": 1000}
    if not options.placed:
        how |= {"layer": model.n_layers, "n_steps": 1}
    with tempfile.TemporaryDirectory() as folder:
        explain_corpus(model, texts, Path(folder) / "out", show_progress_bar=False, **how)
    print(json.dumps({"peak": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help="tab-separated file with texts in columns 6 and 7")
    parser.add_argument("--model", default="minilm", help=MODEL_HELP)
    parser.add_argument("--n-pairs", type=int, default=40, help="pairs of the job that is disturbed")
    parser.add_argument("--n-kills", type=int, default=100)
    parser.add_argument("--longest-life", type=float, default=0.5, help="until a kill, of a job's time")
    parser.add_argument("--n-damages", type=int, default=60)
    parser.add_argument("--n-odd", type=int, default=10_000, help="odd texts")
    parser.add_argument("--n-memory", type=int, default=20_000, help="texts whose peak memory is measured")
    parser.add_argument("--trials", nargs="+", help="some of them, by the names in the record (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="write the full record here")
    parser.add_argument("--n-placed", type=int, default=1000, help="the same with nodes placed for a tolerance")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--placed", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        measure(options)
        return
    model = load(options.model, shift=False, reference="unk")
    rows = rows_of(options.texts, options.n_pairs)
    record: dict[str, Any] = {}
    if options.trials is not None and options.json and Path(options.json).exists():
        record = json.loads(Path(options.json).read_text(encoding="utf-8"))
    record |= {"options": settings(options), "environment": environment("cpu")}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        start = time.perf_counter()
        job(model, rows, place / "undisturbed")
        record["seconds of the undisturbed job"] = time.perf_counter() - start
        undisturbed = contents(place / "undisturbed")
        trials = {
            "two jobs": lambda: two_jobs(model, rows, place, undisturbed),
            "changed source": lambda: changed_source(model, rows, place, undisturbed),
            "disk full": lambda: disk_full(model, rows, place, undisturbed),
            "damaged shards": lambda: damaged(model, rows, place, undisturbed, options),
            "odd texts": lambda: survived(model, place, options.n_odd, options.seed),
            "memory": lambda: memory(options, options.n_memory),
            "memory, nodes placed": lambda: memory(options, options.n_placed, "--placed"),
            "kill -9": lambda: killed(model, rows, place, undisturbed, options),
        }
        for title, trial in trials.items():
            if options.trials is not None and title not in options.trials:
                continue
            record[title] = trial()
            print(f"{title}: {json.dumps(record[title])}", flush=True)
            write_json(options.json, record)


if __name__ == "__main__":
    main()
