"""Sums over a corpus against plain sums over the attributions themselves."""

from collections import defaultdict

import numpy as np
import pytest
from scipy.stats import t as student

from tests.tiny_models import TEXTS, save_tiny_model
from xsbert import XSTransformer, aggregate, explain_corpus

FEW = {"n_steps": 3, "shard_size": 4, "show_progress_bar": False}
PAIRS = [(TEXTS[i % 6], TEXTS[(i * i + 1) % 6]) for i in range(9)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return XSTransformer(save_tiny_model(tmp_path_factory.mktemp("tiny")), device="cpu")


@pytest.fixture(scope="module")
def corpora(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    rows = [*PAIRS, ("", "a cat")]
    return {
        "pairs": explain_corpus(tiny, rows, folder / "pairs", **FEW),
        "top": explain_corpus(tiny, rows, folder / "top", top_k=3, **FEW),
        "highlights": explain_corpus(tiny, rows, folder / "highlights", what="highlights", **FEW),
        "factors": explain_corpus(tiny, TEXTS, folder / "factors", what="factors", **FEW),
    }


@pytest.fixture(scope="module")
def results(tiny):
    return [out.words() for out in tiny.explain_pairs(PAIRS, n_steps=3)]


def words_of(side):
    """The words of a text, None for special tokens, which are none."""
    return [None if role == "special" else word for word, role in zip(side.tokens, side.roles, strict=True)]


def of_units(results):
    """For each word, the list of its contributions in each row."""
    found = defaultdict(lambda: defaultdict(list))
    for row, out in enumerate(results):
        for word, value in zip(words_of(out.a), 0.5 * out.matrix.sum(1) + out.main_effects_a, strict=True):
            found[word][row].append(value)
        for word, value in zip(words_of(out.b), 0.5 * out.matrix.sum(0) + out.main_effects_b, strict=True):
            found[word][row].append(value)
    return found


def of_pairs(results):
    found = defaultdict(lambda: defaultdict(list))
    for row, out in enumerate(results):
        for s, a in enumerate(words_of(out.a)):
            for t, b in enumerate(words_of(out.b)):
                found[a, b][row].append(out.matrix[s, t])
    return found


def check_against(table, expected, confidence=0.95):
    names = [name for name in table.column_names if name.startswith("label")]
    found = {tuple(row[name] for name in names): row for row in table.to_pylist()}
    assert found.keys() == {label if isinstance(label, tuple) else (label,) for label in expected}
    for label, rows in expected.items():
        row = found[label if isinstance(label, tuple) else (label,)]
        values = np.concatenate([*rows.values()])
        assert (row["count"], row["rows"]) == (len(values), len(rows))
        assert row["sum"] == pytest.approx(values.sum(), abs=1e-6)
        assert row["mean"] == pytest.approx(values.mean(), abs=1e-6)
        if len(rows) == 1:
            assert row["low"] is row["high"] is None
            continue
        # Residuals of each row from the ratio, whose variance is that of the mean.
        gaps = [np.sum(each) - values.mean() * len(each) for each in rows.values()]
        error = np.std(gaps, ddof=1) * np.sqrt(len(rows)) / len(values)
        margin = student.ppf(0.5 + confidence / 2, len(rows) - 1) * error
        assert row["low"] == pytest.approx(values.mean() - margin, abs=1e-6)
        assert row["high"] == pytest.approx(values.mean() + margin, abs=1e-6)
    sums = np.abs(table["sum"])
    assert (np.diff(sums) <= 0).all()


def test_words(corpora, results):
    check_against(aggregate(corpora["pairs"], by="word"), of_units(results))
    check_against(aggregate(corpora["top"].folder.path, confidence=0.5), of_units(results), 0.5)


def test_pairs_of_words(corpora, results):
    check_against(aggregate(corpora["pairs"], of="pairs"), of_pairs(results))


@pytest.mark.parametrize("what", ["pairs", "highlights"])
def test_all_units_and_the_baselines_sum_to_the_scores(corpora, what):
    rows = [row for row in corpora[what].to_table().to_pylist() if row["reason"] is None]
    total = sum(aggregate(corpora[what], by="role")["sum"].to_pylist()) + sum(row["baseline"] for row in rows)
    assert total == pytest.approx(sum(row["score"] for row in rows), abs=sum(row["error"] for row in rows) + 1e-9)


def test_labels_of_a_function(corpora, results):
    def label(units):
        assert units.side in "ab"
        assert len(units.units) == len(units.roles) == len(units.spans)
        assert units.row[f"text_{units.side}"] == units.text
        return [{"cat": "animal", "dog": "animal", "bird": "animal"}.get(unit) for unit in units.units]

    expected = defaultdict(lambda: defaultdict(list))
    for word, rows in of_units(results).items():
        for row, values in rows.items():
            expected["animal" if word in ("cat", "dog", "bird") else None][row] += values
    check_against(aggregate(corpora["pairs"], by=label), expected)


def test_a_mean_of_equal_values_has_no_width(corpora):
    """Of a corpus in which a pair recurs, every row has the same contributions."""
    table = aggregate(corpora["pairs"], by=lambda units: [units.row["text_a"] + units.row["text_b"]] * len(units.units))
    assert any(row["rows"] > 1 for row in table.to_pylist())
    for row in table.to_pylist():
        if row["rows"] > 1:
            assert row["low"] == pytest.approx(row["high"], abs=1e-7)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("factors", {}, ValueError, "has no contributions"),
        ("top", {"of": "pairs"}, ValueError, "would be biased; this corpus has what='pairs', top_k=3"),
        ("highlights", {"of": "pairs"}, ValueError, "what='highlights'"),
        ("pairs", {"of": "cells"}, ValueError, "of must be one of 'units', 'pairs'"),
        ("pairs", {"by": "pos"}, ValueError, "by must be 'word', 'role' or a function"),
        ("pairs", {"confidence": 1}, ValueError, "confidence must be between 0 and 1"),
        ("pairs", {"by": lambda units: ["x"]}, TypeError, "by must give .* labels"),
        ("pairs", {"by": lambda units: [7] * len(units.units)}, TypeError, "must give strings or None, got 7"),
    ],
)
def test_what_cannot_be_summed(corpora, name, options, error, message):
    with pytest.raises(error, match=message):
        aggregate(corpora[name], **options)
