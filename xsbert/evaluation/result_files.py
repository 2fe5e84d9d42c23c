"""Many results in one file."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import Any

from .._utils.checksummed_safetensors import reading
from ..attribution.attribution import Attribution
from ..attribution.files import read_results, save_results
from ..attribution.pair_result import PairResult
from .methods.result import MethodAttribution

__all__ = ["load_attributions", "save_attributions"]


def save_attributions(results: Iterable[PairResult], path: str | PathLike[str]) -> None:
    """Write results to one safetensors file, in the format of `Attribution.save`.

    The write is atomic and replaces an existing file.

    Args:
        results: At least one result, also of other methods (`MethodAttribution`).
        path: The file.

    Raises:
        TypeError: An entry is no attribution.
        ValueError: There is no result, or one holds numbers that are not finite.
        OSError: The file cannot be written.

    >>> from xsbert import load_attributions, save_attributions
    >>> save_attributions([out, out.words()], folder / "results.safetensors")
    >>> [len(each.tokens_a) for each in load_attributions(folder / "results.safetensors")]
    [7, 7]
    """
    if isinstance(results, PairResult) or not isinstance(results, Iterable):
        raise TypeError(f"results must be a list of attributions, got {type(results).__name__}; one result has save()")
    found: list[Any] = list(results)
    for place, result in enumerate(found):
        if not isinstance(result, (Attribution, MethodAttribution)):
            raise TypeError(f"results[{place}] must be an Attribution, got {type(result).__name__}")
    if not found:
        raise ValueError("results must hold at least one attribution, got none")
    save_results([result.stored() for result in found], path)


def load_attributions(path: str | PathLike[str]) -> list[Attribution | MethodAttribution]:
    """Read the results that `save_attributions` wrote, in their order.

    Args:
        path: The file.

    Returns:
        Results that equal the saved ones, except that `feature_pairs` is not available.

    Raises:
        OSError: The file does not exist or cannot be read.
        ValueError: The file is damaged, holds something else, or has a newer format.

    >>> from xsbert import load_attributions, save_attributions
    >>> save_attributions([out], folder / "one.safetensors")
    >>> load_attributions(folder / "one.safetensors")[0].score == out.score
    True
    """
    with reading(path, "file of results"):
        found = read_results(path, Attribution.__name__, MethodAttribution.__name__)
        return [(MethodAttribution if other else Attribution).of_fields(fields) for other, fields in found]
