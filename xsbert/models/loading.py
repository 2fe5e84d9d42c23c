"""`ReferencedTransformer`: loads and saves a sentence transformer with a reference and an optional shift."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, ClassVar, cast

from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Transformer
from torch import nn
from typing_extensions import Self

from .._utils.validation import check_keywords, keywords_of
from ..engine.preconditions import check_not_to_be_quantised
from ..engine.reference import (
    AnyReference,
    SeveralReferences,
    chosen_reference,
    default_reference,
    positions_of_reference,
    resolve_references,
)
from ..engine.split_model import encoder_layers
from .admission import check_supported, damaged_weights
from .card import add_shift_note
from .checkpoint_checks import Source, check_architecture, check_loaded, check_saved_type, source_of
from .reference import ReferenceShift, ReferenceTransformer, ShiftingReferenceTransformer

__all__ = ["ReferencedTransformer"]

# Names of the modules of a shifted model in modules.json. They are not code from a model's files and need no trust.
OUR_MODULES = {
    f"{module.__module__}.{module.__qualname__}": module for module in (ReferenceTransformer, ReferenceShift)
}
# Name of the first module in the models published with the papers. These shift without a separate module.
PUBLISHED_MODULE = "xsbert.models.ShiftingReferenceTransformer"


class ReferencedTransformer(SentenceTransformer):
    """A sentence transformer that can be explained, with a reference and an optional shift."""

    model_types: ClassVar[tuple[str, ...] | None] = None
    """The transformers model types that the class supports, None for any."""

    def __init__(
        self,
        model_name_or_path: str | PathLike[str] | None = None,
        *,
        shift: bool = False,
        reference: str | Sequence[str] | None = None,
        reference_positions: str | None = None,
        **kwargs: Any,
    ) -> None:
        for name in ("model_kwargs", "config_kwargs"):
            check_not_to_be_quantised(name, kwargs.get(name))
        if model_name_or_path is None and kwargs.get("modules") is None:
            raise TypeError("model_name_or_path must be a model id or the path of a folder, unless modules are given")
        # SentenceTransformer accepts only strings.
        path = None if model_name_or_path is None else fspath(model_name_or_path)
        try:
            super().__init__(path, **kwargs)
        except TypeError:
            own = ("shift", "reference", "reference_positions")
            check_keywords(kwargs, [*keywords_of(SentenceTransformer.__init__), *own])
            raise
        except SafetensorError as error:
            raise OSError(
                f"the weights in {damaged_weights(path)} cannot be read, the file is damaged or cut short: {error}"
            ) from error
        self._set_up(shift, reference, reference_positions)
        # It can hold an access token, which must not be kept or pickled.
        source = vars(self).pop("_source", None)
        if source is not None:
            check_loaded(self, source, is_new=True)

    @classmethod
    def wrap(
        cls,
        model: SentenceTransformer,
        *,
        shift: bool = False,
        reference: str | Sequence[str] | None = None,
        reference_positions: str | None = None,
    ) -> Self:
        """Wrap a loaded `SentenceTransformer` without loading it again.

        The weights are shared and ``model`` stays unchanged. Other arguments and errors are those of the class.

        Raises:
            TypeError: ``model`` is not a `SentenceTransformer`, such as a cross-encoder.

        >>> shifted = xsbert.XSTransformer.wrap(model, shift=True)
        >>> shifted.shifted, shifted.shift_added, model.shifted
        (True, True, False)
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
        source = source_of(model)
        if source is not None:
            if source.is_raw:
                check_saved_type(source)
                check_architecture(source.path, wrapped._transformer.config)
            check_loaded(wrapped, source, is_new=False)
        return wrapped

    _reference: AnyReference

    @property
    def n_layers(self) -> int:
        """Number of encoder layers, L."""
        return len(encoder_layers(self._transformer))

    @property
    def shifted(self) -> bool:
        """Whether the embedding of the reference is subtracted from embeddings."""
        return any(isinstance(module, ReferenceShift) for module in self)

    @property
    def normalised(self) -> bool:
        """Whether the last module divides embeddings by their norms."""
        return isinstance(self[len(self) - 1], Normalize)

    @property
    def reference(self) -> AnyReference:
        """The default reference of texts, or references (`SeveralReferences`)."""
        return self._reference

    @property
    def reference_positions(self) -> str:
        """Positions of the tokens of the reference: ``"text"`` or ``"padding"``."""
        return positions_of_reference(self._transformer, self._reference)

    @property
    def shift_added(self) -> bool:
        """Whether the shift was added to a model that was neither trained nor saved with it.

        The model's own scores are then those without the shift. Results report them as ``score_unshifted``. `train`,
        which the Trainer calls, resets the property, because later training includes the shift.
        """
        return any(isinstance(module, ReferenceShift) and module.added for module in self)

    @property
    def label(self) -> str:
        """Display name: the model's id, or the end of its path."""
        name = getattr(self._transformer.config, "_name_or_path", "") or type(self._transformer.model).__name__
        return "/".join(Path(name).resolve().parts[-2:]) if Path(name).is_dir() else name

    def unshifted_modules(self) -> list[nn.Module]:
        """Return the modules of f, without reference, shift and trailing normalisation. Weights are shared."""
        modules = [module for module in self if not isinstance(module, ReferenceShift)]
        while isinstance(modules[-1], Normalize):
            modules.pop()
        if isinstance(modules[0], ReferenceTransformer):
            modules[0] = ReferenceTransformer.from_transformer(modules[0], None)
        return modules

    @property
    def _transformer(self) -> Transformer:
        first = self[0]
        assert isinstance(first, Transformer)  # `check_supported` has checked it
        return first

    def _set_up(self, shift: bool, reference: str | Sequence[str] | None, positions: str | None) -> None:
        check_supported(self, self.model_types)
        first = self[0]
        if isinstance(first, ReferenceTransformer) and first.reference is not None:
            self._reference = first.reference
            chosen_reference(self._transformer, self._reference, True, reference, positions)
            return
        if reference is None:
            reference = "pad" if positions == "padding" else default_reference(self._transformer)
        self._reference = resolve_references(self._transformer, reference, "text" if positions is None else positions)
        if shift:
            self._insert_shift(self._reference)

    def _insert_shift(self, reference: AnyReference) -> None:
        """Insert the shift after pooling and dense modules, before a trailing normalisation."""
        if isinstance(reference, SeveralReferences):
            raise ValueError(
                f"a shift subtracts the embedding of one reference, got {reference.token}: give one token with "
                "shift=True, or explain the unshifted model with several"
            )
        modules: OrderedDict[str, Any] = OrderedDict(self._modules)
        modules[next(iter(modules))] = ReferenceTransformer.from_transformer(self._transformer, reference)
        self._modules = _with_shift(modules, ReferenceShift(added=True))

    def _load_config_modules(self, model_name_or_path: str, *args: Any, **kwargs: Any) -> Any:
        self._published = False
        modules, module_kwargs = super()._load_config_modules(model_name_or_path, *args, **kwargs)
        if self._published:
            modules = _with_shift(OrderedDict(cast(Any, modules)), ReferenceShift())
        self._source = Source.of_call(model_name_or_path, False, kwargs)
        return modules, module_kwargs

    def _load_module_class_from_ref(self, class_ref: str, *args: Any, **kwargs: Any) -> type:
        if class_ref == PUBLISHED_MODULE:
            self._published = True
            return ShiftingReferenceTransformer
        if class_ref in OUR_MODULES:
            return OUR_MODULES[class_ref]
        return super()._load_module_class_from_ref(class_ref, *args, **kwargs)

    def _create_model_card(self, path: str, *args: Any, **kwargs: Any) -> None:
        """Write the usual model card, and for a shifted model a note on the shift and on loading."""
        super()._create_model_card(path, *args, **kwargs)
        card = Path(path) / "README.md"
        if self.shifted and card.exists():
            add_shift_note(card, self._reference.token, self.reference_positions)

    def _load_default_modules(self, model_name_or_path: str, *args: Any, **kwargs: Any) -> Any:
        modules, config = super()._load_default_modules(model_name_or_path, *args, **kwargs)
        check_architecture(model_name_or_path, cast(Any, modules)[0].config)
        self._source = Source.of_call(model_name_or_path, True, kwargs)
        return modules, config

    def _load_converted_modules(
        self, model_name_or_path: str, *args: Any, model_type: str | None = None, **kwargs: Any
    ) -> Any:
        raise ValueError(
            f"{model_name_or_path!r} was saved as a {model_type}, which does not embed a text into one vector; "
            "xsbert explains SentenceTransformer models"
        )


def _with_shift(modules: OrderedDict[str, Any], shift: ReferenceShift) -> OrderedDict[str, Any]:
    """Return the modules with a shift before a trailing normalisation."""
    items = list(modules.items())
    end = len(items)
    while isinstance(items[end - 1][1], Normalize):
        end -= 1
    return OrderedDict([*items[:end], ("shift", shift), *items[end:]])
