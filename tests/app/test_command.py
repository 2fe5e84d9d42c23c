"""`xsbert app` from the command line."""

import os
import re
import signal
import socket
import subprocess
import sys

import httpx
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from xsbert.__main__ import main
from xsbert.app import Models, serve


def test_a_port_in_use(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["app", "--port", str(port)]) == 1
    said = capsys.readouterr().err
    assert said == (
        f"xsbert: error: port {port} is in use, perhaps by another xsbert app: --port 0 takes a free one, --port N "
        "another\n"
    )


def test_a_model_that_cannot_be_loaded(tmp_path, capsys):
    assert main(["app", "--model", str(tmp_path / "nothing"), "--port", "0"]) == 1
    said = capsys.readouterr().err
    assert f"xsbert: error: the model '{tmp_path / 'nothing'}' cannot be loaded" in said


@pytest.mark.parametrize("port", ["-1", "65536", "eight"])
def test_a_port_that_is_none(port, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["app", f"--port={port}"])
    assert exit.value.code == 2
    assert f"must be a number from 0 to 65535, got '{port}'" in capsys.readouterr().err


def test_a_missing_library_is_named(monkeypatch, capsys, model):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ImportError, match=r"xsbert app needs xsbert\[app\]: pip install xsbert\[app\]"):
        serve(Models(["minilm"], lambda name: model), 0, print)


def test_models_have_names():
    with pytest.raises(ValueError, match="at least one model"):
        Models([], lambda name: None)
    with pytest.raises(ValueError, match="must be distinct, got 'a', 'a'"):
        Models(["a", "a"], lambda name: None)


@pytest.mark.slow
def test_it_serves_and_ends_by_an_interrupt(minilm_path):
    command = [sys.executable, "-m", "xsbert", "app", "--model", minilm_path, "--port", "0"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ) as app:
        try:
            said = ""
            while not (found := re.search(r"http://127\.0\.0\.1:\d+", said)):
                line = app.stderr.readline()
                assert line, said
                said += line
            assert httpx.get(f"{found[0]}/about").json()["models"][0]["n_layers"] == 6
            app.send_signal(signal.SIGINT)
            assert app.wait(30) == 130
        finally:
            app.kill()
