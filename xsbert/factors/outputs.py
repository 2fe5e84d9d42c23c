"""What the E numbers of an embedding stand for, where each text has numbers of its own.

A dense model gives every text the same E dimensions. Other encoders do not: a sparse encoder activates some terms of
its vocabulary, a late-interaction model has one vector for each token. Their score is still a sum of products of the
numbers of both texts, once it is known which number of one text meets which of the other. `Outputs` knows that:

    score = e_a[k]·e_b[k] summed over the K numbers that `Outputs.joined` brings together

so that factors, reference terms and embeddings, mapped to these K numbers, combine as those of a dense model do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from .._utils.json_fields import read_entry, read_list, require

__all__ = ["Joined", "Map", "Outputs", "Terms", "same_kind"]

Map = Callable[[np.ndarray], np.ndarray]
"""Maps arrays (…, E) to (…, K)."""


class Joined(NamedTuple):
    """The numbers of two texts brought together."""

    outputs: Outputs
    """What the K numbers stand for."""
    first: Map
    """Maps factors or embeddings of the first text, (…, E_a) to (…, K)."""
    second: Map
    """The same for the second text, (…, E_b) to (…, K)."""


class Outputs(Protocol):
    """What the E numbers of one text stand for."""

    kind: ClassVar[str]
    """Name of the kind in files and messages."""

    def __len__(self) -> int:
        """Return E."""
        ...

    def of_text(self, tokens: Sequence[str], encoded_by: str) -> Outputs:
        """Return the outputs with what they take from a text: its tokens, and the method that encodes it."""
        ...

    def joined(self, other: Outputs, embedding: np.ndarray, other_embedding: np.ndarray) -> Joined:
        """Bring the numbers of this text, the first or the query, and of another together.

        Args:
            other: outputs of the other text, of the same kind.
            embedding, other_embedding: (E_a,) and (E_b,), from which frozen choices such as matches are made.
        """
        ...

    def directions(self, other: Outputs, embedding: np.ndarray, other_embedding: np.ndarray) -> Map:
        """Return a map of arrays of another text, (…, E_b), to directions in this text's numbers, (…, E_a).

        For y_b of the other text, the score of any y_a of this one is y_a · directions(y_b).
        """
        ...

    def picked(self, directions: np.ndarray) -> np.ndarray:
        """Return (K, E) directions in this text's numbers, from directions (K, size) of the model's embedding.

        Raises:
            ValueError: they are of another width.
        """
        ...

    def to_entries(self) -> dict[str, Any]:
        """Return what JSON can hold, with the `kind`, for `read_outputs`."""
        ...


@dataclass(frozen=True, eq=False)
class Terms:
    """The terms of a vocabulary that a text activates, as in SPLADE. All others are zero."""

    kind: ClassVar[str] = "terms"
    ids: np.ndarray = field(repr=False)
    """(E,) positions of the terms among the ``size`` dimensions of the model's embedding, ascending, int64."""
    labels: tuple[str, ...] = field(repr=False)
    """(E,) the terms as readers see them."""
    size: int
    """Number of dimensions of the model's embedding, such as the size of the vocabulary."""

    def __len__(self) -> int:
        return len(self.ids)

    def of_text(self, tokens: Sequence[str], encoded_by: str) -> Terms:
        """Return the terms unchanged."""
        return self

    def joined(self, other: Outputs, embedding: np.ndarray, other_embedding: np.ndarray) -> Joined:
        """Bring the terms of two texts together: all that either text has, with zeros where one lacks them."""
        second = self._checked(other)
        ids = np.union1d(self.ids, second.ids)
        known = dict(zip(second.ids.tolist(), second.labels, strict=True))
        known |= zip(self.ids.tolist(), self.labels, strict=True)
        outputs = Terms(ids, tuple(known[each] for each in ids.tolist()), self.size)
        return Joined(outputs, outputs.spread(self), outputs.spread(second))

    def directions(self, other: Outputs, embedding: np.ndarray, other_embedding: np.ndarray) -> Map:
        """Return a map that picks this text's terms out of those of another; terms that it lacks are zero."""
        return self.spread(self._checked(other))

    def picked(self, directions: np.ndarray) -> np.ndarray:
        """Return the entries of directions (K, size) for this text's terms."""
        if directions.shape[-1] != self.size:
            raise ValueError(f"directions must have the embedding's {self.size} dimensions, got {directions.shape[-1]}")
        return directions[..., self.ids]

    def spread(self, other: Terms) -> Map:
        """Return a map of arrays over another text's terms, (…, E_b), to arrays over these, (…, E_a)."""
        _, own, others = np.intersect1d(self.ids, other.ids, assume_unique=True, return_indices=True)

        def mapped(values: np.ndarray) -> np.ndarray:
            found = np.zeros((*values.shape[:-1], len(self)), dtype=values.dtype)
            found[..., own] = values[..., others]
            return found

        return mapped

    def to_entries(self) -> dict[str, Any]:
        return {"kind": self.kind, "ids": self.ids.tolist(), "labels": list(self.labels), "size": self.size}

    @classmethod
    def read(cls, entries: dict[str, Any], width: int, name: str) -> Terms:
        """Build the terms of a saved text with embeddings of ``width`` numbers.

        Raises:
            ValueError: entries are missing or inconsistent.
        """
        size = read_entry(entries, "size", int)
        ids = read_list(entries, "ids", width, lambda each: type(each) is int and 0 <= each < size)
        labels = read_list(entries, "labels", width, lambda each: isinstance(each, str))
        require(list(ids) == sorted(set(ids)), f"the terms of {name} are not in ascending order")
        return cls(np.array(ids, dtype=np.int64), labels, size)

    def _checked(self, other: Outputs) -> Terms:
        if not isinstance(other, Terms) or other.size != self.size:
            raise ValueError(f"terms of one vocabulary cannot be combined with {other!r:.80}")
        return other


def same_kind(one: Outputs | None, other: Outputs | None) -> bool:
    """Return whether two texts have outputs of the same kind, so that `Outputs.joined` may combine them."""
    kinds: Sequence[str | None] = [None if each is None else each.kind for each in (one, other)]
    return kinds[0] == kinds[1]
