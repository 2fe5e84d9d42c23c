"""The comparison of references on texts without annotation, and the reference that is taken where none is named."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

from tests.evaluation.test_shift_cost import SCORES, TEXTS_A, TEXTS_B
from tests.pairs import PAIRS
from tests.tiny_models import save_tiny_model
from xsbert import XSTransformer, choose_reference, faithfulness, shift_cost
from xsbert.evaluation import references

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
    choice = choose_reference(tiny, TEXTS, pairs=pairs, similarity=similarity, n_explained=0)
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
    choice = choose_reference(tiny, texts, pairs=[(i, i + 1) for i in range(0, len(texts), 2)], n_explained=0)
    cost = shift_cost(tiny, TEXTS_A, TEXTS_B, SCORES)
    agreements = [row.rank_agreement for row in choice.rows]
    assert agreements == pytest.approx([row.rank_agreement for row in cost.rows[1:]], abs=1e-9)


def test_real_weights_prefer_the_unknown_token(plain):
    before, names = plain.encode("A text."), list(plain._modules)
    choice = choose_reference(plain, [text for pair in PAIRS[:25] for text in pair], n_explained=0)
    changes = {row.reference: row.mean_change for row in choice.rows}
    assert choice.best.reference == "[UNK]"
    assert changes["[UNK]"] < min(changes["[PAD]"], changes["[MASK]"]) / 2
    assert list(plain._modules) == names
    assert np.array_equal(plain.encode("A text."), before)


@pytest.mark.slow
def test_one_call_gives_both_answers(plain):
    """Faithfulness by removed words decides for the model as it is, rank agreement for an exact one."""
    pairs = [(place, place + 1) for place in range(0, 48, 2)]
    texts = [text for pair in PAIRS[:24] for text in pair]
    choice = choose_reference(plain, texts, pairs=pairs, references=["mask", "unk"], n_explained=12)
    direct = faithfulness(
        XSTransformer.wrap(plain),
        [PAIRS[round(place)] for place in np.linspace(0, 23, 12)],
        methods=["integrated"],
        references=["mask", "unk"],
        operators=["remove"],
        show_progress_bar=False,
    )
    found = [choice.faithfulness.estimate(place, operator="remove") for place in range(2)]
    assert found == [direct.estimate(place, operator="remove") for place in range(2)]
    assert choice.for_explaining.reference == "[UNK]" == direct.recommended[1]
    assert choice.for_exact.reference == "[UNK]"
    assert "To explain the model as it is: [UNK] (the interactions follow" in str(choice)
    assert "To make an exact model: [UNK]" in choice._repr_html_()
    # What cannot be told apart is decided by the effect of the shift.
    other = replace(choice, rows=choice.rows[::-1], faithfulness=tied(choice.faithfulness))
    assert other.for_explaining is other.for_exact


def tied(table):
    """With numbers that are the same for all references."""
    return replace(table, rows=tuple(replace(row, numbers=table.rows[0].numbers) for row in table.rows))


def test_without_enough_texts_one_answer_is_missing(tiny):
    choice = choose_reference(tiny, TEXTS[:5])
    assert choice.faithfulness is None
    assert choice.for_explaining is None
    assert "To explain the model as it is: not measured" in str(choice)
    assert choose_reference(tiny, TEXTS, n_explained=0).faithfulness is None


def test_a_prompt_is_part_of_what_is_explained(tiny, monkeypatch):
    seen = []
    monkeypatch.setattr(references, "faithfulness", lambda model, pairs, **_: seen.append((model, pairs)))
    choose_reference(tiny, TEXTS, prompt="the old ", references=["unk"])
    ((model, pairs),) = seen
    assert len(pairs) <= 20
    assert model.explainer().tokenized(pairs[0][0]).prompt == "the old "
    assert "given" not in tiny.prompts


def test_each_text_is_explained_with_the_nearest():
    places = np.array([*combinations(range(4), 2)]).T
    scores = np.array([0.1, 0.9, 0.2, 0.3, 0.8, 0.4])  # 01, 02, 03, 12, 13, 23
    assert references._nearest(places, scores, 4).T.tolist() == [[0, 2], [1, 3]]


def test_named_references(tiny):
    choice = choose_reference(tiny, TEXTS, references=["mask", "tree"], n_explained=0)
    assert [row.reference for row in choice.rows] == ["<mask>", "tree"]
    every = choose_reference(tiny, TEXTS, n_explained=0)
    assert choice.rows[0].rank_agreement == pytest.approx(every.rows[2].rank_agreement, abs=1e-9)


def test_of_many_texts_some_are_taken_at_even_distances(tiny):
    few = choose_reference(tiny, TEXTS, max_texts=5, n_explained=0)
    assert few.n_pairs == 10
    spread = [TEXTS[round(place)] for place in np.linspace(0, len(TEXTS) - 1, 5)]
    assert few.rows == choose_reference(tiny, spread, n_explained=0).rows
    # Texts that are there twice make no pairs of their own.
    assert choose_reference(tiny, [*spread, *spread], n_explained=0).n_pairs == 10


def test_it_prints_as_a_table(tiny):
    choice = choose_reference(tiny, TEXTS, references=["mask"])
    title, *lines, _, _ = str(choice).splitlines()
    n_explained = choice.faithfulness.n_pairs
    scores = f"cosine similarity; scores shifted against unshifted on {choice.n_pairs} pairs"
    assert title == f"{scores}, faithfulness on {n_explained}"
    assert len({len(line) for line in lines}) == 1
    name, *_, agreement, change = lines[1].split()
    assert [name, agreement, change] == [
        "<mask>",
        f"{choice.best.rank_agreement:.4f}",
        f"{choice.best.mean_change:.4f}",
    ]
    assert "<td>&lt;mask&gt;</td>" in choice._repr_html_()


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
        ({"n_explained": 9}, ValueError, "n_explained must be 0 or at least 10, got 9"),
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
