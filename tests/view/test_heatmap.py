"""Heat maps show the numbers of the result at the right place, and nothing else."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from xsbert.attribution.attribution import Attribution
from xsbert.utils import bipartite, difference, heatmap, highlight, layers
from xsbert.view.plot import style
from xsbert.view.plot.labels import GAP

from .picture_helpers import (
    all_texts,
    coloured_cells,
    inside,
    meshes,
    pixels,
    planted,
    random_result,
    read,
    result_of,
    shaded,
    special_result,
    text_of,
    tick_labels,
)


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
    expected |= {(5 + GAP, s): value for s, value in enumerate(result.main_effects_a)}
    expected |= {(t, 5 + GAP): value for t, value in enumerate(result.main_effects_b)}
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
    assert meshes(ax)[0].get_clim() == (-np.abs(result.matrix).max(), np.abs(result.matrix).max())
    assert meshes(heatmap(result, limit=0.1)[1])[0].get_clim() == (-0.1, 0.1)
    assert meshes(heatmap(result_of(np.zeros((2, 2))))[1])[0].get_clim() == (-1, 1)


@pytest.mark.parametrize("limit", [0, -1, np.inf, np.nan, "1", True])
def test_limits_outside_what_is_allowed_are_refused(limit):
    with pytest.raises(ValueError, match="limit must be None or a finite number above 0"):
        heatmap(planted(), limit=limit)


def test_main_effects_are_a_margin_where_there_are_any():
    result = random_result(3, 4)
    _, ax = heatmap(result)
    matrix, main_a, main_b = meshes(ax)
    np.testing.assert_array_equal(matrix.get_array(), result.matrix)
    np.testing.assert_array_equal(main_a.get_array()[:, 0], result.main_effects_a)
    np.testing.assert_array_equal(main_b.get_array()[0], result.main_effects_b)
    assert main_a.get_clim() == main_b.get_clim()
    assert main_a.get_coordinates()[..., 0].min() > matrix.get_coordinates()[..., 0].max()
    assert len(meshes(heatmap(random_result(3, 4, main=False))[1])) == 1


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


@pytest.mark.parametrize(
    "shape",
    [pytest.param((220, 190), marks=pytest.mark.slow), (20, 220), pytest.param((260, 8), marks=pytest.mark.slow)],
    ids=str,
)
def test_long_pairs_are_drawn_at_a_sensible_size(shape):
    result = random_result(*shape)
    result.matrix[7, 5] = 50.0
    for draw in (heatmap, bipartite):
        fig, ax = draw(result)
        assert max(fig.get_size_inches()) < 16
        assert inside(fig, ax, all_texts(fig))


@pytest.mark.slow
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


def test_special_tokens_are_left_out_on_request_everywhere():
    result = special_result()
    inner = result.matrix[1:-1, 1:-1]
    for ax in (
        heatmap(result, special_tokens=False)[1],
        layers([result, result], special_tokens=False)[1][1],
    ):
        np.testing.assert_array_equal(meshes(ax)[0].get_array(), inner)
        np.testing.assert_array_equal(meshes(ax)[1].get_array()[:, 0], result.main_effects_a[1:-1])
        assert not any("CLS" in label for label in tick_labels(ax.xaxis))
    title = heatmap(result, special_tokens=False)[1].get_title("left").replace("−", "-").replace("\n", " ")
    assert f"cells shown {inner.sum():.3f}" in title
    difference_ax = difference(result, result, special_tokens=False)[1]
    assert meshes(difference_ax)[0].get_array().shape == (2, 2)
    assert [word for word, *_ in shaded(highlight(result, special_tokens=False)[1])] == ["one", "two"] * 2
    assert len(bipartite(result, k=99)[1].lines) == 4
    for draw in (heatmap, highlight, bipartite):
        with pytest.raises(TypeError, match="special_tokens must be True or False"):
            draw(result, special_tokens=1)


def test_what_no_range_holds_is_drawn_as_text():
    result = special_result()
    result = replace(result, a=replace(result.a, roles=("special", "text", "rest", "special")))
    _, ax = heatmap(result, special_tokens=False)
    np.testing.assert_array_equal(meshes(ax)[0].get_array(), result.matrix[1:3, 1:3])
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
