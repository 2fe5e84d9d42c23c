"""Names of version 0.1.0 go on working, and say what they are called now."""

import re
from pathlib import Path

import numpy as np
import pytest

import xsbert
from xsbert import Attribution, XSTransformer
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


def test_nothing_refers_to_an_old_name():
    """Neither docstrings and messages of the package, nor pages, benchmarks and notebooks."""
    kinds = {XSTransformer: "XSTransformer|model", Attribution: "Attribution|out|result"}
    old = [
        rf"\b(?:{owners})\.{name}\b"
        for kind, owners in kinds.items()
        for base in kind.__mro__
        if base.__module__.startswith("xsbert")
        for name, value in vars(base).items()
        if hasattr(value, "__deprecated__")
    ]
    assert len(old) >= 2
    root = Path(__file__).parents[1]
    found = {
        str(path.relative_to(root)): re.findall("|".join(old), path.read_text(encoding="utf-8"))
        for pattern in ("xsbert/**/*.py", "benchmarks/*.py", "demos/*", "docs/**/*.md", "README.md")
        for path in root.glob(pattern)
        if path.is_file() and "_build" not in path.parts
    }
    assert {name: names for name, names in found.items() if names} == {}


def test_modules_are_found_under_their_earlier_names():
    for name, now in xsbert._EARLIER_MODULES.items():
        with pytest.warns(DeprecationWarning, match=rf"xsbert\.{name} is now xsbert\.{now}"):
            module = getattr(xsbert, name)
        assert module.__name__ == f"xsbert.{now}"


def test_keywords(model, tmp_path):
    """Each earlier keyword warns, with the line that used it, and does what the present one does."""
    out = model.explain(*TEXTS, layer=5, n_steps=2)
    with pytest.warns(DeprecationWarning, match=r"(k|special)= is deprecated, its name is ") as caught:
        old = out.top_pairs(k=2, special=False)
    assert {each.filename for each in caught} == {__file__}
    assert old == out.top_pairs(2, special_tokens=False)
    hit = model.explain_ranking("weather", ["Rain and wind. A cold day."], layer=6, n_steps=1)[0]
    with pytest.warns(DeprecationWarning, match=r"(merge|k)= is deprecated"):
        assert hit.highlights(merge="sentences", k=1) == hit.highlights("sentences", top_k=1)
    with pytest.warns(DeprecationWarning, match="merge= is deprecated, its name is units="):
        assert hit.tagged(merge="sentences") == hit.tagged(units="sentences")
    rows = [{"text": "Rain", "key": "r"}]
    how = {"what": "factors", "layer": 6, "n_steps": 1, "show_progress_bar": False}
    with pytest.warns(DeprecationWarning, match=r"(id_column|side)= is deprecated, its name is (id|task)="):
        old = xsbert.explain_corpus(model, rows, tmp_path / "corpus", id_column="key", side="query", **how)
    # The same job, so that nothing is left to do.
    assert xsbert.explain_corpus(model, rows, tmp_path / "corpus", id="key", task="query", **how).task == old.task
    assert old.to_table(["id"]).to_pylist() == [{"id": "r"}]
    with pytest.raises(TypeError, match="give top_k, not k as well"):
        out.top_pairs(k=2, top_k=2)


def test_contrast_models_of_rankings(model):
    one, other = (model.explain_ranking("weather", ["Rain"], detail="pairs", layer=at, n_steps=1) for at in (5, 6))
    with pytest.deprecated_call(match=r"its name is contrast_models\(\)"):
        old = one.contrast_model(other, 0)
    np.testing.assert_array_equal(old.shares, one.contrast_models(other, 0).shares)


def test_attribution_has_both_names():
    """Neither is deprecated: papers and saved code use one, pages the other."""
    assert XSTransformer.attribute_prediction is XSTransformer.explain
