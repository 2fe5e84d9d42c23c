"""The Content-Security-Policy of a page. It allows only the page's own scripts and styles, and no requests.

Fragments in a notebook have no policy, because a policy applies to the whole document, here the notebook.
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
    """Return a policy that allows these inline scripts and styles by their hashes.

    Args:
        scripts: The exact text of each script element.
        styles: The text of each style element, including those that a script adds.
    """
    sources = {"script-src": scripts, "style-src": styles}
    allowed = [f"{name} {' '.join(map(_hash, texts))}" for name, texts in sources.items()]
    return "; ".join(["default-src 'none'", *allowed, "base-uri 'none'", "form-action 'none'"])


def inline_scripts(body: str) -> list[str]:
    """Return the text of each script element of a page's body. All other text must be escaped."""
    return SCRIPT.findall(body)


def stated_policy(page: str) -> str:
    """Return the policy in a page, for the header of an HTTP response.

    Raises:
        ValueError: The page has none.
    """
    found = META.search(page)
    if found is None:
        raise ValueError("the page states no Content-Security-Policy: pass what to_html() returned")
    return found[1]


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"
