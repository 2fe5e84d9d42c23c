"""Columns of words with lines, shaded texts, and charts."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from xsbert.attribution.attribution import Attribution
from xsbert.utils import bipartite, convergence, heatmap, highlight, waterfall
from xsbert.view.plot import style

from .picture_helpers import all_texts, inside, planted, random_result, read, result_of, shaded, text_of


def test_bipartite_draws_the_planted_pair_and_no_other():
    _, ax = bipartite(planted(1, 3))
    (line,) = ax.lines
    places = {text.get_text(): text.xy for text in ax.texts}
    assert list(zip(*line.get_data(), strict=True)) == [places["a1"], places["b3"]]
    assert line.get_color() == style.POSITIVE
    assert bipartite(planted(1, 3, -0.5))[1].lines[0].get_color() == style.NEGATIVE


def test_the_title_of_bipartite_is_short_and_speaks_of_no_cells():
    fig, ax = bipartite(random_result(6, 7))
    title = ax.get_title("left")
    assert "(the cells)" not in title
    assert "(the cells)" in heatmap(random_result(6, 7))[1].get_title("left")
    lines = title.split("\n")
    assert len(lines) <= 4
    assert sum("= " in line or "+ " in line for line in lines) <= 2
    assert inside(fig, ax, [ax.title])


def test_bipartite_draws_the_k_strongest_pairs():
    result = random_result(6, 7)
    _, ax = bipartite(result, k=4)
    places_a = (np.arange(6) + 0.5) / 6
    places_b = (np.arange(7) + 0.5) / 7
    drawn = {tuple(np.round(line.get_ydata(), 9)) for line in ax.lines}
    assert drawn == {(round(places_a[s], 9), round(places_b[t], 9)) for s, t, _ in result.top_pairs(4)}
    widths = [line.get_linewidth() for line in ax.lines]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]
    assert len(bipartite(result, k=1000)[1].lines) == 42


def test_bipartite_leaves_special_tokens_out_unless_asked():
    result = planted(1, 3)
    special = text_of(result.a.tokens, result.a.factors, roles=["text", "special", "text", "text"])
    changed = Attribution(special, result.b, "dot", result.settings)
    assert len(bipartite(changed)[1].lines) == 0
    assert len(bipartite(changed, special_tokens=True)[1].lines) == 1


def test_bipartite_legend_reads_the_strongest_values():
    result = random_result(6, 7)
    labels = [read(text.get_text()) for text in bipartite(result, k=42)[1].get_legend().get_texts()]
    np.testing.assert_allclose(labels, [result.matrix.max(), result.matrix.min()], atol=5e-4)


def test_bipartite_draws_no_hairball_by_default():
    result = random_result(60, 50)
    result.matrix[:] *= 0.05
    result.matrix[[3, 30, 55], [40, 7, 9]] = [9, -7, 2]
    _, ax = bipartite(result)
    assert len(ax.lines) == 3
    assert len(bipartite(random_result(60, 50))[1].lines) == 12
    # Of the long columns only these six units are shown, with what is between them left out.
    shown = [text.get_text() for text in ax.texts if text.get_text() not in ("text a", "text b")]
    assert len([label for label in shown if label != "…"]) == 6
    assert shown.count("…") == 8
    places = [(text.xy, text.get_text()) for text in ax.texts]
    ends = {tuple(end) for line in ax.lines for end in zip(*line.get_data(), strict=True)}
    assert ends == {xy for xy, label in places if label not in ("…", "text a", "text b")}


@pytest.mark.parametrize(("k", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_bipartite_refuses_other_k(k, error):
    with pytest.raises(error, match="k must be"):
        bipartite(planted(), k=k)


def test_highlight_shades_the_planted_words_and_no_other():
    _, ax = highlight(planted(1, 3))
    assert [word for word, *_, colour in shaded(ax) if np.ptp(to_rgb(colour)) > 0.1] == ["a1", "b3"]


def test_highlight_shades_by_interactions_and_main_effects():
    result = random_result(3, 4)
    _, ax = highlight(result)
    totals = [*(result.matrix.sum(1) + result.main_effects_a), *(result.matrix.sum(0) + result.main_effects_b)]
    colours = style.colours_of(max(map(abs, totals))).to_rgba(np.array(totals))
    np.testing.assert_allclose([colour for *_, colour in shaded(ax)], colours)
    # The sums of the two texts are not written: each interaction counts in both, so they must not be added.
    assert [text.get_text() for text in ax.texts if text.get_text().startswith("text ")] == ["text a", "text b"]


def test_highlight_shades_by_interactions_alone_on_request():
    result = random_result(3, 4)
    fig, ax = highlight(result, main_effects=False)
    sums = [*result.matrix.sum(1), *result.matrix.sum(0)]
    colours = style.colours_of(max(map(abs, sums))).to_rgba(np.array(sums))
    np.testing.assert_allclose([colour for *_, colour in shaded(ax)], colours)
    assert "interactions of the word" in [text.get_text() for text in all_texts(fig)]


def test_highlight_sums_tokens_to_words():
    whole = planted(1, 3, shape=(3, 5))
    pieces = text_of(["un", "kind", "is"], whole.a.factors, text="unkind is", word_ids=(0, 0, 1))
    _, ax = highlight(Attribution(pieces, whole.b, "dot", whole.settings))
    words = shaded(ax)
    assert [word for word, *_ in words] == ["unkind", "is", "b0", "b1", "b2", "b3", "b4"]
    assert [word for word, *_, colour in words if np.ptp(to_rgb(colour)) > 0.1] == ["unkind", "b3"]


def test_highlight_takes_results_without_words():
    result = planted(1, 3, shape=(3, 5))
    a = text_of(["un", "kind", "is"], result.a.factors, text="unkind is", word_ids=None, spans=None)
    b = text_of(result.b.tokens, result.b.factors, word_ids=None)
    _, ax = highlight(Attribution(a, b, "dot", result.settings))
    assert [word for word, *_ in shaded(ax)][:3] == ["un", "kind", "is"]


@pytest.mark.slow
def test_highlight_wraps_lines_within_the_figure():
    fig, ax = highlight(random_result(60, 30), figsize=5)
    assert max(right for _, _, right, _ in shaded(ax)) <= 4.6 + 0.01
    assert fig.get_figheight() > highlight(random_result(6, 3), figsize=5)[0].get_figheight()
    narrow, ax = highlight(random_result(6, 3), figsize=3)
    assert inside(narrow, ax, all_texts(narrow))
    long = result_of(np.ones((1, 1)), ["x" * 300], ["y"])
    assert max(right for _, _, right, _ in shaded(highlight(long, figsize=3)[1])) <= 2.6 + 0.01
    sentence = result_of(np.ones((1, 1)), ["a sentence that does not fit on a line of this width"], ["y"])
    lines = [word for word, *_ in shaded(highlight(sentence, figsize=3)[1])]
    assert len(lines) > 2
    assert "".join(lines).split() == [*" ".join(sentence.tokens_a).split()[:-1], "widthy"]


def test_highlight_starts_right_to_left_texts_at_the_right():
    words = ["אני", "אוהב", "good", "coffee", "מאוד"]
    result = result_of(np.ones((5, 1)), words, ["one"])
    _, ax = highlight(result)
    left = {word: x for word, x, *_ in shaded(ax)}
    assert left["אני"] > left["אוהב"] > left["coffee"] > left["good"] > left["מאוד"]
    assert max(right for _, _, right, _ in shaded(ax)) == pytest.approx(6.6)
    assert left["one"] == 0


def test_the_old_name_of_the_width_of_highlight_works_and_warns():
    with pytest.warns(DeprecationWarning, match="width= of highlight is now figsize="):
        fig, _ = highlight(planted(), width=5)
    assert fig.get_figwidth() == 5


def test_waterfall_bars_are_the_parts_and_end_at_the_score():
    result = random_result(3, 4)
    _, ax = waterfall(result)
    *parts, score = ax.patches
    np.testing.assert_allclose([bar.get_width() for bar in parts[:4]], list(result.parts.values()))
    assert abs(parts[4].get_width()) == pytest.approx(result.error)
    assert parts[4].get_x() + parts[4].get_width() == pytest.approx(result.score)
    assert (score.get_x(), score.get_width()) == (0, pytest.approx(result.score))
    assert [label.get_text() for label in ax.get_yticklabels()] == [*result.parts, "error", "score"]
    printed = [read(text.get_text()) for text in ax.texts]
    np.testing.assert_allclose(printed[:4], list(result.parts.values()), atol=5e-5)
    assert printed[5] == pytest.approx(result.score, abs=5e-5)


def test_convergence_draws_what_it_is_given():
    errors = {"riemann-right": [(4, 0.1), (2, 0.2)], "gauss-legendre": [(2, 1e-3), (4, 0.0)]}
    _, ax = convergence(errors, slope=-1)
    lines = {line.get_label(): line for line in ax.lines}
    assert ax.get_xscale() == ax.get_yscale() == "log"
    np.testing.assert_array_equal(lines["riemann-right"].get_xydata(), [(2, 0.2), (4, 0.1)])
    np.testing.assert_array_equal(lines["gauss-legendre"].get_xydata(), [(2, 1e-3)])
    np.testing.assert_allclose(lines["slope -1"].get_xydata(), [(2, 0.2), (4, 0.1)])
    assert lines["gauss-legendre, exactly 0"].get_ydata()[0] < 1e-3
    assert lines["riemann-right"].get_marker() != lines["gauss-legendre"].get_marker()


@pytest.mark.parametrize(
    ("errors", "error", "message"),
    [
        ([(1, 0.1)], TypeError, "errors must be a mapping"),
        ({}, ValueError, "at least one rule"),
        ({"midpoint": []}, ValueError, r"errors\['midpoint'\] must be pairs"),
        ({"midpoint": [(1, 2, 3)]}, ValueError, "must be pairs"),
        ({"midpoint": [(0, 0.1)]}, ValueError, "n_steps of at least 1"),
        ({"midpoint": [(1, -0.1)]}, ValueError, "errors of at least 0"),
        ({"midpoint": [(1, np.nan)]}, ValueError, "finite"),
    ],
)
def test_convergence_refuses_what_it_cannot_draw(errors, error, message):
    with pytest.raises(error, match=message):
        convergence(errors)
    with pytest.raises(ValueError, match="slope must be None or a finite number"):
        convergence({"midpoint": [(1, 0.1)]}, slope=np.nan)
