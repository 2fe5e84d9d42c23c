"""A warning points at the user's line, whatever was called."""

import warnings

import pytest

import xsbert.__main__
import xsbert.cli.run
from tests.tiny import write_model
from xsbert import XSTransformer

SHORT, OTHER, LONG = "the giant", "a tall traveller", "the giant " * 40
REACH = {"layer": 0, "tolerance": 1e-9, "max_steps": 1}
QUICK = {"layer": 2, "n_steps": 1}
CALLS = {
    "attribute_prediction": lambda model, text, options: model.attribute_prediction(SHORT, text, **options),
    "token_factors": lambda model, text, options: model.token_factors([SHORT, text], **options),
    "words": lambda model, text, options: model.token_factors([SHORT, text], units="words", **options),
    "explain_pairs": lambda model, text, options: list(model.explain_pairs([(SHORT, text)], **options)),
    "explain_matrix": lambda model, text, options: list(model.explain_matrix([SHORT], [text], **options)),
    "feature_pairs": lambda model, text, options: model.attribute_prediction(text, SHORT, **options).feature_pairs(),
}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return XSTransformer(write_model("bert", tmp_path_factory.mktemp("bert")), device="cpu")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (LONG, QUICK, "longer than the model's limit"),
        (OTHER, REACH, "out of reach"),
        (LONG[:330], REACH, "out of reach"),
    ],
    ids=["cut", "out of reach", "out of reach, pulled back"],
)
def test_warnings_point_at_the_call(own, call, text, options, message):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        CALLS[call](own, text, options)
    ours = [warning for warning in caught if message in str(warning.message)]
    assert ours
    assert {(warning.filename, warning.lineno) for warning in ours} == {(__file__, CALLS[call].__code__.co_firstlineno)}


def test_on_the_command_line(own, monkeypatch):
    seen = []
    monkeypatch.setattr(xsbert.cli.run, "load_model", lambda options: own)
    monkeypatch.setattr(xsbert.__main__, "_show_warning", lambda *warning: seen.append(warning))
    assert xsbert.__main__.main([SHORT, LONG, "--layer", "2", "--n-steps", "1"]) == 0
    assert [(str(message)[:20], filename) for message, _, filename, *_ in seen] == [("text_b is longer tha", __file__)]
