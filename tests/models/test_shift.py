"""The reference shift as a part of the model: saved, loaded, trained, cached."""

import copy
import json
import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

from tests.tiny_models import TEXTS, save_tiny_model
from xsbert import XSBert, XSMPNet, XSRoberta, XSTransformer
from xsbert.engine.reference import reference_features, resolve_reference
from xsbert.models import ReferenceShift, ReferenceTransformer
from xsbert.models import reference as reference_module

CLASSES = {"bert": XSBert, "roberta": XSRoberta, "mpnet": XSMPNet}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Paths of tiny vanilla transformers by model type."""
    return {name: save_tiny_model(tmp_path_factory.mktemp(name), name) for name in CLASSES}


@pytest.fixture
def model(saved):
    return XSTransformer(saved["bert"], shift=True, reference="pad", device="cpu")


def with_modules(path, *modules, pooling="mean"):
    transformer = Transformer(path)
    return [transformer, Pooling(16, pooling_mode=pooling), *modules]


def difference(a, b):
    return float(np.abs(np.asarray(a) - np.asarray(b)).max())


def references_of(model, texts):
    """Texts spelled as their own references, one token for each of theirs."""
    token = model[0].reference.token
    return [" ".join([token] * (len(ids) - 2)) for ids in model.tokenizer(texts)["input_ids"]]


# Saving and loading


REAL = {"minilm": XSBert, "roberta": XSRoberta, "mpnet": XSMPNet}


@pytest.mark.parametrize(("model_type", "reference"), [(name, token) for name in CLASSES for token in ("pad", "mask")])
def test_round_trip(model_type, reference, saved, tmp_path):
    check_round_trip(saved[model_type], CLASSES[model_type], reference, tmp_path)


@pytest.mark.parametrize(
    "name", [name if name == "minilm" else pytest.param(name, marks=pytest.mark.slow) for name in REAL]
)
def test_round_trip_of_real_weights(name, request, tmp_path):
    check_round_trip(request.getfixturevalue(f"{name}_path"), REAL[name], "unk", tmp_path)


def check_round_trip(path, cls, reference, tmp_path):
    unshifted = cls(path, device="cpu").encode(TEXTS)
    original = cls(path, shift=True, reference=reference, device="cpu")
    embeddings = original.encode(TEXTS)
    assert difference(embeddings, unshifted) > 1e-2
    original.save_pretrained(str(tmp_path))

    for again in (cls(str(tmp_path), device="cpu"), XSTransformer(str(tmp_path), shift=True, device="cpu")):
        assert again.shifted
        assert again[0].reference == original[0].reference
        assert difference(again.encode(TEXTS), embeddings) < 1e-6
    assert XSTransformer(str(tmp_path), reference=reference, device="cpu").shifted
    trusted = SentenceTransformer(str(tmp_path), trust_remote_code=True, device="cpu")
    assert difference(trusted.encode(TEXTS), embeddings) < 1e-6
    wrapped = XSTransformer.wrap(trusted)
    assert wrapped.shifted
    assert difference(wrapped.encode(TEXTS), embeddings) < 1e-6


def test_a_loaded_model_explains_exactly(saved, tmp_path):
    XSTransformer(saved["mpnet"], shift=True, reference="unk", device="cpu").save_pretrained(str(tmp_path))
    model = XSTransformer(str(tmp_path), device="cpu")
    result = model.attribute_prediction(TEXTS[0], TEXTS[1], layer=1, n_steps=64)
    score = float(model.similarity(model.encode(TEXTS[0]), model.encode(TEXTS[1])))
    assert result.matrix.sum() == pytest.approx(score, abs=1e-4)


def test_saving_twice_changes_nothing(model, tmp_path):
    model.save_pretrained(str(tmp_path / "once"))
    XSTransformer(str(tmp_path / "once"), device="cpu").save_pretrained(str(tmp_path / "twice"))
    for name in ("modules.json", "sentence_bert_config.json"):
        assert (tmp_path / "once" / name).read_text() == (tmp_path / "twice" / name).read_text()
    assert (tmp_path / "twice" / "README.md").read_text().count("## Exact attributions") == 1


def test_plain_sentence_transformers_refuses(model, tmp_path):
    model.save_pretrained(str(tmp_path))
    with pytest.raises(ValueError, match=r"reference\.ReferenceTransformer(.|\n)*trust_remote_code=True"):
        SentenceTransformer(str(tmp_path), device="cpu")


def test_foreign_code_is_not_trusted(model, tmp_path):
    model.save_pretrained(str(tmp_path))
    modules = json.loads((tmp_path / "modules.json").read_text())
    modules[0]["type"] = "xsbert.models.reference.Reference"
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ValueError, match="trust_remote_code"):
        XSTransformer(str(tmp_path), device="cpu")


def test_another_reference_is_refused(model, tmp_path):
    model.save_pretrained(str(tmp_path))
    for load in (lambda **options: XSTransformer(str(tmp_path), device="cpu", **options), None):
        load = load or (lambda **options: XSTransformer.wrap(model, **options))
        with pytest.raises(ValueError, match=r"shifted by the reference '\[PAD\]'.*got reference='unk'"):
            load(reference="unk")
        with pytest.raises(ValueError, match="got reference='mask'"):
            load(shift=True, reference="mask")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda reference: None, "must be saved with it"),
        (lambda reference: {"token": "[PAD]"}, "must be saved with it"),
        (lambda reference: {**reference, "n_prefix": -1}, "whole numbers"),
        (lambda reference: {**reference, "n_suffix": 1.5}, "whole numbers"),
        (lambda reference: {**reference, "position_offset": "2"}, "whole numbers"),
        (lambda reference: {**reference, "token_id": 3}, "does not match the reference"),
        (lambda reference: {**reference, "token_id": 10**30}, "does not match the reference"),
        (lambda reference: {**reference, "token": "nowhere"}, "not in the tokenizer's vocabulary"),
        (lambda reference: {**reference, "token": 5}, "token of a saved reference must be a string, got 5"),
        (lambda reference: {**reference, "n_prefix": 0}, "n_prefix=0, and the tokenizer puts 1 special tokens before"),
        (lambda reference: {**reference, "n_prefix": 10**30}, "n_prefix=10+, and the tokenizer puts 1 special"),
        (lambda reference: {**reference, "n_suffix": 0}, "n_suffix=0, and the tokenizer puts 1 special tokens after"),
        (lambda reference: {**reference, "n_suffix": 2}, "n_suffix=2, and the tokenizer puts 1 special tokens after"),
        (lambda reference: {**reference, "position_offset": 0}, "position_offset=0, and the model allows None"),
        (lambda reference: {**reference, "position_offset": 10**6}, "position_offset=10+, and the model allows None"),
    ],
)
def test_a_damaged_reference_is_refused(change, message, model, tmp_path):
    model.save_pretrained(str(tmp_path))
    file = tmp_path / "sentence_bert_config.json"
    config = json.loads(file.read_text())
    config["reference"] = change(config["reference"])
    file.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        XSTransformer(str(tmp_path), device="cpu")


@pytest.mark.parametrize("size", [0, 4, 1000, -8])
def test_weights_that_are_cut_short_are_named(size, model, tmp_path):
    model.save_pretrained(str(tmp_path))
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(OSError, match=rf"the weights in {re.escape(str(file))} cannot be read.*cut short"):
        XSTransformer(str(tmp_path), device="cpu")


def test_the_file_that_is_cut_short_is_named(saved, tmp_path):
    modules = with_modules(saved["bert"], Dense(16, 8))
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(tmp_path))
    file = tmp_path / "2_Dense" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(OSError, match=rf"the weights in {re.escape(str(file))} cannot be read"):
        XSTransformer(str(tmp_path), device="cpu")


def test_whatever_takes_the_reference_away_from_zero_is_refused(model, saved):
    front, pooling, shift = list(model)
    XSTransformer(modules=[front, pooling, shift, Normalize()], device="cpu")
    with pytest.raises(ValueError, match="Dense behind the reference shift"):
        XSTransformer(modules=[front, pooling, shift, Dense(16, 8)], device="cpu")
    with pytest.raises(ValueError, match="Dense behind the reference shift"):
        XSTransformer.wrap(SentenceTransformer(modules=[front, pooling, shift, Dense(16, 8)], device="cpu"))
    for modules in ([front, pooling], [Transformer(saved["bert"]), pooling, shift], [front, pooling, shift, shift]):
        with pytest.raises(ValueError, match="one ReferenceTransformer in front"):
            XSTransformer(modules=list(modules), device="cpu")
    bare = ReferenceTransformer.from_transformer(Transformer(saved["bert"]), None)
    with pytest.raises(ValueError, match="must have a reference"):
        XSTransformer(modules=[bare, pooling, ReferenceShift()], device="cpu")


# What is subtracted


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken", "weightedmean"])
@pytest.mark.parametrize("model_type", CLASSES)
def test_each_text_is_shifted_by_the_reference_of_its_own_length(model_type, pooling, saved):
    modules = with_modules(saved[model_type], Dense(16, 8, activation_function=torch.nn.Tanh()), pooling=pooling)
    plain = SentenceTransformer(modules=modules, device="cpu").eval()
    shifted = XSTransformer.wrap(plain, shift=True, reference="pad")
    reference = resolve_reference(plain[0], "pad")
    for text, embedding in zip(TEXTS, shifted.encode(TEXTS), strict=True):
        features = plain.preprocess([text])
        with torch.no_grad():
            f_x = plain(dict(features))["sentence_embedding"][0]
            f_r = plain(reference_features(reference, dict(features)))["sentence_embedding"][0]
        assert difference(embedding, f_x - f_r) < 5e-6


@pytest.mark.parametrize(
    ("model_type", "options"),
    [
        ("bert", {}),
        ("roberta", {"reference": "mask"}),
        ("roberta", {"reference_positions": "padding"}),
        ("mpnet", {"reference": "mask"}),
        ("mpnet", {"reference_positions": "padding"}),
    ],
)
def test_a_text_that_is_its_own_reference_is_zero_before_it_is_masked(model_type, options, saved):
    model = XSTransformer(saved[model_type], shift=True, device="cpu", **options)
    # Of several lengths, each behind the text that it is the reference of.
    texts = [text for pair in zip(TEXTS, references_of(model, TEXTS), strict=True) for text in pair]
    features = model.preprocess(texts)
    with torch.no_grad():
        for module in model:
            if isinstance(module, ReferenceShift):
                assert features["is_reference"].tolist() == [False, True] * len(TEXTS)
                features["is_reference"] = torch.zeros_like(features["is_reference"])
            features = module(features)
    embeddings = features["sentence_embedding"]
    assert embeddings[1::2].abs().max() < 2e-6
    assert embeddings[::2].abs().amax(1).min() > 1e-2


# BERT's own positions change with padding on the left.
@pytest.mark.parametrize(
    ("model_type", "padding_side"), [*((name, "right") for name in CLASSES), ("roberta", "left"), ("mpnet", "left")]
)
def test_padding_and_batch_do_not_matter(model_type, padding_side, tmp_path):
    path = save_tiny_model(tmp_path, model_type, padding_side)
    model = XSTransformer(path, shift=True, device="cpu")
    one_by_one = np.stack([model.encode(text) for text in TEXTS])
    for batch_size in (2, 3, 64):
        fresh = XSTransformer(path, shift=True, device="cpu")
        assert difference(fresh.encode(TEXTS, batch_size=batch_size), one_by_one) < 2e-6

    collator = SentenceTransformerDataCollator(preprocess_fn=model.preprocess)
    rows = [{"a": a, "b": b, "label": 1.0} for a, b in zip(TEXTS, reversed(TEXTS), strict=True)]
    batch = collator(rows)
    for side, order in (("a", one_by_one), ("b", one_by_one[::-1])):
        features = {name[2:]: value for name, value in batch.items() if name.startswith(f"{side}_")}
        assert difference(model.eval()(features)["sentence_embedding"].detach(), order) < 2e-6

    labels = np.linspace(0, 1, len(TEXTS))
    results = [
        EmbeddingSimilarityEvaluator(TEXTS, TEXTS[::-1], labels, batch_size=size, write_csv=False)(model)
        for size in (1, 64)
    ]
    assert results[0] == pytest.approx(results[1], abs=1e-5)


def test_a_prompt_left_out_of_the_pooling(saved):
    transformer, pooling = with_modules(saved["bert"])
    pooling.include_prompt = False
    model = XSTransformer(modules=[transformer, pooling], shift=True, device="cpu")
    # The same length with prompts of two lengths: the cached reference must be pooled as the text is.
    calls = [("the cat sees", "the "), ("cat sees", "the old "), ("the cat sees", "the ")]
    for text, prompt in calls:
        cached = model.encode(text, prompt=prompt)
        fresh = XSTransformer(modules=[transformer, pooling], shift=True, device="cpu").encode(text, prompt=prompt)
        assert difference(cached, fresh) < 1e-6


# Training


def test_gradient_flows_through_the_reference(saved, tmp_path):
    path = save_tiny_model(tmp_path, dropout=0.0)
    # Not padding: its embedding never gets a gradient, transformers keeps it as it is.
    options = {"reference": "mask", "model_kwargs": {"dtype": torch.float64}}
    model = XSTransformer(path, shift=True, device="cpu", **options).train()
    plain = SentenceTransformer(path, device="cpu", model_kwargs={"dtype": torch.float64}).train()
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(3, 16, dtype=torch.float64, generator=generator)

    def loss(of):
        features = of.preprocess(TEXTS[:3])
        return (of(features)["sentence_embedding"] * weights).tanh().sum()

    loss(model).backward()
    loss(plain).backward()
    trained = [parameter for parameter in model.parameters() if parameter.grad is not None]
    pairs = [(p, torch.randn(p.shape, dtype=p.dtype, generator=generator)) for p in trained]
    pairs[0][1][model.tokenizer.pad_token_id] = 0
    slope = sum((p.grad * d).sum() for p, d in pairs)

    def loss_at(step):
        with torch.no_grad():
            for parameter, direction in pairs:
                parameter += step * direction
            value = loss(model)
            for parameter, direction in pairs:
                parameter -= step * direction
        return value

    h = 1e-6
    assert slope.item() == pytest.approx(((loss_at(h) - loss_at(-h)) / (2 * h)).item(), rel=1e-6)
    # No text holds the reference token: its embedding gets a gradient through the references alone.
    token_id = model[0].reference.token_id
    assert model[0].model.embeddings.word_embeddings.weight.grad[token_id].abs().max() > 1e-3
    assert plain[0].model.embeddings.word_embeddings.weight.grad[token_id].abs().max() == 0


def train_some_steps(model, n_steps=15):
    """Plain gradient descent on two pairs; returns the losses."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    labels = torch.tensor([1.0, 0.0])
    losses = []
    model.train()
    for _ in range(n_steps):
        a, b = (model(model.preprocess(texts))["sentence_embedding"] for texts in (TEXTS[:2], TEXTS[2:4]))
        loss = (torch.cosine_similarity(a, b) - labels).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    return losses


@pytest.mark.parametrize("model_type", CLASSES)
def test_the_reference_stays_at_zero_in_training(model_type, tmp_path):
    model = XSTransformer(save_tiny_model(tmp_path, model_type, dropout=0.0), shift=True, device="cpu")
    references = references_of(model, TEXTS)
    assert np.all(model.encode(references) == 0)
    before = model.encode(TEXTS)
    losses = train_some_steps(model)
    assert losses[-1] < losses[0] / 2
    assert difference(model.encode(TEXTS), before) > 1e-2
    assert np.all(model.encode(references) == 0)
    result = model.attribute_prediction(TEXTS[0], TEXTS[1], layer=1, n_steps=64)
    score = float(model.similarity(model.encode(TEXTS[0]), model.encode(TEXTS[1])))
    assert result.matrix.sum() == pytest.approx(score, abs=1e-3)


# The cache of reference states


class Counter:
    """Counts the rows that reach a model's encoder."""

    def __init__(self, model):
        self.rows = 0
        model[0].model.embeddings.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module, args, kwargs):
        self.rows += len(kwargs["input_ids"])


def test_each_length_of_reference_runs_once(model):
    counter = Counter(model)
    lengths = {len(ids) for ids in model.tokenizer(TEXTS)["input_ids"]}
    model.encode(TEXTS, batch_size=2)
    assert counter.rows == len(TEXTS) + len(lengths)
    model.encode(TEXTS, batch_size=2)
    assert counter.rows == 2 * len(TEXTS) + len(lengths)


def test_nothing_is_kept_in_training_or_with_gradients(model):
    model.train()
    with torch.no_grad():
        model(model.preprocess(TEXTS))
    model.eval()
    model(model.preprocess(TEXTS))
    assert model[0]._kept is None
    model.encode(TEXTS)
    assert model[0]._kept is not None
    counter = Counter(model)
    model(model.preprocess(TEXTS))
    assert counter.rows > len(TEXTS)
    assert model[0]._kept is None
    model.encode(TEXTS)
    model.train()
    assert model[0]._kept is None


def in_place(model):
    with torch.no_grad():
        model[0].model.embeddings.LayerNorm.weight.mul_(1.5)


def load_weights(model):
    model.load_state_dict({name: value * 1.1 for name, value in model.state_dict().items()})


def replace_parameter(model):
    norm = model[0].model.encoder.layer[1].output.LayerNorm
    norm.weight = torch.nn.Parameter(norm.weight.detach() + 0.5)


def replace_module(model):
    torch.manual_seed(3)
    model[0].model.encoder.layer[0] = copy.deepcopy(model[0].model.encoder.layer[1])


def optimizer_step(**options):
    def step(model):
        # In evaluation mode, where no call of train() gives the change away.
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, **options)
        model(model.preprocess(TEXTS))["sentence_embedding"].square().sum().backward()
        optimizer.step()

    return step


CHANGES = {
    "in place": in_place,
    "load_state_dict": load_weights,
    "parameter": replace_parameter,
    "module": replace_module,
    "AdamW foreach": optimizer_step(foreach=True),
    "AdamW single": optimizer_step(foreach=False),
    "AdamW fused": optimizer_step(fused=True),
    "dtype": lambda model: model.to(torch.bfloat16),
    "there and back": lambda model: model.to(torch.bfloat16).to(torch.float32),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_the_weights_is_seen(name, model):
    before = model.encode(TEXTS)
    CHANGES[name](model)
    after = model.encode(TEXTS)
    assert difference(after, before) > 1e-4
    model[0]._kept = None
    assert difference(after, model.encode(TEXTS)) < 1e-6


def test_the_test_above_can_fail(model):
    model.encode(TEXTS)
    kept = model[0]._kept[1]
    in_place(model)
    model.encode(TEXTS[:1])
    model[0]._kept = (model[0]._kept[0], kept)
    stale = model.encode(TEXTS)
    model[0]._kept = None
    assert difference(stale, model.encode(TEXTS)) > 1e-3


def test_autocast_has_states_of_its_own(model):
    exact = model.encode(TEXTS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model.encode(TEXTS)
        assert model[0]._kept[0][0] == torch.bfloat16
    assert 1e-5 < difference(low, exact) < 0.1
    assert difference(model.encode(TEXTS), exact) < 1e-6


def test_the_memory_is_bounded(model, monkeypatch):
    monkeypatch.setattr(reference_module, "MAX_CACHED_TOKENS", 20)
    embeddings = model.encode(TEXTS)
    kept = model[0]._kept[1]
    assert kept
    assert sum(kept) <= 20
    assert all(
        len(states) == length and states.untyped_storage().nbytes() == states.nbytes for length, states in kept.items()
    )
    model[0]._kept = None
    monkeypatch.setattr(reference_module, "MAX_CACHED_TOKENS", 10**6)
    assert difference(model.encode(TEXTS), embeddings) < 1e-6


def test_kept_states_are_not_copied_or_saved(model, tmp_path):
    embeddings = model.encode(TEXTS)
    assert model[0]._kept is not None
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin[0]._kept is None
        in_place(twin)
        assert difference(twin.encode(TEXTS), embeddings) > 1e-3
        assert difference(model.encode(TEXTS), embeddings) < 1e-6
    wrapped = XSTransformer.wrap(SentenceTransformer(modules=list(model), device="cpu"))
    assert difference(wrapped.encode(TEXTS), embeddings) < 1e-6
    assert not any("kept" in name for name in model.state_dict())


def test_explaining_between_encodings(model):
    embeddings = model.encode(TEXTS)
    model.attribute_prediction(TEXTS[0], TEXTS[1], layer=1, n_steps=4)
    assert difference(model.encode(TEXTS), embeddings) == 0


def test_threads_share_a_model(saved):
    model = XSTransformer(saved["roberta"], shift=True, device="cpu")
    expected = model.encode(TEXTS, batch_size=1)
    model[0]._kept = None
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda i: model.encode(TEXTS, batch_size=1 + i % 3), range(32)))
    assert max(difference(result, expected) for result in results) < 2e-6
