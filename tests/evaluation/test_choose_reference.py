"""The comparison of references on texts without annotation, and the reference that is taken where none is named."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

from tests.evaluation.test_shift_cost import SCORES, TEXTS_A, TEXTS_B
from tests.pairs import PAIRS
from tests.tiny_models import save_tiny_model
from xsbert import XSTransformer, choose_reference, shift_cost

TEXTS = list(dict.fromkeys(TEXTS_A))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model"), "roberta")


@pytest.fixture(scope="module")
def tiny(path):
    return SentenceTransformer(modules=[Transformer(path), Pooling(16), Normalize()], device="cpu", truncate_dim=9)


def directly(model, texts, pairs, similarity):
    """Scores by the model's own `encode`."""
    e = model.encode(texts).astype(float)
    if similarity == "cosine":
        e = e / np.linalg.norm(e, axis=1, keepdims=True)
    return np.array([e[i] @ e[j] for i, j in pairs])


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("pairs", [None, [(0, 1), (1, 0), (7, 30), (7, 8), (20, 3), (5, 5)]])
def test_the_long_way_round(pairs, similarity, tiny):
    choice = choose_reference(tiny, TEXTS, pairs=pairs, similarity=similarity)
    places = [*combinations(range(len(TEXTS)), 2)] if pairs is None else pairs
    own = directly(tiny, TEXTS, places, similarity)
    assert choice.n_pairs == len(places)
    assert [row.reference for row in choice.rows] == ["<pad>", "<unk>", "<mask>"]
    for row in choice.rows:
        shifted = XSTransformer.wrap(tiny, shift=True, reference=row.reference)
        scores = directly(shifted, TEXTS, places, similarity)
        assert row.rank_agreement == pytest.approx(spearmanr(scores, own).statistic, abs=2e-3)
        assert row.mean_change == pytest.approx(np.abs(scores - own).mean(), abs=1e-5)
    assert choice.best.rank_agreement == max(row.rank_agreement for row in choice.rows)


def test_it_agrees_with_what_the_shift_costs(tiny):
    texts = [text for pair in zip(TEXTS_A, TEXTS_B, strict=True) for text in pair]
    choice = choose_reference(tiny, texts, pairs=[(i, i + 1) for i in range(0, len(texts), 2)])
    cost = shift_cost(tiny, TEXTS_A, TEXTS_B, SCORES)
    agreements = [row.rank_agreement for row in choice.rows]
    assert agreements == pytest.approx([row.rank_agreement for row in cost.rows[1:]], abs=1e-9)


def test_real_weights_prefer_the_unknown_token(plain):
    before, names = plain.encode("A text."), list(plain._modules)
    choice = choose_reference(plain, [text for pair in PAIRS[:25] for text in pair])
    changes = {row.reference: row.mean_change for row in choice.rows}
    assert choice.best.reference == "[UNK]"
    assert changes["[UNK]"] < min(changes["[PAD]"], changes["[MASK]"]) / 2
    assert list(plain._modules) == names
    assert np.array_equal(plain.encode("A text."), before)


def test_named_references(tiny):
    choice = choose_reference(tiny, TEXTS, references=["mask", "tree"])
    assert [row.reference for row in choice.rows] == ["<mask>", "tree"]
    every = choose_reference(tiny, TEXTS)
    assert choice.rows[0].rank_agreement == pytest.approx(every.rows[2].rank_agreement, abs=1e-9)


def test_of_many_texts_some_are_taken_at_even_distances(tiny):
    few = choose_reference(tiny, TEXTS, max_texts=5)
    assert few.n_pairs == 10
    spread = [TEXTS[round(place)] for place in np.linspace(0, len(TEXTS) - 1, 5)]
    assert few.rows == choose_reference(tiny, spread).rows
    # Texts that are there twice make no pairs of their own.
    assert choose_reference(tiny, [*spread, *spread]).n_pairs == 10


def test_it_prints_as_a_table(tiny):
    choice = choose_reference(tiny, TEXTS, references=["mask"])
    title, *lines = str(choice).splitlines()
    assert title == f"cosine similarity on {choice.n_pairs} pairs, shifted against unshifted"
    assert len({len(line) for line in lines}) == 1
    assert lines[1].split() == ["<mask>", f"{choice.best.rank_agreement:.4f}", f"{choice.best.mean_change:.4f}"]
    assert "<td>&lt;mask></td>" in choice._repr_html_()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"texts": "one text"}, TypeError, "got one string"),
        ({"texts": ["a cat", " ", "dog"]}, ValueError, r"texts\[1\] must hold some text"),
        ({"texts": ["a cat", "dog", "dog"]}, ValueError, "at least 3 pairs of texts are needed, got 1"),
        ({"pairs": [(0, 1), (1, 2)]}, ValueError, "at least 3 pairs of texts are needed, got 2"),
        ({"pairs": [(0, 1), (1, 2), (0, 99)]}, IndexError, r"pairs\[2\] must name places between 0 and"),
        ({"pairs": [(0, 1), (1, -1)]}, IndexError, r"pairs\[1\]"),
        ({"pairs": [(0, 1), ("a cat", "dog")]}, TypeError, r"pairs\[1\] must be two places"),
        ({"pairs": [(0, 1, 2)]}, TypeError, r"pairs\[0\] must be two places"),
        ({"max_texts": 2}, ValueError, "max_texts must be at least 3"),
        ({"references": []}, ValueError, "at least one token, got none"),
        ({"references": "pad"}, TypeError, "sequence of strings"),
        ({"similarity": "euclidean"}, ValueError, "must be None, 'cosine' or 'dot'"),
    ],
)
def test_what_is_refused(options, error, message, tiny):
    with pytest.raises(error, match=message):
        choose_reference(tiny, **{"texts": TEXTS, **options})


def test_a_shifted_model_is_refused(tiny):
    with pytest.raises(ValueError, match="shifted already"):
        choose_reference(XSTransformer.wrap(tiny, shift=True), TEXTS)


# The reference that is taken where none is named


@pytest.mark.parametrize("shift", [False, True])
def test_the_unknown_token_is_the_default(path, shift):
    model = XSTransformer(path, shift=shift, device="cpu")
    out = model.attribute_prediction("a cat", "the old dog", layer=1, n_steps=1)
    assert out.settings.reference == "<unk>"
    named = XSTransformer(path, shift=shift, reference="unk", device="cpu")
    again = named.attribute_prediction("a cat", "the old dog", layer=1, n_steps=1)
    assert again.matrix.tobytes() == out.matrix.tobytes()


def test_a_tokenizer_without_one_takes_padding(path):
    model = SentenceTransformer(path, device="cpu")
    model.tokenizer.unk_token = None
    wrapped = XSTransformer.wrap(model)
    out = wrapped.attribute_prediction("a cat", "the old dog", layer=1, n_steps=1)
    assert out.settings.reference == "<pad>"
