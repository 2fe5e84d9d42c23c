"""What can be read from a result beside its numbers: terms, alignments, contrasts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ..factors.terms import Listing
from .alignment import Alignments, ContrastView, alignments, contrast_view
from .terms import SharedTerm, shared_terms

if TYPE_CHECKING:
    from ..factors.text_factors import TextFactors

__all__ = ["ReadingMixin"]


class ReadingMixin:
    """Methods of an `Attribution` that read its numbers in other ways."""

    if TYPE_CHECKING:
        a: TextFactors
        b: TextFactors

    def terms(self) -> Listing[SharedTerm]:
        """Split the score of a sparse encoder by the terms that both texts activate, largest first.

        The score is Σ_v e_a[v]·e_b[v] / c over the terms v. Each entry splits e_a[v] over the units of text a and
        e_b[v] over those of text b.

        Raises:
            ValueError: The model is not a sparse encoder.

        >>> print(splade.attribute_prediction("a new refrigerator", "the old fridge").words().terms()[0])
        refrigerator 6.17 = 2.60 × 2.37: refrigerator 2.47, others 0.14 | fridge 2.29, others 0.10
        """
        return shared_terms(self.a, self.b, cast(Any, self).scale)

    def alignments(self, method: str = "mutual", *, threshold: float = 0.0, contrast: bool = False) -> Alignments:
        """Align the units of both texts; see `xsbert.attribution.alignment.alignments`. Links are no attributions.

        >>> bool(out.words().alignments().links[0].value == out.words().matrix.max())
        True
        """
        return alignments(cast(Any, self), method, threshold=threshold, contrast=contrast)

    def contrast_view(self) -> ContrastView:
        """Return the double-centred matrix, for reading; see `xsbert.attribution.alignment`.

        >>> out.words().contrast_view().tokens_a
        ('The', 'coffee', 'is', 'bad', '.')
        """
        return contrast_view(cast(Any, self))
