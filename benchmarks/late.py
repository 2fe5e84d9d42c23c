"""Late interaction: a head over all-MiniLM-L6-v2, trained for minutes, then nodes and errors of its account.

    python benchmarks/late.py --cranfield FOLDER --json benchmarks/results/late.json

The model is a `MultiVectorEncoder` of the layers of all-MiniLM-L6-v2 with a projection to 128 numbers, trained by the
trainer of sentence-transformers for one epoch: titles of Cranfield documents are queries, their abstracts without the
title are documents. Every sixth document is held out. Ranking is that of held-out abstracts for held-out titles, before
and after training, with chance beside it. Nodes and errors are those of held-out titles and the first words of their
abstracts; the error of the account is the difference between the sum of the four parts and `model.similarity`, relative
to the similarity.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import environment, path_of, settings, table, write_json
from datasets import Dataset
from sentence_transformers import (
    MultiVectorEncoder,
    MultiVectorEncoderTrainer,
    MultiVectorEncoderTrainingArguments,
)
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.multi_vector_encoder.losses import MultiVectorMultipleNegativesRankingLoss
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import nn

import xsbert

WIDTH, HELD_OUT, WORDS = 128, 6, 24


def read_pairs(folder: Path) -> list[tuple[str, str]]:
    """Titles and abstracts of Cranfield, without the title that abstracts begin with."""
    found = []
    content = (folder / "cran.all.1400").read_text(encoding="latin-1")
    for block in re.split(r"^\.I \d+\s*$", content, flags=re.MULTILINE)[1:]:
        parts = re.split(r"^\.([TABW])\s*$", block, flags=re.MULTILINE)
        record = {name: " ".join(text.split()) for name, text in zip(parts[1::2], parts[2::2], strict=True)}
        title, abstract = record.get("T", ""), record.get("W", "").removeprefix(record.get("T", "")).strip()
        if title and len(abstract.split()) >= WORDS:
            found.append((title, abstract))
    return found


def new_model(seed: int) -> MultiVectorEncoder:
    """The layers behind an orthogonal projection."""
    torch.manual_seed(seed)
    first = Transformer(path_of("minilm"), document_length=128)
    states = "token_embeddings"
    head = Dense(first.get_embedding_dimension(), WIDTH, False, nn.Identity(), module_input_name=states)
    nn.init.orthogonal_(head.linear.weight)
    return MultiVectorEncoder(modules=[first, head, MultiVectorMask(), Normalize(states)], device="cpu")


def train(model: MultiVectorEncoder, pairs: list[tuple[str, str]], seed: int) -> None:
    """One epoch, with the other documents of a batch as negatives."""
    titles, texts = zip(*pairs, strict=True)
    with tempfile.TemporaryDirectory() as folder:
        arguments = MultiVectorEncoderTrainingArguments(
            output_dir=folder,
            num_train_epochs=1,
            per_device_train_batch_size=16,
            learning_rate=5e-5,
            warmup_steps=10,
            max_length={"query": 32, "document": 96},
            logging_steps=10,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            seed=seed,
        )
        MultiVectorEncoderTrainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_dict({"query": list(titles), "document": list(texts)}),
            loss=MultiVectorMultipleNegativesRankingLoss(model),
        ).train()
    model.eval()


def ranking_of(model: MultiVectorEncoder, pairs: list[tuple[str, str]], name: str) -> dict[str, Any]:
    """The place of each title's own abstract among all of them."""
    titles, texts = (list(side) for side in zip(*pairs, strict=True))
    scores = model.similarity(model.encode_query(titles), model.encode_document(texts)).numpy()
    places = 1 + (scores > np.diag(scores)[:, None]).sum(1)
    return {"model": name, "first": float((places == 1).mean()), "reciprocal rank": float((1 / places).mean())}


def chance(n_documents: int) -> dict[str, Any]:
    return {
        "model": "chance",
        "first": 1 / n_documents,
        "reciprocal rank": float((1 / np.arange(1, n_documents + 1)).mean()),
    }


def account_of(model: Any, pairs: list[tuple[str, str]], layer: int, tolerance: float) -> dict[str, Any]:
    """Nodes of pairs and errors of their accounts."""
    results = list(
        model.explain_pairs(
            pairs, task=("query", "document"), layer=layer, tolerance=tolerance, show_progress_bar=False
        )
    )
    sides = [list(side) for side in zip(*pairs, strict=True)]
    scores = model.similarity_pairwise(model.encode_query(sides[0]), model.encode_document(sides[1])).numpy()
    errors = [abs(sum(out.parts.values()) - score) / score for out, score in zip(results, scores, strict=True)]
    steps = [out.settings.n_steps for out in results]
    return {
        "layer": layer,
        "tolerance": tolerance,
        "nodes, median": float(np.median(steps)),
        "nodes, most": max(steps),
        "error, median": float(np.median(errors)),
        "error, largest": float(max(errors)),
        "residual, largest": max(max(out.residual_a, out.residual_b) for out in results),
        "interactions, share of the score": float(np.median([out.matrix.sum() / out.score for out in results])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cranfield", type=Path, required=True, help="folder with cran.all.1400")
    parser.add_argument("--pairs", type=int, default=8, help="pairs for nodes and errors")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="folder for the trained model")
    parser.add_argument("--json", help="file for the record")
    options = parser.parse_args()
    pairs = read_pairs(options.cranfield)
    held_out = pairs[::HELD_OUT]
    rest = [pair for place, pair in enumerate(pairs) if place % HELD_OUT]
    model = new_model(options.seed)
    rankings = [chance(len(held_out)), ranking_of(model, held_out, "untrained")]
    start = time.perf_counter()
    train(model, rest, options.seed)
    seconds = time.perf_counter() - start
    rankings.append(ranking_of(model, held_out, "trained"))
    if options.save:
        model.save_pretrained(str(options.save), create_model_card=False)
    print(table([{key: str(value)[:6] for key, value in each.items()} for each in rankings]), flush=True)
    short = [(title, " ".join(text.split()[:WORDS])) for title, text in held_out if len(title.split()) <= 12]
    short = [short[place] for place in np.linspace(0, len(short) - 1, options.pairs).astype(int)]
    wrapped = xsbert.wrap(model)
    grid = [(-2, 0.01), (-2, 0.001), (0, 0.01)]
    accounts = [account_of(wrapped, short, layer, tolerance) for layer, tolerance in grid]
    print(table([{key: f"{value:.3g}" for key, value in each.items()} for each in accounts]))
    write_json(
        options.json,
        {
            "environment": environment("cpu"),
            "settings": settings(options),
            "n_trained": len(rest),
            "n_held_out": len(held_out),
            "seconds of training": round(seconds),
            "ranking": rankings,
            "account": accounts,
        },
    )


if __name__ == "__main__":
    main()
