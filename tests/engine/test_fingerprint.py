"""Factors are combined if, and only if, one model made them: its name and folder do not count."""

import copy
import ctypes
import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch.nn.functional import gelu, relu

from tests.tiny import EACH_ARCHITECTURE, write_model
from xsbert import Attribution, XSTransformer, load_factors, save_factors
from xsbert.engine import fingerprint
from xsbert.engine.fingerprint import model_fingerprint

TEXTS = ["The coffee is bad.", "This is not a good coffee."]
FEW = {"layer": 5, "n_steps": 2}


@pytest.fixture
def own(minilm_path):
    return XSTransformer(minilm_path, device="cpu")


def of(model):
    return model_fingerprint(model, model.reference)


def large(model):
    return model[0].model.encoder.layer[3].output.dense.weight


def test_a_changed_model_is_another(own):
    """As it was found: the first number stays as it is, and torch counts no new version."""
    (before,) = own.token_factors(TEXTS[:1], **FEW)
    weight = own[0].model.encoder.layer[5].output.dense.weight
    version = weight._version
    weight.data[1:] *= 1.5
    assert weight._version == version
    (after,) = own.token_factors(TEXTS[1:], **FEW)
    with pytest.raises(ValueError, match="factors of different fingerprint cannot be combined"):
        Attribution.of(before, after, "cosine")
    weight.data[1:] /= 1.5
    own[1] = Pooling(384, "cls")
    (after,) = own.token_factors(TEXTS[1:], **FEW)
    with pytest.raises(ValueError, match="factors of different fingerprint cannot be combined"):
        Attribution.of(before, after, "cosine")


def bias(model):
    return model[0].model.encoder.layer[3].output.dense.bias


def layer(model):
    return model[0].model.encoder.layer[3]


def set_on(model, kind, name, value):
    for module in model.modules():
        if isinstance(module, kind):
            setattr(module, name, value)


def permute(dimension):
    def change(model):
        order = torch.arange(large(model).shape[dimension])
        order[[3, 5]] = order[[5, 3]]
        large(model).data = large(model).data.index_select(dimension, order)

    return change


def swap_layers(model):
    layers = model[0].model.encoder.layer
    layers[0], layers[1] = layers[1], layers[0]


CHANGES = {
    "the last number": lambda model: large(model).data[-1, -1].add_(1e-6),
    "any number": lambda model: large(model).data[200, 777].mul_(1.01),
    "the last of a bias": lambda model: bias(model).data[-1:].add_(1e-6),
    "the sign of a number": lambda model: large(model).data[7, 9].neg_(),
    "the signs of a row": lambda model: large(model).data[7].neg_(),
    "the signs of a column": lambda model: large(model).data[:, 9].neg_(),
    "the signs of two columns": lambda model: large(model).data[:, 9:12:2].neg_(),
    "all signs": lambda model: large(model).data.neg_(),
    "the order of rows": permute(0),
    "the order of columns": permute(1),
    "the order of layers": swap_layers,
    "a word": lambda model: model[0].model.embeddings.word_embeddings.weight.data[30521].mul_(2),
    "a buffer": lambda model: model[0].model.embeddings.position_ids[0, 3:5].fill_(3),
    "the precision": lambda model: model.double(),
    "the transformer's configuration": lambda model: setattr(model[0].config, "layer_norm_eps", 1e-5),
    "a setting of the pooling": lambda model: model.set_pooling_include_prompt(False),
    "the modules": lambda model: model.__delitem__(2),
    "the epsilon of the norms": lambda model: set_on(model, torch.nn.LayerNorm, "eps", 1e-2),
    "the epsilon of one norm": lambda model: setattr(layer(model).output.LayerNorm, "eps", 1e-2),
    "an activation": lambda model: setattr(layer(model).intermediate, "intermediate_act_fn", torch.nn.ReLU()),
    "the function of an activation": lambda model: setattr(layer(model).intermediate.intermediate_act_fn, "act", relu),
    "a part of a function": lambda model: setattr(
        layer(model).intermediate.intermediate_act_fn, "act", partial(gelu, approximate="tanh")
    ),
    "the scale of attention": lambda model: setattr(layer(model).attention.self, "scaling", 0.35),
    "a switch": lambda model: setattr(layer(model).attention.self, "is_causal", True),
    "a setting of a module by numpy": lambda model: setattr(layer(model).output.LayerNorm, "eps", np.float32(1e-2)),
}


def by_numpy(model):
    large(model).detach().numpy()[3, 4] += 1e-4


def through_a_pointer(model):
    ctypes.c_float.from_address(large(model).data_ptr() + 4 * 11).value += 1e-4


def by_another_storage(model):
    other = large(model).detach().clone()
    other[0, 0] += 1e-4
    large(model).set_(other)


def loaded(model):
    model.load_state_dict({name: 1.001 * value for name, value in model.state_dict().items()})


def another_parameter(model):
    layer(model).output.dense.weight = torch.nn.Parameter(large(model).detach() * 1.001)


def stepped(model):
    weight = large(model)
    weight.grad = torch.ones_like(weight)
    torch.optim.SGD([weight], lr=1e-5).step()


# Writes that torch counts, and writes that it does not.
BEHIND_ITS_BACK = {
    "a view of numpy": by_numpy,
    "a pointer": through_a_pointer,
    "an alias": lambda model: large(model).detach()[5].add_(1e-4),
    "another storage": torch.no_grad()(by_another_storage),
    "another storage as data": lambda model: setattr(large(model), "data", large(model).data * 1.001),
    "another parameter": another_parameter,
    "load_state_dict": loaded,
    "a step of an optimiser": stepped,
    "an exchange of values within a weight": lambda model: large(model).data[2:4].copy_(large(model).data[[3, 2]]),
    "weights exchanged between layers": lambda model: torch.utils.swap_tensors(
        layer(model).attention.self.query.weight, layer(model).attention.self.key.weight
    ),
    "a computed weight": lambda model: torch.nn.utils.parametrizations.weight_norm(layer(model).output.dense),
}


@pytest.mark.parametrize("name", BEHIND_ITS_BACK)
def test_writes_are_seen_however_they_are_made(own, name):
    """Also between two calls of one explainer, which keeps nothing of the weights."""
    explainer = own.explainer(**FEW)
    (before,) = explainer.factors(TEXTS[:1])
    BEHIND_ITS_BACK[name](own)
    (after,) = explainer.factors(TEXTS[:1])
    assert after.settings.fingerprint != before.settings.fingerprint
    with pytest.raises(ValueError, match="factors of different fingerprint cannot be combined"):
        Attribution.of(before, after, "cosine")


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_makes_the_embedding_is_seen(own, name):
    before = of(own)
    assert before == of(own)
    CHANGES[name](own)
    assert of(own) != before


def test_the_reference_is_part_of_it(own, plain):
    before = of(own)
    assert model_fingerprint(own, replace(own.reference, n_prefix=2)) != before
    assert model_fingerprint(own, replace(own.reference, position_offset=1)) != before
    shifted = XSTransformer.wrap(plain, shift=True)
    assert of(shifted) != before
    assert of(shifted) == of(XSTransformer.wrap(plain, shift=True))


def test_what_does_not_make_the_embedding_is_not_seen(own, minilm_path, monkeypatch):
    before = of(own)
    eager = XSTransformer(minilm_path, device="cpu", model_kwargs={"attn_implementation": "eager"})
    assert eager[0].config._attn_implementation != own[0].config._attn_implementation
    assert of(eager) == before
    monkeypatch.setattr("transformers.configuration_utils.__version__", "4.0")
    assert own[0].config.to_diff_dict()["transformers_version"] == "4.0"
    own.max_seq_length = 77
    own.train()
    own.similarity_fn_name = "dot"
    for weight in own.parameters():
        weight.requires_grad_(False)
    set_on(own, torch.nn.Dropout, "p", 0.0)
    for module in own.modules():
        module.gradient_checkpointing = module.layer_idx = True
        module._cached = 3
    large(own).data = large(own).data.T.contiguous().T
    assert not large(own).is_contiguous()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert of(own) == before
    finally:
        torch.set_num_threads(threads)


def test_private_names_are_no_settings():
    """Older versions of transformers write where a model lay among its settings, in nested ones too."""
    found = fingerprint._settings({"_name_or_path": "a", "width": 3, "text_config": {"_name_or_path": "b", "depth": 2}})
    assert found == {"width": 3, "text_config": {"depth": 2}}


@pytest.mark.parametrize("shift", [False, True], ids=["off the shelf", "shifted"])
def test_an_index_survives_a_moved_folder(minilm_path, shift, tmp_path):
    model = XSTransformer(minilm_path, shift=shift, device="cpu")
    save_factors(tmp_path / "index", model.token_factors(TEXTS[:1], **FEW))
    model.save_pretrained(str(tmp_path / "elsewhere" / "another name"))
    moved = XSTransformer(str(tmp_path / "elsewhere" / "another name"), device="cpu")
    (query,) = moved.token_factors(TEXTS[1:], **FEW)
    (document,) = load_factors(tmp_path / "index")
    assert query.settings.model != document.settings.model
    combined = Attribution.of(document, query, "cosine")
    direct = model.attribute_prediction(*TEXTS, **FEW)
    np.testing.assert_allclose(combined.matrix, direct.matrix, atol=1e-6)
    save_factors(tmp_path / "both", [document, query])
    assert len(load_factors(tmp_path / "both")) == 2


@pytest.mark.parametrize("architecture", EACH_ARCHITECTURE)
def test_saved_and_loaded_it_is_the_same(architecture, tmp_path):
    model = XSTransformer(write_model(architecture, tmp_path, dense=True, normalize=True), device="cpu")
    model.save_pretrained(str(tmp_path / "again"))
    assert of(XSTransformer(str(tmp_path / "again"), device="cpu")) == of(model)
    assert of(XSTransformer.wrap(SentenceTransformer(str(tmp_path / "again"), device="cpu"))) == of(model)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert of(model.to(dtype)) == of(model)


def stays(model, folder):
    """The fingerprint of a model, however it is kept and whatever it has done."""
    before = of(model)
    model.text_factors(["the gentle giant"], layer=1, tolerance=0.5)
    assert of(model) == before
    assert of(model.train()) == before
    assert of(model.eval()) == before
    assert of(copy.deepcopy(model)) == before
    assert of(pickle.loads(pickle.dumps(model))) == before
    model.save_pretrained(str(folder / "moved"), create_model_card=False)
    assert of(XSTransformer(str(folder / "moved"), device="cpu")) == before
    return before


@pytest.mark.parametrize("architecture", EACH_ARCHITECTURE)
def test_however_a_model_is_kept_it_is_the_same(architecture, tmp_path):
    model = XSTransformer(write_model(architecture, tmp_path, dense=True), device="cpu")
    model.encode(["the gentle tall giant traveller did not unpack his bags"])
    stays(model, tmp_path)


def test_real_weights_are_the_same_wherever_they_lie(minilm_path, tmp_path):
    assert stays(XSTransformer(minilm_path, device="cpu"), tmp_path) == of(XSTransformer(minilm_path, device="cpu"))


@pytest.mark.slow
@pytest.mark.real
def test_the_real_mpnet_is_the_same_wherever_it_lies(mpnet_real, tmp_path):
    assert stays(XSTransformer(mpnet_real, device="cpu"), tmp_path) == of(XSTransformer(mpnet_real, device="cpu"))


def test_an_address_in_what_a_module_says_of_itself_does_not_count(own):
    own[0].model.pooler.extra_repr = lambda: f"by {object()!r}"
    assert of(own) == of(own)


def test_factors_of_version_0_1_0(tmp_path, model):
    """They had a fingerprint of sixteen digits: they go together as before, and not with newer ones."""
    new = model.token_factors(TEXTS, **FEW)
    old = [replace(text, settings=replace(text.settings, fingerprint="0123456789abcdef")) for text in new]
    save_factors(tmp_path / "old", old)
    loaded = load_factors(tmp_path / "old")
    assert Attribution.of(*loaded, "cosine").score == Attribution.of(*new, "cosine").score
    for pair in ((loaded[0], new[1]), (new[0], loaded[1])):
        with pytest.raises(ValueError, match=r"different fingerprint .* is of another kind .* compute the older again"):
            Attribution.of(*pair, "cosine")
    renamed = replace(loaded[1], settings=replace(loaded[1].settings, model="other"))
    with pytest.raises(ValueError, match="factors of different model cannot be combined"):
        Attribution.of(loaded[0], renamed, "cosine")


def test_factors_of_older_kinds_go_together(tmp_path, model):
    """Their fingerprints did not look into the modules; the name of the model need not agree."""
    new = model.text_factors(TEXTS, **FEW)
    old = [replace(text, settings=replace(text.settings, fingerprint="2:0123")) for text in new]
    save_factors(tmp_path / "old", old)
    one, other = load_factors(tmp_path / "old")
    renamed = replace(other, settings=replace(other.settings, model="moved"))
    assert Attribution.of(one, renamed, "cosine").score == Attribution.of(*new, "cosine").score
    with pytest.raises(ValueError, match=r"'2:0123' is of another kind than '3:.*whether one model made both"):
        Attribution.of(one, new[1], "cosine")
    another = replace(other, settings=replace(other.settings, fingerprint="2:4567", model="moved"))
    with pytest.raises(
        ValueError, match=r"the models '.*' and 'moved' differ in weights, modules or settings, .*'2:0123' and '2:4567'"
    ):
        Attribution.of(one, another, "cosine")


def test_the_algorithm_is_that_of_its_prefix():
    """Files outlive versions: who changes what these give has to change the prefix too."""
    assert fingerprint.KIND == "3"
    expected = [-5545599790938980352, 8358396267467210752]
    assert fingerprint._row_sums(torch.arange(2000, dtype=torch.float32)).tolist() == expected


def expected_sums(weight):
    """By Python's own integers."""
    raw = weight.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    size = 8 * fingerprint.ROW
    raw += b"\0" * (-len(raw) % size)
    words = [int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 8)]
    multipliers = [int(number) % 2**64 for number in fingerprint._multipliers()]
    rows = [words[at : at + fingerprint.ROW] for at in range(0, len(words), fingerprint.ROW)]
    return [sum(map(int.__mul__, row, multipliers)) % 2**64 for row in rows]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.int8])
@pytest.mark.parametrize("size", [0, 1, 3, 509, 8 * 509, 9000])
def test_sums_of_any_dtype_and_size(dtype, size):
    weight = torch.randn(size, generator=torch.Generator().manual_seed(0)).mul(50).to(dtype)
    found = fingerprint._row_sums(weight)
    assert [int(number) % 2**64 for number in found] == expected_sums(weight)
    # A view that begins in the middle of a word, and one with steps.
    offset = torch.cat([weight[:1], weight])[min(1, size) :]
    assert torch.equal(fingerprint._row_sums(offset), found)
    assert torch.equal(fingerprint._row_sums(torch.stack([weight, weight], 1)[:, 1]), found)


def test_sums_are_the_same_on_other_devices(monkeypatch):
    words = torch.randint(-(2**62), 2**62, (37, fingerprint.ROW), generator=torch.Generator().manual_seed(1)) * 3
    multipliers = torch.from_numpy(fingerprint._multipliers())
    expected = fingerprint._row_sums(words)
    for rows in (1, 5, 37, 100):
        monkeypatch.setattr(fingerprint, "PIECE", rows * fingerprint.ROW)
        assert torch.equal(fingerprint._sums_on_device(words, multipliers), expected)
    assert fingerprint._sums_on_device(words[:0], multipliers).shape == (0,)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_device_does_not_count(minilm_path, own):
    assert of(XSTransformer(minilm_path, device="cuda")) == of(own)


def test_a_shared_weight_is_read_once_and_counts_as_equal_ones(own, monkeypatch):
    layers, read = own[0].model.encoder.layer, []
    layers[1].load_state_dict(layers[0].state_dict())
    apart = of(own)
    layers[1] = layers[0]
    original = fingerprint._row_sums
    monkeypatch.setattr(fingerprint, "_row_sums", lambda weight: read.append(weight.data_ptr()) or original(weight))
    assert of(own) == apart
    assert len(read) == len(set(read))
