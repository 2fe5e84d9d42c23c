"""Check that a change of the code does not change numbers: record them before, compare them after.

    python benchmarks/recorded.py record before.npz
    python benchmarks/recorded.py compare before.npz

Records factors, nodes and estimated errors of both real models at every layer, with both references, in forward mode
(tokens and words) and in reverse mode (along directions, as for rankings and highlights). At the shallow layers of
all-mpnet-base-v2 some nodes are in float64. Also records feature pairs at one layer, and a ranking with passages.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator

import numpy as np
import torch
from common import load

from xsbert import XSTransformer

TEXTS = [
    "The coffee is bad.",
    "This is not a good coffee.",
    "Rain fell all night on the harbour.",
    "A lady takes a pair of small dogs along the old river bank on a cold morning.",
]
QUERY = "Who walks the dogs?"
DOCUMENT = " ".join(TEXTS[::-1])


def numbers(name: str, layers: list[int] | None) -> Iterator[tuple[str, np.ndarray]]:
    """Names and arrays of all that is recorded for a model."""
    for reference in ("unk", "pad"):
        model = load(name, shift=False, reference=reference)
        for layer in range(model.n_layers, -1, -1) if layers is None else layers:
            yield from of_layer(model, f"{name} {reference} {layer}", layer)
            print(f"{name} {reference} layer {layer}", file=sys.stderr)


def of_layer(model: XSTransformer, name: str, layer: int) -> Iterator[tuple[str, np.ndarray]]:
    quiet = {"layer": layer, "show_progress_bar": False}
    for units in ("tokens", "words"):
        for place, found in enumerate(model.text_factors(TEXTS, units=units, **quiet)):
            settings = found.settings
            yield f"{name} {units} {place}", found.factors
            told = [found.residual, found.factor_error, settings.n_steps, settings.n_looks, settings.n_float64]
            yield f"{name} {units} {place} told", np.array(told, dtype=float)
    directions = model.encode([QUERY, TEXTS[0]])
    explainer = model.explainer(**quiet)
    for place, found in enumerate(explainer.projected(TEXTS, [directions[:1], directions, directions[1:], directions])):
        yield f"{name} projected {place}", found.factors
        yield f"{name} projected {place} told", np.array([found.residual, found.factor_error, found.settings.n_steps])
    if layer == model.n_layers - 2:
        a, b = (model.explainer(layer=layer, n_steps=2, show_progress_bar=False).feature_pairs("Rain", "Wet"), None)
        yield f"{name} feature pairs {b}", a.astype(np.float32)[:, ::7, :, ::7]
        ranking = model.explain_ranking(QUERY, [DOCUMENT, TEXTS[3]], **quiet)
        for place, hit in enumerate(ranking):
            yield f"{name} hit {place}", np.array([hit.score, hit.error, *hit.contributions.ravel()], dtype=float)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("action", choices=["record", "compare"])
    parser.add_argument("file")
    parser.add_argument("--models", nargs="+", default=["minilm", "mpnet"])
    parser.add_argument("--layers", nargs="+", type=int, help="default: all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {key: value for name in options.models for key, value in numbers(name, options.layers)}
    if options.action == "record":
        np.savez_compressed(options.file, **found)
        digest = hashlib.sha256(b"".join(value.tobytes() for value in found.values())).hexdigest()
        print(f"{len(found)} arrays recorded, {digest[:16]}")
        return
    before = np.load(options.file)
    same, largest, different = 0, 0.0, []
    for key, value in found.items():
        if before[key].shape != value.shape:
            different.append(f"{key}: shape {before[key].shape} → {value.shape}")
        elif np.array_equal(before[key], value):
            same += 1
        else:
            gap = float(np.linalg.norm(value - before[key]) / np.linalg.norm(before[key]))
            largest = max(largest, gap)
            different.append(f"{key}: relative difference {gap:.1e}")
    print("\n".join(different))
    print(f"{same} of {len(found)} arrays equal to the last bit, largest relative difference {largest:.1e}")


if __name__ == "__main__":
    main()
