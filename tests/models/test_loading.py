"""What loading makes up or leaves out is refused or reported: otherwise another model would be explained."""

import json
import pickle
import warnings
from pathlib import Path

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

from tests.tiny import DECODER, SIZES, tokenizer, write_model
from xsbert import XSTransformer

BERT = hf.BertConfig(**SIZES)
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 3, "num_heads": 2}
MEAN, LAST = "made up by sentence-transformers: 'mean'", "made up by sentence-transformers: 'lasttoken'"


@pytest.fixture(params=["loaded", "wrapped"])
def load(request):
    """Both ways from a folder to an explainable model."""
    if request.param == "loaded":
        return lambda path, **how: XSTransformer(path, device="cpu", **how)
    return lambda path, **how: XSTransformer.wrap(SentenceTransformer(path, device="cpu", **how))


def write_raw(model_class, config, folder):
    """A folder of transformers, without modules.json."""
    fast = tokenizer(1, 1, "right")
    config.update({"vocab_size": len(fast), "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2})
    model_class(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return str(folder)


def change_weights(path, change):
    file = str(Path(path, "model.safetensors"))
    save_file(change(load_file(file)), file, {"format": "pt"})


def reports(function):
    """What it returns, and its warnings in one text."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        result = function()
    return result, " ".join(str(each.message) for each in found if each.category is UserWarning)


REPORTED = {
    "BertModel": (hf.BertModel, BERT, (MEAN, "Pooling(...)")),
    "BertForMaskedLM": (hf.BertForMaskedLM, BERT, (MEAN, "weights cls.predictions.*", "SparseEncoder")),
    "RobertaForMaskedLM": (
        hf.RobertaForMaskedLM,
        hf.RobertaConfig(**SIZES),
        (MEAN, "lm_head.dense.*", "a RobertaForMaskedLM that is loaded as a RobertaModel", "SparseEncoder"),
    ),
    "BertForPreTraining": (hf.BertForPreTraining, BERT, (MEAN, "cls.seq_relationship.*")),
    "Qwen3ForCausalLM": (hf.Qwen3ForCausalLM, hf.Qwen3Config(**DECODER), (LAST, "language model")),
    "T5ForConditionalGeneration": (
        hf.T5ForConditionalGeneration,
        hf.T5Config(**T5),
        (MEAN, "a T5ForConditionalGeneration that is loaded as a T5EncoderModel"),
    ),
}


@pytest.mark.parametrize("kind", REPORTED)
def test_what_is_made_up_or_unused_is_reported(kind, load, tmp_path):
    model_class, config, expected = REPORTED[kind]
    path = write_raw(model_class, config, tmp_path)
    model, found = reports(lambda: load(path))
    for part in (repr(path), *expected):
        assert part in found
    # A pooler that is drawn at random does not act.
    assert "random" not in found
    _, again = reports(lambda: XSTransformer.wrap(model))
    assert again == ""
    _, saved = reports(lambda: [model.save_pretrained(str(tmp_path / "saved")), load(str(tmp_path / "saved"))])
    assert saved == ""


REFUSED = {
    "BertForSequenceClassification": r"is a classifier or cross-encoder \(BertForSequenceClassification\)",
    "BertForTokenClassification": "is a BertForTokenClassification, so loading it would drop its head",
    "BertForQuestionAnswering": "is a BertForQuestionAnswering, so loading it would drop its head",
    "BertForMultipleChoice": "is a BertForMultipleChoice, so loading it would drop its head",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_heads_of_other_tasks_are_refused(kind, load, tmp_path):
    path = write_raw(getattr(hf, kind), BERT, tmp_path)
    with pytest.raises(ValueError, match=REFUSED[kind]):
        load(path)


def test_late_interaction_is_refused(load, tmp_path):
    path = write_raw(hf.BertModel, BERT, tmp_path)
    change_weights(path, lambda weights: {**weights, "linear.weight": torch.ones(4, 16)})
    with pytest.raises(ValueError, match=r"late-interaction model.*linear.weight.*MultiVectorEncoder"):
        load(path)
    config = json.loads(Path(path, "config.json").read_text())
    Path(path, "config.json").write_text(json.dumps({**config, "architectures": ["HF_ColBERT"]}))
    with pytest.raises(ValueError, match=r"late-interaction model \(HF_ColBERT\)"):
        load(path)


def test_what_was_saved_as_another_kind_is_refused(load, tmp_path):
    raw = write_raw(hf.BertForMaskedLM, BERT, tmp_path / "raw")
    SparseEncoder(raw, device="cpu").save_pretrained(str(tmp_path / "saved"))
    with pytest.raises(ValueError, match="was saved as a SparseEncoder"):
        load(str(tmp_path / "saved"))


@pytest.mark.parametrize("subfolder", ["", "0_Transformer"])
def test_weights_of_a_saved_model_that_are_unused_or_missing(load, subfolder, tmp_path):
    path = Path(write_model("bert", tmp_path))
    folder = path / subfolder
    if subfolder:
        modules = json.loads((path / "modules.json").read_text())
        modules[0]["path"] = subfolder
        (path / "modules.json").write_text(json.dumps(modules))
        folder.mkdir()
        for file in path.glob("*"):
            if file.is_file() and not file.name.startswith(("modules", "config_sentence")):
                file.rename(folder / file.name)
    _, found = reports(lambda: load(str(path)))
    assert found == ""
    change_weights(folder, lambda weights: {name: weights[name] for name in weights if "pooler" not in name})
    _, found = reports(lambda: load(str(path)))
    assert found == ""
    change_weights(folder, lambda weights: {**weights, "head.weight": torch.ones(2, 16)})
    _, found = reports(lambda: load(str(path)))
    assert "the weights head.weight in" in found
    assert "made up" not in found
    change_weights(folder, lambda weights: {name: weights[name] for name in weights if "layer.1.output" not in name})
    with pytest.raises(ValueError, match=r"encoder.layer.1.output.* drawn at random .*not a usable model"):
        XSTransformer(str(path), device="cpu")
    plain = SentenceTransformer(str(path), device="cpu")
    with pytest.warns(UserWarning, match="drawn at random .*Unless they were trained since"):
        XSTransformer.wrap(plain)


def test_layers_that_the_configuration_leaves_out_are_named(load, tmp_path):
    path = write_model("bert", tmp_path)
    _, found = reports(lambda: load(path, config_kwargs={"num_hidden_layers": 1}))
    assert "the weights encoder.layer.1.*, encoder.layer.2.* in" in found


def test_a_pooling_of_the_users_choice_is_not_made_up(tmp_path):
    path = write_raw(hf.BertForMaskedLM, BERT, tmp_path)
    plain = SentenceTransformer(modules=[Transformer(path), Pooling(16, "mean")], device="cpu")
    assert reports(lambda: XSTransformer.wrap(plain))[1] == ""
    plain = SentenceTransformer(path, device="cpu")
    plain[1] = Pooling(16, "cls")
    assert "made up" not in reports(lambda: XSTransformer.wrap(plain))[1]


def test_a_token_of_the_hub_is_not_kept(tmp_path):
    model = XSTransformer(write_model("bert", tmp_path), device="cpu", token="hf_secret")
    assert b"hf_secret" not in pickle.dumps(model)


def test_the_comparison_leaves_the_logging_of_transformers_as_it_is(tmp_path, capfd):
    path = write_raw(hf.BertForMaskedLM, BERT, tmp_path)
    plain = SentenceTransformer(path, device="cpu")
    shown = hf.utils.logging.is_progress_bar_enabled()
    capfd.readouterr()
    XSTransformer.wrap(plain)
    assert capfd.readouterr().err == ""
    assert hf.utils.logging.is_progress_bar_enabled() == shown
