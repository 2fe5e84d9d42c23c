"""`ReferencedTransformer`: loads and saves a sentence transformer with a reference and an optional shift."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, cast

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
from torch import nn
from typing_extensions import Self

from ..engine.heads import Head, PooledHead
from ..engine.reference import (
    AnyReference,
    SeveralReferences,
    chosen_reference,
    default_reference,
    resolve_references,
)
from .admission import check_supported
from .card import add_shift_note
from .checkpoint_checks import EXPLAINED_BY, Source, check_architecture, check_loaded, check_saved_type, source_of
from .reference import ReferenceShift, ReferenceTransformer, ShiftingReferenceTransformer
from .referenced import ReferencedModel
from .routes import modules_of_route

__all__ = ["ReferencedTransformer"]

# Names of the modules of a shifted model in modules.json. They are not code from a model's files and need no trust.
OUR_MODULES = {
    f"{module.__module__}.{module.__qualname__}": module for module in (ReferenceTransformer, ReferenceShift)
}
# Name of the first module in the models published with the papers. These shift without a separate module.
PUBLISHED_MODULE = "xsbert.models.ShiftingReferenceTransformer"


class ReferencedTransformer(ReferencedModel, SentenceTransformer):
    """A sentence transformer that can be explained, with a reference and an optional shift."""

    def __init__(
        self,
        model_name_or_path: str | PathLike[str] | None = None,
        *,
        shift: bool = False,
        reference: str | Sequence[str] | None = None,
        reference_positions: str | None = None,
        **kwargs: Any,
    ) -> None:
        own = ("shift", "reference", "reference_positions")
        self._load(SentenceTransformer, model_name_or_path, kwargs, own)
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
        route: str | None = None,
    ) -> Self:
        """Wrap a loaded `SentenceTransformer` without loading it again.

        The weights are shared and ``model`` stays unchanged. Other arguments and errors are those of the class.

        Args:
            model: the loaded model.
            shift, reference, reference_positions: as for the class.
            route: the route of a router, such as ``"query"``. The wrapped model embeds by this route alone; see
                `explain_across` for pairs of a query and a document with encoders of their own.

        Raises:
            TypeError: ``model`` is not a `SentenceTransformer`, such as a cross-encoder.

        >>> shifted = xsbert.XSTransformer.wrap(model, shift=True)
        >>> shifted.shifted, shifted.shift_added, model.shifted
        (True, True, False)
        """
        if not isinstance(model, SentenceTransformer):
            raise TypeError(
                f"model must be a SentenceTransformer, got {type(model).__name__}; xsbert.wrap takes other kinds of "
                "models too, and says of each that cannot be explained why"
            )
        wrapped = cls._sharing(model)
        wrapped._modules = cast(Any, modules_of_route(model, route))
        wrapped._set_up(shift, reference, reference_positions)
        source = None if route is not None else source_of(model)
        if source is not None:
            if source.is_raw:
                check_saved_type(source)
                check_architecture(source.path, wrapped._transformer.config)
            check_loaded(wrapped, source, is_new=False)
        return wrapped

    def head(self, modules: Sequence[nn.Module]) -> Head:
        """Return pooling and dense modules, for a private copy of `unshifted_modules`."""
        return PooledHead(modules[1:])

    def unshifted_modules(self) -> list[nn.Module]:
        """Return the modules of f, without reference, shift and trailing normalisation. Weights are shared."""
        modules = [module for module in self if not isinstance(module, ReferenceShift)]
        while isinstance(modules[-1], Normalize):
            modules.pop()
        if isinstance(modules[0], ReferenceTransformer):
            modules[0] = ReferenceTransformer.from_transformer(modules[0], None)
        return modules

    def _set_up(self, shift: bool, reference: str | Sequence[str] | None, positions: str | None) -> None:
        check_supported(self, self.model_types)
        first: Any = self[0]
        if isinstance(first, ReferenceTransformer) and first.reference is not None:
            self._reference = first.reference
            chosen_reference(self._transformer, self._reference, True, reference, positions)
            return
        if reference is None:
            reference = "pad" if positions == "padding" else default_reference(first)
        self._reference = resolve_references(first, reference, "text" if positions is None else positions)
        if shift and isinstance(first, StaticEmbedding):
            raise ValueError("shift=True: a static model needs no shift, its reference is zero; leave it out")
        if shift and "message" in first.modality_config:
            raise ValueError(
                "shift=True: this model renders texts by a chat template, whose tokens the reference of a shift would "
                "replace; leave it out"
            )
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
            f"{model_name_or_path!r} was saved as a {model_type}, which does not embed a text as one dense vector. "
            f"{EXPLAINED_BY.get(str(model_type), 'xsbert explains models whose score is a product of two outputs')}"
        )


def _with_shift(modules: OrderedDict[str, Any], shift: ReferenceShift) -> OrderedDict[str, Any]:
    """Return the modules with a shift before a trailing normalisation."""
    items = list(modules.items())
    end = len(items)
    while isinstance(items[end - 1][1], Normalize):
        end -= 1
    return OrderedDict([*items[:end], ("shift", shift), *items[end:]])
