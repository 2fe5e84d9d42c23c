"""The vectors of a text in late interaction, and the matches of two texts.

The score of a query and a document is that of the matched vectors, by MaxSim:

    score = Σ_p w·y_a[p]·y_b[q(p)] / c_p,    q(p) = argmax_q cos(y_a[p], y_b[q]),    c_p = ‖y_a[p]‖·‖y_b[q(p)]‖

over the P vectors of the query. Matches and norms are those of the two texts, and stay fixed. The E numbers of a text
are its P vectors of width D, one behind the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from .._utils.json_fields import read_entry, read_list, require
from .outputs import Joined, Map, Outputs

__all__ = ["Matched", "Vectors"]

# The smallest norm that sentence-transformers divides by.
SMALLEST_NORM = 1e-12


@dataclass(frozen=True, eq=False)
class Vectors:
    """The P vectors of a text that take part in its score."""

    kind: ClassVar[str] = "vectors"
    positions: np.ndarray = field(repr=False)
    """(P,) the token of each vector, int64."""
    size: int
    """D, the width of a vector."""
    normalised: bool
    """Whether the model divides vectors by their norms, so that products are cosines."""
    mean: bool
    """Whether the score is the mean over the query's vectors (MeanMaxSim), not the sum (MaxSim)."""
    labels: tuple[str, ...] = field(default=(), repr=False)
    """(P,) the tokens as readers see them."""
    is_query: bool = False
    """Whether the text was encoded as a query."""

    def __len__(self) -> int:
        return len(self.positions) * self.size

    def of_text(self, tokens: Sequence[str], encoded_by: str) -> Vectors:
        """Return the vectors with the labels of the text's tokens and the text's role."""
        labels = tuple(tokens[at] for at in self.positions.tolist())
        return replace(self, labels=labels, is_query=encoded_by == "encode_query")

    def joined(self, other: Outputs, embedding: np.ndarray, other_embedding: np.ndarray) -> Joined:
        """Match each vector of this text, the query, with the vector of the other text that is most similar."""
        second = self._checked(other)
        matches = self._matches(second, embedding, other_embedding)
        norms, others = self._norms(embedding), second._norms(other_embedding)
        if self.mean:
            norms = norms * len(norms)
        outputs = Matched(
            positions=(self.positions, second.positions[matches]),
            labels=(self.labels, tuple(second.labels[at] for at in matches.tolist())),
            size=self.size,
            mean=self.mean,
        )
        return Joined(
            outputs,
            lambda values: _flat(self._rows(values) / norms[:, None]),
            lambda values: _flat(second._rows(values)[..., matches, :] / others[matches][:, None]),
        )

    def directions(self, other: Outputs, embedding: np.ndarray, other_embedding: np.ndarray) -> Map:
        """Return a map of arrays of another text to directions in this text's vectors.

        One of the texts is the query, as `is_query` says. The directions are divided by all norms.

        Raises:
            ValueError: both texts have the same role.
        """
        second = self._checked(other)
        if self.is_query == second.is_query:
            raise ValueError("late interaction compares a query with a document, got two texts of one role")
        query = self if self.is_query else second
        ends = (embedding, other_embedding) if self.is_query else (other_embedding, embedding)
        matches = query._matches(second if self.is_query else self, *ends)
        own, others = self._norms(embedding), second._norms(other_embedding)
        weight = 1 / len(matches) if self.mean else 1.0

        def mapped(values: np.ndarray) -> np.ndarray:
            units = second._rows(values) / others[:, None]
            if self.is_query:
                return _flat(weight * units[..., matches, :] / own[:, None])
            found = np.zeros((*values.shape[:-1], len(self.positions), self.size))
            for place, matched in enumerate(matches.tolist()):
                found[..., matched, :] += weight * units[..., place, :]
            return _flat(found / own[:, None])

        return mapped

    def picked(self, directions: np.ndarray) -> np.ndarray:
        """Raise ValueError: a single direction does not say which vectors it is for."""
        raise ValueError(
            "a late-interaction model has a vector for each token, so that its score with another text is not one "
            "along a direction: explain the pair of texts instead"
        )

    def to_entries(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "positions": self.positions.tolist(),
            "labels": list(self.labels),
            "size": self.size,
            "normalised": self.normalised,
            "mean": self.mean,
            "is_query": self.is_query,
        }

    @classmethod
    def read(cls, entries: dict[str, Any], width: int, name: str) -> Vectors:
        """Build the vectors of a saved text with embeddings of ``width`` numbers.

        Raises:
            ValueError: entries are missing or inconsistent.
        """
        size, n_vectors = _size(entries, width, name)
        return cls(
            positions=_positions(entries, "positions", n_vectors),
            labels=read_list(entries, "labels", n_vectors, lambda each: isinstance(each, str)),
            size=size,
            normalised=read_entry(entries, "normalised", bool),
            mean=read_entry(entries, "mean", bool),
            is_query=read_entry(entries, "is_query", bool),
        )

    def _matches(self, document: Vectors, embedding: np.ndarray, document_embedding: np.ndarray) -> np.ndarray:
        """Return (P,) which vector of a document each vector of this query matches."""
        own, others = self._rows(embedding), document._rows(document_embedding)
        own = own / self._norms(embedding)[:, None]
        others = others / document._norms(document_embedding)[:, None]
        return (own @ others.T).argmax(1)

    def _rows(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(*values.shape[:-1], len(self.positions), self.size)

    def _norms(self, embedding: np.ndarray) -> np.ndarray:
        if not self.normalised:
            return np.ones(len(self.positions))
        return np.maximum(np.linalg.norm(self._rows(embedding), axis=1), SMALLEST_NORM)

    def _checked(self, other: Outputs) -> Vectors:
        if not isinstance(other, Vectors) or (other.size, other.mean) != (self.size, self.mean):
            raise ValueError(f"vectors of {self.size} numbers cannot be matched with {other!r:.80}")
        return other


@dataclass(frozen=True, eq=False)
class Matched:
    """The matched vectors of a query and a document, divided by their norms, and by P in a mean."""

    kind: ClassVar[str] = "matches"
    positions: tuple[np.ndarray, np.ndarray] = field(repr=False)
    """(P,) and (P,): the token of each vector of the query, and of the document's vector that it matches."""
    labels: tuple[tuple[str, ...], tuple[str, ...]] = field(repr=False)
    """The same tokens as readers see them."""
    size: int
    """D, the width of a vector."""
    mean: bool
    """Whether the score is the mean over the query's vectors."""

    def __len__(self) -> int:
        return len(self.positions[0]) * self.size

    def of_text(self, tokens: Sequence[str], encoded_by: str) -> Matched:
        """Return the matches unchanged."""
        return self

    def joined(self, other: Outputs, embedding: np.ndarray, other_embedding: np.ndarray) -> Joined:
        """Return the numbers unchanged, for the two texts of one pair."""
        pairs = zip(self.positions, other.positions, strict=True) if isinstance(other, Matched) else ()
        if not isinstance(other, Matched) or not all(np.array_equal(*both) for both in pairs):
            raise ValueError("the factors of a matched pair are good for that pair alone")
        return Joined(self, _same, _same)

    def directions(self, other: Outputs, embedding: np.ndarray, other_embedding: np.ndarray) -> Map:
        """Return the identity, for the two texts of one pair."""
        return self.joined(other, embedding, other_embedding).first

    def picked(self, directions: np.ndarray) -> np.ndarray:
        """Raise ValueError: the vectors are those of a pair."""
        raise ValueError("the factors of a matched pair are good for that pair alone")

    def to_entries(self) -> dict[str, Any]:
        of_a, of_b = self.positions
        return {
            "kind": self.kind,
            "positions_a": of_a.tolist(),
            "positions_b": of_b.tolist(),
            "labels_a": list(self.labels[0]),
            "labels_b": list(self.labels[1]),
            "size": self.size,
            "mean": self.mean,
        }

    @classmethod
    def read(cls, entries: dict[str, Any], width: int, name: str) -> Matched:
        """Build the matches of a saved text with embeddings of ``width`` numbers.

        Raises:
            ValueError: entries are missing or inconsistent.
        """
        size, n_vectors = _size(entries, width, name)
        of_a, of_b = (
            read_list(entries, f"labels_{side}", n_vectors, lambda each: isinstance(each, str)) for side in "ab"
        )
        return cls(
            (_positions(entries, "positions_a", n_vectors), _positions(entries, "positions_b", n_vectors)),
            (of_a, of_b),
            size,
            read_entry(entries, "mean", bool),
        )


def _size(entries: dict[str, Any], width: int, name: str) -> tuple[int, int]:
    """Return the width of a vector and the number of vectors."""
    size = read_entry(entries, "size", int)
    require(size > 0 and width > 0 and width % size == 0, f"the vectors of {name} have {size} of {width} numbers")
    return size, width // size


def _positions(entries: dict[str, Any], key: str, n_vectors: int) -> np.ndarray:
    return np.array(read_list(entries, key, n_vectors, lambda each: type(each) is int and each >= 0), dtype=np.int64)


def _flat(rows: np.ndarray) -> np.ndarray:
    return rows.reshape(*rows.shape[:-2], -1)


def _same(values: np.ndarray) -> np.ndarray:
    return values
