"""Late-interaction models: real layers of all-MiniLM-L6-v2 behind a head that keeps angles, but is not trained."""

import string

import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import nn

WIDTH = 64


def orthogonal_head(n_states, width=WIDTH):
    """Return a projection of token states with orthonormal rows."""
    head = Dense(n_states, width, bias=False, activation_function=nn.Identity(), module_input_name="token_embeddings")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        nn.init.orthogonal_(head.linear.weight)
    return head


def late_model(path, *, skip=tuple(string.punctuation), normalise=True, prompts=None, similarity=None, **settings):
    """Return a MultiVectorEncoder over the layers in a folder; ``settings`` are those of its Transformer."""
    first = Transformer(path, **settings)
    modules = [first, orthogonal_head(first.get_embedding_dimension()), MultiVectorMask(skiplist_words=list(skip))]
    modules += [Normalize(module_input_name="token_embeddings")] * normalise
    return MultiVectorEncoder(modules=modules, device="cpu", prompts=prompts, similarity_fn_name=similarity)
