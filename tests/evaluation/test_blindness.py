"""Changes of meaning that scores do not show."""

import json

import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator

import xsbert
from xsbert.evaluation import assert_not_blind, blind_spots
from xsbert.evaluation.blindness import CHANGING, KEEPING
from xsbert.evaluation.blindness.cells import compared_cells
from xsbert.evaluation.control_models import planted_lexical_model

LONG = [
    "The committee said that the bridge over the river, which joins both parts of the town, will open in spring.",
    "The hospital reported that the large clinic in the north of the city is treating 120 children with asthma.",
    "Farmers in the valley say that the drought was the cause of a poor harvest of wheat, barley and 30 other crops.",
    "Researchers at the institute found that coffee is often a cause of poor sleep among 400 students of medicine.",
    "The museum, which shows paintings from the Dutch golden age, is closed while workers repair 15 of its rooms.",
    "The airline told passengers that flights from Lisbon to Madrid are running again after a strike of 12 days.",
    "The court said that the owner of the factory was responsible for the damage to the lake and 60 houses near it.",
    "Teachers at the village school, which was built near the church, are planning a trip for 45 children in May.",
]
SHORT = ["The door is open.", "Two men sing in the large hall.", "You must pay on Monday.", "Rain"]
CHEAP = {"n_steps": 1, "layer": -1}


@pytest.fixture(scope="module")
def table(model):
    return blind_spots(model, LONG, explain=0)


@pytest.fixture(scope="module")
def lexical():
    """A model that sees which words a text has, and nothing else."""
    words = "the a man woman dog cat bites sees big small large hot cold not is in two five anna peter sent to letter ."
    return planted_lexical_model(words.split())


OF_WORDS = [
    "The big dog bites the man.",
    "Anna sent a letter to Peter.",
    "The small dog sees two cat.",
    "A cat is hot.",
]


def test_known_blindness_of_minilm(table):
    """In long texts another number hardly moves the score, "not" often little more than a full stop; disorder does."""
    assert (table.rate("negation").n, table.rate("number").n) == (8, 7)
    assert table.rate("number").value >= 0.5
    assert table.rate("negation").value >= 0.2
    assert table.rate("order").value <= 0.2
    # Another text is far away, so that nothing like it is called a collapse.
    assert table.separates
    assert table.unrelated > 5 * table.threshold


def test_scores_are_those_of_the_model(table, plain):
    for effect in table.effects[::7]:
        one, two, three = plain.encode([effect.edit.before, effect.edit.after, effect.other])
        assert effect.score_before == pytest.approx(float(one @ three), abs=1e-5)
        assert effect.score_after == pytest.approx(float(two @ three), abs=1e-5)


def test_the_threshold_is_a_quantile_of_what_keeps_the_meaning(model, table):
    kept = [each for each in table.effects if not each.changes_meaning]
    assert {each.same_tokens for each in table.effects_of("case")} == {True}
    seen = {kind: [each.change for each in table.effects_of(kind) if not each.same_tokens] for kind in KEEPING}
    below = [np.mean(np.array(changes) <= table.threshold) for changes in seen.values() if changes]
    # Each kind has equal weight, whatever the number of its edits.
    assert np.mean(below) >= 0.9 > np.mean(below) - 1 / min(map(len, filter(None, seen.values())))
    largest = blind_spots(model, LONG, quantile=1, explain=0)
    assert largest.threshold == max(each.change for each in kept)
    given = blind_spots(model, LONG, threshold=0.5, explain=0)
    assert (given.threshold, given.quantile, given.rate().value) == (0.5, None, 1.0)


def test_kinds_that_keep_the_meaning_have_equal_weight(model):
    """One synonym among many full stops is half of the weight."""
    found = blind_spots(model, [*(f"Hill {n} is open to hikers." for n in range(11, 23)), "A baby sings."], explain=0)
    (synonym,) = found.effects_of("synonym")
    assert len(found.effects_of("punctuation")) == 13
    assert found.threshold == synonym.change > max(each.change for each in found.effects_of("punctuation"))


def test_a_model_of_words_is_blind_to_their_order_alone(lexical):
    # To this model a full stop is a word like others, so that its own threshold is high.
    found = blind_spots(lexical, OF_WORDS, threshold=0.01, **CHEAP)
    for kind in ("order", "entity"):
        assert found.rate(kind).value == 1, kind
        assert all(effect.change < 1e-6 for effect in found.effects_of(kind))
    for kind in ("negation", "number", "antonym"):
        assert found.rate(kind).n, kind
        assert found.rate(kind).value == 0, kind


def test_a_model_that_tells_nothing_apart():
    """Every word is unknown to it, so every score is 1: all edits collapse, and no gate lets it pass."""
    unknowing = planted_lexical_model(["zebra"])
    texts = ["Doors were open.", "Rivers were cold."]
    found = blind_spots(unknowing, texts, explain=0)
    assert not found.separates
    assert found.rate().value == 1
    assert "does not tell these texts apart" in str(found).replace("\n", " ")
    with pytest.raises(AssertionError, match="does not tell these texts apart"):
        assert_not_blind(unknowing, texts, fail_above=1, explain=0)


def test_cells_are_those_of_the_explanations(model):
    text = "The water is hot."
    (effect,) = blind_spots(model, [text], kinds=["antonym"], threshold=1.0, **CHEAP).collapses()
    assert effect.edit.after == "The water is cold."
    before, after = (model.explain(each, text, units="words", **CHEAP) for each in (text, effect.edit.after))
    cells = effect.cells
    assert cells.n_cells == cells.n_unmoved == 5
    by_word = {cell.other: cell for cell in cells.unmoved}
    assert by_word["hot"].before == pytest.approx(before.matrix[4, 4])
    assert by_word["hot"].after == pytest.approx(after.matrix[4, 4])
    assert by_word["water"].after == pytest.approx(after.matrix[4, 2])
    sizes = [max(abs(cell.before), abs(cell.after)) for cell in cells.unmoved]
    assert sizes == sorted(sizes, reverse=True)
    moved = after.matrix[4].sum() + after.main_effects_a[4] - before.matrix[4].sum() - before.main_effects_a[4]
    assert cells.edited == pytest.approx(moved)
    assert cells.edited + cells.rest == pytest.approx(effect.score_after - effect.score_before)


def test_cells_of_an_insertion_and_of_text_b_with_a_prompt(model):
    pair = ("Is it open?", "The door is open.")
    how = {"prompt": (None, "passage: "), **CHEAP}
    found = blind_spots(model, [pair], kinds=["negation"], threshold=1.0, **how)
    (effect,) = found.collapses()
    assert (effect.side, effect.other, effect.edit.label) == ("b", pair[0], "+not")
    result = model.explain(pair[0], effect.edit.after, units="words", **how)
    at = result.tokens_b.index("not")
    for cell in effect.cells.unmoved:
        assert (cell.word_before, cell.word_after, cell.before) == ("", "not", 0)
        assert cell.after == pytest.approx(result.matrix[result.tokens_a.index(cell.other), at])
    assert effect.score_after == pytest.approx(result.score, abs=1e-5)


def test_a_cell_that_moved_is_not_listed(model):
    how = {"kinds": ["antonym"], **CHEAP}
    (wide,) = blind_spots(model, ["The water is hot."], threshold=1.0, **how).collapses()
    moves = sorted(abs(cell.change) for cell in wide.cells.unmoved)
    before, after = (model.explain(each, wide.other, units="words", **CHEAP) for each in (wide.other, wide.edit.after))
    narrow = compared_cells(wide, before, after, (moves[2] + moves[3]) / 2)
    assert (narrow.n_unmoved, narrow.n_cells) == (3, 5)


def test_what_has_no_edit_or_is_cut_is_counted(model, plain):
    length = plain.max_seq_length
    plain.max_seq_length = 16
    try:
        found = blind_spots(model, [*SHORT, LONG[0], "Rain", "The door is open."], explain=0)
    finally:
        plain.max_seq_length = length
    assert (found.n_texts, found.n_cut, found.n_without) == (4, 1, 1)
    assert found.n_untouched["number"] == 3
    for kind in (*CHANGING, *KEEPING):
        assert len(found.effects_of(kind)) + found.n_untouched[kind] == 4
    assert "1 texts have nothing" not in found.sentence
    assert "1 text has nothing that an edit could change" in found.sentence
    assert "Left out: 1 text " in found.sentence


def test_explanations_begin_with_the_smallest_change_of_each_kind(model):
    found = blind_spots(model, SHORT, threshold=1.0, explain=4, **CHEAP)
    explained = [effect for effect in found.effects if effect.cells is not None]
    assert len(explained) == 4
    smallest = [found.collapses(kind)[0] for kind in found.kinds if found.rate(kind).n]
    assert {each.key for each in explained} <= {each.key for each in smallest}
    assert not blind_spots(model, SHORT, threshold=0, explain=None, kinds=["antonym"], **CHEAP).collapses()


def test_output(model):
    found = blind_spots(model, SHORT, threshold=0.5, explain=3, **CHEAP)
    assert max(map(len, str(found).splitlines())) <= 100
    assert "<table>" in found._repr_html_()
    frame = found.to_dataframe()
    assert len(frame) == len(found.effects)
    assert frame.collapsed.sum() == found.rate().n_collapsed == found.rate().n
    assert found.to_csv().splitlines()[0].startswith("kind,changes_meaning,place,side,text,edited,other")
    comparison = found.compare(found)
    content = json.loads(json.dumps(found.to_dict() | {"comparison": comparison.to_dict()}, allow_nan=False))
    Draft202012Validator(xsbert.json_schema("blind_spots")).validate(content)
    assert "negation" in comparison.to_csv()
    assert max(map(len, str(comparison).splitlines())) <= 100


def test_a_gate(model, lexical):
    with pytest.raises(AssertionError, match=r"(?s)is blind .*\nnegation: .* of 8 edits collapse.*The edited words:"):
        assert_not_blind(model, LONG, fail_above={"negation": 0.2}, kinds=["negation"], explain=1, **CHEAP)
    assert assert_not_blind(model, LONG, fail_above=1, explain=0, against=model).n_texts == 8
    with pytest.raises(ValueError, match=r"fail_above\['date'\]: no text has anything"):
        assert_not_blind(model, SHORT[:2], fail_above={"date": 0.2}, explain=0)
    with pytest.raises(AssertionError, match=r"order: 1\.00 collapse, 0\.25 of .*minilm"):
        assert_not_blind(lexical, OF_WORDS, fail_above=1, against=model, explain=0)


def test_two_models(model, lexical):
    one, two = (blind_spots(each, OF_WORDS, explain=0) for each in (lexical, model))
    rows = {row.kind: row for row in one.compare(two).rows}
    assert {row.kind for row in one.compare(two).worse} >= {"order"}
    assert two.compare(one).worse == []
    assert rows["order"].difference == rows["order"].one.value - rows["order"].other.value == 0.75
    assert one.compare(two, seed=3).rows == one.compare(two, seed=3).rows
    with pytest.raises(ValueError, match="no edit in common"):
        one.compare(blind_spots(model, SHORT, explain=0))


def test_the_model_is_left_alone(model):
    training = {name: module.training for name, module in model.named_modules()}
    model.train()
    try:
        blind_spots(model, SHORT[:2], explain=1, **CHEAP)
        assert all(module.training for module in model.modules())
    finally:
        for name, module in model.named_modules():
            module.training = training[name]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_columns_and_tables(model):
    how = {"explain": 0, "kinds": ["negation", "antonym"]}
    frame = pd.DataFrame({"text_b": SHORT[:2], "text_a": LONG[:2]}, index=[7, 7])
    pairs = blind_spots(model, [*zip(LONG[:2], SHORT[:2], strict=True)], **how)
    assert blind_spots(model, frame, **how).to_dict() == pairs.to_dict()
    assert pairs.pairs
    assert blind_spots(model, frame["text_b"], **how).to_dict() == blind_spots(model, SHORT[:2], **how).to_dict()


@pytest.mark.parametrize(
    ("texts", "how", "message"),
    [
        ([], {}, "texts must hold at least one text, got none"),
        (["Rain", " "], {}, r"texts\[1\] must hold some text"),
        ([("Rain", "")], {}, r"pairs\[0\]\[1\] must hold some text"),
        (["Rain"], {}, "no text has anything that an edit could change"),
        (["The door is open?"], {"kinds": ["antonym"]}, "the threshold cannot be calibrated: no edit that keeps"),
        (SHORT, {"language": "de"}, "language must be one of 'en', got 'de'"),
        (SHORT, {"kinds": ["negations"]}, r"kinds\[0\] must be one of 'negation', .* got 'negations'"),
        (SHORT, {"kinds": "negation"}, "kinds must be a list of names"),
        (SHORT, {"kinds": []}, "kinds must hold one name at least"),
        (SHORT, {"quantile": 0}, "quantile must be above 0 and at most 1, got 0"),
        (SHORT, {"threshold": -0.1}, "threshold must be at least 0, got -0.1"),
        (SHORT, {"explain": -1}, "explain must be at least 0, got -1"),
        (SHORT, {"similarity": "euclidean"}, "cannot be explained"),
    ],
)
def test_bad_input(model, texts, how, message):
    with pytest.raises(ValueError, match=message):
        blind_spots(model, texts, **how)


@pytest.mark.parametrize("texts", ["The door is open.", ["The door is open.", 3], [("a", "b", "c")], {"text": SHORT}])
def test_no_texts(model, texts):
    with pytest.raises(TypeError):
        blind_spots(model, texts)


def test_bad_limits(model):
    for limits in (1.5, {"negation": -1}, {}, {"negations": 0.2}):
        with pytest.raises(ValueError, match="fail_above"):
            assert_not_blind(model, SHORT, fail_above=limits)
    with pytest.raises(TypeError, match="unexpected keyword argument 'qantile'; did you mean 'quantile'"):
        blind_spots(model, SHORT, qantile=0.5)
