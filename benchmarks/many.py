"""Many texts: `explain_matrix` on n × m texts compared with one `attribute_prediction` per pair.

    python benchmarks/many.py --texts sts-test.csv --columns 6 7 --json benchmarks/results/many.json

Single pairs are timed on an evenly spaced sample of the n × m pairs: one half before `explain_matrix` and the other
half after, so that both run under the same conditions. Both compute the matrix and the error of every result. The ratio
is that of the seconds for all n × m pairs.

Both place the same nodes, so their matrices agree up to rounding, closer than either agrees with the exact integral.
The script fails if an entry differs by more than 1e-4. In some pairs one text is 1.5 times as long as the other; for
these `attribute_prediction` uses the cheaper direction, reverse mode.

TEXTS has tab-separated lines; its distinct texts are evenly spaced in the file and mixed.
"""

from __future__ import annotations

import argparse
import random
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import MODEL_HELP, distinct_texts, environment, load, settings, table, timed, write_json

from xsbert import Attribution, XSTransformer

LARGEST_DIFFERENCE = 1e-4

Pairs = list[tuple[int, int]]


def one_by_one(
    model: XSTransformer, queries: list[str], documents: list[str], pairs: Pairs, accuracy: dict[str, Any], device: str
) -> tuple[list[float], list[Attribution]]:
    """Seconds of each pair, and the results."""

    def explain(i: int, j: int) -> Attribution:
        return complete(model.attribute_prediction(queries[i], documents[j], show_progress_bar=False, **accuracy))

    runs = [timed(lambda pair=pair: explain(*pair), device) for pair in pairs]
    return [seconds for seconds, _ in runs], [out for _, out in runs]


def all_at_once(
    model: XSTransformer, queries: list[str], documents: list[str], keep: Pairs, accuracy: dict[str, Any]
) -> dict[tuple[int, int], Attribution]:
    """Compute every result; keep some."""
    kept, wanted = {}, set(keep)
    for i, j, out in model.explain_matrix(queries, documents, show_progress_bar=False, **accuracy):
        complete(out)
        if (i, j) in wanted:
            kept[i, j] = out
    return kept


def complete(out: Attribution) -> Attribution:
    """Matrix and error are computed when they are first read."""
    assert np.isfinite(out.matrix).all()
    assert np.isfinite(out.error)
    return out


@dataclass(frozen=True)
class Measured:
    """Seconds and results of both ways."""

    before: list[float]
    """Of each pair that was explained by itself before `explain_matrix`."""
    after: list[float]
    """The same after it."""
    matrix: float
    """Of `explain_matrix`, all pairs together."""
    outs: dict[tuple[int, int], Attribution]
    """Pairs of the sample, explained one at a time."""
    kept: dict[tuple[int, int], Attribution]
    """The same pairs out of `explain_matrix`."""

    @property
    def per_pair(self) -> float:
        return statistics.mean(self.before + self.after)

    def comparison(self) -> dict[str, Any]:
        """How the results of both ways differ, and how good they are."""
        outs, kept = self.outs, self.kept
        return {
            "pairs in reverse mode": sum(
                out.a.known_residual is not None or out.b.known_residual is not None for out in outs.values()
            ),
            "largest difference": max(float(np.abs(outs[pair].matrix - kept[pair].matrix).max()) for pair in outs),
            "same nodes": all(nodes(outs[pair]) == nodes(kept[pair]) for pair in outs),
            "largest residual": max(max(out.residual_a, out.residual_b) for out in [*outs.values(), *kept.values()]),
        }


def nodes(out: Attribution) -> tuple[int, int]:
    return out.a.settings.n_steps, out.b.settings.n_steps


def measure(
    model: XSTransformer, queries: list[str], documents: list[str], sample: Pairs, options: argparse.Namespace
) -> Measured:
    """Both ways, after each has run once on a few pairs."""
    accuracy, device = {"layer": options.layer, "tolerance": options.tolerance}, options.device
    one_by_one(model, queries, documents, sample[:3], accuracy, device)
    all_at_once(model, queries[:2], documents[:2], [], accuracy)
    before, outs_before = one_by_one(model, queries, documents, sample[::2], accuracy, device)
    matrix, kept = timed(lambda: all_at_once(model, queries, documents, sample, accuracy), device)
    after, outs_after = one_by_one(model, queries, documents, sample[1::2], accuracy, device)
    outs = dict(zip(sample[::2] + sample[1::2], outs_before + outs_after, strict=True))
    return Measured(before, after, matrix, outs, kept)


def report(found: Measured, options: argparse.Namespace) -> str:
    """The table and what is to be known with it."""
    n_pairs, per_pair, sample = options.n * options.m, found.per_pair, len(found.outs)
    title = f"{options.n} × {options.m} texts, {options.model}, layer {options.layer}, tolerance {options.tolerance:g}"
    rows = [
        {
            title: f"one pair at a time ({sample} pairs, × {n_pairs})",
            "per pair": f"{per_pair:.4f} s",
            "all pairs": f"{per_pair * n_pairs:.0f} s",
            "× faster": "1.0",
        },
        {
            title: "explain_matrix",
            "per pair": f"{found.matrix / n_pairs:.4f} s",
            "all pairs": f"{found.matrix:.1f} s",
            "× faster": f"{per_pair * n_pairs / found.matrix:.1f}",
        },
    ]
    compared = found.comparison()
    return (
        f"{table(rows)}\n"
        f"\nMean seconds of a pair: {statistics.mean(found.before):.3f} before explain_matrix, "
        f"{statistics.mean(found.after):.3f} after; {compared['pairs in reverse mode']} of {sample} pairs in reverse "
        f"mode.\nLargest difference of the matrices: {compared['largest difference']:.1e} (allowed: "
        f"{LARGEST_DIFFERENCE:g}), same nodes: {'yes' if compared['same nodes'] else 'no'}, "
        f"largest residual {compared['largest residual']:.1e}"
    )


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help="tab-separated file of texts")
    parser.add_argument("--columns", type=int, nargs="+", default=[6, 7], help="columns that hold texts, from 1")
    parser.add_argument("--model", default="minilm", help=MODEL_HELP)
    parser.add_argument("--n", type=int, default=100, help="queries")
    parser.add_argument("--m", type=int, default=100, help="documents")
    parser.add_argument("--n-pairs", type=int, default=30, help="pairs timed one at a time")
    parser.add_argument("--layer", type=int, default=-2)
    parser.add_argument("--tolerance", type=float, default=1e-2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", help="write the full record here")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    model = load(options.model, options.device)
    texts = distinct_texts(options.texts, options.columns, options.n + options.m)
    random.Random(0).shuffle(texts)
    queries, documents = texts[: options.n], texts[options.n :]
    n_pairs = options.n * options.m
    places = np.linspace(0, n_pairs - 1, min(options.n_pairs, n_pairs)).astype(int)
    found = measure(model, queries, documents, [divmod(int(place), options.m) for place in places], options)
    print(report(found, options))
    where = environment(options.device)
    print(f"float32, {', '.join(f'{name} {value}' for name, value in where.items())}")
    compared = found.comparison()
    record = {
        "options": settings(options),
        "environment": where,
        "seconds": {"pairs before": found.before, "pairs after": found.after, "explain_matrix": found.matrix},
        "tokens": {
            "queries": [len(model[0].tokenizer(text)["input_ids"]) for text in queries],
            "documents": [len(model[0].tokenizer(text)["input_ids"]) for text in documents],
        },
        "ratio": found.per_pair * n_pairs / found.matrix,
        **compared,
    }
    write_json(options.json, record)
    if compared["largest difference"] > LARGEST_DIFFERENCE:
        raise SystemExit("the matrices of both ways differ by more than rounding")


if __name__ == "__main__":
    main()
