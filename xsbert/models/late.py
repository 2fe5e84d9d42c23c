"""`XSMultiVectorEncoder`: a late-interaction model that explains its own similarities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, cast

from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import nn
from typing_extensions import Self

from ..engine import Explainer, Options
from ..engine.heads import Head
from ..engine.late import LateExplainer
from ..engine.late_heads import LateHead
from ..engine.options import takes_options
from ..engine.preconditions import check_not_quantised
from ..engine.reference import default_reference, resolve_reference
from ..engine.split_model import encoder_layers
from .checkpoint_checks import Source, check_all_loaded
from .comparing import ComparingModel

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..engine import OptionKeywords

__all__ = ["XSMultiVectorEncoder"]

OPTIONS = ("reference", "reference_positions")
STATES = "token_embeddings"
SUPPORTED = "a Transformer of texts, and behind it Dense and Normalize on token_embeddings and a MultiVectorMask"


class XSMultiVectorEncoder(ComparingModel, MultiVectorEncoder):
    """A late-interaction model, such as ColBERT, with `attribute_prediction`.

    Each text has a vector for each token. The score sums, over the vectors of the first text, the query, the cosine
    with the most similar vector of the second, the document (MaxSim). These matches and the norms of the vectors are
    frozen at the two texts. Scores, parts and errors are then those of other models, and `Attribution.matches` splits
    them by matches. The tolerance holds for all vectors of a text together. The residuals of a pair are those of its
    matched vectors, and can be somewhat above it.

    Pass ``task=("query", "document")`` to explain the similarity of `encode_query` and `encode_document`. Without a
    task, both texts are embedded by `encode`, as documents are.

    Args:
        model_name_or_path: a model id or a local path, as for `MultiVectorEncoder`.
        reference, reference_positions: as for `XSTransformer`. The reference keeps special tokens, markers and the
            tokens of a query expansion.
        **kwargs: as for `MultiVectorEncoder`.

    Raises:
        ValueError: this kind of model cannot be explained (the message gives the reason), the tokenizer does not
            have the reference token, or the model does not support the positions.
        OSError: the weights cannot be read.

    >>> late.n_layers, late.similarity_fn_name, late.reference.token
    (6, 'maxsim', '[UNK]')
    """

    truncate_dim = None
    own_outputs = True
    lacks: ClassVar[Mapping[str, str]] = {
        "terms": "its vectors have no named dimensions; terms are those of a sparse encoder",
        "corpus": "only `what='pairs'`; highlights take queries of one vector, and `explain_ranking` those of many",
        "corpus of factors": "texts have different numbers of vectors; `save_factors` takes them",
        "faithfulness": "its rival methods and deletions are those of models with one vector for each text",
        "exact shift": "the matches are those of the model's own vectors, which a shift would change",
    }

    def __init__(
        self,
        model_name_or_path: str | PathLike[str] | None = None,
        *,
        reference: str | None = None,
        reference_positions: str | None = None,
        **kwargs: Any,
    ) -> None:
        self._load(MultiVectorEncoder, model_name_or_path, kwargs, OPTIONS)
        self._set_up(reference, reference_positions)
        # It can hold an access token, which must not be kept or pickled.
        source = vars(self).pop("_source", None)
        if source is not None:
            check_all_loaded(self, source)

    @classmethod
    def wrap(
        cls, model: MultiVectorEncoder, *, reference: str | None = None, reference_positions: str | None = None
    ) -> Self:
        """Wrap a loaded `MultiVectorEncoder` without loading it again. The weights are shared.

        Raises:
            TypeError: ``model`` is not a `MultiVectorEncoder`.
            ValueError: as for the class.

        >>> xsbert.XSMultiVectorEncoder.wrap(late, reference="mask").reference.token
        '[MASK]'
        """
        if not isinstance(model, MultiVectorEncoder):
            raise TypeError(
                f"model must be a MultiVectorEncoder, got {type(model).__name__}; xsbert.wrap takes any model"
            )
        wrapped = cls._sharing(model)
        wrapped._set_up(reference, reference_positions)
        return wrapped

    @property
    def normalised(self) -> bool:
        """False: an embedding is not divided by a norm as a whole. Each vector has a norm of its own."""
        return False

    @takes_options
    def explainer(self, **options: Unpack[OptionKeywords]) -> Explainer:
        """Create a reusable explainer; see `ExplainingModel.explainer`.

        Args:
            **options: see `Options`.

        >>> len(late.explainer(layer=-1).factors(["Rain"], task="query")[0].outputs.positions)
        3
        """
        return LateExplainer(self, Options(**options))

    def head(self, modules: Sequence[nn.Module]) -> Head:
        """Return dense layers and mask, for a private copy of `unshifted_modules`."""
        return LateHead(modules[1:], self.similarity_fn_name == "meanmaxsim")

    def unshifted_modules(self) -> list[nn.Module]:
        """Return all modules. Weights are shared."""
        return list(self)

    def _load_config_modules(self, model_name_or_path: str, *args: Any, **kwargs: Any) -> Any:
        found = super()._load_config_modules(model_name_or_path, *args, **kwargs)
        self._source = Source.of_call(model_name_or_path, False, kwargs)
        return found

    def _load_default_modules(self, model_name_or_path: str, *args: Any, **kwargs: Any) -> Any:
        modules, config = super()._load_default_modules(model_name_or_path, *args, **kwargs)
        first = cast(Any, modules)[0]
        if "HF_ColBERT" not in (getattr(first.config, "architectures", None) or ()):
            raise ValueError(
                f"{model_name_or_path!r} is no late-interaction model and has no modules.json: sentence-transformers "
                "would append a projection with random weights, and that model would be explained. If it is a "
                "SentenceTransformer, load it as xsbert.XSTransformer"
            )
        return modules, config

    def _load_converted_modules(
        self, model_name_or_path: str, *args: Any, model_type: str | None = None, **kwargs: Any
    ) -> Any:
        # Models of early versions of PyLate, which have the prefixes of queries and documents, are of this kind.
        legacy: Any = getattr(self, "_legacy", None)
        if not getattr(legacy, "prefixes", None):
            raise ValueError(
                f"{model_name_or_path!r} was saved as a {model_type}: sentence-transformers would make another model "
                "of it, with a vector for each token, and that would be explained. Load it as xsbert.XSTransformer, or "
                "train it as a MultiVectorEncoder first"
            )
        return super()._load_converted_modules(model_name_or_path, *args, model_type=model_type, **kwargs)

    def _set_up(self, reference: str | None, positions: str | None) -> None:
        _check_supported(self)
        if reference is None:
            reference = "pad" if positions == "padding" else default_reference(self._transformer)
        self._reference = resolve_reference(self._transformer, reference, "text" if positions is None else positions)


def _check_supported(model: MultiVectorEncoder) -> None:
    """Reject a model that cannot be explained.

    Raises:
        ValueError: the message gives the reason.
    """
    if model.backend != "torch":
        raise ValueError(f"only the torch backend can be differentiated, got backend={model.backend!r}")
    first, *others = model
    names = ", ".join(type(module).__name__ for module in model)
    refused = f"a late-interaction model with the modules {names} cannot be explained: xsbert needs {SUPPORTED}"
    if not isinstance(first, Transformer):
        raise ValueError(refused)
    text = first.modality_config.get("text")
    if "message" in first.modality_config or text is None or text["method"] != "forward":
        raise ValueError(
            f"the model must turn plain text into token embeddings, got the modalities {first.modality_config}; images "
            "and chat templates of late-interaction models are not covered"
        )
    if first.module_output_name != STATES or first.transformer_task != "feature-extraction":
        raise ValueError(f"{refused}; the transformer's task is {first.transformer_task!r}")
    for module in others:
        on_states = isinstance(module, (Dense, Normalize)) and (
            (module.module_input_name, module.module_output_name) == (STATES, STATES)
        )
        if not on_states and not isinstance(module, MultiVectorMask):
            raise ValueError(f"{refused}; {type(module).__name__} is none of these, or works on other features")
    check_not_quantised(model)
    encoder_layers(first)
