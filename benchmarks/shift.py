"""Time cost of the reference shift: `encode` with and without it, in alternation.

    python benchmarks/shift.py MODEL TEXTS [--column N] [--json FILE]

TEXTS has tab-separated lines, as in the STS benchmark; texts are read from the given columns, 6 and 7 by default.
"cold" starts without a cached reference, "warm" has cached references of every length.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import path_of

from xsbert import XSTransformer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="minilm, mpnet, or an id or path")
    parser.add_argument("texts", type=Path, help="tab-separated file of texts")
    parser.add_argument("--column", type=int, nargs="+", default=[6, 7], help="columns that hold texts, from 1")
    parser.add_argument("--n-texts", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the result to this file, too")
    options = parser.parse_args()

    lines = [line.split("\t") for line in options.texts.read_text(encoding="utf-8").splitlines()]
    texts = [line[column - 1] for line in lines for column in options.column][: options.n_texts]
    path = path_of(options.model)
    unshifted = XSTransformer(path)
    shifted = XSTransformer(path, shift=True, reference="pad")

    def encode(model: XSTransformer) -> Callable[[], Any]:
        return lambda: model.encode(texts, batch_size=options.batch_size)

    def forget() -> None:
        shifted.train().eval()

    encode(unshifted)()
    seconds: dict[str, list[float]] = {"unshifted": [], "cold": [], "warm": []}
    for _ in range(options.repeats):
        seconds["unshifted"].append(measure(encode(unshifted)))
        forget()
        seconds["cold"].append(measure(encode(shifted)))
        seconds["warm"].append(measure(encode(shifted)))

    ratios = {
        name: statistics.median(a / b for a, b in zip(values, seconds["unshifted"], strict=True))
        for name, values in seconds.items()
    }
    report = {
        "model": options.model,
        "n_texts": len(texts),
        "batch_size": options.batch_size,
        "device": str(shifted.device),
        "machine": platform.processor() or platform.machine(),
        "n_threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "seconds": seconds,
        "ratio": ratios,
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"encode of {len(texts)} texts, batches of {options.batch_size}, {report['device']}")
    print(f"{'':12}{'seconds':>10}{'ratio':>8}")
    for name, values in seconds.items():
        print(f"{name:12}{statistics.median(values):>10.3f}{ratios[name]:>8.2f}")


def measure(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
