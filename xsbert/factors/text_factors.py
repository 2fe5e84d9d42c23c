"""The factor of one text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from .._utils.cached_property import cached_property
from ..text.units import (
    REST,
    TEXT,
    check_ranges,
    range_groups,
    sentence_ranges,
    sum_groups,
    unit_label,
    visible_span,
    word_groups,
)
from .outputs import Outputs, Terms, same_kind
from .settings import Settings
from .terms import Listing, TextTerm, terms_of

__all__ = [
    "ProjectedFactors",
    "Settings",
    "TextFactors",
    "check_combinable",
    "directions_of",
    "joined",
    "needed_directions",
    "projected_on",
    "settings_of",
]


@dataclass(frozen=True, eq=False)
class TextFactors:
    """The factor of one text, with everything that an explanation needs.

    S is the number of units: tokens, words after `words`, or ranges of text after `over`.
    """

    text: str
    """Prompt and text."""
    tokens: tuple[str, ...]
    """(S,) labels of the units."""
    roles: tuple[str, ...]
    """(S,) ``"text"``, ``"special"`` or ``"prompt"``; after `over` also ``"rest"``, text outside all ranges."""
    word_ids: tuple[int | None, ...] | None
    """(S,) the tokenizer's word id of each token, or None."""
    spans: tuple[tuple[int, int], ...] | None
    """(S,) characters [start, end) of ``text``, or None."""
    factors: np.ndarray = field(repr=False)
    """(S, E) V, float64."""
    embedding: np.ndarray = field(repr=False)
    """(E,) e(x), before a trailing normalisation, float64."""
    reference_term: np.ndarray = field(repr=False)
    """(E,) ρ = e(r), zero for a shifted model, float64."""
    normalisation: float
    """The divisor of the embedding in a dot product: ‖f(x)‖ with a trailing Normalize, else 1."""
    n_cut: int = 0
    """Number of tokens cut off by the model's length limit."""
    prompt: str = ""
    """The prompt at the start of ``text``."""
    encoded_by: str = ""
    """The model's method that gives this embedding: ``"encode"``, ``"encode_query"`` or ``"encode_document"``. Empty
    if all three are the same for the model."""
    settings: Settings | None = None
    """How the factor was computed."""
    factor_error: float | None = None
    """Upper estimate of ‖V − V*‖ / ‖V*‖, the relative error of the tokens' factors, with V* the exact ones; see
    `xsbert.integrated_jacobian.error_estimates`. Summed units keep the estimate of the tokens. None for factors of
    version 0.1.0."""
    known_residual: float | None = None
    """The residual of projected factors, which do not determine it themselves. Factors projected for the other text of
    a pair are valid only for that pair."""
    embedding_unshifted: np.ndarray | None = field(default=None, repr=False)
    """(E,) embedding without the shift, normalised if the model normalises, float64. None unless the shift was added
    to a model that was neither trained nor saved with it."""
    outputs: Outputs | None = field(default=None, repr=False)
    """What the E numbers stand for, if each text has its own, such as the terms that a sparse encoder activates. None
    for a dense model."""

    @cached_property
    def residual(self) -> float:
        """‖Σ_s V[s] − (e(x) − e(r))‖ / ‖e(x) − e(r)‖, the relative error of the integration."""
        if self.known_residual is not None:
            return self.known_residual
        expected = self.embedding - self.reference_term
        gap = np.linalg.norm(self.factors.sum(0) - expected)
        return float(gap / np.linalg.norm(expected)) if gap else 0.0

    def mapped(self, outputs: Outputs, numbers: Callable[[np.ndarray], np.ndarray]) -> TextFactors:
        """Return the factor with other numbers, which ``numbers`` computes from arrays (…, E)."""
        unshifted = self.embedding_unshifted
        return replace(
            self,
            factors=numbers(self.factors),
            embedding=numbers(self.embedding),
            reference_term=numbers(self.reference_term),
            embedding_unshifted=None if unshifted is None else numbers(unshifted),
            outputs=outputs,
        )

    def terms(self) -> Listing[TextTerm]:
        """Return the terms that a sparse encoder finds in the text, each split over the units; largest first.

        Raises:
            ValueError: The model is not a sparse encoder, or the factors are projected.

        >>> print(splade.text_factors(["a cold day"])[0].words().terms()[0])
        cold 2.69: cold 2.51, a 0.14, others 0.05
        """
        if isinstance(self, ProjectedFactors):
            raise ValueError("factors along a few directions alone do not give the terms of a text")
        return terms_of(self.outputs, self.tokens, self.factors, self.embedding, self.reference_term)

    def groups(self, units: str) -> list[list[int]]:
        """Return G lists of positions that `words` or, for ``"sentences"``, `over` sums.

        >>> model.text_factors(["We unpacked."], layer=6, n_steps=1)[0].groups("words")
        [[0], [1], [2, 3, 4], [5], [6]]
        """
        counted = replace(self, factors=np.eye(len(self.tokens)))
        return [np.flatnonzero(row).tolist() for row in counted.in_units(units).factors]

    def words(self) -> TextFactors:
        """Sum the tokens of each word. Special tokens stay separate.

        Raises:
            ValueError: The tokenizer has no word ids, or the units are words already.

        >>> model.text_factors(["We unpacked."], layer=6, n_steps=1)[0].words().tokens
        ('[CLS]', 'We', 'unpacked', '.', '[SEP]')
        """
        if self.spans is None:
            raise ValueError("words() needs the tokenizer's word ids and offsets, which only fast tokenizers have")
        if self.word_ids is None:
            raise ValueError("words() sums tokens, but these units are already words or other parts of the text")
        groups = word_groups(self.word_ids, self.roles, self.spans, self.text)
        return self._summed(groups, [None] * len(groups), [self.roles[group[0]] for group in groups])

    def over(self, ranges: str | Sequence[tuple[int, int]]) -> TextFactors:
        """Sum tokens over ranges of the text: phrases, sentences, or words.

        A token belongs to the range that holds at least half of its visible characters. Text outside all ranges
        becomes one unit of role ``"rest"``, a prompt one of role ``"prompt"``. Special tokens stay separate.

        Args:
            ranges: Characters [start, end) of the text without its prompt, in any order; or ``"sentences"``
                (see `sentence_ranges`), or ``"words"``.

        Raises:
            TypeError: A range is not a pair of integers.
            ValueError: Ranges overlap, exceed the text or hold no token, or the tokenizer has no offsets.

        >>> model.text_factors(["It rains. We stay in!"], layer=6, n_steps=1)[0].over("sentences").tokens
        ('[CLS]', 'It rains.', 'We stay in!', '[SEP]')
        """
        if isinstance(ranges, str) and ranges == "words":
            return self.words()
        if self.spans is None:
            raise ValueError("character ranges need the tokenizer's offsets, which only fast tokenizers have")
        wanted = self._ranges(ranges)
        groups, owners = range_groups(self.spans, self.roles, self.text, wanted)
        empty = sorted(set(range(len(wanted))) - set(owners))
        if empty and not isinstance(ranges, str):
            start, end = wanted[empty[0]]
            cut = f"; the model's limit cut off {self.n_cut} tokens" if self.n_cut else ""
            raise ValueError(f"the range of {self.text[start:end]!r:.60} holds no token{cut}")
        return self._summed(
            groups,
            [None if owner is None else wanted[owner] for owner in owners],
            [
                REST if owner is None and self.roles[group[0]] == TEXT else self.roles[group[0]]
                for group, owner in zip(groups, owners, strict=True)
            ],
        )

    def in_units(self, units: str) -> TextFactors:
        """Sum tokens to ``"words"`` or ``"sentences"``; ``"tokens"`` changes nothing.

        >>> model.text_factors(["It rains."], layer=6, n_steps=1)[0].in_units("sentences").tokens
        ('[CLS]', 'It rains.', '[SEP]')
        """
        return self if units == "tokens" else self.over(units)

    def _ranges(self, ranges: str | Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Convert ranges of the text without its prompt to ranges of prompt and text."""
        n_prompt = len(self.prompt)
        text = self.text[n_prompt:]
        if isinstance(ranges, str) and ranges != "sentences":
            raise ValueError(f"ranges must be 'sentences', 'words' or pairs of characters, got {ranges!r:.60}")
        found = sentence_ranges(text) if isinstance(ranges, str) else check_ranges(ranges, len(text))
        return [(start + n_prompt, end + n_prompt) for start, end in found]

    def _summed(
        self,
        groups: Sequence[Sequence[int]],
        ranges: Sequence[tuple[int, int] | None],
        roles: Sequence[str],
    ) -> TextFactors:
        """Sum groups of units. Each new unit spans its range or, if that is None, its members."""
        own = self.spans or ()
        spans = [
            span or visible_span(self.text, (own[group[0]][0], own[group[-1]][1]))
            for group, span in zip(groups, ranges, strict=True)
        ]
        labels = [
            unit_label(self.text[start:end], role, [self.tokens[at] for at in group])
            for group, (start, end), role in zip(groups, spans, roles, strict=True)
        ]
        return replace(
            self,
            tokens=tuple(labels),
            roles=tuple(roles),
            spans=tuple(spans),
            word_ids=None,
            factors=sum_groups(self.factors, groups),
        )


@dataclass(frozen=True, eq=False)
class ProjectedFactors(TextFactors):
    """The factor of one text along K directions of the embedding. ``factors`` is (S, K), V·u_k of each unit.

    `words` and `over` sum units as for whole factors. It cannot be combined into an `Attribution`.
    """

    directions: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)), repr=False)
    """(K, E) directions u_k."""

    @classmethod
    def of(cls, text: TextFactors, directions: np.ndarray) -> ProjectedFactors:
        """Build projected factors from (S, K) ``factors`` and (K, E) directions."""
        return cls(**_fields(text), directions=directions)

    def expanded(self) -> TextFactors:
        """Return the (S, E) factor for orthonormal directions. It is valid only within their span."""
        return TextFactors(**{**_fields(self), "factors": self.factors @ self.directions})


def projected_on(text: TextFactors, directions: np.ndarray) -> ProjectedFactors:
    """Project (S, E) factors on directions (K, E).

    Raises:
        ValueError: The directions are not as wide as the factors.
    """
    if directions.shape[1] != text.factors.shape[1]:
        raise ValueError(
            f"directions must have the embedding's {text.factors.shape[1]} dimensions, got {directions.shape[1]}"
        )
    along = replace(text, factors=text.factors @ directions.T, known_residual=text.residual)
    return ProjectedFactors.of(along, directions)


def settings_of(text: TextFactors) -> Settings:
    """Return the settings of a factor.

    Raises:
        ValueError: It has none.
    """
    if text.settings is None:
        raise ValueError("factors must state how they were computed, got one without settings")
    return text.settings


def check_combinable(a: TextFactors, b: TextFactors) -> None:
    """Check that two factors can be combined into an `Attribution`.

    Raises:
        ValueError: They differ in model, layer, reference, reference positions, shift, dtype or width, are projected,
            or have no settings.
    """
    if isinstance(a, ProjectedFactors) or isinstance(b, ProjectedFactors):
        raise ValueError("factors along a few directions cannot be combined: they lack the other directions")
    settings = settings_of(a), settings_of(b)
    kinds = {_kind(side.fingerprint) for side in settings}
    # Fingerprints of version 0.1.0 do not distinguish all models, so the names must agree too.
    of_model = ("model", "fingerprint") if kinds == {""} else ("fingerprint",)
    for name in ("layer", "reference", "reference_positions", "shift", "dtype", *of_model):
        one, other = (getattr(side, name) for side in settings)
        if one != other:
            reason = _of_fingerprints(*settings) if name == "fingerprint" else f"{one!r} and {other!r}"
            raise ValueError(f"factors of different {name} cannot be combined: {reason}")
    prompts = {side.reference_prompt for side, text in zip(settings, (a, b), strict=True) if text.prompt}
    if len(prompts) > 1:
        raise ValueError("factors of different reference_prompt cannot be combined: 'keep' and 'replace'")
    if not same_kind(a.outputs, b.outputs):
        raise ValueError("factors of different kinds of outputs cannot be combined")
    if a.outputs is None and a.embedding.shape != b.embedding.shape:
        raise ValueError(
            f"factors of different width cannot be combined: {len(a.embedding)} and {len(b.embedding)} dimensions"
        )


def joined(a: TextFactors, b: TextFactors) -> tuple[TextFactors, TextFactors]:
    """Bring the numbers of two texts together, so that number k of one meets number k of the other.

    Texts of a dense model are returned unchanged.

    Args:
        a: Factors of text a, or of the query.
        b: Factors of text b, or of the document.
    """
    if a.outputs is None or b.outputs is None:
        return a, b
    outputs, first, second = a.outputs.joined(b.outputs, a.embedding, b.embedding)
    return a.mapped(outputs, first), b.mapped(outputs, second)


def directions_of(side: TextFactors, other: TextFactors, vectors: np.ndarray) -> np.ndarray:
    """Return vectors (…, E_b) of another text, such as its embedding, as directions (…, E_a) in the numbers of a text.

    They are the vectors themselves for a dense model.
    """
    if side.outputs is None or other.outputs is None:
        return vectors
    return side.outputs.directions(other.outputs, side.embedding, other.embedding)(vectors)


def needed_directions(side: TextFactors, other: TextFactors) -> np.ndarray:
    """Return the directions (K, E) along which a pair needs the factors of a text, given those of the other.

    For terms they are the common terms, so that each term can be split over the units. There may be none.
    """
    if isinstance(side.outputs, Terms):
        common = directions_of(side, other, other.embedding) != 0
        return np.eye(len(common))[common]
    needed = np.vstack([other.factors, other.reference_term[None]])
    return directions_of(side, other, needed[needed.any(1)])


def _fields(text: TextFactors) -> dict[str, Any]:
    return {each.name: getattr(text, each.name) for each in fields(TextFactors)}


def _of_fingerprints(one: Settings, other: Settings) -> str:
    """Return the reason why two fingerprints differ."""
    if _kind(one.fingerprint) != _kind(other.fingerprint):
        return (
            f"{one.fingerprint!r} is of another kind than {other.fingerprint!r}, by another version of xsbert, so that "
            "it cannot be told whether one model made both; compute the older again"
        )
    return (
        f"the models {one.model!r} and {other.model!r} differ in weights, modules or settings, or were loaded by "
        f"different versions of transformers ({one.fingerprint!r} and {other.fingerprint!r})"
    )


def _kind(fingerprint: str) -> str:
    """Return the part before the colon. It is empty for version 0.1.0."""
    kind, colon, _ = fingerprint.partition(":")
    return kind if colon else ""
