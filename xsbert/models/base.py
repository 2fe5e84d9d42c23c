"""`XSTransformer`: a sentence transformer that explains its own similarities."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast, overload

from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Transformer
from torch import nn
from typing_extensions import deprecated

from ..attribution import Attribution, check_scalable
from ..engine import Explainer, Options
from ..engine.encoder import encoder_layers
from ..engine.options import takes_options
from ..engine.reference import (
    Reference,
    chosen_reference,
    default_reference,
    positions_of_reference,
    resolve_reference,
)
from ..engine.skipping import skip_or_raise
from ..engine.texts import Prompt
from ..factors import TextFactors
from ..similarity import SIMILARITIES, similarity_hint
from .admission import check_supported, damaged_weights
from .card import add_shift_note
from .reference import ReferenceShift, ReferenceTransformer, ShiftingReferenceTransformer
from .shift_warning import ShiftWarning, warn_of_shift, warning_once

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..engine import OptionKeywords

__all__ = ["ShiftWarning", "XSTransformer"]

# How modules.json names the modules of a shifted model. They need no trust: they are not code from a model's files.
OUR_MODULES = {
    f"{module.__module__}.{module.__qualname__}": module for module in (ReferenceTransformer, ReferenceShift)
}
# The models published with the papers name theirs so, and shift without a module of its own.
PUBLISHED_MODULE = "xsbert.models.ShiftingReferenceTransformer"

Sides = str | tuple[str | None, str | None] | None
"""The same for both texts, or a pair."""


class XSTransformer(SentenceTransformer):
    """Any sentence-transformers model with `attribute_prediction`.

    Args:
        model_name_or_path: a model id or a local path, as for `SentenceTransformer`.
        shift: subtract the embedding of the reference, e(x) = f(x) − f(r), in `encode` and everywhere else
            (Moeller et al., EMNLP 2023, eq. 4). Attributions are then exact: their sum is the score. But the score
            is another one than the model's, which results give beside it, unless the model was trained or saved with
            the shift. A model that was saved shifted comes back shifted in any case.
        reference: the token that stands for the absence of a word: ``"pad"``, ``"unk"``, ``"mask"`` or any
            token as the vocabulary spells it. None takes the one that a shifted model was saved with, and
            otherwise ``"unk"``, or ``"pad"`` for a tokenizer that has no unknown token or with positions of padding;
            results say which in ``settings.reference``. Of the two, the unknown token changes the scores of real
            models less and splits them into smaller parts; ``"pad"`` is the papers' choice, and takes fewer nodes.
            `xsbert.choose_reference` compares them.
        reference_positions: ``"text"``: the tokens of the reference have the text's own positions. ``"padding"``: its
            padding tokens all have the position of padding, as RoBERTa and MPNet themselves number them, and the
            papers' code with them. None takes those that a shifted model was saved with, and otherwise ``"text"``.
        **kwargs: as for `SentenceTransformer`.

    Raises:
        ValueError: the model is of a kind that cannot be explained (the message says why), the tokenizer does not
            have the reference token, the model cannot have the positions, or a shifted model has others.
        OSError: the weights cannot be read.
    """

    model_types: ClassVar[tuple[str, ...] | None] = None
    """The transformers model types that the class is made for, None for any."""

    def __init__(
        self,
        model_name_or_path: str | PathLike[str] | None = None,
        *,
        shift: bool = False,
        reference: str | None = None,
        reference_positions: str | None = None,
        **kwargs: Any,
    ) -> None:
        # SentenceTransformer takes strings alone.
        path = None if model_name_or_path is None else fspath(model_name_or_path)
        try:
            super().__init__(path, **kwargs)
        except SafetensorError as error:
            raise OSError(
                f"the weights in {damaged_weights(path)} cannot be read, the file is damaged or cut short: {error}"
            ) from error
        self._set_up(shift, reference, reference_positions)

    @classmethod
    def wrap(
        cls,
        model: SentenceTransformer,
        *,
        shift: bool = False,
        reference: str | None = None,
        reference_positions: str | None = None,
    ) -> XSTransformer:
        """Take over a loaded `SentenceTransformer` without loading it again.

        Weights are shared, ``model`` itself stays as it is. Other arguments, and errors, as for the class.

        Raises:
            TypeError: ``model`` is not a `SentenceTransformer`, such as a cross-encoder.
        """
        if not isinstance(model, SentenceTransformer):
            raise TypeError(
                f"model must be a SentenceTransformer, got {type(model).__name__}; cross-encoders and sparse or "
                "multi-vector encoders do not embed a text into one vector"
            )
        wrapped = cls.__new__(cls)
        vars(wrapped).update(vars(model))
        wrapped._modules = OrderedDict(model._modules)
        wrapped.model_card_data = copy.copy(model.model_card_data)
        wrapped.model_card_data.register_model(wrapped)
        wrapped._set_up(shift, reference, reference_positions)
        return wrapped

    _reference: Reference

    @property
    def n_layers(self) -> int:
        """L, the number of encoder layers."""
        return len(encoder_layers(self._transformer))

    @property
    def shifted(self) -> bool:
        """Whether embeddings are shifted by that of the reference."""
        return any(isinstance(module, ReferenceShift) for module in self)

    @property
    def normalised(self) -> bool:
        """Whether embeddings are divided by their norms at the end."""
        return isinstance(self[len(self) - 1], Normalize)

    @property
    def reference(self) -> Reference:
        """What texts are compared with where nothing else is asked for."""
        return self._reference

    @property
    def reference_positions(self) -> str:
        """Which positions the tokens of the reference have: ``"text"`` or ``"padding"``."""
        return positions_of_reference(self._transformer, self._reference)

    @property
    def shift_added(self) -> bool:
        """Whether the shift was added to a model that was neither trained nor saved with it.

        The model's own scores are then those without it, which results give as ``score_unshifted``. A call of
        `train`, which the Trainer makes, ends this: what is trained from then on is the shifted model.
        """
        return any(isinstance(module, ReferenceShift) and module.added for module in self)

    @property
    def label(self) -> str:
        """A name for readers: the model's id, or the end of its path."""
        name = getattr(self._transformer.config, "_name_or_path", "") or type(self._transformer.model).__name__
        return "/".join(Path(name).resolve().parts[-2:]) if Path(name).is_dir() else name

    @takes_options
    def explainer(self, **options: Unpack[OptionKeywords]) -> Explainer:
        """An explainer to be used again: texts in, factors out, with options that are checked once.

        Args:
            **options: see `Options`.

        Raises:
            TypeError: an option is of the wrong type.
            ValueError: an option is outside what is allowed.
        """
        return Explainer(self, Options.of(options))

    @takes_options
    def attribute_prediction(
        self,
        text_a: str,
        text_b: str,
        *,
        similarity: str | None = None,
        prompt: Sides = None,
        prompt_name: Sides = None,
        task: Sides = None,
        **options: Unpack[OptionKeywords],
    ) -> Attribution:
        """Attribute the predicted similarity of two texts to pairs of their tokens.

        Where one text is much longer than the other, its factors are pulled back from those of the shorter one by
        reverse mode, which gives the same numbers for less.

        Args:
            text_a: S tokens, special tokens included.
            text_b: T tokens, special tokens included.
            similarity: ``"cosine"`` or ``"dot"``; None takes the model's own.
            prompt: put before both texts as in `encode`; a pair gives each text its own.
            prompt_name: name of a prompt of the model, or a pair of names.
            task: ``"query"`` or ``"document"`` embeds both texts as `encode_query` or `encode_document` does, with the
                model's prompt of that side; ``("query", "document")`` the first as a query, the second as a document.
            **options: see `Options`.

        Returns:
            the attribution, with an (S, T) matrix, the parts that it leaves out, and its error.

        Raises:
            TypeError: an argument is of the wrong type.
            ValueError: an argument is outside what is allowed, or a text is empty.
            FloatingPointError: the model produced numbers that are not finite.
            MemoryError: the budget is too small for a single product.

        Warns:
            UserWarning: a text is longer than the model's limit, and was cut by so many tokens; or the tolerance was
                not reached.
            ShiftWarning: a shift that was added to the model changes its score by more than 0.05. It is a UserWarning.
        """
        explainer = self.explainer(**options)
        similarity = self._resolved_similarity(similarity)
        prompts = _sides_of(explainer, prompt, prompt_name, task)
        a = explainer.tokenized(text_a, prompts[0], name="text_a")
        b = explainer.tokenized(text_b, prompts[1], name="text_b")
        factors_a, factors_b = explainer.pair(a, b)
        result = Attribution.of(
            factors_a, factors_b, similarity, compute_feature_pairs=lambda: explainer.feature_pairs(a, b)
        )
        warn_of_shift(result)
        return result

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
        """The factors of texts, each distinct text computed once; `Attribution.of` combines any two of them.

        `xsbert.save_factors` keeps them in a file.

        Args:
            texts: one or more texts.
            units: ``"tokens"``, ``"words"`` or ``"sentences"``: the coarser ones give the sums of their tokens' factors
                for as many passes as there are units.
            prompt, prompt_name: a string or None, as for `encode`.
            task: ``"query"`` or ``"document"`` embeds as `encode_query` or `encode_document`.
            errors: ``"raise"``, or ``"skip"`` to warn of a text that cannot be explained, with its place, and have None
                for its factor.
            **options: see `Options`.

        Returns:
            one factor for each text, in order.

        Raises, warns:
            as `attribute_prediction`; an error names the text by its place. The bar counts texts.
        """
        how = {"units": units, "prompt": prompt, "prompt_name": prompt_name, "task": task, "errors": errors}
        return self.explainer(**options).factors(texts, **how)

    @deprecated("token_factors() of a model is deprecated, its name is text_factors()")
    def token_factors(self, texts: Iterable[str], **how: Any) -> list[TextFactors]:
        """`text_factors`, up to version 0.1.0."""
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
        """How many bytes the factors of a text would take at once besides the model, by forward mode.

        Counted from the tensors of a few products, of which the text takes as many at once as ``chunk_size`` says, or
        as the library chooses. An allocator may add a little, by rounding and by the workspace of matrix products.

        Args:
            text: the longest of the texts that are to be explained.
            prompt, prompt_name, task: as for `text_factors`.
            **options: see `Options`.

        Raises:
            as `text_factors`.
        """
        explainer = self.explainer(**options)
        return explainer.predicted_memory(explainer.tokenized(text, explainer.prompt(prompt, prompt_name, task)))

    @overload
    def explain_pairs(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        similarity: str | None = ...,
        units: str = ...,
        prompt: Sides = ...,
        prompt_name: Sides = ...,
        task: Sides = ...,
        errors: Literal["raise"] = ...,
        **options: Unpack[OptionKeywords],
    ) -> Iterator[Attribution]: ...
    @overload
    def explain_pairs(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        similarity: str | None = ...,
        units: str = ...,
        prompt: Sides = ...,
        prompt_name: Sides = ...,
        task: Sides = ...,
        errors: str,
        **options: Unpack[OptionKeywords],
    ) -> Iterator[Attribution | None]: ...
    @takes_options
    def explain_pairs(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        similarity: str | None = None,
        units: str = "tokens",
        prompt: Sides = None,
        prompt_name: Sides = None,
        task: Sides = None,
        errors: str = "raise",
        **options: Unpack[OptionKeywords],
    ) -> Iterator[Attribution | None]:
        """Explain many pairs, with each distinct text computed once.

        Args:
            pairs: pairs of texts.
            similarity, prompt, prompt_name, task: as for `attribute_prediction`.
            units: as for `text_factors`.
            errors: ``"raise"``, or ``"skip"`` to warn of a text that cannot be explained, with its place, and yield
                None for its pairs.
            **options: see `Options`.

        Yields:
            one attribution for each pair, in order; none of them is kept.

        Warns:
            UserWarning: as `attribute_prediction`.
            ShiftWarning: once, at the first pair whose score an added shift changes by more than 0.05.
        """
        explainer = self.explainer(**options)
        similarity = self._resolved_similarity(similarity)
        prompts = _sides_of(explainer, prompt, prompt_name, task)
        left, right = [], []
        for text_a, text_b in pairs:
            left.append(text_a)
            right.append(text_b)
        names = "pairs[{}][0]", "pairs[{}][1]"
        a, b = _both_sides(explainer, (left, right), prompts, names, similarity, units, errors)
        return warning_once(
            None if one is None or other is None else Attribution.of(one, other, similarity)
            for one, other in zip(a, b, strict=True)
        )

    @takes_options
    def explain_matrix(
        self,
        queries: Iterable[str],
        documents: Iterable[str],
        *,
        similarity: str | None = None,
        units: str = "tokens",
        prompt: Sides = None,
        prompt_name: Sides = None,
        task: Sides = None,
        errors: str = "raise",
        **options: Unpack[OptionKeywords],
    ) -> Iterator[tuple[int, int, Attribution]]:
        """Explain each of n queries against each of m documents, at the cost of n + m factors.

        Args:
            queries, documents: texts.
            similarity, prompt, prompt_name, task: as for `attribute_prediction`; of a pair, the first is for the
                queries. ``task=("query", "document")`` explains what `encode_query` and `encode_document` give.
            units: as for `text_factors`.
            errors: ``"raise"``, or ``"skip"`` to warn of a text that cannot be explained, with its place, and leave out
                its row or column.
            **options: see `Options`.

        Yields:
            place of the query, place of the document, attribution; row by row, and none of them is kept.

        Warns:
            as `explain_pairs`.
        """
        explainer = self.explainer(**options)
        similarity = self._resolved_similarity(similarity)
        prompts = _sides_of(explainer, prompt, prompt_name, task)
        names = "queries[{}]", "documents[{}]"
        rows, columns = _both_sides(explainer, (queries, documents), prompts, names, similarity, units, errors)
        left = [(i, row) for i, row in enumerate(rows) if row is not None]
        right = [(j, column) for j, column in enumerate(columns) if column is not None]
        results = warning_once(Attribution.of(row, column, similarity) for _, row in left for _, column in right)
        places = ((i, j) for i, _ in left for j, _ in right)
        return ((i, j, result) for (i, j), result in zip(places, results, strict=True) if result is not None)

    def unshifted_modules(self) -> list[nn.Module]:
        """The modules that make f, sharing the weights: no reference, no shift, and no trailing normalisation."""
        modules = [module for module in self if not isinstance(module, ReferenceShift)]
        while isinstance(modules[-1], Normalize):
            modules.pop()
        if isinstance(modules[0], ReferenceTransformer):
            modules[0] = ReferenceTransformer.from_transformer(modules[0], None)
        return modules

    @property
    def _transformer(self) -> Transformer:
        first = self[0]
        assert isinstance(first, Transformer)  # as `check_supported` has found
        return first

    def _set_up(self, shift: bool, reference: str | None, positions: str | None) -> None:
        check_supported(self, self.model_types)
        first = self[0]
        if isinstance(first, ReferenceTransformer) and first.reference is not None:
            self._reference = first.reference
            chosen_reference(self._transformer, self._reference, True, reference, positions)
            return
        if reference is None:
            reference = "pad" if positions == "padding" else default_reference(self._transformer)
        self._reference = resolve_reference(self._transformer, reference, "text" if positions is None else positions)
        if shift:
            self._insert_shift(self._reference)

    def _insert_shift(self, reference: Reference) -> None:
        """Put the shift behind pooling and dense modules, before a trailing normalisation."""
        modules: OrderedDict[str, Any] = OrderedDict(self._modules)
        modules[next(iter(modules))] = ReferenceTransformer.from_transformer(self._transformer, reference)
        self._modules = _with_shift(modules, ReferenceShift(added=True))

    def _load_config_modules(self, *args: Any, **kwargs: Any) -> Any:
        self._published = False
        modules, module_kwargs = super()._load_config_modules(*args, **kwargs)
        if self._published:
            modules = _with_shift(OrderedDict(cast(Any, modules)), ReferenceShift())
        return modules, module_kwargs

    def _load_module_class_from_ref(self, class_ref: str, *args: Any, **kwargs: Any) -> type:
        if class_ref == PUBLISHED_MODULE:
            self._published = True
            return ShiftingReferenceTransformer
        if class_ref in OUR_MODULES:
            return OUR_MODULES[class_ref]
        return super()._load_module_class_from_ref(class_ref, *args, **kwargs)

    def _create_model_card(self, path: str, *args: Any, **kwargs: Any) -> None:
        """The usual model card, which for a shifted model also says that it is one, and how it is loaded."""
        super()._create_model_card(path, *args, **kwargs)
        card = Path(path) / "README.md"
        if self.shifted and card.exists():
            add_shift_note(card, self._reference.token, self.reference_positions)

    def _load_default_modules(self, model_name_or_path: str, *args: Any, **kwargs: Any) -> Any:
        modules, config = super()._load_default_modules(model_name_or_path, *args, **kwargs)
        architectures = getattr(cast(Any, modules)[0].config, "architectures", None) or []
        if any(name.endswith("ForSequenceClassification") for name in architectures):
            raise ValueError(
                f"{model_name_or_path!r} is a classifier or cross-encoder ({architectures[0]}): it reads both "
                "texts at once and has no embedding of each, so there is no similarity to take apart"
            )
        return modules, config

    def _load_converted_modules(
        self, model_name_or_path: str, *args: Any, model_type: str | None = None, **kwargs: Any
    ) -> Any:
        raise ValueError(
            f"{model_name_or_path!r} was saved as a {model_type}, which does not embed a text into one vector; "
            "xsbert explains SentenceTransformer models"
        )

    def _resolved_similarity(self, similarity: str | None) -> str:
        name = self.similarity_fn_name if similarity is None else similarity
        if name in ("euclidean", "manhattan"):
            raise ValueError(
                f"similarity={name!r} cannot be explained: only bilinear similarities, 'cosine' and 'dot', "
                "decompose into pairs of features"
            )
        if name not in SIMILARITIES:
            hint = similarity_hint(name)
            raise ValueError(f"similarity must be None, 'cosine' or 'dot', got {similarity!r}{hint}")
        return name


def _with_shift(modules: OrderedDict[str, Any], shift: ReferenceShift) -> OrderedDict[str, Any]:
    """The modules with a shift before a trailing normalisation."""
    items = list(modules.items())
    end = len(items)
    while isinstance(items[end - 1][1], Normalize):
        end -= 1
    return OrderedDict([*items[:end], ("shift", shift), *items[end:]])


def _sides_of(explainer: Explainer, prompt: Sides, prompt_name: Sides, task: Sides) -> tuple[Prompt, Prompt]:
    """What is put before each of two texts."""
    given = zip(_pair(prompt, "prompt"), _pair(prompt_name, "prompt_name"), _pair(task, "task"), strict=True)
    a, b = (explainer.prompt(*side) for side in given)
    return a, b


def _both_sides(
    explainer: Explainer,
    texts: tuple[Iterable[str], Iterable[str]],
    prompts: tuple[Prompt, Prompt],
    names: tuple[str, str],
    similarity: str,
    units: str,
    errors: str,
) -> tuple[list[TextFactors | None], list[TextFactors | None]]:
    """The factors of two lists of texts, each distinct text computed once; None for texts that are skipped."""
    tokenized = [
        explainer.tokenized_all(side, prompt, name=name, errors=errors)
        for side, prompt, name in zip(texts, prompts, names, strict=True)
    ]
    found = explainer.factors_of([*tokenized[0], *tokenized[1]], units=units, errors=errors)
    split = len(tokenized[0])
    places = [name.format(place) for name, side in zip(names, tokenized, strict=True) for place in range(len(side))]
    for at, (each, name) in enumerate(zip(found, places, strict=True)):
        try:
            if each is not None:
                check_scalable(each, similarity)
        except ValueError as error:
            skip_or_raise(error, errors, name)
            found[at] = None
    return found[:split], found[split:]


def _pair(value: Any, name: str) -> tuple[str | None, str | None]:
    pair = value if isinstance(value, tuple) else (value, value)
    if len(pair) != 2 or any(not isinstance(item, (str, type(None))) for item in pair):
        raise TypeError(f"{name} must be a string, None, or a pair of these, got {value!r}")
    return pair
