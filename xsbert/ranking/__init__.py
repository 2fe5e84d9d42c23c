"""Rankings of documents for a query: hits, contrasts of hits, readers of retriever results, and files."""

from .answers import Answer
from .hit import Hit, Passage
from .ranking import Ranking
from .retrievers import Retrieved

__all__ = ["Answer", "Hit", "Passage", "Ranking", "Retrieved"]
