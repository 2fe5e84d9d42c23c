"""Latencies to plan by: seconds of a pair, of one hit, of ten and of a hundred, by model and length of the documents.

    python benchmarks/latency.py --json benchmarks/results/latency.json
    python benchmarks/latency.py --page benchmarks/results/latency.json docs/background/latency.md

The first form measures, and writes after each model. The second writes the tables of the page between its two markers,
from the record. Each figure is the median of a few calls in one warm process, with the default options. Seconds are
process times: with one thread they are the time of an idle machine, whatever else runs on this one, except for what
others take of its caches and cores. The share of a core that the process got is recorded.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from common import environment, load, settings, table, text_of, write_json

QUERY = "Why did the trawlers return without their nets?"
PAIR = (
    "The old fisherman repaired his wooden boat yesterday",
    "A young sailor painted the small ship this morning",
)
BEGIN, END = "<!-- figures of benchmarks/latency.py -->", "<!-- end of figures -->"
# What makes an explanation faster.
FASTER: dict[str, dict[str, Any]] = {
    "default": {},
    "`tolerance=0.05`": {"tolerance": 0.05},
    "`layer=-1`": {"layer": -1},
    "`n_steps=3`": {"n_steps": 3},
}
NAMES = {"minilm": "all-MiniLM-L6-v2", "mpnet": "all-mpnet-base-v2"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["minilm", "mpnet"])
    parser.add_argument("--lengths", type=int, nargs="+", default=[50, 100, 200, 400], help="tokens of the documents")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--budget", type=float, default=5.0, help="seconds after which a figure is measured no more")
    parser.add_argument("--ten-up-to", type=int, default=50, help="longest documents of which ten are explained")
    parser.add_argument("--pairs-up-to", type=int, default=200, help="longest documents explained with word pairs")
    parser.add_argument("--json", help="write the full record here")
    parser.add_argument("--page", nargs=2, metavar=("RECORD", "PAGE"), help="write the tables of a record into a page")
    options = parser.parse_args()
    if options.page:
        record, page = map(Path, options.page)
        page.write_text(with_figures(page.read_text(encoding="utf-8"), json.loads(record.read_text())), "utf-8")
        return
    torch.set_num_threads(options.threads)
    record: dict[str, Any] = {"options": settings(options), "environment": environment("cpu"), "models": {}}
    began, spent = time.perf_counter(), time.process_time()
    for name in options.models:
        for found in measured(name, options):
            record["models"][name] = found
            record["share of a core"] = (time.process_time() - spent) / (time.perf_counter() - began)
            record["load"] = os.getloadavg()[0]
            write_json(options.json, record)
    print("\n\n".join(tables(record)))


def measured(name: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All figures of one model, in seconds, as far as they are known."""
    model = load(name, shift=False, reference="unk")
    model.max_seq_length = max(model.max_seq_length, *options.lengths)
    quiet: dict[str, Any] = {"show_progress_bar": False}

    def seconds(work: Callable[[], Any]) -> float:
        spent: list[float] = []
        while len(spent) < options.rounds and sum(spent) < options.budget:
            start = time.process_time()
            work()
            spent.append(time.process_time() - start)
        return statistics.median(spent)

    model.explain_ranking(QUERY, [PAIR[0]], **quiet)
    found: dict[str, Any] = {
        "pair": seconds(lambda: model.attribute_prediction(*PAIR, **quiet)),
        "encode pair": seconds(lambda: model.encode([*PAIR], **quiet)),
        "query": seconds(lambda: model.text_factors([QUERY], task="query", **quiet)),
        "documents": {},
    }
    for length in options.lengths:
        document = text_of(model, length)
        given = model.encode_document([document])
        row: dict[str, float] = {
            "encode": seconds(lambda document=document: model.encode([document], **quiet)),
            "hit": seconds(lambda document=document: model.explain_ranking(QUERY, [document], **quiet)),
            "hit with embedding": seconds(
                lambda document=document, given=given: model.explain_ranking(
                    QUERY, [document], document_embeddings=given, **quiet
                )
            ),
        }
        if length <= options.pairs_up_to:
            row["pairs"] = seconds(
                lambda document=document: model.explain_ranking(QUERY, [document], detail="pairs", **quiet)
            )
        if length <= options.ten_up_to:
            ten = [f"{document} {number}" for number in range(10)]
            row["ten"] = seconds(lambda ten=ten: model.explain_ranking(QUERY, ten, **quiet))
        found["documents"][str(length)] = row
        print(name, length, {key: round(value, 3) for key, value in row.items()}, flush=True)
        yield found
    document = text_of(model, options.lengths[min(1, len(options.lengths) - 1)])
    found["faster"] = {"tokens": len(model.tokenizer(document)["input_ids"])}
    for label, how in FASTER.items():
        ranking = model.explain_ranking(QUERY, [document], **how, **quiet)
        found["faster"][label] = {
            "hit": seconds(lambda how=how: model.explain_ranking(QUERY, [document], **how, **quiet)),
            "pair": seconds(lambda how=how: model.attribute_prediction(*PAIR, **how, **quiet)),
            "residual": ranking[0].residual,
        }
    yield found


def tables(record: dict[str, Any]) -> list[str]:
    """The tables of the page."""
    pairs, documents, faster = [], [], []
    for name, found in record["models"].items():
        label, encoded = NAMES.get(name, name), found["encode pair"]
        times = f"{found['pair'] / encoded:.0f}"
        pair = {"one pair of 8-word sentences": spoken(found["pair"]), "encode both": spoken(encoded)}
        pairs.append({"model": label, **pair, "in encodings": times})
        for length, row in found["documents"].items():
            each = max(row["hit"] - found["query"], row["encode"])
            top = {n: found["query"] + n * each for n in (10, 100)}
            documents.append(
                {
                    "model": label,
                    "tokens": length,
                    "encode": spoken(row["encode"]),
                    "one hit": spoken(row["hit"]),
                    "in encodings": f"{row['hit'] / row['encode']:.0f}",
                    "embedding given": spoken(row["hit with embedding"]),
                    "top 10": spoken(row["ten"]) if "ten" in row else f"{spoken(top[10])} *",
                    "top 100 *": spoken(top[100]),
                    "one hit, word pairs": spoken(row["pairs"]) if "pairs" in row else "",
                }
            )
        for setting, values in found.get("faster", {}).items():
            if setting != "tokens":
                head = f"one hit of {found['faster']['tokens']} tokens"
                hit = {"pair": spoken(values["pair"]), head: spoken(values["hit"])}
                faster.append({"model": label, "option": setting, **hit, "residual": f"{values['residual']:.1e}"})
    return [table(rows) for rows in (pairs, documents, faster) if rows]


def spoken(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s" if seconds < 60 else f"{seconds:.0f} s"


def with_figures(page: str, record: dict[str, Any]) -> str:
    """A page with the tables of a record between its two markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest or not page.partition(END)[1]:
        raise SystemExit(f"the page has no {BEGIN!r} and {END!r}")
    where, options = record["environment"], record["options"]
    threads = f"{options['threads']} thread{'s' if options['threads'] > 1 else ''}"
    versions = ", ".join(f"{name} {where[name]}" for name in ("torch", "transformers", "sentence-transformers"))
    machine = (
        f"{where['device']}, {threads}, float32, {versions}, {where['date']}. The process had "
        f"{record['share of a core']:.0%} of a core (load {record['load']:.0f}); figures are process times."
    )
    return f"{before}{BEGIN}\n\n{machine}\n\n" + "\n\n".join(tables(record)) + f"\n\n{END}{after}"


if __name__ == "__main__":
    main()
