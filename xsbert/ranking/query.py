"""The query of a ranking. Its factors are computed when they are first used, because highlights do not need them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._utils.cached_property import cached_property
from ..factors.text_factors import TextFactors
from .answers import AnswerFinder

__all__ = ["Query"]


class Query:
    """A query: its embedding at once, and its factors on first use.

    Args:
        encoded: tokens, embedding and settings of the query. Its factors are used if ``compute`` is None.
        compute: computes the factors of the same text by the same model.
        finder: finds answers to the query; None without the model, as for a loaded ranking.
    """

    def __init__(
        self,
        encoded: TextFactors,
        compute: Callable[[], TextFactors] | None = None,
        finder: AnswerFinder | None = None,
    ) -> None:
        self.encoded = encoded
        """The query without factors, if these have not been computed with it."""
        self._compute = compute
        self.finder = finder

    @cached_property
    def factors(self) -> TextFactors:
        """Factors of the query's tokens.

        Raises:
            RuntimeError: the model has changed since the documents were explained.
        """
        if self._compute is None:
            return self.encoded
        found = self._compute()
        before, now = (side.settings.fingerprint if side.settings else "" for side in (self.encoded, found))
        if before != now:
            raise RuntimeError(
                "the contributions of the query's words are computed on first use, and the model has changed since the "
                "documents were explained: explain the ranking again"
            )
        self._compute, self.encoded = None, found
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return Query, (self.factors,)
