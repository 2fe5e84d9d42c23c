"""One query and many documents: hits, contrasts of hits, readers of retrievers, and files."""

from .hit import Hit, Passage
from .ranking import Ranking
from .retrievers import Retrieved

__all__ = ["Hit", "Passage", "Ranking", "Retrieved"]
