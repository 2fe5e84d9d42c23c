"""Summary, page and plot of one text along a direction."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..text.display import display_tokens, shorten
from ..text.units import holds_text
from .html.pair_page import document
from .picture_options import Frame, check_flag
from .protocols import TextView
from .summary import read_score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["DirectionView", "fragment", "page", "plot_direction", "summarize_direction"]

# Shades of each sign on the page. A page's policy allows no style of a single element, so that each shade is a class.
N_SHADES, LONGEST_TEXT, N_LISTED = 10, 100, 6
POSITIVE, NEGATIVE = "214 60 60", "46 116 214"


class DirectionView(Protocol):
    """One text of U units along a direction, such as `DirectionAttribution`. ``values`` is (U,)."""

    @property
    def side(self) -> TextView: ...
    @property
    def name(self) -> str: ...
    @property
    def similarity(self) -> str: ...
    @property
    def score(self) -> Any: ...
    @property
    def values(self) -> Any: ...
    @property
    def parts(self) -> Any: ...
    @property
    def error(self) -> float: ...
    @property
    def residual(self) -> float: ...
    @property
    def settings(self) -> Any: ...


def summarize_direction(result: DirectionView) -> str:
    """Return a summary with text, settings, parts of the score, errors and the largest contributions."""
    labels = display_tokens(result.side)
    order = np.argsort(-np.abs(result.values), kind="stable")
    kept = [at for at in order if holds_text(result.side.roles[at])][:N_LISTED]
    width = max([*(len(name) for name in result.parts), *(len(labels[at]) for at in kept), 12])
    rows = [*result.parts.items(), ("sum", sum(result.parts.values()))]
    return "\n".join(
        [
            f"{_title(result)} {result.score:.4f}",
            f"  {shorten(result.side.text, LONGEST_TEXT)}{_cut(result)}",
            f"  {_how(result)}",
            "",
            "  parts of the score",
            *(f"    {name:<{width}}{value:>+10.4f}" for name, value in rows),
            f"    {'error':<{width}}{result.error:>10.1e}",
            f"    {'residual':<{width}}{result.residual:>10.1e}",
            "",
            "  largest contributions",
            *(f"    {labels[at]:<{width}}{result.values[at]:>+10.4f}" for at in kept),
        ]
    )


def page(result: DirectionView) -> str:
    """Return a whole HTML page. It needs no script and no network.

    Raises:
        ValueError: A number is not finite.
    """
    return document(escape(f"{_title(result)} {result.score:.4f}"), fragment(result), _style())


def fragment(result: DirectionView) -> str:
    """Return the body of the page with its style, for a notebook's output."""
    return f"<style>{_style()}</style>\n{_body(result)}"


def plot_direction(result: DirectionView, special_tokens: bool, frame: Frame) -> tuple[Figure, Axes]:
    """Draw the text with shaded words; see `DirectionAttribution.plot`."""
    check_flag(special_tokens, "special_tokens")
    from .plot import draw_texts

    described = [f"{_title(result)} {read_score(result.score, 4)}", *_chunks(result)]
    texts = [(result.name, result.side, result.values)]
    return draw_texts(texts, described, "contribution of the word", special_tokens, frame)


def _chunks(result: DirectionView) -> list[str]:
    return [f"{name} {read_score(value, 3)}" for name, value in result.parts.items()]


def _title(result: DirectionView) -> str:
    return f"{result.similarity} along “{shorten(result.name, 40)}”"


def _how(result: DirectionView) -> str:
    how = result.settings
    return (
        f"{how.model}, {how.described_layer}, {how.described_nodes}{how.described_tolerance}, reference "
        f"{how.described_reference}{', shifted' if how.shift else ''}, {how.precision}"
    )


def _cut(result: DirectionView) -> str:
    return f"  [{result.side.n_cut} tokens cut off by the model's limit]" if result.side.n_cut else ""


def _style() -> str:
    shades = [
        f".xs-direction .{sign}{step} {{ background: rgb({colour} / {0.06 * step:.2f}); }}"
        for sign, colour in (("p", POSITIVE), ("n", NEGATIVE))
        for step in range(1, N_SHADES + 1)
    ]
    plain = [
        ".xs-direction .text { font-size: 18px; line-height: 1.8; overflow-wrap: anywhere; }",
        ".xs-direction .text span { border-radius: 3px; padding: 1px 2px; }",
        ".xs-direction .other { opacity: .65; font-size: 14px; }",
        ".xs-direction .how { opacity: .72; font-size: 12px; overflow-wrap: anywhere; }",
        ".xs-direction table { border-collapse: collapse; margin-top: 12px; }",
        ".xs-direction caption { text-align: start; font-weight: 600; }",
        ".xs-direction td { padding: 1px 12px 1px 4px; font-variant-numeric: tabular-nums; }",
        ".xs-direction td + td { text-align: end; }",
    ]
    return "\n".join([*plain, *shades])


def _body(result: DirectionView) -> str:
    values = np.asarray(result.values)
    if not (np.isfinite(values).all() and np.isfinite(result.score)):
        raise ValueError("the contributions hold numbers that are not finite, which a page cannot show")
    labels = display_tokens(result.side)
    limit = float(np.abs(values).max()) or 1.0
    shades = [_shade(value / limit) for value in values]
    words = _shaded(result, labels, shades)
    order = np.argsort(-np.abs(values), kind="stable")
    rows = [(labels[at], float(values[at]), shades[at]) for at in order]
    return "\n".join(
        [
            '<div class="xs-direction">',
            f"<p>{escape(_title(result))} <b>{read_score(result.score, 4)}</b></p>",
            f'<p class="text"><bdi dir="auto">{words}</bdi></p>',
            f'<p class="how">{escape(_how(result))}{escape(_cut(result))}</p>',
            _table("Parts of the score", [(name, value, "") for name, value in result.parts.items()]),
            f'<p class="how">error {result.error:.1e}, residual {result.residual:.1e}</p>',
            _table("Contributions", rows),
            "</div>",
        ]
    )


def _shaded(result: DirectionView, labels: list[str], shades: list[str]) -> str:
    """Return the text with each unit in its shade, or the labels one after another if units have no characters."""
    side = result.side
    if side.spans is None:
        return " ".join(_span(label, shade) for label, shade in zip(labels, shades, strict=True))
    pieces, end = [], 0
    for label, shade, role, (start, stop) in zip(labels, shades, side.roles, side.spans, strict=True):
        if start == stop:
            pieces.append(_span(label, f"{shade} other"))
            continue
        pieces.append(escape(side.text[end : max(start, end)]))
        pieces.append(_span(side.text[max(start, end) : stop], shade if holds_text(role) else f"{shade} other"))
        end = max(stop, end)
    return "".join([*pieces, escape(side.text[end:])])


def _span(text: str, shade: str) -> str:
    return f'<span class="{shade}">{escape(text)}</span>'


def _shade(value: float) -> str:
    step = round(abs(value) * N_SHADES)
    return f"{'p' if value > 0 else 'n'}{step}" if step else ""


def _table(caption: str, rows: list[tuple[str, float, str]]) -> str:
    lines = [
        f'<tr><td><bdi>{escape(name)}</bdi></td><td class="{shade}">{read_score(float(value), 4)}</td></tr>'
        for name, value, shade in rows
    ]
    return f"<table><caption>{escape(caption)}</caption><tbody>\n{chr(10).join(lines)}\n</tbody></table>"
