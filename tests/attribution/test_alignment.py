"""Alignments and the contrast view, by hand and against scikit-learn."""

import dataclasses

import numpy as np
import pytest

from xsbert.attribution.alignment import ALIGNMENT_METHODS, alignments, contrast_view
from xsbert.evaluation.gold_alignments import read_ists, score_alignments, word_matrix

WA = """<sentence id="1" status="">
// A cat sleeps .
// The old cat rests
<source>
1 A :\x20
2 cat :\x20
3 sleeps :\x20
4 . :\x20
</source>
<translation>
1 The :\x20
2 old :\x20
3 cat :\x20
4 rests :\x20
</translation>
<alignment>
4 <==> 0 // NOALI // NIL // . <==> -not aligned-\x20
1 2 <==> 1 2 3 // SPE2 // 4 // A cat <==> The old cat\x20
3 <==> 4 // SIMI_FACT // 3 // sleeps <==> rests\x20
</alignment>
</sentence>
"""


@pytest.fixture(scope="module")
def result(model):
    return model.attribute_prediction("A man eats red apples.", "Red apples are eaten by a man.").words()


@pytest.fixture
def gold(tmp_path):
    (tmp_path / "x.wa").write_text(WA)
    return read_ists(tmp_path / "x.wa")


def test_methods_in_closed_form():
    cells = np.array([[3.0, 2.0, 0.0], [2.5, 0.0, -1.0]])
    mutual, threshold, assignment, transport = (ALIGNMENT_METHODS[name](cells, cells > 0) for name in ALIGNMENT_METHODS)
    assert mutual.tolist() == [[1, 0, 0], [0, 0, 0]]
    assert threshold.all()
    assert assignment.tolist() == [[0, 1, 0], [1, 0, 0]]
    np.testing.assert_allclose(transport.sum(1), [1, 1])
    np.testing.assert_allclose(transport.sum(0), [2 / 3] * 3)


def test_transport_of_as_many_units_is_assignment():
    cells = np.random.default_rng(0).random((5, 5))
    transport, assignment = (ALIGNMENT_METHODS[name](cells, cells > 0) for name in ("transport", "assignment"))
    np.testing.assert_allclose(transport, assignment, atol=1e-8)


@pytest.mark.parametrize("seed", range(20))
def test_no_choice_of_single_links_has_a_larger_sum_than_the_assignment(seed):
    cells = np.random.default_rng(seed).standard_normal((3, 4))

    def best(rows: int, free: frozenset) -> float:
        """Of the first rows, each with one of the free columns or with none."""
        if not rows:
            return 0.0
        return max(best(rows - 1, free), *(cells[rows - 1, t] + best(rows - 1, free - {t}) for t in free))

    chosen = ALIGNMENT_METHODS["assignment"](cells, cells > 0)
    assert (cells * chosen).sum() == pytest.approx(best(3, frozenset(range(4))))
    assert (cells[chosen > 0] > 0).all()
    assert max(chosen.sum(0).max(), chosen.sum(1).max()) <= 1


@pytest.mark.parametrize("method", ALIGNMENT_METHODS)
def test_sums_are_kept_beside_choices(result, method):
    found = result.alignments(method)
    text = [np.array([role == "text" for role in side.roles]) for side in (result.a, result.b)]
    cells = result.matrix[np.ix_(*text)]
    assert found.share == pytest.approx(sum(link.value for link in found.links) / cells.sum())
    for link in found.links:
        assert link.value == result.matrix[link.a, link.b] > 0
        assert result.a.roles[link.a] == result.b.roles[link.b] == "text"
    linked = {link.a for link in found.links}
    assert linked | set(found.unaligned_a) == set(np.flatnonzero(text[0]))
    assert not linked & set(found.unaligned_a)
    assert "of the interactions" in str(found)


def test_equal_words_are_linked(result):
    names = {(result.tokens_a[link.a], result.tokens_b[link.b]) for link in result.alignments().links}
    assert {("man", "man"), ("red", "Red"), ("apples", "apples")} <= names


def test_all_cells_above_nothing_are_the_interactions(result):
    assert result.alignments("threshold", threshold=-1e9).share == pytest.approx(1)


def test_the_contrast_view_has_no_sums(result):
    view = contrast_view(result)
    np.testing.assert_allclose(view.matrix.sum(0), 0, atol=1e-12)
    np.testing.assert_allclose(view.matrix.sum(1), 0, atol=1e-12)
    assert view.matrix.shape == (len(view.tokens_a), len(view.tokens_b))
    again = result.contrast_view()
    np.testing.assert_array_equal(again.matrix, view.matrix)
    fig, ax = view.plot()
    assert "not contributions" in ax.get_title(loc="left")
    fig.clear()


def test_bad_alignments(result):
    with pytest.raises(ValueError, match=r"method must be one of 'mutual'.*got 'best'"):
        alignments(result, "best")
    with pytest.raises(ValueError, match="threshold must be finite"):
        alignments(result, threshold=float("nan"))


def test_the_gold_format(gold):
    (pair,) = gold
    assert pair.text_a == "A cat sleeps ."
    assert [pair.text_b[start:end] for start, end in pair.words_b] == ["The", "old", "cat", "rests"]
    assert pair.chunks_a == ((3,), (0, 1), (2,))
    assert pair.chunks_b == ((0, 1, 2), (3,))
    assert [(link.a, link.b, link.kind) for link in pair.links] == [(1, 0, "SPE2"), (2, 1, "SIMI")]


def test_gold_links_are_scored(gold, model):
    right = np.zeros((4, 4))
    right[1, 2], right[2, 3] = 2.0, 1.0
    scores = score_alignments(gold, [right])
    assert scores.average_precision == scores.auc == scores.f1 == 1
    assert scores.recall_by_kind == {"SIMI": (1.0, 1), "SPE2": (1.0, 1)}
    assert score_alignments(gold, [-right]).average_precision < 0.5
    result = model.attribute_prediction(gold[0].text_a, gold[0].text_b)
    cells = word_matrix(result, gold[0])
    assert cells.shape == (4, 4)
    text = [np.array([role == "text" for role in side.roles]) for side in (result.a, result.b)]
    assert cells.sum() == pytest.approx(result.matrix[np.ix_(*text)].sum())


def test_bad_gold(gold, tmp_path):
    with pytest.raises(ValueError, match=r"matrices\[0\] must be of shape \(4, 4\), got \(2, 2\)"):
        score_alignments(gold, [np.zeros((2, 2))])
    with pytest.raises(ValueError, match="aggregation must be one of"):
        score_alignments(gold, [np.zeros((4, 4))], "median")
    (tmp_path / "y.wa").write_text("nothing")
    with pytest.raises(ValueError, match="has no <sentence>"):
        read_ists(tmp_path / "y.wa")
    (tmp_path / "z.wa").write_text(WA.replace("3 <==> 4 //", "3 <==> 9 //"))
    with pytest.raises(ValueError, match="names word 9 of 4"):
        read_ists(tmp_path / "z.wa")


def test_scores_of_numbers_that_say_nothing_are_those_of_chance(gold):
    """Equal numbers are taken together: precision is the share of true pairs."""
    (pair,) = gold
    shape = len(pair.words_a), len(pair.words_b)
    scores = score_alignments(gold, [np.ones(shape)], "mean")
    assert scores.average_precision == pytest.approx(len(pair.links) / (len(pair.chunks_a) * len(pair.chunks_b)))
    assert scores.auc == 0.5


def test_bad_matrices_for_gold_pairs(gold):
    (pair,) = gold
    matrix = np.ones((len(pair.words_a), len(pair.words_b)))
    with pytest.raises(ValueError, match="matrices must be as many as gold pairs, got 2 and 1"):
        score_alignments(gold, [matrix, matrix])
    with pytest.raises(ValueError, match=r"matrices\[0\] must be finite"):
        score_alignments(gold, [matrix * np.nan])
    with pytest.raises(ValueError, match="gold must have at least one pair"):
        score_alignments([dataclasses.replace(pair, links=())], [matrix])
