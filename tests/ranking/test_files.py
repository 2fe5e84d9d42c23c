"""Rankings as files, dictionaries and tables."""

import json
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

from xsbert._utils.checksummed_safetensors import header_bytes, read_arrays
from xsbert.ranking.ranking import Ranking

DOCUMENTS = ["A cat sleeps on the stove. It is warm.", "Prices rose. <b>Nobody</b> knew why.", "No cat at all, “oder”?"]


@pytest.fixture(scope="module")
def kinds(model):
    """One ranking of each kind."""
    how = {"n_steps": 2}
    return {
        "highlights": model.explain_ranking("The cat", DOCUMENTS, **how),
        "pairs": model.explain_ranking("The cat", DOCUMENTS, detail="pairs", units="sentences", **how),
        "mean": model.explain_ranking("The cat", DOCUMENTS, passages=6, overlap=1, pooling="mean", **how),
    }


def rewritten(source, target, change):
    """A copy of a file with other metadata or arrays, under checksums that fit."""
    header, arrays = read_arrays(source, "ranking")
    content, arrays = header.content, {name: array.copy() for name, (_, array) in arrays.items()}
    change(content, arrays)
    data = sha256()
    for array in arrays.values():
        data.update(array)
    content["data"] = data.hexdigest()
    begin, _ = header_bytes({name: ("F64", array.shape) for name, array in arrays.items()}, content)
    target.write_bytes(begin + b"".join(array.tobytes() for array in arrays.values()))


def test_a_changed_byte_is_noticed(kinds, tmp_path):
    kinds["highlights"].save(tmp_path / "ranking")
    raw = bytearray((tmp_path / "ranking").read_bytes())
    raw[-5] ^= 1
    (tmp_path / "ranking").write_bytes(raw)
    with pytest.raises(ValueError, match="cannot be read as a saved ranking: its data do not fit their checksum"):
        Ranking.load(tmp_path / "ranking")


@pytest.mark.parametrize("kind", ["highlights", "pairs", "mean"])
def test_a_loaded_ranking_is_the_saved_one(kinds, kind, tmp_path):
    ranking = kinds[kind]
    ranking.save(tmp_path / "ranking")
    loaded = Ranking.load(tmp_path / "ranking")
    assert loaded.to_dict() == ranking.to_dict()
    assert str(loaded) == str(ranking)
    assert loaded.to_html() == ranking.to_html()
    assert loaded.contrast(0, 1).to_dict() == ranking.contrast(0, 1).to_dict()
    for one, other in zip(loaded, ranking, strict=True):
        np.testing.assert_array_equal(one.passages[0].side.factors, other.passages[0].side.factors)
        assert one.passages[0].side.settings == other.passages[0].side.settings


def test_a_hit_without_explanation_survives(kinds, tmp_path):
    first, *rest = kinds["highlights"].hits
    ranking = replace(kinds["highlights"], hits=(replace(first, passages=(), reason="it failed"), *rest))
    ranking.save(tmp_path / "ranking")
    loaded = Ranking.load(tmp_path / "ranking")
    assert loaded[0].reason == "it failed"
    assert loaded.to_dict() == ranking.to_dict()


DAMAGES = [
    (lambda content, arrays: content.update(kind="result"), "it holds a result"),
    (lambda content, arrays: content.update(format_version=99), "format version 99"),
    (lambda content, arrays: content.update(similarity="euclid"), "similarity is 'euclid'"),
    (lambda content, arrays: content["hits"][0].pop("score"), "'score' is missing"),
    (lambda content, arrays: content["hits"][0].update(units="lines"), "units of hit 0 are 'lines'"),
    (lambda content, arrays: content["hits"][0].update(passages=[]), "hit 0 must have either passages or a reason"),
    (lambda content, arrays: content["hits"][0]["passages"][0].update(end=10_000), "leaves its text"),
    (lambda content, arrays: content["hits"][0]["passages"][0].update(weight=0), "the weight of passage 0 of hit 0"),
    (lambda content, arrays: arrays.pop("0.0.factors"), "0.0.factors is missing"),
    (lambda content, arrays: arrays.update({"0.0.directions": np.ones((2, 3))}), "0.0.directions have shape"),
    (lambda content, arrays: arrays["0.0.factors"].fill(np.inf), "numbers that are not finite"),
    (lambda content, arrays: content.update(n_documents=1), "n_documents is 1"),
]


@pytest.mark.parametrize(("change", "message"), DAMAGES, ids=[message for _, message in DAMAGES])
def test_a_damaged_file_is_refused(kinds, change, message, tmp_path):
    kinds["highlights"].save(tmp_path / "ranking")
    rewritten(tmp_path / "ranking", tmp_path / "damaged", change)
    with pytest.raises(ValueError, match=f"cannot be read as a saved ranking: .*{message}"):
        Ranking.load(tmp_path / "damaged")


def test_no_file(tmp_path):
    with pytest.raises(OSError, match="nosuch"):
        Ranking.load(tmp_path / "nosuch")


def test_table(kinds):
    ranking = kinds["highlights"]
    table = ranking.to_dataframe()
    assert list(table.columns) == ["rank", "index", "id", "score", "unit", "role", "start", "end", "contribution"]
    assert len(table) == sum(len(hit.document.units) for hit in ranking)
    for rank, hit in enumerate(ranking):
        rows = table[table["rank"] == rank]
        np.testing.assert_array_equal(rows["contribution"], hit.contributions)
        assert [hit.text[int(start) : int(end)] for start, end in zip(rows["start"], rows["end"], strict=True)][
            1:-1
        ] == (list(rows["unit"])[1:-1])
    contrast = ranking.contrast(0, 1).to_dataframe()
    np.testing.assert_allclose(contrast["i"] - contrast["j"], contrast["margin"])


def test_numbers_as_json(kinds):
    content = json.loads(json.dumps(kinds["pairs"].to_dict(), allow_nan=False))
    for hit in content["hits"]:
        total = sum(hit["document"]["values"]) + hit["document"]["baseline"]
        assert abs(total - hit["score"]) == pytest.approx(hit["error"], abs=1e-9)
        assert np.array(hit["pairs"]).shape == (len(hit["query"]["units"]), len(hit["document"]["units"]))
