"""An interactive page of one result: one HTML text with all that it needs, no network.

Without JavaScript (an untrusted notebook, a preview) a plain summary with a table remains in its place.
Matrices are embedded as base64 of little-endian float32, seven digits of each number; score
and parts are shown to four decimals, error and residuals to two digits.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from .tokens import TEXT

if TYPE_CHECKING:
    from ..attribution import Attribution, TextFactors

__all__ = ["fragment", "page"]

N_PAIRS = 10

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ max-width: 1100px; margin: 24px auto; padding: 0 16px; font: 14px/1.45 system-ui, sans-serif; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""

# A notebook may run the script before it attaches the output, hence the waiting; and it may show one output twice.
SCRIPT = """<script>
(function () {{
  const view = {view};
  const data = {data};
  let waits = 0;
  (function start() {{
    const hosts = document.querySelectorAll('[data-xsbert="{key}"]');
    hosts.forEach((host) => host.shadowRoot || view(host, structuredClone(data)));
    if (!hosts.length && waits++ < 100) setTimeout(start, 50);
  }})();
}})();
</script>"""


def page(result: Attribution) -> str:
    """A whole HTML page that shows a result.

    Raises:
        ValueError: the result holds numbers that are not finite.
    """
    unshifted = "" if result.score_unshifted is None else f" ({result.score_unshifted:.4f} unshifted)"
    title = escape(f"{result.similarity} similarity {result.score:.4f}{unshifted}")
    return PAGE.format(title=title, body=fragment(result))


def fragment(result: Attribution) -> str:
    """The same without the page around it, for a notebook's output.

    The same result always gives the same text, and any number of fragments can stand in one page.

    Raises:
        ValueError: the result holds numbers that are not finite.
    """
    levels = _levels(result)
    content = {
        "summary": _summary(result),
        "how": _how(result),
        "notes": _notes(result),
        "caption": _caption(result),
        "levels": [_level(name, level) for name, level in levels.items()],
    }
    key = hashlib.sha256(_json(content).encode()).hexdigest()[:16]
    data = _json(content | {"css": _file("view.css"), "html": _file("view.html")})
    script = SCRIPT.format(view=_file("view.js").rstrip(), data=data, key=key)
    return f'<div class="xsbert" data-xsbert="{key}">\n{_plain(result)}\n</div>\n{script}'


def _levels(result: Attribution) -> dict[str, Attribution]:
    """The result in its own units and, where its tokenizer knows words, in words."""
    try:
        return {"Tokens": result, "Words": result.words()}
    except ValueError:
        return {"Units": result}


def _level(name: str, result: Attribution) -> dict[str, Any]:
    if not np.isfinite(result.matrix).all():
        raise ValueError("the matrix holds numbers that are not finite, which a page cannot show")
    return {
        "name": name,
        "shape": list(result.matrix.shape),
        "matrix": base64.b64encode(np.ascontiguousarray(result.matrix, dtype="<f4").tobytes()).decode("ascii"),
        "sides": [
            {"labels": list(side.tokens), "roles": list(side.roles), "joined": _joined(side)}
            for side in (result.a, result.b)
        ],
    }


def _joined(side: TextFactors) -> list[int]:
    """1 for units that follow the one before without white space, as the parts of a word do."""
    if side.spans is None:
        return [0] * len(side.tokens)
    joined = [0]
    for (_, end), (after, stop), *roles in zip(side.spans, side.spans[1:], side.roles, side.roles[1:], strict=False):
        surface = side.text[end:stop] if after <= end else side.text[min(end, after) : stop]
        joined.append(int(roles == [TEXT, TEXT] and surface != "" and not surface[0].isspace()))
    return joined


def _summary(result: Attribution) -> list[list[str]]:
    """Name, number and the sign before it: the score, the parts that it is the sum of, and the error."""
    signs = ["=", "+", "+", "+"]
    parts = [[name, _signed(value), sign] for (name, value), sign in zip(result.parts.items(), signs, strict=True)]
    score = [f"{result.similarity} similarity", _signed(result.score).removeprefix("+"), ""]
    return [score, *parts, ["error", f"{result.error:.1e}", ""]]


def _how(result: Attribution) -> list[str]:
    how = result.settings
    return [
        how.model,
        f"layer {how.layer} of {how.n_layers}",
        how.described_nodes,
        f"reference {how.described_reference}",
        result.kind,
        how.precision,
        f"residuals a {result.residual_a:.1e}, b {result.residual_b:.1e}",
    ]


def _notes(result: Attribution) -> list[str]:
    sides = {"a": result.a, "b": result.b}
    unshifted = (
        []
        if result.score_unshifted is None
        else [
            f"This is the score of the shifted model. The model's own, without the shift that was added to it, is "
            f"{_signed(result.score_unshifted).removeprefix('+')}."
        ]
    )
    return unshifted + [
        f"Text {name}: {side.n_cut} tokens were cut off by the model's limit."
        for name, side in sides.items()
        if side.n_cut
    ]


def _caption(result: Attribution) -> str:
    return "" if result.settings.shift else "the cells sum to the interactions, not to the score"


def _plain(result: Attribution) -> str:
    """What remains where scripts do not run."""
    rows = [
        f'<tr><td dir="auto">{escape(result.a.tokens[s])}</td><td dir="auto">{escape(result.b.tokens[t])}</td>'
        f"<td>{_signed(value)}</td></tr>"
        for s, t, value in _strongest(result)
    ]
    return "\n".join(
        [
            f'<p>a: <bdi dir="auto">{escape(result.a.text)}</bdi></p>',
            f'<p>b: <bdi dir="auto">{escape(result.b.text)}</bdi></p>',
            "<table><caption>Score and its parts</caption><tbody>",
            *(f"<tr><th>{escape(name)}</th><td>{number}</td></tr>" for name, number, _ in _summary(result)),
            "</tbody></table>",
            f"<table><caption>Strongest pairs{'; ' if _caption(result) else ''}{_caption(result)}</caption>",
            "<thead><tr><th>a</th><th>b</th><th>value</th></tr></thead><tbody>",
            *rows,
            "</tbody></table>",
            *(f"<p>{escape(line)}</p>" for line in [" · ".join(_how(result)), *_notes(result)]),
        ]
    )


def _strongest(result: Attribution) -> list[tuple[int, int, float]]:
    pairs = result.top_pairs(result.matrix.size)
    return [(s, t, value) for s, t, value in pairs if result.a.roles[s] == result.b.roles[t] == TEXT][:N_PAIRS]


def _signed(value: float) -> str:
    text = f"{value:+.4f}" if abs(value) >= 1e-3 or value == 0 else f"{value:+.2e}"
    return text.replace("-", "\u2212", 1) if value < 0 else text


def _json(value: Any) -> str:
    """JSON that can stand in a script: ASCII, and nothing in it can end the script."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


@cache
def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
