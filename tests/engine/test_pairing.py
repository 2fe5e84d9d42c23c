"""The cheaper direction is chosen text by text, and the numbers are the same either way."""

import numpy as np
import pytest

from tests.pairs import PAIRS
from xsbert.engine import SkippedWarning, batch_run
from xsbert.engine.batch_run import BACKWARD_COST
from xsbert.engine.pairing import pulled_back_texts

LONG = [" ".join(text for pair in PAIRS[start : start + 4] for text in pair) for start in (0, 4)]
SHORT = ["A bad coffee.", "A warm stove."]


def cost(lengths, partners, chosen):
    """Passes per node: S + 1 for a text's own factors, else one for each direction and one for the value."""
    total = 0.0
    for key, length in lengths.items():
        directions = sum(lengths[other] + 2 for other in partners[key])
        total += BACKWARD_COST * (directions + 1) if key in chosen else length + 1
    return total


def symmetric(n_texts, edges):
    partners = {n: [] for n in range(n_texts)}
    for one, other in edges:
        partners[one].append(other)
        partners[other].append(one)
    return partners


@pytest.mark.parametrize("seed", range(30))
def test_what_is_chosen_never_costs_more_and_can_be_computed(seed):
    rng = np.random.default_rng(seed)
    lengths = dict(enumerate(rng.integers(3, 300, 8).tolist()))
    edges = {tuple(sorted(pair)) for pair in rng.integers(0, 8, (7, 2)).tolist() if pair[0] != pair[1]}
    partners = symmetric(8, edges)
    chosen = pulled_back_texts(lengths, partners)
    assert cost(lengths, partners, chosen) <= cost(lengths, partners, [])
    assert not any(other in chosen for key in chosen for other in partners[key])
    # No further text could be pulled back for less.
    for key in lengths:
        if key not in chosen and partners[key] and not any(other in chosen for other in partners[key]):
            assert cost(lengths, partners, [*chosen, key]) >= cost(lengths, partners, chosen) or any(
                key in partners[other] for other in chosen
            )


def test_a_document_for_many_queries_gets_factors_of_its_own():
    lengths = {"document": 200, **{f"query {n}": 10 for n in range(20)}}
    partners = {"document": [f"query {n}" for n in range(20)], **{f"query {n}": ["document"] for n in range(20)}}
    assert pulled_back_texts(lengths, partners) == []
    few = {"document": ["query 0", "query 1"], **{f"query {n}": ["document"] for n in range(2)}}
    assert pulled_back_texts({key: lengths[key] for key in few}, few) == ["document"]


def test_a_text_against_itself_is_not_pulled_back():
    assert pulled_back_texts({"one": 200}, {"one": ["one"]}) == []


@pytest.mark.parametrize("units", ["tokens", "words", "sentences"])
def test_a_matrix_is_that_of_the_single_pairs(model, units):
    found = list(model.explain_matrix(SHORT[:1], LONG, n_steps=2, layer=5, units=units))
    assert [(i, j) for i, j, _ in found] == [(0, 0), (0, 1)]
    for i, j, result in found:
        assert result.pulled_back == "b"
        assert "b pulled back" in str(result)
        one = model.attribute_prediction(SHORT[i], LONG[j], n_steps=2, layer=5)
        one = {"tokens": one, "words": one.words(), "sentences": one.over("sentences", "sentences")}[units]
        np.testing.assert_allclose(result.matrix, one.matrix, atol=1e-5)
        np.testing.assert_allclose(result.main_effects_b, one.main_effects_b, atol=1e-5)
        assert result.tokens_b == one.tokens_b


def test_pairs_and_matrix_take_no_more_passes_than_a_loop(model, monkeypatch):
    counted = []
    run = batch_run.Run

    def batch(self, texts, options, units):
        counted.append(sum(len(text.tokens) + 1 for text in texts))
        return original_batch(self, texts, options, units)

    def projected(self, texts, directions, *rest, **how):
        found = original_projected(self, texts, directions, *rest, **how)
        counted.append(BACKWARD_COST * sum(len(each.directions) + 1 for each in found))
        return found

    original_batch, original_projected = run.batch, run.projected
    monkeypatch.setattr(run, "batch", batch)
    monkeypatch.setattr(run, "projected", projected)
    for queries, documents in ((SHORT[:1], LONG), (SHORT, LONG[:1]), (SHORT, SHORT), (LONG[:1], SHORT[:1])):
        pairs = [(query, document) for query in queries for document in documents]
        costs = []
        for work in (
            lambda pairs=pairs: [model.attribute_prediction(*pair, n_steps=1, layer=5) for pair in pairs],
            lambda pairs=pairs: list(model.explain_pairs(pairs, n_steps=1, layer=5)),
            lambda q=queries, d=documents: list(model.explain_matrix(q, d, n_steps=1, layer=5)),
        ):
            counted.clear()
            work()
            costs.append(sum(counted))
        # One direction more than a pair has, the embedding itself, so that sums are exact.
        assert costs[1] <= costs[0] + BACKWARD_COST * len(documents)
        assert costs[2] <= costs[0] + BACKWARD_COST * len(documents)


def test_a_long_text_that_fails_is_skipped_alone(model, monkeypatch):
    original = batch_run.Run.projected

    def fails(self, texts, *rest, **how):
        if any(text.text == LONG[0] for text in texts):
            raise FloatingPointError("not finite")
        return original(self, texts, *rest, **how)

    monkeypatch.setattr(batch_run.Run, "projected", fails)
    with pytest.warns(SkippedWarning, match=r"documents\[0\]: not finite"):
        found = list(model.explain_matrix(SHORT[:1], LONG, n_steps=1, layer=5, errors="skip"))
    assert [(i, j) for i, j, _ in found] == [(0, 1)]
    with pytest.raises(FloatingPointError, match=r"documents\[0\]: not finite"):
        list(model.explain_matrix(SHORT[:1], LONG, n_steps=1, layer=5))


@pytest.mark.parametrize("units", ["words", "sentences"])
@pytest.mark.parametrize("texts", [SHORT, ("A bad coffee.", LONG[0])], ids=["forward", "reverse"])
def test_a_pair_in_coarser_units(model, texts, units):
    """They are the sums of tokens, whichever direction computes them."""
    how = {"layer": 4, "n_steps": 8}
    tokens, out = model.explain(*texts, **how), model.explain(*texts, units=units, **how)
    summed = tokens.over(a=units, b=units)
    assert out.tokens_a == summed.tokens_a
    assert out.tokens_b == summed.tokens_b
    assert out.pulled_back == tokens.pulled_back == ("b" if texts[1] is LONG[0] else None)
    np.testing.assert_allclose(out.matrix, summed.matrix, atol=1e-5)
    np.testing.assert_allclose(out.main_effects_b, summed.main_effects_b, atol=1e-5)
    assert out.score == pytest.approx(tokens.score, abs=1e-6)
    with pytest.raises(ValueError, match="feature pairs need tokens"):
        out.feature_pairs()


def test_units_of_a_pair_are_checked_first(model, monkeypatch):
    monkeypatch.setattr(batch_run, "split", lambda *_: pytest.fail("the work has begun"))
    with pytest.raises(ValueError, match=r"units must be one of .* got 'letters'"):
        model.explain(*SHORT, units="letters")
