"""Results with planted numbers, and what of them is drawn."""

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import QuadMesh

from xsbert.attribution.attribution import Attribution
from xsbert.factors.text_factors import Settings, TextFactors
from xsbert.utils import bipartite, convergence, difference, heatmap, highlight, layers, waterfall

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


def meshes(ax):
    """The matrix, and the column and the row of main effects."""
    return [drawn for drawn in ax.collections if isinstance(drawn, QuadMesh)]


def tick_labels(axis):
    return {label.get_text(): place for place, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)}


def inside(fig, ax, artists):
    fig.canvas.draw()
    return all(
        box.x0 >= -1 and box.y0 >= -1 and box.x1 <= fig.bbox.x1 + 1 and box.y1 <= fig.bbox.y1 + 1
        for box in (artist.get_window_extent() for artist in artists if artist.get_text())
    )


def all_texts(fig):
    """The texts that are drawn. Ticks beyond the limits of an axis, and texts of axes that are off, are not."""
    fig.canvas.draw()
    left_out = set()
    for ax in fig.findobj(plt.Axes):
        for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            beyond = [tick for tick in ticks if not ax.axison or not min(limits) <= tick.get_loc() <= max(limits)]
            left_out |= {label for tick in beyond for label in (tick.label1, tick.label2)}
            left_out |= set() if ax.axison else {axis.label}
    return [
        text
        for text in fig.findobj(plt.Text)
        if text.get_visible() and text.get_text().strip() and text not in left_out
    ]


def read(label):
    return float(label.replace("−", "-"))


ONE_RESULT = {"heatmap": heatmap, "bipartite": bipartite, "highlight": highlight, "waterfall": waterfall}
EVERY = {
    **ONE_RESULT,
    "difference": lambda result: difference(result, result),
    "layers": lambda result: layers([result, result]),
    "convergence": lambda result: convergence({"midpoint": [(1, 0.1), (2, 0.01)]}, slope=-2),
}


def shaded(ax):
    """Each word that is drawn, with its place, right end and colour, top to bottom."""
    words = [text for text in ax.texts if not text.get_text().startswith("text ")]
    return [
        (text.get_text().strip("\u200f"), patch.get_x(), patch.get_x() + patch.get_width(), patch.get_facecolor())
        for text, patch in zip(words, ax.patches, strict=True)
    ]


def special_result():
    """Rows and columns of special tokens around those of words, with main effects."""
    words = ["[CLS]", "one", "two", "[SEP]"]
    roles = ["special", "text", "text", "special"]
    random = np.random.default_rng(0)
    a, b = (text_of(words, random.normal(size=(4, 3)), random.normal(size=3), roles) for _ in "ab")
    return Attribution(a, b, "dot", random_result(2, 2).settings)
