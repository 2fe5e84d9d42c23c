"""The code of the pages on retrievers, rankings and contrasts runs as it stands."""

import re
from pathlib import Path

import pytest

from xsbert.ranking import retrievers

GUIDES = Path(__file__).parents[2] / "docs/guides"
NEEDS = {
    "Chroma": "chromadb",
    "FAISS": "faiss",
    "Haystack": "haystack",
    "LanceDB": "lancedb",
    "LangChain": "langchain_core",
    "LlamaIndex": "llama_index.core",
    "Milvus": "milvus_lite",
    "Qdrant": "qdrant_client",
    "sentence-transformers": "sentence_transformers",
}
# Their code needs a server and is not run here; tests/ranking/test_stores.py has their answers.
SERVERS = ["Elasticsearch", "OpenSearch", "Vespa", "Weaviate", "pgvector"]


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
    assert sorted(found) == sorted([*NEEDS, *SERVERS])
    assert "(retrievers.md)" in (GUIDES / "rankings.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("library", sorted(NEEDS))
def test_a_tab_runs(library, capsys):
    pytest.importorskip(NEEDS[library])
    shared, found = tabs()
    (code,) = blocks(found[library])
    exec(compile(shared + code, library, "exec"), {})
    assert "refrigerators" in capsys.readouterr().out


@pytest.mark.parametrize("server", SERVERS)
def test_a_tab_names_a_reader_and_a_metric(server):
    shared, found = tabs()
    (code,) = blocks(found[server])
    compile(shared + code, server, "exec")
    (name, metric) = re.findall(r"retrievers\.(\w+)\(.*metric=\"(.*?)\"", code)[0]
    empty = {"root": {}} if server == "Vespa" else []
    assert getattr(retrievers, name)(empty, text="text", metric=metric) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "printed", "written"),
    [("rankings", "5 of 16 documents", ["ranking.html"]), ("contrasts", "added", [])],
)
def test_a_page_runs(page, printed, written, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in blocks((GUIDES / f"{page}.md").read_text(encoding="utf-8")):
        exec(compile(code, f"{page}.md", "exec"), names)
    assert printed in capsys.readouterr().out
    assert all((tmp_path / name).exists() for name in written)
