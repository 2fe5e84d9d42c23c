"""Queries and documents: what is explained is the similarity of `encode_query` and `encode_document`."""

import pytest
import torch
from sentence_transformers import SentenceTransformer

from tests.tiny import write_model
from xsbert import Attribution, XSTransformer

QUERY, DOCUMENT = "the gentle giant", "a tall traveller left his bags ."
SIDES = ("query", "document")
STEPS = {"layer": 1, "n_steps": 4}


@pytest.fixture
def own(tmp_path):
    model = SentenceTransformer(
        write_model("bert", tmp_path, normalize=True), device="cpu", model_kwargs={"dtype": torch.float64}
    )
    model.prompts = {"query": "the query : ", "passage": "left : ", "other": "a : "}
    return XSTransformer.wrap(model)


def similarity(model, a, b):
    return pytest.approx(float(model.similarity(a, b)), abs=1e-9)


def everywhere(model, **how):
    """The attribution of the pair by every method that makes one."""
    _, _, cell = next(model.explain_matrix([QUERY], [DOCUMENT], **how, **STEPS))
    return [
        model.attribute_prediction(QUERY, DOCUMENT, **how, **STEPS),
        next(model.explain_pairs([(QUERY, DOCUMENT)], **how, **STEPS)),
        cell,
    ]


def test_the_explained_score_is_that_of_both_encoders(own):
    expected = similarity(own, own.encode_query(QUERY), own.encode_document(DOCUMENT))
    for out in everywhere(own, task=SIDES):
        assert out.score == expected
        assert (out.a.prompt, out.b.prompt) == ("the query : ", "left : ")
        assert "\n  of encode_query(a) and encode_document(b)\n" in str(out)
    (a,) = own.text_factors([QUERY], task="query", **STEPS)
    (b,) = own.text_factors([DOCUMENT], task="document", **STEPS)
    assert Attribution.of(a, b, "cosine").score == expected


def test_without_a_side_it_is_that_of_encode_and_says_so(own):
    for out in everywhere(own):
        assert out.score == similarity(own, own.encode(QUERY), own.encode(DOCUMENT))
        assert "\n  of encode(a) and encode(b)\n" in str(out)


@pytest.mark.parametrize(
    ("how", "encoded"),
    [
        ({"prompt": ("the : ", None)}, ({"prompt": "the : "}, {})),
        ({"prompt_name": ("other", "query")}, ({"prompt_name": "other"}, {"prompt_name": "query"})),
        ({"prompt": "a : "}, ({"prompt": "a : "}, {"prompt": "a : "})),
    ],
)
def test_prompts_of_each_side(own, how, encoded):
    expected = similarity(own, own.encode(QUERY, **encoded[0]), own.encode(DOCUMENT, **encoded[1]))
    for out in everywhere(own, **how):
        assert out.score == expected


def test_one_text_on_both_sides(own):
    """The same words are two texts where their prompts differ, and one where they do not."""
    (_, _, out) = next(own.explain_matrix([QUERY], [QUERY], task=SIDES, **STEPS))
    assert out.score == similarity(own, own.encode_query(QUERY), own.encode_document(QUERY))
    assert out.score < 0.9999
    (_, _, out) = next(own.explain_matrix([QUERY], [QUERY], **STEPS))
    assert out.a is out.b


def test_a_default_prompt_is_for_what_has_no_side(own):
    own.default_prompt_name = "other"
    del own.prompts["passage"]
    expected = similarity(own, own.encode_query(QUERY), own.encode_document(DOCUMENT))
    for out in everywhere(own, task=SIDES):
        assert out.score == expected
        assert out.b.prompt == "a : "


def test_a_model_without_sides_does_not_speak_of_them(model):
    out = model.attribute_prediction(QUERY, DOCUMENT, layer=5, n_steps=1, task=SIDES)
    assert out.a.encoded_by == out.b.encoded_by == ""
    assert "encode" not in str(out)


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ({"task": "queries"}, ValueError, "task must be None or one of 'query', 'document', got 'queries'"),
        ({"task": ("query",)}, TypeError, "task must be a string, None, or a pair of these"),
        ({"prompt_name": ("query", "nothing")}, ValueError, "prompt_name must be one of .*, got 'nothing'"),
        ({"prompt": "a", "prompt_name": (None, "query")}, ValueError, "pass prompt or prompt_name, not both"),
    ],
)
def test_sides_that_are_not_there(own, how, kind, message):
    for explain in (own.explain_pairs, own.attribute_prediction, own.explain_matrix):
        texts = ([(QUERY, DOCUMENT)],) if explain == own.explain_pairs else (QUERY, DOCUMENT)
        with pytest.raises(kind, match=message):
            explain(*texts, **how, **STEPS)
