"""`attribute_prediction` on the official weights of all-MiniLM-L6-v2."""

import pickle

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator

from tests.pairs import PAIRS
from xsbert import XSTransformer
from xsbert.engine import Options
from xsbert.engine.initial_factors import precision_of_derivatives
from xsbert.integrated_jacobian import PathIntegrator
from xsbert.integrated_jacobian.adaptive import place_nodes

COFFEE = ("The coffee is bad.", "This is not a good coffee.")


@pytest.fixture(scope="module")
def out(model):
    return model.attribute_prediction(*COFFEE, layer=4, n_steps=16)


def check_completeness(model, pairs, layers):
    """Residuals of the token factors with 32 Gauss-Legendre nodes, the worst of each layer."""
    worst = dict.fromkeys(layers, 0.0)
    for text_a, text_b in pairs:
        for layer in layers:
            out = model.attribute_prediction(text_a, text_b, layer=layer, n_steps=32, show_progress_bar=False)
            worst[layer] = max(worst[layer], out.residual_a, out.residual_b)
            encoded = model.encode([text_a]), model.encode([text_b])
            assert out.score == pytest.approx(float(model.similarity(*encoded)), abs=1e-6)
    print({layer: f"{residual:.1e}" for layer, residual in worst.items()})
    return worst


def test_completeness(model):
    worst = check_completeness(model, PAIRS[:2], [1, 3, 5, 6])
    assert max(worst.values()) <= 1e-3


@pytest.mark.slow
def test_completeness_of_fifty_pairs_at_every_layer(model):
    worst = check_completeness(model, PAIRS, range(model.n_layers + 1))
    assert len(PAIRS) == 50
    assert worst.pop(0) <= 2e-2
    assert max(worst.values()) <= 1e-3


def test_the_four_parts_sum_to_the_score(out):
    total = out.matrix.sum() + out.main_effects_a.sum() + out.main_effects_b.sum() + out.baseline
    assert out.score == pytest.approx(total, abs=1e-5)
    assert out.error == pytest.approx(abs(out.score - total), abs=1e-15)
    # Off the shelf, the interactions alone are far from the score (0.79).
    assert out.matrix.sum() > 1.5


def test_types_and_shapes(out):
    assert isinstance(out.score, float)
    assert isinstance(out.baseline, float)
    assert out.tokens_a == ["[CLS]", "the", "coffee", "is", "bad", ".", "[SEP]"]
    assert out.matrix.shape == (7, 9)
    assert out.main_effects_a.shape == (7,)
    assert out.main_effects_b.shape == (9,)
    assert out.matrix.dtype == np.float64


def test_a_shifted_model_is_exact(shifted):
    out = shifted.attribute_prediction(*COFFEE, layer=4, n_steps=16)
    assert out.matrix.sum() == pytest.approx(out.score, abs=1e-5)
    assert out.parts == {
        "interactions": pytest.approx(out.score, abs=1e-5),
        "main effects a": 0,
        "main effects b": 0,
        "baseline": 0,
    }
    # What is zero for every exact model tells a reader nothing.
    assert "main effects" not in str(out)
    assert "baseline" not in str(out)


def test_the_coffee_is_the_strongest_pair(shifted):
    out = shifted.attribute_prediction(*COFFEE, layer=4, n_steps=16)
    s, t, value = out.top_pairs(1)[0]
    assert (out.tokens_a[s], out.tokens_b[t]) == ("coffee", "coffee")
    assert value == out.matrix[s, t] == out.matrix.max()


@pytest.mark.parametrize("rule", ["gauss-legendre", "midpoint", "riemann-right"])
def test_rules_converge_to_the_same(model, out, rule):
    other = model.attribute_prediction(*COFFEE, layer=4, n_steps=24, rule=rule)
    assert other.settings.rule == rule
    np.testing.assert_allclose(other.matrix, out.matrix, atol={"riemann-right": 0.03}.get(rule, 1e-3))
    assert not np.array_equal(other.matrix, out.matrix)


def test_the_residual_is_the_integration_error(model, out):
    """The residual must not flatter: it is of the size of the distance to a converged result."""
    for n_steps in (2, 4):
        rough = model.attribute_prediction(*COFFEE, layer=4, n_steps=n_steps)
        gap = np.linalg.norm(rough.a.factors.sum(0) - out.a.factors.sum(0))
        size = np.linalg.norm(out.a.embedding - out.a.reference_term)
        assert rough.residual_a == pytest.approx(gap / size, rel=1e-3)
        assert rough.residual_a > 1e-4


def test_negative_layers_count_from_the_end(model):
    last = model.attribute_prediction(*COFFEE, layer=-1, n_steps=2)
    assert last.settings.layer == 5
    np.testing.assert_array_equal(last.matrix, model.attribute_prediction(*COFFEE, layer=5, n_steps=2).matrix)
    assert model.attribute_prediction(*COFFEE, n_steps=2).settings.layer == 4


def test_the_last_hidden_state_needs_one_node(model):
    """Behind the last layer there is only mean pooling, which is linear."""
    out = model.attribute_prediction(*COFFEE, layer=6, n_steps=1)
    assert max(out.residual_a, out.residual_b) < 1e-6
    hidden = model.encode(COFFEE[0], output_value="token_embeddings").numpy()
    np.testing.assert_allclose(out.a.factors.sum(0) + out.a.reference_term, hidden.mean(0), atol=1e-6)


@pytest.mark.parametrize("layer", [0, 4])
def test_forward_equals_reverse(model, layer):
    out = model.attribute_prediction("A short text.", "Another one.", layer=layer, n_steps=2)
    pairs = out.feature_pairs()
    assert pairs.shape == (len(out.tokens_a), 384, len(out.tokens_b), 384)
    np.testing.assert_allclose(pairs.sum((1, 3), dtype=np.float64), out.matrix, atol=1e-5 * np.abs(out.matrix).max())


def test_results_can_be_pickled(out):
    loaded = pickle.loads(pickle.dumps(out))
    np.testing.assert_array_equal(loaded.matrix, out.matrix)
    assert str(loaded) == str(out)
    with pytest.raises(ValueError, match="feature pairs need tokens and the model"):
        loaded.feature_pairs()


def test_feature_pairs_of_a_model_that_has_changed(minilm_path):
    own = XSTransformer(minilm_path, device="cpu")
    out = own.attribute_prediction("A text.", "One.", layer=5, n_steps=1)
    own[0].model.encoder.layer[5].output.dense.weight.data.mul_(3)
    with pytest.raises(RuntimeError, match="weights or settings have changed"):
        out.feature_pairs()


def test_swapping_the_texts_transposes(model, out):
    swapped = model.attribute_prediction(*reversed(COFFEE), layer=4, n_steps=16)
    np.testing.assert_allclose(swapped.matrix, out.matrix.T, atol=1e-6)
    assert swapped.score == pytest.approx(out.score, abs=1e-6)


@pytest.mark.parametrize("chunk_size", [3, 64])
def test_the_chunk_size_changes_nothing(model, chunk_size):
    expected = model.attribute_prediction(*COFFEE, layer=4, n_steps=6)
    chunked = model.attribute_prediction(*COFFEE, layer=4, n_steps=6, chunk_size=chunk_size)
    np.testing.assert_allclose(chunked.matrix, expected.matrix, atol=1e-6)


def test_references_can_be_chosen(model, out):
    for reference, token in (("unk", "[UNK]"), ("mask", "[MASK]"), ("coffee", "coffee")):
        other = model.attribute_prediction(*COFFEE, layer=4, n_steps=16, reference=reference)
        assert other.settings.reference == token
        assert other.score == pytest.approx(out.score, abs=1e-6)
        assert np.abs(other.matrix - out.matrix).max() > 1e-3
    coffee = model.attribute_prediction(*COFFEE, layer=0, reference="coffee", n_steps=4)
    position = coffee.tokens_a.index("coffee")
    assert np.abs(coffee.matrix[position]).max() == 0
    assert np.abs(coffee.matrix[position + 1]).max() > 0


def test_words_keep_every_sum(model):
    out = model.attribute_prediction("He didn't unpack.", "Unpacking the bags in Reykjavík?", layer=4, n_steps=8)
    words = out.words()
    assert words.tokens_a == ["[CLS]", "He", "didn", "'", "t", "unpack", ".", "[SEP]"]
    assert words.tokens_b == ["[CLS]", "Unpacking", "the", "bags", "in", "Reykjavík", "?", "[SEP]"]
    assert len(words.tokens_b) < len(out.tokens_b)
    assert words.score == out.score
    for name, value in out.parts.items():
        assert words.parts[name] == pytest.approx(value, abs=1e-12)
    piece = [i for i, word in enumerate(out.a.word_ids) if word == out.a.word_ids[out.tokens_a.index("un")]]
    np.testing.assert_allclose(words.matrix[5].sum(), out.matrix[piece].sum(), atol=1e-12)
    with pytest.raises(ValueError, match="these units are already words or other parts of the text"):
        words.words()
    with pytest.raises(ValueError, match="original result"):
        words.feature_pairs()


def test_the_account_is_readable(out):
    account = str(out)
    for expected in (
        "cosine similarity 0.79",
        *COFFEE,
        "interactions",
        "baseline",
        "error",
        "coffee · coffee",
        "layer 4",
    ):
        assert expected in account
    assert max(map(len, account.splitlines())) <= 120


def test_a_long_text_is_explained_as_the_model_saw_it(model):
    long = "coffee " * 300
    with pytest.warns(UserWarning, match="text_b is longer than the model's limit of 256 tokens: the last 46 tokens"):
        out = model.attribute_prediction("Coffee.", long, layer=6, n_steps=1)
    assert out.b.n_cut == 46
    assert out.a.n_cut == 0
    assert len(out.tokens_b) == 256
    assert "46 tokens cut off" in str(out)


def test_progress_can_be_silenced(model, capsys):
    model.attribute_prediction(*COFFEE, layer=5, n_steps=1, show_progress_bar=False)
    assert "pass" not in capsys.readouterr().err
    model.attribute_prediction(*COFFEE, layer=5, n_steps=1, show_progress_bar=True)
    assert "pass" in capsys.readouterr().err


def test_evaluators_see_shifted_embeddings(shifted, plain):
    texts_a, texts_b = map(list, zip(*PAIRS[:12], strict=True))
    evaluator = EmbeddingSimilarityEvaluator(texts_a, texts_b, scores=[i % 5 / 5 for i in range(12)])
    found = evaluator(shifted)["spearman_cosine"]
    scores = [float(shifted.similarity(shifted.encode(a), shifted.encode(b))) for a, b in PAIRS[:12]]
    assert found == pytest.approx(spearmanr(scores, evaluator.scores).statistic, abs=1e-9)
    assert found != evaluator(plain)["spearman_cosine"]


def test_an_unmodified_model_encodes_as_ever(model, plain):
    texts = [text for pair in PAIRS[:8] for text in pair]
    np.testing.assert_array_equal(model.encode(texts), plain.encode(texts))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_derivatives_in_less_precision_state_their_error(model, dtype):
    accuracy = {"layer": 4, "n_steps": 24}
    full = model.attribute_prediction(*COFFEE, **accuracy)
    less = model.attribute_prediction(*COFFEE, derivative_dtype=dtype, **accuracy)
    assert less.score == full.score
    assert full.settings.precision == "float32"
    assert less.settings.precision == f"float32, derivatives in {dtype}"
    assert less.settings.precision in str(less)
    for side, reference in ((less.a, full.a), (less.b, full.b)):
        size = np.linalg.norm(reference.embedding - reference.reference_term)
        error = np.linalg.norm(side.factors - reference.factors, axis=1).max() / size
        assert 1e-6 < error <= 2 * side.residual
        assert reference.residual < side.residual < 1e-2


def test_what_is_pulled_back_in_less_precision_states_its_error(model):
    """A long text against a short one: reverse mode takes its products in bfloat16, too."""
    long, accuracy = "The harbour was closed all winter, and nobody on the quay could say why. " * 2, {"n_steps": 16}
    full = model.attribute_prediction("Ships.", long, layer=4, **accuracy)
    less = model.attribute_prediction("Ships.", long, layer=4, derivative_dtype="bfloat16", **accuracy)
    assert full.b.known_residual is not None
    assert less.b.known_residual is not None
    assert full.residual_b < 1e-4 < less.residual_b < 1e-2
    difference = np.linalg.norm(less.matrix - full.matrix) / np.linalg.norm(full.matrix)
    assert 1e-5 < difference < 1e-2


def test_what_is_pulled_back_in_less_precision_states_its_error_beside_a_tolerance(model):
    """In all directions of the embedding, although the nodes were placed by precise derivatives."""
    long = "The harbour was closed all winter, and nobody on the quay could say why."
    with pytest.warns(UserWarning, match="out of reach"):
        out = model.attribute_prediction("Ships.", long, layer=5, tolerance=1e-4, derivative_dtype="bfloat16")
    path = model.explainer(layer=5, tolerance=1e-4, derivative_dtype="bfloat16").path(long)
    (placed,) = place_nodes(PathIntegrator(path.precise, [path.x], [path.r]), [path.f_x - path.f_r], 1e-4, 512)
    (slopes,) = PathIntegrator(path.f, [path.x], [path.r]).derivatives([placed.rule.nodes])
    change = (path.f_x - path.f_r).double()
    gap = torch.from_numpy(placed.rule.weights) @ slopes.double() - change
    assert out.b.known_residual is not None
    assert out.residual_b >= 0.9 * float(gap.norm() / change.norm()) > 1e-4


def test_what_rounding_of_derivatives_puts_out_of_reach_is_said_and_not_sought(model):
    """Nodes are placed by precise derivatives: rounding looks like a path with jumps, for which hundreds were tried."""
    precise = model.attribute_prediction(*COFFEE, layer=5, tolerance=1e-5)
    expected = r"the tolerance of 1e-05 is out of reach for .* Leaving out derivative_dtype='bfloat16'"
    with pytest.warns(UserWarning, match=expected):
        out = model.attribute_prediction(*COFFEE, layer=5, tolerance=1e-5, derivative_dtype="bfloat16")
    for ours, theirs in ((out.a.settings, precise.a.settings), (out.b.settings, precise.b.settings)):
        assert (ours.n_steps, ours.n_looks) == (theirs.n_steps, theirs.n_looks)
    assert 1e-5 < out.residual_a < 1e-2


@pytest.mark.parametrize("set_by", ["old name", "new name"])
def test_tf32_is_said_where_torch_takes_it(set_by):
    options, matmul = Options(), torch.backends.cuda.matmul
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert precision_of_derivatives(options, torch.float32, cuda) == "float32"
    before = torch.get_float32_matmul_precision(), matmul.fp32_precision
    try:
        if set_by == "old name":
            torch.set_float32_matmul_precision("high")
        else:
            matmul.fp32_precision = "tf32"
        assert precision_of_derivatives(options, torch.float32, cuda) == "tf32"
        assert precision_of_derivatives(options, torch.float32, cpu) == "float32"
        assert precision_of_derivatives(options, torch.float64, cuda) == "float64"
    finally:
        matmul.fp32_precision = before[1]
        torch.set_float32_matmul_precision(before[0])
