"""What both pages have for readers on paper, on phones and in the dark: in a headless browser, where there is one."""

import re
import zlib
from dataclasses import replace

import numpy as np
import pytest

from tests import browser
from tests.view import test_pair_browser, test_ranking_page
from tests.view.results import long_result, planted_result, random_result
from tests.view.test_pair_page import embedded
from tests.view.test_ranking_page import ranking_of
from xsbert.view.html import legend
from xsbert.view.ranking_terminal import SCREEN, summarize

LONG = " ".join(f"word{n}" for n in range(150))


def cut(result):
    """The same result, of a text that goes on after what the model read."""
    return replace(result, b=replace(result.b, text=result.b.text + " and then <b>more</b>", n_cut=4))


@pytest.mark.parametrize("width", [400, 1000])
def test_lines_pass_between_words(width, tmp_path):
    """No point of a line is on the letters of a word, nor on the note of what was not read."""
    script = """
    const letters = [...root.querySelectorAll('.unit .label, .stop:not([hidden])')].map((label) => {
      const range = document.createRange();
      range.selectNodeContents(label);
      return range.getBoundingClientRect();
    });
    const box = $('.lines').getBoundingClientRect();
    const paths = [...root.querySelectorAll('.lines path')];
    out.lines = paths.length;
    out.rows = new Set([...b.children].map((unit) => unit.getBoundingClientRect().top)).size;
    out.crossed = 0;
    for (const path of paths) for (let at = 0; at <= path.getTotalLength(); at += 2) {
      const point = path.getPointAtLength(at);
      const [x, y] = [point.x + box.left, point.y + box.top];
      if (letters.some((r) => r.left + 1 < x && x < r.right - 1 && r.top + 1 < y && y < r.bottom - 1)) out.crossed++;
    }
    """
    result = cut(long_result(60))
    result = replace(result, a=result.b, b=result.a)
    out = test_pair_browser.drive(result.to_html(), script, tmp_path, width=width)
    assert out["lines"] > 0
    assert out["rows"] > 3
    assert out["crossed"] == 0


def test_the_same_pairs_of_words_are_told_apart(tmp_path):
    script = "out.pairs = [...root.querySelectorAll('.pairs tbody tr')].map((line) => line.textContent);"
    result = random_result(["the", "The", "one"], ["the"])
    out = test_pair_browser.drive(result.to_html(), script, tmp_path)
    named = {re.sub(r"[+−].*", "", line) for line in out["pairs"]}
    assert named == {"the 1 of 2the", "The 2 of 2the", "onethe"}
    plain = re.sub(r"<script>.*?</script>", "", result.to_html(), flags=re.DOTALL)
    assert "the (1 of 2)" in plain
    assert "one (" not in plain


def test_where_the_model_stopped_reading(tmp_path):
    script = "out.stops = [...root.querySelectorAll('.stop')].map((node) => node.hidden ? '' : node.textContent);"
    out = test_pair_browser.drive(cut(planted_result()).to_html(), script, tmp_path)
    assert out["stops"] == ["", "The model stopped reading here. Not read: and then <b>more</b>"]
    # What a tokenizer drops at the end of a text that was read is no mark.
    result = planted_result()
    (data,) = embedded(replace(result, b=replace(result.b, text=result.b.text + " \ufffd")).to_html())
    assert data["unread"] == ["", ""]
    ranking = ranking_of(["one two", "three"])
    hit = replace(ranking[0], text=ranking[0].text + " unread", n_cut=1)
    script = "out.texts = all('.hit .text').map((node) => node.textContent); out.unread = $('.unread').textContent;"
    out = test_ranking_page.drive(replace(ranking, hits=(hit, ranking[1])).to_html(), script, tmp_path)
    assert out["texts"] == [f"{ranking[0].text} the model stopped reading here  unread", ranking[1].text]
    assert out["unread"] == " unread"


def test_all_parts_are_defined(tmp_path):
    script = """
    out.names = [...root.querySelectorAll('.sum dt')].map((node) => [node.textContent, Boolean(node.title)]);
    out.terms = [...root.querySelectorAll('.legend dt')].map((node) => node.textContent);
    out.links = root.querySelectorAll('a').length;
    """
    result = random_result(["one"], ["un"])
    out = test_pair_browser.drive(result.to_html(), script, tmp_path)
    assert [name for name, has in out["names"] if has] == [*result.parts, "error"]
    assert out["terms"] == [*result.parts, "error", "colours"]
    assert out["links"] == 0
    (shifted,) = embedded(long_result(3, shift=True).to_html())
    assert [name for name, *_ in shifted["legend"]] == ["interactions", "error", "colours"]


def test_definitions_link_to_the_glossary_once_it_has_an_address(monkeypatch, tmp_path):
    monkeypatch.setattr(legend, "DOCUMENTATION", "https://example.org/xsbert/")
    script = "out.links = [...root.querySelectorAll('.legend a')].map((node) => node.href);"
    out = test_pair_browser.drive(random_result(["one"], ["un"]).to_html(), script, tmp_path)
    terms = ["interaction", "main-effect", "main-effect", "baseline", "error"]
    assert out["links"] == [f"https://example.org/xsbert/glossary.html#{term}" for term in terms]
    glossary = (test_pair_browser.__file__).replace("tests/view/test_pair_browser.py", "docs/glossary.md")
    with open(glossary, encoding="utf-8") as file:
        anchors = {line[3:].strip().lower().replace(" ", "-") for line in file if line.startswith("## ")}
    assert {*terms, "reference", "contribution"} <= anchors


def test_the_query_is_the_heading_of_a_ranking(tmp_path):
    out = test_ranking_page.drive(
        ranking_of(["one"], "<who> asks?").to_html(), "out.heading = $('h2').textContent;", tmp_path
    )
    assert out == {"heading": "<who> asks?"}


PRINTED = """
const shown = (selector) => [...root.querySelectorAll(selector)].filter((node) => node.checkVisibility()).length;
const before = [shown('.legend dl'), getComputedStyle($('.view')).color];
dispatchEvent(new Event('beforeprint'));
out.before = before;
out.printed = [shown('.legend dl'), getComputedStyle($('.view')).color];
out.adjust = getComputedStyle($('.unit')).printColorAdjust;
out.controls = shown('.controls, .help, .fold, .choose, .readout');
out.texts = [...root.querySelectorAll('.text')].map((node) => node.textContent);
out.width = $('.view').getBoundingClientRect().width;
dispatchEvent(new Event('afterprint'));
out.after = [shown('.legend dl'), getComputedStyle($('.view')).color];
out.folded = [...root.querySelectorAll('.text')].map((node) => node.textContent);
"""


@pytest.mark.parametrize("dark", [False, True])
def test_print_opens_what_is_folded_and_has_dark_ink(dark, tmp_path):
    ranking = ranking_of([LONG, "short"])
    pages = [(test_pair_browser.drive, random_result(["one"], ["un"])), (test_ranking_page.drive, ranking)]
    for drive, result in pages:
        out = drive(result.to_html(), PRINTED, tmp_path, dark=dark)
        assert out["printed"] == [1, "rgb(0, 0, 0)"]
        assert out["before"] == out["after"] == [0, "rgb(255, 255, 255)" if dark else "rgb(0, 0, 0)"]
        assert out["controls"] == 0
        # Browsers leave out backgrounds on paper unless a page asks for them.
        assert out["adjust"] == "exact"
        assert out["width"] == 680
    assert LONG in out["texts"]
    assert LONG not in out["folded"]


def test_a_printed_page_keeps_its_colours(tmp_path):
    """As Chromium writes it to a PDF, from a dark screen: red and blue fill its shapes."""
    page = tmp_path / "page.html"
    random_result(["one", "two"], ["un", "deux"]).to_html(page)
    pdf = tmp_path / "page.pdf"
    browser.run(page.as_uri(), tmp_path, f"--print-to-pdf={pdf}", "--no-pdf-header-footer", dark=True)
    drawn = b""
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf.read_bytes(), flags=re.DOTALL):
        try:
            drawn += zlib.decompress(stream)
        except zlib.error:
            drawn += b""
    fills = {tuple(map(float, match)) for match in re.findall(rb"([\d.]+) ([\d.]+) ([\d.]+) rg", drawn)}
    assert any(red > 0.8 and green < 0.3 and blue < 0.3 for red, green, blue in fills)
    assert any(blue > 0.8 and red < 0.3 for red, green, blue in fills)


def test_weak_cells_of_a_narrow_dark_page_differ_from_empty_ones(tmp_path):
    script = """
    const canvas = $('canvas'), pen = canvas.getContext('2d'), ratio = window.devicePixelRatio || 1;
    out.colours = [1, 2].map((t) => {
      $('.scroll').blur(); $('.scroll').focus();
      for (const name of ['ArrowDown', 'ArrowDown', ...Array(t).fill('ArrowRight')]) key(name);
      const spot = $('.spot').getBoundingClientRect(), box = canvas.getBoundingClientRect();
      const at = [(spot.left - box.left + 5) * ratio, (spot.top - box.top + 5) * ratio];
      const [red, green, blue, alpha] = pen.getImageData(at[0], at[1], 1, 1).data;
      return alpha;
    });
    """
    result = long_result(40)
    factors_a, factors_b = np.zeros((42, 8)), np.zeros((42, 8))
    factors_a[1, 0], factors_b[1, 0], factors_b[3, 0] = 1.0, 0.05, 1.0
    result = replace(result, a=replace(result.a, factors=factors_a), b=replace(result.b, factors=factors_b))
    out = test_pair_browser.drive(result.to_html(), script, tmp_path, width=400, dark=True)
    weak, empty = out["colours"]
    assert weak > empty + 0.15 * 255


@pytest.mark.parametrize("page", [planted_result(), ranking_of(["one two", "three"])], ids=["pair", "ranking"])
def test_hints_are_there_on_narrow_screens(page, tmp_path):
    drive = test_ranking_page.drive if hasattr(page, "hits") else test_pair_browser.drive
    script = "out.hints = [...root.querySelectorAll('.help')].filter((node) => node.checkVisibility()).length;"
    assert drive(page.to_html(), script, tmp_path, width=400) == {"hints": 1}


def test_a_weak_hit_is_marked_more_weakly_than_a_good_one(model, tmp_path):
    """On the real model, where a short weak document has words that add as much as those of the best one."""
    documents = ["A cat sleeps on the warm stove.", "He cooks pasta.", "Prices rose by three percent."]
    ranking = model.explain_ranking("Which animal sleeps on the stove?", documents, show_progress_bar=False)
    out = test_ranking_page.drive(
        ranking.to_html(), "out.most = [0, 1, 2].map((hit) => Math.max(...alphas(hit)));", tmp_path
    )
    shares = [0.68 * abs(score) / ranking.scores[0] for score in ranking.scores]
    np.testing.assert_allclose(out["most"], shares, atol=1e-3)


@pytest.mark.parametrize("n", [1, 3, 10, 60])
def test_a_printed_ranking_fits_a_screen(n):
    ranking = ranking_of([LONG] * n)
    for width in (80, 100, 160):
        lines = summarize(ranking, width)
        assert len(lines) < SCREEN
        assert max(map(len, lines)) <= width
    assert ("… and 51 further hits" in lines[-1]) == (n > 10)


def test_a_printed_ranking_shows_the_stretch_that_adds_most():
    ranking = ranking_of([LONG])
    words = [f"word{n}" for n in range(150)]
    values = ranking[0].contributions.copy()
    values[:] = 0
    values[6], values[101] = 0.2, 1.0
    assert words[100] not in " ".join(summarize(ranking[:0]))
    hit = ranking[0]
    side = replace(hit.passages[0].side, factors=np.outer(values, ranking.query_factors.embedding))
    hit = replace(hit, passages=(replace(hit.passages[0], side=side),))
    text = "\n".join(summarize(replace(ranking, hits=(hit,))))
    assert "«word100»" in text
    assert "word5 " not in text
