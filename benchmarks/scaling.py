"""Cost of one text's token factors by text length, number of differentiated layers, and width.

    python benchmarks/scaling.py --json benchmarks/results/scaling.json

The number of Gauss-Legendre nodes is fixed, so that only the size varies: 8, but 2 for texts of 256 and 1 for texts of
512 tokens. From 64 tokens on, a node fills at least one batch, so the time is proportional to the number of nodes, and
seconds per node are comparable.

- Length: the packaged all-MiniLM-L6-v2 at layer −2, the default; each length in its own process, for its peak memory.
- Layers: the same model at all its layers, from the last hidden state down to the embeddings, 32 tokens.
- Width: BERT models of two layers with random weights, at layer 0, 32 tokens.

A warm-up precedes all timings. Layers alternate in one process, and widths in another. Times are medians of up to five
rounds, fewer for slow cases.
"""

from __future__ import annotations

import argparse
import json
import statistics
from typing import Any

from common import (
    alternate,
    counted_operations,
    environment,
    in_own_process,
    load,
    matrix_product_speed,
    peak_memory,
    random_model,
    settings,
    table,
    text_of,
    write_json,
)
from transformers import BertConfig

from xsbert import XSTransformer

LENGTHS = (8, 16, 32, 64, 128, 256, 512)
WIDTHS = (128, 256, 384, 512, 768)
N_STEPS = 8
FEWER_STEPS = {256: 2, 512: 1}
# A warm-up as long as this has seen every code path; longer texts would only repeat it.
WARM_TOKENS = 128


def child(axis: str, value: int, device: str) -> list[dict[str, Any]]:
    """Cells measured in this process."""
    if axis == "length":
        model = load("minilm", device)
        model.max_seq_length = 512
        cells = {value: (model, text_of(model, value), model.n_layers - 2, FEWER_STEPS.get(value, N_STEPS))}
        factors(model, text_of(model, min(value, WARM_TOKENS)), model.n_layers - 2, 1)
    elif axis == "layers":
        model = load("minilm", device)
        cells = {
            n_layers: (model, text_of(model, 32), model.n_layers - n_layers, N_STEPS)
            for n_layers in range(model.n_layers + 1)
        }
    else:
        models = {width: random_bert(width, device) for width in WIDTHS}
        cells = {width: (model, text_of(model, 32), 0, N_STEPS) for width, model in models.items()}
    if axis != "length":
        for cell in cells.values():
            factors(*cell)

    works = {str(value): lambda cell=cell: factors(*cell) for value, cell in cells.items()}
    seconds, results = alternate(works, device, budget=10.0 if axis == "length" else 25.0)
    memory, speed = peak_memory(device), matrix_product_speed(device)
    return [
        {
            axis: value,
            "tokens": len(results[str(value)].tokens),
            "layer": layer,
            "n_steps": n_steps,
            "residual": results[str(value)].residual,
            "seconds": seconds[str(value)],
            "operations": counted_operations(model, text, layer, n_steps),
            "matrix product speed": speed,
            **({"bytes": memory} if axis == "length" else {}),
        }
        for value, (model, text, layer, n_steps) in cells.items()
    ]


def random_bert(width: int, device: str) -> XSTransformer:
    config = BertConfig(
        hidden_size=width, num_hidden_layers=2, num_attention_heads=width // 64, intermediate_size=4 * width
    )
    return random_model(config, device)


def factors(model: XSTransformer, text: str, layer: int, n_steps: int) -> Any:
    return model.text_factors([text], layer=layer, n_steps=n_steps, show_progress_bar=False)[0]


def row(axis: str, cell: dict[str, Any]) -> dict[str, str]:
    seconds = statistics.median(cell["seconds"])
    speed = cell["operations"] / seconds / cell["matrix product speed"]
    memory = {"peak memory": f"{cell['bytes'] / 1e9:.2f} GB"} if "bytes" in cell else {}
    return {
        axis: str(cell[axis]),
        "nodes": str(cell["n_steps"]),
        "seconds": f"{seconds:.3f}",
        "per node": f"{seconds / cell['n_steps']:.3f}",
        **memory,
        "operations per node": f"{cell['operations'] / cell['n_steps'] / 1e9:.1f}e9",
        "of matrix-product speed": f"{speed:.0%}" if cell["operations"] else "",
        "repeats": str(len(cell["seconds"])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="in tokens, special tokens included")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", help="write the full record here")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        axis, value = options.child
        print(json.dumps(child(axis, int(value), options.device)))
        return

    def run(axis: str, value: int = 0) -> list[dict[str, Any]]:
        return in_own_process(__file__, [f"--device={options.device}", "--child", axis, str(value)])

    results = {
        "length": [cell for length in options.lengths for cell in run("length", length)],
        "layers": run("layers"),
        "width": run("width"),
    }
    titles = {
        "length": "Length of the text in tokens; all-MiniLM-L6-v2, layer 4 of 6",
        "layers": "Layers differentiated through; all-MiniLM-L6-v2, 32 tokens",
        "width": "Hidden size; BERT of two layers with random weights, layer 0, 32 tokens",
    }
    for axis, cells in results.items():
        print(f"{titles[axis]}\n\n{table([row(axis, cell) for cell in cells])}\n")
    where = environment(options.device)
    print(f"float32, {', '.join(f'{name} {value}' for name, value in where.items())}")
    write_json(options.json, {"options": settings(options), "environment": where, "results": results})


if __name__ == "__main__":
    main()
