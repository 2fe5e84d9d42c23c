"""The app's page in a headless browser, where there is one, on real weights."""

import html
import json
import re
from importlib.resources import files
from urllib.parse import urlencode

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from fastapi import Response

from tests import browser
from tests.app.serving import DOCUMENTS, LONG, PAIR, RANKING, models_of, running
from xsbert.app import create_app
from xsbert.app.server import PAGE

PRELUDE = """
const out = {};
const $ = (selector) => document.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];
const plain = (text) => text.replaceAll('\\u2212', '-');
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const until = async (holds, tries = 400) => {
  for (let n = 0; n < tries; n++) { if (holds()) return; await sleep(50); }
  throw new Error('waited in vain for ' + holds + '; the page says ' + $('#status').textContent);
};
const over = () => /^Explained|wrong/.test($('#status').textContent + $('#status').className);
const ended = () => until(() => $('#stop').disabled && over());
const shadow = (at = 0) => all('iframe')[at].contentDocument.querySelector('.xsbert').shadowRoot;
const loaded = (at = 0) => until(() => all('iframe')[at] && all('iframe')[at].contentDocument
  && all('iframe')[at].contentDocument.querySelector('.xsbert') && shadow(at));
const key = (name, more) => document.dispatchEvent(new KeyboardEvent('keydown', {key: name, bubbles: true, ...more}));
"""


@pytest.fixture(scope="module")
def served(model):
    """The app, with one more page: its own, and a script of the test."""
    app = create_app(models_of(model))
    script = {}

    @app.get("/driven")
    def driven() -> Response:
        page = files("xsbert.app").joinpath("page/index.html").read_text(encoding="utf-8")
        page = page.replace("</body>", '<script src="driven.js" defer></script></body>')
        return Response(page, media_type="text/html", headers={"Content-Security-Policy": PAGE})

    @app.get("/driven.js")
    def code() -> Response:
        return Response(script["code"], media_type="text/javascript")

    with running(app) as address:
        yield address, script


@pytest.fixture
def drive(served, tmp_path):
    address, script = served

    def driven(code, state=None, width=1000, dark=False):
        script["code"] = f"""(async () => {{
        {PRELUDE}
        try {{
          await until(() => document.body.dataset.ready);
          {code}
        }} catch (error) {{ out.error = String(error.stack); }}
        const found = document.createElement('pre');
        found.id = 'found';
        found.textContent = JSON.stringify(out);
        document.body.append(found);
        }})();"""
        target = f"{address}/driven" + (f"#{urlencode(state)}" if state else "")
        dump = browser.run(
            target, tmp_path, "--dump-dom", "--virtual-time-budget=60000", width=width, dark=dark
        ).decode()
        found = re.search(r'<pre id="found">(.*?)</pre>', dump, flags=re.DOTALL)
        assert found, dump[-3000:]
        out = json.loads(html.unescape(found[1]))
        assert "error" not in out, out["error"]
        return out

    return driven


def test_two_texts_are_typed_explained_and_edited(drive, model):
    out = drive(
        f"""
        $('[name=a]').value = {PAIR["a"]!r};
        $('[name=b]').value = {PAIR["b"]!r};
        key('Enter', {{ctrlKey: true}});
        await ended(); await loaded();
        out.sentence = shadow().querySelector('.sentence').textContent;
        out.units = shadow().querySelectorAll('.unit').length;
        out.moved = $('#comparison').hidden;
        out.hash = location.hash;
        $('[name=b]').value = 'This is not a good tea.';
        $('button.main').click();
        await ended(); await until(() => !$('#comparison').hidden);
        out.heading = plain($('#comparison h2').textContent);
        out.gone = all('#comparison .removed').map((node) => node.textContent);
        out.new = all('#comparison ins').map((node) => node.textContent);
        out.second = location.hash;
        history.back();
        await until(() => $('[name=b]').value === {PAIR["b"]!r}); await ended();
        out.back = location.hash;
        out.title = document.title;
        """
    )
    one, other = (model.attribute_prediction(PAIR["a"], text) for text in ("This is not a good tea.", PAIR["b"]))
    assert out["sentence"].startswith(f"{other.score:.2f}: ")
    assert out["units"] == len(other.words().tokens_a) + len(other.words().tokens_b)
    assert out["moved"] is True
    assert out["heading"].startswith(f"What moved: {other.score:.4f} → {one.score:.4f}, {one.score - other.score:+.4f}")
    assert out["gone"] == ["coffee"]
    assert out["new"] == ["tea"]
    assert out["hash"] == out["back"] != out["second"]
    assert out["title"].startswith(PAIR["a"])


def test_a_view_is_reopened_by_its_address(drive, model):
    state = {
        "kind": "ranking",
        "query": RANKING["query"],
        "documents": RANKING["documents"],
        "layer": "5",
        "top_k": "2",
    }
    out = drive(
        """
        await ended(); await loaded();
        out.form = ['query', 'documents', 'layer', 'top_k'].map((name) => $(`[name=${name}]`).value);
        out.kind = $('[name=kind]:checked').value;
        out.shown = [$('[data-kind=pair]').hidden, $('[data-kind=ranking]').hidden];
        out.heading = shadow().querySelector('h2').textContent;
        out.texts = [...shadow().querySelectorAll('.hit .text')].map((node) => node.textContent);
        out.how = $('.result h2').textContent;
        """,
        state,
    )
    expected = model.explain_ranking(RANKING["query"], DOCUMENTS, top_k=2)
    assert out["form"] == [RANKING["query"], RANKING["documents"], "5", "2"]
    assert out["kind"] == "ranking"
    assert out["shown"] == [True, False]
    assert out["heading"] == RANKING["query"]
    assert out["texts"] == [hit.text for hit in expected]
    assert "layer 5 of 6" in out["how"]


def test_two_references_side_by_side_and_what_is_exported(drive):
    state = {"a": PAIR["a"], "b": PAIR["b"], "beside": "1", "reference": "unk", "reference2": "mask"}
    out = drive(
        """
        await ended(); await loaded(0); await loaded(1); await until(() => !$('#comparison').hidden);
        out.names = all('.result h2').map((node) => node.textContent);
        out.heads = all('#comparison thead th').map((node) => node.textContent);
        out.columns = getComputedStyle($('#results')).gridTemplateColumns.split(' ').length;
        out.kinds = all('.result select')[0].options.length;
        const links = [...all('.result')[0].querySelectorAll('a')];
        out.links = links.map((link) => link.textContent);
        out.types = await Promise.all(links.map(async (link) => (await fetch(link.href)).headers.get('content-type')));
        """,
        state,
    )
    assert [name.rpartition("reference ")[2] for name in out["names"]] == ["[UNK]", "[MASK]"]
    assert out["heads"][:2] == ["reference [UNK]", "reference [MASK]"]
    assert out["columns"] == 2
    assert out["kinds"] == 4
    assert out["links"] == ["Open", "Save page", "PNG", "PDF", "JSON"]
    kinds = ["text/html; charset=utf-8"] * 2 + ["image/png", "application/pdf", "application/json"]
    assert out["types"] == kinds


def test_a_request_is_stopped_by_esc_and_the_next_one_is_answered(drive):
    out = drive(
        f"""
        $('[name=a]').value = {LONG[:400]!r};
        $('[name=b]').value = {LONG[:300]!r};
        $('[name=layer]').value = '0';
        $('button.main').click();
        await until(() => /token factors/.test($('#status').textContent));
        out.running = [$('#stop').disabled, $('#bar').hidden];
        key('Escape');
        await until(() => $('#stop').disabled);
        out.stopped = $('#status').textContent;
        out.results = all('iframe').length;
        $('[name=a]').value = 'short'; $('[name=layer]').value = '6';
        $('button.main').click();
        await ended(); await loaded();
        out.then = $('#status').textContent;
        """
    )
    assert out["running"] == [False, False]
    assert out["stopped"] == "Stopped."
    assert out["results"] == 0
    assert out["then"].startswith("Explained in ")


@pytest.mark.slow
def test_too_much_is_refused_kindly(drive):
    out = drive(
        """
        $('[name=a]').value = 'x '.repeat(500000); $('[name=b]').value = 'y';
        $('button.main').click();
        out.paste = $('#status').textContent;
        $('[name=kind][value=ranking]').click();
        $('[name=query]').value = 'q'; $('[name=documents]').value = 'short\\n'.repeat(10000);
        $('button.main').click();
        await ended();
        out.documents = $('#status').textContent; out.wrong = $('#status').className;
        $('[name=documents]').value = 'one';
        $('[name=model]').value = 'broken';
        $('button.main').click();
        await until(() => /broken/.test($('#status').textContent));
        await until(() => $('#stop').disabled);
        out.model = $('#status').textContent;
        $('[name=query]').value = '';
        $('button.main').click();
        await until(() => /query/.test($('#status').textContent));
        out.empty = $('#status').textContent;
        """
    )
    assert out["paste"].startswith("This is 1000 kB, more than the app takes at once, 500 kB.")
    assert out["documents"].startswith("10,000 documents are more than the app takes, 1,000")
    assert out["wrong"] == "wrong"
    assert out["model"] == "the model 'broken' cannot be loaded: no such folder"
    assert out["empty"] == "the query is empty: type some text"


def test_a_file_is_dropped(drive):
    out = drive(
        """
        const transfer = new DataTransfer();
        transfer.items.add(new File(['id,text\\n7,"a, b"\\n8,c\\n'], 'd.csv'));
        $('main').dispatchEvent(new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer: transfer}));
        await until(() => /documents of/.test($('#status').textContent));
        out.status = $('#status').textContent; out.documents = $('[name=documents]').value;
        out.kind = $('[name=kind]:checked').value;
        const other = new DataTransfer();
        other.items.add(new File(['title\\nx\\n'], 'e.csv'));
        $('main').dispatchEvent(new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer: other}));
        await until(() => /column/.test($('#status').textContent));
        out.refused = $('#status').textContent;
        """
    )
    assert out["status"] == "2 documents of d.csv"
    assert out["documents"].splitlines() == ['{"id": "7", "text": "a, b"}', '{"id": "8", "text": "c"}']
    assert out["kind"] == "ranking"
    assert "no column text" in out["refused"]


def test_texts_stay_texts(drive):
    hostile = "<img src=x onerror=window.alerted=1> </script>"
    out = drive(
        """
        await ended(); await loaded();
        out.alerted = Boolean(window.alerted || all('iframe')[0].contentWindow.alerted);
        out.images = all('img').length + shadow().querySelectorAll('img, script').length;
        out.title = document.title;
        """,
        {"a": hostile, "b": hostile, "layer": "6"},
    )
    assert out == {"alerted": False, "images": 0, "title": f"{hostile[:40]} – xsbert"}


@pytest.mark.parametrize("dark", [False, True])
def test_a_narrow_screen_and_the_dark(drive, dark):
    out = drive(
        """
        document.querySelector('details').open = true;
        await ended(); await loaded(); await sleep(200);
        out.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
        out.stacked = $('[name=a]').getBoundingClientRect().bottom <= $('[name=b]').getBoundingClientRect().top;
        const light = (node) => getComputedStyle(node).backgroundColor.match(/[\\d.]+/g).slice(0, 3).map(Number)
          .reduce((sum, one) => sum + one, 0) > 380;
        out.light = light(document.body);
        out.unlabelled = all('input, select, textarea, button').filter((node) =>
          !(node.labels && node.labels.length) && !node.getAttribute('aria-label') && !node.textContent).length;
        const frame = all('iframe')[0];
        out.scrolls = frame.contentDocument.body.scrollHeight > frame.clientHeight;
        """,
        {"a": PAIR["a"], "b": PAIR["b"], "layer": "6"},
        width=500,
        dark=dark,
    )
    assert out == {"wide": 0, "stacked": True, "light": not dark, "unlabelled": 0, "scrolls": False}
