"""Pages as a browser gets them, with a script of the test's own that their policy allows."""

from xsbert.view.html.content_policy import content_security_policy, stated_policy


def with_script(page, script):
    """The page with one more script at its end, which its policy, if it has one, lets run as well."""
    element = f"<script>{script}</script></body>"
    if "Content-Security-Policy" not in page:
        return page.replace("</body>", element)
    stated = stated_policy(page)
    own = content_security_policy([script], []).split("script-src ")[1].split(";")[0]
    allowing = stated.replace("script-src ", f"script-src {own} ")
    assert allowing != stated
    return page.replace(stated, allowing).replace("</body>", element)
