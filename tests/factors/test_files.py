"""Factors of many texts come back from one file as they were, some of them or all, and no wrong file passes for one."""

import json
import os
import pickle
import warnings
import zlib
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load, save

from tests.attribution.test_files import SETTINGS, make_result, put, sealed
from tests.tiny import write_model
from xsbert import Attribution, XSTransformer, load_factors, save_factors
from xsbert._utils.checksummed_safetensors import FORMAT_VERSION
from xsbert.attribution.files import read_metadata
from xsbert.factors.text_factors import TextFactors

TEXTS = ["the gentle giant did not unpack .", "a tall traveller . his bags were left", "the giant ."]
LONG = " ".join(TEXTS * 4)
STEPS = {"layer": 1, "n_steps": 3}
UNREADABLE = "cannot be read as saved factors"


def make_factors(settings=SETTINGS, with_reference=True):
    """Three texts of 5, 2 and 5 units, 7 dimensions."""
    first, second = make_result(), make_result(seed=1)
    factors = [replace(text, settings=settings) for text in (first.a, first.b, second.a)]
    return factors if with_reference else [replace(text, reference_term=np.zeros(7)) for text in factors]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "factors.safetensors"
    save_factors(path, make_factors())
    return path


def same(found, wanted):
    assert len(found) == len(wanted)
    for now, was in zip(found, wanted, strict=True):
        for field in fields(TextFactors):
            one, other = getattr(now, field.name), getattr(was, field.name)
            assert type(one) is type(other), field.name
            if isinstance(one, np.ndarray):
                assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes()), field.name
            else:
                assert one == other, field.name


def same_numbers(one, other):
    assert one.matrix.tobytes() == other.matrix.tobytes()
    assert one.parts == other.parts
    assert one.score == other.score
    assert (one.residual_a, one.residual_b, one.error) == (other.residual_a, other.residual_b, other.error)
    assert str(one) == str(other)


def rewrite(path, change=lambda content: None, arrays=None, texts=lambda entries: None, seal=True):
    """Save the file again with its JSON and those of its texts changed in place, and some arrays replaced or, with
    None, left out. Checksums are made to fit again, those of texts only where asked for."""
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    content = json.loads(header.pop("__metadata__")["xsbert"])
    held = load(raw)
    held = {name: held[name] for name in header}
    change(content)
    bounds = held["description_offsets"]
    entries = [json.loads(held["descriptions"][start:end].tobytes()) for start, end in pairwise(bounds)]
    texts(entries)
    written = [
        text if isinstance(text, bytes) else json.dumps(text, separators=(",", ":")).encode() for text in entries
    ]
    held["descriptions"] = np.frombuffer(b"".join(written), np.uint8)
    held["description_offsets"] = np.cumsum([0, *map(len, written)])
    content["n_bytes"] = len(held["descriptions"])
    held.update(arrays or {})
    kept = {name: array for name, array in held.items() if array is not None}
    if seal:
        _, checksum = sealed(kept, content)
        starts = held["offsets"]
        for place, text in enumerate(written):
            rows = [held["factors"][starts[place] : starts[place + 1]], held["embeddings"][place]]
            if held.get("reference_terms") is not None:
                rows.append(held["reference_terms"][place])
            held["checksums"][place] = zlib.crc32(checksum.encode() + text + b"".join(row.tobytes() for row in rows))
    path.write_bytes(sealed(kept, content)[0])


@pytest.mark.parametrize("with_reference", [True, False])
def test_loaded_factors_equal_the_saved_ones(tmp_path, with_reference):
    factors = make_factors(with_reference=with_reference)
    save_factors(tmp_path / "f", factors)
    same(load_factors(tmp_path / "f"), factors)
    with safe_open(tmp_path / "f", framework="numpy") as file:
        assert ("reference_terms" in set(file.keys())) == with_reference


@pytest.mark.parametrize(
    ("architecture", "units"), [("bert", "tokens"), ("bert", "words"), ("qwen3", "sentences"), ("t5", "tokens")]
)
@pytest.mark.parametrize("shift", [False, True], ids=["off the shelf", "shifted"])
def test_factors_of_models(tmp_path, architecture, shift, units):
    path = write_model(architecture, tmp_path, normalize=True)
    model = XSTransformer(path, shift=shift, reference="pad", device="cpu")
    factors = model.token_factors(TEXTS, units=units, **STEPS)
    factors += model.token_factors(TEXTS[:2], units=units, prompt="query : ", **STEPS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        factors += model.token_factors([LONG], units=units, layer=1, tolerance=0.5)
    # The reference itself, which a shifted model embeds to zero.
    factors += model.token_factors(["<pad>"], units=units, **STEPS)
    assert factors[-2].n_cut
    save_factors(tmp_path / "f", factors)
    loaded = load_factors(tmp_path / "f")
    same(loaded, factors)
    for a, b in ((0, 1), (3, 0), (5, 4)):
        one, other = (Attribution.of(held[a], held[b], "cosine") for held in (loaded, factors))
        same_numbers(one, other)
        if units == "tokens":
            same_numbers(one.words(), other.words())
            same_numbers(one.spans(a="sentences", b="words"), other.spans(a="sentences", b="words"))
    if shift:
        with pytest.raises(ValueError, match="the cosine of a zero embedding is not defined"):
            Attribution.of(loaded[0], loaded[-1], "cosine")


@pytest.mark.parametrize("kind", ["model", "shifted"])
def test_a_real_model(request, tmp_path, kind):
    model = request.getfixturevalue(kind)
    texts = ["The coffee is bad.", "This isn't a good coffee. Tea is better!", "Kaffee in Reykjavík 🙂"]
    factors = model.token_factors(texts, layer=4, n_steps=3)
    save_factors(tmp_path / "f", factors)
    loaded = load_factors(tmp_path / "f")
    same(loaded, factors)
    one, other = (Attribution.of(held[0], held[1], "cosine") for held in (loaded, factors))
    same_numbers(one, other)
    same_numbers(one.words(), other.words())
    same_numbers(one.spans(b="sentences"), other.spans(b="sentences"))
    # A text that came after the file was written.
    (query,) = model.token_factors(["Where is good coffee?"], layer=4, n_steps=4)
    (document,) = load_factors(tmp_path / "f", places=[2])
    same_numbers(Attribution.of(query, document, "dot"), Attribution.of(query, factors[2], "dot"))
    with pytest.raises(ValueError, match="feature pairs need tokens and the model"):
        one.feature_pairs()


@pytest.mark.parametrize("places", [[2], [1, 0], [0, 0], [], range(1, 3), np.array([2, 1]), (np.int32(1),)])
def test_places(path, places):
    same(load_factors(path, places), [make_factors()[place] for place in places])


@pytest.mark.parametrize(
    ("places", "kind"),
    [
        ([3], IndexError),
        ([-1], IndexError),
        ([0, 10**30], IndexError),
        ([1.0], TypeError),
        (["1"], TypeError),
        ("1", TypeError),
        (1, TypeError),
        ([True, False, True], TypeError),
        (np.array([True, False, True]), TypeError),
        (np.array([[0, 1]]), TypeError),
    ],
)
def test_wrong_places(path, places, kind):
    with pytest.raises(kind):
        load_factors(path, places)


def test_places_read_nothing_else(path):
    with safe_open(path, framework="numpy") as file:
        factors = file.get_tensor("factors")
    factors[5:7] = np.nan
    rewrite(path, arrays={"factors": factors}, seal=False)
    same(load_factors(path, [2, 0]), [make_factors()[place] for place in (2, 0)])
    for places in ([1], None):
        with pytest.raises(ValueError, match="text 1 does not fit its checksum"):
            load_factors(path, places)


def test_settings_are_stored_once(tmp_path):
    factors = make_factors()
    factors[1] = replace(factors[1], settings=replace(SETTINGS, n_steps=40, rule="adaptive", tolerance=0.01))
    save_factors(tmp_path / "f", factors)
    same(load_factors(tmp_path / "f"), factors)
    with safe_open(tmp_path / "f", framework="numpy") as file:
        content = json.loads(file.metadata()["xsbert"])
    assert [held["n_steps"] for held in content["settings"]] == [16, 40]
    assert content["n_texts"] == 3


def test_strided_and_float32_factors(tmp_path):
    factors = make_factors()
    wide = np.random.default_rng(2).normal(size=(7, 5)).T
    factors[0] = replace(factors[0], factors=wide)
    factors[1] = replace(factors[1], factors=factors[1].factors.astype(np.float32))
    save_factors(tmp_path / "f", factors)
    loaded = load_factors(tmp_path / "f")
    np.testing.assert_array_equal(loaded[0].factors, wide)
    np.testing.assert_array_equal(loaded[1].factors, factors[1].factors)


def test_nothing_is_copied_but_what_is_being_written(tmp_path, monkeypatch):
    chunks = []

    def keep(path, written):
        chunks.extend(written)

    factors = make_factors()
    monkeypatch.setattr("xsbert.factors.files.write", keep)
    save_factors(tmp_path / "f", factors)
    for text in factors:
        assert any(chunk is text.factors for chunk in chunks)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"layer": 3}, "factors of different layer cannot be combined: 4 and 3"),
        ({"model": "other/model"}, "factors of different model cannot be combined"),
        ({"fingerprint": "0f"}, "factors of different fingerprint cannot be combined"),
        ({"reference": "[UNK]"}, "factors of different reference cannot be combined"),
        ({"shift": True}, "factors of different shift cannot be combined"),
        ({"dtype": "float64"}, "factors of different dtype cannot be combined"),
    ],
)
def test_factors_that_do_not_belong_together(tmp_path, path, change, problem):
    before = path.read_bytes()
    others = make_factors(replace(SETTINGS, **change))
    with pytest.raises(ValueError, match=r"factors\[3\] does not go with factors\[0\]: " + problem):
        save_factors(path, make_factors() + others)
    assert path.read_bytes() == before
    # Nor are those of two files, or of a file whose settings were tampered with.
    save_factors(tmp_path / "others", others)
    with pytest.raises(ValueError, match=problem):
        Attribution.of(load_factors(path)[0], load_factors(tmp_path / "others")[1], "cosine")
    rewrite(
        path,
        lambda content: content["settings"].append(content["settings"][0] | change),
        texts=lambda entries: entries[2].update(settings=1),
    )
    with pytest.raises(ValueError, match=f"{UNREADABLE}: {problem}"):
        load_factors(path)


def test_factors_of_different_width(tmp_path):
    factors = make_factors()
    narrow = replace(factors[1], factors=np.ones((2, 6)), embedding=np.ones(6), reference_term=np.ones(6))
    problem = "factors of different width cannot be combined: 7 and 6 dimensions"
    with pytest.raises(ValueError, match=problem):
        save_factors(tmp_path / "f", [factors[0], narrow])
    with pytest.raises(ValueError, match=problem):
        Attribution.of(factors[0], narrow, "cosine")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"settings": None}, "factors must state how they were computed"),
        ({"known_residual": 0.01}, r"factors\[1\] was projected .* good for that pair alone"),
        ({"factors": np.ones((3, 7))}, r"factors\[1\]\.factors has shape \(3, 7\), not \(2, 7\)"),
        ({"tokens": (), "factors": np.ones((0, 7))}, r"factors\[1\]\.factors has shape \(0, 7\)"),
        ({"reference_term": np.ones(6)}, r"factors\[1\]\.reference_term has shape \(6,\), not \(7,\)"),
        ({"factors": np.full((2, 7), np.nan)}, r"factors\[1\]\.factors holds numbers that are not finite"),
        ({"embedding": np.full(7, np.inf)}, r"factors\[1\]\.embedding holds numbers that are not finite"),
        ({"normalisation": float("nan")}, r"normalisation of factors\[1\] has the length nan"),
    ],
)
def test_what_is_not_saved(tmp_path, change, problem):
    factors = make_factors()
    factors[1] = replace(factors[1], **change)
    with pytest.raises(ValueError, match=problem):
        save_factors(tmp_path / "f", factors)
    assert not list(tmp_path.iterdir())


def test_factors_of_one_pair_alone(tmp_path):
    model = XSTransformer(write_model("bert", tmp_path / "model"), device="cpu")
    result = model.attribute_prediction("the giant", " ".join(TEXTS), **STEPS)
    assert result.b.known_residual is not None
    with pytest.raises(ValueError, match=r"factors\[1\] was projected"):
        save_factors(tmp_path / "f", [result.a, result.b])


def test_no_factors(tmp_path):
    with pytest.raises(ValueError, match="factors must hold at least one text, got none"):
        save_factors(tmp_path / "f", [])
    with pytest.raises(TypeError, match=r"factors\[1\] must be a TextFactors, got Attribution"):
        save_factors(tmp_path / "f", [make_factors()[0], make_result()])
    with pytest.raises(TypeError):
        save_factors(tmp_path / "f", make_factors()[0])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("moment", ["writing", "replacing"])
def test_an_interrupted_save_leaves_the_old_file(path, monkeypatch, error, moment):
    before = path.read_bytes()

    def fail(*_):
        raise error

    if moment == "replacing":
        monkeypatch.setattr(os, "replace", fail)
    else:
        # The numbers are asked for once for the checksums, and once more to be written.
        import xsbert.factors.files

        asked, numbers = [], xsbert.factors.files._numbers
        monkeypatch.setattr(
            "xsbert.factors.files._numbers",
            lambda *given: fail() if len(asked) > 12 else asked.append(1) or numbers(*given),
        )
    with pytest.raises(type(error)):
        save_factors(path, make_factors()[::-1])
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_existing_file_is_replaced(path):
    factors = make_factors()[::-1]
    save_factors(path, factors)
    same(load_factors(path), factors)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_factors(tmp_path / "none")
    with pytest.raises(OSError, match=r".*"):
        save_factors(tmp_path / "none" / "f", make_factors())


def test_the_other_kind_of_file(path, tmp_path):
    make_result().save(tmp_path / "result")
    with pytest.raises(ValueError, match=f"{UNREADABLE}: it holds a result, which Attribution.load reads"):
        load_factors(tmp_path / "result")
    for read in (Attribution.load, read_metadata):
        with pytest.raises(
            ValueError, match="cannot be read as a saved result: it holds factors, which load_factors reads"
        ):
            read(path)


@pytest.mark.parametrize("content", [b"", b"only text", pickle.dumps([1]), save({"factors": np.zeros((5, 7))})])
def test_other_files(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=UNREADABLE):
        load_factors(path)


def test_truncated_everywhere(path):
    whole = path.read_bytes()
    for length in range(0, len(whole), 61):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=UNREADABLE):
            load_factors(path, [0])


def test_any_damaged_byte_of_the_data_is_noticed(path):
    whole = path.read_bytes()
    n_header = 8 + int.from_bytes(whole[:8], "little")
    for place in range(n_header, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=UNREADABLE):
            load_factors(path)


def test_newer_format(path):
    rewrite(path, lambda content: content.update(format_version=FORMAT_VERSION + 1, kind="new"))
    with pytest.raises(ValueError, match=r"format version 3.*upgrade"):
        load_factors(path)


def test_unknown_entries_are_ignored(path):
    def change(content):
        content.update(later=1)
        content["settings"][0].update(later=2)

    rewrite(path, change, {"later": np.zeros(3)}, lambda entries: entries[0].update(later=3))
    same(load_factors(path), make_factors())


def test_a_known_residual_in_a_file_is_ignored(path):
    rewrite(path, texts=lambda entries: entries[0].update(known_residual=0.0))
    same(load_factors(path), make_factors())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda content: content.pop("n_texts"), "'n_texts' is missing"),
        (lambda content: content.pop("settings"), "'settings' is missing"),
        (lambda content: content.pop("reference_terms"), "'reference_terms' is missing"),
        (lambda content: content.pop("format_version"), "'format_version' is missing"),
        (put("kind", "other"), "it holds 'other'"),
        (put("kind", ["factors"]), "'kind' has a value of the wrong type"),
        (put("n_texts", 2), "embeddings has dtype and shape ('F64', (3, 7)), not ('F64', (2, 7))"),
        (put("n_texts", True), "'n_texts' has a value of the wrong type"),
        (put("n_texts", 0), "it says that it is empty"),
        (put("width", -7), "it says that it is empty"),
        (put("n_units", 11), "factors has dtype and shape"),
        (put("n_units", 10**400), "factors has dtype and shape"),
        (put("n_units", 12.0), "'n_units' has a value of the wrong type"),
        (put("reference_terms", False), "text 0 does not fit its checksum"),
        (put("reference_terms", 1), "'reference_terms' has a value of the wrong type"),
        (put("settings", []), "text 0 has settings 0 of 0"),
        (put("settings", [None]), "'settings' has an entry of the wrong type"),
        (put("settings", 0, "layer", "4"), "'layer' has a value of the wrong type"),
    ],
)
def test_wrong_metadata(path, change, problem):
    rewrite(path, change)
    with pytest.raises(ValueError, match=UNREADABLE) as caught:
        load_factors(path)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"factors": None}, "factors is missing"),
        ({"embeddings": None}, "embeddings is missing"),
        ({"reference_terms": None}, "reference_terms is missing"),
        ({"offsets": None}, "offsets is missing"),
        ({"checksums": None}, "checksums is missing"),
        ({"descriptions": None}, "descriptions is missing"),
        ({"factors": np.zeros((12, 7), np.float32)}, "factors has dtype and shape ('F32', (12, 7))"),
        ({"factors": np.zeros((12, 6))}, "factors has dtype and shape ('F64', (12, 6))"),
        ({"factors": np.zeros(84)}, "factors has dtype and shape ('F64', (84,))"),
        ({"embeddings": np.zeros((2, 7))}, "embeddings has dtype and shape"),
        ({"offsets": np.array([0, 5, 7, 12], np.uint64)}, "offsets has dtype and shape ('U64', (4,))"),
        ({"offsets": np.array([0, 5, 7])}, "offsets has dtype and shape"),
        ({"offsets": np.array([-1, 5, 7, 12])}, "offsets of text 0 are -1 and 5, of 12 in all"),
        ({"offsets": np.array([0, 5, 7, 13])}, "offsets of text 2 are 7 and 13, of 12 in all"),
        ({"offsets": np.array([0, 5, 5, 12])}, "offsets of text 1 are 5 and 5"),
        ({"offsets": np.array([0, 5, 2, 12])}, "offsets of text 1 are 5 and 2"),
        ({"offsets": np.array([0, 2**62, 7, 12])}, "offsets of text 0 are 0 and"),
        # They fit all else, and would give text 1 the numbers of its neighbour.
        ({"offsets": np.array([0, 4, 6, 12])}, "text 0 does not fit its checksum"),
        ({"description_offsets": np.array([0, 10, 20, 30])}, "text 0 does not fit its checksum"),
        ({"description_offsets": np.array([0, 10, 20, 10**9])}, "does not fit its checksum"),
        ({"embeddings": np.zeros((3, 7))}, "text 0 does not fit its checksum"),
        ({"checksums": np.zeros(3, np.uint32)}, "text 0 does not fit its checksum"),
    ],
)
def test_wrong_arrays(path, arrays, problem):
    rewrite(path, arrays=arrays, seal=False)
    with pytest.raises(ValueError, match=UNREADABLE) as caught:
        load_factors(path)
    assert problem in str(caught.value)


def test_shifted_offsets_are_noticed_at_every_place(path):
    rewrite(path, arrays={"offsets": np.array([0, 4, 6, 12])}, seal=False)
    for place in range(3):
        with pytest.raises(ValueError, match=f"text {place} does not fit its checksum"):
            load_factors(path, [place])


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"offsets": np.array([0, 4, 6, 12])}, "'tokens' has 5 entries for 4 units"),
        ({"factors": np.full((12, 7), np.nan)}, "text 0.factors holds numbers that are not finite"),
        ({"embeddings": np.full((3, 7), np.inf)}, "text 0.embedding holds numbers that are not finite"),
        ({"reference_terms": np.full((3, 7), np.nan)}, "text 0.reference_term holds numbers that are not finite"),
    ],
)
def test_wrong_arrays_with_the_right_checksums(path, arrays, problem):
    rewrite(path, arrays=arrays)
    with pytest.raises(ValueError, match=UNREADABLE) as caught:
        load_factors(path)
    assert problem in str(caught.value)


def to(value):
    def change(entries):
        entries[1] = value

    return change


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        (to([]), "the description of text 1 is no JSON object"),
        (to(b"{"), "Expecting property name"),
        (to(b"\xff\xfe\xfa"), "can't decode"),
        (to(b"[" * 100_000), "holds more than"),
        (lambda entries: entries[1].pop("tokens"), "'tokens' is missing"),
        (lambda entries: entries[1].pop("settings"), "'settings' is missing"),
        (put(1, "settings", 1), "text 1 has settings 1 of 1"),
        (put(1, "settings", -1), "text 1 has settings -1 of 1"),
        (put(1, "settings", False), "'settings' has a value of the wrong type"),
        (put(1, "tokens", ["x"]), "'tokens' has 1 entries for 2 units"),
        (put(1, "roles", ["text", "other"]), "'roles' has an entry of the wrong kind"),
        (put(1, "spans", [[0, 1], [0, 1]]), "'spans' has an entry of the wrong kind"),
        (put(1, "word_ids", [0, "1"]), "'word_ids' has an entry of the wrong kind"),
        (put(1, "prompt", "other"), "the prompt of text 1 does not begin its text"),
        (put(1, "normalisation", -1.0), "the normalisation of text 1 is -1.0"),
        (put(1, "normalisation", float("inf")), "the number Infinity, which is not finite"),
        (put(1, "n_cut", -1), "n_cut of text 1 is -1"),
    ],
)
def test_wrong_descriptions(path, texts, problem):
    rewrite(path, texts=texts)
    with pytest.raises(ValueError, match=UNREADABLE) as caught:
        load_factors(path)
    assert problem in str(caught.value)
    same(load_factors(path, [0, 2]), make_factors()[::2])
