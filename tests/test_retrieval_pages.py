"""The code of the pages on retrievers and rankings runs as it stands."""

import re
from pathlib import Path

import pytest

GUIDES = Path(__file__).parent.parent / "docs/guides"
NEEDS = {
    "FAISS": "faiss",
    "Haystack": "haystack",
    "LanceDB": "lancedb",
    "LangChain": "langchain_core",
    "LlamaIndex": "llama_index.core",
    "Qdrant": "qdrant_client",
    "sentence-transformers": "sentence_transformers",
}


def blocks(text):
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def tabs():
    """The code that all tabs share, and the text of each."""
    text = (GUIDES / "retrievers.md").read_text(encoding="utf-8")
    found = re.findall(r"^:::\{tab-item\} (.*?)\n(.*?)^:::$", text, flags=re.DOTALL | re.MULTILINE)
    (shared,) = blocks(text.partition("{tab-set}")[0])
    return shared, dict(found)


def test_there_is_a_tab_for_each_library():
    _, found = tabs()
    assert sorted(found) == sorted(NEEDS)
    assert "(retrievers.md)" in (GUIDES / "rankings.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("library", sorted(NEEDS))
def test_a_tab_runs(library, capsys):
    pytest.importorskip(NEEDS[library])
    shared, found = tabs()
    (code,) = blocks(found[library])
    exec(compile(shared + code, library, "exec"), {})
    assert "refrigerators" in capsys.readouterr().out


@pytest.mark.slow
def test_the_page_on_rankings_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in blocks((GUIDES / "rankings.md").read_text(encoding="utf-8")):
        exec(compile(code, "rankings.md", "exec"), names)
    out = capsys.readouterr().out
    assert "5 of 16 documents" in out
    assert "added" in out
    assert (tmp_path / "ranking.html").exists()
