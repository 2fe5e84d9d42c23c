"""Static models, distilled from the real MiniLM with a small vocabulary: closed form, and all that is built on it."""

import json
import tracemalloc

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, LayerNorm, Normalize, StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import nn

from xsbert import (
    Attribution,
    XSBert,
    XSTransformer,
    contrast,
    explain_corpus,
    faithfulness,
    load_factors,
    read_corpus,
    save_factors,
)
from xsbert.__main__ import main
from xsbert.evaluation.perturbation import EditedText, Perturber

WORDS = [
    *("the", "a", "an", "is", "it", "not", "this", "of", "all", "day", "hot", "cold", "good", "bad", "coffee", "food"),
    *(
        "fridge",
        "refrigerator",
        "cools",
        "keeps",
        "weather",
        "freezing",
        "rain",
        "rained",
        "market",
        "query",
        "passage",
    ),
    *("stock", "stocks", "price", "prices", "fell", "un", "##pack", "##ed"),
]
KEPT = rf"(?:{'|'.join(WORDS)}|[a-z.,:?!]|##[a-z])"
A, B = "The refrigerator keeps unpacked food cold.", "A fridge cools food."
DOCUMENTS = ["Stock prices fell.", B, "It rained all day. The coffee is cold."]


@pytest.fixture(scope="module")
def path(minilm_path, tmp_path_factory):
    """Rows of the real model for a few words and all letters."""
    table = StaticEmbedding.from_distillation(
        minilm_path, device="cpu", pca_dims=None, token_remove_pattern=f"^(?!{KEPT}$)"
    )
    folder = str(tmp_path_factory.mktemp("static") / "distilled")
    SentenceTransformer(modules=[table], device="cpu", prompts={"query": "query: "}).save(folder)
    return folder


@pytest.fixture(scope="module")
def static(path):
    return XSTransformer(path, device="cpu")


def behind(static, *modules):
    """The static model with more modules."""
    return XSTransformer.wrap(SentenceTransformer(modules=[static[0], *modules], device="cpu"))


def dense(activation, seed=0):
    torch.manual_seed(seed)
    return Dense(384, 24, activation_function=activation)


def test_factors_are_the_rows_of_the_tokens_over_their_number(static):
    (side,) = static.text_factors([A])
    ids = static.preprocess([A])["input_ids"]
    rows = static[0].embedding.weight[ids].detach().double().numpy()
    np.testing.assert_array_equal(side.factors, rows / len(ids))
    assert not side.reference_term.any()
    assert (side.settings.n_steps, side.settings.n_looks, side.settings.rule) == (0, 0, "closed form")
    assert (side.settings.reference, side.settings.layer, side.settings.n_layers) == ("zero", 0, 0)
    assert side.residual < 1e-6
    assert side.factor_error < 1e-12
    assert side.tokens[:2] == ("the", "refrigerator")
    assert set(side.roles) == {"text"}


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_the_matrix_is_the_score(static, similarity):
    out = static.attribute_prediction(A, B, similarity=similarity)
    compare = {"cosine": torch.cosine_similarity, "dot": lambda a, b, dim: (a * b).sum(dim)}[similarity]
    a, b = static.encode([A, B], convert_to_tensor=True).double()
    assert out.matrix.sum() == pytest.approx(compare(a, b, dim=0).item(), abs=1e-6)
    assert out.score == pytest.approx(out.matrix.sum(), abs=1e-6)
    assert out.parts["main effects a"] == out.parts["main effects b"] == out.baseline == 0
    assert out.kind == "exact attributions"
    names = {(one, other) for one, other, _ in out.words().top_pairs(2, names=True)}
    assert ("refrigerator", "fridge") in names
    assert "unpacked" in out.words().tokens_a
    np.testing.assert_allclose(out.feature_pairs().sum((1, 3)), out.matrix, atol=1e-6)


def test_prompts_are_tokens(static):
    with_prompt = static.attribute_prediction("cold food", B, task=("query", "document"))
    a, b = static.encode_query("cold food"), static.encode_document(B)
    assert with_prompt.score == pytest.approx(static.similarity(a, b).item(), abs=1e-6)
    assert with_prompt.a.roles == ("prompt", "prompt", "text", "text")
    assert with_prompt.a.encoded_by == "encode_query"
    assert with_prompt.words().tokens_a[-2:] == ["cold", "food"]


@pytest.mark.parametrize("modules", [[dense(nn.Identity())], [dense(None), Normalize()]], ids=["dense", "normalised"])
def test_linear_modules_keep_the_closed_form(static, modules):
    model = behind(static, *modules)
    assert model.explainer().has_closed_form
    out = model.attribute_prediction(A, B)
    assert out.settings.rule == "closed form"
    assert out.score == pytest.approx(model.similarity(*model.encode([A, B])).item(), abs=1e-6)
    assert out.error < 1e-6
    # The bias is the embedding of no text.
    np.testing.assert_allclose(out.a.reference_term, modules[0].linear.bias.detach().numpy(), atol=1e-7)
    assert out.kind != "exact attributions"


@pytest.mark.parametrize("modules", [[dense(nn.Tanh())], [dense(nn.Tanh()), Normalize()]], ids=["dense", "normalised"])
def test_nonlinear_modules_are_integrated(static, modules):
    model = behind(static, *modules)
    assert not model.explainer().has_closed_form
    out = model.attribute_prediction(A, B, tolerance=1e-6)
    assert out.settings.n_steps > 0
    assert max(out.residual_a, out.residual_b) <= 1e-6
    assert out.score == pytest.approx(model.similarity(*model.encode([A, B])).item(), abs=1e-6)
    # As by many nodes of a plain rule.
    exact = model.attribute_prediction(A, B, n_steps=64)
    np.testing.assert_allclose(out.matrix, exact.matrix, atol=1e-6)
    (pulled,) = model.explainer().projected([A], [out.b.embedding[None]])
    np.testing.assert_allclose(pulled.factors[:, 0], out.a.factors @ out.b.embedding, atol=1e-3)


def test_a_layer_norm_behind_the_table(static):
    model = behind(static, LayerNorm(384))
    out = model.attribute_prediction(A, B)
    assert max(out.residual_a, out.residual_b) <= 0.01
    assert out.score == pytest.approx(model.similarity(*model.encode([A, B])).item(), abs=1e-6)


@pytest.mark.parametrize("text", ["", "  \n", "\u200b"])
def test_texts_without_tokens_are_refused_by_name(static, text):
    with pytest.raises(ValueError, match=r"texts\[1\]"):
        static.text_factors([A, text])
    with pytest.warns(UserWarning, match=r"left out: texts\[1\]"):
        assert static.text_factors([A, text], errors="skip")[1] is None


def test_a_document_without_tokens_has_a_reason(static):
    ranking = static.explain_ranking("cold", [B, "\u200b"])
    assert [hit.explained for hit in ranking] == [True, False]
    assert "no tokens" in ranking[1].reason
    assert ranking[1].score == 0


@pytest.mark.parametrize("detail", ["highlights", "pairs"])
def test_rankings(static, detail):
    ranking = static.explain_ranking("cold food", DOCUMENTS, detail=detail)
    scores = static.similarity(static.encode_query("cold food"), static.encode_document(DOCUMENTS))[0]
    assert [hit.index for hit in ranking] == scores.argsort(descending=True).tolist()
    for hit in ranking:
        assert hit.document.total == pytest.approx(hit.score, abs=1e-6)
        assert hit.document.baseline == 0
    assert "static token embeddings" in str(ranking)
    best = max(zip(ranking[0].document.values, ranking[0].document.units, strict=True))
    assert best[1] in ("cold", "food")


def test_passages_of_a_long_document(static):
    long = " ".join(["Stock prices fell."] * 20 + ["The fridge keeps food cold."] + ["It rained all day."] * 20)
    ranking = static.explain_ranking("cold food", [long, "Coffee."], passages=12, overlap=4)
    assert "fridge" in " ".join(ranking[0].document.units)
    assert ranking[0].document.total == pytest.approx(ranking[0].score, abs=1e-6)


def test_pairs_matrices_and_batches_agree(static):
    single = static.attribute_prediction(A, B)
    (paired,) = static.explain_pairs([(A, B)], units="words")
    np.testing.assert_array_equal(paired.matrix, single.words().matrix)
    cells = {(i, j): out for i, j, out in static.explain_matrix([A, "cold"], [B, *DOCUMENTS])}
    assert len(cells) == 8
    np.testing.assert_array_equal(cells[0, 0].matrix, single.matrix)


def test_a_large_matrix_streams(static):
    """The memory is that of the factors, not of the 90,000 pairs."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS[:30], 8)) for _ in range(600)]
    similarities = static.similarity(*np.split(static.encode(texts), 2)).double().numpy()
    cells = static.explain_matrix(texts[:300], texts[300:])
    worst = abs(next(cells)[2].score - similarities[0, 0])
    tracemalloc.start()
    for i, j, out in cells:
        worst = max(worst, abs(out.score - similarities[i, j]))
        if i == 20:
            break
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert worst < 1e-6
    assert peak < 1e6


def test_page_plots_contrast_and_files(static, tmp_path):
    out = static.attribute_prediction(A, B)
    assert "static token embeddings" in out.to_html()
    assert "static token embeddings" in str(out)
    out.plot_heatmap()
    out.plot()
    out.save(tmp_path / "out.safetensors")
    loaded = Attribution.load(tmp_path / "out.safetensors")
    np.testing.assert_array_equal(loaded.matrix, out.matrix)
    assert loaded.settings == out.settings
    sides = static.text_factors([A, B, "Hot coffee."])
    save_factors(tmp_path / "factors.safetensors", sides)
    assert [side.text for side in load_factors(tmp_path / "factors.safetensors")] == [A, B, "Hot coffee."]
    difference = contrast(out, static.attribute_prediction(A, "Hot coffee."))
    assert difference.margin == pytest.approx(out.score - static.attribute_prediction(A, "Hot coffee.").score, abs=1e-9)


def test_a_saved_model_loads_and_embeds_alike(static, path, tmp_path):
    static.save(str(tmp_path / "copy"))
    again = XSTransformer(str(tmp_path / "copy"), device="cpu")
    np.testing.assert_array_equal(again.encode([A]), SentenceTransformer(path, device="cpu").encode([A]))
    sides = static.text_factors([A]), again.text_factors([B])
    Attribution.of(sides[0][0], sides[1][0], "cosine")  # one fingerprint


def test_other_models_are_told_apart(static):
    other = behind(static, dense(nn.Identity()))
    with pytest.raises(ValueError, match="fingerprint"):
        Attribution.of(static.text_factors([A])[0], other.text_factors([B])[0], "cosine")


@pytest.mark.parametrize("what", ["pairs", "highlights", "factors"])
def test_corpora(static, tmp_path, what):
    rows = [("cold food", each) for each in [*DOCUMENTS, "\u200b"]]
    given = DOCUMENTS if what == "factors" else rows
    explain_corpus(static, given, tmp_path / "out", what=what, show_progress_bar=False)
    found = read_corpus(tmp_path / "out")
    assert len(found) == len(given)
    table = found.dataset().to_table().to_pylist()
    assert [row["reason"] is None for row in table] == [True] * 3 + [False] * (len(given) - 3)


def test_the_command_line(path, capsys):
    assert main([A, B, "--model", path, "--words", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert np.sum(found["matrix"]) == pytest.approx(found["score"], abs=1e-6)
    assert found["settings"]["rule"] == "closed form"


def test_what_a_static_model_does_not_have_is_refused(static, path):
    with pytest.raises(ValueError, match="layer must be between 0 and 0"):
        static.attribute_prediction(A, B, layer=3)
    with pytest.raises(ValueError, match="needs no shift"):
        XSTransformer(path, shift=True, device="cpu")
    with pytest.raises(ValueError, match="reference 'zero'"):
        static.attribute_prediction(A, B, reference="unk")
    with pytest.raises(ValueError, match="got a static model"):
        XSBert(path, device="cpu")
    table = StaticEmbedding(static[0].tokenizer, embedding_weights=static[0].embedding.weight.detach().clone())
    table.embedding.mode = "sum"
    with pytest.raises(ValueError, match="mode='mean'"):
        XSTransformer.wrap(SentenceTransformer(modules=[table], device="cpu"))


def test_a_subclass_that_computes_something_else_is_found(static):
    class Doubled(StaticEmbedding):
        def forward(self, features, **kwargs):
            features = super().forward(features)
            return {**features, "sentence_embedding": features["sentence_embedding"] ** 3}

    table = Doubled(static[0].tokenizer, embedding_weights=static[0].embedding.weight.detach())
    with pytest.raises(ValueError, match="its own forward"):
        XSTransformer.wrap(SentenceTransformer(modules=[table], device="cpu"))


def test_a_tokenizer_that_cuts(static):
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "cold": 1, "food": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.enable_truncation(3)
    torch.manual_seed(0)
    model = XSTransformer.wrap(SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=4)]))
    with pytest.warns(UserWarning, match="the last 2 tokens are cut off"):
        (side,) = model.text_factors(["cold food cold food food"])
    assert side.n_cut == 2
    assert side.residual < 1e-6
    assert model.predict_memory("cold") > 0


def test_half_precision_states_its_rounding(path):
    half = XSTransformer(path, device="cpu", model_kwargs={}).half()
    out = half.attribute_prediction(A, B)
    assert out.settings.dtype == "float16"
    assert 1e-6 < out.residual_a < 1e-2
    assert out.error < 1e-2


def test_words_can_be_removed(static):
    perturber = Perturber(static, "words")
    whole, without = perturber.embeddings([EditedText(B, frozenset()), EditedText(B, frozenset([1]))])
    expected = static.encode([B, "A cools food."], normalize_embeddings=True)
    np.testing.assert_allclose([whole, without], expected, atol=1e-6)


def test_faithfulness(static):
    """The deletion of words from a mean is nearly additive, so that the rows say what deleting does."""
    pairs = [(A, B), ("It rained all day.", "Cold rain."), ("Stock prices fell.", "The stock market is not good.")]
    found = faithfulness(static, pairs, operators=["remove", "unk"], n_bootstrap=50, show_progress_bar=False)
    methods = {row.method for row in found.rows}
    assert {"integrated", "lexical"} <= methods
    assert {"products", "bilrp"}.isdisjoint(methods)
    assert found.estimate("integrated").value > 0.6


def test_a_kept_prompt(static):
    """Kept rows leave the factors and come back in the reference term."""
    keep, replace = (
        static.text_factors(["cold food"], prompt="query: ", reference_prompt=name)[0] for name in ("keep", "replace")
    )
    assert not keep.factors[:2].any()
    np.testing.assert_array_equal(keep.factors[2:], replace.factors[2:])
    np.testing.assert_allclose(keep.reference_term, replace.factors[:2].sum(0), atol=1e-7)
    assert keep.residual < 1e-6


def test_relative_contributions_in_closed_form(static):
    ranking = static.explain_ranking("cold coffee", DOCUMENTS, similarity="cosine", relative=True)
    for hit in ranking:
        assert hit.document_relative.total == pytest.approx(0, abs=1e-6)
        assert hit.query_relative.total == pytest.approx(0, abs=1e-6)
        assert hit.passages[0].side.settings.rule == "closed form"
    assert ranking[0].answer("sentences").text == "The coffee is cold."
