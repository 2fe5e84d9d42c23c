"""Options are spelled alike in all commands, as the arguments in Python; earlier spellings work and are named."""

import inspect
import json

import pytest

import xsbert
from tests.tiny_models import save_tiny_model
from xsbert import XSTransformer
from xsbert.__main__ import main
from xsbert.cli import corpus, options, pair, rank
from xsbert.engine import Options

SHARED = {
    *("model", "device", "shift", "reference", "reference_positions", "prompt", "prompt_name"),
    *("layer", "similarity", "tolerance", "factor_tolerance", "n_steps", "rule"),
    *("columns", "id", "quoting", "units", "top_k"),
}
PARSED = {
    "pair": lambda *argv: pair.parse(["--pairs", "f", *argv]),
    "rank": lambda *argv: rank.parse(["q", "f", *argv]),
    "corpus": lambda *argv: corpus._parse(["f", "out", *argv]),
}


@pytest.mark.parametrize("name", PARSED)
def test_all_commands_have_the_options_under_the_names_of_python(name):
    """Each option is an argument of the function that the command calls, of the model's class, or of the output."""
    given = vars(PARSED[name]("--prompt", "a", "--prompt", "b", "--device", "meta", "--top-k", "3"))
    assert given.keys() >= SHARED
    assert (given["prompt"], given["device"], given["top_k"]) == (["a", "b"], "meta", 3)
    calls = {
        "pair": XSTransformer.explain_pairs,
        "rank": XSTransformer.explain_ranking,
        "corpus": xsbert.explain_corpus,
    }
    known = {*inspect.signature(calls[name]).parameters, *inspect.signature(Options).parameters}
    of_model = {"model", "device", "shift"}
    # Columns and ids of files of pairs and documents are read by the command.
    of_files = {"texts", "format", "header", "columns", "id", "quoting", "output", "resume", "top_k"}
    of_output = {"html", "png", "json", "save", "quiet", "log_format"}
    assert given.keys() - known <= of_model | of_output | (of_files if name != "corpus" else set())


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("pair", ["--top", "3"], ["--top-k", "3"]),
        ("pair", ["--words"], ["--units", "words"]),
        ("pair", ["--text-b", "right", "--text-a", "left"], ["--columns", "left", "right"]),
        ("rank", ["--id-key", "key"], ["--id", "key"]),
        ("rank", ["--text-key", "body"], ["--columns", "body"]),
        ("rank", ["--pairs"], ["--detail", "pairs"]),
        ("rank", ["--query-prompt", "a", "--document-prompt", "b"], ["--prompt", "a", "--prompt", "b"]),
        ("corpus", ["--top", "3"], ["--top-k", "3"]),
        ("corpus", ["--wait", "2"], ["--lock-timeout", "2"]),
    ],
)
def test_earlier_spellings(name, old, new, capsys):
    earlier = PARSED[name](*old)
    err = capsys.readouterr().err
    assert err.startswith(f"xsbert: warning: {old[0]} is deprecated, its name is {new[0]}")
    assert vars(earlier) == vars(PARSED[name](*new))
    assert capsys.readouterr().err == ""


def test_one_prompt_of_two_by_its_earlier_name(capsys):
    """The other text keeps the model's own prompt."""
    assert options.prompts_of(rank.parse(["q", "f", "--query-prompt", "ask: "])) == {"prompt": ("ask: ", None)}
    assert options.prompts_of(rank.parse(["q", "f", "--document-prompt", "say: "])) == {"prompt": (None, "say: ")}
    with pytest.raises(SystemExit, match="2"):
        pair.parse(["--pairs", "f", "--text-b", "right"])
    assert "--columns takes both columns" in capsys.readouterr().err


def test_the_device_and_prompts_reach_the_model(tmp_path, capsys):
    model = ["--model", save_tiny_model(tmp_path / "tiny"), "--device", "cpu", "--layer", "1", "--n-steps", "1"]
    (tmp_path / "documents.txt").write_text("a cat\nthe dog sings\n")
    prompts = ["--prompt", "the ", "--prompt", "old "]
    assert main(["rank", "a dog", str(tmp_path / "documents.txt"), *model, *prompts, "--json", "-"]) == 0
    ranking = XSTransformer(model[1]).explain_ranking(
        "a dog", ["a cat", "the dog sings"], layer=1, n_steps=1, prompt=("the ", "old ")
    )
    found = json.loads(capsys.readouterr().out)
    assert found["hits"][0]["document"]["units"] == list(ranking[0].document.units)
    assert [hit["score"] for hit in found["hits"]] == pytest.approx(ranking.scores)
    for argv in (["a dog", "a cat", *model], ["rank", "a dog", str(tmp_path / "documents.txt"), *model]):
        argv[argv.index("cpu")] = "nosuch"
        assert main(argv) == 1
        assert "nosuch" in capsys.readouterr().err
