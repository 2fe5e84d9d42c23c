"""Faithfulness of integrated Jacobians and other methods. The table of docs/background/faithfulness.md.

    python benchmarks/faithfulness.py MODEL TEXTS [--json FILE]

MODEL is "minilm", "mpnet", an id or a path. TEXTS has tab-separated lines with one text in each of the two --columns,
by default as in the STS benchmark. Pairs of texts of up to --max-characters are evenly spaced in the file. The script
runs `xsbert.faithfulness` over methods and layers, and integrated Jacobians at one layer with other references.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import environment, load, settings, write_json

import xsbert
from xsbert.evaluation.faithfulness.table import Faithfulness
from xsbert.evaluation.methods import METHODS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help='"minilm", "mpnet", a model id or a local path')
    parser.add_argument("texts", type=Path, help="tab-separated file of pairs of texts")
    parser.add_argument("--columns", type=int, nargs=2, default=(6, 7), help="columns of the two texts, from 1")
    parser.add_argument("--n-pairs", type=int, default=100)
    parser.add_argument("--max-characters", type=int, default=70, help="of each text")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument(
        "--layers", type=int, nargs="+", help="of integrated Jacobians; the first is the other methods'"
    )
    parser.add_argument("--reference", default="unk")
    parser.add_argument("--references", nargs="*", default=["pad", "mask"], help="others, at the first layer")
    parser.add_argument("--budget", type=int, default=4096, help="coalitions of a text, for Shapley interactions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="write the full record here")
    options = parser.parse_args()

    model = load(options.model, shift=False)
    pairs = pairs_of(options.texts, options.columns, options.n_pairs, options.max_characters)
    layers = [-2] if options.layers is None else options.layers
    start = time.perf_counter()
    tables = {"methods and layers": measure(model, pairs, options, options.methods, layers, [options.reference])}
    seconds = {"methods and layers": round(time.perf_counter() - start, 1)}
    if options.references:
        start = time.perf_counter()
        found = measure(model, pairs, options, ["integrated"], layers[:1], options.references)
        tables["references"] = found
        seconds["references"] = round(time.perf_counter() - start, 1)
    write_json(
        options.json,
        {
            "options": settings(options) | {"model": Path(options.model).name},
            "environment": environment(str(model.device)),
            "seconds": seconds,
            "tables": {name: table.to_dict() for name, table in tables.items()},
        },
    )


def measure(
    model: Any,
    pairs: list[tuple[str, str]],
    options: argparse.Namespace,
    methods: list[str],
    layers: Any,
    references: Any,
) -> Faithfulness:
    """One call, printed."""
    how = {"methods": methods, "layers": layers, "references": references, "budget": options.budget}
    print(xsbert.cost_of_faithfulness(model, pairs, **how), flush=True)
    table = xsbert.faithfulness(model, pairs, **how, seed=options.seed)
    print(table, flush=True)
    return table


def pairs_of(file: Path, columns: tuple[int, int], n_pairs: int, most: int) -> list[tuple[str, str]]:
    """Pairs of texts that are not too long, spread evenly over the file."""
    lines = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    pairs = [tuple(line[column - 1].strip() for column in columns) for line in lines]
    short = [pair for pair in pairs if max(map(len, pair)) <= most]
    return [short[place] for place in np.linspace(0, len(short) - 1, n_pairs).astype(int)]


if __name__ == "__main__":
    main()
