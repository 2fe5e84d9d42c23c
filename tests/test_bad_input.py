"""Every bad argument is named, with what was given and what is allowed, before any work is done."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import xsbert.engine.batch_run
from tests.tiny import write_model
from xsbert import XSTransformer


@pytest.fixture
def idle(model, monkeypatch):
    """The model; fails the test where work is begun."""

    def worked(*args, **kwargs):
        raise AssertionError("work was done before the argument was looked at")

    monkeypatch.setattr(xsbert.engine.batch_run, "split", worked)
    return model


BAD = [
    ({"text_a": 3}, TypeError, "text_a must be a string, got int: 3"),
    ({"text_b": ["a list"]}, TypeError, "text_b must be a string, got list"),
    ({"text_a": None}, TypeError, "text_a must be a string"),
    ({"text_a": ""}, ValueError, "text_a must hold some text, got ''"),
    ({"text_b": " \n\t "}, ValueError, "text_b must hold some text"),
    ({"layer": 7}, ValueError, "layer must be between -6 and 6, the last hidden state, got 7"),
    ({"layer": -7}, ValueError, "layer must be between -6 and 6"),
    ({"layer": 1.0}, TypeError, "layer must be an integer, got 1.0"),
    ({"layer": True}, TypeError, "layer must be an integer"),
    ({"n_steps": 0}, ValueError, "n_steps must be at least 1, got 0"),
    ({"n_steps": 1.5}, TypeError, "n_steps must be an integer, got 1.5"),
    ({"rule": "simpson"}, ValueError, "rule must be one of .*gauss-legendre.*, got 'simpson'"),
    ({"rule": "midpoint"}, ValueError, "rule='midpoint' needs n_steps"),
    ({"tolerance": 0}, ValueError, "tolerance must be above 0, got 0"),
    ({"tolerance": float("nan")}, ValueError, "tolerance must be above 0, got nan"),
    ({"tolerance": True}, TypeError, "tolerance must be a number, got True"),
    ({"tolerance": np.True_}, TypeError, "tolerance must be a number, got"),
    ({"max_steps": np.float32(3)}, ValueError, "max_steps must be an integer of at least 1"),
    ({"chunk_size": True}, ValueError, "chunk_size must be None or an integer of at least 1, got True"),
    ({"tolerance": "1e-3"}, TypeError, "tolerance must be a number, got '1e-3'"),
    ({"tolerance": 0.1, "n_steps": 4}, ValueError, "pass tolerance or n_steps, not both, got 0.1 and 4"),
    ({"max_steps": 0}, ValueError, "max_steps must be an integer of at least 1, got 0"),
    ({"similarity": "euclidean"}, ValueError, "euclidean.*only bilinear similarities"),
    ({"similarity": "manhattan"}, ValueError, "manhattan.*only bilinear similarities"),
    ({"similarity": "jaccard"}, ValueError, "similarity must be None, 'cosine' or 'dot', got 'jaccard'"),
    ({"similarity": "cos"}, ValueError, "'cosine' or 'dot', got 'cos'; did you mean 'cosine'\\?"),
    ({"similarity": "Cosine"}, ValueError, "did you mean 'cosine'\\?"),
    ({"similarity": "dot_product"}, ValueError, "did you mean 'dot'\\?"),
    ({"similarity": "inner product"}, ValueError, "did you mean 'dot'\\?"),
    ({"similarity": "jaccard"}, ValueError, "got 'jaccard'$"),
    ({"similarity": ["cos"]}, ValueError, "similarity must be None, 'cosine' or 'dot'"),
    ({"reference": "nosuchtokenatall"}, ValueError, "reference='nosuchtokenatall' is not in the tokenizer's vocab"),
    ({"reference": 5}, TypeError, "reference must be a string or a sequence of strings, got 5"),
    ({"chunk_size": 0}, ValueError, "chunk_size must be None or an integer of at least 1, got 0"),
    ({"memory_budget": 0}, ValueError, "memory_budget must be above 0 bytes and finite, got 0"),
    ({"memory_budget": float("inf")}, ValueError, "memory_budget must be above 0 bytes and finite, got inf"),
    ({"memory_budget": "2 GB"}, TypeError, "memory_budget must be None or a number of bytes, got '2 GB'"),
    ({"memory_budget": 1e9, "chunk_size": 4}, ValueError, "pass memory_budget or chunk_size, not both"),
    (
        {"derivative_dtype": "int8"},
        ValueError,
        "derivative_dtype must be None or one of 'bfloat16', 'float16', got 'int8'",
    ),
    ({"prompt": 3}, TypeError, "prompt must be a string, None, or a pair of these, got 3"),
    ({"prompt": ("a", "b", "c")}, TypeError, "prompt must be a string, None, or a pair"),
    ({"prompt_name": "nosuch"}, ValueError, "prompt_name must be one of .*'query'.*, got 'nosuch'"),
    ({"prompt": "a", "prompt_name": "query"}, ValueError, "pass prompt or prompt_name, not both"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD, ids=[str(change) for change, _, _ in BAD])
def test_bad_arguments(idle, change, error, message):
    with pytest.raises(error, match=message):
        idle.attribute_prediction(**{"text_a": "One text.", "text_b": "Another.", **change})


@pytest.mark.parametrize(
    ("pairs", "named"),
    [
        (["ab"], r"pairs\[0\] must be two texts, got 'ab'"),
        ([("a", "b"), ("a", "b", "c")], r"pairs\[1\] must be two texts, got \('a', 'b', 'c'\)"),
        (("a cold day", "freezing weather"), r"pairs\[0\] must be two texts, got 'a cold day'"),
        ([{"a": "x", "b": "y"}], r"pairs\[0\] must be two texts, got \{'a'"),
        ([3], r"pairs\[0\] must be two texts, got 3"),
    ],
)
def test_what_is_no_pair(idle, pairs, named):
    for errors in ("raise", "skip"):
        with pytest.raises(TypeError, match=named):
            idle.explain_pairs(pairs, errors=errors)


def test_a_models_own_similarity_that_does_not_decompose(plain):
    model = XSTransformer.wrap(plain)
    model.similarity_fn_name = "euclidean"
    with pytest.raises(ValueError, match="similarity='euclidean' cannot be explained: only bilinear"):
        model.attribute_prediction("One text.", "Another.")
    assert plain.similarity_fn_name == "cosine"


def test_a_reference_that_the_tokenizer_lacks(tmp_path):
    model = XSTransformer(write_model("bert", tmp_path), device="cpu")
    model.tokenizer.mask_token = None
    with pytest.raises(ValueError, match=r"no mask token; it has \['pad', 'unk'\]"):
        model.attribute_prediction("the giant", "a traveller", reference="mask")


def test_another_reference_than_that_of_the_shift(shifted):
    with pytest.raises(ValueError, match=r"shifted by the reference '\[PAD\]'.*got reference='unk'"):
        shifted.attribute_prediction("One text.", "Another.", reference="unk")


def test_numbers_that_are_not_finite(tmp_path):
    model = XSTransformer(write_model("bert", tmp_path), device="cpu")
    with torch.no_grad():
        model[0].model.encoder.layer[2].output.dense.weight[0, 0] = float("nan")
    with pytest.raises(
        FloatingPointError, match=r"the embedding of text_[ab], '.+', holds numbers that are not finite"
    ):
        model.attribute_prediction("the giant", "a traveller", layer=1)


def test_a_text_that_is_its_own_reference(tmp_path):
    model = XSTransformer(write_model("bert", tmp_path), shift=True, reference="pad", device="cpu")
    with pytest.raises(ValueError, match="cosine of a zero embedding is not defined"):
        model.attribute_prediction("<pad> <pad>", "a traveller", layer=1)
    out = model.attribute_prediction("<pad> <pad>", "a traveller", layer=1, similarity="dot")
    assert out.score == 0
    assert not out.matrix.any()


def test_words_without_word_ids(model):
    out = model.attribute_prediction("One text.", "Another.", layer=6, n_steps=1)
    slow = replace(out, a=replace(out.a, word_ids=None, spans=None))
    with pytest.raises(ValueError, match=r"words\(\) needs the tokenizer's word ids and offsets, which only"):
        slow.words()
    for summed in (out.words(), out.over(a="sentences", b="sentences")):
        with pytest.raises(ValueError, match=r"words\(\) sums tokens, but these units are already words"):
            summed.words()


def test_other_backends(tmp_path):
    model = XSTransformer(write_model("bert", tmp_path), device="cpu")
    model.backend = "onnx"
    with pytest.raises(ValueError, match="only the torch backend can be differentiated, got backend='onnx'"):
        XSTransformer.wrap(model)
