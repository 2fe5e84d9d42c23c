r"""Fine-tune a sentence transformer on annotated pairs of texts, with or without the reference shift.

    python train.py --model sentence-transformers/all-MiniLM-L6-v2 --output runs/minilm

trains an exact cosine model on the STS benchmark from the Hub. Other files:

    python train.py --output runs/mine --train pairs.csv --dev dev.csv --test test.csv \
        --text-a question --text-b answer --score rating --score-range 1 5

The published files of the STS benchmark:

    python train.py --output runs/stsb --train sts-train.csv --dev sts-dev.csv --test sts-test.csv \
        --format tsv --no-header --no-quoting --text-a 6 --text-b 7 --score 5 --score-range 0 5

Several GPUs: torchrun --nproc-per-node 4 train.py …, or accelerate launch train.py …
To resume an interrupted run, repeat the command with --resume.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sentence_transformers
import torch
import transformers
from sentence_transformers import (
    SentenceTransformerModelCardData,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss
from sentence_transformers.sentence_transformer.modules import Normalize
from sentence_transformers.util import get_device_name
from torch import Tensor, nn

import xsbert
from xsbert import XSTransformer

HUB_DATASET = "sentence-transformers/stsb"
FORMATS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".parquet": "parquet"}
# Options that may change when a run is resumed.
FREE_OPTIONS = ("resume", "output")
RECORD = "options.json"


class InputError(Exception):
    """Invalid input of the user. The message gives the problem and its location."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options(arguments)
    try:
        report = train(options)
    except InputError as error:
        sys.exit(f"train.py: error: {error}")
    except KeyboardInterrupt:
        print(f"\ntrain.py: interrupted; the same command with --resume goes on from {options.output}", file=sys.stderr)
        sys.exit(130)
    if is_first_process():
        print(json.dumps({name: report[name] for name in ("before", "after")}, indent=2))
        print(f"model and report.json are in {options.output}")


def train(options: argparse.Namespace) -> dict[str, Any]:
    """Executes the whole run, from input validation to the report."""
    check_options(options)
    data = read_data(options)
    check_output(options)

    args = training_arguments(options)
    model = load_model(options, str(args.device))
    record_options(options)
    evaluators = {name: evaluator(data[name], name, model) for name in ("dev", "test") if name in data}
    before = scores_of(model, evaluators)
    announce("before training", before)

    loss = CosineSimilarityLoss(model) if options.loss == "cosine" else DotProductLoss(model, data["train"])
    trainer = SentenceTransformerTrainer(
        model=model,
        args=args,
        train_dataset=data["train"].dataset(),
        loss=loss,
        evaluator=evaluators["dev"],
    )
    start = time.perf_counter()
    checkpoint = last_checkpoint(options.output / "checkpoints") if options.resume else None
    result = trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.perf_counter() - start

    if is_first_process():
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False).save_pretrained(str(options.output))
    trainer.accelerator.wait_for_everyone()
    tuned = XSTransformer(str(options.output), device=str(args.device))
    after = scores_of(tuned, evaluators)
    announce("after training", after)
    check_saved(after["dev"]["spearman"], trainer.state.best_metric)
    report = {
        "options": {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()},
        "data": {name: {"source": pairs.source, "n_pairs": len(pairs)} for name, pairs in data.items()},
        "shifted": tuned.shifted,
        "score_unit": float(getattr(loss, "unit", 1.0)),
        "before": before,
        "after": after,
        "best_step": trainer.state.best_global_step,
        "n_steps": trainer.state.global_step,
        "training_loss": result.training_loss,
        "history": [{k: v for k, v in row.items() if np.isscalar(v)} for row in trainer.state.log_history],
        "seconds": seconds,
        "device": str(args.device),
        "n_processes": args.world_size,
        "versions": versions(),
    }
    if is_first_process():
        write_json(options.output / "report.json", report)
        add_to_card(options.output / "README.md", report)
    return report


def check_saved(saved: float, best: float) -> None:
    """Raises RuntimeError if the saved model and the best checkpoint have different scores on dev."""
    if abs(saved - best) > 0.01:
        raise RuntimeError(
            f"the saved model has a Spearman correlation of {saved:.4f} on dev, the best checkpoint had {best:.4f}"
        )


def versions() -> dict[str, str]:
    return {
        "xsbert": xsbert.__version__,
        "sentence-transformers": sentence_transformers.__version__,
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


# Options


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    summary, _, examples = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", default="sentence-transformers/all-MiniLM-L6-v2", help="Hub id or path (default: %(default)s)")
    add("--output", type=Path, required=True, help="folder for the model, its checkpoints and report.json")
    add("--shift", action=argparse.BooleanOptionalAction, default=True, help="subtract the reference's embedding")
    add("--reference", help="reference token: unk (default), pad, mask, or any token of the vocabulary")
    add("--reference-positions", choices=("text", "padding"), help="of the reference's tokens (default: text)")
    add("--loss", choices=("cosine", "dot"), default="cosine", help="similarity that is fitted (default: cosine)")

    add("--train", type=Path, metavar="FILE", help=f"annotated pairs; without files, {HUB_DATASET} from the Hub")
    add("--dev", type=Path, metavar="FILE", help="pairs by which the best model is chosen")
    add("--test", type=Path, metavar="FILE", help="pairs that are only reported on")
    add("--format", choices=("auto", *FORMATS.values()), default="auto", help="auto goes by the name's ending")
    add("--text-a", default="sentence1", metavar="COLUMN", help="name, or number from 1 with --no-header")
    add("--text-b", default="sentence2", metavar="COLUMN")
    add("--score", default="score", metavar="COLUMN")
    add("--score-range", type=float, nargs=2, default=(0.0, 1.0), metavar=("LOW", "HIGH"), help="scale of the scores")
    add("--header", action=argparse.BooleanOptionalAction, default=True, help="csv and tsv: first line names columns")
    add("--quoting", action=argparse.BooleanOptionalAction, default=True, help='csv and tsv: " quotes a field')

    add("--batch-size", type=int, default=16, help="pairs per step and process (default: %(default)s)")
    add("--epochs", type=float, default=5, help="default: %(default)s")
    add("--learning-rate", type=float, default=2e-5, help="default: %(default)s")
    add("--warmup", type=float, default=0.1, help="share of the steps with a rising rate (default: %(default)s)")
    add("--weight-decay", type=float, default=0.01, help="default: %(default)s")
    add("--seed", type=int, default=42, help="default: %(default)s")
    add("--precision", choices=("fp32", "bf16", "fp16"), default="fp32", help="default: %(default)s")
    add("--save-steps", type=int, help="steps between checkpoints and dev scores (default: an epoch)")
    add("--resume", action="store_true", help="go on from the last checkpoint in --output, if there is one")
    return parser.parse_args(arguments)


def check_options(options: argparse.Namespace) -> None:
    for name in ("batch_size", "epochs", "learning_rate", "save_steps"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise InputError(f"--{name.replace('_', '-')} must be above 0, got {value}")
    if not 0 <= options.warmup < 1:
        raise InputError(f"--warmup is a share of the steps, at least 0 and below 1, got {options.warmup}")
    low, high = options.score_range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"--score-range needs LOW < HIGH, got {low} {high}")
    files = {name: getattr(options, name) for name in ("train", "dev", "test")}
    if any(files.values()) and not (files["train"] and files["dev"]):
        raise InputError("--train and --dev belong together: the best model is chosen on --dev")
    if options.precision == "fp16" and not torch.cuda.is_available():
        raise InputError("--precision fp16 needs a GPU; bf16 and fp32 run everywhere")
    for name in ("reference", "reference_positions"):
        if getattr(options, name) and not options.shift:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} without a shift has no effect: leave out {option} or --no-shift")


# Data


@dataclass(frozen=True)
class Pairs:
    """Annotated pairs of texts."""

    source: str
    texts_a: list[str]
    texts_b: list[str]
    scores: list[float]
    """Scores between 0 and 1."""

    def __len__(self) -> int:
        return len(self.scores)

    def dataset(self) -> Any:
        from datasets import Dataset

        return Dataset.from_dict({"sentence1": self.texts_a, "sentence2": self.texts_b, "score": self.scores})


def read_data(options: argparse.Namespace) -> dict[str, Pairs]:
    """Returns train, dev and test pairs by name."""
    if options.train is None:
        return read_from_hub()
    files = {name: getattr(options, name) for name in ("train", "dev", "test")}
    return {name: read_pairs(file, options) for name, file in files.items() if file is not None}


def read_from_hub() -> dict[str, Pairs]:
    from datasets import load_dataset

    try:
        splits = load_dataset(HUB_DATASET)
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{HUB_DATASET} could not be loaded, give --train and --dev files instead: {reason}"
        ) from error
    columns = ("sentence1", "sentence2", "score")
    names = {"train": "train", "dev": "validation", "test": "test"}
    return {
        name: Pairs(HUB_DATASET, *(list(splits[split][column]) for column in columns)) for name, split in names.items()
    }


def read_pairs(file: Path, options: argparse.Namespace) -> Pairs:
    """Reads and validates a file of annotated pairs."""
    columns = (options.text_a, options.text_b, options.score)
    low, high = options.score_range
    texts_a, texts_b, scores = [], [], []
    for number, row in enumerate(read_rows(file, columns, options), start=1):
        place = f"{file}, row {number}"
        text_a, text_b, score = (row[column] for column in columns)
        for column, text in zip(columns, (text_a, text_b), strict=False):
            if not isinstance(text, str) or not text.strip():
                raise InputError(f"{place}: column {column!r} holds no text, got {text!r}")
        try:
            number = float(score)
        except (TypeError, ValueError):
            raise InputError(f"{place}: the score in column {options.score!r} is no number, got {score!r}") from None
        if not low <= number <= high:
            raise InputError(
                f"{place}: score {number:g} is outside {low:g} … {high:g}; give the scale with --score-range"
            )
        texts_a.append(text_a)
        texts_b.append(text_b)
        scores.append((number - low) / (high - low))
    if len(scores) < 2:
        raise InputError(f"{file}: needs at least two annotated pairs, got {len(scores)}")
    return Pairs(file.name, texts_a, texts_b, scores)


def read_rows(file: Path, columns: tuple[str, ...], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yields the rows of a file, with values by column name, or by column number without a header."""
    from datasets import load_dataset

    kind = FORMATS.get(file.suffix.lower()) if options.format == "auto" else options.format
    if kind is None:
        raise InputError(
            f"{file}: unknown format {file.suffix!r}; name one of {', '.join(FORMATS.values())} by --format"
        )
    builder = {"jsonl": "json", "parquet": "parquet"}.get(kind, "csv")
    how = table_format(file, kind, columns, options) if builder == "csv" else {}
    try:
        if not file.is_file():
            raise FileNotFoundError(f"there is no file {str(file)!r}")
        # Streaming leaves no copy in a cache.
        rows = load_dataset(builder, data_files=str(file), split="train", streaming=True, **how)
        for row in rows:
            missing = [column for column in columns if column not in row]
            if missing:
                held = ", ".join(map(repr, row))
                raise InputError(f"{file}: has no column {missing[0]!r}, it has {held}")
            yield row
    except InputError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        raise InputError(f"{file}: cannot be read: {str(cause).partition(chr(10))[0]}") from error


def table_format(file: Path, kind: str, columns: tuple[str, ...], options: argparse.Namespace) -> dict[str, Any]:
    """Returns the options with which pandas reads all values of a table as strings, none as missing."""
    how: dict[str, Any] = {
        "sep": "\t" if kind == "tsv" else ",",
        "quoting": csv.QUOTE_MINIMAL if options.quoting else csv.QUOTE_NONE,
        "encoding": "utf-8-sig",
        "converters": dict.fromkeys(columns, str),
        "na_filter": False,
    }
    if options.header:
        return how
    numbers = [int(column) if column.isdecimal() else 0 for column in columns]
    if min(numbers) < 1:
        raise InputError(f"{file}: without a header, columns are given by number from 1, got {', '.join(columns)}")
    # Lines may have more columns than the first line, as in the STS benchmark.
    order = sorted(set(numbers))
    return {**how, "header": None, "names": [str(n) for n in order], "usecols": [n - 1 for n in order]}


# Output


def check_output(options: argparse.Namespace) -> None:
    """Checks that the output can be written and belongs to this run."""
    if not is_first_process():
        return
    record = options.output / RECORD
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        occupied = any(options.output.iterdir())
        probe = options.output / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"--output {options.output} cannot be written: {error.strerror or error}") from error
    if occupied and not options.resume:
        raise InputError(f"--output {options.output} is not empty; --resume goes on with it")
    if not record.exists():
        return
    earlier, now = json.loads(record.read_text(encoding="utf-8")), binding_options(options)
    for name in now:
        if now[name] != earlier.get(name):
            raise InputError(
                f"--resume needs the options of the interrupted run: --{name.replace('_', '-')} was "
                f"{earlier.get(name)}, now is {now[name]}"
            )


def record_options(options: argparse.Namespace) -> None:
    if is_first_process():
        write_json(options.output / RECORD, binding_options(options))


def binding_options(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the options that must not change when a run is resumed."""
    binding = {name: value for name, value in vars(options).items() if name not in FREE_OPTIONS}
    return json.loads(json.dumps(binding, default=str))


def last_checkpoint(folder: Path) -> str | None:
    """Returns the last complete checkpoint, or None."""

    def step(checkpoint: Path) -> int:
        return int(checkpoint.name.rpartition("-")[2])

    for checkpoint in sorted(folder.glob("checkpoint-*"), key=step, reverse=True):
        try:
            # The Trainer writes the state last.
            json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return str(checkpoint)
    return None


def write_json(file: Path, content: Any) -> None:
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2, default=float) + "\n", encoding="utf-8")
    partial.replace(file)


def add_to_card(card: Path, report: dict[str, Any]) -> None:
    """Adds the model, the data and the results of the training to the model card."""
    options, data = report["options"], report["data"]
    start = Path(options["model"])
    base = start.name if start.is_dir() else options["model"]
    lines = [
        "",
        "## How this model was made",
        "",
        f"`train.py` of xsbert {report['versions']['xsbert']} fine-tuned `{base}` on "
        f"{data['train']['n_pairs']} pairs of `{data['train']['source']}`, fitting the {options['loss']} similarity by "
        f"mean squared error, {'with' if report['shifted'] else 'without'} the reference shift; the best of its "
        f"checkpoints, step {report['best_step']} of {report['n_steps']}, was chosen by its Spearman correlation on "
        f"{data['dev']['n_pairs']} pairs of `{data['dev']['source']}`. Seed {options['seed']}, "
        f"{options['epochs']:g} epochs, batches of {options['batch_size']} × {report['n_processes']}, learning rate "
        f"{options['learning_rate']:g}, {options['precision']}.",
    ]
    if report["score_unit"] != 1:
        lines += ["", f"Dot products are in units of {report['score_unit']:g}: divided by it, they predict the score."]
    lines += ["", "| | before | after |", "|---|---|---|"]
    for name, scores in report["after"].items():
        before = report["before"][name]
        lines += [f"| {name}, {metric} | {before[metric]:.4f} | {value:.4f} |" for metric, value in scores.items()]
    with card.open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


# Model, loss and evaluation


def load_model(options: argparse.Namespace, device: str) -> XSTransformer:
    card = SentenceTransformerModelCardData(train_datasets=[{"name": options.train.name if options.train else "stsb"}])
    try:
        model = XSTransformer(
            options.model,
            reference=options.reference,
            reference_positions=options.reference_positions,
            similarity_fn_name=options.loss,
            model_card_data=card,
            device=device,
        )
        if options.shift and not model.shifted:
            how = {"reference": options.reference, "reference_positions": options.reference_positions}
            model = XSTransformer.wrap(model, shift=True, **how)
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"--model {options.model} cannot be loaded: {reason:.400}") from error
    if model.shifted != options.shift:
        raise InputError(f"--model {options.model} was saved shifted, --no-shift cannot undo it")
    if options.loss == "dot":
        # With embeddings of norm one, the dot product would be the cosine.
        while isinstance(model[len(model) - 1], Normalize):
            del model[len(model) - 1]
    return model


class DotProductLoss(nn.Module):
    """Mean squared error between scores and dot products of embeddings, divided by a unit.

    The unit is the ratio of the root mean squares before training. The loss therefore starts at the scale of the
    scores, and training need not first change the norm of the embeddings.
    """

    def __init__(self, model: XSTransformer, pairs: Pairs, n_pairs: int = 256) -> None:
        super().__init__()
        self.model = model
        a, b = (model.encode(texts[:n_pairs], convert_to_tensor=True) for texts in (pairs.texts_a, pairs.texts_b))
        products = (a.double() * b.double()).sum(1)
        ratio = products.square().mean() / np.square(pairs.scores[:n_pairs]).mean()
        # Rounded, so that a resumed run and all processes use the same unit.
        self.unit = float(f"{ratio.sqrt().item():.2g}")

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        a, b = (self.model(features)["sentence_embedding"] for features in sentence_features)
        return nn.functional.mse_loss((a * b).sum(1) / self.unit, labels.to(a.dtype).view(-1))

    def get_config_dict(self) -> dict[str, Any]:
        return {"unit": self.unit}


def training_arguments(options: argparse.Namespace) -> SentenceTransformerTrainingArguments:
    strategy = "steps" if options.save_steps else "epoch"
    return SentenceTransformerTrainingArguments(
        output_dir=str(options.output / "checkpoints"),
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        warmup_steps=options.warmup,
        weight_decay=options.weight_decay,
        seed=options.seed,
        bf16=options.precision == "bf16",
        fp16=options.precision == "fp16",
        # Otherwise processes on CPUs do not find each other.
        use_cpu=get_device_name() == "cpu",
        eval_strategy=strategy,
        save_strategy=strategy,
        eval_steps=options.save_steps,
        save_steps=options.save_steps or 500,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=f"eval_dev_spearman_{options.loss}",
        logging_steps=20,
        dataloader_pin_memory=torch.cuda.is_available(),
        report_to="none",
    )


def evaluator(pairs: Pairs, name: str, model: XSTransformer) -> EmbeddingSimilarityEvaluator:
    return EmbeddingSimilarityEvaluator(
        pairs.texts_a,
        pairs.texts_b,
        pairs.scores,
        batch_size=64,
        main_similarity=model.similarity_fn_name,
        name=name,
        write_csv=False,
    )


def scores_of(model: XSTransformer, evaluators: dict[str, EmbeddingSimilarityEvaluator]) -> dict[str, dict[str, float]]:
    """Returns correlations with the annotated scores, by split and by ``"pearson"`` or ``"spearman"``."""
    scores = {}
    for name, evaluate in evaluators.items():
        metrics = evaluate(model)
        scores[name] = {
            kind: float(metrics[f"{name}_{kind}_{model.similarity_fn_name}"]) for kind in ("pearson", "spearman")
        }
    return scores


def announce(when: str, scores: dict[str, dict[str, float]]) -> None:
    if is_first_process():
        numbers = [f"{name} {kind} {value:.4f}" for name, kinds in scores.items() for kind, value in kinds.items()]
        print(f"{when}: {', '.join(numbers)}", flush=True)


def is_first_process() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


if __name__ == "__main__":
    main()
