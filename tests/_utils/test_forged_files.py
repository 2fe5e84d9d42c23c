"""Saved files with checksums that fit and content that nobody saved: refused soon, or all that follows is finite."""

import json
import struct
import time
import tracemalloc
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

from tests.attribution.test_files import make_result, sealed
from tests.factors.test_files import make_factors
from tests.ranking.test_files import rewritten
from tests.view.test_ranking_page import ranking_of
from xsbert import Attribution, load_factors, save_factors
from xsbert._utils.checksummed_safetensors import read_arrays
from xsbert._utils.header_limits import check_structure, parse_json
from xsbert.attribution.files import read_metadata
from xsbert.evaluation.methods.result import MethodAttribution
from xsbert.factors import files as factor_files
from xsbert.factors.text_factors import ProjectedFactors
from xsbert.ranking.ranking import Ranking

READERS = {"result": Attribution.load, "factors": load_factors, "ranking": Ranking.load, "metadata": read_metadata}


def small_pages():
    """Query and two documents: one in pairs, one along the query alone."""
    ranking = ranking_of(["one two", "three four five"])
    one, other = ranking.hits
    (passage,) = other.passages
    direction = ranking.query_factors.embedding[None] / np.linalg.norm(ranking.query_factors.embedding)
    side = replace(passage.side, factors=passage.side.factors @ direction.T, known_residual=1e-3)
    projected = ProjectedFactors.of(side, direction)
    return replace(ranking, hits=(one, replace(other, passages=(replace(passage, side=projected),))))


def method_result():
    result = make_result()
    n_a, n_b = result.matrix.shape
    rng = np.random.default_rng(0)
    return MethodAttribution(
        result.a,
        result.b,
        "cosine",
        result.settings,
        method="lexical",
        left_out="",
        matrix=rng.normal(size=(n_a, n_b)),
        main_effects_a=rng.normal(size=n_a),
        main_effects_b=rng.normal(size=n_b),
        baseline=0.5,
    )


# Headers


def header_of(text):
    return struct.pack("<Q", len(text)) + text + bytes(64)


def sealed_with(json_text):
    """A file in whose metadata the JSON stands as it is."""
    header = {"__metadata__": {"xsbert": json_text}}
    checksum = sha256(json.dumps(header, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    header["__metadata__"]["checksum"] = checksum
    return header_of(json.dumps(header).encode())


N = 400_000
EXPENSIVE = {
    "a key twice": b'{"a":0,' + b",".join(b'"k%d":0' % n for n in range(60_000)) + b',"a":0}',
    "nested lists": b"[" * N + b"]" * N,
    "flat lists": b'{"a":[' + b"[]," * N + b"[]]}",
    "numbers": b"[" + b"1," * N + b"1]",
    "objects": b"[" + b"{}," * N + b"{}]",
    "keys": b"{" + b",".join(b'"%x":1' % n for n in range(N)) + b"}",
    "behind strings": b'["\\"[",' + b'"\\\\",' * 10 + b"[]," * N + b"[]]",
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("text", EXPENSIVE.values(), ids=EXPENSIVE)
def test_an_expensive_header_is_refused_soon(tmp_path, text, kind):
    path = tmp_path / "file"
    for content in (header_of(text), sealed_with(text.decode())):
        path.write_bytes(content)
        started = time.perf_counter()
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match=r"cannot be read as .*(more than|twice)"):
                READERS[kind](path)
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert time.perf_counter() - started < 2
        assert most < 8 * len(content)


def test_descriptions_are_bounded_by_their_units(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(factor_files, "_description", lambda text, number: EXPENSIVE["flat lists"])
        save_factors(tmp_path / "factors", make_factors())
    with pytest.raises(ValueError, match="holds more than 154 values"):
        load_factors(tmp_path / "factors")


@pytest.mark.parametrize("seed", range(5))
def test_values_are_counted_as_parsing_finds_them(seed):
    rng = np.random.default_rng(seed)
    pieces = ['"', "\\", "[", "{", ",", "ü", "a", '\\"', "]", " "]

    def value(depth):
        kind = rng.integers(5 if depth else 3)
        if kind == 0:
            return "".join(rng.choice(pieces, rng.integers(8)))
        if kind < 3:
            return int(rng.integers(99))
        size = rng.integers(1, 5)
        if kind == 3:
            return [value(depth - 1) for _ in range(size)]
        return {f"{n}{rng.choice(pieces)}": value(depth - 1) for n in range(size)}

    def count(content):
        """Elements and entries, and lists and objects themselves."""
        if isinstance(content, (list, dict)):
            inner = content.values() if isinstance(content, dict) else content
            return max(1, len(content)) + sum(count(each) for each in inner)
        return 0

    for _ in range(50):
        content = value(4)
        text = json.dumps(content, ensure_ascii=bool(rng.integers(2)))
        n_values = 1 + count(content)
        assert parse_json(text, n_values) == content
        check_structure(text.encode(), n_values)
        with pytest.raises(ValueError, match="more than it needs"):
            check_structure(text.encode(), n_values - 1)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}', "1e400", "[-1e999]"])
def test_numbers_that_are_not_finite_are_no_json(text):
    with pytest.raises(ValueError, match="which is not finite"):
        parse_json(text, 10)


def test_a_text_far_beyond_its_units_comes_back(tmp_path):
    """What the model's limit cut off takes no arrays, whatever characters it has."""
    result = make_result()
    long = result.a.text + '[{,"\\' * 200_000
    result = replace(result, a=replace(result.a, text=long, n_cut=10**6))
    result.save(tmp_path / "result")
    assert Attribution.load(tmp_path / "result").a.text == long


# Numbers

EXTREME = [1e200, -1e308, 1e155, 1e-200, 5e-324, 1.7e308]


def finite(content):
    json.dumps(content, allow_nan=False)


def forged_arrays(path, kind, rng):
    """The arrays and the JSON of a file with extreme numbers in some of its fields."""
    header, found = read_arrays(path, kind)
    arrays = {name: np.array(values) for name, (_, values) in found.items()}
    for name in rng.choice(list(arrays), rng.integers(1, 4), replace=False):
        array, number = arrays[name], rng.choice(EXTREME)
        if rng.integers(2):
            array[...] = number * np.sign(array)
        else:
            array.ravel()[rng.integers(array.size)] = number
    return header.content, arrays


def numbers_in(content, place=()):
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        if isinstance(value, (dict, list)):
            yield from numbers_in(value, (*place, key))
        elif isinstance(value, float):
            yield (*place, key)


def write_forged(path, content, arrays):
    data = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
    content = {**content, "data": sha256(data).hexdigest()}
    path.write_bytes(sealed(arrays, content)[0])


@pytest.mark.parametrize("kind", ["result", "method", "pairs"])
def test_whatever_loads_is_finite(tmp_path, kind):
    """In full, in words, and as a page."""
    saved = {"result": make_result, "method": method_result, "pairs": small_pages}[kind]()
    load = {"result": Attribution.load, "method": MethodAttribution.load, "pairs": Ranking.load}[kind]
    n_loaded = 0
    for seed in range(60):
        saved.save(tmp_path / "file")
        forge(tmp_path / "file", kind, np.random.default_rng(seed))
        with np.errstate(all="ignore"):
            try:
                loaded = load(tmp_path / "file")
            except ValueError as error:
                assert "cannot be read as a saved" in str(error)  # noqa: PT017
                continue
            n_loaded += 1
            finite(loaded.to_dict())
            if kind == "pairs":
                finite(loaded.contrast(0, 1).to_dict())
                finite(loaded.over("sentences").to_dict())
                finite(loaded.query_words.to_dict())
            else:
                finite(loaded.over(a="sentences").to_dict())
            loaded.to_html()
    assert 0 < n_loaded < 60


def forge(path, kind, rng):
    """Put extreme numbers in some fields of a file."""
    content, arrays = forged_arrays(path, "ranking" if kind == "pairs" else "result", rng)
    places = list(numbers_in(content))
    if rng.integers(2):
        *way, last = places[rng.integers(len(places))]
        inner = content
        for key in way:
            inner = inner[key]
        inner[last] = float(rng.choice(EXTREME))
    write_forged(path, content, arrays)


@pytest.mark.parametrize("number", EXTREME)
def test_factors_that_load_can_be_combined(tmp_path, number):
    """With those of any other file."""
    plain, loaded = make_factors()[0], []
    for name in ("factors", "embedding", "reference_term"):
        array = np.full_like(getattr(plain, name), number)
        forged = replace(plain, **{name: array})
        try:
            save_factors(tmp_path / "file", [forged])
        except ValueError as error:
            assert "factors[0]" in str(error)  # noqa: PT017
            assert "go with" not in str(error)  # noqa: PT017
        else:
            loaded += load_factors(tmp_path / "file")
    for one in loaded:
        for other in (*loaded, plain):
            with np.errstate(all="ignore"):
                result = Attribution(one, other, "cosine", plain.settings)
                if result.scale > 0:
                    finite(result.to_dict())


def test_large_products_are_refused(tmp_path):
    """Each number is finite, what follows is not: the file's checksums fit."""
    make_result().save(tmp_path / "file")
    header, found = read_arrays(tmp_path / "file", "result")
    arrays = {name: np.array(values) for name, (_, values) in found.items()}
    for name in "ab":
        arrays[f"{name}.factors"][...] = 1e200
    write_forged(tmp_path / "file", header.content, arrays)
    with pytest.raises(ValueError, match=r"a holds numbers whose products would not be finite: up to 5e\+200"):
        Attribution.load(tmp_path / "file")
    small_pages().save(tmp_path / "file")

    def change(content, arrays):
        content["hits"][0]["score"], content["hits"][1]["score"] = 1.5e308, -1.5e308

    rewritten(tmp_path / "file", tmp_path / "forged", change)
    with pytest.raises(ValueError, match=r"the score of hit 0 is 1\.5e\+308"):
        Ranking.load(tmp_path / "forged")


def test_what_could_not_be_loaded_is_not_saved(tmp_path):
    result = make_result()
    large = replace(result, a=replace(result.a, factors=result.a.factors * 1e200))
    with pytest.raises(ValueError, match="a holds numbers whose products would not be finite"):
        large.save(tmp_path / "file")
    one = method_result()
    method = replace(one, matrix=np.full(one.matrix.shape, 1e308))
    with pytest.raises(ValueError, match="values holds numbers whose sum would not be finite"):
        method.save(tmp_path / "file")
    ranking = small_pages()
    with pytest.raises(ValueError, match="the score of hit 0"):
        replace(ranking, hits=(replace(ranking[0], score=1e300), ranking[1])).save(tmp_path / "file")
    assert not (tmp_path / "file").exists()
