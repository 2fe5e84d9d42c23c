"""Every architecture, with random weights: what is explained is the model's own score, and completely."""

import numpy as np
import pytest
import torch
import transformers as hf
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    BoW,
    Normalize,
    Pooling,
    Router,
    Transformer,
    WeightedLayerPooling,
    WordWeights,
)
from torch.func import jvp

from tests.tiny import ARCHITECTURES, EACH_ARCHITECTURE, LAYERS, H, tokenizer, write_model, write_transformer
from xsbert import XSBert, XSMPNet, XSRoberta, XSTransformer
from xsbert._utils.torch_internals import TorchDispatchMode, tree_leaves
from xsbert.engine.reference import reference_features, resolve_reference
from xsbert.engine.split_model import SplitModel
from xsbert.integrated_jacobian import PathIntegrator, projected_factors, quadrature, token_factors
from xsbert.integrated_jacobian.chunks import PathNodes

TEXT_A = "the gentle giant did not unpack his bags ."
TEXT_B = "a tall traveller left them as they were ."
TEXTS_OF_ONE_LENGTH = ["the gentle giant", "a tall traveller"]
DOUBLE = {"dtype": torch.float64}

# Nodes, and the residual that they must reach at every layer. T5's rectifiers have kinks, where Gauss-Legendre nodes
# lose their order; Gemma's normalised queries bend sharply in heads this small, and its norms round to float32.
EFFORT = {"t5": (48, 2e-2), "gemma3_text": (200, 2e-3)}
USUAL_EFFORT = (48, 1e-6)
# These compute norms or rotations in float32 whatever the dtype of the model.
PARTLY_SINGLE = ("modernbert", "qwen3", "mistral", "gemma3_text", "t5")


@pytest.fixture(scope="module", params=EACH_ARCHITECTURE)
def architecture(request):
    return request.param


@pytest.fixture(scope="module")
def path(architecture, tmp_path_factory):
    return write_model(architecture, tmp_path_factory.mktemp(architecture))


def check_explanation(model, residual=1e-6, n_steps=48, precision=1e-12, **options):
    """The four parts sum to the score, which is that of `encode`; both texts are complete."""
    out = model.attribute_prediction(TEXT_A, TEXT_B, n_steps=n_steps, **options)
    names = {name: value for name, value in options.items() if name.startswith("prompt")}
    encoded = [model.encode(text, convert_to_tensor=True, **names) for text in (TEXT_A, TEXT_B)]
    assert out.score == pytest.approx(float(model.similarity(*encoded)), abs=precision)
    assert out.matrix.shape == (len(out.tokens_a), len(out.tokens_b))
    assert max(out.residual_a, out.residual_b) < residual
    scale = np.abs(list(out.parts.values())).sum()
    assert out.error < 10 * residual * scale
    return out


@pytest.mark.parametrize("shift", [False, True], ids=["off the shelf", "shifted"])
def test_complete_at_every_layer(architecture, path, shift):
    n_steps, residual = EFFORT.get(architecture, USUAL_EFFORT)
    model = XSTransformer(path, shift=shift, reference="pad", device="cpu", model_kwargs=DOUBLE)
    assert model.n_layers == LAYERS
    for layer in range(LAYERS + 1):
        out = check_explanation(model, residual, n_steps, layer=layer)
        assert out.settings.layer == layer
        if shift:
            assert out.parts["interactions"] == pytest.approx(out.score, abs=10 * residual)
            assert not out.main_effects_a.any()
            assert not out.main_effects_b.any()
            assert out.baseline == 0


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)], ids=str)
def test_forward_equals_reverse_mode(architecture, path, dtype, tolerance):
    if architecture in PARTLY_SINGLE:
        tolerance = max(tolerance, 1e-6)
    model = XSTransformer(path, reference="pad", device="cpu", model_kwargs={"dtype": dtype})
    out = model.attribute_prediction(TEXT_A, TEXT_B, layer=1, n_steps=3)
    pairs = out.feature_pairs()
    assert pairs.dtype == (np.float64 if dtype == torch.float64 else np.float32)
    reverse = pairs.sum((1, 3), dtype=np.float64)
    np.testing.assert_allclose(reverse, out.matrix, rtol=0, atol=tolerance * np.abs(out.matrix).max())


def test_swapping_the_texts_transposes(path):
    model = XSTransformer(path, reference="pad", device="cpu", model_kwargs=DOUBLE)
    out = model.attribute_prediction(TEXT_A, TEXT_B, layer=1, n_steps=3)
    swapped = model.attribute_prediction(TEXT_B, TEXT_A, layer=1, n_steps=3)
    np.testing.assert_allclose(swapped.matrix, out.matrix.T, atol=1e-12)
    np.testing.assert_allclose(swapped.main_effects_a, out.main_effects_b, atol=1e-12)


def test_texts_of_one_length_together_and_apart(architecture, path):
    model = XSTransformer(path, reference="pad", device="cpu", model_kwargs=DOUBLE)
    texts = ["the gentle giant", "his bags left", TEXT_A, "a tall traveller", "the giant"]
    lengths = [len(factors.tokens) for factors in model.token_factors(texts, layer=1, n_steps=3)]
    assert len(set(lengths)) < len(texts)
    for layer in (0, 1, LAYERS):
        together = model.token_factors(texts, layer=layer, n_steps=3)
        for text, factors in zip(texts, together, strict=True):
            (apart,) = model.token_factors([text], layer=layer, n_steps=3)
            scale = np.abs(apart.factors).max()
            atol = 1e-5 * scale if architecture in PARTLY_SINGLE else 1e-10 * scale
            np.testing.assert_allclose(factors.factors, apart.factors, rtol=0, atol=atol)
            np.testing.assert_allclose(factors.embedding, apart.embedding, rtol=0, atol=max(atol, 1e-12))


def test_a_text_recorded_with_others_leaves_behind_what_it_does_alone(architecture, path):
    """Two texts, as there are heads and other things of which models have two."""
    model = XSTransformer(path, reference="pad", device="cpu", model_kwargs=DOUBLE)
    encoder = SplitModel(model, LAYERS)
    together = encoder.record(dict(model.preprocess(TEXTS_OF_ONE_LENGTH)))
    for place in range(2):
        alone = encoder.record(dict(model.preprocess([TEXTS_OF_ONE_LENGTH[place]])))
        found, expected = together.of(place), tree_leaves([alone.hidden, alone.embeddings, alone.earlier])
        for own, other in zip(tree_leaves([found.hidden, found.embeddings, found.earlier]), expected, strict=True):
            torch.testing.assert_close(own, other, rtol=0, atol=1e-6 if architecture in PARTLY_SINGLE else 1e-12)
        assert torch.equal(found.features["input_ids"], alone.features["input_ids"])
        assert found.features.keys() == alone.features.keys()


@pytest.mark.parametrize(
    ("kind", "token", "n_passes"),
    [("bert", "pad", 1), ("mpnet", "unk", 1), ("roberta", "mask", 1), ("mpnet", "pad", 2)],
)
def test_texts_and_their_reference_run_together(kind, token, n_passes, tmp_path, monkeypatch):
    """Except for a reference of padding at positions of its own."""
    model = XSTransformer(write_model(kind, tmp_path), reference=token, device="cpu", model_kwargs=DOUBLE)
    record, sizes = SplitModel.record, []

    def counted(self, features):
        sizes.append(len(features["input_ids"]))
        return record(self, features)

    monkeypatch.setattr(SplitModel, "record", counted)
    found = model.token_factors(TEXTS_OF_ONE_LENGTH, layer=1, n_steps=2)
    assert (len(sizes), sum(sizes)) == (n_passes, 3)
    assert found[0].residual < 1


@pytest.mark.parametrize("kind", ["mpnet", "roberta"])
def test_only_padding_has_to_be_told_its_positions(kind, tmp_path):
    model = XSTransformer(write_model(kind, tmp_path), device="cpu", model_kwargs=DOUBLE)
    features, encoder = dict(model.preprocess([TEXT_A])), SplitModel(model, 0)
    of_padding = reference_features(resolve_reference(model[0], "pad"), features)
    of_unknown = reference_features(resolve_reference(model[0], "unk"), features)
    assert "position_ids" not in of_unknown
    told = encoder.record({**of_unknown, "position_ids": of_padding["position_ids"]})
    torch.testing.assert_close(encoder.record(of_unknown).hidden, told.hidden)
    untold = encoder.record({name: rows for name, rows in of_padding.items() if name != "position_ids"})
    assert not torch.allclose(encoder.record(of_padding).hidden, untold.hidden)


def test_shifted_embeddings_do_not_depend_on_the_batch(path):
    model = XSTransformer(path, shift=True, reference="pad", device="cpu", model_kwargs=DOUBLE)
    texts = ["the giant", TEXT_A, "a tall traveller did not unpack", TEXT_B, "his bags"]
    alone = np.stack([model.encode(text, convert_to_tensor=True).numpy() for text in texts])
    together = model.encode(texts, convert_to_tensor=True).numpy()
    # Rotary tables are float32 whatever the model, and left padding moves the positions.
    np.testing.assert_allclose(together, alone, atol=1e-6)
    features = model.preprocess(texts)
    assert (features["attention_mask"] == 0).any()


@pytest.mark.parametrize("padding_side", ["left", "right"])
@pytest.mark.parametrize("kind", ["roberta", "mpnet", "qwen3"])
def test_both_padding_sides(kind, padding_side, tmp_path):
    """These embed a text alike whatever pads it, BERT does not: it numbers positions from the left of the batch."""
    path = write_model(kind, tmp_path)
    texts = ["the giant", TEXT_A]
    for shift in (False, True):
        model = XSTransformer(path, shift=shift, device="cpu", model_kwargs=DOUBLE)
        model.tokenizer.padding_side = padding_side
        features = model.preprocess(texts)
        assert features["attention_mask"][0, 0 if padding_side == "left" else -1] == 0
        np.testing.assert_allclose(model.encode(texts)[0], model.encode(texts[0]), atol=1e-6)
    assert np.abs(model.encode(texts[0])).max() > 1e-2


class Remembers(torch.nn.Module):
    """Keeps what a module returns."""

    def __init__(self, module, seen):
        super().__init__()
        self.module, self.seen = module, seen

    def forward(self, *args, **kwargs):
        self.seen.append(self.module(*args, **kwargs))
        return self.seen[-1]


class LooksBack(torch.nn.Module):
    """Adds what was kept last to what a layer returns."""

    def __init__(self, layer, seen):
        super().__init__()
        self.layer, self.seen = layer, seen

    def forward(self, *args, **kwargs):
        return self.layer(*args, **kwargs) + self.seen[-1].detach()


def test_what_depends_on_more_than_the_hidden_states_is_refused(tmp_path):
    """A layer that looks back at the embeddings, past the layer that is explained."""
    model = XSTransformer(write_model("bert", tmp_path), device="cpu", model_kwargs=DOUBLE)
    network, seen = model[0].model, []
    network.embeddings = Remembers(network.embeddings, seen)
    network.encoder.layer[2] = LooksBack(network.encoder.layer[2], seen)
    with pytest.raises(ValueError, match="BertModel cannot be explained at layer 1: its output depends on more than"):
        model.attribute_prediction(TEXT_A, TEXT_B, layer=1, n_steps=3)
    check_explanation(model, layer=LAYERS)


def test_the_reference_embeds_to_exactly_zero(path):
    model = XSTransformer(path, shift=True, reference="pad", device="cpu")
    for n_words in (1, 2, 7):
        assert (model.encode([" ".join(["<pad>"] * n_words), TEXT_A])[0] == 0).all()
    assert np.abs(model.encode("the giant")).max() > 0


POOLINGS = ["mean", "cls", "lasttoken", "max", "weightedmean", "mean_sqrt_len_tokens", ("cls", "mean")]


@pytest.mark.parametrize("pooling", POOLINGS, ids=str)
@pytest.mark.parametrize("dense", [False, True], ids=["", "dense"])
@pytest.mark.parametrize("normalize", [False, True], ids=["", "normalize"])
@pytest.mark.parametrize("kind", ["bert", pytest.param("qwen3", marks=pytest.mark.slow)])
def test_the_models_own_head_is_explained(kind, pooling, dense, normalize, tmp_path):
    path = write_model(kind, tmp_path, pooling, dense, normalize)
    # Max pooling has kinks, where Gauss-Legendre nodes lose their order.
    residual = 0.2 if pooling == "max" else 1e-6
    for shift in (False, True):
        model = XSTransformer(path, shift=shift, reference="pad", device="cpu", model_kwargs=DOUBLE)
        for similarity in ("cosine", "dot"):
            model.similarity_fn_name = similarity
            out = check_explanation(model, residual, layer=1, n_steps=24)
            assert out.similarity == similarity


def test_similarity_can_be_chosen(path):
    model = XSTransformer(path, reference="pad", device="cpu", model_kwargs=DOUBLE)
    a, b = model.encode([TEXT_A, TEXT_B], convert_to_tensor=True)
    out = model.attribute_prediction(TEXT_A, TEXT_B, layer=1, similarity="dot")
    assert out.score == pytest.approx(float(a @ b), rel=1e-9)


def test_truncated_embeddings(tmp_path):
    path = write_model("bert", tmp_path, normalize=True)
    for similarity in ("cosine", "dot"):
        for shift in (False, True):
            model = XSTransformer(
                path, shift=shift, device="cpu", truncate_dim=5, similarity_fn_name=similarity, model_kwargs=DOUBLE
            )
            out = check_explanation(model, layer=1)
            assert out.a.factors.shape[1] == 5


@pytest.mark.parametrize("include_prompt", [False, True])
@pytest.mark.parametrize("shift", [False, True], ids=["off the shelf", "shifted"])
def test_prompts(include_prompt, shift, tmp_path):
    path = write_model("bert", tmp_path, prompts={"query": "query : ", "document": ""}, default_prompt_name="query")
    model = XSTransformer(path, shift=shift, reference="pad", device="cpu", model_kwargs=DOUBLE)
    model.set_pooling_include_prompt(include_prompt)
    default = check_explanation(model, layer=1)
    assert default.tokens_a[:4] == ["<s>", "query", ":", "the"]
    assert default.a.roles[:4] == ("special", "prompt", "prompt", "text")
    assert default.a.roles[-1] == "special"
    explicit = check_explanation(model, layer=1, prompt="query : ")
    named = check_explanation(model, layer=1, prompt_name="query")
    np.testing.assert_array_equal(explicit.matrix, default.matrix)
    np.testing.assert_array_equal(named.matrix, default.matrix)
    without = check_explanation(model, layer=1, prompt_name="document")
    assert set(without.a.roles) == {"text", "special"}
    mixed = model.attribute_prediction(TEXT_A, TEXT_B, layer=1, prompt_name=("query", "document"))
    assert len(mixed.tokens_a) == len(default.tokens_a)
    assert len(mixed.tokens_b) == len(without.tokens_b)
    expected = model.similarity(model.encode(TEXT_A, prompt_name="query"), model.encode(TEXT_B, prompt_name="document"))
    assert mixed.score == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
def test_dtypes_are_taken_from_the_model(dtype, architecture, path):
    model = XSTransformer(path, reference="pad", device="cpu", model_kwargs={"dtype": dtype})
    half = dtype.itemsize == 2
    single = 2e-2 if architecture == "t5" else 1e-4
    out = check_explanation(model, 0.2 if half else single, precision=1e-2 if half else 1e-6, layer=2)
    assert out.settings.dtype == str(dtype).removeprefix("torch.")
    assert next(model.parameters()).dtype == dtype


class HostReads(TorchDispatchMode):
    """Counts operations that make the host wait for a device."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        waits = ("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2")
        self.count += func.name().removeprefix("aten::") in waits
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("layer", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_loop_over_nodes_does_not_wait_for_the_device(layer, architecture, path):
    """Each kind of pass reads on the host in its first run only, however many chunks follow."""
    model = XSTransformer(path, reference="pad", device="cpu")
    encoder = SplitModel(model, layer)
    recording = encoder.record(dict(model.preprocess([TEXT_A])))
    f, x = encoder.function(recording), recording.hidden[0]
    r, rule = x.flip(0), quadrature("gauss-legendre", 3)
    directions = torch.eye(H)[:2]
    works = [
        lambda: token_factors(f, x, r, rule, chunk_size=2),
        lambda: PathIntegrator(f, [x], [r], chunk_size=1).derivatives([rule.nodes]),
        lambda: projected_factors(f, x, r, rule, directions, chunk_size=1),
    ]
    with HostReads() as first:
        works[0]()
    for work in works:
        with HostReads() as later:
            work()
        assert later.count == 0
    # These two, with so short a window, look at no mask.
    assert first.count > 0 or architecture in ("deberta-v2", "mistral")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_loop_over_nodes_does_not_wait_for_cuda(path):
    model = XSTransformer(path, device="cuda")
    encoder = SplitModel(model, 1)
    recording = encoder.record(dict(model.preprocess([TEXT_A]).to("cuda")))
    f, x = encoder.function(recording), recording.hidden[0]
    r, rule = x.flip(0), quadrature("gauss-legendre", 3)
    token_factors(f, x, r, rule, chunk_size=2)
    nodes = PathNodes([x], [r], [rule.nodes])
    chunks = nodes.chunks(1)
    next(chunks)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for h, whose, _ in chunks:
            jvp(f, (h[0],), (nodes.differences[whose][0],))
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_cpu(path):
    results = [
        XSTransformer(path, device=device, model_kwargs=DOUBLE).attribute_prediction(TEXT_A, TEXT_B, layer=1)
        for device in ("cpu", "cuda")
    ]
    np.testing.assert_allclose(results[1].matrix, results[0].matrix, atol=1e-9)


def test_eager_attention(tmp_path):
    path = write_model("bert", tmp_path)
    results = [
        XSTransformer(
            path, device="cpu", model_kwargs={**DOUBLE, "attn_implementation": implementation}
        ).attribute_prediction(TEXT_A, TEXT_B, layer=1)
        for implementation in ("sdpa", "eager")
    ]
    np.testing.assert_allclose(results[1].matrix, results[0].matrix, atol=1e-10)


@pytest.mark.parametrize(
    ("cls", "own", "other"),
    [
        (XSMPNet, "mpnet", "bert"),
        (XSRoberta, "roberta", "mpnet"),
        (XSRoberta, "xlm-roberta", "bert"),
        (XSBert, "bert", "mpnet"),
    ],
)
def test_classes_check_that_they_were_given_their_own(cls, own, other, tmp_path):
    assert cls(write_model(own, tmp_path / own), device="cpu").n_layers == LAYERS
    with pytest.raises(ValueError, match=f"{cls.__name__} is for models of type .*got '{other}'; XSTransformer"):
        cls(write_model(other, tmp_path / other), device="cpu")


def test_a_vanilla_transformer_gets_mean_pooling(tmp_path):
    model = XSTransformer(write_transformer("bert", tmp_path), device="cpu", model_kwargs=DOUBLE)
    check_explanation(model, layer=1)


def test_albert_is_refused(tmp_path):
    config = hf.AlbertConfig(
        vocab_size=30, embedding_size=8, hidden_size=16, num_attention_heads=2, intermediate_size=16, pad_token_id=1
    )
    hf.AlbertModel(config).save_pretrained(tmp_path)
    tokenizer(1, 1, "right").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"AlbertModel.*repeat one layer module, such as ALBERT"):
        XSTransformer(str(tmp_path), device="cpu")


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (lambda: WeightedLayerPooling(16, num_hidden_layers=LAYERS), "mixes the outputs of all layers"),
        (lambda: WordWeights(["a"], {"a": 1.0}), "weights tokens by their identity"),
    ],
)
def test_modules_that_need_more_than_one_layer_are_refused(module, reason, tmp_path):
    transformer = Transformer(write_transformer("bert", tmp_path))
    built = SentenceTransformer(modules=[transformer, module(), Pooling(16)], device="cpu")
    with pytest.raises(ValueError, match=reason):
        XSTransformer.wrap(built)


def test_routers_and_bags_of_words_are_refused(tmp_path):
    transformer = Transformer(write_transformer("bert", tmp_path))
    router = Router({"query": [transformer, Pooling(16)], "document": [transformer, Pooling(16)]}, "query")
    with pytest.raises(ValueError, match="route must be one of 'document', 'query', the routes of the router"):
        XSTransformer.wrap(SentenceTransformer(modules=[router], device="cpu"))
    with pytest.raises(ValueError, match="bag of words"):
        XSTransformer.wrap(SentenceTransformer(modules=[BoW(["a", "b"]), Normalize()], device="cpu"))


def test_cross_encoders_are_refused(tmp_path):
    config = hf.BertConfig(vocab_size=30, **ARCHITECTURES["bert"][1], pad_token_id=1, num_labels=1)
    hf.BertForSequenceClassification(config).save_pretrained(tmp_path / "raw")
    tokenizer(1, 1, "right").save_pretrained(tmp_path / "raw")
    with pytest.raises(ValueError, match="classifier or cross-encoder"):
        XSTransformer(str(tmp_path / "raw"), device="cpu")
    cross = CrossEncoder(str(tmp_path / "raw"), device="cpu")
    with pytest.raises(TypeError, match="must be a SentenceTransformer, got CrossEncoder"):
        XSTransformer.wrap(cross)
    cross.save_pretrained(str(tmp_path / "saved"))
    with pytest.raises(ValueError, match=r"cross-encoder|CrossEncoder"):
        XSTransformer(str(tmp_path / "saved"), device="cpu")


def test_image_models_are_refused(tmp_path):
    config = hf.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=4
    )
    hf.ViTModel(config).save_pretrained(tmp_path)
    hf.ViTImageProcessor(size={"height": 8, "width": 8}).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="image models are not covered"):
        XSTransformer(str(tmp_path), device="cpu")
