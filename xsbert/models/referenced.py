"""`ReferencedModel`: what all models that can be explained have, whatever their kind."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from safetensors import SafetensorError
from sentence_transformers.base import BaseModel
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding, Transformer
from typing_extensions import Self

from .._utils.validation import check_keywords, keywords_of
from ..engine.preconditions import check_not_to_be_quantised
from ..engine.reference import AnyReference, positions_of_reference
from ..engine.split_model import encoder_layers
from .admission import damaged_weights
from .load_lock import loading
from .reference import ReferenceShift

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from ..engine.heads import Head

__all__ = ["ReferencedModel", "check_able"]


class ReferencedModel(BaseModel):
    """A model of sentence-transformers with a reference of its texts.

    A kind of model combines it with the class of sentence-transformers that it explains, and adds `head` and
    `unshifted_modules` (see `xsbert.engine.protocol.Explainable`).
    """

    model_types: ClassVar[tuple[str, ...] | None] = None
    """The transformers model types that the class supports, None for any."""
    lacks: ClassVar[Mapping[str, str]] = {}
    """Reasons why the kind lacks some of `xsbert.models.wrapping.ABILITIES`."""
    own_outputs = False
    """Whether each text has numbers of its own, such as the terms that it activates."""

    if TYPE_CHECKING:
        # Of the class of sentence-transformers, and of the kind.
        truncate_dim: int | None
        model_card_data: Any

        @property
        def similarity_fn_name(self) -> Any: ...
        @similarity_fn_name.setter
        def similarity_fn_name(self, value: Any) -> None: ...

        def head(self, modules: Sequence[nn.Module]) -> Head: ...
        def unshifted_modules(self) -> list[nn.Module]: ...

    _reference: AnyReference
    _loaded_from: str = ""

    @property
    def n_layers(self) -> int:
        """Number of encoder layers, L; 0 for a static model."""
        return 0 if isinstance(self[0], StaticEmbedding) else len(encoder_layers(self._transformer))

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
        first: Any = self[0]
        return positions_of_reference(first, self._reference)

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
        first = self[0]
        if isinstance(first, StaticEmbedding):
            name = self._loaded_from or first.base_model or type(first).__name__
        else:
            transformer = self._transformer
            name = getattr(transformer.config, "_name_or_path", "") or type(transformer.model).__name__
        return "/".join(Path(name).resolve().parts[-2:]) if Path(name).is_dir() else name

    @property
    def _transformer(self) -> Transformer:
        first = self[0]
        assert isinstance(first, Transformer)  # `check_supported` has checked it
        return first

    @classmethod
    def _sharing(cls, model: BaseModel) -> Self:
        """Return a model of this class with the modules and settings of another, which stays unchanged."""
        shared = cls.__new__(cls)
        vars(shared).update(vars(model))
        shared._modules = OrderedDict(model._modules)
        shared.model_card_data = copy.copy(model.model_card_data)
        shared.model_card_data.register_model(shared)
        return shared

    def _load(
        self, upstream: type[BaseModel], model_name_or_path: str | PathLike[str] | None, given: dict[str, Any], own: Any
    ) -> None:
        """Load the model as the class of sentence-transformers does.

        Args:
            upstream: that class.
            model_name_or_path: a model id or a path.
            given: its keywords.
            own: names of the keywords of the explaining class.

        Raises:
            TypeError: there is neither a path nor modules, or a keyword is unknown.
            ValueError: the model would be quantised.
            OSError: the weights cannot be read.
        """
        for name in ("model_kwargs", "config_kwargs"):
            check_not_to_be_quantised(name, given.get(name))
        if model_name_or_path is None and given.get("modules") is None:
            raise TypeError("model_name_or_path must be a model id or the path of a folder, unless modules are given")
        # sentence-transformers accepts only strings.
        path = None if model_name_or_path is None else fspath(model_name_or_path)
        self._loaded_from = path or ""
        try:
            with loading():
                upstream.__init__(self, path, **given)
        except TypeError:
            check_keywords(given, [*keywords_of(upstream.__init__), *own])
            raise
        except SafetensorError as error:
            raise OSError(
                f"the weights in {damaged_weights(path)} cannot be read, the file is damaged or cut short: {error}"
            ) from error


def check_able(model: ReferencedModel, ability: str) -> None:
    """Raise ValueError with the reason if a kind of model lacks one of `xsbert.models.wrapping.ABILITIES`."""
    if ability in model.lacks:
        raise ValueError(f"{type(model).__name__} has no {ability}: {model.lacks[ability]}")
