"""Convergence of a right Riemann sum, the rule of the published code, with the number of steps.

    python benchmarks/riemann.py --model mpnet --layers 10 6 --json benchmarks/results/riemann_mpnet.json

Computes the relative residual of N steps, ‖Σ ξ g − (f(x) − f(r))‖ / ‖f(x) − f(r)‖, for the texts of the other
benchmarks. It needs only the derivative along the path, which is the sum over all tokens.
"""

from __future__ import annotations

import argparse

import torch
from common import MODEL_HELP, TEXTS, environment, load, settings, table, write_json

from xsbert.engine.text_path import TextPath
from xsbert.integrated_jacobian import PathIntegrator
from xsbert.integrated_jacobian.rules import RULES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mpnet", help=MODEL_HELP)
    parser.add_argument("--layers", type=int, nargs="+", default=[10, 6])
    parser.add_argument("--n-steps", type=int, nargs="+", default=[50, 100, 200, 500])
    parser.add_argument("--texts", choices=sorted(TEXTS), default="short")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", help="write the full record here")
    options = parser.parse_args()
    model = load(options.model, options.device)
    results = [
        {"layer": layer, "text": text, **{str(n): residual(path, n) for n in options.n_steps}}
        for layer in options.layers
        for text in TEXTS[options.texts]
        for path in [model.explainer(layer=layer).path(text)]
    ]
    shown = [
        {key: f"{value:.3f}" if isinstance(value, float) else str(value) for key, value in row.items()}
        for row in results
    ]
    print(table(shown))
    write_json(
        options.json, {"options": settings(options), "environment": environment(options.device), "results": results}
    )


def residual(path: TextPath, n_steps: int) -> float:
    rule = RULES["riemann-right"](n_steps)
    derivatives = PathIntegrator(path.f, [path.x], [path.r]).derivatives([rule.nodes])[0].double().cpu()
    change = (path.f_x - path.f_r).double().cpu()
    return float((torch.from_numpy(rule.weights) @ derivatives - change).norm() / change.norm())


if __name__ == "__main__":
    main()
