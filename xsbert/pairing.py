"""Many pairs at the least cost: which texts get factors of their own, and which are pulled back from their partners'.

A text's own factors cost S + 1 evaluations per node, whatever they are combined with. Pulled back they cost one
backward pass for each direction that any of its partners needs, and are good for these partners alone; so the partners
must have factors of their own. Counted are passes per node, a backward pass as `BACKWARD_COST` forward ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields

import numpy as np
import torch

from .attribution import Attribution
from .engine import Explainer
from .engine.explainer import BACKWARD_COST
from .engine.texts import TokenizedText
from .factors import ProjectedFactors, TextFactors

__all__ = ["attributions", "cheaper_by_reverse", "expanded", "pulled_back_texts", "spanning"]

Key = tuple[str, str]


def attributions(
    explainer: Explainer, pairs: Sequence[tuple[TokenizedText, TokenizedText]], similarity: str, units: str
) -> Iterator[Attribution]:
    """Explain pairs, each distinct text computed once, by the cheaper direction.

    Args:
        explainer: of the model.
        pairs: texts a and b.
        similarity: ``"cosine"`` or ``"dot"``.
        units: as for `XSTransformer.token_factors`.

    Returns:
        one attribution for each pair, in order; none of them is kept. What was pulled back is so for its partners here
        alone, which `Attribution.pulled_back` says.
    """
    texts = {_key(text): text for pair in pairs for text in pair}
    partners: dict[Key, dict[Key, None]] = {key: {} for key in texts}
    for a, b in pairs:
        partners[_key(a)][_key(b)] = None
        partners[_key(b)][_key(a)] = None
    lengths = {key: len(text.tokens) for key, text in texts.items()}
    reverse = pulled_back_texts(lengths, partners)
    own = [key for key in texts if key not in reverse]
    known: dict[Key, TextFactors] = dict(
        zip(own, explainer.factors([texts[key] for key in own], units=units), strict=True)
    )
    if reverse:
        needed = [spanning(np.vstack([_needed(known[other]) for other in partners[key]])) for key in reverse]
        known |= zip(reverse, explainer.projected([texts[key] for key in reverse], needed), strict=True)
    return (
        Attribution.of(_combined(known[_key(a)], units), _combined(known[_key(b)], units), similarity) for a, b in pairs
    )


def pulled_back_texts(lengths: Mapping[Key, int], partners: Mapping[Key, Iterable[Key]]) -> list[Key]:
    """Texts that are cheaper pulled back, all of whose partners have factors of their own.

    Args:
        lengths: tokens of each text.
        partners: of each text those that it is paired with.

    Returns:
        the longest first, of two partners the one that saves more.
    """
    savings = {}
    for key, others in partners.items():
        n_directions = sum(lengths[other] + 1 for other in others)
        savings[key] = lengths[key] + 1 - BACKWARD_COST * (n_directions + 1)
    chosen: dict[Key, None] = {}
    full: set[Key] = set()
    for key in sorted(savings, key=lambda key: -savings[key]):
        if savings[key] > 0 and key not in full and not any(other in chosen for other in partners[key]):
            chosen[key] = None
            full.update(partners[key])
    return sorted(chosen, key=lambda key: -lengths[key])


def cheaper_by_reverse(n_directions: int, n_tokens: int) -> bool:
    """Whether that many backward passes are cheaper than one forward pass for each token.

    >>> cheaper_by_reverse(12, 200), cheaper_by_reverse(12, 15)
    (True, False)
    """
    return BACKWARD_COST * (n_directions + 1) < n_tokens + 1


def spanning(vectors: np.ndarray) -> np.ndarray:
    """(K, E) an orthonormal basis of what vectors (N, E) span, one vector where they are all zero."""
    # Not numpy's: its threads would go on spinning, and slow the model's down.
    _, sizes, basis = (part.numpy() for part in torch.linalg.svd(torch.from_numpy(vectors), full_matrices=False))
    return basis[sizes > 1e-9 * sizes[0]] if sizes[0] else basis[:1]


def expanded(projected: ProjectedFactors) -> TextFactors:
    """Factors (S, E) of those along an orthonormal basis: good for whatever it spans, and nothing else."""
    known = {each.name: getattr(projected, each.name) for each in fields(TextFactors)}
    return TextFactors(**{**known, "factors": projected.factors @ projected.directions})


def _needed(partner: TextFactors) -> np.ndarray:
    return np.vstack([partner.factors, partner.reference_term[None], partner.embedding[None]])


def _combined(side: TextFactors, units: str) -> TextFactors:
    """As an attribution takes it, in the units that were asked for."""
    if not isinstance(side, ProjectedFactors):
        return side
    full = expanded(side)
    if units == "tokens":
        return full
    return full.words() if units == "words" else full.over(units)


def _key(text: TokenizedText) -> Key:
    return text.prompt, text.text
