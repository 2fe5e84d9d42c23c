"""Rival methods: what each gives, what it leaves out, and that all are results like any other."""

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from tests.tiny import write_model
from xsbert import Attribution, MethodAttribution, XSTransformer
from xsbert._utils.checksummed_safetensors import read_arrays, write_arrays
from xsbert.evaluation.control_models import planted_lexical_model, randomised_layers
from xsbert.evaluation.methods import METHODS, explain_with
from xsbert.evaluation.methods.bilrp import relevance
from xsbert.evaluation.methods.shapley import exact_interactions
from xsbert.evaluation.perturbation import EditedText, Perturber

PAIR = ("the giant did not unpack his bags .", "the gentle traveller left his bags as they were .")
OF_SPARSE = ("integrated kinks", "argmax position", "same term")
FAST = [name for name in METHODS if name not in ("shapley", *OF_SPARSE)]
WORDS = ["the", "a", "cat", "dog", "bird", "sees", "hears", "old", "tree", "house", "red", "blue"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return XSTransformer(write_model("bert", tmp_path_factory.mktemp("bert")), device="cpu")


@pytest.fixture(scope="module")
def planted():
    return planted_lexical_model(WORDS)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_a_truncated_model_is_judged_by_its_own_score(similarity, tmp_path):
    """`encode` cuts embeddings off after the model has run, which running the model alone does not."""
    model = XSTransformer(write_model("bert", tmp_path, normalize=True), device="cpu", truncate_dim=5)
    model.similarity_fn_name = similarity
    expected = model.similarity(*(model.encode([text], convert_to_tensor=True) for text in PAIR)).item()
    a, b = Perturber(model, "words", similarity).embeddings([EditedText(text, frozenset()) for text in PAIR])
    assert a @ b == pytest.approx(expected, abs=1e-5)
    for name in ("bilrp", "products", "occlusion"):
        (result,) = explain_with(name, model, [PAIR])
        assert result.score == pytest.approx(expected, abs=1e-5)


def test_planting_a_model_leaves_random_numbers_alone():
    before = torch.get_rng_state()
    planted_lexical_model(WORDS)
    assert torch.equal(torch.get_rng_state(), before)


def without_biases(architecture, folder):
    model = XSTransformer(write_model(architecture, folder), device="cpu")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                weight.zero_()
    return model


@pytest.mark.parametrize("name", FAST)
def test_every_method_gives_a_result_like_any_other(name, tiny, tmp_path):
    tokens = explain_with(name, tiny, [PAIR], units="tokens", show_progress_bar=False)[0]
    words = explain_with(name, tiny, [PAIR, PAIR[::-1]], show_progress_bar=False)
    assert len(words) == 2
    assert tokens.matrix.shape == (len(tokens.tokens_a), len(tokens.tokens_b))
    assert [role for role in words[0].a.roles if role == "text"] == ["text"] * len(PAIR[0].split())
    if name != "randomised":
        expected = tiny.similarity(*(tiny.encode([text], convert_to_tensor=True) for text in PAIR)).item()
        assert words[0].score == pytest.approx(expected, abs=1e-5)
    words[0].save(tmp_path / "result")
    again = type(words[0]).load(tmp_path / "result")
    assert type(again) is type(words[0])
    np.testing.assert_array_equal(again.matrix, words[0].matrix)
    assert again.parts == words[0].parts
    assert str(again) == str(words[0])
    assert again.to_html() == words[0].to_html()
    # Shaded by words, whatever the units.
    assert [effect.word for effect in tokens.word_effects()[0]] == [
        effect.word for effect in words[0].word_effects()[0]
    ]


def test_a_method_has_numbers_in_place_of_factors(tiny, tmp_path):
    """A method's result is not an `Attribution`. Earlier files, with zeros as factors, can be read."""
    (result,) = explain_with("products", tiny, [PAIR], show_progress_bar=False)
    assert not isinstance(result, Attribution)
    assert result.a.factors.shape == (len(result.tokens_a), 0)
    result.save(tmp_path / "result")
    header, arrays = read_arrays(tmp_path / "result", "result")
    assert "a.factors" not in arrays
    zeros = {f"{name}.factors": np.zeros((len(getattr(result, name).tokens), 32)) for name in "ab"}
    content = {key: header.content[key] for key in ("similarity", "settings", "a", "b", "rival")}
    kept = {key: array for key, (_, array) in arrays.items()}
    write_arrays(tmp_path / "earlier", "result", content, kept | zeros)
    again = MethodAttribution.load(tmp_path / "earlier")
    assert again.a.factors.shape == result.a.factors.shape
    np.testing.assert_array_equal(again.matrix, result.matrix)
    with pytest.raises(ValueError, match=r"is the result of the method 'products': read it by MethodAttribution\.load"):
        Attribution.load(tmp_path / "result")


@pytest.mark.parametrize("name", OF_SPARSE)
def test_methods_of_sparse_encoders_refuse_dense_models(name, tiny):
    with pytest.raises(ValueError, match=f"method '{name}' cannot explain this model"):
        explain_with(name, tiny, [PAIR])


def test_a_rival_says_what_it_leaves_out(tiny):
    for name in FAST:
        result = explain_with(name, tiny, [PAIR], show_progress_bar=False)[0]
        if isinstance(result, MethodAttribution):
            assert result.left_out
            assert result.left_out in str(result)
            assert f"method {result.method}" in result.to_html()


def test_sums_are_kept_from_tokens_to_words(minilm_path):
    model = XSTransformer(minilm_path, device="cpu")
    result = explain_with("products", model, [("Unpacking suitcases.", "Bags!")], units="tokens")[0]
    words = result.words()
    assert words.matrix.shape < result.matrix.shape
    for name, value in result.parts.items():
        assert words.parts[name] == pytest.approx(value, abs=1e-12)


def test_products_sum_to_the_score_of_a_mean(model):
    result = explain_with("products", model, [("A red house.", "The house is old.")])[0]
    assert result.matrix.sum() == pytest.approx(result.score, abs=1e-6)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "mpnet", "distilbert", "electra"])
def test_relevance_is_conserved_without_biases(architecture, tmp_path):
    model = without_biases(architecture, tmp_path)
    rows, rest = relevance(model, PAIR[0])
    assert np.abs(rows).max() > 1e-3
    np.testing.assert_allclose(rest, 0, atol=2e-5)
    np.testing.assert_allclose(rows.sum(0), model.encode(PAIR[0]), atol=2e-5)


def test_biases_take_their_part_of_the_relevance(tiny):
    with torch.no_grad():
        other = XSTransformer.wrap(randomised_layers(tiny, 0))
        for name, weight in other.named_parameters():
            if name.endswith("LayerNorm.bias"):
                weight.add_(0.3)
    rows, rest = relevance(other, PAIR[0])
    np.testing.assert_allclose(rows.sum(0) + rest, other.encode(PAIR[0]), atol=1e-5)
    assert np.abs(rest).max() > 0.1


def test_relevance_in_closed_form(planted):
    # Nothing but layer norms of vectors that have no mean: the relevance of a word is its part of the mean.
    text = "the cat sees a dog"
    rows, rest = relevance(planted, text)
    states = planted.encode(text, output_value="token_embeddings").double().numpy()
    np.testing.assert_allclose(rows, states / len(states), atol=1e-6)
    np.testing.assert_allclose(rest, 0, atol=1e-6)


def test_relevance_is_blind_to_what_only_steers_attention(tmp_path):
    # A word whose value vector is zero everywhere and that only draws attention has no relevance through attention.
    model = without_biases("bert", tmp_path)
    with torch.no_grad():
        for layer in model[0].model.encoder.layer:
            layer.attention.self.value.weight.zero_()
    rows, _ = relevance(model, PAIR[0])
    states = model.encode(PAIR[0], output_value="token_embeddings").double().numpy()
    np.testing.assert_allclose(rows, states / len(states), atol=2e-5)


@pytest.mark.parametrize("settings", [{"pooling": "max"}, {"dense": True}])
def test_bilrp_knows_the_modules_behind_the_transformer(settings, tmp_path):
    model = XSTransformer(write_model("bert", tmp_path, **settings), device="cpu")
    if "dense" in settings:
        assert METHODS["bilrp"].obstacle(model) is None
        model[-1].activation_function = torch.nn.Sigmoid()
    with pytest.raises(ValueError, match=r"BiLRP (needs linear pooling|has no rule for the activation Sigmoid)"):
        explain_with("bilrp", model, [PAIR])


@pytest.mark.parametrize("architecture", ["modernbert", "qwen3", "t5"])
def test_bilrp_refuses_models_without_rules(architecture, tmp_path):
    model = XSTransformer(write_model(architecture, tmp_path), device="cpu")
    with pytest.raises(ValueError, match="BiLRP has rules for models of the types bert"):
        explain_with("bilrp", model, [PAIR])


def test_occlusion_is_the_second_order_difference(tiny):
    a, b = "the giant left", "the gentle traveller"
    result = explain_with("occlusion", tiny, [(a, b)])[0]

    def cosine(one, other):
        left, right = (tiny.encode(text).astype(float) for text in (one, other))
        return left @ right / np.linalg.norm(left) / np.linalg.norm(right)

    for s in range(3):
        for t in range(3):
            shorter = [" ".join(w for at, w in enumerate(text.split()) if at != u) for text, u in ((a, s), (b, t))]
            expected = cosine(a, b) - cosine(shorter[0], b) - cosine(a, shorter[1]) + cosine(*shorter)
            assert result.matrix[1 + s, 1 + t] == pytest.approx(expected, abs=1e-5)


def test_the_planted_words_are_found(planted):
    pair = ("the cat sees a tree", "old bird hears cat")
    # Not by one gradient: layer norms keep nothing of a vector's own length, so that it sees the reference alone.
    for name in ("integrated", "bilrp", "occlusion", "products", "cosines", "lexical"):
        result = explain_with(name, planted, [pair], show_progress_bar=False)[0]
        s, t, value = result.top_pairs(1)[0]
        assert (result.tokens_a[s], result.tokens_b[t]) == ("cat", "cat"), name
        assert value > 0


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 3), (3, 4), (4, 2)])
def test_shapley_interactions_by_the_product_are_those_of_shapiq(n, m):
    shapiq = pytest.importorskip("shapiq")
    rng = np.random.default_rng(n * 10 + m)
    values_a, values_b = rng.normal(size=(2**n, 5)), rng.normal(size=(2**m, 5))

    def game(coalitions):
        bits = np.atleast_2d(coalitions).astype(int)
        return (values_a[bits[:, :n] @ 2 ** np.arange(n)] * values_b[bits[:, n:] @ 2 ** np.arange(m)]).sum(1)

    found = exact_interactions(values_a, values_b)
    expected = shapiq.ExactComputer(n_players=n + m, game=game)("k-SII", order=2)
    pairs = [[expected[(s, n + t)] for t in range(m)] for s in range(n)]
    np.testing.assert_allclose(found.pairs, pairs, atol=1e-12)
    singles = [expected[(s,)] for s in range(n + m)]
    np.testing.assert_allclose(np.concatenate([found.singles_a, found.singles_b]), singles, atol=1e-12)


def test_shapley_interactions_are_exact_within_the_budget_and_approached_by_samples(tiny):
    pytest.importorskip("shapiq")
    pair = ("the giant did not unpack .", "the gentle traveller left")
    exact, sampled, closer = (
        explain_with("shapley", tiny, [pair], budget=budget)[0] for budget in (1 << 6, (1 << 6) - 1, 1 << 10)
    )
    assert "sampled" in sampled.left_out
    assert "sampled" not in exact.left_out + closer.left_out
    np.testing.assert_array_equal(exact.matrix, closer.matrix)
    assert np.abs(sampled.matrix - exact.matrix).max() > 1e-9
    perturber = Perturber(tiny)
    explain_with("shapley", tiny, [pair], budget=1 << 6, perturber=perturber)
    assert perturber.n_passes == 2**6 + 2**4
    assert perturber.cost([EditedText(pair[0], frozenset([2, 3]))]) == 1, "embeddings of coalitions are not kept"


@pytest.mark.parametrize("budget", [0, 1, 2.5, True])
def test_a_budget_of_no_coalitions_is_refused(planted, budget):
    with pytest.raises(ValueError, match="budget must be an integer of at least 2"):
        explain_with("shapley", planted, [("the cat", "cat")], budget=budget)


def test_shapley_finds_the_planted_words(planted):
    pair = ("the cat sees", "old cat")
    one, again = (explain_with("shapley", planted, [pair], budget=32, seed=1)[0] for _ in range(2))
    s, t, _ = one.top_pairs(1)[0]
    assert (one.tokens_a[s], one.tokens_b[t]) == ("cat", "cat")
    np.testing.assert_array_equal(one.matrix, again.matrix)


def test_random_numbers_follow_the_seed(tiny):
    one, same, other = (explain_with("random", tiny, [PAIR], seed=seed)[0].matrix for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_randomised_layers_leave_the_model_alone(tiny):
    before = tiny.encode(PAIR[0])
    one, same, other = (randomised_layers(tiny, seed).encode(PAIR[0]) for seed in (0, 0, 1))
    np.testing.assert_array_equal(tiny.encode(PAIR[0]), before)
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3
    assert np.abs(one - before).max() > 1e-3


@pytest.mark.parametrize("name", FAST)
def test_the_model_stays_as_it_is(name, tmp_path):
    model = XSTransformer(write_model("bert", tmp_path), device="cpu")
    model.train()
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    explain_with(name, model, [PAIR], show_progress_bar=False)
    assert model.training
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(weights[key], value) for key, value in model.state_dict().items())


def test_bad_names_and_pairs(tiny):
    with pytest.raises(ValueError, match=r"method must be one of 'integrated'.*got 'magic'"):
        explain_with("magic", tiny, [PAIR])
    with pytest.raises(TypeError, match=r"pairs\[0\] must be two texts, got 'ab'"):
        explain_with("random", tiny, ["ab"])
    with pytest.raises(TypeError, match=r"pairs\[0\] must be two strings"):
        explain_with("random", tiny, [("the giant", 3)])
    with pytest.raises(ValueError, match="at least one pair"):
        explain_with("random", tiny, [])
    with pytest.raises(ValueError, match="units must be one of"):
        explain_with("occlusion", tiny, [PAIR], units="letters")


class TestPerturber:
    def test_edited_texts_embed_as_their_own(self, tiny):
        perturber = Perturber(tiny, show_progress_bar=False)
        text = "the gentle giant left ."
        whole, without, unknown = perturber.embeddings(
            [
                EditedText(text, frozenset()),
                EditedText(text, frozenset([2])),
                EditedText(text, frozenset([2]), "unk"),
            ]
        )
        plain = SentenceTransformer.encode(tiny, [text, "the giant left .", "the <unk> giant left ."])
        plain = plain / np.linalg.norm(plain, axis=1, keepdims=True)
        np.testing.assert_allclose([whole, without, unknown], plain, atol=1e-6)

    def test_each_text_is_embedded_once(self, tiny):
        perturber = Perturber(tiny, show_progress_bar=False)
        edits = [EditedText("the giant left", frozenset([unit]), "unk") for unit in (1, 2, 3)]
        perturber.embeddings([*edits, *edits])
        assert perturber.n_passes == 3
        perturber.embeddings(edits)
        assert perturber.n_passes == 3
        assert perturber.cost(edits) == 0

    def test_too_long_a_text(self, tiny):
        perturber = Perturber(tiny, show_progress_bar=False)
        with (
            pytest.warns(UserWarning, match="cut off"),
            pytest.raises(ValueError, match="has 24 tokens more than the model reads"),
        ):
            perturber.prepare(["the giant " * 29])

    def test_nothing_is_left(self, tmp_path):
        model = XSTransformer(write_model("bert", tmp_path), device="cpu")
        perturber = Perturber(model, "tokens", show_progress_bar=False)
        perturber.prepare(["giant"])
        with pytest.raises(ValueError, match="nothing is left of 'giant' without 3 of its units"):
            perturber.embeddings([EditedText("giant", frozenset([0, 1, 2]))])

    def test_unknown_operator(self, tiny):
        with pytest.raises(ValueError, match="operator must be one of 'remove', 'unk'"):
            Perturber(tiny, show_progress_bar=False).embeddings([EditedText("giant", frozenset([1]), "swap")])
