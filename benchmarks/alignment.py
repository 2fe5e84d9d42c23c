"""Agreement of matrices with chunks aligned by annotators (interpretable STS of SemEval 2016).

    python benchmarks/alignment.py MODEL FILE.wa [FILE.wa ...] [--json FILE]

MODEL is "minilm", "mpnet", an id or a path. For each method and layer, the numbers of words, as they are and
double-centred, are reduced to gold chunks by each aggregation. Scores are average precision, AUC and the F1 of mutual
best links. The recall by kind of link is that of the best row of each method.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from common import environment, load, settings, table, write_json

from xsbert.evaluation.gold_alignments import AGGREGATIONS, GoldPair, read_ists, score_alignments, word_matrix
from xsbert.evaluation.methods import explain_with
from xsbert.models import XSTransformer

LAYERED = ("integrated", "integrated + main effects", "layer cosines")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help='"minilm", "mpnet", a model id or a local path')
    parser.add_argument("files", type=Path, nargs="+", help="gold alignments")
    parser.add_argument("--n-pairs", type=int, default=100)
    parser.add_argument("--max-characters", type=int, default=70, help="of each text")
    parser.add_argument("--layers", type=int, nargs="+", default=[-2], help="of methods that have one")
    parser.add_argument("--others", nargs="*", default=["products", "cosines", "static cosines", "lexical", "random"])
    parser.add_argument("--json", help="write the full record here")
    options = parser.parse_args()

    model = load(options.model, shift=False, reference="unk")
    gold = [pair for file in options.files for pair in read_ists(file)]
    short = [pair for pair in gold if max(len(pair.text_a), len(pair.text_b)) <= options.max_characters and pair.links]
    gold = [short[place] for place in np.linspace(0, len(short) - 1, options.n_pairs).astype(int)]
    wanted = [(name, layer) for layer in options.layers for name in LAYERED]
    rows = [
        row
        for name, layer in [*wanted, *((name, None) for name in options.others)]
        for row in scored(model, gold, name, layer)
    ]
    shown = [
        {
            key: f"{value:.3f}" if isinstance(value, float) else str(value)
            for key, value in row.items()
            if key != "kinds"
        }
        for row in rows
    ]
    print(table(shown))
    write_json(
        options.json,
        {
            "options": settings(options)
            | {"model": Path(options.model).name, "files": [file.name for file in options.files]},
            "environment": environment(str(model.device)),
            "rows": rows,
        },
    )


def scored(model: XSTransformer, gold: list[GoldPair], name: str, layer: int | None) -> list[dict[str, Any]]:
    """One row for each aggregation, as it is and double-centred."""
    pairs = [(pair.text_a, pair.text_b) for pair in gold]
    chosen = {} if layer is None else {"layer": layer}
    results = explain_with(name, model, pairs, units="tokens", tolerance=0.05, **chosen)
    plain = [word_matrix(result, pair) for result, pair in zip(results, gold, strict=True)]
    centred = [each - each.mean(0) - each.mean(1, keepdims=True) + each.mean() for each in plain]
    rows = []
    for view, matrices in (("as it is", plain), ("double-centred", centred)):
        for aggregation in AGGREGATIONS:
            scores = asdict(score_alignments(gold, matrices, aggregation))
            error = float(np.std(scores["per_pair"]) / np.sqrt(scores["n_pairs"]))
            rows.append(
                {
                    "method": name if layer is None else f"{name}, layer {results[0].settings.layer}",
                    "view": view,
                    "aggregation": aggregation,
                    "AP": scores["average_precision"],
                    "± of AP": 1.96 * error,
                    "AUC": scores["auc"],
                    "F1": scores["f1"],
                    "pairs": scores["n_pairs"],
                    "skipped": scores["n_skipped"],
                    "kinds": scores["recall_by_kind"],
                }
            )
    return rows


if __name__ == "__main__":
    main()
