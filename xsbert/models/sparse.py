"""`XSSparseEncoder`: a sparse encoder that explains its own similarities."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, cast

from sentence_transformers import SparseEncoder
from sentence_transformers.sentence_transformer.modules import Pooling, Router, Transformer
from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder, SparseStaticEmbedding, SpladePooling
from torch import nn
from typing_extensions import Self

from ..engine import Explainer, Options
from ..engine.heads import Head
from ..engine.options import takes_options
from ..engine.preconditions import check_not_quantised
from ..engine.reference import default_reference, resolve_reference
from ..engine.routes import RoutedExplainer
from ..engine.sparse_heads import AutoencoderHead, SpladeHead
from ..engine.split_model import encoder_layers
from .checkpoint_checks import Source, check_loaded_sparse
from .comparing import ComparingModel

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..engine import OptionKeywords

__all__ = ["XSSparseEncoder"]

OPTIONS = ("reference", "reference_positions")
SUPPORTED = (
    "a masked language model with a SpladePooling, with or without a SparseStaticEmbedding for queries, or a "
    "Transformer with a Pooling and a SparseAutoEncoder"
)


class XSSparseEncoder(ComparingModel, SparseEncoder):
    """A SPLADE model or a sparse autoencoder with `attribute_prediction`.

    Scores, parts and errors are those of other models. The numbers of its embedding are terms of the vocabulary, so a
    result also splits the score by terms, see `Attribution.terms`. Layer L is the state that enters the head of the
    masked language model.

    Args:
        model_name_or_path: a model id or a local path, as for `SparseEncoder`.
        reference, reference_positions: as for `XSTransformer`.
        **kwargs: as for `SparseEncoder`.

    Raises:
        ValueError: this kind of model cannot be explained (the message gives the reason), the tokenizer does not
            have the reference token, or the model does not support the positions.
        OSError: the weights cannot be read.

    >>> splade.n_layers, splade.similarity_fn_name, splade.reference.token
    (2, 'dot', '[UNK]')
    """

    truncate_dim = None
    own_outputs = True
    lacks: ClassVar[Mapping[str, str]] = {
        "matches": "a text has one vector; matches are those of late interaction",
        "corpus of factors": "each text has terms of its own, so its embeddings have no common width; "
        "`save_factors` takes them",
        "exact shift": "terms are not negative, so that the reference cannot be subtracted",
    }

    def __init__(
        self,
        model_name_or_path: str | PathLike[str] | None = None,
        *,
        reference: str | None = None,
        reference_positions: str | None = None,
        **kwargs: Any,
    ) -> None:
        self._load(SparseEncoder, model_name_or_path, kwargs, OPTIONS)
        self._set_up(reference, reference_positions)
        # It can hold an access token, which must not be kept or pickled.
        source = vars(self).pop("_source", None)
        if source is not None:
            check_loaded_sparse(self, source)

    @property
    def has_terms(self) -> bool:
        """Whether the dimensions of the embedding are terms of the vocabulary, not latents of an autoencoder.

        >>> splade.has_terms
        True
        """
        model = self._with_layers()
        return isinstance(model[len(model) - 1], SpladePooling)

    @classmethod
    def wrap(
        cls, model: SparseEncoder, *, reference: str | None = None, reference_positions: str | None = None
    ) -> Self:
        """Wrap a loaded `SparseEncoder` without loading it again. The weights are shared.

        Raises:
            TypeError: ``model`` is not a `SparseEncoder`.
            ValueError: as for the class.

        >>> xsbert.XSSparseEncoder.wrap(splade, reference="mask").reference.token
        '[MASK]'
        """
        if not isinstance(model, SparseEncoder):
            raise TypeError(f"model must be a SparseEncoder, got {type(model).__name__}; xsbert.wrap takes any model")
        wrapped = cls._sharing(model)
        wrapped._set_up(reference, reference_positions)
        return wrapped

    @takes_options
    def explainer(self, **options: Unpack[OptionKeywords]) -> Explainer:
        """Create a reusable explainer; see `ExplainingModel.explainer`.

        Args:
            **options: see `Options`.

        >>> splade.explainer(layer=1)
        <Explainer: cognition/model, layer=1>
        """
        router = self[0]
        if not isinstance(router, Router):
            return super().explainer(**options)
        routes = {task: modules[0] for task, modules in _routes(router).items() if _is_static(modules)}
        default = router.default_route if router.default_route in routes else None
        every = [module for modules in _routes(router).values() for module in modules]
        routed = cast("dict[str, SparseStaticEmbedding]", routes)
        return RoutedExplainer(self._with_layers(), Options(**options), routed, default, every, self.max_active_dims)

    def _with_layers(self) -> Self:
        """Return the model itself, or of a model with routes the one that has encoder layers."""
        router = self[0]
        if not isinstance(router, Router):
            return self
        (modules,) = [modules for modules in _routes(router).values() if not _is_static(modules)]
        route = self._sharing(self)
        route._modules = OrderedDict((str(place), module) for place, module in enumerate(modules))
        return route

    @property
    def _transformer(self) -> Transformer:
        return cast(Transformer, self._with_layers()[0])

    def head(self, modules: Sequence[nn.Module]) -> Head:
        """Return pooling or autoencoder, for a private copy of `unshifted_modules`."""
        last = modules[-1]
        if isinstance(last, SpladePooling):
            network = cast(Transformer, modules[0]).model
            return SpladeHead(network, last, self.max_active_dims, self._term_labels)
        return AutoencoderHead(modules[1:-1], cast(SparseAutoEncoder, last), self.max_active_dims)

    def unshifted_modules(self) -> list[nn.Module]:
        """Return all modules. Weights are shared."""
        return list(self)

    def _term_labels(self, ids: Sequence[int]) -> list[str]:
        """Return the terms of the vocabulary, without the marks of word starts."""
        tokens: list[str | None] = self.tokenizer.convert_ids_to_tokens(list(ids))
        # The output layer may be wider than the vocabulary, for the hardware.
        return [
            f"term {at}" if token is None else token.lstrip("▁Ġ") or token
            for at, token in zip(ids, tokens, strict=True)
        ]

    def _load_config_modules(self, model_name_or_path: str, *args: Any, **kwargs: Any) -> Any:
        found = super()._load_config_modules(model_name_or_path, *args, **kwargs)
        self._source = Source.of_call(model_name_or_path, False, kwargs)
        return found

    def _load_default_modules(self, model_name_or_path: str, *args: Any, **kwargs: Any) -> Any:
        modules, config = super()._load_default_modules(model_name_or_path, *args, **kwargs)
        if isinstance(cast(Any, modules)[-1], SparseAutoEncoder):
            raise ValueError(
                f"{model_name_or_path!r} is no masked language model and has no modules.json: sentence-transformers "
                "would append a SparseAutoEncoder with random weights, and that model would be explained. If it is a "
                "SentenceTransformer, load it as xsbert.XSTransformer"
            )
        self._source = Source.of_call(model_name_or_path, True, kwargs)
        return modules, config

    def _load_converted_modules(
        self, model_name_or_path: str, *args: Any, model_type: str | None = None, **kwargs: Any
    ) -> Any:
        raise ValueError(
            f"{model_name_or_path!r} was saved as a {model_type}: sentence-transformers would append a "
            "SparseAutoEncoder with random weights, and that model would be explained. Load it as "
            "xsbert.XSTransformer, or train the autoencoder first"
        )

    def _set_up(self, reference: str | None, positions: str | None) -> None:
        if isinstance(self[0], Router):
            _check_routes(self)
        _check_supported(self._with_layers())
        if reference is None:
            reference = "pad" if positions == "padding" else default_reference(self._transformer)
        self._reference = resolve_reference(self._transformer, reference, "text" if positions is None else positions)


def _routes(router: Router) -> dict[str, list[nn.Module]]:
    return {task: list(cast(nn.Sequential, modules)) for task, modules in router.sub_modules.items()}


def _is_static(modules: Sequence[nn.Module]) -> bool:
    """Return whether a route encodes by weights of tokens alone."""
    return len(modules) == 1 and isinstance(modules[0], SparseStaticEmbedding)


def _check_routes(model: SparseEncoder) -> None:
    """Reject routes other than those of queries without a model and documents with one.

    Raises:
        ValueError: the message gives the routes.
    """
    routes = _routes(cast(Router, model[0]))
    named = {task: [type(module).__name__ for module in modules] for task, modules in routes.items()}
    static = [task for task, modules in routes.items() if _is_static(modules)]
    if len(model) != 1 or len(routes) != 2 or set(routes) != {"query", "document"} or len(static) != 1:
        raise ValueError(
            f"a model with the routes {named} cannot be explained: xsbert takes a Router of a query and a document "
            "route, one of them a SparseStaticEmbedding. Wrap the modules of a single route otherwise"
        )


def _check_supported(model: SparseEncoder) -> None:
    """Reject a model that cannot be explained.

    Raises:
        ValueError: the message gives the reason.
    """
    if model.backend != "torch":
        raise ValueError(f"only the torch backend can be differentiated, got backend={model.backend!r}")
    first, last = model[0], model[len(model) - 1]
    names = ", ".join(type(module).__name__ for module in model)
    if not isinstance(first, Transformer):
        raise ValueError(f"a sparse encoder with the modules {names} cannot be explained: xsbert needs {SUPPORTED}")
    check_not_quantised(model)
    encoder_layers(first)
    if isinstance(last, SpladePooling) and len(model) == 2 and first.transformer_task == "fill-mask":
        decoder = first.model.get_output_embeddings()
        if type(decoder) is not nn.Linear:
            raise ValueError(
                f"the logits of {type(first.model).__name__} come from {type(decoder).__name__}: xsbert needs a linear "
                "layer, of which it computes the rows of active terms alone. Merge adapters into it before"
            )
        return
    if isinstance(last, SparseAutoEncoder) and any(isinstance(module, Pooling) for module in model):
        return
    raise ValueError(f"a sparse encoder with the modules {names} cannot be explained: xsbert needs {SUPPORTED}")
