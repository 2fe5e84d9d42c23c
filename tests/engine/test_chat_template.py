"""Texts inside a chat template: a tiny random language model with a template, for the mechanism alone."""

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import AutoTokenizer

from tests.tiny import write_transformer
from xsbert import XSTransformer

TEMPLATE = "{% for m in messages %}query {{ m['role'] }} : {{ m['content'] }} . {% endfor %}query : "
METHOD = {"method": "forward", "method_output_name": "last_hidden_state"}
A, B = "the gentle giant did not unpack", "his bags were tall"


def with_template(folder, template):
    path = write_transformer("qwen3", folder)
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(path)
    config = {"text": METHOD, "message": {**METHOD, "format": "flat"}}
    transformer = Transformer(path, modality_config=config, module_output_name="token_embeddings")
    pooling = Pooling(transformer.get_embedding_dimension(), "lasttoken")
    return SentenceTransformer(modules=[transformer, pooling], device="cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return XSTransformer.wrap(with_template(tmp_path_factory.mktemp("template"), TEMPLATE))


def test_the_text_is_found_and_the_template_is_special(model):
    explainer = model.explainer()
    found = explainer.tokenized(A, explainer.prompt("tall bags"))
    own = [token for token, role in zip(found.tokens, found.roles, strict=True) if role == "text"]
    assert own == A.split()
    assert [token for token, role in zip(found.tokens, found.roles, strict=True) if role == "prompt"] == [
        "tall",
        "bags",
    ]
    for token, role, (start, end) in zip(found.tokens, found.roles, found.spans, strict=True):
        assert role == "special" or found.text[start:end] == token


@pytest.mark.parametrize("prompt", [None, "tall bags"])
def test_a_pair_is_complete_and_the_template_is_kept(model, prompt):
    out = model.attribute_prediction(A, B, layer=1, prompt=prompt)
    expected = model.similarity(*model.encode([A, B], prompt=prompt)).item()
    assert out.score == pytest.approx(expected, abs=1e-5)
    assert max(out.residual_a, out.residual_b) <= 0.01
    (side,) = model.text_factors([A], layer=0, n_steps=2, prompt=prompt)
    is_text = np.array(side.roles) == "text"
    assert not side.factors[~is_text].any()
    assert out.words().tokens_a.count("giant") == 1


def test_what_the_template_changes_is_refused(tmp_path):
    upper = XSTransformer.wrap(with_template(tmp_path, TEMPLATE.replace("m['content']", "m['content'] | upper")))
    with pytest.raises(ValueError, match="the template changes the text"):
        upper.attribute_prediction(A, B)


def test_a_shift_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="renders texts by a chat template"):
        XSTransformer.wrap(with_template(tmp_path, TEMPLATE), shift=True)
