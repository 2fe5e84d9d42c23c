"""The search box of `demos`: many requests at once, JSON out, and what it does with bad ones."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from xsbert.ranking.retrievers import sample

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastapi.testclient import TestClient

from demos.search_box import create_app
from xsbert.view.html.content_policy import stated_policy


@pytest.fixture(scope="module")
def client(model):
    with TestClient(create_app(model, sample().documents)) as client:
        yield client


@pytest.mark.slow
def test_sixteen_requests_from_eight_threads(client):
    queries = sample().queries[:8] * 2
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda query: client.get("/search", params={"q": query, "k": 1}), queries))
    assert len(responses) == 16
    for query, response in zip(queries, responses, strict=True):
        assert response.status_code == 200
        content = response.json()
        assert content["query"] == query
        assert len(content["hits"]) == 1
        for hit in content["hits"]:
            marked = re.findall(r"<mark>(.*?)</mark>", hit["html"])
            assert marked
            assert hit["highlights"][0][2] >= hit["highlights"][-1][2]
    # Each query twice, from whatever threads, has the same answer.
    for first, second in zip(responses[:8], responses[8:], strict=True):
        one, other = first.json()["hits"], second.json()["hits"]
        assert [hit["index"] for hit in one] == [hit["index"] for hit in other]
        assert [hit["score"] for hit in one] == pytest.approx([hit["score"] for hit in other], abs=1e-6)
        for a, b in zip(one, other, strict=True):
            assert [h[2] for h in a["highlights"]] == pytest.approx([h[2] for h in b["highlights"]], abs=1e-6)


def test_the_sample_is_answered(client):
    ids = sample().ids
    first = [
        client.get("/search", params={"q": query, "k": 1}).json()["hits"][0]["index"] for query in sample().queries[:3]
    ]
    assert [(ids[index],) for index in first] == list(sample().relevant[:3])


def test_the_page(client):
    response = client.get("/page", params={"q": "frozen pipes", "k": 1})
    assert response.headers["content-type"].startswith("text/html")
    assert "frozen" in response.text
    policy = response.headers["content-security-policy"]
    assert policy == f"{stated_policy(response.text)}; frame-ancestors 'none'"
    assert "'sha256-" in policy


@pytest.mark.parametrize("path", ["/search?q=frozen&k=1", "/search", "/nowhere", "/openapi.json"])
def test_other_answers_allow_nothing(client, path):
    headers = client.get(path).headers
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-type"] == "application/json"
    # These would load scripts from elsewhere.
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404


@pytest.mark.parametrize("params", [{}, {"q": " "}, {"q": "a", "k": 0}, {"q": "a", "k": 99}, {"q": "a" * 501}])
def test_bad_requests(client, params):
    assert client.get("/search", params=params).status_code == 422
