"""Factors once per text, coarser units, and the cheaper direction."""

import itertools
import math

import numpy as np
import pytest
import torch

import xsbert.engine.batch_run
import xsbert.engine.batching
from tests.tiny import write_model
from xsbert import Attribution, XSTransformer
from xsbert.integrated_jacobian import PathIntegrator, projected_factors, quadrature, token_factors
from xsbert.integrated_jacobian.error_estimates import signs_worth_their_cost

TEXTS = ["the gentle giant did not unpack .", "a tall traveller", "his bags were left", "the giant ."]
LONG = " ".join(TEXTS * 2)
STEPS = {"layer": 1, "n_steps": 6}


@pytest.fixture(params=[False, True], ids=["off the shelf", "shifted"])
def own(request, tmp_path):
    path = write_model("bert", tmp_path, normalize=True)
    return XSTransformer(path, shift=request.param, device="cpu", model_kwargs={"dtype": torch.float64})


@pytest.fixture
def counted(monkeypatch):
    """How many texts had their factors computed."""
    calls = []
    original = PathIntegrator.token_factors

    def spy(self, *args, **kwargs):
        calls.extend(self.xs)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(PathIntegrator, "token_factors", spy)
    return calls


def same(one, other):
    np.testing.assert_allclose(one.matrix, other.matrix, atol=1e-12)
    np.testing.assert_allclose(one.main_effects_a, other.main_effects_a, atol=1e-12)
    np.testing.assert_allclose(one.main_effects_b, other.main_effects_b, atol=1e-12)
    assert one.baseline == pytest.approx(other.baseline, abs=1e-12)
    assert one.score == pytest.approx(other.score, abs=1e-12)
    assert one.residual_a == pytest.approx(other.residual_a, rel=1e-3, abs=1e-12)
    assert one.residual_b == pytest.approx(other.residual_b, rel=1e-3, abs=1e-12)


def test_a_matrix_costs_each_text_once(own, counted):
    found = list(own.explain_matrix(TEXTS[:2], TEXTS[1:], **STEPS))
    assert len(counted) == len(set(TEXTS))
    assert [(i, j) for i, j, _ in found] == list(itertools.product(range(2), range(3)))
    for i, j, result in found:
        same(result, own.attribute_prediction(TEXTS[i], TEXTS[1 + j], **STEPS))


def test_pairs_cost_each_distinct_text_once(own, counted):
    pairs = [(TEXTS[0], TEXTS[1]), (TEXTS[1], TEXTS[0]), (TEXTS[0], TEXTS[2])]
    results = list(own.explain_pairs(pairs, **STEPS))
    assert len(counted) == 3
    assert results[0].a is results[1].b
    assert results[0].b is results[1].a
    # The product itself is rounded by its shape.
    np.testing.assert_allclose(results[0].matrix, results[1].matrix.T, rtol=1e-12)
    same(results[2], own.attribute_prediction(*pairs[2], **STEPS))


def test_batches_do_not_change_a_text(model, monkeypatch):
    texts = [f"{subject} {verb} home" for subject in ("She", "He", "Nobody") for verb in ("runs", "went")]
    texts += ["[PAD] [PAD] [PAD]", "[PAD]  [PAD] [PAD]", "Reykjavík is far from home, and so is the sea."]
    together = model.text_factors(texts, layer=3, tolerance=1e-3)
    assert [factors.text for factors in together] == texts
    monkeypatch.setattr(xsbert.engine.batching, "MAX_TEXTS", 2)
    in_twos = model.text_factors(texts, layer=3, tolerance=1e-3)
    for text, one, two in zip(texts, together, in_twos, strict=True):
        (alone,) = model.text_factors([text], layer=3, tolerance=1e-3)
        assert one.settings == alone.settings == two.settings
        for found in (one, two):
            np.testing.assert_allclose(found.factors, alone.factors, atol=1e-5 * np.abs(alone.factors).max())
    assert not together[6].factors.any()
    assert not together[7].factors.any()


def test_results_stream(own):
    pairs = own.explain_pairs([(TEXTS[0], TEXTS[1])], **STEPS)
    assert isinstance(next(pairs), Attribution)
    assert list(pairs) == []
    stream = own.explain_matrix(TEXTS, TEXTS, **STEPS)
    assert isinstance(next(stream)[2], Attribution)


def test_arguments_are_checked_before_any_work(own, counted):
    with pytest.raises(ValueError, match="only bilinear similarities"):
        own.explain_pairs([(TEXTS[0], TEXTS[1])], similarity="euclidean", **STEPS)
    with pytest.raises(ValueError, match=r"texts\[2\] must hold some text"):
        own.text_factors([TEXTS[0], TEXTS[1], " "], **STEPS)
    with pytest.raises(TypeError, match=r"texts\[1\] must be a string, got int"):
        own.text_factors([TEXTS[0], 5], **STEPS)
    with pytest.raises(TypeError, match="texts must hold strings, got one string"):
        own.text_factors(TEXTS[0], **STEPS)
    with pytest.raises(ValueError, match="units must be one of 'tokens', 'words', 'sentences', got 'letters'"):
        own.text_factors(TEXTS, units="letters", **STEPS)
    assert not counted


@pytest.mark.parametrize("units", ["words", "sentences"])
def test_units_are_the_sums_of_their_tokens(model, units):
    text = "He didn't unpack in Reykjavík. The bags stayed closed."
    (coarse,) = model.text_factors([text], layer=4, n_steps=4, units=units)
    (fine,) = model.text_factors([text], layer=4, n_steps=4)
    summed = fine.words() if units == "words" else fine.over("sentences")
    assert coarse.tokens == summed.tokens
    assert coarse.roles == summed.roles
    assert len(coarse.tokens) < len(fine.tokens)
    np.testing.assert_allclose(coarse.factors, summed.factors, atol=1e-6)
    assert coarse.residual == pytest.approx(fine.residual, rel=1e-2, abs=1e-6)


def test_factors_that_do_not_belong_together(own, tmp_path):
    (a,) = own.text_factors([TEXTS[0]], **STEPS)
    (other_layer,) = own.text_factors([TEXTS[1]], layer=2, n_steps=6)
    with pytest.raises(ValueError, match="factors of different layer cannot be combined: 1 and 2"):
        Attribution.of(a, other_layer, "cosine")
    if not own.shifted:
        (other_reference,) = own.text_factors([TEXTS[1]], reference="pad", **STEPS)
        with pytest.raises(ValueError, match="factors of different reference cannot be combined"):
            Attribution.of(a, other_reference, "cosine")
    with torch.no_grad():
        own[0].model.encoder.layer[1].output.dense.weight.mul_(2)
    (other_weights,) = own.text_factors([TEXTS[1]], **STEPS)
    with pytest.raises(ValueError, match="factors of different fingerprint cannot be combined"):
        Attribution.of(a, other_weights, "cosine")
    with pytest.raises(ValueError, match="similarity must be 'cosine' or 'dot'"):
        Attribution.of(a, a, "euclidean")


def test_projected_factors_against_the_full_ones():
    x, r, out = (
        torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        for shape, seed in (((7, 3), 1), ((7, 3), 2), ((3, 6), 3))
    )
    directions = torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(4))

    def f(h):
        return torch.tanh(h).cumsum(0).square().sum(0) @ out

    rule = quadrature("gauss-legendre", 9)
    full = token_factors(f, x, r, rule) @ directions.T
    for chunk_size in (None, 1, 3):
        found = projected_factors(f, x, r, rule, directions, chunk_size=chunk_size)
        torch.testing.assert_close(found, full)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_the_cheaper_direction_gives_the_same(own, similarity, monkeypatch):
    directions = []
    original = PathIntegrator.projected_factors

    def spy(*args, **kwargs):
        directions.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(PathIntegrator, "projected_factors", spy)
    cheap = own.attribute_prediction("the giant", LONG, similarity=similarity, **STEPS)
    turned = own.attribute_prediction(LONG, "the giant", similarity=similarity, **STEPS)
    assert len(directions) == 2
    for cost in ("BACKWARD_COST", "REVERSE_COST"):
        monkeypatch.setattr(xsbert.engine.batch_run, cost, 1e9)
    forward = own.attribute_prediction("the giant", LONG, similarity=similarity, **STEPS)
    assert len(directions) == 2
    same(cheap, forward)
    np.testing.assert_allclose(turned.matrix, forward.matrix.T, atol=1e-12)
    assert cheap.feature_pairs().shape == (4, 16, len(cheap.tokens_b), 16)


def test_what_goes_wrong_in_reverse_mode_shows_in_the_residual(own, monkeypatch):
    """The residual of a text that was pulled back is not that of the nodes alone."""
    original = PathIntegrator.projected_factors
    right = own.attribute_prediction("the giant", LONG, layer=1, n_steps=24)

    def enlarged(*args, **kwargs):
        return [measured._replace(factors=1.1 * measured.factors) for measured in original(*args, **kwargs)]

    monkeypatch.setattr(PathIntegrator, "projected_factors", enlarged)
    wrong = own.attribute_prediction("the giant", LONG, layer=1, n_steps=24)
    assert right.residual_b < 1e-6
    assert wrong.residual_b > 1e-2


@pytest.mark.parametrize("truncate_dim", [None, 3])
def test_with_more_tokens_than_outputs_reverse_mode_is_cheaper(truncate_dim, tmp_path, monkeypatch):
    """Ten outputs, fewer than the tokens of the long text: each is pulled back, which gives the same factors."""
    model = XSTransformer(write_model("mpnet", tmp_path, dense=True), device="cpu", truncate_dim=truncate_dim)
    pulled_back = pulled_back_lengths(monkeypatch)
    reverse = model.text_factors([LONG, "the giant"], **STEPS)
    monkeypatch.setattr(xsbert.engine.batch_run, "REVERSE_COST", 1e9)
    forward = model.text_factors([LONG, "the giant"], **STEPS)
    for found, expected in zip(reverse, forward, strict=True):
        assert found.known_residual is None
        np.testing.assert_allclose(found.factors, expected.factors, atol=1e-6)
        assert found.residual == pytest.approx(expected.residual, abs=1e-6)
    # Three outputs are fewer than the four tokens of the short text, too.
    long, short = (len(factors.tokens) for factors in reverse)
    assert pulled_back == ([long] if truncate_dim is None else [long, short])


def pulled_back_lengths(monkeypatch):
    """Collects the numbers of tokens of texts that go through reverse mode."""
    lengths = []
    original = PathIntegrator.projected_factors

    def spy(self, *args, **kwargs):
        lengths.extend(map(len, self.xs))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(PathIntegrator, "projected_factors", spy)
    return lengths


def words(n_tokens):
    """A text of so many tokens, two of them special."""
    return " ".join(["giant"] * (n_tokens - 2))


@pytest.mark.parametrize(("cost", "first"), [(None, 13), (1.0, 11)], ids=["as measured", "equal costs"])
def test_from_which_length_on_outputs_are_pulled_back(cost, first, tmp_path, monkeypatch):
    """S + 1 forward products a node against 1.2 · (10 + 1) reverse ones; of equals, forward."""
    model = XSTransformer(write_model("bert", tmp_path, dense=True), device="cpu")
    if cost is not None:
        monkeypatch.setattr(xsbert.engine.batch_run, "REVERSE_COST", cost)
    pulled_back = pulled_back_lengths(monkeypatch)
    model.text_factors([words(n_tokens) for n_tokens in range(8, 16)], **STEPS)
    assert sorted(pulled_back) == list(range(first, 16))


@pytest.mark.parametrize(("cost", "first"), [(None, 7), (1.0, 5)], ids=["as measured", "equal costs"])
def test_from_which_length_on_a_text_is_pulled_back(cost, first, tmp_path, monkeypatch):
    """The other text has three tokens and a reference, so 1.5 · (4 + 1) reverse products a node against S + 1."""
    model = XSTransformer(write_model("bert", tmp_path), device="cpu")
    if cost is not None:
        monkeypatch.setattr(xsbert.engine.batch_run, "BACKWARD_COST", cost)
    pulled_back = pulled_back_lengths(monkeypatch)
    for n_tokens in range(4, 10):
        model.attribute_prediction("giant", words(n_tokens), **STEPS)
    assert pulled_back == list(range(first, 10))


def test_the_bar_counts_texts(own, capsys):
    own.text_factors(TEXTS, show_progress_bar=True, **STEPS)
    assert "/4 [" in capsys.readouterr().err
    own.text_factors(TEXTS, show_progress_bar=False, **STEPS)
    assert not capsys.readouterr().err


def test_projected_factors_of_many_texts(model):
    """Each text along its own directions, texts of one length together, against the full factors."""
    texts = ["She runs home", "He went home", "Reykjavík is far from home.", "She runs home", "[PAD] [PAD] [PAD]"]
    explainer = model.explainer(layer=3, n_steps=6)
    full = explainer.factors(texts)
    draw = np.random.default_rng(0)
    directions = [draw.normal(size=(n_directions, 384)) for n_directions in (1, 3, 2, 1, 1)]
    found = explainer.projected(texts, directions)
    for one, other, own in zip(found, full, directions, strict=True):
        assert (one.text, one.tokens, one.factors.shape) == (other.text, other.tokens, (len(other.tokens), len(own)))
        expected = other.factors @ own.T
        np.testing.assert_allclose(one.factors, expected, atol=1e-5 * max(1, np.abs(expected).max()))
        np.testing.assert_allclose(one.words().factors, other.words().factors @ own.T, atol=1e-4)
        assert one.residual == pytest.approx(other.residual, rel=0.05, abs=1e-6)
        assert (one.settings, one.directions.shape) == (other.settings, own.shape)
    assert not found[4].factors.any()
    with pytest.raises(ValueError, match="factors along a few directions cannot be combined"):
        Attribution.of(found[0], found[1], "cosine")


def test_the_error_of_projected_factors(model):
    texts = ["Nobody runs home", "She went home", "Far from home is the sea."]
    directions = [np.random.default_rng(seed).normal(size=(1, 384)) for seed in range(3)]
    rough = model.explainer(layer=0, n_steps=4).projected(texts, directions)
    exact = model.explainer(layer=0, n_steps=64).projected(texts, directions)
    for one, best in zip(rough, exact, strict=True):
        error = np.linalg.norm(one.factors - best.factors) / np.linalg.norm(best.factors)
        assert error < one.factor_error < 20 * error
        assert best.factor_error < 0.1 * one.factor_error


@pytest.mark.parametrize(
    ("directions", "message"),
    [
        ([np.ones((1, 384))], "one array for each text, got 1 for 2"),
        ([np.ones((1, 384)), np.ones(384)], r"shape \(K, E\) with K of at least 1, got \(384,\)"),
        ([np.ones((1, 384)), np.zeros((1, 384))], "must not all be zero"),
        ([np.ones((1, 384)), np.full((1, 384), np.nan)], "not finite"),
        ([np.ones((1, 384)), np.ones((1, 383))], "the embedding's 384 dimensions, got 383"),
    ],
)
def test_directions_that_do_not_fit(model, directions, message):
    with pytest.raises(ValueError, match=message):
        model.explainer(n_steps=1).projected(TEXTS[:2], directions)


def test_pulled_back_serves_what_the_directions_span(model):
    explainer = model.explainer(layer=3, n_steps=5)
    (full,) = explainer.factors([LONG])
    directions = np.random.default_rng(1).normal(size=(3, 384))
    found = explainer.pulled_back(LONG, np.vstack([directions, directions[:1]]))
    expected = full.factors @ directions.T
    np.testing.assert_allclose(found.factors @ directions.T, expected, atol=1e-5 * np.abs(expected).max())


def test_an_explainer_sees_new_weights(own):
    explainer = own.explainer(**STEPS)
    (before,) = explainer.factors(TEXTS[:1])
    with torch.no_grad():
        own[0].model.encoder.layer[1].output.dense.weight.mul_(2)
    (after,) = explainer.factors(TEXTS[:1])
    (alone,) = own.text_factors(TEXTS[:1], **STEPS)
    assert before.settings.fingerprint != after.settings.fingerprint == alone.settings.fingerprint
    np.testing.assert_array_equal(after.factors, alone.factors)
    assert not np.allclose(after.factors, before.factors)


@pytest.mark.parametrize(
    ("n_directions", "tolerance", "tried"), [(24, 0.005, True), (25, 0.005, False), (1, 0.004, False)]
)
def test_nodes_are_tried_first_along_few_directions_for_loose_tolerances(model, n_directions, tolerance, tried):
    text = ["The harbour was closed."]
    (placed,) = model.text_factors(text, tolerance=tolerance)
    (found,) = model.explainer(tolerance=tolerance).projected(text, [np.eye(384)[:n_directions]])
    n_signs = signs_worth_their_cost(n_directions)
    n_steps = found.settings.n_steps
    n_checks = (n_signs + 2) * (n_steps + max(2, math.ceil(n_steps / 3))) if n_signs else 0
    if tried:
        assert (found.settings.n_steps, found.settings.n_looks - n_checks) == (8, 16)
    else:
        n_looks = placed.settings.n_looks + n_checks
        assert (found.settings.n_steps, found.settings.n_looks) == (placed.settings.n_steps, n_looks)
