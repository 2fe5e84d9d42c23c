"""`XSTransformer`: a sentence transformer that explains its own similarities."""

from __future__ import annotations

import copy
import itertools
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from os import PathLike, fspath
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    BoW,
    CLIPModel,
    Normalize,
    Router,
    StaticEmbedding,
    Transformer,
    WeightedLayerPooling,
    WordEmbeddings,
    WordWeights,
)
from sentence_transformers.util import batch_to_device
from torch import Tensor
from tqdm import tqdm

from ..attribution import Attribution, Settings, TextFactors, similarity_hint
from ..caller import caller_level
from ..integrated_jacobian import (
    PROGRESS_DELAY,
    bytes_per_pass,
    default_chunk_size,
    derivatives_along_path,
    feature_pairs,
    integrated_jacobian,
    values_along_paths,
)
from ..memory import peak_bytes
from .admission import check_context, check_not_quantised
from .fingerprint import model_fingerprint
from .integration import Integrated, integrated, projected_by, summed_over
from .layers import Encoder, encoder_layers
from .plan import BUDGET_OF_DERIVATIVES, NO_LIMITS, Accuracy, Limits, Plan, TextPath
from .reference import (
    Reference,
    ReferenceShift,
    ReferenceTransformer,
    ShiftingReferenceTransformer,
    default_reference,
    positions_of_reference,
    reference_features,
    resolve_reference,
)
from .texts import TokenizedText, tokenize

__all__ = ["ShiftWarning", "XSTransformer"]

SIMILARITIES = ("cosine", "dot")
UNITS = ("tokens", "words", "sentences")
# Of a score, by a shift that the model was not trained with.
BEARABLE_CHANGE = 0.05
# Texts of one length that are computed together, and their tokens: enough for short ones to fill a chunk.
MAX_TEXTS, MAX_TOKENS = 32, 4096
# What a vector-Jacobian product costs, counted in Jacobian-vector products: as much time (0.87 to 1.01 measured, for
# texts of 12 to 250 tokens), and more memory. Where factors that are pulled back serve one pair only, they must save
# more.
REVERSE_COST, BACKWARD_COST = 1.1, 1.5

# Modules with which the embedding is no function of the hidden states at one layer.
REFUSED = {
    StaticEmbedding: "static embeddings have no encoder layers to attribute to",
    BoW: "a bag of words has no encoder layers to attribute to",
    WordEmbeddings: "word embeddings have no encoder layers to attribute to",
    CLIPModel: "image models are not covered, xsbert explains pairs of texts",
    Router: "a router chooses its encoder per input; wrap one of its routes",
    WeightedLayerPooling: "it mixes the outputs of all layers, so no single layer carries the embedding",
    WordWeights: "it weights tokens by their identity, which the hidden states do not carry",
}


SHIFT_HEADING = "## Exact attributions"
SHIFT_NOTE = """
{heading}

This model subtracts from the embedding of each text that of its reference: the same number of tokens, all
`{reference}` but the special ones{positions} (Moeller et al., EMNLP 2023).
Its similarities can be attributed to pairs of tokens without a remainder, with xsbert:

```python
from xsbert import XSTransformer

model = XSTransformer("path or id of this model")
print(model.attribute_prediction("The coffee is bad.", "This is not a good coffee."))
```

`SentenceTransformer` loads it with `trust_remote_code=True` where xsbert is installed.
"""

# How modules.json names the modules of a shifted model. They need no trust: they are not code from a model's files.
OUR_MODULES = {
    f"{module.__module__}.{module.__qualname__}": module for module in (ReferenceTransformer, ReferenceShift)
}
# The models published with the papers name theirs so, and shift without a module of its own.
PUBLISHED_MODULE = "xsbert.models.ShiftingReferenceTransformer"


class ShiftWarning(UserWarning):
    """What is explained is not the model's own score: a shift that was added to the model changes it."""


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
                f"the weights in {_damaged_weights(path)} cannot be read, the file is damaged or cut short: {error}"
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

    @property
    def n_layers(self) -> int:
        """L, the number of encoder layers."""
        return len(encoder_layers(self[0]))

    @property
    def shifted(self) -> bool:
        """Whether embeddings are shifted by that of the reference."""
        return any(isinstance(module, ReferenceShift) for module in self)

    @property
    def reference_positions(self) -> str:
        """Which positions the tokens of the reference have: ``"text"`` or ``"padding"``."""
        return positions_of_reference(self[0], self._reference)

    @property
    def shift_added(self) -> bool:
        """Whether the shift was added to a model that was neither trained nor saved with it.

        The model's own scores are then those without it, which results give as ``score_unshifted``. A call of
        `train`, which the Trainer makes, ends this: what is trained from then on is the shifted model.
        """
        return any(isinstance(module, ReferenceShift) and module.added for module in self)

    def attribute_prediction(
        self,
        text_a: str,
        text_b: str,
        *,
        layer: int = -2,
        tolerance: float | None = None,
        n_steps: int | None = None,
        rule: str = "gauss-legendre",
        similarity: str | None = None,
        reference: str | None = None,
        reference_positions: str | None = None,
        prompt: str | tuple[str | None, str | None] | None = None,
        prompt_name: str | tuple[str | None, str | None] | None = None,
        max_steps: int = 512,
        derivative_dtype: str | None = None,
        chunk_size: int | None = None,
        memory_budget: float | None = None,
        show_progress_bar: bool | None = None,
    ) -> Attribution:
        """Attribute the predicted similarity of two texts to pairs of their tokens.

        Where one text is much longer than the other, its factors are pulled back from those of the shorter one by
        reverse mode, which gives the same numbers for less.

        Args:
            text_a: S tokens, special tokens included.
            text_b: T tokens, special tokens included.
            layer: attribute to the hidden states that enter this layer, 0 … L: 0 is the embeddings, L the last
                hidden state; a negative value means L + layer.
            tolerance: relative residual that both texts must reach, above 0; as many nodes are placed as that takes.
                0.01 where neither this nor ``n_steps`` is given.
            n_steps: number of interpolation steps N between reference and text, at least 1, in place of a tolerance.
            rule: where the steps lie: ``"gauss-legendre"``, ``"midpoint"``, or ``"riemann-right"``, the rule of the
                papers. Goes with ``n_steps``.
            similarity: ``"cosine"`` or ``"dot"``; None takes the model's own.
            reference: token of the reference, as for the class; None takes the model's. A shifted model has one.
            reference_positions: positions of its tokens, as for the class; None takes the model's.
            prompt: put before both texts as in `encode`; a pair gives each text its own.
            prompt_name: name of a prompt of the model, or a pair of names.
            max_steps: most nodes that a tolerance may take for a text.
            derivative_dtype: ``"bfloat16"`` or ``"float16"`` lets linear layers take their products of derivatives in
                that precision, where the hardware gains by it. The score is not affected, and the error is part of the
                residuals. None takes the model's dtype.
            chunk_size: how many Jacobian-vector products are computed at once; bounds the memory and does not
                change the result. None chooses.
            memory_budget: bytes that the computation may take at once besides the model, in place of a chunk size: what
                a few products take is counted beforehand, and as many are computed at once as fit.
            show_progress_bar: True or False; None shows a bar when the work takes longer than two seconds.

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
        plan = self._plan(
            layer,
            reference,
            reference_positions,
            Accuracy.of(tolerance, n_steps, rule, max_steps, derivative_dtype),
            Limits.of(chunk_size, memory_budget, show_progress_bar),
        )
        similarity = self._resolve_similarity(similarity)
        prompts = self._resolve_prompts(prompt, prompt_name)
        a = tokenize(self, text_a, prompts[0], "text_a")
        b = tokenize(self, text_b, prompts[1], "text_b")

        encoder = Encoder(self, plan.layer, plan.accuracy.derivative_dtype)
        factors_a, factors_b = self._pair_factors(encoder, a, b, plan)
        result = Attribution.of(
            factors_a, factors_b, similarity, compute_feature_pairs=lambda: self._feature_pairs(a, b, plan)
        )
        if _is_far_from_unshifted(result):
            warnings.warn(_far_from_unshifted(result), ShiftWarning, stacklevel=caller_level())
        return result

    def token_factors(
        self,
        texts: Iterable[str],
        *,
        layer: int = -2,
        tolerance: float | None = None,
        n_steps: int | None = None,
        rule: str = "gauss-legendre",
        reference: str | None = None,
        reference_positions: str | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        units: str = "tokens",
        max_steps: int = 512,
        derivative_dtype: str | None = None,
        chunk_size: int | None = None,
        memory_budget: float | None = None,
        show_progress_bar: bool | None = None,
    ) -> list[TextFactors]:
        """The factors of texts, each distinct text computed once; `Attribution.of` combines any two of them.

        `xsbert.save_factors` keeps them in a file.

        Args:
            texts: one or more texts.
            units: ``"tokens"``, ``"words"`` or ``"sentences"``: the coarser ones give the sums of their tokens' factors
                for as many passes as there are units.
            prompt, prompt_name: a string or None.
            layer, tolerance, n_steps, rule, reference, reference_positions, max_steps, derivative_dtype, chunk_size,
                memory_budget, show_progress_bar: as for `attribute_prediction`; the bar counts texts.

        Returns:
            one factor for each text, in order.

        Raises, warns:
            as `attribute_prediction`; an error names the text by its place.
        """
        plan = self._plan(
            layer,
            reference,
            reference_positions,
            Accuracy.of(tolerance, n_steps, rule, max_steps, derivative_dtype),
            Limits.of(chunk_size, memory_budget, False),
        )
        if units not in UNITS:
            raise ValueError(f"units must be one of {', '.join(map(repr, UNITS))}, got {units!r}")
        if isinstance(texts, str):
            raise TypeError(f"texts must hold strings, got one string: {texts!r:.60}")
        texts = list(texts)
        resolved = self._resolve_one_prompt(*_pair_of(prompt, prompt_name))
        distinct: dict[str, TokenizedText] = {}
        for place, text in enumerate(texts):
            if not isinstance(text, str) or text not in distinct:
                distinct[text] = tokenize(self, text, resolved, f"texts[{place}]")
        encoder = Encoder(self, plan.layer, plan.accuracy.derivative_dtype)
        found: dict[str, TextFactors] = {}
        with tqdm(
            total=len(distinct),
            desc="texts",
            leave=False,
            disable=show_progress_bar is False,
            delay=0 if show_progress_bar else PROGRESS_DELAY,
        ) as bar:
            for batch in _batches(distinct, plan.reference):
                for part in self._within_budget(encoder, batch, plan.limits):
                    found.update(zip(part, self._text_factors(encoder, list(part.values()), plan, units), strict=True))
                    bar.update(len(part))
        return [found[text] for text in texts]

    def predict_memory(
        self,
        text: str,
        *,
        layer: int = -2,
        reference: str | None = None,
        reference_positions: str | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        derivative_dtype: str | None = None,
        chunk_size: int | None = None,
    ) -> int:
        """How many bytes the factors of a text would take at once besides the model, by forward mode.

        Counted from the tensors of a few products, of which the text takes as many at once as ``chunk_size`` says, or
        as the library chooses. An allocator may add a little, by rounding and by the workspace of matrix products.

        Args:
            text: the longest of the texts that are to be explained.
            layer, reference, reference_positions, prompt, prompt_name, derivative_dtype, chunk_size: as for
                `token_factors`.

        Raises:
            as `token_factors`.
        """
        accuracy = Accuracy.of(None, None, "gauss-legendre", 1, derivative_dtype)
        plan = self._plan(layer, reference, reference_positions, accuracy, Limits.of(chunk_size, None, False))
        tokenized = tokenize(self, text, self._resolve_one_prompt(*_pair_of(prompt, prompt_name)), "text")
        encoder = Encoder(self, plan.layer, accuracy.derivative_dtype)
        (path,) = self._paths(encoder, [tokenized], plan.reference)
        passes = chunk_size or default_chunk_size(path.x)
        return passes * bytes_per_pass(path.f, path.x, path.r, len(path.x))

    def explain_pairs(
        self, pairs: Iterable[tuple[str, str]], *, similarity: str | None = None, **options: Any
    ) -> Iterator[Attribution]:
        """Explain many pairs, with each distinct text computed once.

        Args:
            pairs: pairs of texts.
            similarity: as for `attribute_prediction`.
            **options: as for `token_factors`.

        Yields:
            one attribution for each pair, in order; none of them is kept.

        Warns:
            UserWarning: as `attribute_prediction`.
            ShiftWarning: once, at the first pair whose score an added shift changes by more than 0.05.
        """
        pairs = [(text_a, text_b) for text_a, text_b in pairs]
        similarity = self._resolve_similarity(similarity)
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        factors = dict(zip(texts, self.token_factors(texts, **options), strict=True))
        return _warning_once(Attribution.of(factors[text_a], factors[text_b], similarity) for text_a, text_b in pairs)

    def explain_matrix(
        self, queries: Iterable[str], documents: Iterable[str], *, similarity: str | None = None, **options: Any
    ) -> Iterator[tuple[int, int, Attribution]]:
        """Explain each of n queries against each of m documents, at the cost of n + m factors.

        Args:
            queries, documents: texts.
            similarity: as for `attribute_prediction`.
            **options: as for `token_factors`.

        Yields:
            place of the query, place of the document, attribution; row by row, and none of them is kept.

        Warns:
            as `explain_pairs`.
        """
        queries, documents = list(queries), list(documents)
        similarity = self._resolve_similarity(similarity)
        factors = self.token_factors([*queries, *documents], **options)
        left, right = factors[: len(queries)], factors[len(queries) :]
        results = _warning_once(Attribution.of(a, b, similarity) for a in left for b in right)
        places = itertools.product(range(len(left)), range(len(right)))
        return ((i, j, result) for (i, j), result in zip(places, results, strict=True))

    def _set_up(self, shift: bool, reference: str | None, positions: str | None) -> None:
        self._check_supported()
        if self.shifted:
            self._reference = self[0].reference
            self._resolve_reference(reference, positions)
            return
        if reference is None:
            reference = "pad" if positions == "padding" else default_reference(self[0])
        self._reference = resolve_reference(self[0], reference, "text" if positions is None else positions)
        if shift:
            self._insert_shift(self._reference)

    def _insert_shift(self, reference: Reference) -> None:
        """Put the shift behind pooling and dense modules, before a trailing normalisation."""
        modules = OrderedDict(self._modules)
        modules[next(iter(modules))] = ReferenceTransformer.from_transformer(self[0], reference)
        self._modules = _with_shift(modules, ReferenceShift(added=True))

    def _check_supported(self) -> None:
        if self.backend != "torch":
            raise ValueError(f"only the torch backend can be differentiated, got backend={self.backend!r}")
        for module in self:
            for refused, reason in REFUSED.items():
                if isinstance(module, refused):
                    raise ValueError(f"a model with {refused.__name__} cannot be explained: {reason}")
        if not isinstance(self[0], Transformer):
            raise ValueError(
                f"the first module must be a sentence-transformers Transformer, got {type(self[0]).__name__}"
            )
        text = self[0].modality_config.get("text")
        if text is None or text["method"] != "forward" or self[0].module_output_name != "token_embeddings":
            raise ValueError(
                f"the model must turn text into token embeddings, got the modalities {self[0].modality_config}; "
                "image models are not covered"
            )
        model_type = self[0].config.model_type
        if self.model_types is not None and model_type not in self.model_types:
            raise ValueError(
                f"{type(self).__name__} is for models of type {' or '.join(self.model_types)}, got "
                f"{model_type!r}; XSTransformer takes any"
            )
        check_not_quantised(self)
        encoder_layers(self[0])
        self._check_shift()

    def _check_shift(self) -> None:
        """Refuse a shift after which the reference would not embed to zero."""
        names = [type(module).__name__ for module in self]
        shifts = [place for place, module in enumerate(self) if isinstance(module, ReferenceShift)]
        runners = [place for place, module in enumerate(self) if isinstance(module, ReferenceTransformer)]
        if not shifts and not runners:
            return
        if len(shifts) != 1 or runners != [0]:
            raise ValueError(
                "a shifted model has one ReferenceTransformer in front, which runs the references, and one "
                f"ReferenceShift behind it, which subtracts them; got the modules {', '.join(names)}"
            )
        if self[0].reference is None:
            raise ValueError("the ReferenceTransformer of a shifted model must have a reference, got None")
        behind = list(self)[shifts[0] + 1 :]
        changing = [type(module).__name__ for module in behind if not isinstance(module, Normalize)]
        if changing:
            raise ValueError(
                f"{' and '.join(changing)} behind the reference shift would take the reference away from zero, so "
                "attributions would no longer add up to the score; only a normalisation may follow the shift"
            )

    def _load_config_modules(self, *args: Any, **kwargs: Any) -> Any:
        self._published = False
        modules, module_kwargs = super()._load_config_modules(*args, **kwargs)
        if self._published:
            modules = _with_shift(OrderedDict(modules), ReferenceShift())
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
        if not self.shifted or not card.exists():
            return
        text = card.read_text(encoding="utf-8")
        if SHIFT_HEADING not in text:
            front, separator, body = text.partition("\n---\n")
            if not (text.startswith("---\n") and separator):
                front, separator, body = "", "", text
            positions = ", at the position of padding" if self.reference_positions == "padding" else ""
            note = SHIFT_NOTE.format(heading=SHIFT_HEADING, reference=self._reference.token, positions=positions)
            card.write_text(front + separator + note + body, encoding="utf-8")

    def _load_default_modules(self, model_name_or_path: str, *args: Any, **kwargs: Any) -> Any:
        modules, config = super()._load_default_modules(model_name_or_path, *args, **kwargs)
        architectures = getattr(modules[0].config, "architectures", None) or []
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

    def _resolve_layer(self, layer: int) -> int:
        n_layers = self.n_layers
        if isinstance(layer, bool) or not isinstance(layer, (int, np.integer)):
            raise TypeError(f"layer must be an integer, got {layer!r}")
        if not -n_layers <= layer <= n_layers:
            raise ValueError(f"layer must be between {-n_layers} and {n_layers}, the last hidden state, got {layer}")
        return int(layer) if layer >= 0 else n_layers + int(layer)

    def _resolve_similarity(self, similarity: str | None) -> str:
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

    def _resolve_reference(self, reference: str | None, positions: str | None) -> Reference:
        own = self._reference
        if reference is None and positions is None:
            return own
        if not self.shifted:
            # Only padding has positions of padding.
            token = reference or ("pad" if positions == "padding" else own.token)
            return resolve_reference(self[0], token, self.reference_positions if positions is None else positions)
        if reference is not None and resolve_reference(self[0], reference).token_id != own.token_id:
            raise ValueError(
                f"this model is shifted by the reference {own.token!r}, which is part of its embeddings; "
                f"got reference={reference!r}. Start from the unshifted model to shift by another one"
            )
        if positions is not None:
            asked = resolve_reference(self[0], own.token, positions)
            if positions_of_reference(self[0], asked) != self.reference_positions:
                raise ValueError(
                    f"this model is shifted by the reference {own.token!r} with "
                    f"reference_positions={self.reference_positions!r}, which are part of its embeddings; got "
                    f"reference_positions={positions!r}. Start from the unshifted model to shift by others"
                )
        return own

    def _resolve_prompts(
        self,
        prompt: str | tuple[str | None, str | None] | None,
        prompt_name: str | tuple[str | None, str | None] | None,
    ) -> tuple[str | None, str | None]:
        prompts = _pair(prompt, "prompt")
        names = _pair(prompt_name, "prompt_name")
        return self._resolve_one_prompt(prompts[0], names[0]), self._resolve_one_prompt(prompts[1], names[1])

    def _resolve_one_prompt(self, prompt: str | None, name: str | None) -> str | None:
        if prompt is not None and name is not None:
            raise ValueError(f"give prompt or prompt_name, not both: got {prompt!r} and {name!r}")
        if prompt is not None:
            return prompt
        name = self.default_prompt_name if name is None else name
        if name is not None and name not in self.prompts:
            raise ValueError(f"prompt_name must be one of {sorted(self.prompts)}, got {name!r}")
        return None if name is None else self.prompts[name]

    def _plan(
        self, layer: int, reference: str | None, positions: str | None, accuracy: Accuracy, limits: Limits
    ) -> Plan:
        check_context(self.device.type)
        resolved = self._resolve_reference(reference, positions)
        return Plan(
            layer=self._resolve_layer(layer),
            reference=resolved,
            accuracy=accuracy,
            limits=limits,
            fingerprint=model_fingerprint(self, resolved),
        )

    def _pair_factors(
        self, encoder: Encoder, a: TokenizedText, b: TokenizedText, plan: Plan
    ) -> tuple[TextFactors, TextFactors]:
        """Factors of both texts, by the cheaper direction."""
        if len(a.tokens) < len(b.tokens):
            factors_b, factors_a = self._pair_factors(encoder, b, a, plan)
            return factors_a, factors_b
        (short,) = self._text_factors(encoder, [b], plan)
        needed = np.vstack([short.factors, short.reference_term[None]])
        directions = needed[needed.any(1)]
        if len(directions) and _reverse_is_cheaper(len(directions), len(a.tokens), BACKWARD_COST):
            return self._pulled_back(encoder, a, plan, directions), short
        return self._text_factors(encoder, [a], plan)[0], short

    def _text_factors(
        self, encoder: Encoder, texts: Sequence[TokenizedText], plan: Plan, units: str = "tokens"
    ) -> list[TextFactors]:
        """The factors of texts that are alike (see `_batches`), by forward mode; or, with more tokens than outputs, by
        reverse mode."""
        paths = self._paths(encoder, texts, plan.reference, plan.limits)
        results = [
            self._described(text, path, plan, np.zeros((len(text.tokens), len(path.f_x))))
            for text, path in zip(texts, paths, strict=True)
        ]
        n_outputs = len(results[0].embedding)
        if units == "tokens" and _reverse_is_cheaper(n_outputs, len(paths[0].x), REVERSE_COST):
            outputs = torch.eye(n_outputs, len(paths[0].f_x), device=self.device)
            together, projected = projected_by(outputs, plan.limits), True
        else:
            groups = None if units == "tokens" else [result.groups(units) for result in results]
            together, projected = summed_over(groups, plan.limits), False
        if units != "tokens":
            results = [result.words() if units == "words" else result.over(units) for result in results]
        found = integrated(
            paths,
            plan.accuracy,
            plan.limits,
            together,
            lambda values: values[..., : n_outputs if projected else values.shape[-1]],
        )
        for text, each in zip(texts, found, strict=True):
            _check_finite(each.factors, f"the attributions of {text.text!r:.60}")
        results = [
            _finished(result, each, factors=_numpy(each.factors)[:, :n_outputs])
            for result, each in zip(results, found, strict=True)
        ]
        plan.accuracy.check_reached(results)
        return results

    def _within_budget(
        self, encoder: Encoder, batch: dict[str, TokenizedText], limits: Limits
    ) -> Iterator[dict[str, TokenizedText]]:
        """The batch in parts whose forward passes fit the memory budget beside derivatives, of one text at least."""
        items = list(batch.items())
        size = len(items)
        if limits.memory_budget is not None:
            features = batch_to_device(dict(items[0][1].features), self.device)
            beside = (1 - BUDGET_OF_DERIVATIVES) * limits.memory_budget
            size = max(1, int(beside // peak_bytes(lambda: encoder.record(features))))
        for start in range(0, len(items), size):
            yield dict(items[start : start + size])

    def _pulled_back(self, encoder: Encoder, text: TokenizedText, plan: Plan, directions: np.ndarray) -> TextFactors:
        """The factor of one text, projected on the span of the directions (K, E), by reverse mode."""
        (path,) = self._paths(encoder, [text], plan.reference, plan.limits)
        # Not numpy's: its threads would go on spinning, and slow the model's down.
        _, sizes, basis = (part.numpy() for part in torch.linalg.svd(torch.from_numpy(directions), full_matrices=False))
        basis = basis[sizes > 1e-12 * sizes[0]]
        wide = np.zeros((len(basis), len(path.f_x)))
        wide[:, : basis.shape[1]] = basis
        on_device = torch.as_tensor(wide, dtype=path.x.dtype, device=path.x.device)
        (found,) = integrated(
            [path],
            plan.accuracy,
            plan.limits,
            projected_by(on_device, plan.limits),
            lambda values: values.to(on_device.dtype) @ on_device.T,
        )
        _check_finite(found.factors, f"the attributions of {text.text!r:.60}")
        change = _numpy(path.f_x) - _numpy(path.f_r)
        size = float(np.linalg.norm(change[: self.truncate_dim])) or 1.0
        rule, residual = found.placement.rule, found.placement.residual
        if residual is None or self.truncate_dim is not None:
            chunk_size = plan.limits.chunk_for(path, 1)
            derivatives = derivatives_along_path(path.f, path.x, path.r, rule.nodes, chunk_size=chunk_size)
            residual = np.linalg.norm((rule.weights @ _numpy(derivatives) - change)[: self.truncate_dim]) / size
        projected = _numpy(found.factors)
        # Completeness in the directions that were pulled back: nodes and rounding of this very run.
        seen = np.linalg.norm(projected.sum(0) - wide @ change) / size
        result = _finished(self._described(text, path, plan, projected @ basis), found)
        result = replace(result, known_residual=float(max(residual, seen)))
        plan.accuracy.check_reached([result])
        return result

    def _described(self, text: TokenizedText, path: TextPath, plan: Plan, factors: np.ndarray) -> TextFactors:
        f_x, f_r = _numpy(path.f_x), _numpy(path.f_r)
        embedding = f_x - f_r if self.shifted else f_x
        normalised = isinstance(self[len(self) - 1], Normalize)
        unshifted = f_x / (np.linalg.norm(f_x) or 1.0) if normalised else f_x
        return TextFactors(
            text=text.text,
            prompt=text.prompt,
            tokens=text.tokens,
            roles=text.roles,
            word_ids=text.word_ids,
            spans=text.spans,
            factors=factors[:, : self.truncate_dim],
            embedding=embedding[: self.truncate_dim],
            reference_term=np.zeros_like(f_r[: self.truncate_dim]) if self.shifted else f_r[: self.truncate_dim],
            normalisation=float(np.linalg.norm(embedding)) if normalised else 1.0,
            n_cut=text.n_cut,
            embedding_unshifted=unshifted[: self.truncate_dim] if self.shift_added else None,
            settings=Settings(
                model=self._name(),
                layer=plan.layer,
                n_layers=self.n_layers,
                rule=plan.accuracy.rule_name,
                n_steps=0,
                reference=plan.reference.token,
                shift=self.shifted,
                dtype=str(self.dtype).removeprefix("torch."),
                tolerance=plan.accuracy.tolerance,
                fingerprint=plan.fingerprint,
                derivative_dtype=plan.accuracy.derivatives_of(self.dtype, self.device),
                reference_positions=positions_of_reference(self[0], plan.reference),
            ),
        )

    def _paths(
        self, encoder: Encoder, texts: Sequence[TokenizedText], reference: Reference, limits: Limits = NO_LIMITS
    ) -> list[TextPath]:
        """The straight lines from the reference to texts that are alike, at the encoder's layer, and f along them."""
        features = [batch_to_device(dict(text.features), self.device) for text in texts]
        referenced = reference_features(reference, features[0])
        at_reference = encoder.record(referenced)
        r, f_r = at_reference.hidden[0], at_reference.embeddings[0]
        if torch.equal(features[0]["input_ids"], referenced["input_ids"]):
            _check_finite(f_r, f"the embedding of {texts[0].text!r:.60}")
            return [TextPath(encoder.function(at_reference), r, r, f_r, f_r)] * len(texts)
        at_first = encoder.record(features[0])
        at_texts = at_first if len(texts) == 1 else encoder.record(_together(features))
        hidden, embeddings = at_texts.hidden, at_texts.embeddings
        del at_texts  # and with it what earlier layers returned
        for text, embedding in zip(texts, embeddings, strict=True):
            _check_finite(embedding, f"the embedding of {text.text!r:.60}")
        _check_finite(f_r, f"the embedding of the reference of {texts[0].text!r:.60}")
        f = encoder.function(at_first)
        paths = [
            TextPath(f, x, r, f_x, f_r, _in_float64(encoder, inputs, x, r))
            for inputs, x, f_x in zip(features, hidden, embeddings, strict=True)
        ]
        elsewhere = [r, *hidden[1:]]
        expected = torch.cat([at_reference.embeddings, embeddings[1:]])
        chunk_size = limits.chunk_for(paths[0], 1)
        starts = [np.zeros(1)] * len(elsewhere)
        found = torch.cat(values_along_paths(f, elsewhere, elsewhere, starts, chunk_size=chunk_size))
        gaps = (found - expected).double().norm(dim=1)
        tolerance = 0.05 if expected.dtype.itemsize == 2 else 1e-3
        if (gaps > tolerance * expected.double().norm(dim=1)).any():
            raise ValueError(
                f"{type(self[0].model).__name__} cannot be explained at layer {encoder.layer}: what follows depends "
                "on more than the hidden states that enter it"
            )
        return paths

    def _feature_pairs(self, a: TokenizedText, b: TokenizedText, plan: Plan) -> np.ndarray:
        check_context(self.device.type)
        encoder = Encoder(self, plan.layer)
        dtype = torch.float64 if self.dtype == torch.float64 else torch.float32
        sides: list[Tensor] = []
        for text in (a, b):
            (path,) = self._paths(encoder, [text], plan.reference, plan.limits)
            (placement,) = plan.accuracy.placements([path], plan.limits)
            path = path.in_float64() if placement.in_float64 else path
            options = plan.limits.options(path, len(path.f_x), reverse=True)
            jacobian = integrated_jacobian(path.f, path.x, path.r, placement.rule, **options)
            sides += [jacobian[: self.truncate_dim].to(dtype), (path.x - path.r).to(dtype)]
        return feature_pairs(*sides).cpu().numpy()

    def _name(self) -> str:
        name = getattr(self[0].config, "_name_or_path", "") or type(self[0].model).__name__
        return "/".join(Path(name).resolve().parts[-2:]) if Path(name).is_dir() else name


def _damaged_weights(model_name_or_path: str | None) -> str:
    """The first file of weights in a folder that cannot be opened; of a model that lies elsewhere, its name."""
    for file in sorted(Path(str(model_name_or_path)).rglob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):
                pass
        except SafetensorError:
            return str(file)
    return str(model_name_or_path)


def _in_float64(encoder: Encoder, features: dict[str, Any], x: Tensor, r: Tensor) -> Callable[[], TextPath] | None:
    """Makes the same path in float64, once; None where x is not float32, or its device has no float64."""
    if x.dtype != torch.float32 or x.device.type == "mps":
        return None

    @cache
    def make() -> TextPath:
        fine = encoder.in_float64
        f = fine.function(fine.record(features))
        ends = [x.double(), r.double()]
        (f_x,), (f_r,) = values_along_paths(f, ends, ends, [np.zeros(1)] * 2)
        return TextPath(f, *ends, f_x, f_r)

    return make


def _finished(result: TextFactors, found: Integrated, **fields: Any) -> TextFactors:
    """What is known after the integration."""
    placement = found.placement
    settings = replace(
        result.settings,
        n_steps=len(placement.rule.nodes),
        n_looks=placement.n_passes,
        n_float64=found.n_float64,
    )
    return replace(result, settings=settings, factor_error=found.factor_error, **fields)


def _with_shift(modules: OrderedDict[str, Any], shift: ReferenceShift) -> OrderedDict[str, Any]:
    """The modules with a shift before a trailing normalisation."""
    items = list(modules.items())
    end = len(items)
    while isinstance(items[end - 1][1], Normalize):
        end -= 1
    return OrderedDict([*items[:end], ("shift", shift), *items[end:]])


def _is_far_from_unshifted(result: Attribution) -> bool:
    """Whether an added shift changes the score by more than is bearable.

    Dot products are taken in units of the lengths of the unshifted embeddings.
    """
    if result.score_unshifted is None:
        return False
    lengths = (np.linalg.norm(side.embedding_unshifted) for side in (result.a, result.b))
    unit = 1.0 if result.similarity == "cosine" else float(np.prod([*lengths]))
    return abs(result.score - result.score_unshifted) > BEARABLE_CHANGE * unit


def _far_from_unshifted(result: Attribution) -> str:
    return (
        f"the shift that was added to the model changes its score: {result.score:.4f}, which is what is explained, in "
        f"place of {result.score_unshifted:.4f} for {result.a.text!r:.60} and {result.b.text!r:.60}. Leave out "
        f"shift=True to explain the model's own score, or take another reference than {result.settings.reference} "
        "(xsbert.choose_reference compares them), or train the shifted model"
    )


def _warning_once(results: Iterable[Attribution]) -> Iterator[Attribution]:
    """Results as they come, with a warning at the first whose score is far from that of the unshifted model."""
    warned = False
    for result in results:
        if not warned and _is_far_from_unshifted(result):
            message = f"{_far_from_unshifted(result)}. Further pairs are not warned of"
            warnings.warn(message, ShiftWarning, stacklevel=caller_level())
            warned = True
        yield result


def _reverse_is_cheaper(n_directions: int, n_tokens: int, cost: float) -> bool:
    """Whether that many vector-Jacobian products, at their cost, are fewer than one Jacobian-vector product a token."""
    return cost * (n_directions + 1) < n_tokens + 1


def _batches(texts: dict[str, TokenizedText], reference: Reference) -> Iterator[dict[str, TokenizedText]]:
    """Texts that can be computed together: of one length, so that none is padded, and with f the same for all.

    The longest come first: the estimate of the time that is left errs on the safe side.
    """
    alike: dict[Any, list[str]] = {}
    for text, tokenized in texts.items():
        alike.setdefault(_kind(tokenized, reference), []).append(text)
    for group in sorted(alike.values(), key=lambda group: -len(texts[group[0]].tokens)):
        size = max(1, min(MAX_TEXTS, MAX_TOKENS // len(texts[group[0]].tokens)))
        for start in range(0, len(group), size):
            yield {text: texts[text] for text in group[start : start + size]}


def _kind(text: TokenizedText, reference: Reference) -> tuple[Any, ...]:
    """Equal for texts whose inputs differ in nothing but the ids of their tokens."""
    ids = text.features["input_ids"]
    is_reference = torch.equal(ids, reference_features(reference, text.features)["input_ids"])
    others = sorted((name, value) for name, value in text.features.items() if name != "input_ids")
    described = ((name, value.tolist() if isinstance(value, Tensor) else value) for name, value in others)
    return tuple(ids.shape), is_reference, repr(list(described))


def _together(features: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One batch of inputs that differ in nothing but the ids of their tokens."""
    return {
        name: torch.cat([one[name] for one in features]) if isinstance(value, Tensor) and value.ndim else value
        for name, value in features[0].items()
    }


def _pair_of(prompt: Any, prompt_name: Any) -> tuple[str | None, str | None]:
    for name, value in (("prompt", prompt), ("prompt_name", prompt_name)):
        if not isinstance(value, (str, type(None))):
            raise TypeError(f"{name} must be a string or None, got {value!r}")
    return prompt, prompt_name


def _pair(value: Any, name: str) -> tuple[str | None, str | None]:
    pair = value if isinstance(value, tuple) else (value, value)
    if len(pair) != 2 or any(not isinstance(item, (str, type(None))) for item in pair):
        raise TypeError(f"{name} must be a string, None, or a pair of these, got {value!r}")
    return pair


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _check_finite(values: Tensor, what: str) -> None:
    if not torch.isfinite(values).all():
        raise FloatingPointError(
            f"{what} holds numbers that are not finite; the model's weights or its dtype ({values.dtype}) may be "
            "the cause"
        )
