import numpy as np
import pytest

from xsbert.utils import sum_groups, word_groups

T, S, P = "text", "special", "prompt"


def test_sums_are_kept():
    values = np.arange(24.0).reshape(4, 6)
    reduced = sum_groups(values, [[0], [1, 2], [3]])
    np.testing.assert_array_equal(reduced, [values[0], values[1] + values[2], values[3]])
    columns = sum_groups(values, [[5, 0], [1, 2, 3, 4]], axis=1)
    assert columns.shape == (4, 2)
    assert columns.sum() == reduced.sum() == values.sum()


@pytest.mark.parametrize("groups", [[[0], [1]], [[0, 1], [1, 2]], [[0, 1, 2, 3]], []])
def test_groups_must_hold_every_position_once(groups):
    with pytest.raises(ValueError, match="each of the positions 0 … 2 exactly once"):
        sum_groups(np.ones((3, 2)), groups)


def test_words_of_a_wordpiece_tokenizer():
    text = "unpack it"
    groups = word_groups([None, 0, 0, 1, None], [S, T, T, T, S], [(0, 0), (0, 2), (2, 6), (7, 9), (0, 0)], text)
    assert groups == [[0], [1, 2], [3], [4]]


def test_neighbouring_special_tokens_stay_apart():
    assert word_groups([None, None, 0], [S, S, T], [(0, 0), (0, 0), (0, 1)], "a") == [[0], [1], [2]]


def test_prompt_and_text_are_not_merged():
    groups = word_groups([0, 0, 0], [P, P, T], [(0, 3), (3, 6), (6, 9)], "queryabcd")
    assert groups == [[0, 1], [2]]


def test_a_word_over_white_space_is_split_there():
    """Tokenizers without pre-tokenization take the whole text for one word."""
    text = "the tall giant"
    spans = [(0, 3), (3, 6), (6, 8), (8, 9), (9, 14)]  # "the", " ta", "ll", " ", "giant"
    assert word_groups([0] * 5, [T] * 5, spans, text) == [[0], [1, 2, 3], [4]]


def test_spans_with_a_leading_space():
    assert word_groups([0, 1, 1], [T] * 3, [(0, 3), (3, 6), (6, 8)], "the tall") == [[0], [1, 2]]


def test_without_white_space_the_tokenizers_words_stand():
    assert word_groups([0, 1, 1], [T] * 3, [(0, 1), (1, 2), (2, 3)], "猫好き") == [[0], [1, 2]]
