"""The code of the how-to pages runs as it stands."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
NEEDS = {
    "faiss": "faiss",
    "haystack": "haystack",
    "lancedb": "lancedb",
    "langchain": "langchain_core",
    "llama_index": "llama_index.core",
    "qdrant": "qdrant_client",
    "semantic_search": "sentence_transformers",
}
PAGES = sorted((DOCS / "retrieval").glob("*.md"))


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def test_there_is_a_page_for_each_library():
    assert [page.stem for page in PAGES] == sorted(NEEDS)
    text = (DOCS / "guides/rankings.md").read_text(encoding="utf-8")
    assert all(f"(../retrieval/{page.name})" in text for page in PAGES)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs(page, capsys):
    pytest.importorskip(NEEDS[page.stem])
    (code,) = blocks(page)
    exec(compile(code, str(page), "exec"), {})
    assert "refrigerators" in capsys.readouterr().out


@pytest.mark.slow
def test_the_page_on_rankings_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in blocks(DOCS / "guides/rankings.md"):
        exec(compile(code, "rankings.md", "exec"), names)
    out = capsys.readouterr().out
    assert "5 of 16 documents" in out
    assert "added" in out
    assert (tmp_path / "ranking.html").exists()
