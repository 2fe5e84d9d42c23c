"""Runs a sentence transformer from the hidden states that enter one of its layers.

It uses a private copy of the model with copied modules and shared weights. The user's model gets no hook, mode or
setting. Nothing has to be restored after an exception, and other threads can use the model meanwhile.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any, cast

import torch
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import Tensor, nn

from .._utils.cached_property import cached_property
from .._utils.progress import tick
from .._utils.torch_internals import tree_map_only
from .._utils.validation import is_integer
from .autodiff.deferred_linear import scaled_tokens
from .autodiff.forward_rules import Differentiable
from .layer_inputs import LayerArguments, Pieces, StateLayout
from .position_limit import check_positions
from .private_copy import private_copy
from .protocol import Explainable

__all__ = ["ModelTail", "RecordedPass", "SplitModel", "encoder_layers"]

# Names of the number of layers in configurations: transformers uses the first, custom code the others.
LAYER_COUNTS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer", "encoder_layers")


@dataclass(frozen=True)
class RecordedPass:
    """The recorded pass of B texts of one length through the model."""

    features: dict[str, Any]
    """The model's inputs."""
    hidden: Tensor
    """(B, S, H), the hidden states that enter layer l: x. With what else enters the layers, see `StateLayout`."""
    embeddings: Tensor
    """What the head returns, see `Head.record`: (B, E), f(x), unshifted and before a trailing normalisation; or (B, …)
    if it freezes choices."""
    earlier: tuple[Any, ...]
    """Outputs of the layers before l."""

    def of(self, place: int) -> RecordedPass:
        """Return the recording of one of the texts."""
        n_texts = len(self.hidden)

        def chosen(values: Tensor) -> Tensor:
            # A view would keep the whole batch in memory.
            return values[place : place + 1].clone() if values.ndim and len(values) == n_texts else values

        return RecordedPass(
            features=tree_map_only(Tensor, chosen, self.features),
            hidden=chosen(self.hidden),
            embeddings=chosen(self.embeddings),
            earlier=tree_map_only(Tensor, chosen, self.earlier),
        )


def encoder_layers(transformer: Transformer) -> nn.ModuleList:
    """Return the encoder layers: the `ModuleList` with as many entries as the configuration has layers.

    Raises:
        ValueError: the configuration has no number of layers, or the model has no such list. ALBERT, for example,
            repeats one layer module.
    """
    config = transformer.config
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    lists = {name: module for name, module in transformer.model.named_modules() if isinstance(module, nn.ModuleList)}
    found = ", ".join(f"{name} ({len(module)})" for name, module in lists.items()) or "none"
    model = f"{type(transformer.model).__name__} (model type {getattr(config, 'model_type', None)!r})"
    given: list[Any] = [getattr(config, name, None) for name in LAYER_COUNTS]
    counts = [int(count) for count in given if count is not None and is_integer(count) and count > 0]
    if not counts:
        raise ValueError(
            f"the number of encoder layers of {model} is not known: its {type(config).__name__} has none of "
            f"{', '.join(LAYER_COUNTS)} as a positive integer. Set `num_hidden_layers` of the configuration to the "
            f"length of the list of layers; lists of modules in the model, with their lengths: {found}"
        )
    stacks = [module for module in lists.values() if len(module) == counts[0]]
    if not stacks:
        raise ValueError(
            f"no list of {counts[0]} encoder layers, as the configuration gives their number, was found in {model}. "
            f"Lists of modules in it, with their lengths: {found}. xsbert attributes to the hidden states between "
            "layers and needs one module per layer; models that repeat one layer module, such as ALBERT, have none. "
            "If layers were removed or added, set the number of layers in the configuration, too"
        )
    # Lists of experts, heads or adapters may be as long. The encoder is the list with the most parameters.
    return max(stacks, key=lambda stack: sum(parameter.numel() for parameter in stack.parameters()))


class SplitModel:
    """A model split at layer l.

    `record` runs texts through the whole model and stores the hidden states that enter layer l. `function` then returns
    f, the model from layer l on, as a function of those hidden states. Use each instance in one thread only.

    Args:
        model: model to split. It is not modified.
        layer: 0 … L, counted from the embeddings; L is the last hidden state.
        dtype: dtype of a copy of the weights; None shares the model's weights.
    """

    def __init__(
        self,
        model: Explainable,
        layer: int,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._model = model
        modules = private_copy(model.unshifted_modules(), dtype)
        self._transformer = cast(Transformer, modules[0])
        self.head = model.head(modules)
        self.device = model.device
        self.model_name = type(self._transformer.model).__name__
        self.layer = layer
        self._recorded: dict[int, Any] = {}
        self._replayed: RecordedPass | None = None
        self._entering: Tensor | None = None
        layers = encoder_layers(self._transformer)
        self._n_layers = len(layers)
        self._arguments = [LayerArguments.of(module) for module in layers]
        self._fed = layer < len(layers) and any(each.is_fed for each in self._arguments)
        self._pieces: dict[int, Pieces] = {}
        self._layout: StateLayout | None = None
        for index, module in enumerate(layers if self._fed else layers[: layer + 1]):
            self._intercept(index, module)
        if layer == self._n_layers and self.head.behind_base_model:
            self._intercept_base_model(self._transformer.model.base_model)

    @property
    def is_fed(self) -> bool:
        """Whether layers have inputs besides the hidden states of the layer before."""
        return self._fed

    @cached_property
    def in_float64(self) -> SplitModel:
        """The split model in float64. Its copied weights take twice the memory of a float32 model's."""
        return SplitModel(self._model, self.layer, dtype=torch.float64)

    def record(self, features: dict[str, Any]) -> RecordedPass:
        """Run the model on tokenized texts of one length without padding, exactly as `encode` would.

        Raises:
            ValueError: the model fails because the texts are longer than it supports.
        """
        self._recorded = {}
        with torch.no_grad():
            try:
                output = self._transformer(dict(features))
            except (IndexError, RuntimeError) as error:
                # The model stores positions in a way that `check_positions` does not recognise.
                n_tokens, config = features["input_ids"].shape[1], self._transformer.config
                limit = getattr(config, "max_position_embeddings", None)
                if not isinstance(limit, int) or n_tokens <= limit or isinstance(error, torch.OutOfMemoryError):
                    raise
                check_positions(self._transformer, n_tokens, "the text", limit)
                raise
            if self.layer == self._n_layers and not self.head.behind_base_model:
                self._recorded[self.layer] = output["token_embeddings"]
            embeddings = self.head.record(output)
        hidden = self._recorded[self.layer].detach()
        if self._fed:
            pieces = [self._pieces[index] for index in range(self.layer, self._n_layers)]
            hidden, self._layout = StateLayout.pack(hidden, pieces)
        return RecordedPass(
            features=features,
            hidden=hidden,
            embeddings=embeddings,
            earlier=tuple(self._recorded[index] for index in range(self.layer)),
        )

    def function(
        self, recording: RecordedPass, derivative_dtype: torch.dtype | None = None, choices: Any = None
    ) -> ModelTail:
        """Return f: (S, H) → (E,), the model from layer l on, for a recording of one text.

        Linear layers compute products of derivatives in ``derivative_dtype``; None uses the model's dtype. ``choices``
        are those of the text (`Frozen.choices`), if the head freezes any.
        """
        return ModelTail(self, recording, derivative_dtype, choices)

    def run(self, recording: RecordedPass, entering: Tensor, choices: Any = None) -> Tensor:
        """Return the embedding (E,) for hidden states (1, S, H) that enter layer l, with all else as recorded."""
        tick()
        features = dict(recording.features)
        if self.layer == self._n_layers and not self.head.behind_base_model:
            return self.head.read({**features, "token_embeddings": entering}, choices)[0]
        self._replayed, self._entering = recording, entering
        if self._layout is not None:
            self._entering, pieces = self._layout.unpack(entering)
            self._pieces = dict(enumerate(pieces, self.layer))
        try:
            with self.head.reading(choices):
                return self.head.read(self._transformer(features), choices)[0]
        finally:
            self._replayed, self._entering = None, None

    def _intercept(self, index: int, module: nn.Module) -> None:
        """Make a layer of the private copy record its input or output, or replay its output."""
        original = module.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            if self._replayed is not None and self._entering is not None:
                if index < self.layer:
                    return self._replayed.earlier[index]
                if self._fed:
                    args, kwargs = self._arguments[index].given(args, kwargs, self._pieces[index])
                if index == self.layer:
                    args, kwargs = _with_hidden(args, kwargs, self._entering)
                return original(*args, **kwargs)
            if index in self._recorded:
                raise ValueError(
                    f"layer {index} of {type(self._transformer.model).__name__} runs more than once per "
                    "text: the hidden states that enter it are not defined"
                )
            if index >= self.layer:
                if self._fed:
                    self._pieces[index] = self._arguments[index].taken(args, kwargs)
                self._recorded[index] = args[0] if args else kwargs["hidden_states"]
                return original(*args, **kwargs)
            self._recorded[index] = original(*args, **kwargs)
            return self._recorded[index]

        module.forward = forward

    def _intercept_base_model(self, module: nn.Module) -> None:
        """Make the base model of a transformer with a head record its last hidden states, or replay them."""
        original = module.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            output = original(*args, **kwargs)
            if self._replayed is None or self._entering is None:
                self._recorded[self.layer] = output[0]
                return output
            if isinstance(output, tuple):
                return (self._entering, *output[1:])
            output = copy(output)
            output["last_hidden_state"] = self._entering
            return output

        module.forward = forward


def _with_hidden(args: tuple[Any, ...], kwargs: dict[str, Any], hidden: Tensor) -> tuple[tuple, dict]:
    if args:
        return (hidden, *args[1:]), kwargs
    return args, {**kwargs, "hidden_states": hidden}


class ModelTail:
    """f: (S, H) → (E,), the model from a layer on, with fast derivatives; see `SplitModel.function`."""

    def __init__(
        self, encoder: SplitModel, recording: RecordedPass, derivative_dtype: torch.dtype | None, choices: Any = None
    ) -> None:
        self._encoder, self._recording, self._derivative_dtype = encoder, recording, derivative_dtype
        self._choices = choices
        self._reads: list[Any] = []

    def __call__(self, h: Tensor) -> Tensor:
        with Differentiable(self._reads, self._derivative_dtype, waits=False):
            return self._encoder.run(self._recording, h.unsqueeze(0), self._choices)

    def along_token_scales(self, h: Tensor, vectors: Tensor, scales: Tensor) -> Tensor:
        """Return f(h + scales ∘ vectors), to be differentiated with respect to scales (S,) at zero.

        The products of linear layers with the vectors (S, H) are computed once for all directions.
        """
        if self._encoder.is_fed:
            # Products with parts of a state do not wait.
            return self(h + scales[:, None] * vectors)
        with Differentiable(self._reads, self._derivative_dtype, waits=True):
            moved = scaled_tokens(h[None], vectors[None], scales[None, :, None])
            return self._encoder.run(self._recording, moved, self._choices)
