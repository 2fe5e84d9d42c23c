"""`ExplainingModel`: explains single pairs and texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from typing_extensions import deprecated

from .._utils.validation import checked_real
from ..attribution.attribution import Attribution
from ..attribution.direction import DirectionAttribution, checked_direction
from ..attribution.similarity import resolved_similarity
from ..engine import Explainer, Options
from ..engine.batch_run import spanning
from ..engine.options import takes_options
from ..factors.text_factors import TextFactors
from ..text.units import check_units
from .pair_inputs import Sides, sides_of
from .referenced import ReferencedModel
from .routes import attribution_across
from .shift_warning import warn_of_shift

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..engine import OptionKeywords

__all__ = ["ExplainingModel"]


class ExplainingModel(ReferencedModel):
    """A model with a reference, and the methods that explain one pair or single texts."""

    @takes_options
    def explainer(self, **options: Unpack[OptionKeywords]) -> Explainer:
        """Create a reusable explainer, which computes the factors of texts. Options are checked once.

        Args:
            **options: see `Options`.

        Raises:
            TypeError: an option is of the wrong type.
            ValueError: an option is out of range.

        >>> explainer = model.explainer(layer=5, tolerance=0.05)
        >>> [len(factors.tokens) for factors in explainer.factors(["A cold day.", "Rain"])]
        [6, 3]
        """
        return Explainer(self, Options(**options))

    @takes_options
    def explain(
        self,
        text_a: str,
        text_b: str,
        *,
        similarity: str | None = None,
        units: str = "tokens",
        prompt: Sides = None,
        prompt_name: Sides = None,
        task: Sides = None,
        **options: Unpack[OptionKeywords],
    ) -> Attribution:
        """Attribute the predicted similarity of two texts to pairs of their tokens.

        If one text is much longer than the other, its factors are computed by reverse mode from those of the shorter
        text. The numbers are the same at a lower cost.

        Args:
            text_a: S tokens, special tokens included.
            text_b: T tokens, special tokens included.
            similarity: ``"cosine"`` or ``"dot"``; None uses the model's own.
            units: ``"tokens"``, ``"words"`` or ``"sentences"``, as for `text_factors`.
            prompt: prepended to both texts as in `encode`; a pair gives each text its own.
            prompt_name: name of a prompt of the model, or a pair of names.
            task: ``"query"`` or ``"document"`` embeds both texts as `encode_query` or `encode_document` does, with the
                model's prompt for that task. ``("query", "document")`` embeds the first text as a query and the
                second as a document.
            **options: see `Options`.

        Returns:
            the attribution, with an (S, T) matrix, the other parts of the score, and the error.

        Raises:
            TypeError: an argument is of the wrong type.
            ValueError: an argument is out of range, or a text is empty.
            FloatingPointError: the model produced numbers that are not finite.
            MemoryError: the budget is too small for a single product.

        Warns:
            UserWarning: a text is longer than the model's limit and was truncated; or the tolerance was not reached.
            ShiftWarning: an added shift changes the model's score by more than 0.05. It is a UserWarning.

        >>> out = model.explain("The coffee is bad.", "This is not a good coffee.", tolerance=0.01)
        >>> f"{out.score:.2f} = " + " + ".join(f"{part:.2f}" for part in out.parts.values())
        '0.79 = 1.06 + -0.33 + -0.31 + 0.37'
        """
        explainer = self.explainer(**options)
        similarity = resolved_similarity(similarity, self.similarity_fn_name)
        check_units(units)
        prompts = sides_of(explainer, prompt, prompt_name, task)
        a = explainer.tokenized(text_a, prompts[0], name="text_a")
        b = explainer.tokenized(text_b, prompts[1], name="text_b")
        factors_a, factors_b = explainer.pair(a, b, units=units)
        # Pairs of features are pairs of tokens.
        feature_pairs = (lambda: explainer.feature_pairs(a, b)) if units == "tokens" else None
        result = Attribution.of(factors_a, factors_b, similarity, compute_feature_pairs=feature_pairs)
        warn_of_shift(result)
        return result

    attribute_prediction = explain
    """Another name of `explain`."""

    @takes_options
    def explain_across(
        self,
        other: ExplainingModel,
        text_a: str,
        text_b: str,
        *,
        similarity: str | None = None,
        **options: Unpack[OptionKeywords],
    ) -> Attribution:
        """Attribute the similarity of a text under this model with a text under another one of the same space.

        Such models are the two routes of a router: a static or small encoder for queries, another for documents. Both
        are wrapped by their route. ``settings`` of the result name both models; its layer is that of this one.

        Args:
            other: the model that embeds ``text_b``.
            text_a, text_b: S tokens, T tokens.
            similarity: ``"cosine"`` or ``"dot"``; None uses this model's own.
            **options: see `Options`. They apply to both models.

        Raises:
            TypeError: ``other`` is not such a model.
            ValueError: the embeddings have different widths; others as for `explain`.

        >>> across = model.explain_across(model, "A cold day.", "Freezing.", layer=5)
        >>> round(across.score, 4) == round(model.explain("A cold day.", "Freezing.", layer=5).score, 4)
        True
        """
        if not isinstance(other, ExplainingModel):
            raise TypeError(f"other must be a model that xsbert explains, got {type(other).__name__}")
        for each in (self, other):
            if each.own_outputs:
                raise ValueError(
                    f"explain_across takes models that embed a text as one dense vector, got {type(each).__name__}"
                )
        similarity = resolved_similarity(similarity, self.similarity_fn_name)
        return attribution_across(self, other, text_a, text_b, similarity, options)

    @takes_options
    def explain_direction(
        self,
        text: str,
        direction: Any,
        *,
        name: str = "direction",
        bias: float = 0.0,
        direction_reference: Any = None,
        similarity: str | None = None,
        units: str = "words",
        prompt: str | None = None,
        prompt_name: str | None = None,
        task: str | None = None,
        **options: Unpack[OptionKeywords],
    ) -> DirectionAttribution:
        """Attribute a text's score along a direction of the embedding to its units.

        The direction is any vector: a stored query embedding, a centroid, the row of a classifier's weights, or a
        difference of two vectors. It takes one backward pass for each node.

        Args:
            text: the text, as for `explain`.
            direction: (E,) numbers, as wide as the output of `encode`.
            name: display name of the direction.
            bias: added to the score, such as the intercept of a classifier.
            direction_reference: (E,) part of the direction that does not come from words: for a combination of texts
                the same combination of their reference terms, in the same scale. The score then has four parts.
            similarity: ``"cosine"`` also divides by the norms of embedding and direction. ``"dot"`` is the inner
                product with the output of `encode`, as in a linear classifier. None uses the model's own.
            units: ``"tokens"``, ``"words"`` or ``"sentences"``.
            prompt, prompt_name, task: as for `text_factors`.
            **options: see `Options`.

        Raises:
            TypeError: an argument is of the wrong type.
            ValueError: the direction has another width than the embedding, is zero or is not finite; others as for
                `explain`.

        Warns:
            UserWarning: as for `explain`.

        >>> warm, cold = model.encode(["It is warm.", "It is cold."])
        >>> along = model.explain_direction("A freezing day.", cold - warm, similarity="dot", name="cold, not warm")
        >>> along.top(1)[0][0]
        'freezing'
        """
        explainer = self.explainer(**options)
        similarity = resolved_similarity(similarity, self.similarity_fn_name)
        check_units(units)
        dense: Any = self
        width = dense.get_embedding_dimension()
        along = checked_direction(direction, "direction", width)
        vectors = [along]
        if direction_reference is not None:
            vectors.append(checked_direction(direction_reference, "direction_reference", width))
        tokenized = explainer.tokenized(text, explainer.prompt(prompt, prompt_name, task))
        (side,) = explainer.projected([tokenized], [spanning(np.stack(vectors))])
        return DirectionAttribution(
            side=side.in_units(units),
            direction=along,
            similarity=similarity,
            name=_checked_name(name),
            bias=checked_real(bias, "bias"),
            direction_reference=None if direction_reference is None else vectors[1],
        )

    @overload
    def text_factors(
        self,
        texts: Iterable[str],
        *,
        units: str = ...,
        prompt: str | None = ...,
        prompt_name: str | None = ...,
        task: str | None = ...,
        errors: Literal["raise"] = ...,
        **options: Unpack[OptionKeywords],
    ) -> list[TextFactors]: ...

    @overload
    def text_factors(
        self,
        texts: Iterable[str],
        *,
        units: str = ...,
        prompt: str | None = ...,
        prompt_name: str | None = ...,
        task: str | None = ...,
        errors: str,
        **options: Unpack[OptionKeywords],
    ) -> list[TextFactors | None]: ...

    @takes_options
    def text_factors(
        self,
        texts: Iterable[str],
        *,
        units: str = "tokens",
        prompt: str | None = None,
        prompt_name: str | None = None,
        task: str | None = None,
        errors: str = "raise",
        **options: Unpack[OptionKeywords],
    ) -> Sequence[TextFactors | None]:
        """Compute the factors of texts, each distinct text once. `Attribution.of` combines any two of them.

        `xsbert.save_factors` writes them to a file.

        Args:
            texts: one or more texts: a list, or a column of pandas, numpy, Arrow, polars or datasets, read by
                position. A table, a dictionary, a set or a single string raises a TypeError.
            units: ``"tokens"``, ``"words"`` or ``"sentences"``. The factor of a word or sentence is the sum of its
                tokens' factors, and takes one pass per unit and node.
            prompt, prompt_name: a string or None, as for `encode`.
            task: ``"query"`` or ``"document"`` embeds as `encode_query` or `encode_document` does.
            errors: ``"raise"``, or ``"skip"`` to warn of a text that cannot be explained, giving its position, and
                to return None for it.
            **options: see `Options`.

        Returns:
            one `TextFactors` for each text, in order.

        Raises, warns:
            as for `explain`; an error gives the position of the text. The progress bar counts texts.

        >>> [factors.factors.shape for factors in model.text_factors(["A cold day.", "Rain"], layer=5)]
        [(6, 384), (3, 384)]
        """
        how = {"units": units, "prompt": prompt, "prompt_name": prompt_name, "task": task, "errors": errors}
        return self.explainer(**options).factors(texts, **how)

    @deprecated("token_factors() of a model is deprecated, its name is text_factors()")
    def token_factors(self, texts: Iterable[str], **how: Any) -> list[TextFactors]:
        """Former name of `text_factors`, up to version 0.1.0."""
        return self.text_factors(texts, **how)

    @takes_options
    def predict_memory(
        self,
        text: str,
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        task: str | None = None,
        **options: Unpack[OptionKeywords],
    ) -> int:
        """Predict the peak memory of a text's factors in forward mode, in bytes, without the model itself.

        The prediction counts the tensors of a few products. The text computes ``chunk_size`` products at once, or a
        number that the library chooses. An allocator may add a little, by rounding and by the workspace of matrix
        products.

        Args:
            text: the longest text to be explained.
            prompt, prompt_name, task: as for `text_factors`.
            **options: see `Options`.

        Raises:
            as for `text_factors`.

        >>> model.predict_memory("A cold day.", layer=5) < 1e9
        True
        """
        explainer = self.explainer(**options)
        return explainer.predicted_memory(explainer.tokenized(text, explainer.prompt(prompt, prompt_name, task)))


def _checked_name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, got {name!r:.80}")
    return name
