"""Small tokenizers of each family, trained on a few sentences, and a tiny random model for any of them."""

import json
import tempfile

import torch
import transformers as hf
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from xsbert import XSTransformer

SENTENCES = [
    "query: how long does the coffee stay warm?",
    "passage: The coffee stays warm for an hour.",
    "the weather is cold today, and so is the coast",
    "Weather forecasts for the coast: a storm hit the lighthouse",
    "a long walk along the coast",
] * 20
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
POSITIONS = 62
"""Of `tiny_model`; two rows more are in its table."""


def _finished(backend, begin=True, end=True, post=None, **settings):
    around = [token for token, there in (("<s>", begin), ("</s>", end)) if there]
    template = processors.TemplateProcessing(
        single=" ".join([*["<s>"] * begin, "$A", *["</s>"] * end]),
        special_tokens=[(token, backend.token_to_id(token)) for token in around],
    )
    backend.post_processor = template if post is None else post
    names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"), SPECIAL, strict=True))
    inputs = ["input_ids", "attention_mask"]
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=backend, **names, model_max_length=60, model_input_names=inputs, **settings
    )


def word_piece():
    """BERT's, lower case."""
    backend = Tokenizer(models.WordPiece(unk_token="<unk>"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.train_from_iterator(
        SENTENCES, trainers.WordPieceTrainer(vocab_size=200, special_tokens=SPECIAL, show_progress=False)
    )
    return _finished(backend)


def _byte_level(pre_tokenizer, normalizer=None):
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        backend.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(SENTENCES, trainer)
    return backend


def roberta():
    """Byte-level, offsets without the space before a word."""
    backend = _byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False))
    return _finished(backend, post=processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False))


def qwen():
    """Byte-level, offsets with the space before a word, padding on the left."""
    pattern = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    steps = [
        pre_tokenizers.Split(pattern, "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    backend = _byte_level(pre_tokenizers.Sequence(steps), normalizers.NFC())
    return _finished(backend, begin=False, padding_side="left")


def unigram(prepend_scheme="always"):
    """SentencePiece, as XLM-RoBERTa's: compatible forms and runs of spaces are normalised."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend_scheme)
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator(SENTENCES, trainer)
    return _finished(backend)


def llama(normalizer=None, end=False):
    """SentencePiece with bytes for unknown characters, and a whole text as one word."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=[*SPECIAL, *fallback], show_progress=False)
    backend.train_from_iterator(SENTENCES, trainer)
    saved = json.loads(backend.to_str())
    # Bytes are in the vocabulary, but no tokens that a text could name.
    saved["added_tokens"] = saved["added_tokens"][: len(SPECIAL)]
    saved["pre_tokenizer"] = None
    backend = Tokenizer.from_str(json.dumps(saved))
    replaced = normalizers.Replace(" ", "▁")
    steps = [normalizers.Prepend("▁"), replaced]
    backend.normalizer = normalizers.Sequence(steps) if normalizer is None else normalizer
    return _finished(backend, end=end)


def gemma():
    """The same without a mark before the first word."""
    return llama(normalizers.Replace(" ", "▁"), end=True)


FAMILIES = {
    "word_piece": word_piece,
    "roberta": roberta,
    "qwen": qwen,
    "unigram": unigram,
    "unigram_never": lambda: unigram("never"),
    "llama": llama,
    "gemma": gemma,
}


class WithoutOffsets(hf.PreTrainedTokenizer):
    """A tokenizer in Python, which has neither offsets nor words: pieces of three characters, spaces as ▁."""

    def __init__(self, **settings):
        self.pieces = dict(zip(SPECIAL, range(5), strict=True))
        names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"), SPECIAL, strict=True))
        super().__init__(**names, model_input_names=["input_ids", "attention_mask"], **settings)

    @property
    def vocab_size(self):
        return 400

    def get_vocab(self):
        return dict(self.pieces)

    def _tokenize(self, text, **settings):
        words = text.replace(" ", " ▁").split(" ")
        tokens = [word[at : at + 3] for word in words for at in range(0, len(word), 3)]
        return [token if token.isascii() or "▁" in token else "<unk>" for token in tokens]

    def _convert_token_to_id(self, token):
        return self.pieces.setdefault(token, len(self.pieces))

    def _convert_id_to_token(self, index):
        return next(token for token, known in self.pieces.items() if known == index)

    def build_inputs_with_special_tokens(self, token_ids_0, token_ids_1=None):
        return [0, *token_ids_0, 2]

    def num_special_tokens_to_add(self, pair=False):
        return 2


def tiny_model(tokenizer, architecture="roberta"):
    """A random model of two layers, with positions for `POSITIONS` tokens."""
    kind, rows = {"roberta": (hf.RobertaConfig, POSITIONS + 2), "bert": (hf.BertConfig, POSITIONS)}[architecture]
    config = kind(
        vocab_size=700,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=rows,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        initializer_range=0.5,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = hf.AutoModel.from_config(config)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        fast = word_piece() if isinstance(tokenizer, WithoutOffsets) else tokenizer
        fast.save_pretrained(folder)
        transformer = Transformer(folder)
    if fast is not tokenizer:
        transformer.processor = tokenizer
    modules = [transformer, Pooling(16, "mean")]
    return XSTransformer.wrap(SentenceTransformer(modules=modules, device="cpu"))
