"""Accuracy of the estimated error of the factors by text length, on random texts.

    python benchmarks/accuracy_by_length.py --texts sts-test.tsv:6,7 passages.tsv:1 --models minilm mpnet \
        --seed 3 --json benchmarks/results/accuracy_by_length.json

For each model, reference, layer and band of lengths, the script computes the factors of random texts for the default
tolerance and compares their true error ‖V − V*‖ / ‖V*‖ with the estimate. V* is computed by the model in float64 with
a rule of twice the nodes on each subinterval, plus two. Estimates should exceed the true errors in 95 % of cases of
every cell, by at most a factor of three.

The seed determines the texts, which are the same for all cells of a band. The script processes text by text over all
cells, so an interrupted run has about equally many texts in each cell. It writes the record after each text; the same
command resumes it. --minutes limits the run time. Cells with fewer than 95 % are listed at the end.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from common import MODEL_HELP, environment, load, settings, table, write_json

from xsbert import XSTransformer
from xsbert.engine.integration import placements
from xsbert.engine.options import Options
from xsbert.integrated_jacobian import token_factors

BANDS = ("8-15", "16-23", "24-31", "32-63", "64-128")
WANTED, WIDEST = 0.95, 3.0
CHUNK = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", nargs="+", required=True, help="tab-separated FILE:COLUMNS, columns from 1")
    parser.add_argument("--bands", nargs="+", default=BANDS, help="fewest and most tokens, special tokens included")
    parser.add_argument("--n-texts", type=int, nargs="+", default=[200], help="of each band, or one number for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", nargs="+", default=["minilm"], help=MODEL_HELP)
    parser.add_argument("--references", nargs="+", default=["unk", "pad"])
    parser.add_argument("--layers", type=int, nargs="+", default=[-1, -2])
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no text after so many")
    parser.add_argument("--json", help="write the full record here, and go on from what it holds")
    options = parser.parse_args()

    numbers = options.n_texts * (len(options.bands) if len(options.n_texts) == 1 else 1)
    if len(numbers) != len(options.bands):
        parser.error(f"--n-texts must be one number or one for each of {len(options.bands)} bands, got {len(numbers)}")
    texts = all_texts(options.texts)
    known = settings(options) | {
        "texts": [Path(each).name for each in options.texts],
        "models": [Path(name).name for name in options.models],
    }
    cases = recorded(options.json, known)
    done = {key(case) for case in cases}
    end = time.monotonic() + 60 * options.minutes
    models = {pair: load(pair[0], shift=False, reference=pair[1]) for pair in cells(options.models, options.references)}
    fine = {pair: load(pair[0], shift=False, reference=pair[1]).double() for pair in models}
    drawn = {
        name: [
            draw(models[name, options.references[0]], texts, band, number, options.seed)
            for band, number in zip(options.bands, numbers, strict=True)
        ]
        for name in options.models
    }
    for turn in range(max(numbers)):
        for name, layer, reference in cells(options.models, options.layers, options.references):
            for band, number, chosen in zip(options.bands, numbers, drawn[name], strict=True):
                # Bands of few texts have theirs spread over all turns.
                place, after = (number * each // max(numbers) for each in (turn, turn + 1))
                if place == after or place >= len(chosen) or time.monotonic() > end:
                    continue
                what = {"model": Path(name).name, "layer": layer, "reference": reference, "band": band, "text": place}
                if key(what) not in done:
                    cases.append(what | measured(models[name, reference], fine[name, reference], chosen[place], layer))
        write_json(options.json, {"options": known, "environment": environment("cpu"), "cases": cases})
        if time.monotonic() > end:
            break
    report(cases)


def cells(*names: Iterable[Any]) -> Iterable[tuple[Any, ...]]:
    return itertools.product(*names)


def key(case: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(case[name] for name in ("model", "layer", "reference", "band", "text"))


def all_texts(files: Iterable[str]) -> list[str]:
    """Distinct texts of the columns of tab-separated files."""
    found: dict[str, None] = {}
    for each in files:
        name, _, columns = each.rpartition(":")
        lines = [line.split("\t") for line in Path(name).read_text(encoding="utf-8").splitlines()]
        found.update(dict.fromkeys(line[int(column) - 1].strip() for line in lines for column in columns.split(",")))
    return [text for text in found if text]


def draw(model: XSTransformer, texts: list[str], band: str, number: int, seed: int) -> list[str]:
    """Random texts of a band; all that there are, where these are fewer."""
    low, high = map(int, band.split("-"))
    order = random.Random(seed).sample(texts, len(texts))
    lengths = (len(model.tokenizer(text)["input_ids"]) for text in order)
    return [text for text, length in zip(order, lengths, strict=True) if low <= length <= high][:number]


def recorded(path: str | None, known: dict[str, Any]) -> list[dict[str, Any]]:
    """The cases of a record by the same seed and texts; none where there is no record."""
    if path is None or not Path(path).exists():
        return []
    record = json.loads(Path(path).read_text(encoding="utf-8"))
    for name in ("texts", "seed"):
        if record["options"][name] != known[name]:
            raise ValueError(f"{Path(path).name} has {name} {record['options'][name]!r}, asked for is {known[name]!r}")
    return record["cases"]


def measured(model: XSTransformer, fine: XSTransformer, text: str, layer: int) -> dict[str, Any]:
    """Stated and true error of one text, and what its factors took."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (out,) = model.text_factors([text], layer=layer)
    assert out.settings is not None
    path = model.explainer(layer=layer).path(text)
    (placed,) = placements([path], Options(show_progress_bar=False))
    exactly, rule = fine.explainer(layer=layer).path(text), placed.finer(max(placed.orders) + 2)
    how = {"chunk_size": CHUNK, "show_progress_bar": False}
    exact = token_factors(exactly.f, exactly.x, exactly.r, rule, **how).cpu().numpy()
    size, change = np.linalg.norm(exact), (exactly.f_x - exactly.f_r).cpu().numpy()
    return {
        "tokens": len(out.tokens),
        "nodes": out.settings.n_steps,
        "subintervals": len(placed.orders),
        "float64": out.settings.n_float64,
        "looks": out.settings.n_looks,
        "residual": out.residual,
        "stated": out.factor_error,
        "true": float(np.linalg.norm(out.factors - exact) / size),
        # What V* misses of the sum, by the same measure.
        "truth misses": float(np.linalg.norm(exact.sum(0) - change) / size),
    }


def report(cases: list[dict[str, Any]]) -> None:
    """Stated over true error by cell, and which cells do not have what is wanted."""
    found: dict[tuple[str, int, str], dict[str, list[float]]] = {}
    for case in cases:
        bands = found.setdefault((case["model"], case["layer"], case["reference"]), {})
        bands.setdefault(case["band"], []).append(case["stated"] / case["true"] if case["true"] else 1.0)
    names = sorted({case["band"] for case in cases}, key=lambda band: int(band.split("-")[0]))
    rows = [
        {"model, layer, reference": ", ".join(map(str, what)), **{name: cell(bands.get(name, [])) for name in names}}
        for what, bands in found.items()
    ]
    print("Stated over true error by tokens: texts, above the truth, above three times, least and most\n")
    print(table(rows) if rows else "no cases")
    low = [
        f"{', '.join(map(str, what))}, {band}"
        for what, bands in found.items()
        for band, ratios in bands.items()
        if np.mean(np.array(ratios) >= 1) < WANTED
    ]
    print(f"\nAbove the truth in fewer than {WANTED:.0%} of texts: {'; '.join(low) or 'no cell'}")


def cell(ratios: list[float]) -> str:
    """Number of texts, shares above one and above `WIDEST`, and the range of what is stated over what is true."""
    if not ratios:
        return ""
    values = np.array(ratios)
    shares = f"{np.mean(values >= 1):.1%}, {np.mean(values > WIDEST):.1%}"
    return f"{len(values)}: {shares}, {values.min():.2f} to {values.max():.2f}"


if __name__ == "__main__":
    main()
