"""Time saved by deferred derivatives of linear layers in forward and reverse mode.

See `xsbert/engine/autodiff/deferred_linear.py`.

    python benchmarks/waiting.py --model minilm --layers 5 4 --json benchmarks/results/waiting_minilm.json
    python benchmarks/waiting.py --model mpnet --layers 11 10 --tokens 25 --json benchmarks/results/waiting_mpnet.json

Full nodes of one text are computed with deferred and with immediate derivatives, alternating in one warm process. The
ratio is the median of the rounds' ratios. Times are process times, not wall-clock times, so other work on the machine
matters less: use one thread. Differences are those of the factors, relative to the largest.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from common import MODEL_HELP, environment, load, settings, table, text_of, write_json
from torch import Tensor
from torch.utils.flop_counter import flop_registry

from xsbert import XSTransformer
from xsbert._utils.torch_internals import TorchDispatchMode
from xsbert.engine.autodiff import forward_rules as derivatives
from xsbert.integrated_jacobian import projected_factors, token_factors
from xsbert.integrated_jacobian.rules import quadrature

REVERSE = "reverse mode along"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="minilm", help=MODEL_HELP)
    parser.add_argument("--layers", type=int, nargs="+", default=[5, 4])
    parser.add_argument("--tokens", type=int, nargs="+", default=[12, 50], help="lengths of the texts")
    parser.add_argument("--directions", type=int, nargs="+", default=[1, 20], help="in reverse mode")
    parser.add_argument("--n-steps", type=int, default=5, help="Gauss-Legendre nodes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="write the full record here")
    options = parser.parse_args()

    model = load(options.model, shift=False)
    found = [compare(model, layer, n_tokens, options) for layer in options.layers for n_tokens in options.tokens]
    for way in found[0]["ways"]:
        print(f"{options.model}, {way}, {options.n_steps} nodes: times faster, and times fewer operations\n")
        print(table([row(layer, way, found) for layer in options.layers]), "\n")
    print("A pass of reverse mode, in passes of forward mode (one beside the directions, and beside the tokens)\n")
    print(table([cost_row(case, options.directions) for case in found]), "\n")
    print(f"Differences at most {max(way['difference'] for case in found for way in case['ways'].values()):.1e}")
    where = environment("cpu")
    print(f"float32, {', '.join(f'{name} {value}' for name, value in where.items())}")
    write_json(options.json, {"options": settings(options), "environment": where, "found": found})


def row(layer: int, way: str, found: list[dict[str, Any]]) -> dict[str, str]:
    cases = [case for case in found if case["layer"] == layer]
    ways = {f"{case['tokens']} tokens": case["ways"][way] for case in cases}
    return {"layer": f"{layer}", **{title: ratios(found) for title, found in ways.items()}}


def cost_row(case: dict[str, Any], directions: list[int]) -> dict[str, str]:
    def seconds(way: str) -> float:
        return statistics.median(waiting for waiting, _ in case["ways"][way]["seconds"])

    forward = seconds("forward mode") / (case["tokens"] + 1)
    costs = {f"{n} directions": f"{seconds(f'{REVERSE} {n}') / (n + 1) / forward:.2f}" for n in directions}
    return {"layer": f"{case['layer']}, {case['tokens']} tokens", **costs}


def ratios(found: dict[str, Any]) -> str:
    fewer, more = found["operations"]
    return f"{found['ratio']:.2f}, {more / fewer:.2f}"


def compare(model: XSTransformer, layer: int, n_tokens: int, options: argparse.Namespace) -> dict[str, Any]:
    path = model.explainer(layer=layer).path(text_of(model, n_tokens))
    rule = quadrature("gauss-legendre", options.n_steps)
    directions = torch.randn(max(options.directions), len(path.f_x), generator=torch.Generator().manual_seed(0))

    def forward(f: Callable[[Tensor], Tensor]) -> Tensor:
        return token_factors(f, path.x, path.r, rule, show_progress_bar=False)

    def reverse(f: Callable[[Tensor], Tensor], n_directions: int) -> Tensor:
        return projected_factors(f, path.x, path.r, rule, directions[:n_directions], show_progress_bar=False)

    works = {"forward mode": forward}
    for n_directions in options.directions:
        works[f"{REVERSE} {n_directions}"] = lambda f, n=n_directions: reverse(f, n)
    return {
        "layer": layer,
        "tokens": len(path.x),
        "ways": {name: side_by_side(work, path.f, options.rounds) for name, work in works.items()},
    }


def side_by_side(
    work: Callable[[Callable[[Tensor], Tensor]], Tensor], f: Callable[[Tensor], Tensor], n_rounds: int
) -> dict[str, Any]:
    def waiting() -> Tensor:
        return work(f)

    def at_once() -> Tensor:
        # A plain function has no `moved`.
        with patch.object(derivatives, "step", lambda *_: NotImplemented):
            return work(lambda hidden: f(hidden))

    operations = [counted(waiting), counted(at_once)]
    difference = (waiting() - at_once()).abs().max() / at_once().abs().max()
    seconds = [(processor_time(waiting), processor_time(at_once)) for _ in range(n_rounds)]
    return {
        "seconds": seconds,
        "operations": operations,
        "ratio": statistics.median(slow / fast for fast, slow in seconds),
        "difference": float(difference),
    }


class Counted(TorchDispatchMode):
    """Operations of matrix products, without the hooks on modules of torch's own counter, which look at gradients."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.total += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=found)
        return found


def counted(work: Callable[[], Any]) -> int:
    with Counted() as operations:
        work()
    return operations.total


def processor_time(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
