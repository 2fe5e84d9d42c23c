"""An interactive page of one result. The HTML is self-contained and needs no network.

The page has a Content-Security-Policy, see `xsbert.view.html.content_policy`.
Without JavaScript (an untrusted notebook, a preview) it shows a plain summary with a table.
Matrices and main effects are embedded as base64 of little-endian float32, with seven digits. Score and parts are shown
to four decimals, error and residuals to two digits.
"""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import Any

from ...text.display import shorten, vocabulary_tokens
from ...text.units import TEXT
from ..effects import top_pairs, unknown_units
from ..protocols import PairView, TextView, shown_parts
from ..summary import factor_error_lines, score_name, sentence, side_lines
from .document import document, fill, floats, style_of, view
from .legend import pair_legend

__all__ = ["fragment", "page"]

N_PAIRS = 10
# Characters that are shown of a text beyond the model's limit.
N_UNREAD = 200
SCRIPTS = ("state.js", "texts.js", "lines.js", "map.js", "selection.js", "start.js")


def page(result: PairView) -> str:
    """Return a whole HTML page that shows a result.

    Raises:
        ValueError: The result holds numbers that are not finite.
    """
    unshifted = "" if result.score_unshifted is None else f" ({result.score_unshifted:.4f} unshifted)"
    return document(f"{score_name(result)} {result.score:.4f}{unshifted}", fragment(result), style_of("pair"))


def fragment(result: PairView) -> str:
    """Return the body of the page, for a notebook's output.

    The output is deterministic. A page can hold any number of fragments.

    Raises:
        ValueError: The result holds numbers that are not finite.
    """
    levels = _levels(result)
    first = next(iter(levels.values()))
    told = sentence(first)
    content = {
        "sentence": told._asdict(),
        "summary": _summary(result),
        "how": _how(result),
        "notes": _notes(result),
        "caption": _caption(result),
        "legend": pair_legend(result),
        "unread": [_unread(side) for side in (result.a, result.b)],
        "levels": [_level(name, level, result) for name, level in levels.items()],
    }
    return view(content, _plain(result, first, told), "pair", SCRIPTS)


def _unread(side: TextView) -> str:
    """Return the beginning of what the model did not read of a text, empty if it read all."""
    if not side.n_cut or side.spans is None:
        return ""
    return shorten(side.text[max(end for _, end in side.spans) :], N_UNREAD)


def _levels(result: Any) -> dict[str, Any]:
    """Return the result in words, if the tokenizer has word ids, and in its own units."""
    try:
        return {"Words": result.words(), "Tokens": result}
    except ValueError:
        return {"Units": result}


def _level(name: str, level: Any, result: Any) -> dict[str, Any]:
    """Return the data for one choice of units. The tokens of ``result`` show which units are unknown."""
    return {
        "name": name,
        "shape": list(level.matrix.shape),
        "matrix": floats(level.matrix, "matrix"),
        "main": [floats(level.main_effects_a, "result"), floats(level.main_effects_b, "result")],
        "sides": [
            {
                "labels": vocabulary_tokens(side),
                "roles": list(side.roles),
                "joined": _joined(side),
                "unknown": _unknown(tokens, side),
            }
            for side, tokens in ((level.a, result.a), (level.b, result.b))
        ],
    }


def _joined(side: TextView) -> list[int]:
    """Return 1 for units that follow the previous unit without white space, such as parts of a word."""
    if side.spans is None:
        return [0] * len(side.tokens)
    joined = [0]
    for (_, end), (after, stop), *roles in zip(side.spans, side.spans[1:], side.roles, side.roles[1:], strict=False):
        surface = side.text[end:stop] if after <= end else side.text[min(end, after) : stop]
        joined.append(int(roles == [TEXT, TEXT] and surface != "" and not surface[0].isspace()))
    return joined


def _unknown(tokens: TextView, side: TextView) -> list[int]:
    """Return the places of units with a token that the model saw as unknown."""
    unknown = unknown_units(tokens)
    groups = [[at] for at in range(len(unknown))] if side is tokens else tokens.groups("words")
    return [place for place, group in enumerate(groups) if any(unknown[at] for at in group)]


def _summary(result: PairView) -> list[list[str]]:
    """Return rows of name, number and preceding sign: the score, its parts, and the error.

    Parts that are exactly zero are omitted: main effects and baseline of a shifted model.
    """
    parts = shown_parts(result)
    signs = ["=", *["+"] * len(parts)]
    summed = [[name, _signed(value), sign] for (name, value), sign in zip(parts.items(), signs, strict=False)]
    score = [f"{result.similarity} similarity", _signed(result.score).removeprefix("+"), ""]
    return [score, *summed, ["error", f"{result.error:.1e}", ""]]


def _how(result: PairView) -> list[str]:
    how = result.settings
    return [
        how.model,
        f"layer {how.layer} of {how.n_layers}",
        how.described_nodes,
        f"reference {how.described_reference}",
        result.kind,
        how.precision,
        f"residuals a {result.residual_a:.1e}, b {result.residual_b:.1e}",
        *factor_error_lines(result),
    ]


def _notes(result: PairView) -> list[str]:
    sides = {"a": result.a, "b": result.b}
    unshifted = (
        []
        if result.score_unshifted is None
        else [
            "This is the score of the shifted model. The model's own, without the shift that was added to it, is "
            f"{_signed(result.score_unshifted).removeprefix('+')}."
        ]
    )
    return (
        [f"The similarity is that {line}." for line in side_lines(result)]
        + unshifted
        + [
            f"Text {name}: {side.n_cut} tokens were cut off by the model's limit."
            for name, side in sides.items()
            if side.n_cut
        ]
    )


def _caption(result: PairView) -> str:
    return "" if result.settings.shift else "the cells sum to the interactions, not to the score"


def _plain(result: PairView, shown: PairView, told: Any) -> str:
    """Return the view without scripts."""
    pairs = top_pairs(shown, N_PAIRS, special=False)
    labels_a, labels_b = _numbered(shown.a), _numbered(shown.b)
    notes = [" · ".join(_how(result)), *_notes(result)]
    return fill(
        "pair/plain.html",
        sentence=escape(str(told)),
        text_a=escape(result.a.text),
        text_b=escape(result.b.text),
        parts="\n".join(f"<tr><th>{escape(name)}</th><td>{number}</td></tr>" for name, number, _ in _summary(result)),
        caption=f"; {_caption(result)}" if _caption(result) else "",
        pairs="\n".join(
            f'<tr><td dir="auto">{escape(labels_a[s])}</td><td dir="auto">{escape(labels_b[t])}</td>'
            f"<td>{_signed(value)}</td></tr>"
            for s, t, value in pairs
        ),
        notes="\n".join(f"<p>{escape(line)}</p>" for line in notes),
    ).rstrip()


def _numbered(side: TextView) -> list[str]:
    """Return the labels of the units. Labels that a text has more than once are numbered, as “the (2 of 3)”."""
    labels = vocabulary_tokens(side)
    total, seen = Counter(map(str.casefold, labels)), Counter[str]()
    numbered = []
    for label in labels:
        seen[label.casefold()] += 1
        n, of = seen[label.casefold()], total[label.casefold()]
        numbered.append(label if of == 1 else f"{label} ({n} of {of})")
    return numbered


def _signed(value: float) -> str:
    text = f"{value:+.4f}" if abs(value) >= 1e-3 or value == 0 else f"{value:+.2e}"
    return text.replace("-", "−", 1) if value < 0 else text
