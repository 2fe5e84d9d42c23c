import numpy as np
import pytest

from xsbert.integrated_jacobian.rules import RULES, equidistributed, quadrature, sinh_gauss_legendre

# Highest degree of a polynomial that N nodes integrate exactly. A new rule gets a row here.
DEGREE = {"gauss-legendre": lambda n: 2 * n - 1, "midpoint": lambda n: 1, "riemann-right": lambda n: 0}


def integrate(rule, n, degree):
    nodes, weights = quadrature(rule, n)
    return float(weights @ nodes**degree)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_exact_to_its_degree_and_not_beyond(rule, n):
    degree = DEGREE[rule](n)
    for exact in range(degree + 1):
        assert integrate(rule, n, exact) == pytest.approx(1 / (exact + 1), abs=1e-14)
    assert abs(integrate(rule, n, degree + 1) - 1 / (degree + 2)) > 1e-9


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("n", [1, 2, 49, 50, 98, 103, 500])
def test_exactly_n_ascending_nodes_within_the_interval(rule, n):
    nodes, weights = quadrature(rule, n)
    assert nodes.shape == weights.shape == (n,)
    assert nodes.dtype == weights.dtype == np.float64
    assert (np.diff(nodes) > 0).all()
    assert nodes[0] > 0
    assert nodes[-1] <= 1
    assert (weights > 0).all()
    assert weights.sum() == pytest.approx(1, abs=1e-13)


@pytest.mark.parametrize(("rule", "order"), [("midpoint", 2), ("riemann-right", 1)])
def test_order_of_convergence(rule, order):
    errors = []
    for n in (64, 128):
        nodes, weights = quadrature(rule, n)
        errors.append(abs(float(weights @ np.exp(nodes)) - (np.e - 1)))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.05)


@pytest.mark.parametrize("n", [0, -1])
def test_too_few_steps(n):
    with pytest.raises(ValueError, match=f"n_steps must be at least 1, got {n}"):
        quadrature("midpoint", n)


@pytest.mark.parametrize("n", [2.0, "8", None, True])
def test_steps_that_are_no_integer(n):
    with pytest.raises(TypeError, match="n_steps must be an integer"):
        quadrature("midpoint", n)


def test_unknown_rule_names_the_known_ones():
    with pytest.raises(ValueError, match=r"rule must be one of 'gauss-legendre'.*'simpson'"):
        quadrature("simpson", 4)


POSITIONS = np.linspace(0, 1, 1001)
SPEEDS = {
    "bend": 1 / ((POSITIONS - 0.5) ** 2 + 0.02**2),
    "rise": 0.1 + POSITIONS**2,
    "step": 1 + np.tanh((POSITIONS - 0.3) / 0.05),
}


@pytest.mark.parametrize("n", [1, 4, 30])
@pytest.mark.parametrize("speed", SPEEDS)
def test_equidistributed_nodes_lie_within_the_interval(n, speed):
    nodes, weights = equidistributed(SPEEDS[speed] + 1e-3)(n)
    assert (np.diff(nodes) > 0).all()
    assert nodes[0] > 0
    assert nodes[-1] < 1
    assert (weights > 0).all()


def test_an_even_speed_is_the_plain_rule():
    for found, expected in zip(equidistributed(np.full(50, 3.0))(9), quadrature("gauss-legendre", 9), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("speed", SPEEDS)
def test_nodes_are_spread_over_the_length(speed):
    """In the variable u, the share of the length behind a node, they are Gauss-Legendre nodes."""
    fine = np.linspace(0, 1, 100_001)
    length = np.cumsum(np.interp(fine, POSITIONS, SPEEDS[speed]))
    shares = np.interp(equidistributed(SPEEDS[speed])(12).nodes, fine, length / length[-1])
    np.testing.assert_allclose(shares, quadrature("gauss-legendre", 12).nodes, atol=1e-3)


def test_equidistributed_nodes_serve_a_near_pole():
    """∫ 1/((α − ½)² + w²) dα in closed form, where plain nodes need several times as many."""
    w = 0.02
    exact = 2 * np.arctan(0.5 / w) / w

    def error(rule):
        return abs(rule.weights @ (1 / ((rule.nodes - 0.5) ** 2 + w**2)) / exact - 1)

    assert error(equidistributed(SPEEDS["bend"])(6)) < 1e-6
    assert error(quadrature("gauss-legendre", 72)) > 1e-4


@pytest.mark.parametrize("n", [6, 8, 12])
@pytest.mark.parametrize("height", [0.1, 0.15, 0.3])
def test_nodes_drawn_to_the_middle_serve_poles_over_it(n, height):
    """∫ h/(h² + (α − ½)²) dα = 2 arctan(1/2h), with poles at ½ ± ih."""
    exact = 2 * np.arctan(0.5 / height)

    def error(rule):
        return abs(rule.weights @ (height / (height**2 + (rule.nodes - 0.5) ** 2)) / exact - 1)

    rule = sinh_gauss_legendre(n)
    assert (np.diff(rule.nodes) > 0).all()
    np.testing.assert_allclose(rule.nodes, 1 - rule.nodes[::-1], atol=1e-12)
    assert abs(rule.weights.sum() - 1) < 1e-8
    assert error(rule) < error(quadrature("gauss-legendre", n)) / 5
