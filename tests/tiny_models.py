"""Tiny random models to train: few words, large weights, dropout as in the originals."""

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

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
    vocabulary = {word: index for index, word in enumerate([*special.values(), *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=special["unk"]))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    cls, sep = special["cls"], special["sep"]
    tokenizer.post_processor = TemplateProcessing(
        single=f"{cls} $A {sep}", special_tokens=[(cls, vocabulary[cls]), (sep, vocabulary[sep])]
    )
    config_class, model_class = MODELS[model_type]
    config = config_class(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=64,
        pad_token_id=vocabulary[special["pad"]],
        bos_token_id=vocabulary[cls],
        eos_token_id=vocabulary[sep],
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_class(config)
    model.save_pretrained(path)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=60,
        padding_side=padding_side,
        **{f"{role}_token": token for role, token in special.items()},
    ).save_pretrained(path)
    return str(path)
