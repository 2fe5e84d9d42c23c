"""Explanations of a static model: pairs a second, error against the model's own similarities, and memory.

    python benchmarks/static.py MODEL [--n-queries 1000] [--n-documents 1000] [--json FILE]

MODEL is the folder of a static model, or "distil" to make one from the packaged all-MiniLM-L6-v2 by model2vec, which
takes a minute or two. The texts are random words of 5 to 14, so that none occurs twice.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from common import environment, path_of, peak_memory, settings, timed, write_json
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from xsbert import XSTransformer

WORDS = [
    *("the", "a", "man", "woman", "dog", "cat", "plays", "guitar", "eats", "food", "runs", "fast", "slowly", "kitchen"),
    *("street", "bicycle", "red", "blue", "ocean", "mountain", "music", "child", "reads", "book", "writes", "letter"),
    *("police", "bank", "money", "river", "train", "unpacked", "refrigerator", "weather", "coffee", "cold"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help='folder of a static model, or "distil"')
    parser.add_argument("--n-queries", type=int, default=1000)
    parser.add_argument("--n-documents", type=int, default=1000)
    parser.add_argument("--json", help="write the full record here")
    options = parser.parse_args()

    torch.set_num_threads(1)
    if options.model == "distil":
        table = StaticEmbedding.from_distillation(path_of("minilm"), device="cpu")
        model = XSTransformer.wrap(SentenceTransformer(modules=[table], device="cpu"))
    else:
        model = XSTransformer(options.model, device="cpu")
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, rng.integers(5, 15))) for _ in range(options.n_queries + options.n_documents)]
    queries, documents = texts[: options.n_queries], texts[options.n_queries :]
    similarities = model.similarity(model.encode(queries), model.encode(documents)).double().numpy()
    before = peak_memory("cpu")
    seconds_of_factors, _ = timed(lambda: model.text_factors(texts, show_progress_bar=False), "cpu")
    seconds, worst = timed(lambda: largest_error(model, queries, documents, similarities), "cpu")
    record = {
        "pairs": len(queries) * len(documents),
        "seconds": seconds,
        "seconds of factors": seconds_of_factors,
        "pairs per second": len(queries) * len(documents) / seconds,
        "largest error": worst,
        "memory added (MB)": (peak_memory("cpu") - before) / 1e6,
        "vocabulary": model[0].num_embeddings,
        "dimensions": model[0].embedding_dim,
    }
    print("\n".join(f"{name}: {value:.4g}" for name, value in record.items()))
    write_json(
        options.json,
        {
            "options": settings(options) | {"model": Path(options.model).name},
            "environment": environment("cpu"),
            **record,
        },
    )


def largest_error(model: XSTransformer, queries: list[str], documents: list[str], similarities: np.ndarray) -> float:
    """The largest difference between a matrix's sum and the model's similarity. Each matrix is computed."""
    cells = model.explain_matrix(queries, documents, show_progress_bar=False)
    return max(abs(float(out.matrix.sum()) - similarities[i, j]) for i, j, out in cells)


if __name__ == "__main__":
    main()
