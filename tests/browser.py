"""Pages as a browser gets them, with a script of the test's own that their policy allows."""

import json
import re
import shutil
import subprocess

import pytest

from xsbert.view.html.content_policy import content_security_policy, stated_policy

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--virtual-time-budget=3000",
]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def drive(html, script, tmp_path, width=1000, dark=False):
    """Run a script in a page in headless Chromium, return its ``out``. It can be asynchronous."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    wrapped = f"""window.addEventListener('load', async () => {{
    const out = {{}};
    try {{ {script} }} catch (error) {{ out.error = String(error.stack); }}
    const found = document.createElement('pre');
    found.id = 'found';
    found.textContent = JSON.stringify(out);
    document.body.append(found);
    }});"""
    path = tmp_path / "driven.html"
    path.write_text(with_script(html, wrapped), encoding="utf-8")
    dump = run(path.as_uri(), tmp_path, "--dump-dom", width=width, dark=dark).decode()
    found = re.search(r'<pre id="found">(.*?)</pre>', dump, flags=re.DOTALL)
    assert found, dump[-2000:]
    out = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert "error" not in out, out["error"]
    return out


def run(address, tmp_path, *arguments, width=1000, dark=False):
    """Open an address in headless Chromium, return its standard output."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    # Chromium's own name for the dark scheme is 0.
    scheme = [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    command = [CHROMIUM, *FLAGS, *scheme, f"--window-size={width},900", *arguments]
    command += [f"--user-data-dir={tmp_path / 'profile'}", address]
    return subprocess.run(command, capture_output=True, timeout=120, check=True).stdout


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
