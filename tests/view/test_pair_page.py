"""The interactive page of a pair: what it holds."""

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from tests.view.results import HOSTILE, SETTINGS, long_result, planted_result, random_result
from xsbert.attribution.attribution import Attribution
from xsbert.factors.text_factors import TextFactors
from xsbert.view.html.content_policy import content_security_policy, stated_policy


def embedded(html):
    """The data of every view in a page."""
    return [json.loads(line) for line in re.findall(r"^  const data = (.*);$", html, flags=re.MULTILINE)]


def matrix_of(level):
    return np.frombuffer(base64.b64decode(level["matrix"]), dtype="<f4").reshape(level["shape"])


def test_page_and_fragment():
    result = random_result(["a", "b"], ["c"])
    page, fragment = result.to_html(), result._repr_html_()
    assert page.startswith("<!doctype html>")
    assert '<meta charset="utf-8">' in page
    assert fragment in page
    assert "<html" not in fragment
    assert "<body" not in fragment


def test_the_page_is_a_pure_function_of_the_result():
    assert random_result(["a"], ["b"]).to_html() == random_result(["a"], ["b"]).to_html()
    assert random_result(["a"], ["b"]).to_html() != random_result(["a"], ["b"], seed=1).to_html()


def test_written_as_utf8(tmp_path):
    result = random_result(["القهوة", "咖啡"], ["naïve"])
    path = tmp_path / "view.html"
    assert result.to_html(path) == path.read_bytes().decode("utf-8")
    assert "咖啡" in path.read_text(encoding="utf-8")


def test_embedded_numbers_are_those_of_the_result():
    result = random_result(["one", "two", "three"], ["un", "deux"])
    (data,) = embedded(result.to_html())
    words, tokens = data["levels"]
    assert [words["name"], tokens["name"]] == ["Words", "Tokens"]
    for packed, side in zip(words["main"], ("main_effects_a", "main_effects_b"), strict=True):
        main = np.frombuffer(base64.b64decode(packed), dtype="<f4")
        np.testing.assert_array_equal(main, getattr(result.words(), side).astype(np.float32))
    np.testing.assert_array_equal(matrix_of(tokens), result.matrix.astype(np.float32))
    np.testing.assert_array_equal(matrix_of(words), result.words().matrix.astype(np.float32))
    scale = np.abs(result.matrix).sum() * np.finfo(np.float32).eps
    assert abs(matrix_of(tokens).sum(dtype=np.float64) - result.parts["interactions"]) < scale
    assert tokens["sides"][0]["labels"] == result.tokens_a
    assert tokens["sides"][1]["roles"] == list(result.b.roles)


def test_a_planted_pair_is_in_row_1_and_column_3_alone():
    (data,) = embedded(planted_result().to_html())
    matrix = matrix_of(data["levels"][0])
    assert matrix[1, 3] == 0.5
    assert np.count_nonzero(matrix) == 1


def test_score_parts_error_and_settings_are_stated():
    result = random_result(["one"], ["un"])
    (data,) = embedded(result.to_html())
    numbers = {name: number.replace("−", "-") for name, number, _ in data["summary"]}
    assert list(numbers) == ["cosine similarity", *result.parts, "error"]
    assert float(numbers["cosine similarity"]) == pytest.approx(result.score, abs=1e-4)
    for name, value in result.parts.items():
        assert float(numbers[name]) == pytest.approx(value, abs=1e-4)
    how = " ".join(data["how"])
    for stated in ("some/model", "layer 4 of 6", "16 gauss-legendre nodes", "[PAD]", "approximate", "float32"):
        assert stated in how
    assert "factors' errors" not in how
    sides = (replace(side, factor_error=error) for side, error in ((result.a, 0.012), (result.b, 0.25)))
    (data,) = embedded(replace(result, **dict(zip("ab", sides, strict=True))).to_html())
    assert data["how"][-1] == "factors' errors up to: a 1.2e-02, b 2.5e-01"
    assert "exact attributions" in replace(result, settings=replace(SETTINGS, shift=True)).to_html()


def test_cut_tokens_are_mentioned():
    result = random_result(["one"], ["un"])
    assert "7 tokens were cut off" in replace(result, a=replace(result.a, n_cut=7)).to_html()
    assert "cut off" not in result.to_html()


def test_text_is_escaped():
    plain = random_result(["x"] * len(HOSTILE), ["y"])
    page = random_result(HOSTILE, ["y"]).to_html()
    for tag in ("<script", "</script", "</style", "<!--", "</title"):
        assert page.count(tag) == plain.to_html().count(tag), tag
    assert "\u2028" not in page.split("<script>")[1]
    (data,) = embedded(page)
    assert data["levels"][0]["sides"][0]["labels"] == ["[CLS]", *HOSTILE, "[SEP]"]


def test_settings_are_escaped():
    result = replace(random_result(["x"], ["y"]), settings=replace(SETTINGS, model="</script><img src=x>"))
    assert "<img" not in result.to_html()


def test_needs_no_network():
    html = random_result(["one"], ["un"]).to_html()
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(|src=|<link", html)


def test_size_at_60_by_60():
    words = [f"word{place}" for place in range(58)]
    html = random_result(words, words).to_html()
    assert embedded(html)[0]["levels"][0]["shape"] == [60, 60]
    assert len(html.encode()) < 200_000


def test_without_word_ids_only_one_level():
    result = random_result(["one"], ["un"])
    result = replace(result, b=replace(result.b, word_ids=None, spans=None))
    (data,) = embedded(result.to_html())
    assert len(data["levels"]) == 1
    assert len(embedded(random_result(["one"], ["un"]).words().to_html())[0]["levels"]) == 1


def test_parts_of_a_word_are_joined():
    factors = np.ones((4, 2))
    a = TextFactors(
        text="coffees do",
        tokens=("coffee", "##s", "do", "[SEP]"),
        roles=("text", "text", "text", "special"),
        word_ids=(0, 0, 1, None),
        spans=((0, 6), (6, 7), (8, 10), (0, 0)),
        factors=factors,
        embedding=factors.sum(0),
        reference_term=np.zeros(2),
        normalisation=1.0,
    )
    # Byte-level and SentencePiece tokens hold the space before them.
    b = replace(a, spans=((0, 6), (6, 7), (7, 10), (0, 0)))
    (data,) = embedded(Attribution(a, b, "cosine", SETTINGS).to_html())
    for side in data["levels"][1]["sides"]:
        assert side["joined"] == [0, 1, 0, 0]


def test_not_finite():
    result = random_result(["one"], ["un"])
    factors = result.a.factors.copy()
    factors[0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        replace(result, a=replace(result.a, factors=factors)).to_html()


def test_readable_without_scripts():
    fragment = random_result(["one"], ["un"])._repr_html_()
    plain = re.sub(r"<script>.*?</script>", "", fragment, flags=re.DOTALL)
    assert "main effects a" in plain
    assert "one" in plain
    assert plain.count("<table>") == 2


def test_the_policy_is_that_of_what_the_page_holds():
    """Every inline script and style, by its hash, and no other source."""
    page = random_result(["one", "two"], ["<script>x</script>"]).to_html()
    policy = stated_policy(page)
    directives = dict(directive.split(" ", 1) for directive in policy.split("; "))
    nothing = dict.fromkeys(("default-src", "base-uri", "form-action"), "'none'")
    assert directives == {**nothing, **{name: directives[name] for name in ("script-src", "style-src")}}
    head, _, body = page.partition("<body>")
    assert head.index("Content-Security-Policy") < head.index("<style>")
    (script,) = re.findall(r"<script>(.*?)</script>", body, flags=re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", head, flags=re.DOTALL)
    assert directives["script-src"] == content_security_policy([script], []).split("script-src ")[1].split(";")[0]
    (data,) = embedded(page)
    assert f"style-src {directives['style-src']};" in content_security_policy([], [style, data["css"]])
    assert "Content-Security-Policy" not in random_result(["one"], ["two"])._repr_html_()


def test_what_is_exactly_zero_in_a_shifted_model_is_not_shown():
    (data,) = embedded(long_result(5, shift=True).to_html())
    assert [name for name, *_ in data["summary"]] == ["cosine similarity", "interactions", "error"]
    assert "0.0000" not in re.sub(r"<script>.*</script>", "", long_result(5, shift=True).to_html(), flags=re.DOTALL)


def test_pieces_that_the_model_did_not_know_are_marked():
    result = random_result(["[UNK]", "x", "y"], ["[UNK]"])
    # The text says something else there; that of b says “[UNK]” itself.
    spoken = replace(result.a, text=result.a.text.replace("[UNK]", "snow!"))
    (data,) = embedded(replace(result, a=spoken).to_html())
    for level in data["levels"]:
        assert [side["unknown"] for side in level["sides"]] == [[1], []]
    assert data["levels"][0]["sides"][0]["labels"][1] == "snow!"


def test_the_explained_score_is_named_where_a_model_has_two_sides():
    result = random_result(["query:", "one"], ["un"])
    prompted = replace(result, a=replace(result.a, prompt="query: "))
    name = "of texts with prompts, a: “query:”, b: no prompt"
    (data,) = embedded(prompted.to_html())
    assert data["summary"][0][0] == "cosine similarity"
    assert data["notes"] == [f"The similarity is that {name}."]
    assert name in str(prompted)
    sides = replace(
        result, a=replace(result.a, encoded_by="encode_query"), b=replace(result.b, encoded_by="encode_document")
    )
    assert "cosine similarity of encode_query(a) and encode_document(b)" in sides.to_html()
    assert "prompts" not in str(result) + result.to_html()
