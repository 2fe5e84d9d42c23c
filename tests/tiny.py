"""Tiny models with random weights, one for each architecture, written to disk as their authors' would be."""

from pathlib import Path

import pytest
import torch
import transformers as hf
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers, processors

H, HEADS, LAYERS, FEED_FORWARD, POSITIONS = 16, 2, 3, 24, 40
TEXT = "the a gentle tall giant traveller did not unpack his bags left them as they were in query : ."
SIZES = {
    "hidden_size": H,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "intermediate_size": FEED_FORWARD,
    "max_position_embeddings": POSITIONS,
    "initializer_range": 0.2,
}
DECODER = {**SIZES, "num_key_value_heads": 1, "head_dim": H // HEADS}

# name: (configuration class and settings, special tokens before and after a text, padding side)
ARCHITECTURES = {
    "bert": (hf.BertConfig, SIZES, 1, 1, "right"),
    "roberta": (hf.RobertaConfig, SIZES, 1, 1, "right"),
    "xlm-roberta": (hf.XLMRobertaConfig, SIZES, 1, 1, "right"),
    "mpnet": (hf.MPNetConfig, SIZES, 1, 1, "right"),
    "distilbert": (
        hf.DistilBertConfig,
        {
            "dim": H,
            "n_heads": HEADS,
            "n_layers": LAYERS,
            "hidden_dim": FEED_FORWARD,
            "max_position_embeddings": POSITIONS,
            "initializer_range": 0.2,
        },
        1,
        1,
        "right",
    ),
    "electra": (hf.ElectraConfig, {**SIZES, "embedding_size": 8}, 1, 1, "right"),
    "modernbert": (
        hf.ModernBertConfig,
        {**SIZES, "global_attn_every_n_layers": 2, "local_attention": 6, "cls_token_id": 0, "sep_token_id": 2},
        1,
        1,
        "right",
    ),
    "deberta-v2": (
        hf.DebertaV2Config,
        {**SIZES, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False},
        1,
        1,
        "right",
    ),
    "qwen3": (hf.Qwen3Config, DECODER, 0, 1, "left"),
    "mistral": (hf.MistralConfig, {**DECODER, "sliding_window": 5}, 1, 1, "left"),
    "gemma3_text": (
        hf.Gemma3TextConfig,
        {
            **DECODER,
            "sliding_window": 5,
            "query_pre_attn_scalar": 8,
            "layer_types": ["sliding_attention"] * 2 + ["full_attention"],
        },
        1,
        1,
        "right",
    ),
    "t5": (
        hf.T5Config,
        {"d_model": H, "d_kv": H // HEADS, "d_ff": FEED_FORWARD, "num_layers": LAYERS, "num_heads": HEADS},
        0,
        1,
        "right",
    ),
}
# The others are built like these, and are run with the slow tests.
OFTEN = ("bert", "roberta", "mpnet", "modernbert", "qwen3", "gemma3_text")
EACH_ARCHITECTURE = [
    pytest.param(name, id=name, marks=() if name in OFTEN else pytest.mark.slow) for name in ARCHITECTURES
]

# They give every layer an input of its own. Gemma 3n also hands on keys and values, here to its last two layers.
FED = {
    "embedding_gemma2_text": (
        hf.EmbeddingGemma2TextConfig,
        {
            **DECODER,
            "hidden_size_per_layer_input": 6,
            "embedding_dim": 14,
            "sliding_window": 5,
            "layer_types": ["sliding_attention"] * 2 + ["full_attention"],
        },
        1,
        1,
        "right",
    ),
    "gemma3n_text": (
        hf.Gemma3nTextConfig,
        {
            **DECODER,
            "vocab_size_per_layer_input": 25,
            "hidden_size_per_layer_input": 6,
            "laurel_rank": 4,
            "sliding_window": 5,
            "num_hidden_layers": 4,
            "num_kv_shared_layers": 2,
            "activation_sparsity_pattern": [0.0] * 4,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
        1,
        1,
        "right",
    ),
}


def word_tokenizer(special, words, before, after, splitter, **settings):
    """Whole words, with the ids that special tokens and words have in that order.

    Args:
        special: the special tokens by their role, such as ``"pad"``.
        before, after: roles of the special tokens around a text.
        splitter: what splits a text into words.
        settings: of the tokenizer.
    """
    vocabulary = {token: index for index, token in enumerate([*special.values(), *words])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=special["unk"]))
    backend.pre_tokenizer = splitter
    around = [special[role] for role in (*before, *after)]
    backend.post_processor = processors.TemplateProcessing(
        single=" ".join([*(special[role] for role in before), "$A", *(special[role] for role in after)]),
        special_tokens=[(token, vocabulary[token]) for token in around],
    )
    named = {f"{role}_token": token for role, token in special.items()}
    return hf.PreTrainedTokenizerFast(tokenizer_object=backend, **named, **settings)


def tokenizer(n_prefix, n_suffix, padding_side):
    """Whole words, with <s> = 0, <pad> = 1, </s> = 2 as RoBERTa and MPNet have them."""
    special = {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"}
    return word_tokenizer(
        special,
        TEXT.split(),
        ["bos"] * n_prefix,
        ["eos"] * n_suffix,
        pre_tokenizers.Whitespace(),
        padding_side=padding_side,
        model_max_length=POSITIONS - 4,
        model_input_names=["input_ids", "attention_mask"],
    )


def write_transformer(architecture, folder):
    """Save configuration, random weights and tokenizer; the same for the same architecture."""
    config_class, settings, n_prefix, n_suffix, side = {**ARCHITECTURES, **FED}[architecture]
    fast = tokenizer(n_prefix, n_suffix, side)
    config = config_class(**settings, vocab_size=len(fast), pad_token_id=1, bos_token_id=0, eos_token_id=2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model_class = hf.T5EncoderModel if architecture == "t5" else hf.AutoModel
        model = model_class(config) if architecture == "t5" else model_class.from_config(config)
        for name, parameter in model.named_parameters():
            if "norm" in name.lower():
                torch.nn.init.uniform_(parameter, 0.5, 1.0)
        # A fresh padding row is zero, where a model that normalises by the root mean square has a pole.
        torch.nn.init.normal_(model.get_input_embeddings().weight)
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return str(folder)


def write_model(architecture, folder, pooling="mean", dense=False, normalize=False, **settings):
    """Save a sentence transformer."""
    transformer = Transformer(write_transformer(architecture, Path(folder, "raw")))
    modules = [transformer, Pooling(transformer.get_embedding_dimension(), pooling)]
    if dense:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            modules.append(Dense(modules[-1].get_embedding_dimension(), 10))
    if normalize:
        modules.append(Normalize())
    model = SentenceTransformer(modules=modules, device="cpu", **settings)
    model.save_pretrained(str(Path(folder, "model")), create_model_card=False)
    return str(Path(folder, "model"))
