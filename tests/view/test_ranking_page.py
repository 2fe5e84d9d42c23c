"""The page of a ranking: what it holds, and, in a headless browser where there is one, what it does."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from tests import browser
from tests.ranking.test_highlights import text_factors
from xsbert.ranking.hit import Hit, Passage
from xsbert.ranking.query import Query
from xsbert.ranking.ranking import Ranking
from xsbert.view.html.content_policy import content_security_policy, stated_policy
from xsbert.view.ranking_terminal import summarize

HOSTILE = [
    "<script>window.alerted=1</script>",
    "</style>",
    "<img/onerror=window.alerted=1>",
    "<!--",
    "&amp;",
    "\"'",
    "\u2028",
]


def ranking_of(texts, asked_text="the query", width=8):
    """Random factors, complete, of whole words; pairs are there."""
    asked = text_factors(asked_text, 0, width=width)
    query, hits = Query(asked), []
    for index, text in enumerate(texts):
        side = text_factors(text, index + 1, width=width)
        score = float(asked.embedding @ side.embedding)
        score /= np.linalg.norm(asked.embedding) * np.linalg.norm(side.embedding)
        hits.append(Hit(index, score, text, (Passage(0, len(text), 1.0, side),), query, "cosine"))
    hits.sort(key=lambda hit: -hit.score)
    return Ranking(query, tuple(hits), "cosine", "pairs", len(texts))


def embedded(html):
    (found,) = re.findall(r"^  const data = (.*);$", html, flags=re.MULTILINE)
    return json.loads(found)


PRELUDE = """
const root = document.querySelector('.xsbert').shadowRoot;
const $ = (selector) => root.querySelector(selector);
const all = (selector) => [...root.querySelectorAll(selector)];
const plain = (node) => node.textContent.replaceAll('\\u2212', '-');
const key = (name) => root.activeElement.dispatchEvent(
  new KeyboardEvent('keydown', {key: name, bubbles: true, composed: true, cancelable: true}));
const alphas = (hit) => [...all('.hit')[hit].querySelectorAll('.unit')].map(
  (unit) => Number(unit.style.getPropertyValue('--alpha')));
"""


def drive(html, script, tmp_path, **how):
    return browser.drive(html, PRELUDE + script, tmp_path, **how)


def test_page_and_fragment(tmp_path):
    ranking = ranking_of(["one two", "three"])
    page = ranking.to_html(tmp_path / "page.html")
    assert page.startswith("<!doctype html>")
    assert ranking._repr_html_() in page
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page
    assert page == ranking_of(["one two", "three"]).to_html()
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(|src=|<link", page)
    # The policy allows the page's own script and styles, by their hashes, and nothing else.
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", page.partition("<body>")[0], flags=re.DOTALL)
    assert stated_policy(page) == content_security_policy([script], [style, embedded(page)["css"]])
    assert "Content-Security-Policy" not in ranking._repr_html_()


def test_a_page_is_written_whole_or_not_at_all(tmp_path):
    """As results are: through a link into the file that it names, and never half of it."""
    target, link = tmp_path / "page.html", tmp_path / "link.html"
    target.write_text("before", encoding="utf-8")
    link.symlink_to(target)
    page = ranking_of(["one two", "three"]).to_html(link)
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8") == page
    assert {*tmp_path.iterdir()} == {target, link}
    with pytest.raises(UnicodeEncodeError):
        ranking_of(["one \ud800 two", "three"]).to_html(target)
    assert target.read_text(encoding="utf-8") == page


def test_fifty_hits_of_500_words_are_below_a_megabyte():
    rng = np.random.default_rng(0)
    letters = list("abcdefghijklmnopqrstuvwxyz")
    texts = [" ".join("".join(rng.choice(letters, 6)) for _ in range(500)) for _ in range(50)]
    page = ranking_of(texts, "how many words of a query are there").to_html()
    assert len(page.encode()) < 1_000_000
    assert len(embedded(page)["hits"]) == 50


def test_hostile_text_stays_text():
    page = ranking_of([" ".join(HOSTILE)], "</script><img>").to_html()
    plain = ranking_of(["a b c d e f g"], "a").to_html()
    for tag in ("<script", "</script", "</style", "<!--", "<img"):
        assert page.count(tag) == plain.count(tag), tag
    assert embedded(page)["hits"][0]["text"] == " ".join(HOSTILE)


def test_numbers_that_are_not_finite():
    ranking = ranking_of(["one two"])
    bad = replace(ranking, hits=(replace(ranking[0], score=float("nan")),))
    with pytest.raises(ValueError, match="not finite, which a page cannot show"):
        bad.to_html()


def test_readable_without_scripts():
    ranking = ranking_of(["one two three", "four five"])
    plain = re.sub(r"<script>.*?</script>", "", ranking._repr_html_(), flags=re.DOTALL)
    assert "the query" in plain
    assert plain.count("<li>") == 2
    assert f"{ranking[0].score:+.4f}" in plain


def test_browser_hits_and_words(tmp_path):
    ranking = ranking_of(["one two three", "four five", "six"])
    script = """
    out.texts = all('.hit .text').map((node) => node.textContent);
    out.scores = all('.hit .score').map(plain);
    out.alphas = [0, 1, 2].map(alphas);
    out.words = all('.word:not([hidden]) .label').map((node) => node.textContent);
    all('.word:not([hidden])')[1].click();
    out.shares = all('.hit .share').map(plain);
    out.pairs = [0, 1, 2].map(alphas);
    out.pressed = all('.word[aria-pressed="true"]').length;
    all('.word:not([hidden])')[1].click();
    out.again = [0, 1, 2].map(alphas);
    """
    out = drive(ranking.to_html(), script, tmp_path)
    assert out["texts"] == [hit.text for hit in ranking]
    assert [float(score) for score in out["scores"]] == pytest.approx(ranking.scores, abs=1e-4)
    # The strongest word of each hit is as strong as its score beside the largest.
    values = [hit.contributions[1:-1] for hit in ranking]
    most = max(map(abs, ranking.scores))
    for found, each, score in zip(out["alphas"], values, ranking.scores, strict=True):
        np.testing.assert_allclose(found, 0.68 * np.abs(each) / np.abs(each).max() * abs(score) / most, atol=1e-3)
    assert out["words"] == ["the", "query"]
    for share, hit in zip(out["shares"], ranking, strict=True):
        assert float(share.removeprefix("query ")) == pytest.approx(hit.query.values[2], abs=1e-3)
    pairs = [hit.attribution.matrix[2, 1:-1] for hit in ranking]
    asked = [abs(hit.query.values[2]) for hit in ranking]
    for found, each, own in zip(out["pairs"], pairs, asked, strict=True):
        np.testing.assert_allclose(found, 0.68 * np.abs(each) / np.abs(each).max() * own / max(asked), atol=0.02)
    assert out["pressed"] == 1
    assert out["again"] == out["alphas"]


def test_browser_contrast_of_two_hits(tmp_path):
    ranking = ranking_of(["one two three", "four five", "six"])
    script = """
    const boxes = all('.choose input');
    boxes[2].click(); out.one = $('.contrast').hidden;
    boxes[0].click();
    out.title = plain($('.contrast h2'));
    out.rows = all('.contrast tbody tr').map((row) => [...row.children].slice(0, 4).map(plain));
    out.note = plain($('.contrast .note'));
    boxes[1].click(); out.third = boxes.map((box) => box.checked);
    boxes[1].focus(); key('Escape'); out.cleared = [$('.contrast').hidden, ...boxes.map((box) => box.checked)];
    """
    out = drive(ranking.to_html(), script, tmp_path)
    contrast = ranking.contrast(0, 2)
    assert out["one"] is True
    assert out["title"].endswith(f"= {contrast.margin:+.4f}")
    assert out["title"].startswith("Hit 1 less hit 3")
    found = {row[0]: float(row[3]) for row in out["rows"]}
    expected = dict(zip(contrast.words, contrast.by_word, strict=True))
    assert found["query"] == pytest.approx(expected["query"], abs=1e-3)
    assert found["(other tokens)"] == pytest.approx(expected["[CLS]"] + expected["[SEP]"], abs=1e-3)
    assert found["(reference)"] == pytest.approx(contrast.baseline, abs=1e-3)
    assert abs(float(out["note"].removeprefix("error "))) < 1e-5
    assert out["third"] == [True, True, False]
    assert out["cleared"] == [True, False, False, False]


def test_browser_numbers_of_the_query_have_two_digits_as_those_of_a_pair(tmp_path):
    ranking = ranking_of(["one two three", "four five"])
    out = drive(ranking.to_html(), "out.chips = all('.word .value').map(plain);", tmp_path)
    means = np.mean([hit.query.values for hit in ranking], axis=0)
    assert 0.1 <= np.abs(means[1:-1]).max() < 1
    assert out["chips"] == [f"{value:+.2f}" for value in means]


def test_browser_long_documents_are_folded(tmp_path):
    text = " ".join(f"word{n}" for n in range(300))
    ranking = ranking_of([text, "short one"])
    script = """
    const place = all('.hit').findIndex((hit) => hit.querySelector('.fold'));
    const hit = all('.hit')[place], fold = hit.querySelector('.fold');
    const units = () => hit.querySelectorAll('.unit').length;
    out.folds = all('.fold').length;
    out.folded = units(); out.text = hit.querySelector('.text').textContent;
    fold.focus(); fold.click();
    out.open = units(); out.whole = hit.querySelector('.text').textContent;
    out.state = fold.getAttribute('aria-expanded');
    fold.click(); out.again = units();
    """
    out = drive(ranking.to_html(), script, tmp_path)
    assert out["folds"] == 1
    assert out["folded"] == 72
    (values,) = (hit.contributions[1:-1] for hit in ranking if len(hit.contributions) > 10)
    best = int(np.argmax(np.convolve(values, np.ones(24), "valid")))
    assert " ".join(f"word{n}" for n in range(best, best + 24)) in out["text"]
    assert "…" in out["text"]
    assert (out["open"], out["whole"], out["state"]) == (300, text, "true")
    assert out["again"] == out["folded"]


def test_browser_keyboard_reading_direction_and_dark(tmp_path):
    ranking = ranking_of(["un deux"], "القهوة سيئة جدا")
    script = """
    const words = all('.word:not([hidden])');
    out.tabbable = words.filter((word) => word.tabIndex === 0).length;
    words[0].focus(); key('ArrowLeft'); out.left = words.indexOf(root.activeElement);
    key('End'); out.end = words.indexOf(root.activeElement);
    key('Home'); out.home = words.indexOf(root.activeElement);
    out.direction = getComputedStyle($('.words')).direction;
    document.documentElement.style.colorScheme = 'dark';
    out.background = getComputedStyle($('header')).backgroundColor;
    out.ink = getComputedStyle($('header')).color;
    """
    out = drive(ranking.to_html(), script, tmp_path)
    assert out["tabbable"] == 1
    assert [out["left"], out["end"], out["home"]] == [1, 2, 0]
    assert out["direction"] == "rtl"
    background, ink = (sum(map(float, re.findall(r"\d+", out[name])[:3])) for name in ("background", "ink"))
    assert background < 150 < ink


def test_browser_shows_hostile_text_as_itself(tmp_path):
    script = """
    out.text = $('.hit .text').textContent;
    out.elements = root.querySelectorAll('script, img').length; out.alerted = Boolean(window.alerted);
    """
    out = drive(ranking_of([" ".join(HOSTILE)], "a").to_html(), script, tmp_path)
    assert out == {"text": " ".join(HOSTILE), "elements": 0, "alerted": False}


def test_a_hit_without_explanation_is_shown_with_its_reason(tmp_path):
    ranking = ranking_of(["one two", "three"])
    ranking = replace(ranking, hits=(replace(ranking[0], passages=(), reason="<it> failed"), ranking[1]))
    out = drive(ranking.to_html(), "out.hit = $('.hit').textContent; out.boxes = all('.choose').length;", tmp_path)
    assert "Not explained: <it> failed" in out["hit"]
    assert out["boxes"] == 1


def test_terminal():
    ranking = ranking_of(["one two three", "four \x1b[31m five", "six seven eight nine"])
    lines = summarize(ranking, 60)
    assert "\x1b" not in "".join(lines)
    assert max(map(len, lines[2:])) <= 75
    assert summarize(ranking, most=1)[-1] == "  … and 2 further hits"
    text = "\n".join(summarize(ranking))
    for hit in ranking:
        assert f"{hit.score:+.4f}" in text
    assert str(ranking) == text
    marked = "\n".join(summarize(ranking, colours=True))
    assert re.sub(r"\x1b\[[\d;]*m", "", marked) == text.replace("«", "").replace("»", "")
    best = max(ranking[0].highlights(), key=lambda each: each.weight)
    assert re.search(rf"\x1b\[1;31m[^\x1b]*{re.escape(best.text)}", marked)


def test_a_long_document_that_scores_is_marked_beside_a_short_one_and_what_hardly_scores_is_not(model):
    long = (
        "The committee met in the small hall on the second floor, as every month, and went through the minutes of the "
        "last meeting before it turned to the old clock of the station, which a mechanic from the next town had "
        "repaired in spring. Then everybody had tea, and the treasurer told of his journey to the south."
    )
    documents = ["Who repairs old clocks?", long, "Bread is baked in the morning."]
    ranking = model.explain_ranking("Who repairs old clocks?", documents, show_progress_bar=False)
    texts = re.split(r"^ *\d+  [+-]\d.*$", "\n".join(summarize(ranking)), flags=re.MULTILINE)[1:]
    assert ranking.order == [0, 1, 2]
    assert [bool(re.search("«[^»]*clock", text)) for text in texts] == [True, True, False]
    assert "«" not in texts[2]
