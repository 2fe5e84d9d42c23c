"""Rules that are linear in the length of a text agree with plain ones, and finish where those would not."""

import re

import numpy as np
import pytest

from tests.attribution.test_files import make_result
from xsbert._utils.arrays import largest_entries
from xsbert.text.units import range_groups, sentence_ranges, word_groups

# As sentence_ranges would be written without a look at how long it takes.
PLAIN_END = re.compile(r"""[.!?…؟।]+["'”’»)\]]*(?=\s|$)|[。！？]+[」』”’）]*|\n\s*\n""")


def plain_sentences(text):
    starts = [0, *(match.end() for match in PLAIN_END.finditer(text))]
    pieces = [(start, text[start:end]) for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    return [
        (start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip()))
        for start, piece in pieces
        if piece.strip()
    ]


def plain_owner(span, text, ranges, before):
    visible = [place for place in range(*span) if not text[place].isspace()]
    if not visible:
        return next((at for at, (start, end) in enumerate(ranges) if start <= span[0] < end), before)
    for (start, end), at in sorted((known, at) for at, known in enumerate(ranges)):
        if 2 * sum(start <= place < end for place in visible) >= len(visible):
            return at
    return None


def plain_owners(spans, text, ranges):
    owners, before = [], None
    for span in spans:
        before = plain_owner(span, text, ranges, before)
        owners.append(before)
    return owners


@pytest.mark.parametrize("seed", range(300))
def test_sentences(seed):
    rng = np.random.default_rng(seed)
    text = "".join(rng.choice([*"ab..!?…。！\n\n  \t)”」"], rng.integers(0, 40)))
    assert sentence_ranges(text) == plain_sentences(text)


@pytest.mark.parametrize("seed", range(300))
def test_ranges(seed):
    rng = np.random.default_rng(seed)
    text = "".join(rng.choice([*"abc  \n"], 40))
    bounds = np.sort(rng.choice(41, 2 * rng.integers(1, 8), replace=False)).reshape(-1, 2)
    ranges = [tuple(map(int, pair)) for pair in rng.permutation(bounds)]
    # Tokens may overlap, be empty, and stand in any order, as tokenizers are free to have them.
    starts = np.sort(rng.integers(0, 38, 15))
    spans = [(int(start), int(min(40, start + rng.integers(0, 8)))) for start in starts]
    groups, owners = range_groups(spans, ["text"] * len(spans), text, ranges)
    found = {position: owner for group, owner in zip(groups, owners, strict=True) for position in group}
    assert [found[position] for position in range(len(spans))] == plain_owners(spans, text, ranges)


@pytest.mark.parametrize("seed", range(50))
@pytest.mark.parametrize("levels", [3, 10**9])
def test_largest_entries(seed, levels):
    rng = np.random.default_rng(seed)
    matrix = rng.integers(-levels, levels, (rng.integers(1, 9), rng.integers(1, 9))).astype(float)
    order = np.argsort(-np.abs(matrix), axis=None, kind="stable")
    plain = [tuple(map(int, np.unravel_index(place, matrix.shape))) for place in order]
    for k in range(matrix.size + 2):
        assert largest_entries(matrix, k) == plain[:k]


def test_top_pairs_and_the_account_agree():
    result = make_result()
    sizes = [abs(value) for _, _, value in result.top_pairs(10)]
    assert sizes == sorted(np.abs(result.matrix).ravel().tolist(), reverse=True)
    shown = [float(line.split()[-1]) for line in str(result).split("strongest pairs\n")[1].splitlines()]
    words = np.sort(np.abs(result.matrix[2:]).ravel())[::-1]
    np.testing.assert_allclose(np.abs(shown), words[:6], atol=5e-5)


# A quadratic rule would take hours for each of these.

N = 300_000


@pytest.mark.parametrize(
    "text", ["a" + "." * N + "x", "." * N + ")" * N + "x", "a" + "!?" * N + "x", "\n" + " " * N + "x"]
)
def test_long_texts_that_hold_no_sentence(text):
    assert len(sentence_ranges(text)) == 1


def test_many_words_and_ranges():
    n = N // 3
    text, spans = "ab " * n, [(3 * at, 3 * at + 2) for at in range(n)]
    assert word_groups([0] * n, ["text"] * n, spans, text) == [[at] for at in range(n)]
    groups, owners = range_groups(spans, ["text"] * n, text, spans[::-1])
    assert groups == [[at] for at in range(n)]
    assert owners == list(range(n))[::-1]
