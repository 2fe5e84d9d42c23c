"""The result of another method: its numbers for pairs of units and for single units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import numpy as np
from typing_extensions import Self

from ..._utils.checksummed_safetensors import reading
from ...attribution.files import Stored, check_method_numbers, check_result, read_result, save_result, stored_result
from ...attribution.pair_result import PairResult
from ...factors.text_factors import Settings, TextFactors

__all__ = ["MethodAttribution"]

# The names of the numbers in files.
STORED = {"values": "matrix", "effects_a": "main_effects_a", "effects_b": "main_effects_b", "offset": "baseline"}


@dataclass(frozen=True, eq=False, repr=False)
class MethodAttribution(PairResult):
    """Explanation of one predicted similarity by a method other than integrated Jacobians.

    It has the units, words, plots, pages, files and tables of an `Attribution`. The score and the embeddings are the
    model's; the numbers are the method's. If the numbers do not sum to the score, `error` is the difference and
    `left_out` describes it. The texts have no factors, so ``a.factors`` is (S, 0).

    >>> from xsbert.evaluation.methods import explain_with
    >>> (match,) = explain_with("lexical", model, [("A cold day.", "Cold days")])
    >>> match.method, match.left_out
    ('lexical', ...)
    """

    a: TextFactors
    b: TextFactors
    similarity: str
    """``"cosine"`` or ``"dot"``."""
    settings: Settings
    method: str
    """The name in `xsbert.evaluation.methods.METHODS`."""
    left_out: str
    """Description of the part of the score that the numbers omit; empty for a complete method."""
    matrix: np.ndarray
    """(S, T) numbers for pairs of units."""
    main_effects_a: np.ndarray
    """(S,) numbers for single units of a."""
    main_effects_b: np.ndarray
    """(T,) numbers for single units of b."""
    baseline: float = 0.0
    """The part of the score that the method assigns to no unit."""

    def __post_init__(self) -> None:
        shape = len(self.a.tokens), len(self.b.tokens)
        found = self.matrix.shape, self.main_effects_a.shape, self.main_effects_b.shape
        if found != (shape, shape[:1], shape[1:]):
            raise ValueError(
                f"matrix must be of shape {shape} and main effects of its sides, got {found[0]}, {found[1]} and "
                f"{found[2]}"
            )
        if not (np.isfinite(self.matrix).all() and np.isfinite(self.baseline)):
            raise ValueError(f"the numbers of {self.method!r} are not all finite")
        object.__setattr__(self, "baseline", float(self.baseline))
        for name in ("a", "b"):
            object.__setattr__(self, name, _without_factors(getattr(self, name)))

    @property
    def kind(self) -> str:
        """The method, and whether its numbers sum to the score."""
        return f"method {self.method}: {self.left_out or 'the parts sum to the score'}"

    @property
    def pulled_back(self) -> None:
        """None: nothing is computed by reverse mode."""
        return

    def words(self) -> Self:
        """Returns the same result with words as units; every sum is kept.

        Raises:
            ValueError: the tokenizer has no word ids, or the units are already words.

        >>> from xsbert.evaluation.methods import explain_with
        >>> (match,) = explain_with("lexical", model, [("We unpacked.", "Unpacked")], units="tokens")
        >>> match.matrix.shape, match.words().matrix.shape, bool(match.matrix.sum() == match.words().matrix.sum())
        ((7, 5), (5, 3), True)
        """
        return self.over("words", "words")

    def over(
        self,
        a: str | Sequence[tuple[int, int]] | None = None,
        b: str | Sequence[tuple[int, int]] | None = None,
    ) -> Self:
        """Returns the same result with spans of text as units, as `Attribution.over`; every sum is kept.

        >>> from xsbert.evaluation.methods import explain_with
        >>> (match,) = explain_with("lexical", model, [("It rains. We stay in!", "Rain")], units="tokens")
        >>> match.over(a="sentences").a.tokens
        ('[CLS]', 'It rains.', 'We stay in!', '[SEP]')
        """
        (side_a, sums_a), (side_b, sums_b) = _summed(self.a, a), _summed(self.b, b)
        return replace(
            self,
            a=side_a,
            b=side_b,
            matrix=sums_a @ self.matrix @ sums_b.T,
            main_effects_a=sums_a @ self.main_effects_a,
            main_effects_b=sums_b @ self.main_effects_b,
        )

    def in_units(self, units: str) -> Self:
        """Returns the same result, which is in tokens, in ``"tokens"``, ``"words"`` or ``"sentences"``.

        >>> from xsbert.evaluation.methods import explain_with
        >>> (match,) = explain_with("lexical", model, [("We unpacked.", "Unpacked")], units="tokens")
        >>> match.in_units("sentences").a.tokens
        ('[CLS]', 'We unpacked.', '[SEP]')
        """
        return self if units == "tokens" else self.over(units, units)

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the result to one safetensors file, as `Attribution.save`.

        >>> from xsbert.evaluation.methods import explain_with
        >>> (match,) = explain_with("lexical", model, [("A cold day.", "Cold days")])
        >>> match.save(folder / "match.safetensors")
        """
        save_result(self.stored(), path)

    def stored(self) -> Stored:
        """Returns what a file holds of the result.

        >>> from xsbert.evaluation.methods import explain_with
        >>> (match,) = explain_with("lexical", model, [("A cold day.", "Cold days")])
        >>> sorted(match.stored().content)[:3]
        ['a', 'b', 'rival']
        """
        numbers = {name: getattr(self, field) for name, field in STORED.items()}
        entries = {"method": self.method, "left_out": self.left_out, "offset": numbers.pop("offset")}
        return stored_result(self, numbers, entries)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Reads a result that `save` wrote.

        Raises:
            OSError: the file does not exist or cannot be read.
            ValueError: the file is damaged, is not the saved result of a method, or has a newer format.

        >>> from xsbert.evaluation.methods import explain_with
        >>> (match,) = explain_with("lexical", model, [("A cold day.", "Cold days")])
        >>> match.save(folder / "match.safetensors")
        >>> xsbert.MethodAttribution.load(folder / "match.safetensors").method
        'lexical'
        """
        with reading(path, "saved result"):
            return cls.of_fields(read_result(path, cls.__name__, of_method=True))

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Returns the result with the fields of a file.

        Raises:
            ValueError: numbers are not finite.

        >>> from xsbert.attribution.files import read_result
        >>> from xsbert.evaluation.methods import explain_with
        >>> (match,) = explain_with("lexical", model, [("A cold day.", "Cold days")])
        >>> match.save(folder / "fields.safetensors")
        >>> fields = read_result(folder / "fields.safetensors", "MethodAttribution", of_method=True)
        >>> xsbert.MethodAttribution.of_fields(fields).method
        'lexical'
        """
        check_method_numbers({name: fields[name] for name in STORED})
        result = cls(**{STORED.get(name, name): value for name, value in fields.items()})
        check_result(result)
        return result


def _without_factors(side: TextFactors) -> TextFactors:
    if side.factors.shape[1] == 0:
        return side
    return replace(side, factors=np.zeros((len(side.tokens), 0)), known_residual=side.residual)


def _summed(side: TextFactors, ranges: str | Sequence[tuple[int, int]] | None) -> tuple[TextFactors, np.ndarray]:
    """Returns the text with coarser units, and the (G, S) zero-one matrix that sums the old units."""
    sums = np.eye(len(side.tokens))
    if ranges is None:
        return side, sums
    coarse = replace(side, factors=sums).over(ranges)
    return replace(coarse, factors=coarse.factors[:, :0]), coarse.factors
