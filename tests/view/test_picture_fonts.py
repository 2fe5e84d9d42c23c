"""Every script is drawn, and nothing in a text is mathematics."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest

from xsbert.factors.text_factors import TextFactors
from xsbert.utils import bipartite, display_tokens, heatmap, highlight
from xsbert.view.plot import fonts
from xsbert.view.plot.measure import ems, within

from .picture_helpers import EVERY, ONE_RESULT, SCRIPTS, result_of, script_result, text_of, tick_labels


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_drawn_without_missing_glyphs(script):
    plt.close("all")  # pyplot warns where other tests left many figures open
    result = script_result(script)
    with warnings.catch_warnings():
        # What a garbage collector reports of other tests' files meanwhile is another kind of warning.
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", "no installed font|.*draws right-to-left", UserWarning)
        for draw in (heatmap, bipartite, highlight, EVERY["layers"]):
            draw(result)[0].canvas.draw()


def test_glyphs_that_are_missing_would_be_noticed():
    fig = plt.figure()
    fig.text(0.5, 0.5, "喝", fontfamily=["DejaVu Sans"])
    with pytest.warns(UserWarning, match="Glyph"):
        fig.canvas.draw()


def test_one_warning_names_the_characters_that_no_font_has(monkeypatch):
    monkeypatch.setattr(fonts, "candidates", lambda *_: [])
    result = result_of(np.ones((1, 2)), ["不"], ["好喝", "喝"])
    with pytest.warns(UserWarning, match=r"喝 \(U\+559D\).* Install the Noto fonts") as caught:
        fig, ax = heatmap(result)
    assert sum(issubclass(each.category, UserWarning) for each in caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig.canvas.draw()
    assert [label.get_text() for label in ax.get_xticklabels()] == ["□□", "□"]


@pytest.mark.parametrize("draw", ONE_RESULT.values(), ids=ONE_RESULT)
def test_dollars_and_line_breaks_are_no_mathematics(draw):
    result = result_of(np.ones((2, 2)), ["$5", "$x_1$"], ["$\\bad{$", "co\nffee"])
    fig, _ = draw(result)
    fig.canvas.draw()
    assert not any("\n" in text.get_text() for text in fig.findobj(plt.Text) if "ffee" in text.get_text())


def test_a_label_is_drawn_in_one_font_where_one_has_all_of_it():
    families = fonts.find_fonts("ह", "喝", "x")
    if families.absent:
        pytest.skip("no fonts for these scripts")
    for text in ("ह", "喝"):
        first = families.families_of(text)[0]
        assert set(text) <= fonts.characters_of([first])
    assert families.families_of("x") == list(families.families)


@pytest.mark.parametrize(
    ("text", "tokens", "spans", "word_ids", "labels"),
    [
        ("unkind [", ("un", "##kind", "##"), ((0, 2), (2, 6), (7, 8)), (0, 0, 1), ["un", "·kind", "##"]),
        ("so unkind", ("so", "Ġun", "kind"), ((0, 2), (3, 5), (5, 9)), (0, 1, 1), ["so", "un", "·kind"]),
        ("so unkind", ("▁so", "▁un", "kind"), ((0, 2), (2, 5), (5, 9)), (0, 1, 1), ["so", "un", "·kind"]),
        ("喝咖", ("▁", "喝", "咖"), ((0, 1), (0, 1), (1, 2)), (0, 0, 0), ["␣", "喝", "咖"]),
        ("été\n", ("Ã©t", "Ã©", "Ċ"), ((0, 2), (2, 3), (3, 4)), (0, 0, 1), ["ét", "·é", "↵"]),
        ("Ã© ###", ("Ã©", "###", "x"), ((0, 2), (3, 6), (6, 6)), (0, 1, 2), ["Ã©", "###", "x"]),
        ("It's", ("it", "'", "s"), ((0, 2), (2, 3), (3, 4)), (0, 1, 2), ["it", "'", "s"]),
        ("unkind", ("un", "##kind", "!"), None, None, ["un", "·kind", "!"]),
    ],
)
def test_tokens_are_spelled_for_readers(text, tokens, spans, word_ids, labels):
    words = [str(place) for place in range(3)]
    given = text_of(words, np.eye(3), text="0 1 2")
    changed = TextFactors(**(vars(given) | {"text": text, "tokens": tokens, "spans": spans, "word_ids": word_ids}))
    assert display_tokens(changed) == labels
    assert changed.tokens == tokens


def test_special_tokens_keep_their_spelling():
    given = text_of(["<s>", "[UNK]"], np.eye(2), roles=["special", "text"])
    assert display_tokens(given) == ["<s>", "[UNK]"]


def test_long_words_are_shortened():
    label = next(iter(tick_labels(heatmap(result_of(np.ones((1, 1)), ["x" * 80], ["y"]))[1].yaxis)))
    assert label == "x" * 16 + "…"


@pytest.mark.parametrize("inches", [0.3, 1.0, 2.5])
def test_a_shortened_word_is_the_longest_that_fits(inches):
    word, size = "abcdefghijklmnopqrstuvwxyz" * 3, 10
    shown = within(word, inches, size)
    kept = len(shown) - 1
    assert shown == word[:kept] + "…"
    assert ems(shown) * size <= 72 * inches < ems(word[: kept + 1] + "…") * size
