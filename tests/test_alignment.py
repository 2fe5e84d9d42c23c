"""Alignments and the contrast view, by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from xsbert.alignment import ALIGNMENT_METHODS, alignments, contrast_view
from xsbert.gold import area_under_curve, average_precision, read_ists, score_alignments, word_matrix

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
    mutual, threshold, assignment, transport = (ALIGNMENT_METHODS[name](cells) for name in ALIGNMENT_METHODS)
    assert mutual.tolist() == [[1, 0, 0], [0, 0, 0]]
    assert threshold.all()
    assert assignment.tolist() == [[0, 1, 0], [1, 0, 0]]
    np.testing.assert_allclose(transport.sum(1), [1, 1])
    np.testing.assert_allclose(transport.sum(0), [2 / 3] * 3)


def test_transport_of_as_many_units_is_assignment():
    cells = np.random.default_rng(0).standard_normal((5, 5))
    np.testing.assert_allclose(ALIGNMENT_METHODS["transport"](cells), ALIGNMENT_METHODS["assignment"](cells), atol=1e-8)


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


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_scikit_learn(seed):
    generator = np.random.default_rng(seed)
    scores, linked = generator.standard_normal(40), generator.random(40) < 0.3
    assert average_precision(scores, linked) == pytest.approx(average_precision_score(linked, scores))
    assert area_under_curve(scores, linked) == pytest.approx(roc_auc_score(linked, scores))


def test_ties_gain_nothing():
    linked = np.array([True, False, False, False])
    assert average_precision(np.zeros(4), linked) == pytest.approx((1 + 1 / 4) / 2)
    assert area_under_curve(np.zeros(4), linked) == 0.5


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
    with pytest.raises(ValueError, match="aggregation must be of"):
        score_alignments(gold, [np.zeros((4, 4))], "median")
    (tmp_path / "y.wa").write_text("nothing")
    with pytest.raises(ValueError, match="holds no <sentence>"):
        read_ists(tmp_path / "y.wa")
    (tmp_path / "z.wa").write_text(WA.replace("3 <==> 4 //", "3 <==> 9 //"))
    with pytest.raises(ValueError, match="names word 9 of 4"):
        read_ists(tmp_path / "z.wa")
