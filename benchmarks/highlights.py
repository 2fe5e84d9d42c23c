"""Highlights of documents: the answers that they find, how they follow removal, their cost and their stated error.

    python benchmarks/highlights.py --xquad xquad.en.json --json benchmarks/results/highlights_minilm.json

The paragraphs of XQuAD (Artetxe et al., 2020) have questions with marked answers. Paragraphs that the model would
truncate, and those of one sentence, are left out. Parts:

- `answers`: how often the sentence with the answer is ranked first by the split of the score, by contributions relative
  to the norm, and by both finders of `Hit.answer`; the share of the answer's words that the first sentence has; and the
  correlation of each method's sentences with the fall of the score when a sentence is left out, and with its length;
- `removal`: the same correlation for random words, by the share of the text that is left out and by its length;
- `cost`: floating-point operations and processor time of `explain_ranking` for one hit, in encodings of the document;
- `error`: stated and true errors of the tokens' contributions.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import MODEL_HELP, environment, path_of, settings, table, write_json
from sentence_transformers import util
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from xsbert import XSTransformer
from xsbert.factors.text_factors import settings_of
from xsbert.ranking import Hit
from xsbert.text.units import sentence_ranges

PARTS = ("cost", "answers", "removal", "error")
SHARES = (0.05, 0.1, 0.2, 0.4)
# Shortest text with words to be left out at random, and sets of words for each share.
LEAST_WORDS, N_SETS = 8, 10
TRUE_TOLERANCE = 1e-5


class Question(NamedTuple):
    """A question with its paragraph and the place of its answer."""

    text: str
    question: str
    start: int
    end: int
    """Characters [start, end) of the answer."""


def questions_of(path: Path, model: XSTransformer, n_each: int) -> tuple[list[Question], int]:
    """Questions of paragraphs that the model reads whole, and the number of paragraphs that are left out."""
    paragraphs = [each for article in json.loads(path.read_text("utf-8"))["data"] for each in article["paragraphs"]]
    found, left_out = [], 0
    for each in paragraphs:
        text = each["context"]
        whole = len(model.tokenizer(text, truncation=False, verbose=False)["input_ids"]) <= (
            model.max_seq_length or 512
        )
        if not whole or len(sentence_ranges(text)) < 2:
            left_out += 1
            continue
        for asked in each["qas"][:n_each]:
            answer = asked["answers"][0]
            start = answer["answer_start"]
            found.append(Question(text, asked["question"], start, start + len(answer["text"])))
    return found, left_out


def pearson(one: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> float:
    """NaN where one of them does not vary."""
    if len(one) < 3 or not np.ptp(one) or not np.ptp(other):
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


def interval(values: Sequence[float] | np.ndarray) -> list[float]:
    """Mean with its 95 % bootstrap interval, and the number of values that are defined."""
    known = np.array([value for value in values if np.isfinite(value)])
    rng = np.random.default_rng(0)
    means = known[rng.integers(len(known), size=(2000, len(known)))].mean(1)
    return [round(float(each), 4) for each in (known.mean(), *np.quantile(means, [0.025, 0.975]))] + [len(known)]


def scores_of(model: XSTransformer, query: str, texts: Sequence[str]) -> list[float]:
    at = model.encode_query(query, convert_to_tensor=True, show_progress_bar=False)
    return util.cos_sim(at, model.encode_document(list(texts), convert_to_tensor=True, show_progress_bar=False))[
        0
    ].tolist()


def in_order(hit: Hit, relative: bool) -> np.ndarray:
    """Weights of the sentences in the order of the text."""
    found = sorted(hit.highlights("sentences", relative=relative), key=lambda each: each.start)
    return np.array([each.weight for each in found])


def answers(model: XSTransformer, questions: Sequence[Question], how: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Tables after each tenth question and the last one."""
    rows: dict[str, dict[str, list[float]]] = {}
    for place, each in enumerate(tqdm(questions, desc="answers")):
        (hit,) = model.explain_ranking(each.question, [each.text], relative=True, show_progress_bar=False, **how)
        ranges = sentence_ranges(each.text)
        falls = hit.score - np.array(
            scores_of(model, each.question, [each.text[:start] + each.text[end:] for start, end in ranges])
        )
        lengths = [end - start for start, end in ranges]
        for name, relative in (("split", False), ("relative", True)):
            weights = in_order(hit, relative)
            first = ranges[int(weights.argmax())]
            row = rows.setdefault(name, {})
            row.setdefault("follows removal", []).append(pearson(weights, falls))
            row.setdefault("correlation with length", []).append(pearson(weights, lengths))
            _add_answer(row, each, *first)
        for method in ("maxsim", "sentences"):
            found = hit.answer(method)
            _add_answer(rows.setdefault(f"answer, {method}", {}), each, found.start, found.end)
        _add_answer(rows.setdefault("largest fall", {}), each, *ranges[int(falls.argmax())])
        if (place + 1) % 10 == 0 or place + 1 == len(questions):
            known = {name: {key: interval(values) for key, values in row.items()} for name, row in rows.items()}
            pairs = {
                f"{name} − split": interval(np.array(row["answer first"]) - np.array(rows["split"]["answer first"]))
                for name, row in rows.items()
                if name != "split"
            }
            yield {"n_questions": place + 1, "methods": known, "answer first, difference": pairs}


def _add_answer(row: dict[str, list[float]], question: Question, start: int, end: int) -> None:
    covered = max(0, min(end, question.end) - max(start, question.start)) / (question.end - question.start)
    row.setdefault("answer first", []).append(float(start <= question.start < end))
    row.setdefault("share of the answer", []).append(covered)


def removal(model: XSTransformer, questions: Sequence[Question], how: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """How contributions of random words follow the fall of the score without them; anew after each question."""
    rng = np.random.default_rng(0)
    rows: dict[str, dict[str, list[float]]] = {}
    for each in tqdm(questions, desc="removal"):
        ranges = sentence_ranges(each.text)
        texts = {"one sentence": each.text[slice(*ranges[0])].strip(), "two": each.text[: ranges[1][1]].strip()}
        for name, text in {**texts, "paragraph": each.text}.items():
            (hit,) = model.explain_ranking(each.question, [text], relative=True, show_progress_bar=False, **how)
            words = [at for at, role in enumerate(hit.document.roles) if role == "text"]
            if len(words) < LEAST_WORDS:
                continue
            for share in SHARES:
                size = max(1, round(share * len(words)))
                sets = [rng.choice(words, size, replace=False) for _ in range(N_SETS)]
                spans = np.array(hit.document.spans)
                rest = [_without(text, spans[chosen]) for chosen in sets]
                falls = hit.score - np.array(scores_of(model, each.question, rest))
                row = rows.setdefault(f"{name}, {share:g}", {})
                for kind, shares in (("split", hit.document), ("relative", hit.document_relative)):
                    row.setdefault(kind, []).append(pearson([shares.values[chosen].sum() for chosen in sets], falls))
        found = {name: {kind: interval(values) for kind, values in row.items()} for name, row in rows.items()}
        for name, row in rows.items():
            found[name]["relative − split"] = interval(np.array(row["relative"]) - np.array(row["split"]))
        yield found


def _without(text: str, spans: np.ndarray) -> str:
    for start, end in sorted(spans.tolist(), reverse=True):
        text = text[:start] + text[end:]
    return " ".join(text.split()) or "."


def cost(model: XSTransformer, questions: Sequence[Question], how: dict[str, Any]) -> dict[str, Any]:
    """Of one hit of about 163 tokens, in encodings of it."""
    lengths = [len(model.tokenizer(each.text)["input_ids"]) for each in questions]
    place = int(np.argmin(np.abs(np.array(lengths) - 163)))
    text, question = questions[place].text, questions[place].question

    def ranking(**options: Any) -> Callable[[], Any]:
        return lambda: model.explain_ranking(question, [text], show_progress_bar=False, **how, **options)

    works = {
        "tolerance 0.01": ranking(),
        "tolerance 0.1": ranking(tolerance=0.1),
        "relative": ranking(relative=True),
        "with the query's words": lambda: ranking()().query_matrix,
        "two references": ranking(reference=("unk", "mask")),
    }
    hit = ranking()()[0]
    works |= {f"answer, {method}": lambda method=method: hit.answer(method) for method in ("maxsim", "sentences")}
    unit = lambda: model.encode_document(text, show_progress_bar=False)  # noqa: E731
    operations, seconds = _operations(unit), _seconds(unit)
    found = {
        name: {"operations": round(_operations(work) / operations, 2), "time": round(_seconds(work) / seconds, 2)}
        for name, work in works.items()
    }
    sides = {
        name: ranking(tolerance=tolerance)()[0].passages[0].side for name, tolerance in (("0.01", 0.01), ("0.1", 0.1))
    }
    nodes = {name: side.settings.n_steps for name, side in sides.items()}
    return {"tokens": lengths[place], "nodes": nodes, "encodings": found}


def _operations(work: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def _seconds(work: Callable[[], Any], n_times: int = 5) -> float:
    """Least processor time of several runs."""
    seconds = []
    for _ in range(n_times):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


def error(model: XSTransformer, questions: Sequence[Question], how: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Stated and true relative errors of the tokens along the query's embedding; anew after each question."""
    rows: dict[str, list[list[float]]] = {}
    n_layers = model.n_layers
    for each in tqdm(questions, desc="error"):
        ranges = sentence_ranges(each.text)
        direction = model.encode_query(each.question, show_progress_bar=False)[None].astype(float)
        for text in (each.text, each.text[slice(*ranges[0])].strip()):
            for layer in (n_layers - 2, n_layers - 1):
                known: dict[str, Any] = {"show_progress_bar": False, **how, "layer": layer}
                (exact,) = model.explainer(tolerance=TRUE_TOLERANCE, **known).projected([text], [direction])
                for tolerance in (0.01, 0.03, 0.1):
                    (found,) = model.explainer(tolerance=tolerance, **known).projected([text], [direction])
                    gap = np.linalg.norm(found.factors - exact.factors) / np.linalg.norm(exact.factors)
                    row = rows.setdefault(f"layer {layer}, tolerance {tolerance:g}", [])
                    row.append([float(gap), float(found.factor_error or 0), found.residual, settings_of(found).n_steps])
        yield {name: _of_errors(np.array(values)) for name, values in rows.items()}


def _of_errors(rows: np.ndarray) -> dict[str, Any]:
    true, stated, residual, nodes = rows.T
    return {
        "cases": len(rows),
        "stated above true": round(float((stated >= true).mean()), 3),
        "stated over true, least, median, most": [
            round(float(f(stated / true)), 2) for f in (np.min, np.median, np.max)
        ],
        "true, median, most": [round(float(f(true)), 4) for f in (np.median, np.max)],
        "residual, most": round(float(residual.max()), 4),
        "nodes, median, most": [int(np.median(nodes)), int(nodes.max())],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--xquad", type=Path, required=True, help="XQuAD in one language, as JSON")
    parser.add_argument("--model", default="minilm", help=MODEL_HELP)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--n-questions", type=int, default=120, help="spread evenly over the file")
    parser.add_argument("--n-each", type=int, default=1, help="questions of a paragraph")
    parser.add_argument("--n-removal", type=int, default=20, help="questions of the part `removal`")
    parser.add_argument("--n-error", type=int, default=12, help="questions of the part `error`")
    parser.add_argument("--reference", nargs="+", help="tokens of the references; default: the model's")
    parser.add_argument("--json", help="write the full record here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = XSTransformer(path_of(options.model), device="cpu")
    how = {"reference": options.reference} if options.reference else {}
    every, left_out = questions_of(options.xquad, model, options.n_each)

    def some(n_questions: int) -> list[Question]:
        return [every[place] for place in np.unique(np.linspace(0, len(every) - 1, n_questions).astype(int))]

    record = {"options": settings(options), "environment": environment("cpu"), "paragraphs left out": left_out}
    parts: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "cost": lambda: iter([cost(model, every, how)]),
        "answers": lambda: answers(model, some(options.n_questions), how),
        "removal": lambda: removal(model, some(options.n_removal), how),
        "error": lambda: error(model, some(options.n_error), how),
    }
    for name in options.parts:
        for found in parts[name]():
            record[name] = found
            write_json(options.json, record)
        print(f"\n{name}\n{shown(record[name])}", flush=True)


def shown(found: dict[str, Any]) -> str:
    """Nested results as a table, one row for each method or kind of text."""
    rows = found.get("methods") or found.get("encodings") or found
    names = list(dict.fromkeys(key for row in rows.values() for key in row))
    return table([{"": name} | {key: str(row.get(key, "")) for key in names} for name, row in rows.items()])


if __name__ == "__main__":
    main()
