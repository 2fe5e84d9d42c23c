"""Pictures at the widths of a page: nothing overlaps, nothing is cut, cells are vectors, fonts are embedded whole."""

import re
import warnings
import zlib

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.image import AxesImage

from xsbert.utils import bipartite, convergence, difference, heatmap, highlight, layers, panels, save_figure, waterfall
from xsbert.view.charts import estimates
from xsbert.view.pictures import contrast

from .picture_helpers import all_texts, inside, meshes, random_result, result_of

COLUMN, PAGE = 3.1, 6.3
SLOW = pytest.mark.slow


def two_references(n_rows=7, n_columns=9):
    return [
        random_result(n_rows, n_columns, seed=seed, reference=reference)
        for seed, reference in enumerate(("[UNK]", "[MASK]"))
    ]


ESTIMATES = {"integrated, layer 4, [UNK]": (0.6, 0.5, 0.7), "products": (0.4, 0.3, 0.5), "gradient": (0.3, 0.2, 0.4)}
MARKS = {"remove": [0.5, 0.4, 0.3], "unk": [0.6, 0.5, 0.4]}
EVERY = {
    "heatmap": lambda **options: heatmap(random_result(7, 9), **options),
    "bipartite": lambda **options: bipartite(random_result(7, 9), **options),
    "highlight": lambda **options: highlight(random_result(17, 9), **options),
    "waterfall": lambda **options: waterfall(random_result(7, 9), **options),
    "panels": lambda **options: panels(two_references(), **options),
    "own scales": lambda **options: panels(two_references(), own_scales=True, **options),
    "layers": lambda **options: layers(two_references(), **options),
    "difference": lambda **options: difference(*two_references(), **options),
    "contrast": lambda **options: contrast(random_result(7, 9).matrix, list("abcdefg"), list("abcdefghi"), **options),
    "convergence": lambda **options: convergence({"midpoint": [(2**n, 0.1**n) for n in range(1, 8)]}, **options),
    "estimates": lambda **options: estimates(ESTIMATES, MARKS, "pearson (60 pairs, words)", "operator", **options),
}
TOO_SMALL = ["heatmap", "bipartite", "highlight", "difference", "convergence"]
MATRICES = ["heatmap", "panels", "layers", "difference", "contrast"]


def overlaps(fig):
    """Pairs of texts whose boxes share more than the rounding of a renderer."""
    texts = list(set(all_texts(fig)))
    boxes = np.array([text.get_window_extent().extents for text in texts])
    found = []
    for place, box in enumerate(boxes):
        low = np.maximum(boxes[:, :2], box[:2])
        high = np.minimum(boxes[:, 2:], box[2:])
        shared = (high - low).min(1) > 0.015 * fig.dpi
        found += [(texts[place].get_text(), texts[at].get_text()) for at in np.flatnonzero(shared) if at > place]
    return found


@pytest.mark.parametrize(
    "options",
    [{"figsize": COLUMN, "fontsize": 8}, pytest.param({"figsize": PAGE}, marks=SLOW), pytest.param({}, marks=SLOW)],
    ids=str,
)
@pytest.mark.parametrize("draw", EVERY.values(), ids=EVERY)
def test_texts_neither_overlap_nor_are_cut(draw, options):
    fig, ax = draw(**options)
    if "figsize" in options:
        assert fig.get_figwidth() == options["figsize"]
    assert overlaps(fig) == []
    assert inside(fig, ax, all_texts(fig))


def test_overlaps_would_be_noticed():
    fig, ax = heatmap(random_result(3, 3), figsize=COLUMN)
    label = ax.get_yticklabels()[1]
    fig.canvas.draw()
    box = label.get_window_extent()
    fig.text(box.x0 / fig.bbox.x1, box.y0 / fig.bbox.y1, "over it")
    assert overlaps(fig) == [("over it", label.get_text())] or overlaps(fig) == [(label.get_text(), "over it")]


@SLOW
@pytest.mark.parametrize("draw", EVERY.values(), ids=EVERY)
def test_font_sizes_are_those_asked_for_or_those_of_the_style(draw):
    def largest(fig):
        return max(text.get_fontsize() for text in all_texts(fig))

    assert largest(draw(fontsize=7)[0]) <= 1.2 * 7 + 1e-9
    with plt.rc_context({"font.size": 6}):
        assert largest(draw()[0]) <= 1.2 * 6 + 1e-9
    with plt.rc_context({"axes.labelsize": 5, "font.family": "serif"}):
        fig, _ = draw()
        texts = all_texts(fig)
        assert all("serif" in text.get_fontfamily() for text in texts)


def test_sizes_of_the_style_are_honoured():
    with plt.rc_context({"axes.titlesize": 13, "axes.labelsize": "small", "xtick.labelsize": 5}):
        fig, ax = heatmap(random_result(3, 4))
        assert ax.title.get_fontsize() is not None
        assert ax.get_xlabel() == "text b"
        assert ax._left_title.get_fontsize() == 13
        assert ax.xaxis.label.get_fontsize() == pytest.approx(10 * 0.833)
        assert fig.axes[-1].get_yticklabels()[0].get_fontsize() == 5


@pytest.mark.parametrize("name", ["heatmap", *(pytest.param(n, marks=SLOW) for n in MATRICES[1:])])
@pytest.mark.parametrize("ending", ["pdf", "svg"])
def test_cells_are_vectors_and_fonts_are_type_42(name, ending, tmp_path):
    before = dict(mpl.rcParams)
    fig, _ = EVERY[name](figsize=PAGE)
    path = tmp_path / f"figure.{ending}"
    save_figure(fig, path)
    content = path.read_bytes()
    assert not fig.findobj(AxesImage)
    if ending == "svg":
        # The gradient of a colour bar may be an image; cells are paths.
        assert content.count(b"<image") <= 2
        assert content.count(b"<path") + content.count(b"<use") > 63
    else:
        streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
        assert b"/Type3" not in content
        assert b"/CIDFontType2" in content
        assert content.count(b"/Subtype /Image") <= 2
        assert max(_rectangles(stream) for stream in streams) > 63
    assert b"Date" not in content
    assert dict(mpl.rcParams) == before


def _rectangles(stream):
    try:
        return zlib.decompress(stream).count(b" l\n")
    except zlib.error:
        return 0


def test_a_saved_figure_has_its_own_size(tmp_path):
    fig, _ = heatmap(random_result(3, 4), figsize=COLUMN)
    with plt.rc_context({"savefig.bbox": "tight"}):
        save_figure(fig, tmp_path / "a.pdf")
    (box,) = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", (tmp_path / "a.pdf").read_bytes())
    assert float(box[0]) == pytest.approx(72 * COLUMN)
    with pytest.raises(ValueError, match=r"path must end in one of .*\.pdf"):
        save_figure(fig, tmp_path / "a.doc")
    with pytest.raises(TypeError, match="fig must be a matplotlib Figure, got tuple"):
        save_figure((fig, 3), tmp_path / "a.pdf")


@pytest.mark.parametrize(
    "name",
    [
        "waterfall",
        *(pytest.param(n, marks=SLOW) for n in ("heatmap", "bipartite", "highlight", "difference", "convergence")),
    ],
)
def test_axes_that_are_too_small_are_refused_with_a_size_that_would_do(name):
    for kind in ("figsize", "ax"):
        size = (1.2, 0.9)
        for attempt in range(2):
            options = {"figsize": size}
            if kind == "ax":
                fig, ax = plt.subplots(figsize=size, layout="constrained")
                options = {"ax": ax}
            if attempt:
                fig, ax = EVERY[name](**options)
                assert inside(fig, ax, all_texts(fig))
                break
            n_figures = len(plt.get_fignums())
            with pytest.raises(ValueError, match=rf"{kind} is too small .* is 1\.2 × 0\.9 in; "):
                EVERY[name](**options)
            try:
                EVERY[name](**options)
            except ValueError as error:
                size = tuple(map(float, re.search(r"; ([\d.]+) × ([\d.]+) in would do", str(error)).groups()))
            assert len(plt.get_fignums()) == n_figures
            if kind == "ax":
                assert fig.axes == [ax]
                assert not ax.has_data()
                assert tuple(fig.get_size_inches()) == (1.2, 0.9)


def test_labels_outside_a_figure_without_layout_are_named():
    fig, ax = plt.subplots(figsize=(4, 4))
    with pytest.warns(UserWarning, match=r'labels reach outside the figure: create it with layout="constrained"'):
        heatmap(random_result(5, 5), ax=ax, title=False)
    fig, ax = plt.subplots(figsize=(6, 6))
    fig.subplots_adjust(left=0.3, right=0.8, top=0.7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        heatmap(random_result(5, 5), ax=ax, title=False)


@SLOW
@pytest.mark.parametrize("name", MATRICES)
def test_colour_bars_can_be_left_out_or_moved(name):
    results = len(np.atleast_1d(EVERY[name]()[1]))
    assert len(EVERY[name](colorbar=False)[0].axes) == results
    right, below = (EVERY[name](colorbar=place)[0].axes[-1] for place in ("right", "bottom"))
    for bar, upright in ((right, True), (below, False)):
        bar.figure.canvas.draw()
        box = bar.get_window_extent()
        assert (box.height > box.width) == upright
    with pytest.raises(ValueError, match="colorbar must be True, False, 'right' or 'bottom', got 'left'"):
        EVERY[name](colorbar="left")


@pytest.mark.parametrize("name", ["heatmap", "panels", "layers", "difference"])
def test_main_effects_can_be_left_out(name):
    _, axes = EVERY[name](main_effects=False)
    assert all(len(meshes(ax)) == 1 for ax in np.atleast_1d(axes))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"figsize": 0}, "figsize must be None, a width in inches, or"),
        ({"figsize": (3, 2, 1)}, "figsize must be None"),
        ({"figsize": "3"}, "figsize must be None"),
        ({"figsize": (3,)}, "figsize must be None"),
        ({"fontsize": 2}, "fontsize must be None or points from 4 to 40, got 2"),
        ({"fontsize": "small"}, "fontsize must be None or points"),
    ],
    ids=str,
)
@pytest.mark.parametrize("draw", EVERY.values(), ids=EVERY)
def test_sizes_out_of_range_are_refused(draw, options, message):
    before = plt.get_fignums()
    with pytest.raises(ValueError, match=re.escape(message)):
        draw(**options)
    assert plt.get_fignums() == before


def test_a_size_and_axes_together_are_refused():
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match="figsize is the size of a new figure"):
        heatmap(random_result(2, 2), ax=ax, figsize=3)


# Panels


def test_two_panels_of_a_page_share_one_scale_and_one_colour_bar():
    results = two_references()
    fig, axes = panels(results, figsize=PAGE, title=False, main_effects=False)
    assert fig.get_figwidth() == PAGE
    assert len(fig.axes) == 3
    largest = max(np.abs(result.matrix).max() for result in results)
    assert [meshes(ax)[0].get_clim() for ax in axes] == [(-largest, largest)] * 2
    assert [ax.get_title("left") for ax in axes] == ["reference [UNK]", "reference [MASK]"]
    assert axes[0].get_position().y0 == pytest.approx(axes[1].get_position().y0)
    shown = [[label.get_visible() and label.get_text() for label in ax.get_yticklabels()] for ax in axes]
    assert any(shown[0])
    assert not any(shown[1])


def test_panels_name_what_differs():
    def titles(*results):
        return [ax.get_title("left") for ax in panels(results, title=False)[1]]

    one = random_result(3, 4)
    assert titles(one, random_result(3, 4, layer=2)) == ["layer 4 of 6", "layer 2 of 6"]
    assert titles(one, random_result(3, 4, model="other")) == ["m", "other"]
    assert titles(one, random_result(3, 4, layer=5, reference="[UNK]")) == [
        "layer 4 of 6, reference [PAD]",
        "layer 5 of 6, reference [UNK]",
    ] or titles(one, random_result(3, 4, layer=5, reference="[UNK]")) == [
        "layer 4 of 6\nreference [PAD]",
        "layer 5 of 6\nreference [UNK]",
    ]
    assert titles(one, random_result(3, 4, n_steps=16)) == ["nodes 8", "nodes 16"]
    other = result_of(np.ones((2, 4)), ["not", "this"], main_b=np.ones(4))
    assert "“not this”" in titles(one, other)[1]


def test_panels_of_different_pairs_have_labels_of_their_own():
    one, two = random_result(3, 4), result_of(np.ones((2, 3)), ["of", "another"], main_b=np.ones(3))
    _, axes = panels([one, two])
    assert [label.get_text() for label in axes[1].get_yticklabels()][:2] == ["of", "another"]
    with pytest.raises(ValueError, match=r"results\[0\] and results\[1\] differ in text a: 3 units against 2"):
        layers([one, two])
    with pytest.raises(ValueError, match=r"results\[0\] is of dot and results\[1\] of cosine similarity"):
        panels([one, random_result(3, 4, similarity="cosine")])


def test_panels_take_titles_and_axes():
    results = two_references(3, 4)
    fig, given = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
    figure, axes = panels(results, panel_titles=["(a) one", "(b) two"], ax=list(given))
    assert figure is fig
    assert [ax.get_title("left") for ax in axes] == ["(a) one", "(b) two"]
    for options, error, message in (
        ({"panel_titles": ["one"]}, ValueError, "panel_titles must be one for each result, 2, got 1"),
        ({"panel_titles": "ab"}, TypeError, "panel_titles must be a list of strings"),
        ({"ax": [given[0]]}, ValueError, "ax must have one axes for each result, 2, got 1"),
        ({"ax": given[0]}, TypeError, "ax must be a list of matplotlib Axes, one for each result"),
        ({"ax": [given[0], plt.subplots()[1]]}, ValueError, "ax must be axes of one figure"),
        ({"limit": 1, "own_scales": True}, ValueError, "give either limit or own_scales=True"),
    ):
        with pytest.raises(error, match=re.escape(message)):
            panels(results, **options)


def test_a_limit_holds_for_all_panels():
    _, axes = panels(two_references(3, 4), limit=0.25)
    assert {meshes(ax)[0].get_clim() for ax in axes} == {(-0.25, 0.25)}
