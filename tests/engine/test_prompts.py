"""Which tokens are prompt, and how words are spelled, with tokenizers of each family."""

import pytest

from tests.subword_tokenizers import FAMILIES, WithoutOffsets, tiny_model
from xsbert import aggregate, explain_corpus
from xsbert.text.display import display_tokens

QUICK = {"layer": 1, "n_steps": 2}
MARKS = "ĠĊ▁<"
PROMPTS = ["query: ", "query:", "query", "Passage:\n", "a  ", "« coffee » "]
TEXTS = ["weather", "The weather is COLD", "  the  coast", "naïve café 🎉 Ｗalk\n\nstorm"]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return tiny_model(FAMILIES[request.param]())


def of_text(labels, roles):
    """Labels of the units that are text."""
    return [label for label, role in zip(labels, roles, strict=True) if role == "text"]


def check_roles(model, prompt, text):
    """Tokens whose last visible character is in the prompt, and no others, are prompt."""
    found = model.explainer().tokenized(text, model.explainer().prompt(prompt), warn=False)
    for (start, end), role in zip(found.spans, found.roles, strict=True):
        if role == "text":
            assert len(prompt) <= start <= end
            assert end > len(prompt)
        elif role == "prompt":
            assert end <= len(prompt)
    covered = {at for span in of_text(found.spans, found.roles) for at in range(*span)}
    visible = {at for at in range(len(prompt), len(found.text)) if not found.text[at].isspace()}
    assert visible <= covered
    return found


@pytest.mark.parametrize("prompt", PROMPTS)
def test_every_visible_character_of_the_text_is_text(model, prompt):
    for text in TEXTS:
        check_roles(model, prompt, text)


def test_a_query_of_one_word(model):
    model.prompts = {"query": "query: ", "document": "passage: "}
    sides = {"task": ("query", "document")}
    out = model.attribute_prediction("weather", "coast", **sides, **QUICK)
    words = out.words()
    for side, word in ((words.a, "weather"), (words.b, "coast")):
        held = of_text(side.tokens, side.roles)
        assert held == [word]
    assert "weather · coast" in str(words)
    assert "none between words" not in str(out)
    assert out.over(a="sentences").tokens_a.count("weather") == 1
    ranking = model.explain_ranking("weather", ["coast", "a long walk"], **QUICK)
    best = next(hit for hit in ranking if hit.text == "coast")
    assert [(each.text, each.start, each.end) for each in best.highlights()] == [("coast", 0, 5)]
    assert of_text(best.query.units, best.query.roles) == ["weather"]
    assert "weather" in str(ranking)
    by_name = model.attribute_prediction("weather", "coast", prompt_name=("query", "document"), **QUICK)
    assert by_name.a.roles == out.a.roles


def test_without_a_prompt_nothing_is_prompt(model):
    for text in TEXTS:
        assert "prompt" not in model.explainer().tokenized(text).roles


def test_highlights_are_words_of_the_text(model):
    document = "the  weather\nis cold 🎉"
    (hit,) = model.explain_ranking("coast", [document], prompt=("query: ", "passage: "), **QUICK)
    found = sorted(hit.highlights(), key=lambda each: each.start)
    assert "".join(each.text for each in found) == "".join(document.split())
    assert all(each.text == document[each.start : each.end] == each.text.strip() for each in found)


@pytest.mark.parametrize("text", TEXTS)
def test_words_are_spelled_by_the_text(model, text):
    out = model.attribute_prediction(text, "coast", **QUICK).words()
    spelled = of_text(out.tokens_a, out.a.roles)
    assert not any(mark in word for word in spelled for mark in MARKS)
    assert "".join("".join(spelled).replace("␣", "").replace("↵", "").split()) == "".join(text.split())
    page, record = out.to_html(), out.to_dict()
    assert record["tokens_a"] == out.tokens_a
    assert not any(mark in page.partition("<script")[0] for mark in "ĠĊ▁")
    assert not any(mark in str(out) for mark in "ĠĊ▁")


def test_tokens_are_shown_without_marks(model):
    out = model.attribute_prediction("the coast\nis naïve 🎉", "a  walk", **QUICK)
    labels = [label for side in (out.a, out.b) for label in of_text(display_tokens(side), side.roles)]
    assert not any(mark in label for label in labels for mark in "ĠĊ▁" if label != "<unk>")
    assert not any(label.startswith("<0x") for label in labels)
    assert not any(mark in out.to_html().partition("<script")[0] for mark in "ĠĊ▁")


def test_sums_by_word(model, tmp_path):
    pairs = [("the coast\nis cold", "a  walk 🎉"), ("naïve\n\nweather", "storm")]
    corpus = explain_corpus(model, pairs, tmp_path / "pairs", show_progress_bar=False, **QUICK)
    table = aggregate(corpus, by="word").to_pylist()
    labels = [row["label"] for row in table]
    spelled = [label for label in labels if label is not None]
    assert not any(mark in label for label in spelled for mark in MARKS if label != "<unk>")
    assert {"coast", "cold", "walk", "storm", "naïve"} <= set(spelled)
    # Special tokens are no words, but have their part in the sums.
    assert None in labels
    rows = corpus.to_table().to_pylist()
    total = sum(row["sum"] for row in table) + sum(row["baseline"] for row in rows)
    assert total == pytest.approx(sum(row["score"] for row in rows), abs=1e-6 + sum(row["error"] for row in rows))


@pytest.mark.parametrize("text", ["Ġgantija", "a ▁ mark", "<0x0A> is a byte", "##ing"])
def test_what_a_mark_is_elsewhere_stays(model, text):
    out = model.attribute_prediction(text, "coast", **QUICK).words()
    spelled = of_text(out.tokens_a, out.a.roles)
    assert "".join(spelled).replace("␣", "") == "".join(text.split())


def test_without_offsets():
    model = tiny_model(WithoutOffsets(model_max_length=20))
    for prompt, n_prompt in (("query: ", 2), ("query:", 2), ("que", 1), (None, 0)):
        out = model.attribute_prediction("weather", "a coast", prompt=(prompt, None), **QUICK)
        assert out.a.spans is None
        assert out.a.roles.count("prompt") == n_prompt
        assert out.a.roles[0] == out.a.roles[-1] == "special"
    unknown = model.attribute_prediction("é", "a coast", **QUICK)
    assert unknown.a.roles == ("special", "text", "special")
