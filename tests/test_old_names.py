"""Names of version 0.1.0 go on working, and say what they are called now."""

import numpy as np
import pytest

from xsbert.models import reference
from xsbert.utils import tokens

TEXTS = ("The coffee is bad.", "This is not a good coffee.")


def test_methods(model):
    with pytest.deprecated_call(match=r"its name is text_factors\(\)"):
        a, _ = model.token_factors(TEXTS, layer=5, n_steps=2)
    (same, _) = model.text_factors(TEXTS, layer=5, n_steps=2)
    np.testing.assert_array_equal(a.factors, same.factors)
    out = model.attribute_prediction(*TEXTS, layer=5, n_steps=2)
    with pytest.deprecated_call(match=r"its name is over\(\)"):
        old = out.spans(a=[(0, 10)], b="words")
    np.testing.assert_array_equal(old.matrix, out.over(a=[(0, 10)], b="words").matrix)


def test_modules():
    """Saved models and pickles name the first, users the second."""
    assert reference.Reference.__name__ == "Reference"
    assert reference.ReferenceTransformer.__module__ == "xsbert.models.reference"
    assert tokens.word_groups is not None
    assert set(tokens.__all__) <= set(vars(tokens))
