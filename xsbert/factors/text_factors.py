"""What one text leaves behind: its factor, and how it was computed."""

from __future__ import annotations

from collections.abc import Sequence
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

__all__ = ["ProjectedFactors", "Settings", "TextFactors", "check_combinable", "settings_of"]


@dataclass(frozen=True)
class Settings:
    """How a result was computed."""

    model: str
    """A label for readers: the model's id, or the end of its path."""
    layer: int
    n_layers: int
    rule: str
    """The name of a rule, or ``"adaptive"`` where the nodes were placed for a tolerance."""
    n_steps: int
    """Nodes; of a pair, here and in other counts, those of the text that took more."""
    reference: str
    shift: bool
    dtype: str
    tolerance: float | None = None
    """The relative residual that was asked for, None with a given number of nodes."""
    fingerprint: str = ""
    """Of all that makes the model's embeddings, so that factors of different models are not combined. Its kind, a
    colon, and hexadecimal digits; up to version 0.1.0 digits alone, of the first numbers of each weight. Those of one
    kind alone can be compared."""
    derivative_dtype: str = ""
    """In what precision linear layers took their products of derivatives: ``"tf32"`` where torch does for float32."""
    n_looks: int = 0
    """Evaluations of the model that were spent on finding the nodes and, for texts of 16 tokens or more, on telling the
    error of the factors; beside S + 1 for each node."""
    n_float64: int = 0
    """Nodes that were computed in float64, since the embedding jumps there within what float32 resolves."""
    reference_positions: str = "text"
    """Positions of the reference's tokens: the text's own, or ``"padding"``, all at the position of padding."""
    factor_tolerance: float | None = None
    """The relative error of the tokens' factors that was asked for as well, None where it was only stated."""

    @property
    def described_tolerance(self) -> str:
        """What the nodes were placed for; empty with a given number of nodes."""
        if self.tolerance is None:
            return ""
        of_factors = "" if self.factor_tolerance is None else f", of {self.factor_tolerance:g} for the factors"
        return f" for a tolerance of {self.tolerance:g}{of_factors}"

    @property
    def described_reference(self) -> str:
        """The token of the reference and, where they are not the text's, its positions."""
        return f"{self.reference}{'' if self.reference_positions == 'text' else ', positions of padding'}"

    @property
    def described_nodes(self) -> str:
        """How many nodes of which rule; the name of a method that integrates nothing."""
        return f"{self.n_steps} {self.rule} nodes" if self.n_steps else self.rule

    @property
    def precision(self) -> str:
        """The dtype of the model and, where it is another, that of products of derivatives."""
        same = self.derivative_dtype in ("", self.dtype)
        return self.dtype if same else f"{self.dtype}, derivatives in {self.derivative_dtype}"


@dataclass(frozen=True, eq=False)
class TextFactors:
    """The factor of one text: all that an explanation needs to know of it.

    S counts its units: tokens, or words after `words`, or stretches of text after `over`.
    """

    text: str
    """Prompt and text."""
    tokens: tuple[str, ...]
    """(S,) labels of the units."""
    roles: tuple[str, ...]
    """(S,) ``"text"``, ``"special"`` or ``"prompt"``; after `over` also ``"rest"``, text that no range holds."""
    word_ids: tuple[int | None, ...] | None
    """(S,) the tokenizer's word of each token, or None."""
    spans: tuple[tuple[int, int], ...] | None
    """(S,) characters [start, end) of ``text``, or None."""
    factors: np.ndarray = field(repr=False)
    """(S, E) V, float64."""
    embedding: np.ndarray = field(repr=False)
    """(E,) e(x), before a trailing normalisation, float64."""
    reference_term: np.ndarray = field(repr=False)
    """(E,) ρ = e(r), zero for a shifted model, float64."""
    normalisation: float
    """What the embedding is divided by before a dot product: ‖f(x)‖ with a trailing Normalize, else 1."""
    n_cut: int = 0
    """Tokens that the model's length limit cut off."""
    prompt: str = ""
    """What ``text`` begins with before the text itself."""
    encoded_by: str = ""
    """Which method of the model embeds the text so, ``"encode"``, ``"encode_query"`` or ``"encode_document"``; empty
    for a model in which all three do the same."""
    settings: Settings | None = None
    """How the factor was computed."""
    factor_error: float | None = None
    """Upper estimate of ‖V − V*‖ / ‖V*‖, the relative error of the tokens' factors, with V* the exact ones; see
    `xsbert.integrated_jacobian.error_estimates`. None for factors of version 0.1.0. Of units that were summed
    afterwards, that of the tokens."""
    known_residual: float | None = None
    """The residual, where ``factors`` are projected on what the other text of a pair needs of them and do not
    tell it. Such factors are good for that pair alone."""
    embedding_unshifted: np.ndarray | None = field(default=None, repr=False)
    """(E,) what the model encodes the text to without the shift, normalised where it does so, float64; None unless the
    shift was added to a model that was neither trained nor saved with it."""

    @cached_property
    def residual(self) -> float:
        """‖Σ_s V[s] − (e(x) − e(r))‖ / ‖e(x) − e(r)‖, the relative error of the integration."""
        if self.known_residual is not None:
            return self.known_residual
        expected = self.embedding - self.reference_term
        gap = np.linalg.norm(self.factors.sum(0) - expected)
        return float(gap / np.linalg.norm(expected)) if gap else 0.0

    def groups(self, units: str) -> list[list[int]]:
        """(G,) lists of the positions that `words` or, for ``"sentences"``, `over` would sum.

        >>> model.text_factors(["We unpacked."], layer=6, n_steps=1)[0].groups("words")
        [[0], [1], [2, 3, 4], [5], [6]]
        """
        counted = replace(self, factors=np.eye(len(self.tokens)))
        summed = (counted.words() if units == "words" else counted.over(units)).factors
        return [np.flatnonzero(row).tolist() for row in summed]

    def words(self) -> TextFactors:
        """The same factor with the tokens of each word summed; special tokens stay apart.

        Raises:
            ValueError: the tokenizer has no word ids, or the units are words already.

        >>> model.text_factors(["We unpacked."], layer=6, n_steps=1)[0].words().tokens
        ('[CLS]', 'We', 'unpacked', '.', '[SEP]')
        """
        if self.spans is None:
            raise ValueError("words() needs the tokenizer's word ids and offsets, which only fast tokenizers have")
        if self.word_ids is None:
            raise ValueError("words() sums tokens: these units are words or other stretches of text already")
        groups = word_groups(self.word_ids, self.roles, self.spans, self.text)
        return self._summed(groups, [None] * len(groups), [self.roles[group[0]] for group in groups])

    def over(self, ranges: str | Sequence[tuple[int, int]]) -> TextFactors:
        """The same factor summed over stretches of the text: phrases, sentences, or words.

        A token belongs to the range that holds at least half of its visible characters. What no range holds is
        summed into one unit of role ``"rest"``, a prompt into one of role ``"prompt"``; special tokens stay apart.

        Args:
            ranges: characters [start, end) of the text without its prompt, in any order; or ``"sentences"``
                (see `sentence_ranges`), or ``"words"``.

        Raises:
            TypeError: a range is not a pair of integers.
            ValueError: ranges overlap, leave the text or hold no token; or the tokenizer has no offsets.

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

    def _ranges(self, ranges: str | Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Ranges of the text without its prompt, as ranges of prompt and text."""
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
        """Sum groups of units into new ones, each of which spans its range or, where that is None, its members."""
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
    """The factor of one text along K directions of the embedding: ``factors`` is (S, K), V·u_k of each unit.

    Units are summed by `words` and `over` as those of the whole factor. No `Attribution` can be made of it.
    """

    directions: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)), repr=False)
    """(K, E) the u_k."""

    @classmethod
    def of(cls, text: TextFactors, directions: np.ndarray) -> ProjectedFactors:
        """A text whose ``factors`` are (S, K) along directions (K, E)."""
        return cls(**_fields(text), directions=directions)

    def expanded(self) -> TextFactors:
        """The factor (S, E) along orthonormal directions: good for whatever they span, and nothing else."""
        return TextFactors(**{**_fields(self), "factors": self.factors @ self.directions})


def settings_of(text: TextFactors) -> Settings:
    """How a factor was computed.

    Raises:
        ValueError: it does not say.
    """
    if text.settings is None:
        raise ValueError("factors must say how they were computed: got one without settings")
    return text.settings


def check_combinable(a: TextFactors, b: TextFactors) -> None:
    """Refuse factors that no `Attribution` can be made of.

    Raises:
        ValueError: they are of different models, layers, references, positions of them or widths, or do not say of
            which.
    """
    if isinstance(a, ProjectedFactors) or isinstance(b, ProjectedFactors):
        raise ValueError("factors along a few directions alone cannot be combined, they lack all others")
    settings = settings_of(a), settings_of(b)
    kinds = {_kind(side.fingerprint) for side in settings}
    # The fingerprints of version 0.1.0 do not tell all models apart, so that the name has to agree too.
    of_model = ("model", "fingerprint") if kinds == {""} else ("fingerprint",)
    for name in ("layer", "reference", "reference_positions", "shift", "dtype", *of_model):
        one, other = (getattr(side, name) for side in settings)
        if one != other:
            reason = _of_fingerprints(*settings) if name == "fingerprint" else f"{one!r} and {other!r}"
            raise ValueError(f"factors of different {name} cannot be combined: {reason}")
    if a.embedding.shape != b.embedding.shape:
        raise ValueError(
            f"factors of different width cannot be combined: {len(a.embedding)} and {len(b.embedding)} dimensions"
        )


def _fields(text: TextFactors) -> dict[str, Any]:
    return {each.name: getattr(text, each.name) for each in fields(TextFactors)}


def _of_fingerprints(one: Settings, other: Settings) -> str:
    """Why two fingerprints differ."""
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
    """What is before the colon, empty up to version 0.1.0."""
    kind, colon, _ = fingerprint.partition(":")
    return kind if colon else ""
