"""Several results side by side, and the difference of two."""

import numpy as np
import pytest

from xsbert.attribution.attribution import Attribution
from xsbert.utils import difference, layers

from .picture_helpers import coloured_cells, meshes, pixels, planted, random_result, result_of, text_of, tick_labels


def test_layers_share_one_scale():
    results = [random_result(3, 4, seed=seed, layer=seed) for seed in range(6)]
    fig, axes = layers(results)
    assert axes.shape == (6,)
    largest = max(np.abs(result.matrix).max() for result in results)
    for ax, result in zip(axes, results, strict=True):
        assert meshes(ax)[0].get_clim() == (-largest, largest)
        np.testing.assert_array_equal(meshes(ax)[0].get_array(), result.matrix)
        assert ax.get_title("left").startswith(f"layer {result.settings.layer} of 6")
    assert len(fig.axes) == 6 + 2
    assert len(layers([planted(), planted()])[0].axes) == 2 + 1


def test_layers_on_their_own_scales():
    results = [random_result(3, 4, seed=seed, layer=seed) for seed in range(3)]
    fig, axes = layers(results, own_scales=True)
    for ax, result in zip(axes, results, strict=True):
        largest = np.abs(result.matrix).max()
        assert meshes(ax)[0].get_clim() == (-largest, largest)
        assert f"largest {largest:.3f}" in ax.get_title("left").replace("\n", ", ")
    assert "share of the panel's largest" in fig.axes[-1].get_ylabel().replace("\n", " ")
    with pytest.raises(TypeError, match="own_scales must be True or False"):
        layers(results, own_scales="own")


@pytest.mark.parametrize(
    ("n", "rows"),
    [
        (1, [1]),
        (4, [4]),
        (5, [3, 2]),
        pytest.param(6, [3, 3], marks=pytest.mark.slow),
        (7, [4, 3]),
        pytest.param(9, [3, 3, 3], marks=pytest.mark.slow),
    ],
)
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
    np.testing.assert_array_equal(meshes(ax)[0].get_array(), two.matrix - one.matrix)
    np.testing.assert_array_equal(meshes(ax)[1].get_array()[:, 0], two.main_effects_a - one.main_effects_a)
    title = ax.get_title("left").replace("−", "-")
    assert f"change of dot similarity {two.score - one.score:+.4f}" in title
    assert "layer 4 minus 2" in title


def test_difference_refuses_a_shifted_result_against_one_that_is_not():
    one, two = random_result(3, 4, main=False), random_result(3, 4)
    with pytest.raises(ValueError, match=r"result_1 is of a shifted model, .*; result_2 is not"):
        difference(one, two)
    with pytest.raises(ValueError, match=r"result_2 is of a shifted model, .*; result_1 is not"):
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
