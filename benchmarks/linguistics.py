"""Contributions to a model's similarities: the analyses of both papers' pilot studies, with a figure for each.

    python benchmarks/linguistics.py MODEL TEXTS [--json FILE]

MODEL is "minilm", "mpnet", an id or a path. TEXTS has tab-separated lines with a human score in column --score and
texts in the two --columns, by default as in the STS benchmark. Parts of speech and relations are from spaCy.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from common import environment, load, settings, write_json

from xsbert.evaluation.linguistics.labels import spacy_labeller
from xsbert.evaluation.linguistics.probes import probe_negation, probe_opposites
from xsbert.evaluation.linguistics.tables import (
    contributions,
    cumulative_share,
    kept_by_label,
    kept_correlation,
    lexical_bias,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help='"minilm", "mpnet", a model id or a local path')
    parser.add_argument("texts", type=Path, help="tab-separated file of pairs of texts with scores")
    parser.add_argument("--columns", type=int, nargs=2, default=(6, 7), help="columns of the two texts, from 1")
    parser.add_argument("--score", type=int, default=5, help="column of the score, from 1")
    parser.add_argument("--n-pairs", type=int, default=300)
    parser.add_argument("--max-characters", type=int, default=70, help="of each text")
    parser.add_argument("--references", nargs="+", default=["unk", "pad"])
    parser.add_argument("--shift", action="store_true", help="of the exact model, shifted by the reference")
    parser.add_argument("--layer", type=int, default=-2)
    parser.add_argument("--tolerance", type=float, default=0.05)
    parser.add_argument("--json", help="write the full record here")
    options = parser.parse_args()

    lines = [line.split("\t") for line in options.texts.read_text(encoding="utf-8").splitlines()]
    found = [
        (*(line[column - 1].strip() for column in options.columns), float(line[options.score - 1])) for line in lines
    ]
    short = [row for row in found if max(len(row[0]), len(row[1])) <= options.max_characters]
    chosen = [short[place] for place in np.linspace(0, len(short) - 1, options.n_pairs).astype(int)]
    pairs, scores = [row[:2] for row in chosen], [row[2] for row in chosen]
    labeller = spacy_labeller()
    record = {}
    for reference in options.references:
        model = load(options.model, shift=options.shift, reference=reference)
        how = {"layer": options.layer, "tolerance": options.tolerance}
        tokens = list(model.explain_pairs(pairs, **how))
        words = [result.words() for result in tokens]
        tables = {
            "share": cumulative_share(tokens),
            "strongest pairs": kept_correlation(tokens, scores),
            "parts of speech": kept_by_label(words, scores, labeller),
            "labels": contributions(words, labeller, "label"),
            "pairs of labels": contributions(words, labeller, "pair"),
            "relations": contributions(words, labeller, "relation"),
            "same word": lexical_bias(words),
            "negation": probe_negation(model, **how),
            "opposites": probe_opposites(model, **how),
        }
        print(f"reference {reference}\n", *tables.values(), sep="\n\n", flush=True)
        record[reference] = {name: each.to_dict() for name, each in tables.items()}
        environment_of = environment(str(model.device))
    write_json(
        options.json,
        {
            "options": settings(options) | {"model": Path(options.model).name},
            "environment": environment_of,
            "tables": record,
        },
    )


if __name__ == "__main__":
    main()
