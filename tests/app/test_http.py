"""The app over HTTP, on real weights."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from jsonschema import validate

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

import xsbert
from tests.app.serving import DOCUMENTS, LONG, PAIR, RANKING, client_of
from xsbert._utils.progress import Progress
from xsbert.app import tasks
from xsbert.app.documents import as_lines, read_documents
from xsbert.app.tasks import read_task
from xsbert.app.worker import Job
from xsbert.ranking.retrievers import Retrieved


@pytest.fixture(scope="module")
def client(model):
    with client_of(model) as client:
        yield client


@pytest.fixture
def pair(client):
    return client.explain(PAIR)


@pytest.fixture
def ranking(client):
    return client.explain(RANKING)


def json_of(client, name):
    return client.http.get(f"/jobs/{name}/json").json()


def test_a_pair_is_that_of_the_library(client, pair, model):
    expected = model.attribute_prediction(PAIR["a"], PAIR["b"])
    content = json_of(client, pair)
    validate(content, xsbert.json_schema("pair"))
    np.testing.assert_allclose(content["matrix"], expected.matrix, atol=1e-5)
    page = client.http.get(f"/jobs/{pair}/page")
    assert page.text.startswith("<!doctype html>")
    assert f"<p>{expected.score:.2f}: " in page.text


def test_a_ranking_is_that_of_the_library(client, ranking, model):
    expected = model.explain_ranking(RANKING["query"], DOCUMENTS)
    content = json_of(client, ranking)
    validate(content, xsbert.json_schema("ranking"))
    assert [hit["index"] for hit in content["hits"]] == expected.order
    for hit, own in zip(content["hits"], expected, strict=True):
        np.testing.assert_allclose(hit["document"]["values"], own.contributions, atol=1e-5)


@pytest.mark.parametrize(
    ("more", "how"),
    [
        ({"layer": 5, "reference": "mask"}, {"layer": 5, "reference": "mask"}),
        ({"similarity": "dot"}, {"similarity": "dot"}),
    ],
)
def test_what_is_chosen_is_used(client, model, more, how):
    expected = model.attribute_prediction(PAIR["a"], PAIR["b"], **how)
    content = json_of(client, client.explain({**PAIR, **more}))
    assert content["settings"]["layer"] == expected.settings.layer
    assert content["settings"]["reference"] == expected.settings.reference
    np.testing.assert_allclose(content["matrix"], expected.matrix, atol=1e-5)


def test_units_pairs_and_top_k(client):
    sentences = json_of(client, client.explain({**PAIR, "a": "It rains. It is cold.", "units": "sentences"}))
    assert [role for role in sentences["roles_a"] if role == "text"] == ["text", "text"]
    content = json_of(client, client.explain({**RANKING, "units": "tokens", "pairs": True, "top_k": 2}))
    assert [hit["units"] for hit in content["hits"]] == ["tokens", "tokens"]
    assert all("pairs" in hit for hit in content["hits"])
    assert content["n_documents"] == 3


def test_many_documents_are_embedded_batch_by_batch_in_their_order(client, model):
    documents = [f"{'word ' * (n % 7)}number {n}" for n in range(70)]
    content = json_of(client, client.explain({**RANKING, "documents": "\n".join(documents), "top_k": 3, "layer": 6}))
    expected = model.explain_ranking(RANKING["query"], documents, top_k=3, layer=6)
    assert [hit["index"] for hit in content["hits"]] == expected.order
    assert [hit["text"] for hit in content["hits"]] == [documents[index] for index in expected.order]


def test_sixteen_requests_from_eight_threads(client, model):
    texts = [f"A cat sleeps on {n} stoves." for n in range(8)] * 2
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: json_of(client, client.explain({**PAIR, "a": text, "layer": 6})), texts))
    for text, content in zip(texts, found, strict=True):
        assert content["text_a"] == text
        np.testing.assert_allclose(
            content["score"], model.similarity(*model.encode([text, PAIR["b"]])).item(), atol=1e-5
        )
    for one, other in zip(found[:8], found[8:], strict=True):
        np.testing.assert_allclose(one["matrix"], other["matrix"], atol=1e-6)


def test_a_stopped_request_frees_the_model(client, model):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    slow = client.add({**PAIR, "a": LONG[:300], "b": LONG[:200], "layer": 0})
    waiting = client.add({**PAIR, "a": LONG, "layer": 0})
    while not (running := client.http.get(f"/jobs/{slow}").json())["fraction"]:
        time.sleep(0.01)
    assert running["state"] == "running"
    assert running["work"] == "token factors"
    assert 0 < running["fraction"] < 1
    assert client.http.get(f"/jobs/{waiting}").json()["before"] == 1
    assert client.http.delete(f"/jobs/{waiting}").json()["state"] == "stopped"
    client.http.delete(f"/jobs/{slow}")
    assert client.wait(slow)["state"] == "stopped"
    assert client.http.get(f"/jobs/{slow}/page").status_code == 409
    # The next request has the model, which is as it was.
    client.explain(PAIR)
    assert all((model.state_dict()[name] == tensor).all() for name, tensor in before.items())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_the_rest_of_the_time_is_estimated_for_each_work_anew(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("xsbert.app.worker.time.monotonic", lambda: now[0])
    job = Job(read_task(PAIR, "minilm"))
    assert job.seconds_left() is None
    outer, inner = Progress(4, "texts", show=False), Progress(10, "token factors", show=False)
    job.watch(outer)
    job.watch(inner)
    now[0] += 3
    outer.n, inner.n = 1, 5
    job.watch(inner)
    assert (job.work, job.fraction) == ("texts", 1 / 4 + 1 / 2 / 4)
    assert job.seconds_left() == pytest.approx(3 * (8 / 3 - 1))
    inner.ended = True
    job.watch(inner)
    outer.ended = True
    job.watch(outer)
    after = Progress(2, "projected factors", show=False)
    job.watch(after)
    assert job.seconds_left() is None
    now[0] += 1
    after.n = 1
    job.watch(after)
    assert job.seconds_left() == pytest.approx(1)


def test_a_stop_is_seen_between_the_steps_of_the_work():
    job = Job(read_task(PAIR, "minilm"))
    job.watch(None)
    job.stop_asked = True
    with pytest.raises(Exception, match=r"^$") as stopped:
        job.watch(None)
    assert type(stopped.value).__name__ == "_StoppedError"


def test_a_fault_of_the_app_is_told_and_its_headers_stay(client, pair, monkeypatch):
    monkeypatch.setattr("xsbert.app.server.picture", lambda *how: 1 / 0)
    response = client.http.get(f"/jobs/{pair}/picture.png")
    assert response.status_code == 500
    assert response.json()["error"] == "The app failed: ZeroDivisionError: division by zero"
    assert response.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**PAIR, "a": " "}, "text a is empty"),
        ({**PAIR, "b": None}, "text b is empty"),
        ({**PAIR, "a": "x" * 20_001}, "text a has 20,001 characters, and the app takes up to 20,000"),
        ({**RANKING, "query": ""}, "the query is empty"),
        ({**RANKING, "documents": "\n \n"}, "there are no documents"),
        (
            {**RANKING, "documents": "\n".join(["short"] * 10_000)},
            "10,000 documents are more than the app takes, 1,000",
        ),
        ({**RANKING, "documents": '{"text": 7}'}, "some text under 'text' is needed, got 7"),
        ({**RANKING, "top_k": 51}, "top_k must be a whole number from 1 to 50"),
        ({**PAIR, "layer": "2"}, "layer must be a whole number"),
        ({**PAIR, "units": "pages"}, "units must be one of 'tokens', 'words', 'sentences'"),
        ({**PAIR, "similarity": "euclid"}, "similarity must be one of"),
        ({**PAIR, "reference": 3}, "reference must be a short text"),
        ({**PAIR, "model": "other"}, "model must be one of minilm, broken, got 'other'"),
        ({**PAIR, "kind": "triple"}, "kind must be one of"),
        ([1], "a request must be a JSON object"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(client, content, message):
    response = client.http.post("/jobs", json=content)
    assert response.status_code == 422
    assert message in response.json()["error"]


def test_a_megabyte_is_refused_before_it_is_read_as_json(client):
    body = json.dumps({**PAIR, "a": "x" * 1_000_000})
    for address in ("/jobs", "/documents"):
        response = client.http.post(address, content=body, headers={"Content-Type": "application/json"})
        assert response.status_code == 413
        assert "more than the app takes at once, 500 kB" in response.json()["error"]
    assert client.http.post("/jobs", content="{", headers={"Content-Type": "application/json"}).status_code == 422


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**PAIR, "layer": 99}, "layer"),
        ({**PAIR, "reference": "no such token"}, "no such token"),
        ({**PAIR, "model": "broken"}, "the model 'broken' cannot be loaded"),
        ({**PAIR, "a": "\ud800"}, "surrogate"),
    ],
)
def test_what_the_model_refuses_fails_with_its_message_and_the_next_request_goes_on(client, content, message):
    body = json.dumps(content)
    response = client.http.post("/jobs", content=body, headers={"Content-Type": "application/json"})
    state = client.wait(response.json()["id"])
    assert state["state"] == "failed"
    assert message in state["error"]
    assert client.http.get(f"/jobs/{state['id']}/json").status_code == 409
    client.explain(PAIR)


def test_warnings_of_the_library_are_notes(client):
    state = client.wait(client.add({**RANKING, "documents": LONG * 3, "layer": 6}))
    assert any("longer than the model's limit" in note for note in state["notes"])


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"Host": "evil.example"}, "under the names"),
        ({"Host": "127.0.0.1.evil.example:80"}, "under the names"),
        ({"Origin": "https://evil.example"}, "not one of"),
        ({"Origin": "null"}, "not one of"),
        ({"Sec-Fetch-Site": "cross-site"}, "not one from elsewhere"),
    ],
)
def test_requests_from_elsewhere_are_refused(client, headers, said):
    """DNS rebinding gives a page from elsewhere this address under its own name."""
    for method, address in (("GET", "/about"), ("POST", "/jobs"), ("DELETE", "/jobs/x")):
        response = client.http.request(method, address, headers=headers)
        assert response.status_code == 403
        assert said in response.json()["error"]


def test_a_form_of_another_page_cannot_ask(client):
    response = client.http.post("/jobs", content=json.dumps(PAIR), headers={"Content-Type": "text/plain"})
    assert response.status_code == 415


def test_names_of_this_machine_and_links_are_answered(client):
    port = client.http.base_url.port
    for host in ("localhost", f"localhost:{port}", f"127.0.0.1:{port}", "[::1]"):
        assert client.http.get("/about", headers={"Host": host}).status_code == 200
    # The address of a view can be a link on another page.
    assert client.http.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_headers(client, pair):
    for address in ("/", "/about", "/own/app.js", f"/jobs/{pair}", f"/jobs/{pair}/json", "/nowhere", "/docs"):
        headers = client.http.get(address).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
    page = client.http.get(f"/jobs/{pair}/page").headers["content-security-policy"]
    assert "'sha256-" in page
    assert page.endswith("frame-ancestors 'self'")
    for name in ("index.html", "app.js", "app.css", "compare.js"):
        assert "//" not in client.http.get(f"/own/{name}").text.replace("// ", "")
    assert client.http.get("/own/server.py").status_code == 404
    assert client.http.get("/own/..%2Fserver.py").status_code == 404


def test_pictures_and_files(client, pair, ranking):
    for name, kind in ((pair, "heatmap"), (pair, "waterfall"), (ranking, "heatmap")):
        png = client.http.get(f"/jobs/{name}/picture.png", params={"kind": kind})
        assert png.content.startswith(b"\x89PNG")
        assert png.headers["content-type"] == "image/png"
        assert client.http.get(f"/jobs/{name}/picture.pdf", params={"kind": kind}).content.startswith(b"%PDF-")
    dollars = client.explain({**RANKING, "query": "What costs $5 or $_6?", "layer": 6})
    assert client.http.get(f"/jobs/{dollars}/picture.png").content.startswith(b"\x89PNG")
    assert "attachment" in client.http.get(f"/jobs/{pair}/page?download=true").headers["content-disposition"]
    assert client.http.get(f"/jobs/{pair}/picture.png?kind=pie").status_code == 422
    assert client.http.get(f"/jobs/{pair}/picture.gif").status_code == 404
    assert client.http.get("/jobs/unknown/page").status_code == 404


def test_what_moved_between_two_pairs_is_their_contrast(client, pair, model):
    edited = "This is not a good tea."
    after = client.explain({**PAIR, "b": edited})
    found = client.http.get(f"/jobs/{after}/moved", params={"before": pair}).json()
    one, other = (model.attribute_prediction(PAIR["a"], text).words() for text in (edited, PAIR["b"]))
    expected = xsbert.contrast(one, other)
    assert found["margin"] == pytest.approx(expected.margin, abs=1e-5)
    assert sum(value for _, value in found["shared"]) + found["rest"] == pytest.approx(found["margin"])
    steps = {(step.kind, step.before, step.after): step.value for step in expected.edit()}
    assert {("removed", "coffee", ""), ("added", "", "tea")} <= set(steps)
    for kind, before, now, value in found["edit"]:
        assert value == pytest.approx(steps[kind, before, now], abs=1e-5)
    other = client.explain({**PAIR, "a": "Something", "b": "else"})
    refused = client.http.get(f"/jobs/{other}/moved", params={"before": pair})
    assert refused.status_code == 422
    assert "share no text" in refused.json()["error"]


def test_what_moved_between_two_rankings(client, ranking):
    edited = [DOCUMENTS[0], "A dog barks.", DOCUMENTS[2]]
    after = client.explain({**RANKING, "documents": "\n".join(edited)})
    rows = client.http.get(f"/jobs/{after}/moved", params={"before": ranking}).json()["rows"]
    assert {row["index"]: row["edited"] for row in rows} == {0: False, 1: True, 2: False}
    scores = {hit["index"]: hit["score"] for hit in json_of(client, ranking)["hits"]}
    assert {row["index"]: row["before"][1] for row in rows} == scores
    assert client.http.get(f"/jobs/{after}/moved", params={"before": client.explain(PAIR)}).status_code == 422


def test_two_references_side_by_side(client, pair, ranking):
    other = client.explain({**PAIR, "reference": "mask"})
    found = client.http.get(f"/jobs/{pair}/beside", params={"other": other}).json()
    assert found["scores"][0] == pytest.approx(found["scores"][1], abs=1e-5)
    assert -1 <= found["agreement"] <= 1
    assert [word for text, word, *_ in found["rows"] if text == "a"] == ["The", "coffee", "is", "bad", "."]
    other = client.explain({**RANKING, "layer": 5})
    assert len(client.http.get(f"/jobs/{ranking}/beside", params={"other": other}).json()["rows"]) == 3


@pytest.mark.parametrize(
    ("name", "data", "texts", "ids"),
    [
        ("d.csv", b'id,text\n1,"a, b"\n2,c\n', ["a, b", "c"], ["1", "2"]),
        ("d.tsv", b"text\ta\nx y\t1\n", ["x y"], [None]),
        ("d.jsonl", b'{"id": 3, "text": "one\\ntwo"}\n{"text": "x"}\n', ["one\ntwo", "x"], [3, None]),
        ("d.txt", b"\n one \n\ntwo", ["one", "two"], [None, None]),
    ],
)
def test_dropped_files(client, name, data, texts, ids):
    found = client.http.post("/documents", params={"name": name}, content=data).json()
    assert found["n"] == len(texts)
    again = read_documents(found["text"].encode())
    assert [each.text for each in again] == texts
    assert [each.id for each in again] == ids


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("d.csv", b"title\nx\n", "no column text"),
        ("d.csv", b'text\n"open\n', "line 2"),
        ("d.jsonl", b'{"text": "a"}\n{"text": ""}\n', "line 2: some text under 'text' is needed"),
        ("d.txt", b"\xff\xfe\x00", "not UTF-16"),
        ("d.xlsx", b"PK\x03\x04rest", "a zip archive"),
        ("d.txt", b" ", "holds no documents"),
        ("d.txt", b"x\n" * 10_000, "10,000 documents"),
    ],
)
def test_files_that_cannot_be_used(client, name, data, message):
    response = client.http.post("/documents", params={"name": name}, content=data)
    assert response.status_code == 422
    assert message in response.json()["error"]


def test_plain_lines_stay_plain():
    assert as_lines([Retrieved("one"), Retrieved("two")]) == "one\ntwo"
    assert read_documents(as_lines([Retrieved("{x"), Retrieved("y")]).encode())[0].text == "{x"


def test_results_are_kept_for_a_while_and_not_for_ever(client, monkeypatch):
    monkeypatch.setattr("xsbert.app.worker.MOST_KEPT", 2)
    names = [client.explain({**PAIR, "layer": 6}) for _ in range(4)]
    answers = [client.http.get(f"/jobs/{name}").status_code for name in names]
    assert answers[0] == 404
    assert answers[-1] == 200
    assert "explain the texts again" in client.http.get(f"/jobs/{names[0]}").json()["error"]


def test_too_many_requests_at_once(client, monkeypatch):
    monkeypatch.setattr("xsbert.app.worker.MOST_WAITING", 1)
    slow = client.add({**PAIR, "a": LONG, "layer": 0})
    codes = [client.http.post("/jobs", json={**PAIR, "a": LONG, "layer": 0}).status_code for _ in range(3)]
    assert codes[-1] == 503
    for name in [slow, *client_jobs(client)]:
        client.http.delete(f"/jobs/{name}")
    assert client.wait(slow)["state"] == "stopped"


def client_jobs(client):
    """Names of all requests, from the app itself."""
    return list(client.app.state.worker._jobs)


def test_the_limits_are_told(client):
    limits = client.http.get("/about").json()["limits"]
    assert limits == {
        "bytes": tasks.MOST_BYTES,
        "characters": tasks.MOST_CHARACTERS,
        "documents": tasks.MOST_DOCUMENTS,
    }
