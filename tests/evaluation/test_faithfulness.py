"""Faithfulness: the metrics by hand, the controls, the table."""

import numpy as np
import pytest

import xsbert
from tests.tiny import write_model
from xsbert import XSTransformer
from xsbert.evaluation.control_models import planted_lexical_model
from xsbert.evaluation.faithfulness import cost_of_faithfulness, faithfulness
from xsbert.evaluation.faithfulness.metrics import correlation, curve_edits, deletion_effects, found_strongest
from xsbert.evaluation.faithfulness.rows import FaithfulnessRow
from xsbert.evaluation.faithfulness.table import Faithfulness
from xsbert.evaluation.perturbation import Perturber
from xsbert.view.plot import style

WORDS = ["the", "a", "cat", "dog", "bird", "sees", "hears", "old", "tree", "house", "red", "blue"]
PAIRS = [
    ("the cat sees a tree", "old bird hears cat"),
    ("red house", "a blue house sees the dog"),
    ("the old dog hears a bird", "a bird sees the old tree"),
    ("blue bird", "the bird hears"),
]
REAL = [
    ("A man is playing a guitar.", "The man plays the guitar."),
    ("Two dogs run across the snow.", "A pair of dogs is running in the snow."),
    ("She bought a red car.", "The soup was too salty."),
]


@pytest.fixture(scope="module")
def planted():
    return planted_lexical_model(WORDS)


@pytest.fixture(scope="module")
def table(planted):
    return faithfulness(
        planted,
        PAIRS,
        methods=["integrated", "bilrp", "occlusion", "lexical", "random"],
        operators=["remove", "unk"],
        layers=[0, 1],
        show_progress_bar=False,
    )


def test_effects_of_deletion_in_closed_form(planted):
    # Orthogonal words: the cosine is the number of shared words over the roots of the numbers of words.
    perturber = Perturber(planted, show_progress_bar=False)
    effects = deletion_effects(perturber, "the cat", "cat", "remove")
    root = np.sqrt(2)
    np.testing.assert_allclose(effects.words_a, [1 / root - 1, 1 / root], atol=1e-5)
    np.testing.assert_allclose(effects.words_b, [1 / root], atol=1e-5)
    np.testing.assert_allclose(effects.pairs, [[1 / root - 1], [1 / root]], atol=1e-5)


def test_the_planted_model_is_recovered(table):
    rows = {row.label: table.estimate(row, operator="unk").value for row in table.rows}
    assert rows["integrated, layer 1, [UNK]"] > 0.95
    assert rows["lexical"] > 0.95
    assert abs(rows["random"]) < 0.5
    assert table.estimate(0, "top-1").value == 1.0
    assert table.best.method not in ("random", "occlusion")


def test_occlusion_is_what_its_operator_measures(table):
    row = next(row for row in table.rows if row.method == "occlusion")
    assert table.estimate(row, operator="remove").value == pytest.approx(1)


def test_rows_layers_and_recommendation(table):
    assert [(row.method, row.layer) for row in table.rows[:2]] == [("integrated", 0), ("integrated", 1)]
    assert table.rows[2].layer is None
    layer, reference = table.recommended
    assert layer in (0, 1)
    assert reference == "[UNK]"


def test_differences_are_paired(table):
    assert table.difference(0, 0).value == table.difference(0, 0).low == 0
    gap = table.difference(0, len(table.rows) - 1)
    assert gap.low > 0
    assert gap.value == pytest.approx(table.estimate(0).value - table.estimate(len(table.rows) - 1).value)


def test_the_table_in_words_pictures_and_numbers(table):
    text = str(table)
    assert "integrated, layer 1, [UNK]" in text
    assert table.sentence in " ".join(text.split())
    assert "operators remove and unk agree" in text
    assert "<table>" in table._repr_html_()
    for metric in ("pearson", "curve"):
        fig, ax = table.plot(metric)
        assert len(ax.get_yticklabels()) == len(table.rows)
        dots = next(line for line in ax.lines if line.get_color() == style.ink()).get_xdata()
        assert sorted(table.estimate(row, metric).value for row in table.rows) == pytest.approx(list(dots), nan_ok=True)
        drawn = dict(zip((label.get_text() for label in ax.get_yticklabels()), dots, strict=True))
        assert drawn[table.rows[0].label] == pytest.approx(table.estimate(0, metric).value)
        fig.clear()
    record = table.to_dict()
    assert len(record["rows"]) == len(table.rows)
    assert record["rows"][0]["pearson, mean"][0] == pytest.approx(table.estimate(0).value, abs=1e-4)


def test_intervals_follow_the_seed_and_cover_the_mean():
    generator = np.random.default_rng(0)
    covered = 0
    for seed in range(60):
        numbers = generator.normal(0.5, 0.2, 40)
        row = FaithfulnessRow("m", None, None, {("pearson", "remove"): numbers})
        table = Faithfulness("x", "cosine", "words", ("remove",), 40, (row,), {}, np.ones(40), 0, 300, seed)
        estimate = table.estimate(0)
        assert estimate == table.estimate(0)
        covered += estimate.low <= 0.5 <= estimate.high
    assert 50 <= covered <= 60


def test_the_curve_is_a_ratio_of_sums():
    row = FaithfulnessRow("m", None, None, {("curve", "remove"): np.array([0.1, 0.6, np.nan])})
    scores = np.array([0.2, 1.0, 0.5])
    table = Faithfulness("x", "cosine", "words", ("remove",), 3, (row,), {}, scores, 0)
    assert table.estimate(0, "curve").value == pytest.approx(0.7 / 1.2)
    assert table.estimate(0, "curve").n == 2


def test_correlations_that_are_not_defined():
    assert correlation(np.zeros(3), np.arange(3)) == 0
    assert np.isnan(correlation(np.arange(3), np.ones(3)))
    assert np.isnan(correlation(np.ones(1), np.ones(1)))
    assert correlation(np.array([1, 2, 30]), np.array([1, 2, 3]), ranks=True) == pytest.approx(1)


def test_curves_take_the_largest_first_and_leave_one(planted):
    perturber = Perturber(planted, show_progress_bar=False)
    edits = curve_edits(perturber, "the cat sees", np.array([0.1, 0.9, 0.3]))
    assert [sorted(edit.units) for edit in edits] == [[2], [2, 3]]


def test_cost_is_told_beforehand(planted):
    how = {"methods": ["lexical", "integrated", "integrated + main effects"], "operators": ["remove"], "layers": [0, 1]}
    cost = cost_of_faithfulness(planted, PAIRS, **how)
    table = faithfulness(planted, PAIRS, **how, show_progress_bar=False)
    effects, curves = cost["effects"].n_passes, cost["curves"].n_passes
    assert effects <= table.n_passes <= effects + curves
    assert len(cost.rows) == 2 + len(table.rows)
    assert cost["integrated, layer 0"].n_passes > 0 < cost["integrated, layer 1"].seconds
    # The same integrals, read in another way.
    assert cost["integrated + main effects, layer 0"].n_passes == 0
    assert cost.seconds == sum(row.seconds for row in cost.rows)
    assert str(cost).splitlines()[-1].startswith("in all")
    with pytest.raises(KeyError, match="no row 'bilrp'; there are 'effects', 'curves', 'lexical'"):
        _ = cost["bilrp"]


def test_recommend_looks_at_layers_and_references(planted):
    table = faithfulness(
        planted, PAIRS[:2], methods=["integrated"], operators=["remove"], recommend=True, show_progress_bar=False
    )
    assert len({row.layer for row in table.rows}) == 3
    single = ("[PAD]", "[UNK]", "[MASK]")
    several = {("[PAD]", "[UNK]"), ("[PAD]", "[MASK]"), ("[UNK]", "[MASK]"), single}
    assert {row.reference for row in table.rows} == {*single, *several}
    assert table.recommended in {(row.layer, row.reference) for row in table.rows}
    # The means of what single references left behind are what several give by themselves.
    direct = faithfulness(
        planted,
        PAIRS[:2],
        methods=["integrated"],
        layers=[1],
        operators=["remove"],
        references=[("unk", "mask")],
        tolerance=1e-4,
        show_progress_bar=False,
    )
    (row,) = direct.rows
    assert row.label == "integrated, layer 1, [UNK] + [MASK]"
    assert direct.estimate("integrated, unk + mask").value == pytest.approx(table.estimate(row.label).value, abs=0.05)


@pytest.mark.slow
def test_randomised_layers_lose_on_the_real_model(minilm_path):
    model = XSTransformer(minilm_path, device="cpu")
    table = xsbert.faithfulness(
        model, REAL, methods=["integrated", "randomised", "random"], operators=["remove"], show_progress_bar=False
    )
    integrated, randomised, random = (table.estimate(row).value for row in table.rows)
    assert integrated > 0.6
    assert integrated > randomised + 0.2
    assert integrated > random + 0.4
    assert table.estimate(0, "curve").value < table.estimate(2, "curve").value


def test_bad_input(planted, tmp_path):
    with pytest.raises(ValueError, match=r"methods\[\d\] must be one of 'integrated'.*got 'magic'"):
        faithfulness(planted, PAIRS, methods=["magic"])
    with pytest.raises(ValueError, match="methods must be a list of names"):
        faithfulness(planted, PAIRS, methods="integrated")
    with pytest.raises(ValueError, match=r"operators\[\d\] must be one of 'remove'"):
        faithfulness(planted, PAIRS, operators=["swap"])
    with pytest.raises(ValueError, match=r"layer must be between -2 and 2, .* got 7"):
        faithfulness(planted, PAIRS, layers=[7])
    with pytest.raises(ValueError, match="must not be empty"):
        faithfulness(planted, PAIRS, layers=[])
    table = faithfulness(planted, PAIRS[:1], methods=["lexical"], operators=["remove"], show_progress_bar=False)
    with pytest.raises(ValueError, match="metric must be one of"):
        table.estimate(0, "magic")
    with pytest.raises(ValueError, match="operator must be one of 'remove', 'mean', got 'unk'"):
        table.estimate(0, operator="unk")
    with pytest.raises(ValueError, match="no row of method 'integrated'"):
        _ = table.recommended
    long = XSTransformer(write_model("bert", tmp_path), device="cpu")
    with (
        pytest.warns(UserWarning, match="cut off"),
        pytest.raises(ValueError, match="tokens more than the model reads"),
    ):
        faithfulness(long, [("the giant " * 29, "giant")], methods=["lexical"], show_progress_bar=False)


@pytest.mark.filterwarnings("ignore:the shift that was added")
def test_default_methods_that_cannot_explain_the_model_are_named(tmp_path):
    shifted = XSTransformer(write_model("bert", tmp_path), device="cpu", shift=True)
    pairs = [("the giant did not", "the gentle giant"), ("his bags were", "unpack his bags")]
    table = faithfulness(shifted, pairs, operators=["remove"], show_progress_bar=False)
    assert "bilrp" not in {row.method for row in table.rows}
    assert any("bilrp" in note for note in table.notes if "shifted" in note)
    assert "left out, bilrp" in str(table)
    with pytest.raises(ValueError, match=r"methods: 'bilrp' cannot explain this model.*shifted"):
        faithfulness(shifted, pairs, methods=["lexical", "bilrp"], show_progress_bar=False)


def test_few_pairs_give_no_verdict(planted):
    table = faithfulness(planted, PAIRS, methods=["lexical", "random"], show_progress_bar=False)
    assert "too few for a verdict" in table.sentence
    (one, other) = faithfulness(planted, PAIRS[:1], methods=["lexical", "random"], show_progress_bar=False).rows
    table = faithfulness(planted, PAIRS[:1], methods=["lexical", "random"], show_progress_bar=False)
    assert np.isnan(table.estimate(one).low)
    assert table.difference(one, other).is_zero
    assert "±nan" not in str(table)
    table = faithfulness(planted, [("cat", "dog"), ("red", "red")], methods=["lexical"], show_progress_bar=False)
    assert table.sentence.startswith("0 of 2 pairs")
    assert np.isnan(table.estimate(0, "top-1").value)


def test_equal_numbers_share_what_they_find():
    effects = np.array([[0.3, 0.1], [0.0, 0.0]])
    assert found_strongest(np.zeros((2, 2)), effects) == 0.25
    assert found_strongest(np.array([[1.0, 1.0], [0, 0]]), effects) == 0.5
    assert found_strongest(np.array([[2.0, 1.0], [0, 0]]), effects) == 1
    assert np.isnan(found_strongest(np.zeros((2, 2)), np.ones((2, 2))))


def test_curves_of_equal_numbers_do_not_go_from_left_to_right(planted):
    perturber = Perturber(planted, show_progress_bar=False)
    first = {
        min(curve_edits(perturber, text, np.zeros(3))[0].units)
        for text in ("the cat sees", "a dog hears", "old red bird")
    }
    assert first != {1}
    same = [curve_edits(perturber, "the cat sees", np.zeros(3)) for _ in range(2)]
    assert same[0] == same[1]


def test_the_ceiling_is_what_the_best_numbers_reach(planted):
    table = faithfulness(
        planted, PAIRS, methods=["lexical"], operators=["remove", "unk", "mask"], show_progress_bar=False
    )
    perturber = Perturber(planted, show_progress_bar=False)
    best = []
    for pair in PAIRS:
        effects = [deletion_effects(perturber, *pair, operator).pairs.ravel() for operator in table.operators]
        numbers = sum((each - each.mean()) / each.std() for each in effects)
        best.append(np.mean([correlation(numbers, each) for each in effects]))
    assert table.ceiling().value == pytest.approx(np.mean(best))
    assert f"Pearson {table.ceiling().value:.2f}" in str(table)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"references": "unk"}, TypeError, "references must be a list, got 'unk'"),
        ({"layers": 1}, TypeError, "layers must be a list, got 1"),
        ({"layers": [1, -1]}, ValueError, "layers, counted from 0, must be distinct, got 1 twice"),
        ({"methods": ["lexical", "lexical"]}, ValueError, "methods must be distinct"),
        ({"n_bootstrap": 0}, ValueError, "n_bootstrap must be an integer of at least 1, got 0"),
    ],
)
def test_what_is_not_a_list_or_given_twice_is_refused(planted, wrong, error, message):
    with pytest.raises(error, match=message):
        faithfulness(planted, PAIRS, **{"methods": ["lexical"], **wrong})
    if "n_bootstrap" not in wrong:
        with pytest.raises(error, match=message):
            cost_of_faithfulness(planted, PAIRS, **{"methods": ["lexical"], **wrong})
