"""Tiny random models to train: few words, large weights, dropout as in the originals."""

import torch
from tokenizers import pre_tokenizers
from transformers import BertConfig, BertModel, MPNetConfig, MPNetModel, RobertaConfig, RobertaModel

from tests.tiny import word_tokenizer

WORDS = ["a", "cat", "dog", "sees", "the", "old", "tree", "and", "bird", "sings", "under", "it", "."]
TEXTS = [
    "the cat sees a dog .",
    "the old dog sees the bird and the cat under the old tree .",
    "a bird sings",
    "the bird sings under the tree and the old cat sees it .",
    "a cat",
    "dog",
]

SPECIAL_TOKENS = {
    "bert": {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    # Ids as these models have them: padding is 1, so that positions start at 2.
    "roberta": {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"},
    "mpnet": {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"},
}
MODELS = {
    "bert": (BertConfig, BertModel),
    "roberta": (RobertaConfig, RobertaModel),
    "mpnet": (MPNetConfig, MPNetModel),
}


def save_tiny_model(path, model_type="bert", padding_side="right", dropout=0.1):
    """Save a random transformer of two layers with a tokenizer of whole words; returns the path as a string."""
    special = SPECIAL_TOKENS[model_type]
    fast = word_tokenizer(
        special,
        WORDS,
        ["cls"],
        ["sep"],
        pre_tokenizers.BertPreTokenizer(),
        padding_side=padding_side,
        model_max_length=60,
    )
    config_class, model_class = MODELS[model_type]
    config = config_class(
        vocab_size=len(fast),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=64,
        pad_token_id=fast.pad_token_id,
        bos_token_id=fast.cls_token_id,
        eos_token_id=fast.sep_token_id,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_class(config)
    model.save_pretrained(path)
    fast.save_pretrained(path)
    return str(path)
