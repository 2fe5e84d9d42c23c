"""A shift that was added to a model is told: the model's own score stands beside the score that is explained."""

import inspect
import json
import warnings
from dataclasses import replace

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

from tests.attribution.test_files import rewrite
from tests.tiny_models import TEXTS, save_tiny_model
from xsbert import Attribution, XSTransformer, load_factors, save_factors
from xsbert.models import ShiftWarning
from xsbert.utils import bipartite, heatmap, highlight, layers, waterfall

A, B = "The coffee is bad.", "This is not a good coffee."
OWN, SHIFTED = 0.7915, 0.9042
LAST = {"layer": 6, "n_steps": 1}


@pytest.fixture(scope="module")
def padded(plain):
    """The model with a shift by the padding token added."""
    return XSTransformer.wrap(plain, shift=True, reference="pad")


@pytest.fixture(scope="module")
def out(padded):
    with pytest.warns(ShiftWarning):
        return padded.attribute_prediction(A, B)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("tiny"), "bert")


# What it is


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("truncate_dim", [None, 7])
@pytest.mark.parametrize("normalise", [True, False], ids=["normalised", "not normalised"])
def test_it_is_the_similarity_of_the_unshifted_models_own_embeddings(tiny, normalise, truncate_dim, similarity):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        modules = [Transformer(tiny), Pooling(16), Dense(16, 12), *([Normalize()] if normalise else [])]
    plain = SentenceTransformer(
        modules=modules, device="cpu", truncate_dim=truncate_dim, similarity_fn_name=similarity
    ).eval()
    model = XSTransformer.wrap(plain, shift=True, reference="mask")
    long = " ".join(TEXTS * 3)
    changes = []
    for a, b in ((TEXTS[0], TEXTS[1]), (TEXTS[0], long), (long, TEXTS[0])):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ShiftWarning)
            out = model.attribute_prediction(a, b, layer=1, n_steps=4)
        assert out.score_unshifted == pytest.approx(float(plain.similarity(*plain.encode([a, b]))), rel=1e-5)
        assert out.score == pytest.approx(float(model.similarity(*model.encode([a, b]))), rel=1e-4)
        changes.append(abs(out.score - out.score_unshifted))
        assert out.words().score_unshifted == out.score_unshifted
    assert max(changes) > 1e-3, "a shift that changes nothing would make this test pass for the shifted score as well"


def test_of_the_real_model(out, padded):
    assert padded.shift_added
    assert out.score == pytest.approx(SHIFTED, abs=5e-5)
    assert out.score_unshifted == pytest.approx(OWN, abs=5e-5)


def test_a_model_that_is_not_shifted_has_none(model):
    assert not model.shift_added
    assert model.attribute_prediction(A, B, **LAST).score_unshifted is None


def test_a_saved_shift_is_part_of_the_model(padded, tmp_path):
    padded.save_pretrained(str(tmp_path))
    loaded = XSTransformer(str(tmp_path), device="cpu")
    assert loaded.shifted
    with warnings.catch_warnings():
        warnings.simplefilter("error", ShiftWarning)
        found = loaded.attribute_prediction(A, B, **LAST)
        again = XSTransformer.wrap(loaded, shift=True).attribute_prediction(A, B, **LAST)
    assert found.score == pytest.approx(SHIFTED, abs=5e-5)
    assert found.score_unshifted is again.score_unshifted is None
    # What was saved does not change the model in memory.
    assert padded.shift_added


def test_training_makes_the_shift_part_of_the_model(tiny):
    model = XSTransformer(tiny, shift=True, device="cpu")
    model.eval()
    model.encode(TEXTS)
    assert model.shift_added
    wrapped = XSTransformer.wrap(model)
    assert wrapped.shift_added
    model.train()
    model.eval()
    assert model.shifted
    assert not model.shift_added
    assert not wrapped.shift_added
    assert model.attribute_prediction(TEXTS[0], TEXTS[1], layer=1, n_steps=2).score_unshifted is None


# Where it is told


def test_account_and_representation(out, model):
    assert str(out).startswith("cosine similarity 0.9042\n")
    assert "the model's own, without the shift, is 0.7915" in str(out)
    assert repr(out).startswith("<Attribution: cosine similarity 0.9042 (0.7915 unshifted), ")
    own = model.attribute_prediction(A, B, **LAST)
    assert "own" not in str(own)
    assert "unshifted" not in repr(own)


def test_page(out, model):
    page = out.to_html()
    assert "<title>cosine similarity 0.9042 (0.7915 unshifted)</title>" in page
    # Both in what the script shows and in what remains without it.
    assert page.count("without the shift that was added to it, is 0.7915") == 2
    assert "without the shift that was" not in model.attribute_prediction(A, B, **LAST).to_html()


@pytest.mark.parametrize("draw", [heatmap, bipartite, highlight, waterfall, lambda out: layers([out])])
def test_pictures(draw, out, model):
    def title(result):
        ax = draw(result)[1]
        plt.close("all")
        return (ax[0] if isinstance(ax, np.ndarray) else ax).get_title("left").replace("\n", " ")

    assert "unshifted 0.79" in title(out)
    assert "unshifted" not in title(model.attribute_prediction(A, B, **LAST))


# The parts of an unmodified model


def test_that_the_matrix_is_not_the_score_is_said_where_it_is_so(out, model):
    own = model.attribute_prediction(A, B, **LAST)
    assert "pairs sum to the interactions alone" in str(own)
    # Both in what the script shows and in what remains without it.
    assert own.to_html().count("cells sum to the interactions, not to the score") == 2
    title = heatmap(own)[1].get_title("left").replace("\n", " ")
    interactions, *_, baseline = own.parts.values()
    assert f"similarity {own.score:.4f} = interactions {interactions:.3f} (the cells) + main" in title
    assert f" + baseline {baseline:.3f} error" in title
    assert ", +" not in title
    for said in ("to the interactions", "(the cells)"):
        assert said not in str(out) + out.to_html() + heatmap(out)[1].get_title("left")
    plt.close("all")


# The warning


def caught(compute):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        compute()
    return [warning for warning in found if issubclass(warning.category, ShiftWarning)]


def test_the_warning_names_both_scores_and_a_way_out(padded):
    line = inspect.currentframe().f_lineno + 1
    (warning,) = caught(lambda: padded.attribute_prediction(A, B, **LAST))
    assert (warning.filename, warning.lineno) == (__file__, line)
    assert issubclass(warning.category, UserWarning)
    for said in ("0.9042", "0.7915", "shift=True", "choose_reference", "train"):
        assert said in str(warning.message)


def test_many_pairs_warn_once(padded):
    pairs = [(A, B), (B, A), (A, A)]
    line = inspect.currentframe().f_lineno + 1
    (warning,) = caught(lambda: [*padded.explain_pairs(pairs, **LAST)])
    assert (warning.filename, warning.lineno) == (__file__, line)
    assert "0.9042" in str(warning.message)
    line = inspect.currentframe().f_lineno + 1
    (warning,) = caught(lambda: [*padded.explain_matrix([A, B], [B, A], **LAST)])
    assert (warning.filename, warning.lineno) == (__file__, line)


def test_explain_matrix_yields_places_and_results(padded):
    with pytest.warns(ShiftWarning):
        results = list(padded.explain_matrix([A, B], [B, A, B], **LAST))
    assert [place for *place, _ in results] == [[i, j] for i in range(2) for j in range(3)]
    assert [out.score for *_, out in results[:2]] == pytest.approx([SHIFTED, 1.0], abs=5e-5)


def test_a_small_change_is_not_warned_of(plain, padded):
    # The same text twice scores 1 with and without the shift.
    assert caught(lambda: padded.attribute_prediction(A, A, **LAST)) == []
    assert caught(lambda: list(padded.explain_pairs([(A, A), (B, B)], **LAST))) == []
    out = XSTransformer.wrap(plain, shift=True, reference="unk").attribute_prediction(A, B, **LAST)
    assert 1e-3 < abs(out.score - out.score_unshifted) < 0.05


def test_dot_products_are_measured_in_their_own_unit(tiny):
    modules = [Transformer(tiny), Pooling(16)]
    model = XSTransformer(modules=modules, shift=True, reference="mask", device="cpu", similarity_fn_name="dot").eval()
    changes = []
    for factor in (1.0, 1e-3):
        with torch.no_grad():
            norm = model[0].model.encoder.layer[-1].output.LayerNorm
            norm.weight *= factor
            norm.bias *= factor
        changes.append(len(caught(lambda: model.attribute_prediction(TEXTS[0], TEXTS[1], layer=2, n_steps=1))))
    assert changes == [1, 1]


# Files


def test_a_saved_result_keeps_it(out, model, tmp_path):
    out.save(tmp_path / "r")
    loaded = Attribution.load(tmp_path / "r")
    assert loaded.score_unshifted == out.score_unshifted
    assert loaded.a.embedding_unshifted.tobytes() == out.a.embedding_unshifted.tobytes()
    assert str(loaded) == str(out)
    model.attribute_prediction(A, B, **LAST).save(tmp_path / "own")
    assert Attribution.load(tmp_path / "own").score_unshifted is None


@pytest.mark.parametrize(
    ("embedding", "problem"),
    [
        (np.zeros(384), "the unshifted embeddings have no similarity"),
        (np.full(384, np.inf), "a.embedding_unshifted holds numbers that are not finite"),
        (np.ones(3), "a.embedding_unshifted is not as wide as a.factors"),
    ],
)
def test_a_damaged_result_is_refused(embedding, problem, out, tmp_path):
    out.save(tmp_path / "r")
    rewrite(tmp_path / "r", arrays={"a.embedding_unshifted": embedding})
    with pytest.raises(ValueError, match=problem):
        Attribution.load(tmp_path / "r")


def test_saved_factors_keep_it(padded, tmp_path):
    factors = padded.token_factors([A, B], **LAST)
    save_factors(tmp_path / "f", factors)
    loaded = load_factors(tmp_path / "f")
    for was, now in zip(factors, loaded, strict=True):
        assert now.embedding_unshifted.tobytes() == was.embedding_unshifted.tobytes()
    assert Attribution.of(*loaded, "cosine").score_unshifted == pytest.approx(OWN, abs=5e-5)


def test_factors_with_and_without_it_in_one_file(padded, tmp_path):
    factors = padded.token_factors([A, B], **LAST)
    # As of the same model after it was saved and loaded.
    mixed = [factors[0], replace(factors[1], embedding_unshifted=None)]
    save_factors(tmp_path / "f", mixed)
    loaded = load_factors(tmp_path / "f")
    assert loaded[0].embedding_unshifted.tobytes() == factors[0].embedding_unshifted.tobytes()
    assert loaded[1].embedding_unshifted is None
    assert Attribution.of(*loaded, "cosine").score_unshifted is None


def test_a_damaged_row_does_not_fit_its_checksum(padded, tmp_path):
    path = tmp_path / "f"
    save_factors(path, padded.token_factors([A], **LAST))
    content = bytearray(path.read_bytes())
    length = int.from_bytes(content[:8], "little")
    start = json.loads(content[8 : 8 + length])["unshifted"]["data_offsets"][0]
    content[8 + length + start] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="does not fit its checksum"):
        load_factors(path)
