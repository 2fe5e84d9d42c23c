"""Positions of the reference: those of the text, or those that RoBERTa and MPNet give padding, as published."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling

from tests.attribution.test_files import SETTINGS, make_result, rewrite
from tests.factors.test_files import make_factors
from tests.published import published_matrices
from tests.tiny import write_model
from tests.tiny_models import TEXTS, save_tiny_model
from xsbert import Attribution, XSMPNet, XSRoberta, XSTransformer, load_factors, save_factors, shift_cost
from xsbert.models import ReferenceTransformer

CLASSES = {"roberta": XSRoberta, "mpnet": XSMPNet}
PAIR = ("Bad coffee.", "No good coffee.")
REAL_STEPS = (4, 3)
STEPS = {"layer": 1, "n_steps": 3}


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Tiny random transformers by model type."""
    return {name: save_tiny_model(tmp_path_factory.mktemp(name), name) for name in ("bert", "roberta", "mpnet")}


@pytest.fixture(scope="module", params=CLASSES)
def path(request, paths):
    return paths[request.param]


@pytest.fixture(scope="module", params=CLASSES)
def real(request):
    """Real weights, and what the published algorithm finds with them off the shelf and shifted."""
    path = request.getfixturevalue(f"{request.param}_path")
    return CLASSES[request.param], path, published_matrices(path, *PAIR, *REAL_STEPS)


# The published algorithm


@pytest.mark.parametrize("shift", [False, True], ids=["off the shelf", "shifted"])
def test_the_published_matrices(real, shift):
    cls, path, matrices = real
    check_published(cls, path, PAIR, *REAL_STEPS, shift, "cosine", matrices["shifted cosine" if shift else "cosine"])


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("name", CLASSES)
def test_the_published_matrices_at_every_layer(name, layer, paths):
    matrices = published_matrices(paths[name], *TEXTS[:2], layer, 7)
    for shift in (False, True):
        for similarity, kind in (("cosine", "shifted cosine" if shift else "cosine"), ("dot", "dot")):
            check_published(CLASSES[name], paths[name], TEXTS[:2], layer, 7, shift, similarity, matrices[kind])


def check_published(cls, path, texts, layer, n_steps, shift, similarity, expected):
    how = {"layer": layer, "n_steps": n_steps, "rule": "riemann-right", "similarity": similarity}
    size = np.abs(expected).max() if similarity == "dot" else 1
    model = cls(path, shift=shift, reference="pad", reference_positions="padding", device="cpu")
    assert np.abs(model.attribute_prediction(*texts, **how).matrix - expected).max() < 1e-5 * size
    other = cls(path, shift=shift, device="cpu")
    assert np.abs(other.attribute_prediction(*texts, **how).matrix - expected).max() > 1e-2 * size


def test_they_sum_to_the_score(real):
    cls, path, _ = real
    model = cls(path, shift=True, reference_positions="padding", device="cpu")
    out = model.attribute_prediction(*PAIR, layer=4, n_steps=12)
    a, b = model.encode(list(PAIR))
    assert out.score == pytest.approx(float(model.similarity(a, b)), abs=1e-6)
    assert out.matrix.sum() == pytest.approx(out.score, abs=1e-3)
    assert np.abs(a - cls(path, shift=True, device="cpu").encode(PAIR[0])).max() > 1e-3


# Where it is said


def test_every_call_takes_it(path):
    model, own = (
        XSTransformer(path, reference="pad", device="cpu", **how) for how in ({}, {"reference_positions": "padding"})
    )
    assert (model.reference_positions, own.reference_positions) == ("text", "padding")
    expected = own.attribute_prediction(*TEXTS[:2], **STEPS)
    text = model.attribute_prediction(*TEXTS[:2], **STEPS)
    asked = {**STEPS, "reference_positions": "padding"}
    (pair,) = model.explain_pairs([TEXTS[:2]], **asked)
    ((_, _, cell),) = model.explain_matrix(TEXTS[:1], TEXTS[1:2], **asked)
    for out in (model.attribute_prediction(*TEXTS[:2], **asked), pair, cell):
        assert out.settings.reference_positions == "padding"
        np.testing.assert_allclose(out.matrix, expected.matrix, atol=1e-5)
        assert np.abs(out.matrix - text.matrix).max() > 1e-2
        assert out.score == pytest.approx(text.score, abs=1e-6)
    for given, wanted in (("text", text), (None, expected)):
        out = own.attribute_prediction(*TEXTS[:2], **STEPS, reference_positions=given)
        np.testing.assert_allclose(out.matrix, wanted.matrix, atol=1e-5)
    with pytest.raises(ValueError, match="factors of different reference_positions cannot be combined"):
        Attribution.of(pair.a, text.b, "cosine")
    wrapped = XSTransformer.wrap(SentenceTransformer(path, device="cpu"), reference_positions="padding")
    np.testing.assert_allclose(wrapped.attribute_prediction(*TEXTS[:2], **STEPS).matrix, expected.matrix, atol=1e-5)


def test_memory_is_predicted_with_it(path, paths):
    model = XSTransformer(path, device="cpu")
    assert model.predict_memory(TEXTS[0], layer=1, reference_positions="padding") > 0
    with pytest.raises(ValueError, match="reference_positions='padding'"):
        XSTransformer(paths["bert"], device="cpu").predict_memory(TEXTS[0], reference_positions="padding")


def test_a_result_names_it(path):
    model = XSTransformer(path, shift=True, reference_positions="padding", device="cpu")
    out = model.attribute_prediction(*TEXTS[:2], **STEPS)
    assert "reference <pad>, positions of padding, shifted, float32" in str(out)
    assert "positions of padding" in out.to_html()
    text = XSTransformer(path, shift=True, reference="pad", device="cpu").attribute_prediction(*TEXTS[:2], **STEPS)
    assert "reference <pad>, shifted, float32" in str(text)
    assert "positions of" not in text.to_html()


def test_files_keep_it_and_older_ones_mean_the_text(tmp_path):
    settings = replace(SETTINGS, reference_positions="padding")
    file = tmp_path / "result.safetensors"
    replace(make_result(), settings=settings).save(file)
    assert Attribution.load(file).settings == settings
    rewrite(file, lambda content: content["settings"].pop("reference_positions"))
    assert Attribution.load(file).settings == SETTINGS

    factors = make_factors(settings=settings)
    save_factors(tmp_path / "factors", factors)
    assert load_factors(tmp_path / "factors")[0].settings == settings
    with pytest.raises(ValueError, match="different reference_positions cannot be combined: 'padding' and 'text'"):
        save_factors(tmp_path / "both", [factors[0], replace(factors[1], settings=SETTINGS)])


def test_a_saved_model_keeps_it(path, tmp_path):
    model = XSTransformer(path, shift=True, reference_positions="padding", device="cpu")
    embeddings = model.encode(TEXTS)
    model.save_pretrained(str(tmp_path))
    assert "`<pad>` but the special ones, at the position of padding" in (tmp_path / "README.md").read_text()
    trusted = SentenceTransformer(str(tmp_path), trust_remote_code=True, device="cpu")
    for again in (
        XSTransformer(str(tmp_path), device="cpu"),
        XSTransformer(str(tmp_path), reference="pad", reference_positions="padding", device="cpu"),
        XSTransformer.wrap(trusted, shift=True, reference_positions="padding"),
    ):
        assert again.reference_positions == "padding"
        assert np.abs(again.encode(TEXTS) - embeddings).max() < 1e-6
        assert again.attribute_prediction(*TEXTS[:2], **STEPS).settings.reference_positions == "padding"
    assert np.abs(embeddings - XSTransformer(path, shift=True, device="cpu").encode(TEXTS)).max() > 1e-2


def test_an_unk_reference_left_to_the_model_is_numbered_as_text(path):
    model = XSTransformer(path, shift=True, reference="unk", device="cpu")
    left = ReferenceTransformer.from_transformer(model[0], replace(model[0].reference, position_offset=None))
    again = XSTransformer(modules=[left, *list(model)[1:]], device="cpu")
    assert again.reference_positions == "text"
    assert np.abs(again.encode(TEXTS) - model.encode(TEXTS)).max() < 1e-6


def test_what_it_costs(path):
    scores = np.arange(len(TEXTS))
    cost = shift_cost(
        SentenceTransformer(path, device="cpu"), TEXTS, TEXTS[::-1], scores, reference_positions="padding"
    )
    assert [(row.reference, row.reference_positions) for row in cost.rows] == [(None, "text"), ("<pad>", "padding")]
    assert "<pad>, positions of padding" in str(cost)
    model = XSTransformer(path, shift=True, reference_positions="padding", device="cpu")
    a, b = model.encode(TEXTS), model.encode(TEXTS[::-1])
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cost.rows[1].pearson == pytest.approx(np.corrcoef(cosines, scores)[0, 1], abs=1e-4)
    with pytest.raises(ValueError, match=r"numbers the reference '<unk>'.*like text"):
        shift_cost(model=SentenceTransformer(path, device="cpu"), texts_a=TEXTS, texts_b=TEXTS, scores=scores,
                   references=["unk"], reference_positions="padding")  # fmt: skip


# What is refused


@pytest.mark.parametrize("architecture", ["bert", "distilbert", "qwen3", "t5"])
def test_a_model_without_a_position_of_padding(architecture, tmp_path):
    path = write_model(architecture, tmp_path)
    message = r"reference_positions='padding': \w+ has no position of padding, its positions do not depend on the tok"
    for shift in (False, True):
        with pytest.raises(ValueError, match=message):
            XSTransformer(path, shift=shift, reference_positions="padding", device="cpu")
        model = XSTransformer(path, shift=shift, reference="pad", reference_positions="text", device="cpu")
        assert model.reference_positions == "text"
        with pytest.raises(ValueError, match=message):
            model.attribute_prediction("the giant", "a traveller", reference_positions="padding")


def test_a_token_that_the_model_numbers_as_text(path):
    message = r"gives the padding position only to the token with id 1, and numbers the reference '<mask>'"
    with pytest.raises(ValueError, match=message):
        XSTransformer(path, shift=True, reference="mask", reference_positions="padding", device="cpu")
    model = XSTransformer(path, reference_positions="padding", device="cpu")
    with pytest.raises(ValueError, match=message):
        model.token_factors(TEXTS, reference="mask")
    out = model.attribute_prediction(*TEXTS[:2], reference="mask", reference_positions="text", **STEPS)
    assert (out.settings.reference, out.settings.reference_positions) == ("<mask>", "text")


def test_a_padding_token_other_than_the_models(paths, tmp_path):
    # MPNet has id 1 written into its code, whatever the tokenizer pads with.
    model = SentenceTransformer(paths["mpnet"], device="cpu")
    model.tokenizer.pad_token = "<unk>"
    modules = [model[0], Pooling(16)]
    with pytest.raises(ValueError, match=r"token with id 1, and numbers the reference '<unk>' with id 3"):
        XSTransformer(modules=modules, reference_positions="padding", device="cpu")


@pytest.mark.parametrize("own", ["text", "padding"])
def test_other_positions_than_those_of_the_shift(own, path, tmp_path):
    model = XSTransformer(path, shift=True, reference="pad", reference_positions=own, device="cpu")
    model.save_pretrained(str(tmp_path))
    other = "text" if own == "padding" else "padding"
    message = f"shifted by the reference '<pad>' with reference_positions='{own}'.*got reference_positions='{other}'"
    with pytest.raises(ValueError, match=message):
        model.attribute_prediction(*TEXTS[:2], reference_positions=other)
    with pytest.raises(ValueError, match=message):
        XSTransformer.wrap(model, reference_positions=other)
    with pytest.raises(ValueError, match=message):
        XSTransformer(str(tmp_path), reference_positions=other, device="cpu")
    with pytest.raises(ValueError, match="shifted by the reference '<pad>', which is part"):
        model.attribute_prediction(*TEXTS[:2], reference="unk")


@pytest.mark.parametrize("given", ["own", 3, ["text"]])
def test_an_unknown_value(given, path):
    with pytest.raises(ValueError, match="reference_positions must be None, 'text' or 'padding', got"):
        XSTransformer(path, reference_positions=given, device="cpu")
    for shift in (False, True):
        model = XSTransformer(path, shift=shift, device="cpu")
        with pytest.raises(ValueError, match="reference_positions must be None, 'text' or 'padding', got"):
            model.attribute_prediction(*TEXTS[:2], reference_positions=given)


def test_a_saved_offset_that_the_model_does_not_have(path, tmp_path):
    XSTransformer(path, shift=True, device="cpu").save_pretrained(str(tmp_path))
    file = tmp_path / "sentence_bert_config.json"
    config = json.loads(file.read_text())
    for offset in (3, 0, 10**6, 10**30):
        config["reference"]["position_offset"] = offset
        file.write_text(json.dumps(config))
        with pytest.raises(ValueError, match=f"position_offset={offset}, and the model allows 2 or None"):
            XSTransformer(str(tmp_path), device="cpu")
