"""Published models: downloaded from a server on this machine, unpacked and loaded."""

import errno
import io
import json
import pickle
import shutil
import threading
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import AutoModel, AutoTokenizer, PreTrainedModel

from tests.tiny_models import TEXTS, save_tiny_model
from xsbert import XSMPNet, XSRoberta, XSTransformer
from xsbert.models import archives, checkpoints, load_model

OLD_MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "xsbert.models.ShiftingReferenceTransformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]


def as_published(folder, width=16):
    """Give a saved transformer the layout of sentence-transformers 2: pickled weights, old names of modules."""
    model = AutoModel.from_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    (folder / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": width, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    files = {
        "modules.json": OLD_MODULES,
        "1_Pooling/config.json": {**pooling, "pooling_mode_max_tokens": False},
        "sentence_bert_config.json": {"max_seq_length": 50, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "__version__": {"sentence_transformers": "2.2.2", "transformers": "4.29.1", "pytorch": "2.0.1"}
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def zipped(members, compression=zipfile.ZIP_DEFLATED):
    """An archive of names and contents; a name may also be a ZipInfo."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def files_of(folder, prefix=""):
    return [(prefix + str(p.relative_to(folder)), p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Folders by name of the model."""
    types = {"mpnet_cos": "mpnet", "mpnet_dot": "mpnet", "droberta_cos": "roberta", "droberta_dot": "roberta"}
    return {
        name: as_published(Path(save_tiny_model(tmp_path_factory.mktemp(name), kind))) for name, kind in types.items()
    }


@pytest.fixture(scope="module")
def archive(published):
    return zipped(files_of(published["droberta_cos"], "droberta_cos/"))


class Server:
    """Serves one archive under any name, and misbehaves as told."""

    def __init__(self, content):
        self.content = content
        self.status = 200
        self.break_after = []
        """For each request to come, after how many bytes of the body the connection breaks off."""
        self.stall_after = None
        self.requests = []
        self.over = threading.Event()

    def answer(self, handler):
        self.requests.append(handler.path)
        if self.status != 200:
            handler.send_error(self.status)
            return
        body = self.content
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if self.break_after:
            body = body[: self.break_after.pop(0)]
        if self.stall_after is not None:
            handler.wfile.write(body[: self.stall_after])
            handler.wfile.flush()
            self.over.wait()
            return
        handler.wfile.write(body)


@contextmanager
def serving(content):
    server = Server(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.answer(self)

        def log_message(self, *args):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}"
    try:
        yield server
    finally:
        server.over.set()
        http.shutdown()
        http.server_close()
        thread.join()


def load(server, model_dir, name="droberta_cos", **options):
    options = {"show_progress_bar": False, "timeout": 10, "device": "cpu", **options}
    return load_model(name, model_dir, base_url=server.url, **options)


def left_over(folder):
    return sorted(path.name for path in Path(folder).iterdir() if path.suffix != ".lock")


def expected_embeddings(folder, texts):
    """f(x) − f(r), written out: reference tokens are padding, at the positions that the model gives them."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    embeddings = []
    for text in texts:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        reference = ids.clone()
        reference[0, 1:-1] = tokenizer.pad_token_id
        with torch.no_grad():
            f_x, f_r = (model(input_ids=i, attention_mask=torch.ones_like(i))[0][0].mean(0) for i in (ids, reference))
        embeddings.append((f_x - f_r).numpy())
    return np.stack(embeddings)


# Loading


@pytest.mark.parametrize("name", ["mpnet_cos", "mpnet_dot", "droberta_cos", "droberta_dot"])
@pytest.mark.parametrize("in_a_folder", [True, False])
def test_a_published_model(name, in_a_folder, published, tmp_path):
    folder = published[name]
    with serving(zipped(files_of(folder, f"{name}/" if in_a_folder else ""))) as server:
        model = load(server, tmp_path / "models", name)
        again = load(server, tmp_path / "models", name)
        assert len(server.requests) == 1
    assert left_over(tmp_path / "models") == [name]
    assert isinstance(model, XSMPNet if name.startswith("mpnet") else XSRoberta)
    assert model.similarity_fn_name == {"cos": "cosine", "dot": "dot"}[name[-3:]]
    assert model.shifted
    expected = expected_embeddings(folder, TEXTS)
    assert np.abs(model.encode(TEXTS) - expected).max() < 1e-5
    assert np.array_equal(again.encode(TEXTS), model.encode(TEXTS))
    result = model.attribute_prediction(TEXTS[0], TEXTS[1], layer=1, n_steps=64, reference="pad")
    assert model.reference_positions == result.settings.reference_positions == "padding"
    again = model.attribute_prediction(TEXTS[0], TEXTS[1], layer=1, n_steps=64, reference_positions="padding")
    assert np.array_equal(again.matrix, result.matrix)
    with pytest.raises(ValueError, match=r"reference_positions='padding'.*got reference_positions='text'"):
        model.attribute_prediction(TEXTS[0], TEXTS[1], reference_positions="text")
    a, b = expected[:2].astype(float)
    score = a @ b if name.endswith("dot") else a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert result.matrix.sum() == pytest.approx(score, rel=1e-3, abs=1e-3)

    model.save_pretrained(str(tmp_path / "saved"))
    for path in (tmp_path / "models" / name, tmp_path / "saved"):
        copy = XSTransformer(str(path), device="cpu")
        assert copy[0].reference.position_offset is None
        assert copy.reference_positions == "padding"
        assert np.abs(copy.encode(TEXTS) - expected).max() < 1e-5
        with pytest.raises(ValueError, match="trust_remote_code"):
            SentenceTransformer(str(path), device="cpu")


def test_real_weights(roberta_path, tmp_path):
    folder = as_published(Path(shutil.copytree(roberta_path, tmp_path / "droberta_cos")), width=384)
    with serving(zipped(files_of(folder), zipfile.ZIP_STORED)) as server:
        model = load(server, tmp_path / "models")
    texts = ["The coffee is bad.", "This is not a good coffee."]
    assert np.abs(model.encode(texts) - expected_embeddings(folder, texts)).max() < 1e-4
    assert abs(model.attribute_prediction(*texts, layer=4).error) < 1e-2


def test_the_positions_of_the_reference_matter(published):
    folder = published["droberta_cos"]
    modules = [Transformer(str(folder)), Pooling(16)]
    ours = XSTransformer(modules=modules, shift=True, reference="pad", device="cpu")
    assert ours[0].reference.position_offset == 2
    assert np.abs(ours.encode(TEXTS) - expected_embeddings(folder, TEXTS)).max() > 1e-2
    as_theirs = XSTransformer(modules=modules, shift=True, reference_positions="padding", device="cpu")
    assert np.abs(as_theirs.encode(TEXTS) - expected_embeddings(folder, TEXTS)).max() < 1e-5


def test_weights_are_no_pickles_afterwards(archive, tmp_path):
    with serving(archive) as server:
        load(server, tmp_path)
    folder = tmp_path / "droberta_cos"
    names = [path.name for path in folder.rglob("*")]
    assert "model.safetensors" in names
    assert "pytorch_model.bin" not in names
    # Open to whom folders are open here.
    (tmp_path / "usual").mkdir()
    assert folder.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_an_unknown_name(tmp_path):
    published = "'mpnet_cos', 'mpnet_dot', 'droberta_cos', 'droberta_dot'"
    with pytest.raises(ValueError, match=f"name must be one of {published}"):
        load_model("mpnet", tmp_path)
    with pytest.raises(ValueError, match="must begin with https"):
        load_model("mpnet_cos", tmp_path, base_url="file:///etc")


# Downloading


def test_a_broken_download_is_begun_again(archive, tmp_path):
    with serving(archive) as server:
        server.break_after = [1000, 500]
        load(server, tmp_path)
        assert server.requests == ["/droberta_cos.zip"] * 3
    assert left_over(tmp_path) == ["droberta_cos"]


def test_half_a_download_leaves_nothing(archive, tmp_path):
    with serving(archive) as server:
        server.break_after = [1000]
        with pytest.raises(ConnectionError, match=r"could not be downloaded .*after 1 attempts"):
            load(server, tmp_path, n_attempts=1)
        assert left_over(tmp_path) == []
        load(server, tmp_path)
    assert left_over(tmp_path) == ["droberta_cos"]


def test_a_stalled_connection(archive, tmp_path):
    with serving(archive) as server:
        server.stall_after = 1000
        with pytest.raises(ConnectionError, match=r"timed out.*after 2 attempts"):
            load(server, tmp_path, timeout=0.2, n_attempts=2)
        assert len(server.requests) == 2
        server.stall_after = None
        load(server, tmp_path)


def test_a_missing_file(tmp_path):
    with serving(b"") as server:
        server.status = 404
        with pytest.raises(FileNotFoundError, match=r"droberta_cos.zip does not exist \(HTTP 404\)"):
            load(server, tmp_path)
        assert len(server.requests) == 1
        server.status = 503
        with pytest.raises(ConnectionError, match="HTTP 503"):
            load(server, tmp_path)
        assert len(server.requests) == 4
    assert left_over(tmp_path) == []


def test_no_server(tmp_path):
    with serving(b"") as server:
        pass
    with pytest.raises(ConnectionError, match="refused"):
        load(server, tmp_path)


def test_a_download_that_is_too_large(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "MAX_ARCHIVE_BYTES", 1000)
    with serving(archive) as server, pytest.raises(ValueError, match="larger than any published model"):
        load(server, tmp_path)


def test_calls_at_the_same_time(archive, tmp_path):
    tie_weights = PreTrainedModel.tie_weights
    with serving(archive) as server:
        models = []
        threads = [threading.Thread(target=lambda: models.append(load(server, tmp_path))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(models) == 3
        assert len(server.requests) == 1
    # transformers replaces this method during a load. Loads that overlap would leave the replacement.
    assert PreTrainedModel.tie_weights is tie_weights


# Archives that must not be unpacked


class Harmful:
    """Unpickling this makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def link(name, target):
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info, target


def encrypted():
    content = bytearray(zipped([("modules.json", b"[]")]))
    central = content.index(b"PK\x01\x02")
    content[central + 8] |= 1
    return bytes(content)


MODULES = ("modules.json", json.dumps(OLD_MODULES))
HOSTILE = {
    "parent": (zipped([("../outside", b"x")]), "leads outside"),
    "deep parent": (zipped([MODULES, ("a/../../outside", b"x")]), "leads outside"),
    "absolute": (zipped([("/tmp/outside", b"x")]), "leads outside"),
    "drive": (zipped([("C:/outside", b"x")]), "leads outside"),
    "link": (zipped([MODULES, link("config.json", "/etc/passwd")]), "is a link"),
    "linked folder": (zipped([link("a", "/tmp"), ("a/outside", b"x")]), "is a link"),
    "twice": (zipped([("Modules.json", b"[]"), MODULES]), "names a file twice"),
    "file as folder": (zipped([MODULES, ("a", b"x"), ("a/b", b"x")]), "cannot be used"),
    "encrypted": (encrypted(), "encrypted"),
    "two models": (zipped([("a/modules.json", b"[]"), ("b/modules.json", b"[]")]), "must hold one model .* got 2"),
    "no model": (zipped([("readme", b"x")]), "must hold one model .* got 0"),
    "no json": (zipped([("modules.json", b"{")]), "is no JSON"),
    "no archive": (b"<html>not a zip</html>", "not a zip file"),
    "empty": (b"", "not a zip file"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives(case, tmp_path):
    content, message = HOSTILE[case]
    models = tmp_path / "in" / "models"
    with serving(content) as server, pytest.raises(ValueError, match=message):
        load(server, models)
    assert left_over(models) == []
    assert left_over(tmp_path) == ["in"]
    assert left_over(tmp_path / "in") == ["models"]
    assert not Path("/tmp/outside").exists()


@pytest.mark.parametrize("keep", [0.3, 0.999])
def test_a_truncated_archive(keep, archive, tmp_path):
    with serving(archive[: int(keep * len(archive))]) as server:
        with pytest.raises(ValueError, match="cannot be used and was deleted"):
            load(server, tmp_path)
        assert left_over(tmp_path) == []
        server.content = archive
        assert load(server, tmp_path).shifted


def test_a_damaged_archive(archive, tmp_path):
    damaged = bytearray(archive)
    place = archive.index(b"pytorch_model.bin") + 5000
    damaged[place : place + 100] = bytes(100)
    with serving(bytes(damaged)) as server, pytest.raises(ValueError, match="cannot be used"):
        load(server, tmp_path)
    assert left_over(tmp_path) == []


def test_an_archive_that_unpacks_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 10**6)
    bomb = zipped([MODULES, ("config.json", bytes(10**7))])
    assert len(bomb) < 10**5
    with serving(bomb) as server, pytest.raises(ValueError, match=r"unpacks to 0\.0 GB, at most"):
        load(server, tmp_path)
    monkeypatch.setattr(archives, "MAX_MEMBERS", 1)
    with serving(bomb) as server, pytest.raises(ValueError, match="2 members, at most 1"):
        load(server, tmp_path)


def test_copying_stops_at_the_cap():
    written = []
    with pytest.raises(ValueError, match="more than its members say"):
        archives._copy(io.BytesIO(bytes(100)).read, written.append, 99)
    assert not written


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_weights_with_code_are_refused(published, tmp_path):
    trace = tmp_path / "unpickled"
    members = dict(files_of(published["droberta_cos"]))
    for weights in (pickle.dumps(Harmful(trace)), save_pickle(Harmful(trace)), save_pickle([1, 2])):
        members["pytorch_model.bin"] = weights
        with serving(zipped(members.items())) as server, pytest.raises(ValueError, match="does not hold weights"):
            load(server, tmp_path / "models")
        assert not trace.exists()
        assert left_over(tmp_path / "models") == []
    # The test can fail: this is what unpickling would have done.
    pickle.loads(pickle.dumps(Harmful(trace))).close()
    assert trace.exists()


def save_pickle(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def test_code_in_an_archive_is_not_run(published, tmp_path):
    members = dict(files_of(published["droberta_cos"]))
    modules = [{**OLD_MODULES[0], "type": "harmful.Transformer"}, OLD_MODULES[1]]
    members |= {"modules.json": json.dumps(modules), "harmful.py": "raise SystemExit('run')"}
    with serving(zipped(members.items())) as server, pytest.raises(ValueError, match="trust_remote_code"):
        load(server, tmp_path)


# Archives that are safe to unpack, and cannot be used


def without(members, name):
    return {key: value for key, value in members.items() if key != name}


def with_config(members, name="config.json", **changes):
    content = json.loads(members.get(name, "{}")) | changes
    return {**members, name: json.dumps(content)}


def with_state(members, **changes):
    state = torch.load(io.BytesIO(members["pytorch_model.bin"]))
    return {**members, "pytorch_model.bin": save_pickle({**state, **changes})}


def with_version(members, offset, value):
    """With another number in the list of members: 6 is the version that is needed, 8 are flags."""
    content = bytearray(zipped(members.items()))
    place = content.index(b"PK\x01\x02")
    content[place + offset] = value
    return bytes(content)


def packed_weights(members):
    """Weights that torch would expand to 40 MB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(save_pickle({"x": torch.zeros(10**7)}))) as file:
        buffer.write(zipped([(name, file.read(name)) for name in file.namelist()]))
    return {**members, "pytorch_model.bin": buffer.getvalue()}


class Large:
    """Unpickling this takes 100 GB."""

    def __reduce__(self):
        return bytearray, (10**11,)


DEEP = b"[" * 200_000 + b"]" * 200_000
ZEROS = torch.zeros(1)
UNUSABLE = {
    "a long name": (lambda m: {**m, "n" * 300: b""}, "of 300 characters is too long"),
    "a long name in bytes": (lambda m: {**m, "é" * 200: b""}, "is too long"),
    "many folders": (lambda m: {**m, "a/" * 40 + "b": b""}, "is too long"),
    "deep modules": (lambda m: {**m, "modules.json": DEEP}, "modules.json: its JSON is nested more than 64 deep"),
    "deep tokenizer": (lambda m: {**m, "tokenizer.json": DEEP}, "tokenizer.json: its JSON is nested"),
    "many values": (lambda m: {**m, "a.json": b"[" + b"1," * 4_100_000 + b"1]"}, "a.json: its JSON holds more than"),
    "large json": (lambda m: {**m, "config.json": b" " * (65 * 2**20)}, "'config.json' has 68157440 bytes, at most"),
    "modules is a folder": (lambda m: {**without(m, "modules.json"), "modules.json/x": b""}, "must hold one model"),
    "config is a folder": (lambda m: {**without(m, "config.json"), "config.json/x": b""}, "config.json is a folder"),
    "weights are a folder": (
        lambda m: {**without(m, "pytorch_model.bin"), "pytorch_model.bin/x": b""},
        "does not hold weights: it is a folder",
    ),
    "no weights": (lambda m: without(m, "pytorch_model.bin"), "it holds no weights"),
    "modules are none": (lambda m: {**m, "modules.json": b"{}"}, "no list of modules"),
    "a module elsewhere": (
        lambda m: {**m, "modules.json": json.dumps([{**OLD_MODULES[0], "path": "../x"}, OLD_MODULES[1]])},
        "the path '../x' of a module leads outside",
    ),
    "zip version": (lambda m: with_version(m, 6, 99), "zip file version 9.9"),
    "patched data": (lambda m: with_version(m, 8, 0x20), "flag bit 5"),
    "keys of integers": (lambda m: {**m, "pytorch_model.bin": save_pickle({1: ZEROS})}, "the name 1 is no string"),
    "values of None": (lambda m: with_state(m, x=None), "'x' is no plain tensor"),
    "quantised": (
        lambda m: with_state(m, x=torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)),
        "it names 'torch._utils _rebuild_qtensor'",
    ),
    "sparse": (lambda m: with_state(m, x=torch.eye(3).to_sparse()), "it names 'torch._utils _rebuild_sparse"),
    "meta": (lambda m: with_state(m, x=torch.empty(9, device="meta")), "it names 'torch._utils _rebuild_meta"),
    "expanded": (lambda m: with_state(m, x=ZEROS.expand(750_000_000)), "'x' takes 3000000000 bytes, more than"),
    "strided": (lambda m: with_state(m, x=ZEROS.as_strided((9, 9), (0, 0))), "'x' takes 324 bytes, more than"),
    "views": (
        lambda m: with_state(m, **{f"x{n}": view for n, view in enumerate([torch.zeros(10**5)] * 9)}),
        "'x[1-8]' takes 400000 bytes, more than",
    ),
    "large object": (lambda m: with_state(m, x=Large()), "it names '__builtin__ bytearray'"),
    "packed weights": (packed_weights, "its parts are compressed or overlap"),
    "a bomb": (lambda m: {**m, "x.bin": bytes(80 * 2**20)}, r"at most 0\.1 GB are allowed for an archive of its size"),
    "another type": (
        lambda m: with_config(m, model_type="gpt2", n_embd=10**6),
        "has the model_type 'gpt2', not roberta",
    ),
    "wider": (lambda m: with_config(m, hidden_size=10**6), "has hidden_size 1000000, which no tensor"),
    "more layers": (lambda m: with_config(m, num_hidden_layers=10**6), "num_hidden_layers 1000000, with"),
    "wider elsewhere": (
        lambda m: with_config(m, "sentence_bert_config.json", config_args={"vocab_size": 10**10}),
        "sentence_bert_config.json has vocab_size 10000000000",
    ),
    "other shapes": (lambda m: with_config(m, intermediate_size=16), "mismatched_sizes"),
    "not finite": (lambda m: with_state(m, **{"embeddings.LayerNorm.bias": torch.full((16,), np.nan)}), "not finite"),
}


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions")
@pytest.mark.parametrize("case", UNUSABLE)
def test_unusable_archives(case, published, tmp_path):
    """An archive that cannot be used is deleted and nothing of it is installed, so that the next call can succeed."""
    change, message = UNUSABLE[case]
    changed = change(dict(files_of(published["droberta_cos"])))
    content = changed if isinstance(changed, bytes) else zipped(changed.items())
    with serving(content) as server, pytest.raises(ValueError, match=f"droberta_cos cannot be used.*{message}"):
        load(server, tmp_path)
    assert left_over(tmp_path) == []


def test_a_list_of_members_that_is_too_large(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_DIRECTORY_BYTES", 100)
    with serving(archive) as server, pytest.raises(ValueError, match=r"the list of its members takes [0-9]+ bytes"):
        load(server, tmp_path)


def test_what_is_not_the_archives_fault(archive, tmp_path, monkeypatch):
    """The archive stays where the disk is full, and the model where the caller asks for what it does not do."""

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with serving(archive) as server:
        with monkeypatch.context() as patch:
            patch.setattr(archives, "_copy", full)
            with pytest.raises(OSError, match="No space left"):
                load(server, tmp_path)
        assert left_over(tmp_path) == [".droberta_cos.zip"]
        with pytest.raises((RuntimeError, ValueError), match="nosuch") as caught:
            load(server, tmp_path, device="nosuch")
        assert "cannot be loaded" not in str(caught.value)
        assert len(server.requests) == 1
        assert left_over(tmp_path) == ["droberta_cos"]
        assert load(server, tmp_path).shifted


def test_what_is_in_the_way(archive, tmp_path):
    """A folder that cannot be loaded and a file are named; they may be somebody's, and stay."""
    with serving(archive) as server:
        (tmp_path / "droberta_cos").mkdir()
        with pytest.raises(ValueError, match=r"droberta_cos cannot be loaded: .*Delete it to download the model again"):
            load(server, tmp_path)
        (tmp_path / "droberta_cos").rmdir()
        (tmp_path / "droberta_cos").write_text("x")
        with pytest.raises(FileExistsError, match="droberta_cos is in the way of the model: remove it"):
            load(server, tmp_path)
        (tmp_path / "droberta_cos").unlink()
        (tmp_path / ".droberta_cos.zip").mkdir()
        with pytest.raises(FileExistsError, match=r"droberta_cos\.zip is in the way"):
            load(server, tmp_path)
        assert server.requests == []
