"""The Content-Security-Policy of a page: its own scripts and styles run, nothing else does, and nothing is requested.

A fragment that a notebook embeds has none. A policy holds for a whole document, and that is the notebook's.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable

__all__ = ["content_security_policy", "inline_scripts", "stated_policy"]

SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
META = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')


def content_security_policy(scripts: Iterable[str], styles: Iterable[str]) -> str:
    """A policy that allows these inline scripts and styles, by their hashes.

    Args:
        scripts: the text of each script element, exactly.
        styles: the text of each style element, also of those that a script adds.
    """
    sources = {"script-src": scripts, "style-src": styles}
    allowed = [f"{name} {' '.join(map(_hash, texts))}" for name, texts in sources.items()]
    return "; ".join(["default-src 'none'", *allowed, "base-uri 'none'", "form-action 'none'"])


def inline_scripts(body: str) -> list[str]:
    """The text of each script element of a page's body, in which all other text is escaped."""
    return SCRIPT.findall(body)


def stated_policy(page: str) -> str:
    """The policy that a page states of itself, for the header of an HTTP response.

    Raises:
        ValueError: it states none.
    """
    found = META.search(page)
    if found is None:
        raise ValueError("the page states no Content-Security-Policy: pass what to_html() returned")
    return found[1]


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"
