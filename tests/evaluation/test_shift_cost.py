"""What the shift costs: the same numbers as by the long way round."""

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

from tests.tiny_models import TEXTS, WORDS, save_tiny_model
from xsbert import XSTransformer, shift_cost

CHANCE = np.random.default_rng(0)
TEXTS_A = [" ".join(CHANCE.choice(WORDS, CHANCE.integers(1, 9))) for _ in range(40)]
TEXTS_B = [" ".join(CHANCE.choice(WORDS, CHANCE.integers(1, 9))) for _ in range(40)]
SCORES = CHANCE.uniform(0, 5, 40)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model"), "roberta")


def build(path, normalise, **options):
    modules = [Transformer(path), Pooling(16)] + ([Normalize()] if normalise else [])
    return SentenceTransformer(modules=modules, device="cpu", **options)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize(
    ("normalise", "options"),
    [
        (True, {}),
        (False, {}),
        (True, {"truncate_dim": 7}),
        (False, {"prompts": {"it": "the old "}, "default_prompt_name": "it"}),
    ],
)
def test_the_long_way_round(similarity, normalise, options, path):
    model = build(path, normalise, **options)
    cost = shift_cost(model, TEXTS_A, TEXTS_B, SCORES, similarity=similarity)
    assert [row.reference for row in cost.rows] == [None, "<pad>", "<unk>", "<mask>"]
    base = None
    for row in cost.rows:
        direct = model if row.reference is None else XSTransformer.wrap(model, shift=True, reference=row.reference)
        a, b = direct.encode(TEXTS_A).astype(float), direct.encode(TEXTS_B).astype(float)
        if similarity == "cosine":
            a, b = (e / np.linalg.norm(e, axis=1, keepdims=True) for e in (a, b))
        values = (a * b).sum(1)
        base = values if base is None else base
        assert row.pearson == pytest.approx(pearsonr(values, SCORES).statistic, abs=1e-4)
        assert row.spearman == pytest.approx(spearmanr(values, SCORES).statistic, abs=2e-3)
        assert row.rank_agreement == pytest.approx(spearmanr(values, base).statistic, abs=2e-3)
    assert cost.best.spearman == max(row.spearman for row in cost.rows[1:])
    assert cost.rows[0].rank_agreement == pytest.approx(1)


def test_the_model_stays_as_it_is(path):
    model = build(path, normalise=True, truncate_dim=5)
    names, before = list(model._modules), model.encode(TEXTS)
    shift_cost(model, TEXTS_A, TEXTS_B, SCORES, references=["unk"])
    assert list(model._modules) == names
    assert np.array_equal(model.encode(TEXTS), before)


def test_it_prints_as_a_table(path):
    cost = shift_cost(build(path, normalise=False), TEXTS_A, TEXTS_B, SCORES, references=["mask"])
    lines = str(cost).splitlines()
    assert lines[0] == "cosine similarity on 40 pairs"
    assert len({len(line) for line in lines[1:]}) == 1
    assert f"{cost.rows[1].spearman - cost.rows[0].spearman:+.4f}" in lines[3]
    html = cost._repr_html_()
    assert "<td>&lt;mask&gt;</td>" in html
    assert html.count("<tr>") == 3


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"texts_a": TEXTS_A[:-1]}, ValueError, r"equally many, at least 3, got \(39, 40, 40\)"),
        ({"texts_a": [], "texts_b": [], "scores": []}, ValueError, "at least 3"),
        ({"texts_b": [*TEXTS_B[:-1], " "]}, ValueError, r"texts_b\[39\] must hold some text"),
        ({"scores": [1.0] * 40}, ValueError, "not all the same"),
        ({"scores": [float("nan"), *SCORES[1:]]}, ValueError, "finite"),
        ({"references": "pad"}, TypeError, "sequence of strings"),
        ({"references": ["nonsense"]}, ValueError, "not in the tokenizer's vocabulary"),
        ({"similarity": "euclidean"}, ValueError, "must be None, 'cosine' or 'dot'"),
    ],
)
def test_what_is_refused(change, error, message, path):
    arguments = {"texts_a": TEXTS_A, "texts_b": TEXTS_B, "scores": SCORES, **change}
    with pytest.raises(error, match=message):
        shift_cost(build(path, normalise=False), **arguments)


def test_a_shifted_model_is_refused(path):
    with pytest.raises(ValueError, match="shifted already"):
        shift_cost(XSTransformer(path, shift=True, device="cpu"), TEXTS_A, TEXTS_B, SCORES)
