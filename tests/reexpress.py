"""Write all-MiniLM-L6-v2, a BERT model, as RoBERTa and as MPNet without changing the function.

The vocabulary is reordered so that [CLS], [PAD], [SEP] are 0, 1, 2, as both architectures expect. Position rows
move down by two, because positions start at padding id + 1, and the one token-type row that BERT adds everywhere
becomes RoBERTa's only one, or is added to MPNet's position rows. MPNet's relative attention bias is zero.
"""

import json
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from transformers import AutoTokenizer, BertModel, MPNetConfig, MPNetModel, RobertaConfig, RobertaModel

FIRST = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]


def as_roberta(bert_path, folder):
    bert, order = BertModel.from_pretrained(bert_path, add_pooling_layer=False), _order(bert_path)
    config = RobertaConfig(**_sizes(bert.config), type_vocab_size=1)
    weights = dict(bert.state_dict())
    weights["embeddings.word_embeddings.weight"] = weights["embeddings.word_embeddings.weight"][order]
    weights["embeddings.position_embeddings.weight"] = _moved(weights["embeddings.position_embeddings.weight"])
    weights["embeddings.token_type_embeddings.weight"] = weights["embeddings.token_type_embeddings.weight"][:1]
    return _write(RobertaModel(config, add_pooling_layer=False), weights, bert_path, order, folder)


def as_mpnet(bert_path, folder):
    bert, order = BertModel.from_pretrained(bert_path, add_pooling_layer=False), _order(bert_path)
    weights = {_mpnet_name(name): value for name, value in bert.state_dict().items()}
    weights["embeddings.word_embeddings.weight"] = weights["embeddings.word_embeddings.weight"][order]
    positions = weights["embeddings.position_embeddings.weight"]
    token_type = weights.pop("embeddings.token_type_embeddings.weight")[0]
    weights["embeddings.position_embeddings.weight"] = _moved(positions + token_type)
    mpnet = MPNetModel(MPNetConfig(**_sizes(bert.config)), add_pooling_layer=False)
    weights["encoder.relative_attention_bias.weight"] = torch.zeros_like(mpnet.encoder.relative_attention_bias.weight)
    return _write(mpnet, weights, bert_path, order, folder)


def _mpnet_name(name):
    for old, new in (
        ("attention.self.query", "attention.attn.q"),
        ("attention.self.key", "attention.attn.k"),
        ("attention.self.value", "attention.attn.v"),
        ("attention.output.dense", "attention.attn.o"),
        ("attention.output.LayerNorm", "attention.LayerNorm"),
    ):
        name = name.replace(old, new)
    return name


def _sizes(config):
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    return {
        **{name: getattr(config, name) for name in (*names, "layer_norm_eps", "hidden_act")},
        "max_position_embeddings": config.max_position_embeddings + 2,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
    }


def _order(bert_path):
    """Old id of each new id."""
    vocabulary = AutoTokenizer.from_pretrained(bert_path).get_vocab()
    first = [vocabulary[token] for token in FIRST]
    return first + sorted(set(vocabulary.values()) - set(first))


def _moved(positions):
    return torch.cat([torch.zeros(2, positions.shape[1]), positions])


def _write(transformer, weights, bert_path, order, folder):
    result = transformer.load_state_dict(weights, strict=False)
    assert all("position_ids" in name or "token_type_ids" in name for name in result.missing_keys), result
    assert all("position_ids" in name or "token_type_ids" in name for name in result.unexpected_keys), result
    raw = Path(folder, "raw")
    transformer.save_pretrained(raw)
    _write_tokenizer(bert_path, order, raw)
    module = Transformer(str(raw), max_seq_length=256)
    model = SentenceTransformer(
        modules=[module, Pooling(module.get_embedding_dimension(), "mean"), Normalize()], device="cpu"
    )
    model.save_pretrained(str(Path(folder, "model")), create_model_card=False)
    return str(Path(folder, "model"))


def _write_tokenizer(bert_path, order, folder):
    new_id = {old: new for new, old in enumerate(order)}
    content = json.loads(Path(bert_path, "tokenizer.json").read_text(encoding="utf-8"))
    content["model"]["vocab"] = {token: new_id[old] for token, old in content["model"]["vocab"].items()}
    for added in content["added_tokens"]:
        added["id"] = new_id[added["id"]]
    for special in content["post_processor"].get("special_tokens", {}).values():
        special["ids"] = [new_id[old] for old in special["ids"]]
    Path(folder, "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 256,
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "mask_token": "[MASK]",
    }
    Path(folder, "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
