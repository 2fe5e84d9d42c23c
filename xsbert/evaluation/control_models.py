"""Control models: one with shuffled weights, and one with a known explanation."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import TypeVar, cast

import torch
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from .._utils.sequences import as_texts
from .._utils.validation import checked_integer
from ..engine.split_model import encoder_layers
from ..models import XSTransformer
from ..models.comparing import ComparingModel

Model = TypeVar("Model", bound=ComparingModel)

__all__ = ["planted_lexical_model", "randomised_layers"]

SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


def randomised_layers(model: Model, seed: int = 0) -> Model:
    """Returns a copy of a model in which the entries of each weight matrix of the encoder layers are shuffled.

    The copy keeps the sizes, the embeddings and the distribution of the weights. It loses what was learned.

    Args:
        model: not modified.
        seed: seed of the shuffling.
    """
    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(checked_integer(seed, "seed"))
    with torch.no_grad():
        for weight in encoder_layers(cast(Transformer, other[0])).parameters():
            if weight.ndim > 1:
                order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
                weight.copy_(weight.flatten()[order].view_as(weight))
    return other


def planted_lexical_model(words: Sequence[str]) -> XSTransformer:
    """Returns a BERT that embeds a text as the mean of one vector for each of its words.

    Vectors of different words are orthogonal up to the mean that layer normalisation subtracts. Two texts are
    therefore similar only by the words that they share, and a faithful method must find exactly these.

    Args:
        words: the vocabulary, in lower case.
    """
    known = as_texts(words, "words")
    vocabulary = {word: place for place, word in enumerate([*SPECIAL.values(), *dict.fromkeys(known)])}
    # Two dimensions per word, +1 and −1, so that layer norms treat all words alike.
    width = 2 * len(vocabulary)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=128,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    # The random initialisation, overwritten below, must not change the global random state.
    with torch.random.fork_rng(devices=[]):
        network = BertModel(config)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight.fill_(1.0 if "LayerNorm.weight" in name else 0.0)
        # [CLS] and [SEP] stay zero. The reference tokens have vectors that no text contains.
        # +1 and −1 have zero mean and equal norms, so that layer norms change only the scale.
        table = network.embeddings.word_embeddings.weight
        for place in range(len(vocabulary)):
            if place not in (vocabulary["[CLS]"], vocabulary["[SEP]"]):
                table[place, 2 * place], table[place, 2 * place + 1] = 1.0, -1.0
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    ends = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    with TemporaryDirectory() as folder:
        network.save_pretrained(folder)
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=100, **SPECIAL)
        fast.save_pretrained(folder)
        transformer = Transformer(folder)
    modules = [transformer, Pooling(width, "mean")]
    return XSTransformer(modules=modules, device="cpu", reference="unk")
