"""Readers that convert the results of search libraries for `XSTransformer.explain_ranking`.

xsbert never calls a store: the user passes the query and the hits. Nothing here imports a search library. Results are
recognised by the names of their fields, so any version with these fields works.

Readers of stores take ``metric``, the metric of the index under the store's own name. Scores are then compared with the
model's own by the formula of that metric, and `explain_ranking` warns of differences that are more than rounding or a
compressed index. Without it scores are kept and not compared: a store's answer does not say what its scores are.
"""

from .any_kind import retrieved
from .document import MEASURES, Retrieved
from .frameworks import from_haystack, from_langchain, from_llama_index
from .llama_index import llama_index_postprocessor
from .places import from_faiss, from_semantic_search
from .rows import from_lancedb, from_pgvector, from_rows
from .sample import Sample, sample
from .stores import (
    from_chroma,
    from_elasticsearch,
    from_milvus,
    from_opensearch,
    from_qdrant,
    from_vespa,
    from_weaviate,
)

__all__ = [
    "MEASURES",
    "Retrieved",
    "Sample",
    "from_chroma",
    "from_elasticsearch",
    "from_faiss",
    "from_haystack",
    "from_lancedb",
    "from_langchain",
    "from_llama_index",
    "from_milvus",
    "from_opensearch",
    "from_pgvector",
    "from_qdrant",
    "from_rows",
    "from_semantic_search",
    "from_vespa",
    "from_weaviate",
    "llama_index_postprocessor",
    "retrieved",
    "sample",
]
