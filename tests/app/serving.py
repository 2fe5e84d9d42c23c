"""The app on a free port of this machine, served by uvicorn in a thread."""

import socket
import threading
from contextlib import contextmanager

import httpx
import uvicorn

from xsbert.app import Models, create_app

PAIR = {"kind": "pair", "a": "The coffee is bad.", "b": "This is not a good coffee."}
DOCUMENTS = ["Prices rose by three percent.", "A cat sleeps on the warm stove.", "The garden smells of roses."]
RANKING = {"kind": "ranking", "query": "Which animal sleeps?", "documents": "\n".join(DOCUMENTS)}
LONG = "The committee met in the small hall and spoke of the old clock of the station. " * 12


def failing(name):
    raise OSError(f"the model {name!r} cannot be loaded: no such folder")


def models_of(model):
    """The model under the name "minilm", and one that cannot be loaded."""
    return Models(["minilm", "broken"], lambda name: model if name == "minilm" else failing(name))


@contextmanager
def running(app):
    """The address of a running app."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        app.state.worker.close()
        listener.close()


class Client:
    """Asks a running app as its page does."""

    def __init__(self, address):
        self.http = httpx.Client(base_url=address, timeout=60)

    def add(self, content):
        response = self.http.post("/jobs", json=content)
        assert response.status_code == 202, response.text
        return response.json()["id"]

    def wait(self, name):
        while (state := self.http.get(f"/jobs/{name}", params={"wait": 1}).json())["state"] in ("waiting", "running"):
            pass
        return state

    def explain(self, content):
        state = self.wait(self.add(content))
        assert state["state"] == "done", state
        return state["id"]


@contextmanager
def client_of(model):
    app = create_app(models_of(model))
    with running(app) as address:
        client = Client(address)
        client.app = app
        yield client
