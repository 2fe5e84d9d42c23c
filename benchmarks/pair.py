"""One pair: the published algorithm compared with `attribute_prediction`, each in its own process.

    python benchmarks/pair.py --model minilm --layer 4 --n-steps 8
    python benchmarks/pair.py --model mpnet --layer 10 --n-steps 5
    python benchmarks/pair.py --model minilm --layer 0 --texts short --n-published 500 --n-steps 32
    python benchmarks/pair.py --model mpnet --layer 6 --texts short --n-published 500 --skip "same rule" fixed

The published algorithm is implemented below: E reverse passes over a batch of N interpolated inputs, a right Riemann
sum, and the dense product of all feature pairs, summed over the features at the end. Its memory is that of the
published implementation: the gradients of every step until all outputs are done, once, and the differences x − r
repeated to the size of the feature pairs. For N = 500 and 9 tokens of MPNet the gradients alone take 10.6 GB. If they
do not fit, the script reports it before it begins. Both explain the same pair with the same shifted model, after a
warm-up on that pair. Short runs are repeated five times, and the median is reported. The last rows use the residual of
the published algorithm as tolerance, for equal error: in the model's dtype, and with products of derivatives in
bfloat16. The rounding of the latter is part of the residual. `--skip` omits slow rows.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from common import (
    MODEL_HELP,
    TEXTS,
    available_memory,
    counted_operations,
    environment,
    in_own_process,
    load,
    matrix_product_speed,
    peak_memory,
    settings,
    table,
    timed,
    write_json,
)
from torch import Tensor

from xsbert import XSTransformer
from xsbert.engine.reference import reference_features
from xsbert.engine.split_model import encoder_layers

SKIPPABLE = ("same rule", "fixed", "bfloat16")
ORDER = ("same rule", "fixed", "tolerance", "bfloat16")


def published_jacobian(model: XSTransformer, text: str, layer: int, n_steps: int) -> tuple[Tensor, ...]:
    """Integrated Jacobian (E, S, H) as published, the difference x − r, and the shifted embedding."""
    features = {name: value for name, value in model.preprocess([text]).items() if isinstance(value, Tensor)}
    features = {name: value.to(model.device) for name, value in features.items()}
    module = encoder_layers(model[0])[layer]
    hidden: dict[str, Tensor] = {}

    def embed(inputs: dict[str, Tensor]) -> Tensor:
        # The layers and the pooling of the model as they are, without its shift.
        states = model[0].model(**inputs).last_hidden_state
        return model[1]({"token_embeddings": states, "attention_mask": inputs["attention_mask"]})["sentence_embedding"]

    def run(inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        hook = module.register_forward_pre_hook(lambda _, args: hidden.update(state=args[0].detach()))
        try:
            with torch.no_grad():
                return embed(inputs)[0], hidden["state"]
        finally:
            hook.remove()

    f_x, x = run(features)
    f_r, r = run(reference_features(model.reference, features))
    alphas = torch.arange(1, n_steps + 1, device=x.device, dtype=x.dtype) / n_steps
    inputs = (r + alphas[:, None, None] * (x - r)).requires_grad_()
    hook = module.register_forward_pre_hook(lambda _, args: (inputs, *args[1:]))
    try:
        batch = {name: value.expand(n_steps, -1) for name, value in features.items()}
        embeddings = embed(batch)
    finally:
        hook.remove()
    n_outputs = embeddings.shape[1]
    gradients = inputs.new_empty(n_outputs, *inputs.shape)
    for output, row in enumerate(gradients):
        row.copy_(torch.autograd.grad(embeddings[:, output].sum(), inputs, retain_graph=True)[0])
    return gradients.div_(n_steps).sum(1), (x - r)[0], f_x - f_r


def check_fits(model: XSTransformer, texts: Sequence[str], n_steps: int) -> None:
    """Raise MemoryError where the gradients of all steps do not fit: the system might end the process instead."""
    n_tokens = max(len(model.preprocess([text])["input_ids"][0]) for text in texts)
    n_values = n_steps * n_tokens * model[0].get_embedding_dimension() * model[1].get_embedding_dimension()
    n_bytes, available = n_values * model.dtype.itemsize, available_memory(str(model.device))
    if available is not None and n_bytes > available:
        raise MemoryError(
            f"--n-published {n_steps} is too large: the published algorithm holds {n_bytes / 1e9:.1f} GB of gradients "
            f"alone, of {n_tokens} tokens, and {available / 1e9:.1f} GB are available"
        )


def published(model: XSTransformer, text_a: str, text_b: str, layer: int, n_steps: int) -> dict[str, Any]:
    """The token matrix of the published algorithm, and its error."""
    jacobian_a, difference_a, embedding_a = published_jacobian(model, text_a, layer, n_steps)
    jacobian_b, difference_b, embedding_b = published_jacobian(model, text_b, layer, n_steps)
    scale = embedding_a.norm() * embedding_b.norm()
    products = jacobian_a.flatten(1).T @ jacobian_b.flatten(1)
    left = difference_a.reshape(-1, 1).repeat(1, products.shape[1])
    right = difference_b.reshape(1, -1).repeat(products.shape[0], 1)
    pairs = (left * products * right / scale).reshape(*difference_a.shape, *difference_b.shape)
    matrix = pairs.sum((1, 3))
    score = float(embedding_a @ embedding_b / scale)
    residuals = [
        float(((jacobian * difference).sum((1, 2)) - embedding).norm() / embedding.norm())
        for jacobian, difference, embedding in (
            (jacobian_a, difference_a, embedding_a),
            (jacobian_b, difference_b, embedding_b),
        )
    ]
    return {
        "tokens": list(matrix.shape),
        "score": score,
        "error": abs(score - float(matrix.sum())),
        "residual": max(residuals),
        "matrix": matrix.tolist(),
    }


def ours(model: XSTransformer, text_a: str, text_b: str, layer: int, **accuracy: Any) -> dict[str, Any]:
    """The token matrix of this library, and its error."""
    out = model.attribute_prediction(text_a, text_b, layer=layer, **accuracy)
    return {
        "tokens": list(out.matrix.shape),
        "score": out.score,
        "error": out.error,
        "residual": max(out.residual_a, out.residual_b),
        "n_steps": [out.a.settings.n_steps, out.b.settings.n_steps],
        "matrix": out.matrix.tolist(),
    }


def child(options: argparse.Namespace) -> dict[str, Any]:
    how = {"reference": options.reference, "reference_positions": options.reference_positions}
    model = load(options.model, options.device, **how)
    texts = TEXTS[options.texts]
    if options.child == "published":
        check_fits(model, texts, options.n_published)
        published(model, *texts, options.layer, 2)
        seconds, result = timed(lambda: published(model, *texts, options.layer, options.n_published), options.device)
        return {**result, "seconds": seconds, "bytes": peak_memory(options.device)}
    accuracy = {
        "same rule": {"n_steps": options.n_published, "rule": "riemann-right"},
        "fixed": {"n_steps": options.n_steps},
        "tolerance": {"tolerance": options.tolerance},
        "bfloat16": {"tolerance": options.tolerance, "derivative_dtype": "bfloat16"},
    }[options.child]
    repeats = 1 if options.child == "same rule" else 5
    for _ in range(2):
        ours(model, *texts, options.layer, **(accuracy if repeats > 1 else {"n_steps": 8}))
    runs = [timed(lambda: ours(model, *texts, options.layer, **accuracy), options.device) for _ in range(repeats)]
    seconds, result = statistics.median(seconds for seconds, _ in runs), runs[0][1]
    memory = peak_memory(options.device)
    operations = sum(
        counted_operations(model, text, options.layer, n) for text, n in zip(texts, result["n_steps"], strict=True)
    )
    return {
        **result,
        "seconds": seconds,
        "bytes": memory,
        "operations": operations,
        "matrix product speed": matrix_product_speed(options.device),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="minilm", help=MODEL_HELP)
    parser.add_argument("--layer", type=int, default=4)
    parser.add_argument("--n-published", type=int, default=50, help="interpolation steps of the published algorithm")
    parser.add_argument("--n-steps", type=int, default=8, help="Gauss-Legendre nodes of attribute_prediction")
    parser.add_argument("--texts", choices=sorted(TEXTS), default="long", help="20 × 25 or 7 × 9 tokens")
    parser.add_argument("--tolerance", type=float, help="residual asked for in the last row (default: the published)")
    parser.add_argument("--skip", nargs="+", choices=SKIPPABLE, default=[], help="rows of the table to leave out")
    parser.add_argument("--reference", default="pad", help="reference token (default: %(default)s, as published)")
    parser.add_argument("--reference-positions", choices=("text", "padding"), help="padding is the published reference")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", help="write the full record here")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options)))
        return

    def run(name: str) -> dict[str, Any]:
        given = {key: value for key, value in vars(options).items() if key not in ("json", "child", "skip") and value}
        arguments = [f"--{key.replace('_', '-')}={value}" for key, value in given.items()]
        return in_own_process(__file__, [*arguments, f"--layer={options.layer}", f"--child={name}"])

    results = {"published": run("published")}
    base = results["published"]
    options.tolerance = options.tolerance or base["residual"]
    results.update({name: run(name) for name in ORDER if name not in options.skip})
    nodes = {name: results[name]["n_steps"] for name in ("tolerance", "bfloat16") if name in results}
    titles = {
        "published": f"published algorithm, N = {options.n_published}",
        "same rule": f"xsbert, same rule and N = {options.n_published}",
        "fixed": f"xsbert, {options.n_steps} Gauss-Legendre nodes",
        "tolerance": f"xsbert, tolerance {options.tolerance:.1e} ({' and '.join(map(str, nodes['tolerance']))} nodes)",
        "bfloat16": f"the same, derivatives in bfloat16 ({' and '.join(map(str, nodes.get('bfloat16', ())))} nodes)",
    }
    rows = [
        {
            f"{options.model}, layer {options.layer}, {base['tokens'][0]} × {base['tokens'][1]} tokens": titles[name],
            "seconds": f"{result['seconds']:.2f}",
            "× faster": f"{base['seconds'] / result['seconds']:.1f}",
            "peak memory": f"{result['bytes'] / 1e9:.2f} GB",
            "× less": f"{base['bytes'] / result['bytes']:.1f}",
            "error": f"{result['error']:.1e}",
            "residual": f"{result['residual']:.1e}",
            "of matrix-product speed": f"{_fraction(result):.0%}" if "operations" in result else "",
        }
        for name, result in results.items()
    ]
    print(table(rows))
    if "same rule" in results:
        difference = (torch.tensor(base["matrix"]) - torch.tensor(results["same rule"]["matrix"])).abs().max()
        print(f"\nLargest difference of the matrices under the same rule: {difference:.1e}")
    where = environment(options.device)
    print(f"\nfloat32, {', '.join(f'{name} {value}' for name, value in where.items())}")
    write_json(options.json, {"options": settings(options), "environment": where, "results": results})


def _fraction(result: dict[str, Any]) -> float:
    return result["operations"] / result["seconds"] / result["matrix product speed"]


if __name__ == "__main__":
    main()
