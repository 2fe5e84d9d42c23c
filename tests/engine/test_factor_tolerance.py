"""The error of the tokens' factors can be held within a tolerance of its own."""

import numpy as np
import pytest

from xsbert import XSTransformer
from xsbert.engine import Options

TEXTS = ["The coffee is bad.", "A man is playing a guitar on the stage.", "Two dogs run across the field."]
WANTED = 4e-3


@pytest.fixture(scope="module")
def padded(plain):
    return XSTransformer.wrap(plain, reference="pad")


@pytest.mark.parametrize("layer", [4, 2])
def test_it_holds_and_costs_nodes_where_it_has_to(padded, layer):
    loose = padded.text_factors(TEXTS, layer=layer)
    held = padded.text_factors(TEXTS, layer=layer, factor_tolerance=WANTED)
    exact = padded.text_factors(TEXTS, layer=layer, tolerance=1e-5)
    assert max(each.factor_error for each in loose) > WANTED, "nothing would have to be done"
    for one, other, truth in zip(loose, held, exact, strict=True):
        assert other.factor_error <= WANTED
        assert np.linalg.norm(other.factors - truth.factors) <= WANTED * np.linalg.norm(truth.factors)
        if one.factor_error <= WANTED:
            np.testing.assert_array_equal(one.factors, other.factors)
        else:
            assert other.settings.n_steps > one.settings.n_steps
            assert other.settings.n_looks > one.settings.n_looks


def test_it_holds_for_factors_that_are_pulled_back(padded):
    long = " ".join(TEXTS * 2)
    loose, held = (
        padded.attribute_prediction("coffee", long, layer=2, **options)
        for options in ({}, {"factor_tolerance": WANTED})
    )
    assert loose.pulled_back == held.pulled_back == "b"
    assert held.factor_error_b <= WANTED
    assert loose.factor_error_b > WANTED
    np.testing.assert_allclose(held.matrix, loose.matrix, atol=0.03 * np.abs(loose.matrix).max())


@pytest.mark.slow
def test_out_of_reach_is_told(padded):
    with pytest.warns(UserWarning, match=r"the factor_tolerance of 1e-05 is out of reach for 'The coffee"):
        padded.text_factors(TEXTS[:1], layer=2, factor_tolerance=1e-5, max_steps=9)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"pass factor_tolerance or n_steps, not both, got 0\.01 and 4"):
        Options(factor_tolerance=0.01, n_steps=4)
    with pytest.raises(ValueError, match=r"factor_tolerance must be above 0, got -1"):
        Options(factor_tolerance=-1)
    with pytest.raises(TypeError, match=r"factor_tolerance must be a number, got '0\.1'"):
        Options(factor_tolerance="0.1")
