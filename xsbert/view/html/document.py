"""Whole pages and fragments, from the templates, styles and scripts in the folders beside this module.

The HTML is self-contained and needs no network. A page has a Content-Security-Policy, see
`xsbert.view.html.content_policy`. The folder ``page`` holds what all pages share, ``pair`` and ``ranking`` hold the
two views. Templates are filled in here. Styles and scripts are included unchanged.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np

from .content_policy import content_security_policy, inline_scripts

__all__ = ["document", "fill", "floats", "script_json", "style_of", "text_of", "view"]


def document(title: str, body: str, style: str) -> str:
    """Return a whole HTML page around a body, with a policy for its own scripts and styles.

    Args:
        title: The title, as plain text.
        body: The fragment of a pair or of a ranking. A page can hold several of one kind.
        style: The style that scripts of the body add, see `style_of`.
    """
    own = text_of("page/page.css")
    policy = content_security_policy(inline_scripts(body), [own, style])
    return fill("page/page.html", title=escape(title), body=body, style=own, policy=policy)


def view(content: dict[str, Any], plain: str, folder: str, scripts: Sequence[str]) -> str:
    """Return the fragment of one view: a plain version, and the script that replaces it.

    Args:
        content: What the script shows.
        plain: Escaped HTML for readers without JavaScript.
        folder: The folder of the view, with ``body.html`` and ``view.css``.
        scripts: Names of the script files, in order.
    """
    key = hashlib.sha256(script_json(content).encode()).hexdigest()[:16]
    parts = {"css": style_of(folder), "html": text_of(f"{folder}/body.html")}
    code = "\n".join(text_of(name).rstrip() for name in ("page/shared.js", *(f"{folder}/{name}" for name in scripts)))
    return fill("page/fragment.html", key=key, plain=plain, code=code, data=script_json(content | parts)).rstrip()


def style_of(folder: str) -> str:
    """Return the style of a view, as its script adds it."""
    return text_of(f"{folder}/view.css") + text_of("page/shared.css")


def fill(name: str, **content: str) -> str:
    """Return a template with its places filled in. The content must be escaped."""
    return Template(text_of(name)).substitute(content)


def script_json(value: Any) -> str:
    """Return JSON that is safe in a script element: ASCII, without anything that could end it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def floats(values: np.ndarray, name: str) -> str:
    """Return base64 of little-endian float32.

    Raises:
        ValueError: A value is not finite. The message has the name.
    """
    if not np.isfinite(values).all():
        raise ValueError(f"the {name} holds numbers that are not finite, which a page cannot show")
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode("ascii")


@cache
def text_of(name: str) -> str:
    """Return the text of a file beside this module, named by folder and name."""
    return files("xsbert.view.html").joinpath(*name.split("/")).read_text(encoding="utf-8")
