"""Cost of a job of `xsbert.corpus`, compared with explaining one pair at a time and with factors in memory.

The script measures wall-clock time and processor time; the latter does not include other processes. File sizes are
those of the same rows in all formats; sizes of larger corpora are extrapolated. With ``--ray``, two local actors run
the job. With ``--rows``, a complete job of factors of that many texts is measured.

    python benchmarks/corpus.py --texts sts-test.csv --json benchmarks/results/corpus.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from common import MODEL_HELP, distinct_texts, environment, load, path_of, settings, table, write_json

from xsbert import Attribution, XSTransformer
from xsbert.corpus import Task, explain_columns, explain_corpus, factors_of_row, ray_job, read_corpus
from xsbert.factors.text_factors import TextFactors

Pairs = list[tuple[str, str]]
COUNTS = (10**4, 10**6, 10**8)


def pairs_of(file: Path, n_pairs: int) -> Pairs:
    """Pairs spread evenly over the file."""
    lines = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    places = np.linspace(0, len(lines) - 1, min(n_pairs, len(lines))).astype(int)
    return [(lines[place][5].strip(), lines[place][6].strip()) for place in places]


def measured(work: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Seconds by the wall clock and of the processor, and what came out."""
    start, start_cpu = time.perf_counter(), time.process_time()
    result = work()
    return {"wall": time.perf_counter() - start, "processor": time.process_time() - start_cpu}, result


def one_by_one(model: XSTransformer, pairs: Pairs, accuracy: dict[str, Any]) -> list[dict[str, float]]:
    """Seconds of each pair."""

    def explain(pair: tuple[str, str]) -> float:
        return model.attribute_prediction(*pair, show_progress_bar=False, **accuracy).matrix.sum()

    return [measured(lambda pair=pair: explain(pair))[0] for pair in pairs]


def forms(
    model: XSTransformer, pairs: Pairs, known: dict[str, TextFactors], accuracy: dict[str, Any], place: Path
) -> dict[str, dict[str, Any]]:
    """Bytes of a row in each form that can be kept, with its error."""
    texts = {"text": [*known]}
    columns = {"text_a": [a for a, _ in pairs], "text_b": [b for _, b in pairs]}
    tasks: dict[str, tuple[dict[str, Any], dict[str, list[str]]]] = {
        "factors, float64": ({"what": "factors", "dtype": "float64"}, texts),
        "factors, float32": ({"what": "factors", "dtype": "float32"}, texts),
        "factors, float16": ({"what": "factors"}, texts),
        "factors of words, float16": ({"what": "factors", "units": "words"}, texts),
        "pairs, whole matrix": ({"what": "pairs"}, columns),
        "pairs of words, whole matrix": ({"what": "pairs", "units": "words"}, columns),
        "pairs of words, strongest 10": ({"what": "pairs", "units": "words", "top_k": 10}, columns),
    }
    found = {}
    for name, (how, rows) in tasks.items():
        task = Task.of(model, **how, **accuracy)
        given = {
            (0, text): replace(one.words(), settings=one.settings) if task.units == "words" else one
            for text, one in known.items()
        }
        path = place / "rows.parquet"
        result = explain_columns(model, pa.table(rows), task, given)
        pq.write_table(result, path, compression="zstd")
        found[name] = {"bytes of a row": path.stat().st_size / len(result)}
        if task.what == "factors" and task.units == "tokens":
            found[name] |= errors(result, pairs, known)
    return found


def errors(rows: pa.Table, pairs: Pairs, known: dict[str, TextFactors]) -> dict[str, float]:
    """Largest relative errors, by their norms, of stored factors and of the matrices made of them."""
    stored = {row["text"]: factors_of_row(row) for row in rows.to_pylist()}

    def gap(found: np.ndarray, expected: np.ndarray) -> float:
        return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))

    def matrix(factors: dict[str, TextFactors], pair: tuple[str, str]) -> np.ndarray:
        return Attribution.of(factors[pair[0]], factors[pair[1]], "cosine").matrix

    return {
        "error of factors": max(gap(stored[text].factors, known[text].factors) for text in known),
        "error of matrices": max(gap(matrix(stored, pair), matrix(known, pair)) for pair in pairs),
    }


def by_ray(name: str, pairs: Pairs, accuracy: dict[str, Any], shard_size: int, place: Path) -> dict[str, Any]:
    """Two local actors with a thread each, against one process with two threads."""
    import ray

    def make() -> XSTransformer:
        torch.set_num_threads(1)
        return XSTransformer(path_of(name), device="cpu")

    how = {"shard_size": shard_size, "show_progress_bar": False, **accuracy}
    # Shards of a single pair with one node: next to nothing to compute.
    n_small, cheap = min(40, len(pairs)), {"n_steps": 1}
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    model = load(name, shift=False, reference="unk")
    here, _ = measured(lambda: explain_corpus(model, pairs, place / "here", **how))
    torch.set_num_threads(threads)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        there, _ = measured(lambda: ray_job(make, pairs, place / "ray", **how))
        small, _ = measured(
            lambda: ray_job(make, pairs[:n_small], place / "small", shard_size=1, show_progress_bar=False, **cheap)
        )
        empty, _ = measured(
            lambda: ray_job(make, pairs[:1], place / "empty", shard_size=1, show_progress_bar=False, **cheap)
        )
    finally:
        ray.shutdown()
    alone, _ = measured(
        lambda: explain_corpus(model, pairs[:n_small], place / "alone", shard_size=1, show_progress_bar=False, **cheap)
    )
    overhead = (small["wall"] - empty["wall"] - alone["wall"] / 2) / n_small
    return {
        "one process, two threads": here["wall"],
        "two actors": there["wall"],
        "start of actors and driver": empty["wall"],
        "overhead of a batch": overhead,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help="tab-separated file with texts in columns 6 and 7")
    parser.add_argument("--model", default="minilm", help=MODEL_HELP)
    parser.add_argument("--n-pairs", type=int, default=2000)
    parser.add_argument("--n-single", type=int, default=20, help="pairs timed one at a time")
    parser.add_argument("--shard-size", type=int, default=1000)
    parser.add_argument("--layer", type=int, default=-2)
    parser.add_argument("--tolerance", type=float, default=1e-2)
    parser.add_argument("--ray", action="store_true", help="run two local actors instead")
    parser.add_argument("--rows", type=int, help="measure a job of the factors of that many distinct texts instead")
    parser.add_argument("--folder", type=Path, help="of that job, to go on with what lies there")
    parser.add_argument("--json", help="write the full record here")
    options = parser.parse_args()
    accuracy = {"layer": options.layer, "tolerance": options.tolerance}
    pairs = pairs_of(options.texts, options.n_pairs)
    record: dict[str, Any] = {"options": settings(options), "environment": environment("cpu")}
    temporary = tempfile.TemporaryDirectory() if options.folder is None else contextlib.nullcontext(options.folder)
    with temporary as folder:
        if options.ray:
            record["ray"] = by_ray(options.model, pairs, accuracy, options.shard_size, Path(folder))
            print(table([{name: f"{seconds:.2f} s" for name, seconds in record["ray"].items()}]))
        elif options.rows:
            record["job of factors"] = of_factors(options, accuracy, Path(folder))
            print(record["job of factors"])
        else:
            record |= here(options, pairs, accuracy, Path(folder))
    write_json(options.json, record)


def of_factors(options: argparse.Namespace, accuracy: dict[str, Any], place: Path) -> dict[str, Any]:
    """A job of factors in half precision, one row a text, from its call to its last shard."""
    texts = distinct_texts(options.texts, (6, 7), options.rows)
    model = load(options.model, shift=False, reference="unk")
    how = {"what": "factors", "shard_size": options.shard_size, **accuracy}
    # A job that is stopped and gone on with has taken the seconds of all its runs.
    log = place / "seconds.json"
    runs: list[dict[str, float]] = json.loads(log.read_text()) if log.exists() else []
    begun, begun_processor = time.perf_counter(), time.process_time()
    try:
        corpus = explain_corpus(model, texts, place / "out", **how)
    finally:
        runs.append({"wall": time.perf_counter() - begun, "processor": time.process_time() - begun_processor})
        log.write_text(json.dumps(runs))
    seconds = {clock: sum(run[clock] for run in runs) for clock in runs[0]}
    rows = corpus.to_dataframe(["tokens", "residual"])
    return {
        **corpus.counts(),
        "tokens of a text": float(rows["tokens"].map(len).mean()),
        "largest residual": float(rows["residual"].max()),
        "seconds": seconds,
        "runs": len(runs),
        "peak bytes of the last run": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "bytes": sum(file.stat().st_size for file in (place / "out").glob("*.parquet")),
    }


def here(options: argparse.Namespace, pairs: Pairs, accuracy: dict[str, Any], place: Path) -> dict[str, Any]:
    """Everything but Ray."""
    model = load(options.model, shift=False, reference="unk")
    texts = [*dict.fromkeys(text for pair in pairs for text in pair)]
    chosen = np.linspace(0, len(pairs) - 1, min(options.n_single, len(pairs))).astype(int)
    sample = [pairs[place] for place in chosen]
    one_by_one(model, sample[:1], accuracy)
    single = one_by_one(model, sample[::2], accuracy)
    bare, factors = measured(lambda: model.text_factors(texts, show_progress_bar=False, **accuracy))
    how = {"shard_size": options.shard_size, "show_progress_bar": False, **accuracy}
    job, corpus = measured(lambda: explain_corpus(model, pairs, place / "out", **how))
    single += one_by_one(model, sample[1::2], accuracy)
    assert read_corpus(place / "out").counts()["failed"] == 0
    per_pair = {clock: statistics.mean(seconds[clock] for seconds in single) for clock in ("wall", "processor")}
    known = dict(zip(texts, factors, strict=True))
    kept = forms(model, pairs, known, accuracy, place)
    n_tokens = statistics.mean(len(one.tokens) for one in factors)
    found = {
        "pairs": len(pairs),
        "distinct texts": len(texts),
        "tokens of a text": n_tokens,
        "shards": len(corpus.starts),
        "seconds of a pair, one by one": per_pair,
        "seconds of text_factors": bare,
        "seconds of explain_corpus": job,
        "times faster than one by one": {c: per_pair[c] * len(pairs) / job[c] for c in job},
        "explain_corpus over text_factors": {c: job[c] / bare[c] for c in job},
        "forms": kept,
    }
    print(*(f"{name}: {value}" for name, value in found.items() if name != "forms"), sep="\n")
    keys = ("bytes of a row", "error of factors", "error of matrices")
    print(table([{"form": name, **{key: f"{one.get(key, 0):.3g}" for key in keys}} for name, one in kept.items()]))
    seconds = job["processor"] / len(texts)
    for n_texts in COUNTS:
        sizes = {name: one["bytes of a row"] * n_texts / 1e9 for name, one in kept.items()}
        found[f"computed for {n_texts:.0e} rows"] = {"core hours for texts": seconds * n_texts / 3600, "GB": sizes}
    return found


if __name__ == "__main__":
    main()
