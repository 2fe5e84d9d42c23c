"""Estimates of cost count what an explanation does, and leave the model as it is."""

import numpy as np
import pytest

from tests.tiny import write_model
from xsbert import XSTransformer
from xsbert.models import cost
from xsbert.models.cost import estimated_cost, n_passes, spoken

SHORT, LONG = "the giant .", "the gentle tall giant traveller did not unpack his bags ."
QUERY = "a tall traveller"
HOW = {"layer": 1, "tolerance": 0.05}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return XSTransformer(write_model("bert", tmp_path_factory.mktemp("tiny"), normalize=True), device="cpu")


def test_two_texts_are_counted_exactly(tiny):
    found = tiny.estimate_cost([SHORT, LONG, SHORT], **HOW)
    sides = tiny.text_factors([SHORT, LONG], **HOW)
    assert found.n_texts == 2
    assert found.n_tokens == sum(len(side.tokens) for side in sides)
    assert found.n_passes == sum(map(n_passes, sides))
    assert [text.n_steps for text in found.timed] == [side.settings.n_steps for side in sides]
    settings = sides[1].settings
    assert n_passes(sides[1]) == settings.n_looks + settings.n_steps * (len(sides[1].tokens) + 1)


def test_units_and_a_single_text(tiny):
    found = tiny.estimate_cost([LONG], units="sentences", **HOW)
    (side,) = tiny.text_factors([LONG], units="sentences", **HOW)
    assert found.n_passes == n_passes(side) < tiny.estimate_cost([LONG], **HOW).n_passes
    assert len(found.timed) == 1
    assert "1 texts" in str(found)


def test_a_ranking(tiny):
    documents = [SHORT, LONG, "a gentle giant", "his bags"]
    every = tiny.estimate_cost(documents, query=QUERY, **HOW)
    best = tiny.estimate_cost(documents, query=QUERY, top_k=2, **HOW)
    assert (every.n_texts, best.n_texts) == (4, 2)
    assert best.n_passes == pytest.approx(every.n_passes / 2, abs=1)
    pairs = tiny.estimate_cost(documents, query=QUERY, detail="pairs", **HOW)
    assert pairs.n_passes > every.n_passes


def test_given_embeddings_save_the_encoding(tiny, monkeypatch):
    """With a clock that counts calls, every measurement takes one second."""
    ticks = iter(range(1000))
    monkeypatch.setattr(cost, "perf_counter", lambda: float(next(ticks)))
    documents = [SHORT, LONG]
    without = tiny.estimate_cost(documents, query=QUERY, **HOW)
    given = tiny.estimate_cost(documents, query=QUERY, document_embeddings=tiny.encode_document(documents), **HOW)
    assert without.seconds - given.seconds == pytest.approx(without.seconds_to_encode)
    assert given.seconds_to_encode == without.seconds_to_encode > 0


def test_the_extrapolation(monkeypatch):
    """Work proportional to passes times tokens, beside a fixed part, is found again."""
    now = [0.0]
    monkeypatch.setattr(cost, "perf_counter", lambda: now[0])
    lengths = [10, 20, 30, 40]

    class Side:
        settings = type("Settings", (), {"n_steps": 3, "n_looks": 0})

    monkeypatch.setattr(cost, "settings_of", lambda side: side.settings)

    def explain(places):
        now[0] += 2.0 + sum(0.001 * 5 * lengths[place] ** 2 for place in places)
        return [(Side(), 5 * lengths[place]) for place in places]

    def encode(places):
        now[0] += 0.01 * sum(lengths[place] for place in places)

    found = estimated_cost(explain, encode, lengths)
    assert found.n_passes == 5 * sum(lengths)
    assert found.seconds == pytest.approx(2 + 0.005 * np.square(lengths).sum())
    assert found.seconds_to_encode == pytest.approx(1.0)
    half = estimated_cost(explain, encode, lengths, 2, encodes=True)
    assert half.seconds == pytest.approx(2 + 0.005 * np.square(lengths).sum() / 2 + 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"texts": []}, "texts must hold at least one text"),
        ({"top_k": 2}, "give its query"),
        ({"document_embeddings": np.ones((1, 16))}, "give its query"),
        ({"query": QUERY, "task": "query"}, "task has no effect with a query"),
        ({"query": QUERY, "top_k": 0}, "top_k must be None or an integer of at least 1"),
        ({"query": QUERY, "detail": "words"}, "detail must be one of"),
        ({"units": "letters"}, "units"),
    ],
)
def test_what_is_refused(tiny, given, message):
    with pytest.raises(ValueError, match=message):
        tiny.estimate_cost(**{"texts": [SHORT], **given}, **HOW)


def test_durations_in_words():
    assert [spoken(each) for each in (0.012, 4.21, 59.7, 600, 9000)] == [
        "0.012 s",
        "4.2 s",
        "60 s",
        "10 minutes",
        "2.5 hours",
    ]
