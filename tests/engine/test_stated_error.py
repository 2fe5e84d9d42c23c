"""The stated error of the factors of short and middling texts, against the true one."""

import numpy as np
import pytest

from xsbert import XSTransformer

# 23 to 29 tokens. What single tokens miss cancels in the sum, which the nodes are placed for.
TEXTS = [
    "Yes, you should create a portfolio site to showcase what you can do and what you've done.",
    "It depends on what you need: if you can do it by hand, you don't have to buy a machine for it.",
    "I would say that you should do what you can, and that what you can't do is not your problem.",
    "You should be able to do that, and if you are not, then it is because you have not done this.",
    "It's fine to use both, as long as you say which one you used and why you didn't use the other.",
    "The short answer is that it can be done, but that it is not something that you would want to do.",
]
LAYER, WANTED = 5, 0.01


@pytest.fixture(scope="module")
def model(plain):
    return XSTransformer.wrap(plain)


@pytest.fixture(scope="module")
def exact(model):
    return [each.factors for each in model.text_factors(TEXTS, layer=LAYER, n_steps=24)]


def true_error(found, exact):
    return np.linalg.norm(found.factors - exact) / np.linalg.norm(exact)


def test_it_is_above_the_true_error_and_at_most_three_times_as_large(model, exact):
    for found, truth in zip(model.text_factors(TEXTS, layer=LAYER), exact, strict=True):
        assert 20 <= len(found.tokens) <= 31
        assert true_error(found, truth) <= found.factor_error <= 3 * true_error(found, truth), found.text


@pytest.mark.slow
def test_a_tolerance_of_the_factors_is_reached(model, exact):
    for found, truth in zip(model.text_factors(TEXTS, layer=LAYER, factor_tolerance=WANTED), exact, strict=True):
        assert true_error(found, truth) <= found.factor_error <= WANTED, found.text
