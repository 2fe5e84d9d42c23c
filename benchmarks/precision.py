"""Speed-up and error of lower precision in the products of derivatives.

    python benchmarks/precision.py --model mpnet --layers 10 --json benchmarks/results/precision_mpnet.json

The script computes token factors of one text with the same Gauss-Legendre nodes, alternating in a warm process:
products of derivatives in the model's float32; with `derivative_dtype` in bfloat16, and on CUDA in float16; and on CUDA
in float32 with TF32, a setting of torch for the whole process (`torch.set_float32_matmul_precision("high")`). The error
is ‖V − V*‖ / ‖V*‖, with V* from the same nodes in float64, so it is due to rounding alone. The residual reported by the
library, due to rounding and integration, is printed beside it.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from common import MODEL_HELP, TEXTS, alternate, environment, load, settings, table, write_json

from xsbert import XSTransformer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="minilm", help=MODEL_HELP)
    parser.add_argument("--layers", type=int, nargs="+", default=[0, 4])
    parser.add_argument("--n-steps", type=int, default=16, help="Gauss-Legendre nodes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", help="write the full record here")
    options = parser.parse_args()

    model, text = load(options.model, options.device), TEXTS["long"][1]
    results = {layer: compare(model, text, layer, options.n_steps, options.device) for layer in options.layers}
    for layer, found in results.items():
        head = f"{options.model}, layer {layer}, {options.n_steps} nodes"
        print(table([{head: name, **row(found, name)} for name in found]) + "\n")
    where = environment(options.device)
    print(f"{', '.join(f'{name} {value}' for name, value in where.items())}")
    write_json(options.json, {"options": settings(options), "environment": where, "results": results})


def compare(model: XSTransformer, text: str, layer: int, n_steps: int, device: str) -> dict[str, dict[str, Any]]:
    def factors(**precision: Any) -> Any:
        return model.text_factors([text], layer=layer, n_steps=n_steps, show_progress_bar=False, **precision)[0]

    def with_tf32() -> Any:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            return factors()
        finally:
            torch.set_float32_matmul_precision(before)

    works: dict[str, Callable[[], Any]] = {
        "float32": factors,
        "bfloat16": lambda: factors(derivative_dtype="bfloat16"),
    }
    if device.startswith("cuda"):
        works |= {"float16": lambda: factors(derivative_dtype="float16"), "tf32": with_tf32}
    for work in works.values():
        work()
    seconds, found = alternate(works, device)
    exact = model.double().text_factors([text], layer=layer, n_steps=n_steps, show_progress_bar=False)[0].factors
    model.float()
    return {
        name: {
            "seconds": seconds[name],
            "error": float(np.linalg.norm(result.factors - exact) / np.linalg.norm(exact)),
            "residual": result.residual,
        }
        for name, result in found.items()
    }


def row(found: dict[str, dict[str, Any]], name: str) -> dict[str, str]:
    first, this = found["float32"], found[name]
    faster = statistics.median(a / b for a, b in zip(first["seconds"], this["seconds"], strict=True))
    return {
        "seconds": f"{statistics.median(this['seconds']):.3f}",
        "× faster": f"{faster:.2f}",
        "error of rounding": f"{this['error']:.1e}",
        "residual": f"{this['residual']:.1e}",
    }


if __name__ == "__main__":
    main()
