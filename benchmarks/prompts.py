"""Prompts in the reference, replaced like the text or kept: what is left for words, and what deletion says.

    python benchmarks/prompts.py MODEL TEXTS [--prompts "query: " "passage: "] [--n-pairs 30] [--json FILE]

MODEL is "minilm", "mpnet", an id or a path. TEXTS has tab-separated lines with one text in each of the two --columns,
by default as in the STS benchmark. Each pair is explained as query and document with the prompts. For both settings of
``reference_prompt`` the script reports means over pairs, the same pairs for both:

- the parts of the score, and of the interactions those between words of the two texts;
- the correlation of the words' interactions with second-order effects of deletion, c(a,b) − c(a∖s,b) − c(a,b∖t) +
  c(a∖s,b∖t), where words are taken out of the text and the prompt stays;
- the correlation of the words' total effects with first-order effects of deletion, c(a,b) − c(a∖s,b).

The differences of the correlations have 95 % bootstrap intervals over pairs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from common import environment, load, settings, table, write_json

from xsbert import Attribution, XSTransformer
from xsbert.text.units import TEXT

SETTINGS = ("replace", "keep")
CORRELATIONS = ("second-order deletion", "first-order deletion")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help='"minilm", "mpnet", a model id or a local path')
    parser.add_argument("texts", type=Path, help="tab-separated file of pairs of texts")
    parser.add_argument("--columns", type=int, nargs=2, default=(6, 7), help="columns of the two texts, from 1")
    parser.add_argument("--prompts", nargs=2, default=("query: ", "passage: "), help="of the first and second texts")
    parser.add_argument("--layer", type=int, default=-2)
    parser.add_argument("--n-pairs", type=int, default=30)
    parser.add_argument("--max-characters", type=int, default=60, help="of each text")
    parser.add_argument("--json", help="write the full record here")
    options = parser.parse_args()

    model = load(options.model, shift=False, reference="unk")
    lines = [line.split("\t") for line in options.texts.read_text(encoding="utf-8").splitlines()]
    pairs = [tuple(line[column - 1].strip() for column in options.columns) for line in lines]
    short = [pair for pair in pairs if max(map(len, pair)) <= options.max_characters and pair[0] != pair[1]]
    short = [short[place] for place in np.linspace(0, len(short) - 1, options.n_pairs).astype(int)]
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in SETTINGS}
    for pair in short:
        effects = None
        for name in SETTINGS:
            out = model.attribute_prediction(
                *pair, prompt=tuple(options.prompts), layer=options.layer, reference_prompt=name
            ).words()
            effects = deletions(model, out, options.prompts) if effects is None else effects
            rows[name].append(measured(out, *effects))
    means = {name: {key: float(np.nanmean([row[key] for row in own])) for key in own[0]} for name, own in rows.items()}
    print(
        table(
            [
                {"reference_prompt": name, **{key: f"{value:.3f}" for key, value in means[name].items()}}
                for name in SETTINGS
            ]
        )
    )
    gaps = {
        name: gap([row[name] for row in rows["keep"]], [row[name] for row in rows["replace"]]) for name in CORRELATIONS
    }
    for name, (mean, low, high) in gaps.items():
        print(f"{name}: keep minus replace {mean:+.3f}, from {low:+.3f} to {high:+.3f}")
    write_json(
        options.json,
        {
            "options": settings(options) | {"model": Path(options.model).name},
            "environment": environment(str(model.device)),
            "means": means,
            "keep minus replace": gaps,
            "pairs": rows,
        },
    )


def words_of(out: Attribution) -> tuple[list[int], list[int]]:
    """Positions of the words of both texts, without prompts and special tokens."""
    a, b = ([at for at, role in enumerate(side.roles) if role == TEXT] for side in (out.a, out.b))
    return a, b


def measured(out: Attribution, second: np.ndarray, first: np.ndarray) -> dict[str, float]:
    """Parts and correlations of one pair."""
    a, b = words_of(out)
    cells = out.matrix[np.ix_(a, b)]
    of_a, of_b = ([effect.value for effect in side] for side in out.word_effects())
    effects = [of_a[at] for at in a] + [of_b[at] for at in b]
    return {
        "score": out.score,
        **out.parts,
        "words with words": float(cells.sum()),
        CORRELATIONS[0]: float(np.corrcoef(cells.ravel(), second.ravel())[0, 1]),
        CORRELATIONS[1]: float(np.corrcoef(effects, first)[0, 1]),
    }


def deletions(model: XSTransformer, out: Attribution, prompts: Any) -> tuple[np.ndarray, np.ndarray]:
    """Second-order effects (S, T) and first-order effects (S + T,) of taking words out of the texts."""
    found = []
    for side, prompt, places in zip((out.a, out.b), prompts, words_of(out), strict=True):
        start, text = len(side.prompt), side.text[len(side.prompt) :]
        spans = [side.spans[at] for at in places] if side.spans else []
        edited = [text] + [without(text, begin - start, end - start) for begin, end in spans]
        found.append(model.encode(edited, prompt=prompt, normalize_embeddings=True).astype(float))
    scores = found[0] @ found[1].T
    second = scores[0, 0] - scores[1:, :1] - scores[:1, 1:] + scores[1:, 1:]
    first = np.concatenate([scores[0, 0] - scores[1:, 0], scores[0, 0] - scores[0, 1:]])
    return second, first


def without(text: str, start: int, end: int) -> str:
    """The text without some of its characters, and without double spaces. One word alone is left."""
    return " ".join((text[:start] + text[end:]).split()) or text


def gap(keep: list[float], replace: list[float]) -> tuple[float, float, float]:
    """The mean difference with its interval."""
    differences = np.array(keep) - np.array(replace)
    differences = differences[np.isfinite(differences)]
    rng = np.random.default_rng(0)
    means = rng.choice(differences, (2000, len(differences))).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(differences.mean()), float(low), float(high)


if __name__ == "__main__":
    main()
