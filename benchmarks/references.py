"""Comparison of reference tokens by their effect on a model's scores and on the parts of the scores.

    python benchmarks/references.py MODEL TEXTS [--json FILE]

MODEL is "minilm", "mpnet", an id or a path. TEXTS has tab-separated lines with one text in each of the two --columns,
and a human score in --score-column, by default as in the STS benchmark. Nothing is trained. The script measures

- `shift_cost` on the pairs of the file: the agreement of scores with the human ones, with and without the shift by each
  reference. Only this part uses human scores, and --score-column 0 omits it;
- `choose_reference` on all pairs of some distinct texts, and on the pairs of the file, which are more similar;
- for pairs of the file that are not too long, with the original model: the medians of the four parts of the score, the
  fraction of negative cells between words, and their median size relative to the largest cell.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from common import distinct_texts, environment, load, settings, table, write_json

from xsbert import XSTransformer, choose_reference, shift_cost
from xsbert.text.units import TEXT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help='"minilm", a model id or a local path')
    parser.add_argument("texts", type=Path, help="tab-separated file of pairs of texts")
    parser.add_argument("--columns", type=int, nargs=2, default=(6, 7), help="columns of the two texts, from 1")
    parser.add_argument("--score-column", type=int, default=5, help="column of the human score, from 1; 0 for none")
    parser.add_argument("--n-texts", type=int, default=400, help="distinct texts of which all pairs are scored")
    parser.add_argument("--n-pairs", type=int, default=50, help="pairs that are explained")
    parser.add_argument("--max-characters", type=int, default=70, help="of each text that is explained")
    parser.add_argument("--json", help="write the full record here")
    options = parser.parse_args()

    model = load(options.model, shift=False)
    lines = [line.split("\t") for line in options.texts.read_text(encoding="utf-8").splitlines()]
    pairs = [tuple(line[column - 1].strip() for column in options.columns) for line in lines]
    texts = distinct_texts(options.texts, options.columns, options.n_texts)
    cost = None
    if options.score_column:
        scores = [float(line[options.score_column - 1]) for line in lines]
        cost = shift_cost(model, *zip(*pairs, strict=True), scores)
        print(f"{cost}\n", flush=True)
    flat = [text for pair in pairs for text in pair]
    chosen = {
        f"all pairs of {len(texts)} texts": choose_reference(model, texts),
        "the pairs of the file": choose_reference(model, flat, pairs=[(i, i + 1) for i in range(0, len(flat), 2)]),
    }
    for name, choice in chosen.items():
        print(f"{name}\n{choice}\nbest: {choice.best.reference}\n", flush=True)

    short = [pair for pair in pairs if max(map(len, pair)) <= options.max_characters]
    short = [short[place] for place in np.linspace(0, len(short) - 1, options.n_pairs).astype(int)]
    tokens = [row.reference for row in chosen["the pairs of the file"].rows]
    split = [parts(model, short, token) for token in tokens]
    print(
        table(
            [{name: value if name == "reference" else f"{value:.2f}" for name, value in row.items()} for row in split]
        )
    )
    write_json(
        options.json,
        {
            "options": settings(options) | {"model": Path(options.model).name},
            "environment": environment(str(model.device)),
            "chosen": {name: asdict(choice) for name, choice in chosen.items()},
            "parts": split,
            "shift cost": cost and asdict(cost),
        },
    )


def parts(model: XSTransformer, pairs: list[tuple[str, str]], reference: str) -> dict[str, Any]:
    """Medians over pairs, of a model that is not shifted."""
    results = list(model.explain_pairs(pairs, reference=reference))
    row = {"reference": reference, "score": statistics.median(result.score for result in results)}
    for name in results[0].parts:
        row[name] = statistics.median(result.parts[name] for result in results)
    cells = [words_of(result.matrix, result.a.roles, result.b.roles) for result in results]
    row["negative cells"] = float(np.mean(np.concatenate(cells) < 0))
    row["median cell, of the largest"] = statistics.median(np.median(np.abs(c)) / np.abs(c).max() for c in cells)
    return row


def words_of(matrix: np.ndarray, roles_a: tuple[str, ...], roles_b: tuple[str, ...]) -> np.ndarray:
    """The cells of words with words, in one row."""
    a, b = (np.array([role == TEXT for role in roles]) for roles in (roles_a, roles_b))
    return matrix[np.ix_(a, b)].ravel()


if __name__ == "__main__":
    main()
