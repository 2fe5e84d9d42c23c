"""Rankings: cost of highlights and pairs, agreement of the order with the search, and faithfulness of highlights.

    python benchmarks/ranking.py --cranfield FOLDER --json benchmarks/results/ranking_minilm.json

The folder has the Cranfield collection as `cran.all.1400`, `cran.qry`, `cranqrel`. The deletion test removes the fifth
of a document's words that a method ranks highest, encodes the remaining text, and measures the decrease of the model's
score. Baselines are random words, the query's terms by BM25 weight and then others by idf, products of the last hidden
states with the query's embedding, and the highest idf.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import environment, path_of, settings, table, write_json
from sentence_transformers import util
from tqdm import tqdm

from xsbert import XSTransformer
from xsbert.ranking.explain import Request, best_documents
from xsbert.ranking.hit import Hit

PARTS = ("cost", "order", "deletion")
# Of the first queries whose order is compared all hits are explained, of the others the best one, which is cheap.
SEVERAL_HITS = 20
WORD = re.compile(r"\w+")
TAKEN = 0.2
K1, B = 1.2, 0.75


def read_cranfield(folder: Path) -> tuple[list[str], list[str]]:
    """Abstracts and queries; two abstracts are empty and left out."""
    documents = [record.get("W", "") for record in _records(folder / "cran.all.1400")]
    queries = [record["W"] for record in _records(folder / "cran.qry")]
    return [text for text in documents if text.strip()], queries


def _records(path: Path) -> list[dict[str, str]]:
    found = []
    for block in re.split(r"^\.I \d+\s*$", path.read_text(encoding="latin-1"), flags=re.MULTILINE)[1:]:
        parts = re.split(r"^\.([TABW])\s*$", block, flags=re.MULTILINE)
        found.append({name: " ".join(text.split()) for name, text in zip(parts[1::2], parts[2::2], strict=True)})
    return found


def abstracts(documents: Sequence[str], model: XSTransformer, n_texts: int) -> list[str]:
    """Those of 150 to 250 tokens, spread evenly over the collection."""
    lengths = [len(model.tokenizer(text, truncation=False)["input_ids"]) for text in documents]
    fitting = [text for text, length in zip(documents, lengths, strict=True) if 150 <= length <= 250]
    return [fitting[place] for place in np.linspace(0, len(fitting) - 1, n_texts).astype(int)]


class Statistics:
    """What term weights need to know of a collection."""

    def __init__(self, documents: Sequence[str]) -> None:
        terms = [terms_of(text) for text in documents]
        counts = Counter(term for each in terms for term in set(each))
        self.n_documents = len(documents)
        self.mean_length = float(np.mean([len(each) for each in terms]))
        self.counts = counts

    def idf(self, term: str) -> float:
        n = self.counts.get(term, 0)
        return math.log(1 + (self.n_documents - n + 0.5) / (n + 0.5))

    def bm25(self, term: str, document: Sequence[str]) -> float:
        n = document.count(term)
        return self.idf(term) * n * (K1 + 1) / (n + K1 * (1 - B + B * len(document) / self.mean_length))


def terms_of(text: str) -> list[str]:
    return [word.lower() for word in WORD.findall(text)]


def words_of(hit: Hit) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Words of letters and digits that the model saw, and the sums of the contributions in each."""
    shares = hit.over("words").document
    assert shares.spans is not None
    seen = max(end for _, end in shares.spans)
    words = [match.span() for match in WORD.finditer(hit.text) if match.end() <= seen]
    weights = np.zeros(len(words))
    starts = [start for start, _ in words]
    for (start, end), value in zip(shares.spans, shares.values, strict=True):
        at = int(np.searchsorted(starts, start, side="right")) - 1
        if start < end and at >= 0 and start < words[at][1]:
            weights[at] += value
    return words, weights


def last_layer_products(model: XSTransformer, hit: Hit, words: Sequence[tuple[int, int]]) -> np.ndarray:
    """The last hidden states of each word's tokens times the query's embedding, summed."""
    states = model.encode_document(hit.text, output_value="token_embeddings", show_progress_bar=False)
    spans = model.tokenizer(hit.text, truncation=True, max_length=model.max_seq_length, return_offsets_mapping=True)
    products = states.double().cpu().numpy() @ hit.query_factors.embedding
    weights = np.zeros(len(words))
    starts = [start for start, _ in words]
    for (start, end), value in zip(spans["offset_mapping"], products, strict=False):
        at = int(np.searchsorted(starts, start, side="right")) - 1
        if start < end and at >= 0 and start < words[at][1]:
            weights[at] += value
    return weights


def without(text: str, words: Sequence[tuple[int, int]], chosen: Sequence[int]) -> str:
    """The text without some of its words."""
    pieces, at = [], 0
    for start, end in sorted(words[place] for place in chosen):
        pieces.append(text[at:start])
        at = end
    return " ".join("".join([*pieces, text[at:]]).split())


def deletion(
    model: XSTransformer,
    documents: list[str],
    embeddings: torch.Tensor,
    queries: list[str],
    options: argparse.Namespace,
    how: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """Falls of the score, by method, query and hit; anew after each query."""
    top_k = options.top_k
    statistics, rng = Statistics(documents), np.random.default_rng(0)
    chosen = rng.permutation(len(queries))[: options.n_queries]
    falls: dict[str, list[list[float]]] = {}
    start = time.perf_counter()
    for at in tqdm(chosen, desc="queries"):
        if time.perf_counter() - start > options.deletion_budget:
            break
        ranking = model.explain_ranking(
            queries[at], documents, top_k=top_k, document_embeddings=embeddings, show_progress_bar=False, **how
        )
        texts: dict[str, list[str]] = {}
        for hit in ranking:
            words, weights = words_of(hit)
            orders = _orders(model, hit, words, weights, terms_of(queries[at]), statistics, rng)
            n_taken = max(1, round(TAKEN * len(words)))
            for name, order in orders.items():
                texts.setdefault(name, []).append(without(hit.text, words, order[:n_taken].tolist()) or ".")
        query = model.encode_query(queries[at], convert_to_tensor=True)
        for name, rest in texts.items():
            scores = util.cos_sim(query, model.encode_document(rest, convert_to_tensor=True))[0].tolist()
            own = util.cos_sim(query, model.encode_document([hit.text for hit in ranking], convert_to_tensor=True))[0]
            falls.setdefault(name, []).append([float(a) - b for a, b in zip(own, scores, strict=True)])
        differences = {
            name: _interval(np.array(falls["highlights"]) - np.array(rows))
            for name, rows in falls.items()
            if name != "highlights"
        }
        found = {name: _interval(np.array(rows)) for name, rows in falls.items()}
        yield found | {"differences": differences, "n_queries": len(falls["highlights"]), "top_k": top_k}


def _orders(
    model: XSTransformer,
    hit: Hit,
    words: Sequence[tuple[int, int]],
    weights: np.ndarray,
    query: Sequence[str],
    statistics: Statistics,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Places of words by method, those to be taken out first."""
    terms = [hit.text[start:end].lower() for start, end in words]
    idf = np.array([statistics.idf(term) for term in terms])
    bm25 = np.array([statistics.bm25(term, terms) if term in set(query) else 0.0 for term in terms])
    return {
        "highlights": np.argsort(-weights, kind="stable"),
        "last-layer products": np.argsort(-last_layer_products(model, hit, words), kind="stable"),
        "BM25 terms": np.lexsort([-idf, -bm25]),
        "highest idf": np.argsort(-idf, kind="stable"),
        "random": rng.permutation(len(words)),
    }


def _interval(rows: np.ndarray, n_resamples: int = 2000) -> dict[str, Any]:
    """The mean over queries of the means over hits, and its 95 % interval by resampling queries."""
    means = rows.mean(1)
    rng = np.random.default_rng(1)
    resampled = means[rng.integers(0, len(means), (n_resamples, len(means)))].mean(1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return {"mean": float(means.mean()), "interval": [float(low), float(high)], "by_query": means.round(5).tolist()}


def cost(
    model: XSTransformer, documents: list[str], query: str, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Seconds of highlights and pairs of ten abstracts, of the loop, and of encoding one."""
    chosen = abstracts(documents, model, options.n_documents)
    how = {"layer": options.layer, "tolerance": options.tolerance, "show_progress_bar": False}
    works: dict[str, Callable[[], Any]] = {
        "encode": lambda: [model.encode(text) for text in chosen],
        "highlights": lambda: model.explain_ranking(query, chosen, **how),
        "pairs": lambda: model.explain_ranking(query, chosen, detail="pairs", **how),
        "matrix": lambda: list(model.explain_matrix([query], chosen, **how)),
        "loop": lambda: [model.attribute_prediction(query, text, **how) for text in chosen],
    }
    for name in ("encode", "highlights"):
        works[name]()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    processor: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(options.rounds):
        for name, work in works.items():
            start, start_processor = time.perf_counter(), time.process_time()
            work()
            seconds[name].append(time.perf_counter() - start)
            processor[name].append(time.process_time() - start_processor)
    # Processor time: what else the machine does does not count.
    best = {name: min(each) for name, each in processor.items()}
    yield {
        "n_documents": len(chosen),
        "tokens": [len(model.preprocess([text])["input_ids"][0]) for text in chosen],
        "query_tokens": len(model.preprocess([query])["input_ids"][0]),
        "seconds": seconds,
        "processor_seconds": processor,
        "best": best,
        "highlights_against_loop": best["loop"] / best["highlights"],
        "pairs_against_loop": best["loop"] / best["pairs"],
        "matrix_against_loop": best["loop"] / best["matrix"],
        "highlights_in_encodings": best["highlights"] / best["encode"],
    }


def order(
    model: XSTransformer,
    documents: list[str],
    embeddings: torch.Tensor,
    queries: list[str],
    options: argparse.Namespace,
) -> Iterator[dict[str, Any]]:
    """Compare the ranking of `explain_ranking` with that of `util.semantic_search`, for all queries.

    The best documents are explained with a single node at the last layer.
    """
    how = {"layer": model.n_layers, "n_steps": 1, "units": "sentences", "show_progress_bar": False}
    chosen = queries[: options.n_explained]
    same, same_explained, n_reasons, largest = 0, 0, 0, 0.0
    for number, query in enumerate(tqdm(queries, desc="order")):
        asked = model.encode_query(query, convert_to_tensor=True)
        (hits,) = util.semantic_search(asked, embeddings, top_k=len(documents))
        found = best_documents(asked, embeddings, documents, "cosine", Request())
        same += [each.index for each in found] == [hit["corpus_id"] for hit in hits]
        if number >= len(chosen):
            continue
        top_k = options.top_k if number < SEVERAL_HITS else 1
        ranking = model.explain_ranking(query, documents, top_k=top_k, document_embeddings=embeddings, **how)
        same_explained += ranking.order == [hit["corpus_id"] for hit in hits[:top_k]]
        n_reasons += sum(not hit.explained for hit in ranking)
        gaps = [abs(a - hit["score"]) for a, hit in zip(ranking.scores, hits, strict=False)]
        largest = max(largest, *gaps)
    yield {
        "n_queries": len(queries),
        "same_order": same,
        "n_explained": len(chosen),
        "same_order_explained": same_explained,
        "several_hits": {"queries": min(SEVERAL_HITS, len(chosen)), "top_k": options.top_k},
        "hits_without_explanation": n_reasons,
        "largest_difference": largest,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cranfield", type=Path, required=True)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--layer", type=int, default=-2)
    parser.add_argument("--tolerance", type=float, default=0.01)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--n-documents", type=int, default=10)
    parser.add_argument("--n-queries", type=int, default=50, help="of the deletion test")
    parser.add_argument("--top-k", type=int, default=10)
    parser.add_argument(
        "--n-explained", type=int, help="queries that go through all of explain_ranking to see the order (default: all)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--deletion-budget", type=float, default=math.inf, help="no further query after so many seconds"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    documents, queries = read_cranfield(options.cranfield)
    model = XSTransformer(path_of(options.model), device="cpu")
    how = {"layer": options.layer, "tolerance": options.tolerance}
    record: dict[str, Any] = {"settings": settings(options), "environment": environment("cpu")}
    embeddings = torch.zeros(0)
    if {"order", "deletion"} & set(options.parts):
        embeddings = model.encode_document(documents, convert_to_tensor=True, batch_size=16)
    works: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "cost": lambda: cost(model, documents, queries[0], options),
        "order": lambda: order(model, documents, embeddings, queries, options),
        "deletion": lambda: deletion(model, documents, embeddings, queries, options, how),
    }
    for part in options.parts:
        for found in works[part]():
            record[part] = found
            write_json(options.json, record)
        print(part, json.dumps({key: value for key, value in found.items() if key != "differences"})[:600], flush=True)
    if "deletion" in record:
        rows = [
            {
                "taken out": name,
                "fall of the score": f"{row['mean']:.4f}",
                "95 %": "{:.4f} to {:.4f}".format(*row["interval"]),
            }
            for name, row in record["deletion"].items()
            if isinstance(row, dict) and "mean" in row
        ]
        print(table(sorted(rows, key=lambda row: -float(row["fall of the score"]))))


if __name__ == "__main__":
    main()
