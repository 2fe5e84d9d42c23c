import numpy as np
import pytest

from xsbert.quadrature import RULES, concentrated, quadrature

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
    with pytest.raises(ValueError, match=r"rule must be one of \['gauss-legendre'.*'simpson'"):
        quadrature("simpson", 4)


@pytest.mark.parametrize("n", [1, 4, 30])
@pytest.mark.parametrize(("centre", "width"), [(0.5, 0.1), (0.0, 0.3), (1.0, 0.02), (0.3, 5.0)])
def test_concentrated_nodes_lie_within_the_interval(n, centre, width):
    nodes, weights = concentrated(n, centre, width)
    assert (np.diff(nodes) > 0).all()
    assert nodes[0] > 0
    assert nodes[-1] < 1
    assert (weights > 0).all()


def test_a_large_width_is_the_plain_rule():
    for found, expected in zip(concentrated(9, 0.5, 1e4), quadrature("gauss-legendre", 9), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-8)


def test_concentrated_nodes_serve_a_near_pole():
    """∫ 1/((α − ½)² + w²) dα in closed form, where plain nodes need several times as many."""
    w = 0.02
    exact = 2 * np.arctan(0.5 / w) / w

    def error(rule):
        return abs(rule.weights @ (1 / ((rule.nodes - 0.5) ** 2 + w**2)) / exact - 1)

    assert error(concentrated(24, 0.5, w)) < 1e-6
    assert error(quadrature("gauss-legendre", 72)) > 1e-4
