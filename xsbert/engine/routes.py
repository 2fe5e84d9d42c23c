"""Models with a route for queries and another for documents, and queries that need no model.

A query that is encoded by `SparseStaticEmbedding` activates the terms that are its tokens, each with a fixed weight.
Its factors are known in closed form: V[s] is the weight of token s, in equal parts where a token occurs several times,
and its reference is zero.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding
from torch import nn

from .._utils.stacklevel import caller_level
from ..factors.outputs import Terms
from ..factors.text_factors import ProjectedFactors, Settings, TextFactors, projected_on
from ..text.units import TEXT
from .batch_run import Directions, Run, chosen_directions
from .explainer import Explainer, Text
from .fingerprint import model_fingerprint
from .initial_factors import numpy_of
from .options import Options
from .protocol import Explainable
from .reference import positions_of_reference
from .token_layout import TokenLayout, layout_of_encoding
from .tokenization import Prompt, TokenizedText, checked_text

__all__ = ["RoutedExplainer"]


class RoutedExplainer(Explainer):
    """An explainer of a model that encodes queries and documents by different modules.

    Args:
        model: the route with encoder layers, whose layer and reference the options refer to.
        options: options of the explanation.
        routes: the other routes by their task, such as ``"query"``: a module in closed form.
        default_route: task of the route that `encode` takes, or None if that is the route with encoder layers.
        modules: all modules of the model, for its fingerprint.
        max_active_dims: at most so many terms of a text are kept; None keeps all.
    """

    def __init__(
        self,
        model: Explainable,
        options: Options | None,
        routes: Mapping[str, SparseStaticEmbedding],
        default_route: str | None,
        modules: Iterable[nn.Module],
        max_active_dims: int | None = None,
    ) -> None:
        super().__init__(model, options)
        self._routes, self._default, self._modules = routes, default_route, list(modules)
        self._most = max_active_dims

    def prompt(self, prompt: str | None = None, prompt_name: str | None = None, task: str | None = None) -> Prompt:
        """Return a prompt, with the method of the model whose route it takes."""
        found = super().prompt(prompt, prompt_name, task)
        return replace(found, encoded_by=f"encode_{task}" if task else "encode")

    def tokenized(
        self, text: Text, prompt: Prompt | None = None, *, name: str = "text", warn: bool = True
    ) -> TokenizedText:
        """Tokenize a text as its route does. A tokenized text is returned unchanged."""
        if isinstance(text, TokenizedText):
            return text
        prompt = prompt or self.prompt()
        module = self._route(prompt.encoded_by)
        if module is None:
            return super().tokenized(text, prompt, name=name, warn=warn)
        return _tokenized(module, text, prompt, name, warn)

    def run(self) -> Run:
        """Start a run, which takes the route of each text."""
        return _RoutedRun(self, self._resolved, self._route, self._modules, self._most)

    def feature_pairs(self, text_a: Text, text_b: Text) -> np.ndarray:
        """Raise ValueError if one of the texts takes a route without hidden states."""
        texts = self.tokenized(text_a, name="text_a"), self.tokenized(text_b, name="text_b")
        if any(self._route(text.encoded_by) is not None for text in texts):
            raise ValueError("a text that is encoded without a model has no hidden states, so no feature pairs")
        return super().feature_pairs(*texts)

    def _route(self, encoded_by: str) -> SparseStaticEmbedding | None:
        """Return the module of a route in closed form, or None."""
        task = encoded_by.removeprefix("encode").removeprefix("_") or self._default
        return None if task is None else self._routes.get(task)


class _RoutedRun(Run):
    """A run over texts of several routes. All have the fingerprint of the whole model, so that they can be combined."""

    def __init__(
        self,
        explainer: Explainer,
        options: Options,
        route: Callable[[str], SparseStaticEmbedding | None],
        modules: Sequence[nn.Module],
        max_active_dims: int | None,
    ) -> None:
        super().__init__(explainer.model, options, explainer.reference, explainer.layer)
        self._route, self._most = route, max_active_dims
        self.fingerprint = model_fingerprint(modules, explainer.reference)

    def factors(self, texts: Sequence[TokenizedText], units: str, errors: str) -> list[TextFactors | None]:
        modules = [self._route(text.encoded_by) for text in texts]
        rest = [text for text, module in zip(texts, modules, strict=True) if module is None]
        found = iter(super().factors(rest, units, errors))
        return [
            next(found) if module is None else self._closed_form(module, text).in_units(units)
            for text, module in zip(texts, modules, strict=True)
        ]

    def encoded(self, text: TokenizedText) -> TextFactors:
        module = self._route(text.encoded_by)
        return super().encoded(text) if module is None else self._closed_form(module, text)

    def pair(self, long: TokenizedText, short: TokenizedText, units: str) -> tuple[TextFactors, TextFactors]:
        of_long, of_short = self.factors([long, short], units, "raise")
        assert of_long is not None
        assert of_short is not None
        return of_long, of_short

    def projected(
        self,
        texts: Sequence[TokenizedText],
        directions: Sequence[Directions],
        options: Options | None = None,
        *,
        with_own: bool = False,
    ) -> list[ProjectedFactors]:
        if all(self._route(text.encoded_by) is None for text in texts):
            return super().projected(texts, directions, options, with_own=with_own)
        found = []
        for whole, given in zip(self.factors(texts, "tokens", "raise"), directions, strict=True):
            assert whole is not None
            found.append(projected_on(whole, chosen_directions(whole, given, with_own)))
        return found

    def batched(self, texts: Sequence[TokenizedText]) -> Iterator[list[int]]:
        if all(self._route(text.encoded_by) is None for text in texts):
            yield from super().batched(texts)
        else:
            yield from ([place] for place in range(len(texts)))

    def _closed_form(self, module: Any, text: TokenizedText) -> TextFactors:
        """Return the factors (S, E) of a text, E the number of its terms."""
        ids, weights = text.features["input_ids"][0].cpu().numpy(), numpy_of(module.weight)
        terms = np.unique(ids)
        terms = terms[weights[terms] != 0]
        if self._most is not None and len(terms) > self._most:
            terms = np.sort(terms[np.argsort(-np.abs(weights[terms]), kind="stable")[: self._most]])
        equal = (ids[:, None] == terms[None, :]).astype(np.float64)
        labels = tuple(cast(Any, module.tokenizer).convert_ids_to_tokens(terms.tolist()))
        return TextFactors(
            text=text.text,
            prompt=text.prompt,
            encoded_by=text.encoded_by,
            tokens=text.tokens,
            roles=text.roles,
            word_ids=text.word_ids,
            spans=text.spans,
            factors=equal * weights[terms] / np.maximum(equal.sum(0), 1),
            embedding=weights[terms],
            reference_term=np.zeros(len(terms)),
            normalisation=1.0,
            n_cut=text.n_cut,
            factor_error=0.0,
            outputs=Terms(terms.astype(np.int64), labels, len(weights)),
            settings=Settings(
                model=self.model.label,
                layer=self.layer,
                n_layers=self.model.n_layers,
                rule="closed form",
                n_steps=0,
                reference=self.reference.token,
                fingerprint=self.fingerprint,
                reference_positions=positions_of_reference(self.model[0], self.reference),
                shift=False,
                dtype=str(self.model.dtype).removeprefix("torch."),
                tolerance=self.options.target,
                factor_tolerance=self.options.factor_tolerance,
            ),
        )


def _tokenized(module: Any, text: str, prompt: Prompt, name: str, warn: bool) -> TokenizedText:
    """Tokenize a text as the module does."""
    text, before = checked_text(text, name), prompt.text or ""
    tokenizer: Any = module.tokenizer
    features = tokenizer([before + text], truncation=True, return_tensors="pt", add_special_tokens=False)
    tokens = tuple(tokenizer.convert_ids_to_tokens(features["input_ids"][0].tolist()))
    layout = TokenLayout(tokens, (TEXT,) * len(tokens), None, None, 0)
    if features.encodings:
        layout = layout_of_encoding(features.encodings[0], tokens, before + text, len(before))
    found = TokenizedText(
        text=before + text,
        features=dict(features),
        layout=layout,
        prompt=before,
        encoded_by=prompt.encoded_by,
        name=name,
        unknown_token=tokenizer.unk_token,
    )
    if not tokens:
        raise ValueError(f"nothing is left of {name}, {text!r:.60}: the tokenizer drops its characters")
    if warn:
        for problem in filter(None, (found.cut, found.nothing_left)):
            warnings.warn(f"{problem}, so the explanation covers only what the model read", stacklevel=caller_level())
    return found
