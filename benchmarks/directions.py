"""A short query and long passages: forward mode on both sides against the cheapest direction; and coarser units.

    python benchmarks/directions.py --json benchmarks/results/directions.json

`attribute_prediction` computes the factors of a long text from those of a short one by reverse mode if this is cheaper.
Here, every other run uses forward mode on both sides. The second table computes the longest passage's factors by
tokens, words and sentences. The number of nodes is fixed, so that only the direction varies. Both directions alternate
in one warm process, for up to three rounds. The ratio is the median of the rounds' ratios. Differences are those of the
matrices, with tokens summed to the same units.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
from common import MODEL_HELP, alternate, environment, load, settings, table, text_of, write_json

from xsbert import Attribution, XSTransformer
from xsbert.engine import batch_run as run
from xsbert.text.units import UNITS

QUERY_TOKENS = 8
BACKWARD_COST = run.BACKWARD_COST


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="minilm", help=MODEL_HELP)
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 32, 64, 128, 250], help="tokens of the passages")
    parser.add_argument("--layer", type=int, default=-2)
    parser.add_argument("--n-steps", type=int, default=4, help="Gauss-Legendre nodes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", help="write the full record here")
    options = parser.parse_args()

    model, device = load(options.model, options.device), options.device
    query = text_of(model, QUERY_TOKENS)
    accuracy = {"layer": options.layer, "n_steps": options.n_steps, "show_progress_bar": False}
    directions = [
        compare_directions(model, query, text_of(model, length), accuracy, device) for length in options.lengths
    ]
    units = compare_units(model, query, text_of(model, options.lengths[-1]), accuracy, device)

    where = f"{options.model}, layer {options.layer}, {options.n_steps} nodes"
    print(f"A query of {QUERY_TOKENS} tokens against a passage; {where}\n")
    print(table([direction_row(found) for found in directions]))
    print(f"\nFactors of the passage of {options.lengths[-1]} tokens; {where}\n")
    print(table([units_row(name, found) for name, found in units.items()]))
    machine = environment(device)
    print(f"\nfloat32, {', '.join(f'{name} {value}' for name, value in machine.items())}")
    record = {"options": settings(options), "environment": machine, "directions": directions, "units": units}
    write_json(options.json, record)


def compare_directions(
    model: XSTransformer, query: str, passage: str, accuracy: dict[str, Any], device: str
) -> dict[str, Any]:
    def explain(backward_cost: float, **changed: Any) -> Attribution:
        run.BACKWARD_COST = backward_cost
        out = model.attribute_prediction(query, passage, **{**accuracy, **changed})
        run.BACKWARD_COST = BACKWARD_COST
        return out

    works = {"forward": lambda: explain(float("inf")), "cheapest": lambda: explain(BACKWARD_COST)}
    for cost in (float("inf"), BACKWARD_COST):
        explain(cost, n_steps=1)
    seconds, outs = alternate(works, device, most=3, budget=15.0)
    return {
        "tokens": [len(outs["forward"].tokens_a), len(outs["forward"].tokens_b)],
        "reverse": outs["cheapest"].b.known_residual is not None,
        "seconds": seconds,
        "ratio": ratio(seconds["forward"], seconds["cheapest"]),
        "largest entry": float(np.abs(outs["forward"].matrix).max()),
        "largest difference": float(np.abs(outs["forward"].matrix - outs["cheapest"].matrix).max()),
        "residual": {name: out.residual_b for name, out in outs.items()},
    }


def compare_units(
    model: XSTransformer, query: str, passage: str, accuracy: dict[str, Any], device: str
) -> dict[str, dict[str, Any]]:
    def factors(units: str, **changed: Any) -> Any:
        return model.text_factors([passage], units=units, **{**accuracy, **changed})[0]

    works: dict[str, Callable[[], Any]] = {units: lambda units=units: factors(units) for units in UNITS}
    for units in UNITS:
        factors(units, n_steps=1)
    seconds, found = alternate(works, device, most=3, budget=15.0)
    (short,) = model.text_factors([query], **accuracy)
    similarity = model.similarity_fn_name
    by_tokens = Attribution.of(short, found["tokens"], similarity)
    summed = {"tokens": by_tokens, "words": by_tokens.over(b="words"), "sentences": by_tokens.over(b="sentences")}
    return {
        units: {
            "units": len(found[units].tokens),
            "seconds": seconds[units],
            "ratio": ratio(seconds["tokens"], seconds[units]),
            "largest difference": float(
                np.abs(Attribution.of(short, found[units], similarity).matrix - summed[units].matrix).max()
            ),
        }
        for units in UNITS
    }


def ratio(slower: list[float], faster: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(slower, faster, strict=True))


def direction_row(found: dict[str, Any]) -> dict[str, str]:
    return {
        "tokens of the passage": str(found["tokens"][1]),
        "forward on both sides, s": f"{statistics.median(found['seconds']['forward']):.2f}",
        "cheapest direction, s": f"{statistics.median(found['seconds']['cheapest']):.2f}",
        "passage by": "reverse mode" if found["reverse"] else "forward mode",
        "× faster": f"{found['ratio']:.1f}",
        "largest entry": f"{found['largest entry']:.1e}",
        "largest difference": f"{found['largest difference']:.1e}",
        "repeats": str(len(found["seconds"]["forward"])),
    }


def units_row(name: str, found: dict[str, Any]) -> dict[str, str]:
    return {
        "units": f"{found['units']} {name}",
        "seconds": f"{statistics.median(found['seconds']):.2f}",
        "× faster": f"{found['ratio']:.1f}",
        "largest difference": f"{found['largest difference']:.1e}",
        "repeats": str(len(found["seconds"])),
    }


if __name__ == "__main__":
    main()
