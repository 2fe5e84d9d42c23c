"""Checks for differences between a checkpoint and the loaded model: an added pooling, unused or missing weights."""

from __future__ import annotations

import json
import logging
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast
from weakref import WeakSet

import torch
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from sentence_transformers.util import load_file_path
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from .._utils.stacklevel import caller_level
from ..engine.private_copy import private_copy
from .load_lock import loading

__all__ = [
    "EXPLAINED_BY",
    "Source",
    "check_all_loaded",
    "check_architecture",
    "check_loaded",
    "check_loaded_sparse",
    "check_saved_type",
    "source_of",
]

# Pretraining heads. The encoder below them is often used without the head and fine-tuned.
PRETRAINING = ("MaskedLM", "PreTraining", "CausalLM", "ConditionalGeneration", "MaskedImageModeling")
# What to do with models that were saved as another class.
EXPLAINED_BY = {
    "SparseEncoder": "Load it as xsbert.XSSparseEncoder, or by xsbert.wrap",
    "MultiVectorEncoder": "Load it as xsbert.XSMultiVectorEncoder, or by xsbert.wrap",
    "ColBERT": "Load it as xsbert.XSMultiVectorEncoder, or by xsbert.wrap",
}
# Loading options that determine which file is read and how its names are mapped.
FILE_OPTIONS = ("key_mapping", "use_safetensors", "variant", "weights_only")
HUB_OPTIONS = ("cache_dir", "local_files_only", "revision", "subfolder", "token")
WEIGHTS_FROM_ELSEWHERE = ("gguf_file", "state_dict")
# Models that were compared with their files. They may have been trained since.
_known: WeakSet[nn.Module] = WeakSet()


@dataclass(frozen=True)
class Source:
    """The source that a model was loaded from."""

    path: str
    """A folder or a model id."""
    is_raw: bool
    """Whether there is no modules.json, so that sentence-transformers chose the pooling."""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Options for `PreTrainedModel.from_pretrained`."""

    @classmethod
    def of_call(cls, path: str, is_raw: bool, arguments: Mapping[str, Any]) -> Source:
        """Create the source from the arguments that `SentenceTransformer` passes to the loader of its modules."""
        given = arguments.get("model_kwargs") or {}
        options = {
            name: given[name] for name in (*FILE_OPTIONS, *HUB_OPTIONS, *WEIGHTS_FROM_ELSEWHERE) if name in given
        }
        for name in ("local_files_only", "revision", "token"):
            options.setdefault(name, arguments.get(name))
        options.setdefault("cache_dir", arguments.get("cache_folder"))
        return cls(path, is_raw, options)


def source_of(model: SentenceTransformer) -> Source | None:
    """Return the known source of a loaded model; None if its modules were assembled by hand or trained since."""
    first = model[0]
    path = getattr(getattr(first, "config", None), "_name_or_path", None)
    trained = "generated_from_trainer" in (model.model_card_data.tags or ())
    if not path or trained or model.module_kwargs is None or not isinstance(first, Transformer):
        return None
    # A model with a modules.json has an entry for each module. Later changes by the user are not defaults.
    chosen = list(model)[1:]
    is_raw = not model.module_kwargs and len(chosen) == 1 and isinstance(chosen[0], Pooling)
    is_raw = is_raw and cast(Pooling, chosen[0]).pooling_mode in ("mean", "lasttoken")
    return Source(path, is_raw, {"local_files_only": True})


def check_saved_type(source: Source) -> None:
    """Reject another kind of saved model, for which `SentenceTransformer` would add a default pooling.

    Raises:
        ValueError: the model was saved as a sparse encoder, a cross-encoder or similar.
    """
    try:
        file = load_file_path(source.path, "config_sentence_transformers.json", local_files_only=True)
        settings = {} if file is None else json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    model_type = settings.get("model_type", "SentenceTransformer")
    if model_type != "SentenceTransformer":
        raise ValueError(
            f"{source.path!r} was saved as a {model_type}, which does not embed a text as one dense vector. "
            f"{EXPLAINED_BY.get(model_type, 'xsbert explains models whose score is a product of two outputs')}"
        )


def check_architecture(path: str, config: Any) -> None:
    """Reject a checkpoint without modules.json if its architecture does not embed texts.

    Args:
        path: path or id of the checkpoint, for the message.
        config: configuration of the checkpoint.

    Raises:
        ValueError: it is a classifier, cross-encoder, late-interaction model or similar.
    """
    for name in getattr(config, "architectures", None) or []:
        _, is_for, task = name.rpartition("For")
        if name.endswith("ForSequenceClassification"):
            raise ValueError(
                f"{path!r} is a classifier or cross-encoder ({name}): it reads both texts at once, so there are no "
                "two embeddings whose similarity could be explained"
            )
        if "colbert" in name.lower():
            raise ValueError(_late_interaction(path, name))
        if is_for and task not in PRETRAINING:
            raise ValueError(
                f"{path!r} is a {name}, so loading it would drop its head and invent a pooling. That would explain a "
                f"different model. {CHOOSE}"
            )


CHOOSE = (
    "To explain its encoder with a pooling of your choice, pass "
    "SentenceTransformer(modules=[Transformer(path), Pooling(...)]) to XSTransformer.wrap"
)


def _late_interaction(path: str, what: str) -> str:
    return (
        f"{path!r} is a late-interaction model ({what}), which compares the tokens of two texts: it has no embedding "
        "of a text, and that of a made-up pooling is another model's. Load it as an xsbert.XSMultiVectorEncoder, the "
        "explaining class of sentence_transformers.MultiVectorEncoder"
    )


def check_loaded(model: SentenceTransformer, source: Source, *, is_new: bool) -> None:
    """Compare a loaded model with its file, once for each model.

    Args:
        model: a model that has passed `check_supported`.
        source: source of the model.
        is_new: whether it was loaded just now. Otherwise its weights may have been trained since.

    Raises:
        ValueError: the checkpoint is of a late-interaction model, or it lacks weights that the embedding depends on.

    Warns:
        UserWarning: a default pooling was added, or weights were not used.
    """
    first = model[0]
    if not isinstance(first, Transformer) or first.model in _known:
        return
    unused, missing = _differences(first, source)
    if source.is_raw and "linear.weight" in unused:
        raise ValueError(_late_interaction(source.path, "a projection linear.weight beside its encoder"))
    _check_all_trained(model, source, missing, is_new)
    found = []
    if source.is_raw:
        found.append(_made_up(model, source))
    if unused:
        found.append(f"the weights {_listed(unused)} in {source.path!r} are not used")
    if found:
        _warn("; ".join(found) + f". {_advice(first, unused, source.is_raw)}")
    _known.add(first.model)


def check_all_loaded(model: Any, source: Source) -> None:
    """Compare a model that was loaded just now with its file, once for each model.

    Raises:
        ValueError: the checkpoint lacks weights that the embedding depends on.
    """
    first = cast(Transformer, model[0])
    if first.model in _known:
        return
    _, missing = _differences(first, source)
    _check_all_trained(model, source, missing, True)
    _known.add(first.model)


def check_loaded_sparse(model: SparseEncoder, source: Source) -> None:
    """Compare a sparse encoder that was loaded just now with its file, once for each model.

    Raises:
        ValueError: the checkpoint lacks weights that the embedding depends on, such as those of the head.

    Warns:
        UserWarning: a default pooling was added.
    """
    first = cast(Transformer, model[0])
    if first.model in _known:
        return
    check_all_loaded(model, source)
    if source.is_raw:
        _warn(
            f"{source.path!r} has no modules.json, so that the pooling is made up by sentence-transformers: the "
            "maximum of the logits over tokens, as in SPLADE. A masked language model that was not trained for it has "
            "no similarity of its own. To explain another pooling, pass SparseEncoder(modules=[...]) to xsbert.wrap"
        )


def _check_all_trained(model: Any, source: Source, missing: Iterable[str], is_new: bool) -> None:
    """Reject a new model, or warn of another, with weights that were drawn at random."""
    drawn = _acting(model, missing)
    if drawn:
        message = (
            f"the weights {_listed(drawn)} are not in {source.path!r}, and were drawn at random when it was loaded"
        )
        if is_new:
            raise ValueError(f"{message}: the embedding depends on them, so this is not a usable model")
        _warn(f"{message}. Unless they were trained since, explanations are of a random model")


def _made_up(model: SentenceTransformer, source: Source) -> str:
    first, pooling = cast(Transformer, model[0]), cast(Pooling, model[1]).pooling_mode
    saved, loaded = getattr(first.config, "architectures", None), type(first.model).__name__
    kind = f", a {saved[0]} that is loaded as a {loaded}," if saved and saved[0] != loaded else ""
    what = {"mean": "the mean of the last hidden states", "lasttoken": "the last hidden state of the last token"}
    return (
        f"{source.path!r}{kind} has no modules.json, so that the pooling is made up by sentence-transformers: "
        f"{pooling!r}, {what.get(str(pooling), 'its default')}"
    )


def _advice(first: Transformer, unused: Iterable[str], is_raw: bool) -> str:
    """Return advice for the warning."""
    names = " ".join(getattr(first.config, "architectures", None) or [])
    advice = [CHOOSE] if is_raw else []
    if "CausalLM" in names:
        advice.insert(0, "A language model that was not trained to embed texts has no similarity of its own")
    elif "MaskedLM" in names or any("predictions" in name or name.startswith("lm_head") for name in unused):
        advice.insert(
            0,
            "If it is a SPLADE model, which embeds by its masked-language-model head, this is another model: it loads "
            "as an xsbert.XSSparseEncoder",
        )
    elif unused:
        advice.insert(0, "Explanations are of the model without them")
    return ". ".join(advice)


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=caller_level())


def _differences(first: Transformer, source: Source) -> tuple[set[str], set[str]]:
    """Return the names of weights that only the file has, and of those that only the model has.

    transformers reports them only while loading, and sentence-transformers does not request the report. The model is
    therefore loaded again, on the meta device if possible. Both sets are empty for models of other classes, or if the
    file cannot be found.
    """
    network = first.model
    adapted = getattr(network, "peft_config", None)
    if not isinstance(network, PreTrainedModel) or any(name in source.options for name in WEIGHTS_FROM_ELSEWHERE):
        return set(), set()
    path, options = source.path, dict(source.options)
    base = next(iter(adapted.values())).base_model_name_or_path if adapted else None
    if base and base != path:
        # The given options locate the adapter; the weights are those of its base model.
        path = base
        options = {name: value for name, value in options.items() if name not in ("revision", "subfolder")}
    elif not source.is_raw:
        options.setdefault("subfolder", _subfolder(source))
    if find_spec("accelerate") is not None:
        options["device_map"] = "meta"
    try:
        with loading(), _quiet():
            _, found = cast(Any, type(network)).from_pretrained(
                path, config=network.config, output_loading_info=True, ignore_mismatched_sizes=True, **options
            )
    except Exception:
        # The model itself is loaded. Only this comparison fails, for example for a model id without its files.
        return set(), set()
    missing = {*found["missing_keys"], *(entry[0] for entry in found["mismatched_keys"])}
    # If most weights are missing, their names differ, not the weights.
    if 2 * len(missing) > len(network.state_dict()):
        return set(), set()
    return set(found["unexpected_keys"]), missing


def _subfolder(source: Source) -> str:
    """Return the transformer's subfolder by the modules.json."""
    given: dict[str, Any] = dict(source.options)
    file = load_file_path(
        source.path,
        "modules.json",
        token=given.get("token"),
        cache_folder=given.get("cache_dir"),
        revision=given.get("revision"),
        local_files_only=bool(given.get("local_files_only")),
    )
    modules = [] if file is None else json.loads(Path(file).read_text(encoding="utf-8"))
    return modules[0].get("path", "") if modules else ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the reports of transformers in this thread, which the first load has already made."""
    thread = threading.get_ident()

    def is_of_others(record: logging.LogRecord) -> bool:
        return record.thread != thread

    logger = logging.getLogger("transformers.modeling_utils")
    shows_progress = transformers_logging.is_progress_bar_enabled()
    logger.addFilter(is_of_others)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        logger.removeFilter(is_of_others)
        if shows_progress:
            transformers_logging.enable_progress_bar()


def _acting(model: Any, names: Iterable[str]) -> list[str]:
    """Return the named weights that token embeddings depend on; those of a transformer's pooler may have no effect."""
    (copied,) = private_copy([model[0]])
    weights = dict(copied.named_parameters())
    chosen = {
        f"model.{name}": weights[f"model.{name}"].detach().clone().requires_grad_()
        for name in names
        if f"model.{name}" in weights and weights[f"model.{name}"].is_floating_point()
    }
    if not chosen:
        return []
    features = {
        name: value.to(model.device) if isinstance(value, Tensor) else value
        for name, value in model.preprocess(["a"]).items()
    }
    with torch.enable_grad():
        states = torch.func.functional_call(copied, chosen, (features,))["token_embeddings"]
        gradients: Any = torch.autograd.grad(states.float().sum(), list(chosen.values()), allow_unused=True)
    acting = zip(chosen, gradients, strict=True)
    return sorted(name.removeprefix("model.") for name, gradient in acting if gradient is not None)


def _listed(names: Iterable[str], most: int = 4) -> str:
    """Join names of weights. If there are many, those of one module are combined."""
    found = sorted(names)
    if len(found) > most:
        found = list(dict.fromkeys(map(_module_of, found)))
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")


def _module_of(name: str) -> str:
    parts = name.split(".")
    # Include the number of a layer.
    depth = 3 if len(parts) > 3 and parts[2].isdigit() else 2
    return name if len(parts) <= depth else ".".join([*parts[:depth], "*"])
