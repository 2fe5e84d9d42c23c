"""Accuracy of the estimated error of factors along a few directions, as used by rankings.

The directions are embeddings of other texts: one for highlights, the span of several as for pairs. The true error
‖V − V*‖ / ‖V*‖ is that of the projected factors, with V* of the same directions for a much smaller tolerance. Only
cases with a true error of at least three times the possible error of V* count. Estimates should exceed the true errors
in 95 % of them. Their scatter is largest for one direction.

    python benchmarks/projected_accuracy.py --texts sts-test.csv --cranfield FOLDER --models minilm mpnet \
        --json benchmarks/results/projected_accuracy.json
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import MODEL_HELP, distinct_texts, environment, path_of, settings, table, write_json
from ranking import abstracts, read_cranfield
from tqdm import tqdm

from xsbert import XSTransformer
from xsbert.factors.text_factors import ProjectedFactors

# How far above what the truth may err a true error has to be.
CERTAIN = 3


def projected(model: XSTransformer, texts: Sequence[str], spans: Sequence[np.ndarray], how: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.explainer(show_progress_bar=False, **how).projected(texts, spans)


def true_error(found: ProjectedFactors, exact: ProjectedFactors) -> float:
    """Of the directions of ``found``, the first of those of ``exact``."""
    truth = exact.factors[:, : found.factors.shape[1]]
    return float(np.linalg.norm(found.factors - truth) / np.linalg.norm(truth))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help="tab-separated file with texts in columns 6 and 7")
    parser.add_argument("--cranfield", type=Path, required=True, help="folder with cran.all.1400")
    parser.add_argument("--models", nargs="+", default=["minilm"], help=MODEL_HELP)
    parser.add_argument("--layers", type=int, nargs="+", default=[-2, -1])
    parser.add_argument("--directions", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--n-short", type=int, default=24)
    parser.add_argument("--n-long", type=int, default=6)
    parser.add_argument("--n-steps", type=int, nargs="*", default=[8], help="tried beside the default tolerance")
    parser.add_argument("--true-tolerance", type=float, default=2e-5, help="tolerance of V*")
    parser.add_argument("--json", help="write the full record here")
    options = parser.parse_args()
    record: dict[str, Any] = {"options": settings(options), "environment": environment("cpu"), "rows": []}
    documents, _ = read_cranfield(options.cranfield)
    short = distinct_texts(options.texts, (6, 7), options.n_short)
    ways: list[dict[str, Any]] = [{"tolerance": 0.01}, *({"n_steps": n} for n in options.n_steps)]
    for name in options.models:
        model = XSTransformer(path_of(name), device="cpu")
        for texts in (short, abstracts(documents, model, options.n_long)):
            others = model.encode(short)[: max(options.directions) + 1]
            # Another one first for each text, so that a text is not projected on itself.
            turned = [np.roll(others, 1 + place, axis=0)[: max(options.directions)] for place in range(len(texts))]
            spans = [np.linalg.qr(each.T.astype(float))[0].T for each in turned]
            for layer in tqdm(options.layers, desc=f"{Path(name).name}, {len(texts)} texts"):
                how = {"layer": layer, "tolerance": options.true_tolerance, "max_steps": 1024}
                exact = projected(model, texts, spans, how)
                for n_directions in options.directions:
                    first = [each[:n_directions] for each in spans]
                    for way in ways:
                        found = projected(model, texts, first, {"layer": layer, **way})
                        row = {
                            "model": Path(name).name,
                            "layer": layer,
                            "directions": n_directions,
                            "asked": way,
                            "texts": "short" if texts is short else "abstracts",
                            "stated": [each.factor_error for each in found],
                            "true": [true_error(*each) for each in zip(found, exact, strict=True)],
                            "stated of the truth": [each.factor_error for each in exact],
                            "nodes": [each.settings.n_steps for each in found],
                        }
                        record["rows"].append(row)
                write_json(options.json, record)
    kinds = itertools.product(options.directions, ("short", "abstracts"))
    print(table([summary(record["rows"], directions=n_directions, texts=texts) for n_directions, texts in kinds]))


def summary(rows: list[dict[str, Any]], **chosen: Any) -> dict[str, str]:
    """Of the rows that have these entries."""
    ratios = np.array(
        [
            stated / true
            for row in rows
            if all(row[name] == value for name, value in chosen.items())
            for stated, true, uncertain in zip(row["stated"], row["true"], row["stated of the truth"], strict=True)
            if true > CERTAIN * uncertain
        ]
    )
    known = {name: str(value) for name, value in chosen.items()} | {"cases": str(len(ratios))}
    if not len(ratios):
        return known
    return known | {
        "stated above true": f"{np.mean(ratios >= 1):.0%}",
        "above three times": f"{np.mean(ratios > 3):.0%}",
        "least, median, most": f"{ratios.min():.2f}, {np.median(ratios):.2f}, {ratios.max():.2f}",
    }


if __name__ == "__main__":
    main()
