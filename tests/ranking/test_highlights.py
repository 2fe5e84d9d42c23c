"""Highlights, shares and contrasts of numbers that are made up, so that the answer is known."""

import html
import itertools
from dataclasses import replace

import numpy as np
import pytest

from xsbert.attribution.attribution import Attribution
from xsbert.attribution.contrasts import contrast, contrast_models
from xsbert.factors.contributions import Contributions, by_sentence, contributions_of, summed_contributions
from xsbert.factors.text_factors import ProjectedFactors, Settings, TextFactors
from xsbert.ranking.highlights import highlights_of
from xsbert.text.marks import Highlight, marked_spans, tagged
from xsbert.text.passages import passage_ranges

SETTINGS = Settings("some/model", 4, 6, "adaptive", 6, "[UNK]", False, "float32", fingerprint="sha:1")


def text_factors(text, seed, settings=SETTINGS, width=8):
    """A text of whole words between [CLS] and [SEP], with random factors that are complete."""
    rng = np.random.default_rng(seed)
    words = text.split()
    ends = np.cumsum([len(word) + 1 for word in words]) - 1
    factors, reference = rng.normal(size=(len(words) + 2, width)), rng.normal(size=width)
    embedding = factors.sum(0) + reference
    return TextFactors(
        text=text,
        tokens=("[CLS]", *words, "[SEP]"),
        roles=("special", *["text"] * len(words), "special"),
        word_ids=(None, *range(len(words)), None),
        spans=((0, 0), *((int(end) - len(word), int(end)) for word, end in zip(words, ends, strict=True)), (0, 0)),
        factors=factors,
        embedding=embedding,
        reference_term=reference,
        normalisation=float(np.linalg.norm(embedding)),
        settings=settings,
    )


def shares(text, values, baseline=0.0):
    words = text.split()
    ends = np.cumsum([len(word) + 1 for word in words]) - 1
    spans = tuple((int(end) - len(word), int(end)) for word, end in zip(words, ends, strict=True))
    return Contributions(text, tuple(words), ("text",) * len(words), spans, np.array(values, dtype=float), baseline)


def test_sentences_hold_all():
    text = "one two three. four five six seven."
    found = shares(text, [0.0, 0.0, 0.1, 1.0, 0.9, 0.0, 0.0])
    sentences = highlights_of(found, "sentences")
    assert [(each.text, round(each.weight, 9)) for each in sentences] == [
        ("four five six seven.", 1.9),
        ("one two three.", 0.1),
    ]
    assert by_sentence(found).values.sum() == pytest.approx(found.values.sum())


def test_tags():
    found = shares("a <b> c d", [1.0, 0.8, 0.1, 0.6])
    words = highlights_of(found)
    assert tagged(found.text, words, "[", "]", 0.5) == "[a <b>] c [d]"
    assert tagged(found.text, words, "[", "]", 1.0) == "[a] <b> c d"
    assert tagged(found.text, words, "<i>", "</i>", 0.5, html.escape) == "<i>a &lt;b&gt;</i> c <i>d</i>"
    assert tagged(found.text, words, "[", "]", 0.5, largest=10.0) == found.text
    assert tagged("nothing", highlights_of(shares("nothing", [-1.0])), "[", "]", 0.0) == "nothing"


def test_shares_sum_to_the_score_from_either_side():
    a, b = text_factors("one two", 1), text_factors("un deux trois", 2)
    result = Attribution.of(a, b, "cosine")
    for one, other in ((a, b), (b, a)):
        found = contributions_of(one, other.embedding, result.scale)
        assert found.total == pytest.approx(result.score, abs=1e-12)
        assert found.units == one.tokens


def test_projected_shares_are_those_of_the_factors():
    a, b = text_factors("one two", 1), text_factors("un deux trois", 2)
    direction = a.embedding / np.linalg.norm(a.embedding)
    known = {name: getattr(b, name) for name in TextFactors.__dataclass_fields__}
    projected = ProjectedFactors(**{**known, "factors": b.factors @ direction[:, None]}, directions=direction[None])
    one, other = contributions_of(projected, a.embedding, 2.0), contributions_of(b, a.embedding, 2.0)
    np.testing.assert_allclose(one.values, other.values)
    assert one.baseline == other.baseline


def test_shares_of_overlapping_parts_are_summed_where_they_are_of_one_word():
    text = "one two three"
    first = replace(shares(text, [1.0, 2.0, 0.0]), units=("one", "two"), roles=("text",) * 2, spans=((0, 3), (4, 7)))
    first = replace(first, values=np.array([1.0, 2.0]), baseline=0.5)
    second = replace(first, units=("two", "three"), spans=((4, 7), (8, 13)), values=np.array([4.0, 8.0]), baseline=1.5)
    found = summed_contributions([first, second], [0.5, 0.5])
    assert found.units == ("one", "two", "three")
    np.testing.assert_allclose(found.values, [0.5, 3.0, 4.0])
    assert found.baseline == 1.0


def test_a_contrast_is_exact_for_exact_factors():
    query, i, j = text_factors("the query", 1), text_factors("a document here", 2), text_factors("another one", 3)
    for swapped in (False, True):
        pairs = [(i, query), (j, query)] if swapped else [(query, i), (query, j)]
        one, other = (Attribution.of(*pair, "cosine") for pair in pairs)
        found = contrast(one, other)
        expected = query.factors @ (i.embedding / one.scale - j.embedding / other.scale)
        np.testing.assert_allclose(found.by_word, expected)
        assert found.margin == pytest.approx(one.score - other.score)
        assert abs(found.residual) < 1e-12
        assert found.document_i.total - found.document_j.total == pytest.approx(found.margin, abs=1e-12)
        assert f"= {found.margin:+.4f}" in str(found)


def test_the_residual_of_a_contrast_is_the_query_error():
    query, i, j = text_factors("the query", 1), text_factors("a document here", 2), text_factors("another one", 3)
    query = replace(query, factors=query.factors * 0.9)
    one, other = Attribution.of(query, i, "dot"), Attribution.of(query, j, "dot")
    found = contrast(one, other)
    gap = query.embedding - query.reference_term - query.factors.sum(0)
    assert found.residual == pytest.approx(gap @ (i.embedding / one.scale - j.embedding / other.scale))


def test_an_edit_is_told_word_by_word():
    query = text_factors("the query", 1)
    before, after = text_factors("a cat sleeps", 2), text_factors("a black cat runs", 3)
    found = contrast(Attribution.of(query, after, "cosine"), Attribution.of(query, before, "cosine"))
    moved = found.edit()
    assert [(each.kind, each.before, each.after) for each in moved] == [
        ("kept", "[CLS]", "[CLS]"),
        ("kept", "a", "a"),
        ("added", "", "black"),
        ("kept", "cat", "cat"),
        ("removed", "sleeps", ""),
        ("added", "", "runs"),
        ("kept", "[SEP]", "[SEP]"),
    ]
    baselines = found.document_i.baseline - found.document_j.baseline
    assert sum(each.value for each in moved) + baselines == pytest.approx(found.margin, abs=1e-12)


def test_what_cannot_be_contrasted():
    query, i, j = text_factors("the query", 1), text_factors("a document", 2), text_factors("another", 3)
    one = Attribution.of(query, i, "cosine")
    with pytest.raises(ValueError, match="a and b share no text"):
        contrast(one, Attribution.of(j, text_factors("further", 4), "cosine"))
    with pytest.raises(ValueError, match="similarities must be the same, got 'cosine' and 'dot'"):
        contrast(one, Attribution.of(query, j, "dot"))
    elsewhere = replace(SETTINGS, fingerprint="sha:2")
    other = Attribution.of(text_factors("the query", 1, elsewhere), text_factors("a document", 2, elsewhere), "cosine")
    with pytest.raises(ValueError, match=r"different fingerprint .* use contrast_models to compare two models"):
        contrast(one, other)
    with pytest.raises(ValueError, match="the same units in both, got 4 and 2"):
        contrast(one, Attribution.of(replace(query.over([(0, 9)]), tokens=("[CLS]", "x")), j, "cosine"))


def test_two_models_are_set_side_by_side_each_on_its_own_scale():
    elsewhere = replace(SETTINGS, fingerprint="sha:2", model="other")
    one = Attribution.of(text_factors("the query", 1), text_factors("a cat sleeps", 2), "cosine")
    sides = [text_factors("the query", 3, elsewhere, 5), text_factors("a cat sleeps", 4, elsewhere, 5)]
    found = contrast_models(one, Attribution.of(*sides, "dot"))
    assert found.words == ("the", "query", "a", "cat", "sleeps")
    assert found.texts == ("a", "a", "b", "b", "b")
    np.testing.assert_allclose(np.abs(found.shares).sum(0), 1.0)
    values = np.concatenate(
        [contributions_of(x, y.embedding, one.scale).values[1:-1] for x, y in ((one.a, one.b), (one.b, one.a))]
    )
    np.testing.assert_allclose(found.shares[:, 0], values / np.abs(values).sum())
    assert -1 <= found.agreement <= 1
    assert contrast_models(one, one).agreement == pytest.approx(1.0)
    assert list(found.to_dataframe().columns) == ["text", "word", "first", "second"]
    with pytest.raises(ValueError, match="text b must be the same for both models"):
        contrast_models(one, Attribution.of(text_factors("the query", 1), text_factors("a dog", 2), "cosine"))


def test_windows_end_between_words_and_hold_every_token():
    spans = [(n, n + 1) for n in range(10)]
    words = [0, 0, 1, 1, 1, 2, 3, 3, 4, 5]
    assert passage_ranges(spans, words, 4, 1) == [(0, 2), (2, 6), (5, 9), (8, 10)]
    assert passage_ranges(spans, None, 4, 1) == [(0, 4), (3, 7), (6, 10)]
    assert passage_ranges(spans, [0] * 10, 4, 1) == [(0, 4), (4, 8), (8, 10)]
    assert passage_ranges(spans, words, 20, 3) == [(0, 10)]
    assert passage_ranges([], None, 4, 1) == []


@pytest.mark.parametrize("seed", range(10))
def test_windows_of_any_text(seed):
    rng = np.random.default_rng(seed)
    n_tokens = int(rng.integers(1, 40))
    words = np.cumsum(rng.integers(0, 2, n_tokens)).tolist()
    size = int(rng.integers(1, 9))
    overlap = int(rng.integers(0, size))
    ranges = passage_ranges([(n, n + 1) for n in range(n_tokens)], words, size, overlap)
    assert all(0 < end - start <= size for start, end in ranges)
    assert sorted({place for start, end in ranges for place in range(start, end)}) == list(range(n_tokens))
    assert all(one[0] < other[0] and one[1] < other[1] for one, other in itertools.pairwise(ranges))


def test_marked_spans_are_merged_with_their_weights():
    words = [Highlight(8, 13, 0.1, "three"), Highlight(4, 7, 0.4, "two"), Highlight(0, 3, 0.5, "one")]
    assert marked_spans("one two three", words, 0.5) == [Highlight(0, 7, 0.9, "one two")]
    assert marked_spans("one, two three", [Highlight(0, 3, 0.5, "one"), Highlight(5, 8, 0.4, "two")], 0.5) == [
        Highlight(0, 3, 0.5, "one"),
        Highlight(5, 8, 0.4, "two"),
    ]
    with pytest.raises(ValueError, match="threshold must be between 0 and 1, got 2"):
        marked_spans("one", [], 2)
