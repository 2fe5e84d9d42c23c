"""How many bytes a computation takes: counted, foretold, and kept within a budget."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.pairs import PAIRS
from xsbert._utils import memory
from xsbert._utils.memory import give_back_memory, peak_bytes
from xsbert.engine.batching import BUDGET_OF_DERIVATIVES, within_budget
from xsbert.engine.options import Options
from xsbert.engine.split_model import SplitModel

ANIMALS = ("Cats", "Dogs", "Birds", "Horses", "Cows", "Fish")
COFFEE = ("The coffee is bad.", "This is not a good coffee.")


def test_what_is_freed_counts_no_longer():
    def work():
        for _ in range(3):
            torch.zeros(1000, dtype=torch.float64)

    assert peak_bytes(work) == 8000


def test_what_is_held_at_once_counts_together():
    def work():
        first = torch.zeros(1000)
        second = first + 1
        third = torch.cat([first, second])
        del first, second
        return third * 2

    assert peak_bytes(work) == 4000 + 4000 + 8000


def test_views_and_what_was_there_before_count_nothing():
    there = torch.zeros(1000)
    assert peak_bytes(lambda: (there.view(10, 100).T, there[:10], there.mul_(2))) == 0


@pytest.mark.parametrize("layer", [0, 4])
@pytest.mark.parametrize("chunk_size", [16, 64])
def test_the_prediction_holds(model, layer, chunk_size):
    text = PAIRS[0][0]
    n_nodes = 1 + chunk_size // 8
    predicted = model.predict_memory(text, layer=layer, chunk_size=chunk_size)

    def factors():
        model.token_factors([text], layer=layer, n_steps=n_nodes, chunk_size=chunk_size, show_progress_bar=False)

    taken = peak_bytes(factors)
    assert taken <= predicted <= 1.5 * taken


def test_the_prediction_grows_with_the_text(model):
    short, long = (model.predict_memory(text, layer=4, chunk_size=8) for text in ("A cat.", "A cat. " * 20))
    assert long > 10 * short


@pytest.mark.parametrize("megabytes", [2, 8])
def test_a_budget_is_kept_and_changes_nothing(model, megabytes):
    accuracy = {"layer": 4, "tolerance": 1e-3, "show_progress_bar": False}
    found = []
    taken = peak_bytes(
        lambda: found.append(model.attribute_prediction(*COFFEE, memory_budget=megabytes * 1e6, **accuracy))
    )
    free = model.attribute_prediction(*COFFEE, **accuracy)
    assert megabytes * 1e6 / 4 < taken <= megabytes * 1e6
    assert peak_bytes(lambda: model.attribute_prediction(*COFFEE, **accuracy)) > 8e6
    np.testing.assert_allclose(found[0].matrix, free.matrix, atol=1e-6)


def test_a_budget_that_is_too_small_is_refused(model):
    with pytest.raises(
        MemoryError, match=r"memory_budget=1000 is too small: one product of [79] tokens takes [0-9,]+ by"
    ):
        model.attribute_prediction(*COFFEE, memory_budget=1000)


@pytest.mark.slow
@pytest.mark.parametrize("units", ["words", "sentences"])
def test_a_budget_holds_for_coarser_units(model, units):
    text = "The harbour was closed all winter. Nobody on the quay could say why. " * 2
    work = {"layer": 4, "n_steps": 16, "units": units, "show_progress_bar": False}
    assert peak_bytes(lambda: model.token_factors([text], memory_budget=12e6, **work)) <= 12e6
    assert peak_bytes(lambda: model.token_factors([text], **work)) > 12e6


@pytest.mark.slow
def test_a_budget_holds_for_many_texts(model):
    """Texts of one length are recorded, placed and integrated together, as many as fit."""
    texts = [f"{animal} and {other}." for animal in ANIMALS for other in ANIMALS]
    work = {"layer": 4, "n_steps": 2, "show_progress_bar": False}
    found = []
    assert peak_bytes(lambda: found.append(model.token_factors(texts, memory_budget=2e6, **work))) <= 2e6
    assert peak_bytes(lambda: found.append(model.token_factors(texts, **work))) > 2e6
    for kept, free in zip(*found, strict=True):
        np.testing.assert_allclose(kept.factors, free.factors, atol=1e-6)


def test_a_budget_holds_in_reverse_mode_too(model):
    long = "The harbour was closed all winter, and nobody on the quay could say why it was. " * 3
    budget = 24e6
    found = []
    taken = peak_bytes(
        lambda: found.append(
            model.attribute_prediction(
                "Ships.", long, layer=4, n_steps=3, memory_budget=budget, show_progress_bar=False
            )
        )
    )
    assert found[0].b.known_residual is not None
    assert budget / 4 < taken <= budget


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_budget_is_kept_on_cuda(minilm_path):
    from xsbert import XSTransformer

    model = XSTransformer(minilm_path, device="cuda")
    model.token_factors([PAIRS[0][0]], layer=4, n_steps=4)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    model.token_factors([PAIRS[0][0]], layer=4, n_steps=64, memory_budget=2e8)
    # Matrix products take a workspace, and each tensor is rounded up to 512 bytes.
    assert torch.cuda.max_memory_allocated() - before <= 1.1 * 2e8 + 64e6


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_between_what_stays_is_given_back():
    if memory._malloc_trim is None:
        pytest.skip("not glibc")

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    # Too small to be mapped by themselves, and every eighth stays.
    blocks = [np.ones(8_000) for _ in range(4_000)]
    kept = blocks[::8]
    held = resident()
    del blocks
    give_back_memory()
    assert held - resident() > 100e6
    assert all(block.sum() == 8_000 for block in kept)


def test_memory_is_given_back_after_each_batch(model, monkeypatch):
    calls = []
    monkeypatch.setattr("xsbert.engine.batch_run.give_back_memory", lambda: calls.append(1))
    model.text_factors(["One.", "Two.", "A longer text.", "One."], n_steps=1, show_progress_bar=False)
    assert len(calls) == 2


def test_a_budget_leaves_room_for_the_reference_beside_the_texts(model):
    explainer = model.explainer(layer=1)
    text = explainer.tokenized("The quick brown fox jumps over the lazy dog.")
    encoder = SplitModel(model, 1)
    one = peak_bytes(lambda: encoder.record(dict(text.features)))
    options = Options(layer=1, memory_budget=4.5 * one / (1 - BUDGET_OF_DERIVATIVES))
    assert [len(part) for part in within_budget(encoder, list(range(8)), text, options)] == [3, 3, 2]
