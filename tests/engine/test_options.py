"""One set of options: what methods take, show and document is what `Options` holds."""

import inspect
import json
from dataclasses import fields
from typing import get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xsbert import XSTransformer, explain_corpus
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


def test_numbers_of_numpy_are_as_good_as_python_s(model):
    given = Options(
        layer=np.int64(5),
        tolerance=np.float32(0.0625),
        factor_tolerance=np.float16(0.25),
        max_steps=np.int32(40),
        memory_budget=np.float32(2**28),
    )
    assert given == Options(layer=5, tolerance=0.0625, factor_tolerance=0.25, max_steps=40, memory_budget=2**28)
    assert all(type(value) in (int, float, str, type(None)) for value in vars(given).values())
    fixed = Options(n_steps=np.int64(3), chunk_size=np.uint8(7))
    assert (type(fixed.n_steps), type(fixed.chunk_size)) == (int, int)
    kept = model.attribute_prediction(
        "Rain", "Wet", layer=np.int8(5), tolerance=np.float32(0.25), max_steps=np.int64(9)
    )
    json.dumps(kept.to_dict())
    assert kept.settings.tolerance == 0.25


def test_counts_of_numpy_are_as_good_as_python_s(model, tmp_path):
    texts = ["It rains.", "A cold day."]
    counts = {"top_k": np.int64(1), "passages": np.int32(8), "overlap": np.int16(2)}
    ranking = model.explain_ranking("cold weather", texts, layer=5, **counts)
    assert len(ranking) == 1
    assert len(ranking[0].highlights(top_k=np.int64(1))) == 1
    assert len(model.attribute_prediction(*texts, layer=5).top_pairs(np.int64(2))) == 2
    pq.write_table(pa.table({"text_a": texts[:1], "text_b": texts[1:]}), tmp_path / "pairs.parquet")
    how = {"top_k": np.int64(2), "shard_size": np.int64(5), "memory_budget": np.float32(2**28)}
    corpus = explain_corpus(model, tmp_path / "pairs.parquet", tmp_path / "out", layer=np.int64(5), **how)
    assert len(corpus.row(0)["top"]) == 2
    for name in ("top_k", "passages", "overlap"):
        with pytest.raises(ValueError, match=f"{name} must be"):
            model.explain_ranking("cold weather", texts, **{"passages": 8, name: True})
