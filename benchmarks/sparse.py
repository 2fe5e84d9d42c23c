"""A real SPLADE model: nodes, the error of the account against the model's similarity, memory, and faithfulness.

    python benchmarks/sparse.py --texts sts-test.csv --json benchmarks/results/sparse.json

The model is that of `real_splade.py`. Nodes are those of sentences by themselves. The error of the account is the
difference between the sum of the four parts and `model.similarity`, relative to the similarity. Faithfulness compares
numbers of pairs of words with second-order deletion, by three operators, and gives the difference from the integral
with kinks with a bootstrap interval over pairs. Memory is the growth of the resident peak by one explanation.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import distinct_texts, environment, in_own_process, settings, table, text_of, write_json
from real_splade import real_splade
from tqdm import tqdm

from xsbert import XSSparseEncoder, faithfulness

PARTS = ("nodes", "account", "memory", "faithfulness")
METHODS = ["integrated", "integrated kinks", "argmax position", "same term", "gradient", "lexical"]


def load() -> XSSparseEncoder:
    return XSSparseEncoder(str(real_splade()), device="cpu")


def pairs_of(file: Path, n_pairs: int) -> list[tuple[str, str]]:
    """Pairs of different sentences of four to twenty words, spread evenly over the file."""
    rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    pairs = [(row[5].strip(), row[6].strip()) for row in rows]
    pairs = [pair for pair in pairs if pair[0] != pair[1] and all(4 <= len(text.split()) <= 20 for text in pair)]
    return [pairs[place] for place in np.linspace(0, len(pairs) - 1, n_pairs).astype(int)]


def nodes_of(model: XSSparseEncoder, texts: list[str], layer: int, kinks: str) -> dict[str, Any]:
    """Nodes and residuals of single texts."""
    found = model.text_factors(texts, layer=layer, kinks=kinks, show_progress_bar=False)
    steps = [each.settings.n_steps for each in found if each.settings]
    residuals = [each.residual for each in found]
    return {
        "layer": layer,
        "kinks": kinks,
        "nodes, median": float(np.median(steps)),
        "nodes, most": max(steps),
        "residual, median": float(np.median(residuals)),
        "residual, largest": max(residuals),
    }


def errors_of(model: XSSparseEncoder, pairs: list[tuple[str, str]], layer: int, tolerance: float) -> dict[str, Any]:
    """Errors of accounts, relative to similarities above zero."""
    sides = [model.encode(list(side)) for side in zip(*pairs, strict=True)]
    scores = model.similarity_pairwise(*sides).double().numpy()
    results = list(model.explain_pairs(pairs, layer=layer, tolerance=tolerance, show_progress_bar=False))
    gaps = np.array([abs(sum(out.parts.values()) - score) for out, score in zip(results, scores, strict=True)])
    ratio = gaps[scores > 0] / scores[scores > 0]
    parts = {name: float(np.mean([out.parts[name] for out in results])) for name in results[0].parts}
    return {
        "layer": layer,
        "tolerance": tolerance,
        "pairs": int((scores > 0).sum()),
        "relative error, median": float(np.median(ratio)),
        "relative error, 95 %": float(np.quantile(ratio, 0.95)),
        "relative error, largest": float(ratio.max()),
        "parts, mean": parts,
        "score, mean": float(scores.mean()),
    }


def compared(model: XSSparseEncoder, pairs: list[tuple[str, str]], layer: int) -> list[dict[str, Any]]:
    """Correlation with second-order deletion, mean over operators and pairs."""
    found = faithfulness(model, pairs, methods=METHODS, layers=[layer], tolerance=0.01, show_progress_bar=False)
    means = {
        row.method: np.nanmean([row.numbers["pearson", operator] for operator in found.operators], axis=0)
        for row in found.rows
    }
    exact, rng = means["integrated kinks"], np.random.default_rng(0)
    draws = rng.integers(len(pairs), size=(10_000, len(pairs)))
    rows = []
    for name, values in means.items():
        gaps = np.nanmean((values - exact)[draws], axis=1)
        whole = np.nanmean(values[draws], axis=1)
        rows.append(
            {
                "layer": layer,
                "method": name,
                "correlation": float(np.nanmean(values)),
                "interval": np.quantile(whole, [0.025, 0.975]).tolist(),
                "less integrated kinks": float(np.nanmean(values - exact)),
                "interval of the difference": np.quantile(gaps, [0.025, 0.975]).tolist(),
            }
        )
    return rows


def resident_peak() -> int:
    """Bytes; unlike getrusage, without the peak of the process that started this one."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def child(n_tokens: int, layer: int) -> dict[str, Any]:
    """Growth of the resident peak by the factors of one text and by one pair, in bytes."""
    torch.set_num_threads(1)
    model = load()
    long = text_of(model, n_tokens)
    model.encode([long])
    before = resident_peak()
    (side,) = model.text_factors([long], layer=layer, n_steps=2)
    return {
        "tokens": len(side.tokens),
        "terms": len(side.embedding),
        "layer": layer,
        "before": before,
        "peak": resident_peak(),
        "added": resident_peak() - before,
    }


def shown(rows: list[dict[str, Any]]) -> str:
    return table(
        [
            {name: f"{value:.3g}" if isinstance(value, float) else str(value) for name, value in row.items()}
            for row in rows
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, help="tab-separated file with texts in columns 6 and 7")
    parser.add_argument("--n-texts", type=int, default=30)
    parser.add_argument("--n-pairs", type=int, default=30)
    parser.add_argument("--layers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--faithfulness-layers", type=int, nargs="+", default=[0])
    parser.add_argument("--parts", nargs="+", default=[*PARTS], choices=PARTS, help="others are kept in the record")
    parser.add_argument("--json", help="write the full record here")
    parser.add_argument("--child", type=int, nargs=2, help="tokens and layer; for the measurement of memory")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(*options.child)))
        return
    torch.set_num_threads(1)
    model, texts = load(), distinct_texts(options.texts, (6, 7), options.n_texts)
    pairs = pairs_of(options.texts, options.n_pairs)
    record: dict[str, Any] = {}
    if options.json and Path(options.json).exists():
        record = json.loads(Path(options.json).read_text(encoding="utf-8"))
    record |= {"options": settings(options), "environment": environment("cpu")}
    grid = [(layer, kinks) for kinks in ("freeze", "integrate") for layer in options.layers]
    accounts = [(layer, tolerance) for layer in options.layers for tolerance in (0.01, 0.001)]
    work = {
        "nodes": lambda: [nodes_of(model, texts, *each) for each in tqdm(grid, desc="nodes")],
        "account": lambda: [errors_of(model, pairs, *each) for each in tqdm(accounts, desc="account")],
        "memory": lambda: [in_own_process(__file__, ["--child", "512", str(layer)]) for layer in options.layers],
        "faithfulness": lambda: [row for layer in options.faithfulness_layers for row in compared(model, pairs, layer)],
    }
    for name in options.parts:
        record[name] = work[name]()
        write_json(options.json, record)
        print(f"\n{name}\n\n{shown(record[name])}")


if __name__ == "__main__":
    main()
