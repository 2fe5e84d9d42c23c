"""One set of options: what methods take, show and document is what `Options` holds."""

import inspect
from dataclasses import fields
from typing import get_type_hints

import pytest

from xsbert import XSTransformer
from xsbert.engine import OptionKeywords, Options

METHODS = [
    XSTransformer.attribute_prediction,
    XSTransformer.explain_matrix,
    XSTransformer.explain_pairs,
    XSTransformer.explainer,
    XSTransformer.predict_memory,
    XSTransformer.text_factors,
]


def test_keywords_for_type_checkers_are_the_fields():
    assert get_type_hints(OptionKeywords) == get_type_hints(Options)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_help_shows_every_option(method):
    shown = inspect.signature(method).parameters
    for field in fields(Options):
        assert shown[field.name].default == field.default
        assert shown[field.name].kind is inspect.Parameter.KEYWORD_ONLY
        assert f"\n    {field.name}: " in method.__doc__
    assert "options" not in shown
    assert "**options" not in method.__doc__


def test_an_unknown_option_is_named(model):
    with pytest.raises(TypeError, match="unexpected keyword argument 'tolerence'; did you mean 'tolerance'"):
        model.attribute_prediction("a", "b", tolerence=0.1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        model.text_factors(["a"], colour="red")


def test_options_are_checked_when_they_are_made():
    with pytest.raises(ValueError, match="tolerance must be above 0"):
        Options(tolerance=-1)
    with pytest.raises(ValueError, match="memory_budget or chunk_size, not both"):
        Options(memory_budget=1e9, chunk_size=3)
    assert Options().target == 0.01
    assert Options(n_steps=3).target is None
