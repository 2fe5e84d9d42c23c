"""What the length limit cuts off, texts longer than the model has positions for, and texts of which nothing is left."""

import re
import warnings

import numpy as np
import pytest

from tests.subword_tokenizers import FAMILIES, POSITIONS, WithoutOffsets, tiny_model
from xsbert import choose_reference, explain_corpus, read_corpus
from xsbert.engine.failures import SkippedWarning

UNLIMITED = 10**30
QUICK = {"layer": 1, "n_steps": 2}
LONG = "the storm hit the coast and the weather is cold today for an hour, a long walk along the coast"
NOTHING = ["\u200b", "\x00\x00", "\u200b\u200d\ufeff", "\x07"]


def raised(call):
    """Messages of the warnings of the package."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(each.message) for each in caught if issubclass(each.category, UserWarning)]


def make(family, limit):
    model = tiny_model(WithoutOffsets() if family == "without_offsets" else FAMILIES[family]())
    model.max_seq_length = limit
    return model


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", ["word_piece", "roberta", "unigram", "llama", "without_offsets"])
def test_which_tokens_are_cut_off(family, side):
    model = make(family, 12)
    model.tokenizer.truncation_side = side
    model.max_seq_length = UNLIMITED
    before = model.explainer().prompt("query: ")
    whole = model.explainer().tokenized(LONG, before, warn=False)
    model.max_seq_length = 12
    kept = model.explainer().tokenized(LONG, before, warn=False)
    own = [token for token, role in zip(kept.tokens, kept.roles, strict=True) if role != "special"]
    full = [token for token, role in zip(whole.tokens, whole.roles, strict=True) if role != "special"]
    assert (full[-len(own) :] if side == "left" else full[: len(own)]) == own
    assert kept.n_cut == len(full) - len(own) > 0
    end, n_prompt = ("first", whole.roles.count("prompt")) if side == "left" else ("last", 0)
    assert kept.roles.count("prompt") == whole.roles.count("prompt") - n_prompt
    of_prompt = f" ({n_prompt} of them of the prompt)" if n_prompt else ""
    expected = f"the {end} {kept.n_cut} tokens{of_prompt} are cut off"
    pair = raised(lambda: model.attribute_prediction(LONG, "coast", prompt=("query: ", None), **QUICK))
    assert [expected in message and "text_a" in message for message in pair] == [True]
    ranked = raised(lambda: model.explain_ranking("coast", [LONG], prompt=(None, "query: "), **QUICK))
    assert [expected in message and "documents[0]" in message for message in ranked] == [True]


def test_highlights_of_a_text_that_lost_its_beginning():
    model = make("unigram", 16)
    model.tokenizer.truncation_side = "left"
    with pytest.warns(UserWarning, match="the first"):
        (hit,) = model.explain_ranking("coast", [LONG], **QUICK)
    found = sorted(hit.highlights(), key=lambda each: each.start)
    assert found[-1].end == len(LONG)
    assert all(LONG[each.start : each.end] == each.text for each in found)


def test_a_prompt_that_leaves_no_room():
    model = make("roberta", 12)
    messages = raised(lambda: model.text_factors(["coast"], prompt=LONG, **QUICK))
    assert len(messages) == 2
    assert "of them of the prompt) are cut off" in messages[0]
    assert messages[1].startswith("nothing but special tokens and the prompt is left of texts[0], 'coast': the length")


@pytest.mark.parametrize("architecture", ["roberta", "bert"])
@pytest.mark.parametrize("limit", [100, UNLIMITED])
def test_more_tokens_than_positions(architecture, limit):
    model = tiny_model(FAMILIES["word_piece"](), architecture)
    model.max_seq_length = limit
    fits, long = " ".join(["coast"] * (POSITIONS - 2)), " ".join(["coast"] * (POSITIONS - 1))
    given = re.escape(f"{limit:g}")
    expected = rf"max_seq_length={given} leaves {{}} {POSITIONS + 1} tokens, and .* has positions for {POSITIONS}"

    def named(name):
        return pytest.raises(ValueError, match=expected.format(name))

    assert len(model.text_factors([fits], **QUICK)[0].tokens) == POSITIONS
    with named("text_b"):
        model.attribute_prediction("coast", long, **QUICK)
    with named(r"pairs\[0\]\[1\]"):
        list(model.explain_pairs([("coast", long)], **QUICK))
    with named(r"documents\[1\]"):
        model.explain_ranking("coast", [fits, long], **QUICK)
    with named("query"):
        model.explain_ranking(long, [fits], **QUICK)
    with named("text"):
        model.predict_memory(long, **QUICK)
    with named("the text .*…'"):
        choose_reference(model, ["coast", fits, long, "storm"])
    with pytest.raises(ValueError, match=f"leaves beside special tokens and prompt, {POSITIONS - 2}"):
        model.explain_ranking("coast", [long], passages=POSITIONS, **QUICK)
    with pytest.warns(SkippedWarning, match=expected.format(r"texts\[0\]")):
        skipped, found = model.text_factors([long, "coast"], errors="skip", **QUICK)
    assert (skipped, found.text) == (None, "coast")
    with pytest.warns(SkippedWarning, match=r"pairs\[1\]\[0\]"):
        pairs = list(model.explain_pairs([("coast", fits), (long, "coast")], errors="skip", **QUICK))
    assert [pair is None for pair in pairs] == [False, True]
    embeddings = model.encode(["coast", "storm"])
    ranking = model.explain_ranking("coast", ["coast", long], document_embeddings=embeddings, **QUICK)
    assert {hit.index: hit.explained for hit in ranking} == {0: True, 1: False}
    assert "has positions for" in next(hit.reason for hit in ranking if not hit.explained)


def test_no_limit_at_all(cleaning):
    limit, cleaning.max_seq_length = cleaning.max_seq_length, None
    try:
        with pytest.raises(ValueError, match=f"max_seq_length=None: .* set .* to at most {POSITIONS}"):
            cleaning.attribute_prediction("coast", "storm", **QUICK)
    finally:
        cleaning.max_seq_length = limit


@pytest.mark.parametrize("what", ["pairs", "factors", "highlights"])
def test_rows_of_a_corpus_with_too_many_tokens(what, tmp_path):
    model = tiny_model(FAMILIES["word_piece"]())
    model.max_seq_length = 100
    long = " ".join(["coast"] * POSITIONS)
    rows = [long, "coast"] if what == "factors" else [(long, "coast"), ("coast", "storm"), ("storm", long)]
    corpus = explain_corpus(model, rows, tmp_path / what, what=what, show_progress_bar=False, **QUICK)
    reasons = [row["reason"] for row in corpus.to_table().to_pylist()]
    assert [reason is None for reason in reasons] == [each in ("coast", ("coast", "storm")) for each in rows]
    assert all("has positions for 62" in reason for reason in reasons if reason is not None)


def test_models_without_a_table_of_positions_take_longer_texts(tmp_path):
    from tests.tiny import POSITIONS as NOMINAL
    from tests.tiny import write_model
    from xsbert import XSTransformer

    model = XSTransformer(write_model("modernbert", tmp_path), device="cpu")
    model.max_seq_length = UNLIMITED
    (found,) = model.text_factors(["the giant " * NOMINAL], layer=2, n_steps=1)
    assert len(found.tokens) == 2 * NOMINAL + 2


@pytest.fixture(scope="module")
def cleaning():
    """A model whose tokenizer drops characters that cannot be seen."""
    return tiny_model(FAMILIES["word_piece"]())


@pytest.mark.parametrize("text", NOTHING)
def test_nothing_is_left_of_a_text(cleaning, text):
    expected = "nothing but special tokens is left of {}, " + f"{text!r}: the tokenizer drops its characters"

    def check(name, call):
        messages = raised(call)
        assert len(messages) == 1
        assert messages[0].startswith(expected.format(name))

    check("text_a", lambda: cleaning.attribute_prediction(text, "coast", **QUICK))
    check("pairs[1][1]", lambda: list(cleaning.explain_pairs([("coast", "storm"), ("coast", text)], **QUICK)))
    check("documents[0]", lambda: list(cleaning.explain_matrix(["coast"], [text], **QUICK)))
    check("texts[1]", lambda: cleaning.text_factors(["coast", text], errors="skip", **QUICK))
    check("query", lambda: cleaning.explain_ranking(text, ["coast"], **QUICK))
    check("documents[1]", lambda: cleaning.explain_ranking("coast", ["storm", text], **QUICK))


def test_one_warning_for_a_ranking(cleaning):
    messages = raised(lambda: cleaning.explain_ranking("coast", [*NOTHING, "storm"], prompt=("a ", "a "), **QUICK))
    assert len(messages) == 1
    assert "special tokens and the prompt is left of documents[" in messages[0]
    assert f"so it is of {len(NOTHING) - 1} further hits" in messages[0]


def test_nothing_but_unknown_tokens(cleaning):
    messages = raised(lambda: cleaning.attribute_prediction("coast", "🎉 猫", **QUICK))
    assert [message.split(",")[0] for message in messages] == ["nothing but unknown tokens is left of text_b"]


def test_no_warning_where_the_model_sees_bytes():
    model = tiny_model(FAMILIES["roberta"]())
    assert raised(lambda: model.explain_ranking("coast", [*NOTHING, "🎉"], **QUICK)) == []


def test_an_empty_text_is_refused_as_before(cleaning):
    for text in ("", " \n"):
        with pytest.raises(ValueError, match="must hold some text"):
            cleaning.attribute_prediction(text, "coast", **QUICK)


@pytest.mark.parametrize("what", ["pairs", "factors", "highlights"])
def test_rows_of_a_corpus_of_which_nothing_is_left(cleaning, what, tmp_path):
    texts = ["coast", "\u200b", "storm", "\x00"]
    rows = texts if what == "factors" else [("coast", text) for text in texts]
    how = {"what": what, "show_progress_bar": False, "shard_size": 2, **QUICK}
    with pytest.warns(UserWarning, match="only special tokens left in row 1 and 1 further rows"):
        corpus = explain_corpus(cleaning, rows, tmp_path / what, **how)
    assert corpus.unseen() == read_corpus(tmp_path / what).unseen() == [1, 3]
    assert corpus.counts()["failed"] == 0
    clean = explain_corpus(cleaning, rows[:1], tmp_path / f"{what}-clean", **how)
    assert clean.unseen() == []
    assert np.isfinite(clean.to_table()["residual_a" if what == "pairs" else "residual"].to_numpy()).all()


def test_queries_of_a_corpus_of_which_nothing_is_left(cleaning, tmp_path):
    """Rows of highlights keep the document's tokens alone."""
    rows = [("\u200b", "coast"), ("storm", "coast"), ("\x00", "storm"), ("", "storm")]
    with pytest.warns(UserWarning, match="only special tokens left in row 0 and 1 further rows"):
        corpus = explain_corpus(
            cleaning, rows, tmp_path / "out", what="highlights", show_progress_bar=False, shard_size=3, **QUICK
        )
    assert corpus.unseen() == read_corpus(tmp_path / "out").unseen() == [0, 2]
    assert corpus.failures()["row"].to_pylist() == [3]
