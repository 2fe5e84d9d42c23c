"""Number of nodes that suffices without probing the path: Gauss-Legendre and sinh-Gauss-Legendre.

For each model, layer, kind of text and number of nodes, the script reports the fraction of texts with a residual within
the tolerance, and the largest residual. The path is interpolated from values at Chebyshev points, one evaluation each.

    python benchmarks/first_nodes.py --texts sts-test.csv --cranfield FOLDER --models minilm mpnet \
        --json benchmarks/results/first_nodes.json
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import distinct_texts, environment, path_of, settings, table, write_json
from numpy.polynomial import chebyshev
from ranking import abstracts, read_cranfield
from tqdm import tqdm

from xsbert import XSTransformer
from xsbert.integrated_jacobian import PathIntegrator
from xsbert.integrated_jacobian.rules import Quadrature, quadrature, sinh_gauss_legendre

N_VALUES = 65
RULES: dict[str, Callable[[int], Quadrature]] = {
    "plain": lambda n: quadrature("gauss-legendre", n),
    "drawn": sinh_gauss_legendre,
}


def slopes_of(model: XSTransformer, layer: int, text: str) -> tuple[np.ndarray, np.ndarray]:
    """(K, E) Chebyshev coefficients of the derivative along the path, and (E,) the change from end to end."""
    path = model.explainer(layer=layer).path(text)
    points = (1 - np.cos(np.pi * np.arange(N_VALUES) / (N_VALUES - 1))) / 2
    values = PathIntegrator(path.f, [path.x], [path.r]).values([points])[0].double().numpy()
    coefficients = np.linalg.solve(chebyshev.chebvander(2 * points - 1, N_VALUES - 1), values)
    return 2 * chebyshev.chebder(coefficients), values[-1] - values[0]


def residuals(known: Sequence[tuple[np.ndarray, np.ndarray]], rule: Quadrature) -> np.ndarray:
    """Of each text."""
    found = [chebyshev.chebval(2 * rule.nodes - 1, slopes) @ rule.weights - change for slopes, change in known]
    return np.array(
        [np.linalg.norm(gap) / np.linalg.norm(change) for gap, (_, change) in zip(found, known, strict=True)]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help="tab-separated file with texts in columns 6 and 7")
    parser.add_argument("--cranfield", type=Path, required=True, help="folder with cran.all.1400")
    parser.add_argument("--models", nargs="+", default=["minilm", "mpnet"])
    parser.add_argument("--layers", type=int, nargs="+", default=[-2, -1])
    parser.add_argument("--n-short", type=int, default=24)
    parser.add_argument("--n-long", type=int, default=12)
    parser.add_argument("--nodes", type=int, nargs="+", default=[4, 5, 6, 7, 8, 9, 10, 12])
    parser.add_argument("--tolerance", type=float, default=0.01)
    parser.add_argument("--json", help="write the full record here")
    options = parser.parse_args()
    record: dict[str, Any] = {"options": settings(options), "environment": environment("cpu"), "rows": []}
    documents, _ = read_cranfield(options.cranfield)
    short = distinct_texts(options.texts, (6, 7), options.n_short)
    for name in options.models:
        model = XSTransformer(path_of(name), device="cpu")
        kinds = {"short": short, "abstracts": abstracts(documents, model, options.n_long)}
        for layer in options.layers:
            for kind, texts in kinds.items():
                with torch.no_grad():
                    known = [slopes_of(model, layer, text) for text in tqdm(texts, desc=f"{name} {layer} {kind}")]
                for rule, of in RULES.items():
                    found = {n: residuals(known, of(n)) for n in options.nodes}
                    row = {
                        "model": Path(name).name,
                        "layer": layer,
                        "texts": f"{len(texts)} {kind}",
                        "rule": rule,
                        "reached": {n: float((each <= options.tolerance).mean()) for n, each in found.items()},
                        "largest": {n: float(each.max()) for n, each in found.items()},
                    }
                    record["rows"].append(row)
                    write_json(options.json, record)
    shown = ("model", "layer", "texts", "rule")
    print(
        table(
            [
                {name: str(row[name]) for name in shown}
                | {str(n): f"{share:.0%}" for n, share in row["reached"].items()}
                for row in record["rows"]
            ]
        )
    )


if __name__ == "__main__":
    main()
