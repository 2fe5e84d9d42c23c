"""The JSON that the package writes fits its JSON Schemas, and the schemas reject other JSON."""

import copy
import json
from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator, ValidationError

import xsbert
from tests.view.results import random_result
from xsbert.__main__ import main
from xsbert.cli.output import record
from xsbert.evaluation.linguistics.tables import cumulative_share
from xsbert.view.schemas import SCHEMAS, json_schema

TEXTS = ["A cat sleeps on the stove.", "The garden smells of roses."]


def check(name, content):
    """Round trip through JSON, as a reader gets it."""
    plain = json.loads(json.dumps(content, allow_nan=False))
    Draft202012Validator(json_schema(name)).validate(plain)
    return plain


@pytest.fixture(scope="module")
def result(model):
    return model.attribute_prediction(*TEXTS, n_steps=2)


@pytest.fixture(scope="module")
def ranking(model):
    return model.explain_ranking("Who sleeps?", TEXTS, n_steps=2, detail="pairs")


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_valid_and_named(name):
    schema = json_schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:xsbert:{name}:1"
    with pytest.raises(ValidationError):
        Draft202012Validator(schema).validate([])


def test_an_unknown_name():
    with pytest.raises(ValueError, match=r"name must be one of 'blind_spots', .*, got 'pears'"):
        xsbert.json_schema("pears")


def test_pairs(result):
    for each in (result, result.words(), result.over(a=[(0, 3)], b="sentences"), random_result(["a"], ["b"])):
        check("pair", each.to_dict())
        check("pair", record(each, 2))


@pytest.mark.parametrize("key", ["score", "matrix", "roles_a", "settings"])
def test_a_pair_without_an_entry_or_with_another_is_rejected(result, key):
    content = check("pair", result.to_dict())
    for wrong in ({**content, key: "wrong"}, {**content, "more": 1}, {k: content[k] for k in content if k != key}):
        with pytest.raises(ValidationError):
            check("pair", wrong)


def test_rankings(ranking, shifted):
    content = check("ranking", ranking.to_dict())
    assert content["schema"] == json_schema("ranking")["$id"]
    for each in (ranking.over("tokens"), ranking.over("sentences"), ranking[:0]):
        check("ranking", each.to_dict())
    failed = replace(ranking[0], passages=(), reason="too long", score=float("nan"))
    check("ranking", replace(ranking, hits=(failed, ranking[1])).to_dict())
    with pytest.warns(xsbert.models.ShiftWarning):
        passages = shifted.explain_ranking("Who sleeps?", [" ".join(TEXTS)], n_steps=1, passages=8, overlap=2)
    check("ranking", passages.to_dict())
    for path in (("hits", 0, "query", "values"), ("hits", 0, "document"), ("hits", 0, "error"), ("settings", "layer")):
        wrong = copy.deepcopy(content)
        inner = wrong
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
        with pytest.raises(ValidationError):
            check("ranking", wrong)


def test_the_highlights_of_a_ranking_are_what_is_marked(ranking):
    for hit, content in zip(ranking, ranking.to_dict()["hits"], strict=True):
        text, at = "", 0
        for each in content["highlights"]:
            assert hit.text[each["start"] : each["end"]] == each["text"]
            text += hit.text[at : each["start"]] + f"<mark>{each['text']}</mark>"
            at = each["end"]
        assert text + hit.text[at:] == hit.tagged()
        words = {(word.start, word.end): word.weight for word in hit.highlights()}
        for each in content["highlights"]:
            inside = [value for (start, end), value in words.items() if each["start"] <= start and end <= each["end"]]
            assert each["weight"] == pytest.approx(sum(inside))


def test_contrasts_contributions_and_tables(ranking, result):
    check("contrast", ranking.contrast(0, 1).to_dict())
    check("contributions", ranking[0].document.to_dict())
    check("table", cumulative_share([result]).to_dict())


def test_faithfulness(model):
    table = xsbert.faithfulness(
        model, [(TEXTS[0], TEXTS[1]), (TEXTS[1], TEXTS[0])], methods=["products", "random"], operators=["unk"]
    )
    check("faithfulness", table.to_dict())


def test_the_command_line(minilm_path, tmp_path, capsys):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"id": 7, "text_a": TEXTS[0], "text_b": TEXTS[1]}) + "\n")
    how = ["--model", minilm_path, "--layer", "6"]
    for more in ([], ["--top", "3", "--words"]):
        assert main(["--pairs", str(pairs), *how, *more]) == 0
        (line,) = capsys.readouterr().out.splitlines()
        check("pairs_line", json.loads(line))
    assert main([*TEXTS, *how, "--json", "-"]) == 0
    check("pair", json.loads(capsys.readouterr().out))
    documents = tmp_path / "documents.txt"
    documents.write_text("\n".join(TEXTS))
    assert main(["rank", "Who sleeps?", str(documents), *how, "--json", "-"]) == 0
    check("ranking", json.loads(capsys.readouterr().out))


def test_a_corpus(model, tmp_path):
    corpus = xsbert.explain_corpus(model, [tuple(TEXTS)], tmp_path / "out", layer=6, show_progress_bar=False)
    check("corpus", json.loads((tmp_path / "out" / "_corpus.json").read_text()))
    (row,) = corpus.dataset().to_table().to_pylist()
    check("corpus_settings", json.loads(row["settings"]))
