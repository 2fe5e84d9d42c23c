"""A node postprocessor for LlamaIndex."""

from __future__ import annotations

from typing import Any

from ..._utils.optional_imports import optional

__all__ = ["llama_index_postprocessor"]

KEYS = ("xsbert_highlights", "xsbert_reason")


def llama_index_postprocessor(model: Any, **options: Any) -> Any:
    """Create a node postprocessor for LlamaIndex that ranks by the model and adds an explanation to each node.

    It returns nodes in the model's order and with its scores. The metadata of each node contains
    ``xsbert_highlights``, a list of start, end and weight, best first. If a node cannot be explained, it contains
    ``xsbert_reason``. Both keys are excluded from the texts for language models and embeddings.

    Args:
        model: an `XSTransformer`.
        **options: as for `XSTransformer.explain_ranking`.

    Raises:
        ImportError: llama-index-core is not installed.
    """
    types = optional("llama_index.core.postprocessor.types", "llama-index-core", "llama_index_postprocessor")
    schema = optional("llama_index.core.schema", "llama-index-core", "llama_index_postprocessor")

    class XSBertPostprocessor(types.BaseNodePostprocessor):
        """Ranks nodes by the model's own scores and adds its highlights to their metadata."""

        @classmethod
        def class_name(cls) -> str:
            return "XSBertPostprocessor"

        def _postprocess_nodes(self, nodes: list[Any], query_bundle: Any = None) -> list[Any]:
            if query_bundle is None:
                raise ValueError("the postprocessor needs the query: pass query_bundle or query_str")
            if not nodes:
                return []
            ranking = model.explain_ranking(query_bundle.query_str, nodes, **options)
            return [_with_highlights(schema, nodes[hit.index], hit) for hit in ranking]

    return XSBertPostprocessor()


def _with_highlights(schema: Any, item: Any, hit: Any) -> Any:
    """Return a copy of the node with highlights. The given node stays unchanged."""
    node = item.node.model_copy(deep=True)
    found = [[each.start, each.end, each.weight] for each in hit.highlights()] if hit.explained else []
    node.metadata[KEYS[0]] = found
    if hit.reason is not None:
        node.metadata[KEYS[1]] = hit.reason
    for excluded in (node.excluded_llm_metadata_keys, node.excluded_embed_metadata_keys):
        excluded.extend(key for key in KEYS if key not in excluded)
    return schema.NodeWithScore(node=node, score=hit.score)
