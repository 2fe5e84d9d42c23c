"""Accuracy on demand: nodes for a tolerance."""

import warnings

import numpy as np
import pytest
import torch

from tests.pairs import PAIRS
from tests.tiny import write_model
from xsbert import XSTransformer
from xsbert.integrated_jacobian import PathIntegrator, quadrature, token_factors
from xsbert.integrated_jacobian.adaptive import place_nodes, search
from xsbert.integrated_jacobian.rules import sinh_gauss_legendre

COFFEE = ("The coffee is bad.", "This is not a good coffee.")
S, H = 4, 3


def random(*shape, seed):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


X, R, W = random(S, H, seed=1), random(S, H, seed=2), random(H, 5, seed=3)


def bent(h):
    """Bends where the path passes close to zero, as a normalisation does."""
    return (h / (0.01 + h.square().sum(-1, keepdim=True)).sqrt()).sum(0) @ W


def place(f, tolerance, max_steps=512):
    return place_nodes(PathIntegrator(f, [X], [R]), [f(X) - f(R)], tolerance, max_steps)[0]


def test_derivatives_along_the_path_are_the_sum_of_the_tokens():
    rule = quadrature("gauss-legendre", 7)
    total = torch.as_tensor(rule.weights) @ PathIntegrator(bent, [X], [R]).derivatives([rule.nodes])[0]
    torch.testing.assert_close(total, token_factors(bent, X, R, rule).sum(0))


@pytest.mark.parametrize("tolerance", [1e-1, 1e-2, 1e-4, 1e-8])
def test_the_tolerance_is_reached_and_the_residual_is_true(tolerance):
    placement = place(bent, tolerance)
    change = bent(X) - bent(R)
    found = float((token_factors(bent, X, R, placement.rule).sum(0) - change).norm() / change.norm())
    assert placement.reached
    assert found <= tolerance
    assert found == pytest.approx(placement.residual, rel=1e-6, abs=1e-12)


def test_a_looser_tolerance_takes_fewer_nodes():
    counts = [len(place(bent, tolerance).rule.nodes) for tolerance in (1e-1, 1e-3, 1e-6)]
    assert counts == sorted(set(counts))


def test_fewer_nodes_than_the_plain_rule():
    change = bent(X) - bent(R)

    def residual(n):
        rule = quadrature("gauss-legendre", n)
        total = torch.as_tensor(rule.weights) @ PathIntegrator(bent, [X], [R]).derivatives([rule.nodes])[0]
        return float((total - change).norm() / change.norm())

    plain = next(n for n in range(1, 400) if residual(n) <= 1e-4)
    assert len(place(bent, 1e-4).rule.nodes) < 0.7 * plain


def normalised(h):
    """A layer normalisation: between states of one length its poles lie over the middle of the path."""
    return (h / h.square().sum(-1, keepdim=True).sqrt()).sum(0) @ W


@pytest.mark.parametrize(("tolerance", "serves"), [(1e-2, True), (1e-9, False)])
def test_nodes_that_are_tried_first_are_taken_where_they_serve(tolerance, serves):
    x, r = (h / h.norm(dim=-1, keepdim=True) for h in (X, R))
    change = normalised(x) - normalised(r)
    integrator = PathIntegrator(normalised, [x], [r])
    (plain,) = place_nodes(integrator, [change], tolerance, 64)
    (found,) = place_nodes(integrator, [change], tolerance, 64, n_first=8)
    assert found.reached
    if serves:
        np.testing.assert_array_equal(found.rule.nodes, sinh_gauss_legendre(8).nodes)
        assert found.n_passes == 2 * 8
        total = token_factors(normalised, x, r, found.rule).sum(0)
        assert float((total - change).norm() / change.norm()) == pytest.approx(found.residual, rel=1e-6)
    else:
        np.testing.assert_array_equal(found.rule.nodes, plain.rule.nodes)
        assert found.n_passes == plain.n_passes + 2 * 8


def test_more_nodes_than_allowed_are_not_tried():
    (found,) = place_nodes(PathIntegrator(bent, [X], [R]), [bent(X) - bent(R)], 0.5, 6, n_first=8)
    assert len(found.rule.nodes) <= 6


def test_a_linear_function_takes_next_to_nothing():
    assert len(place(lambda h: h.sum(0) @ W, 1e-8).rule.nodes) <= 3


def test_what_is_out_of_reach_is_said():
    placement = place(bent, 1e-12, max_steps=6)
    assert not placement.reached
    assert placement.residual > 1e-12
    assert len(placement.rule.nodes) <= 6


def test_rounding_ends_the_search():
    noisy = place(lambda h: bent(h).float().double(), 1e-14)
    assert not noisy.reached
    assert len(noisy.rule.nodes) < 200


def drive(values, derivatives, tolerance, max_steps=64):
    """A search on a path α ↦ (N, E) given by functions; its placement and requests."""
    change = torch.from_numpy(np.diff(values(np.array([0.0, 1.0])), axis=0)[0])
    answers = {
        "values": values,
        "derivatives": derivatives,
        "both": lambda nodes: np.stack([values(nodes), derivatives(nodes)], 1),
    }
    searching, answer, requests = search(change, tolerance, max_steps), None, []
    while True:
        try:
            requests.append(searching.send(answer))
        except StopIteration as end:
            return end.value, requests
        kind, nodes = requests[-1]
        answer = torch.from_numpy(answers[kind](nodes))


def step(at):
    return np.stack([np.arctan((at - 0.4) / 0.05), np.sin(at)], -1)


def slope(at):
    return np.stack([0.05 / (0.05**2 + (at - 0.4) ** 2), np.cos(at)], -1)


def test_no_value_is_asked_for_twice():
    placement, requests = drive(step, slope, 1e-4)
    asked = np.concatenate([nodes for kind, nodes in requests if kind == "values"])
    assert placement.reached
    assert len(requests) > 3
    assert len(set(asked.round(12))) == len(asked)


def test_a_prediction_that_was_wrong_is_mended():
    """The derivatives are those of a sharper step than the values tell."""

    def sharper(at):
        return np.stack([0.02 / (0.02**2 + (at - 0.4) ** 2), np.cos(at)], -1)

    def end(at):
        ends = np.stack([np.arctan((np.array([0.0, 1.0]) - 0.4) / 0.02), np.sin([0.0, 1.0])], -1)
        return ends if len(at) == 2 else step(at)

    placement, requests = drive(end, sharper, 1e-3)
    assert placement.reached
    assert sum(kind == "derivatives" for kind, _ in requests) > 1


def steps(seed):
    """Two to five steps of different widths, and their slopes."""
    rng = np.random.default_rng(seed)
    sizes = rng.normal(size=(rng.integers(2, 6), 3))
    places, widths = rng.uniform(0.05, 0.95, len(sizes)), np.exp(rng.uniform(np.log(0.03), np.log(0.3), len(sizes)))

    def slopes(at):
        return (widths / (widths**2 + (at[:, None] - places) ** 2)) @ sizes

    return lambda at: np.arctan((at[:, None] - places) / widths) @ sizes, slopes


def test_seldom_a_third_more_nodes_than_it_takes():
    """With ever more nodes on a path that the curve has misjudged it would be so in one case of ten."""
    tolerance, beyond = 1e-2, []
    for seed in range(120):
        values, derivatives = steps(seed)
        placement, _ = drive(values, derivatives, tolerance, 256)
        change = np.diff(values(np.array([0.0, 1.0])), axis=0)[0]
        n_steps = len(placement.rule.nodes)
        if not placement.reached or len(placement.orders) > 1:
            continue
        fewest = n_steps
        while fewest > 1:
            nodes, weights = placement.finer(fewest - 1 - n_steps)
            if np.linalg.norm(weights @ derivatives(nodes) - change) > 0.95 * tolerance * np.linalg.norm(change):
                break
            fewest -= 1
        beyond.append(n_steps / fewest)
    assert len(beyond) > 20
    assert np.mean(np.array(beyond) > 1.34) <= 0.05


@pytest.mark.parametrize("kind", ["values", "derivatives"])
def test_what_is_not_finite_on_the_way_is_refused(kind):
    def broken(at):
        return np.where((np.abs(at - 0.5) < 0.3)[:, None], np.inf, slope(at))

    with pytest.raises(FloatingPointError, match=f"{kind} of the model between reference and text are not finite"):
        drive(broken if kind == "values" else step, broken, 1e-5)


def test_a_text_that_is_its_reference():
    (placement,) = place_nodes(PathIntegrator(bent, [R], [R]), [torch.zeros(5)], 1e-3, 64)
    assert placement.reached
    assert placement.residual == 0


@pytest.mark.slow
@pytest.mark.parametrize("layer", [0, 2, 4, 6])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-3])
def test_on_real_weights_it_never_understates_its_error(model, layer, tolerance):
    out = model.attribute_prediction(*COFFEE, layer=layer, tolerance=tolerance)
    assert max(out.residual_a, out.residual_b) <= tolerance
    dense = model.attribute_prediction(*COFFEE, layer=layer, n_steps=64)
    for side, reference in ((out.a, dense.a), (out.b, dense.b)):
        size = np.linalg.norm(reference.embedding - reference.reference_term)
        summed = np.linalg.norm(side.factors.sum(0) - reference.factors.sum(0)) / size
        assert summed <= side.residual + reference.residual + 1e-6
        worst_token = np.linalg.norm(side.factors - reference.factors, axis=1).max() / size
        assert worst_token <= 2 * side.residual + reference.residual + 1e-5
    assert out.settings.rule == "adaptive"
    assert out.settings.tolerance == tolerance
    assert out.settings.n_steps == max(out.a.settings.n_steps, out.b.settings.n_steps)


def test_half_the_nodes_at_layer_0(model):
    """64 plain Gauss-Legendre nodes, halved."""
    for text, _ in PAIRS[:3]:
        (factor,) = model.token_factors([text], layer=0, tolerance=1e-3)
        assert factor.residual <= 1e-3
        assert factor.settings.n_steps <= 32


def test_the_default_is_a_tolerance_of_one_percent(model):
    out = model.attribute_prediction(*COFFEE)
    assert out.settings.tolerance == 1e-2
    assert max(out.residual_a, out.residual_b) <= 1e-2
    assert "adaptive nodes for a tolerance of 0.01" in str(out)


def test_half_precision_says_what_it_reached(tmp_path):
    path = write_model("bert", tmp_path)
    model = XSTransformer(path, device="cpu", model_kwargs={"dtype": torch.bfloat16})
    with pytest.warns(UserWarning, match=r"the tolerance of 1e-06 is out of reach for 'the giant'.*the residual is"):
        out = model.attribute_prediction("the giant", "a tall traveller", layer=1, tolerance=1e-6)
    assert out.residual_a > 1e-6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.attribute_prediction("the giant", "a tall traveller", layer=1, tolerance=0.5)
