"""Conversion between factors or attributions and Arrow columns. A row can be used without the model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from .._utils.json_fields import read_fields, require
from ..attribution.attribution import Attribution
from ..attribution.scale import length_of
from ..attribution.similarity import similarity_hint
from ..factors.text_factors import Settings, TextFactors
from ..view.effects import top_pairs
from .schema import SIDE_FIELDS

__all__ = [
    "attribution_of_row",
    "contributions",
    "factors_of_row",
    "factors_row",
    "highlights_of_row",
    "highlights_row",
    "pairs_row",
    "side_of_row",
]

# Largest relative rounding error of stored factors. Half precision rounds by 2e-4 within its range.
MOST_ROUNDING = 1e-2


def _side(text: TextFactors) -> dict[str, Any]:
    """Returns the values of `SIDE_FIELDS`."""
    spans = None if text.spans is None else np.array(text.spans, np.int32).reshape(-1, 2)
    return {
        "prompt": text.prompt,
        "encoded_by": text.encoded_by,
        "tokens": text.tokens,
        "roles": text.roles,
        "word_ids": text.word_ids,
        "starts": None if spans is None else spans[:, 0],
        "ends": None if spans is None else spans[:, 1],
        "n_cut": text.n_cut,
        "residual": text.residual,
        "factor_error": text.factor_error,
    }


def _settings(settings: Settings | None, **more: Any) -> str:
    assert settings is not None
    return json.dumps({**asdict(settings), **more}, allow_nan=False, separators=(",", ":"))


def factors_row(text: TextFactors, dtype: str) -> dict[str, Any]:
    """Returns the row of one text with its factors.

    Raises:
        ValueError: a number is too large for the dtype, or the numbers are so small that rounding loses most of them.
    """
    with np.errstate(over="ignore", under="ignore"):
        factors = text.factors.astype(dtype)
    if not np.isfinite(factors).all():
        raise ValueError(f"a factor of {np.abs(text.factors).max():.3g} does not fit into {dtype}")
    lost, length = (float(np.linalg.norm(each)) for each in (factors.astype(np.float64) - text.factors, text.factors))
    if lost > MOST_ROUNDING * length:
        raise ValueError(
            f"factors of at most {np.abs(text.factors).max():.3g} are too small for {dtype}, which changes them by "
            f"{lost / length:.1%}"
        )
    return {
        **_side(text),
        "factors": factors,
        "embedding": text.embedding,
        "reference_term": text.reference_term if text.reference_term.any() else None,
        "unshifted": text.embedding_unshifted,
        "normalisation": text.normalisation,
        "settings": _settings(text.settings),
    }


def pairs_row(out: Attribution, top_k: int | None) -> dict[str, Any]:
    """Returns the row of one pair: its parts, the contributions of units, and the matrix or its strongest cells."""
    row = {
        "score": out.score,
        "score_unshifted": out.score_unshifted,
        "interactions": out.parts["interactions"],
        "baseline": out.baseline,
        "error": out.error,
        "settings": _settings(out.settings, similarity=out.similarity),
    }
    effects = {"a": out.main_effects_a, "b": out.main_effects_b}
    for (side, text), shares in zip((("a", out.a), ("b", out.b)), contributions(out), strict=True):
        described = {**_side(text), "contributions": shares, "main_effects": effects[side]}
        row |= {f"{name}_{side}": value for name, value in described.items()}
    if top_k is None:
        return {**row, "matrix": out.matrix}
    return {**row, "top": _top(out, top_k)}


def contributions(out: Attribution) -> tuple[np.ndarray, np.ndarray]:
    """Returns (S,) and (T,) contributions: half of a unit's interactions plus its main effect.

    With the baseline they sum to the score.
    """
    return 0.5 * out.matrix.sum(1) + out.main_effects_a, 0.5 * out.matrix.sum(0) + out.main_effects_b


def _top(out: Attribution, k: int) -> list[dict[str, Any]]:
    """Returns the k cells of largest absolute value between units of the texts themselves."""
    return [{"a": s, "b": t, "value": value} for s, t, value in top_pairs(out, k, special_tokens=False)]


def highlights_row(query: np.ndarray, document: TextFactors, along: np.ndarray, similarity: str) -> dict[str, Any]:
    """Returns the row with the contribution of each unit of a document to its score for a query.

    Args:
        query: (E,) the query's embedding e_q.
        document: a document of T units.
        along: (T,) V_d e_q, the document's factors times the query.
    """
    shares, baseline, score = _highlights(query, document, along, similarity)
    return {
        **_side(document),
        "score": score,
        "contributions": shares,
        "baseline": baseline,
        "error": abs(score - shares.sum() - baseline),
        "settings": _settings(document.settings, similarity=similarity),
    }


def _highlights(
    query: np.ndarray, document: TextFactors, along: np.ndarray, similarity: str
) -> tuple[np.ndarray, float, float]:
    """Returns (T,) V_d e_q / c, f(r_d)·e_q / c, and their sum, the score."""
    if similarity not in ("cosine", "dot"):
        raise ValueError(f"similarity must be 'cosine' or 'dot', got {similarity!r}{similarity_hint(similarity)}")
    query = np.asarray(query, np.float64)
    length = float(np.linalg.norm(query))
    if document.outputs is not None:
        query = document.outputs.picked(query)
    require(
        query.shape == document.embedding.shape, f"query must have shape {document.embedding.shape}, got {query.shape}"
    )
    scale = document.normalisation
    if similarity == "cosine":
        scale = length * length_of(document, "cosine")
    require(scale > 0, "the cosine of a zero embedding is not defined")
    direction = query / scale
    return (
        along / scale,
        float(document.reference_term @ direction),
        float(document.embedding @ direction),
    )


def side_of_row(row: Mapping[str, Any], text: str, suffix: str = "", **fields: Any) -> TextFactors:
    """Returns a text of a row, with factors from the caller.

    Args:
        row: a row, by column name.
        text: name of the column of the text.
        suffix: ``"_a"`` or ``"_b"`` for a row of pairs.
        **fields: fields of `TextFactors` that the row does not store.

    Raises:
        ValueError: the row could not be explained, or lacks columns.
    """
    if row.get("reason") is not None:
        raise ValueError(f"row {row.get('row')} could not be explained: {row['reason']}")
    wanted = [text, *(f"{name}{suffix}" for name in SIDE_FIELDS), "settings"]
    missing = [name for name in wanted if name not in row]
    require(not missing, f"the row lacks the columns {', '.join(missing)}")
    starts, ends, words = (row[f"{name}{suffix}"] for name in ("starts", "ends", "word_ids"))
    prompt = row[f"prompt{suffix}"]
    settings = json.loads(row["settings"])
    settings.pop("similarity", None)
    return TextFactors(
        text=prompt + row[text],
        prompt=prompt,
        encoded_by=row[f"encoded_by{suffix}"],
        tokens=tuple(row[f"tokens{suffix}"]),
        roles=tuple(row[f"roles{suffix}"]),
        word_ids=None
        if words is None
        else tuple(None if word is None or word != word else int(word) for word in words),
        spans=None if starts is None else tuple((int(s), int(e)) for s, e in zip(starts, ends, strict=True)),
        n_cut=int(row[f"n_cut{suffix}"]),
        factor_error=row[f"factor_error{suffix}"],
        settings=read_fields(Settings, settings),
        **fields,
    )


def factors_of_row(row: Mapping[str, Any]) -> TextFactors:
    """Returns the factors of a row of ``what="factors"``, read by pyarrow, `datasets`, LanceDB, pandas or others.

    `Attribution.of` combines any two of them, without the model. The precision is that of the stored factors.

    Args:
        row: a row, by column name.

    Raises:
        ValueError: the row could not be explained, or lacks columns.
    """
    row = _plain(row)
    if row.get("reason") is None:
        missing = [name for name in ("factors", "embedding", "normalisation") if row.get(name) is None]
        require(not missing, f"the row lacks the columns {', '.join(missing)}; it is none of what='factors'")
    read: Callable[[str], np.ndarray | None] = lambda name: _vector(row.get(name))  # noqa: E731
    embedding = read("embedding")
    reference_term = read("reference_term")
    return side_of_row(
        row,
        "text",
        factors=None if embedding is None else np.array([*row["factors"]], np.float64),
        embedding=embedding,
        reference_term=np.zeros_like(embedding) if reference_term is None and embedding is not None else reference_term,
        embedding_unshifted=read("unshifted"),
        normalisation=row.get("normalisation"),
    )


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the row with None for NaN, which pandas uses for null. Rows contain no NaN otherwise."""
    return {name: None if isinstance(value, float) and value != value else value for name, value in row.items()}


def _vector(values: Any) -> np.ndarray | None:
    return None if values is None else np.asarray(values, np.float64)


def highlights_of_row(
    row: Mapping[str, Any], query: np.ndarray, similarity: str = "cosine"
) -> tuple[TextFactors, np.ndarray, float]:
    """Computes the contributions of a hit's units to its score for a query, from stored factors without the model.

    Args:
        row: row of a document, as for `factors_of_row`, such as an index returns.
        query: (E,) embedding of the query, as used with the index.
        similarity: ``"cosine"`` or ``"dot"``.

    Returns:
        The document; (T,) contributions of its units to the score; and the baseline, the similarity of the document's
        reference to the query. All contributions and the baseline sum to the score, up to the integration error and
        the precision of the stored factors.

    Raises:
        ValueError: the row is not a row of factors or could not be explained, or the query has another width.
    """
    document = factors_of_row(row)
    query = np.asarray(query, np.float64)
    shape = document.embedding.shape
    require(query.shape == shape, f"query must have shape {shape}, got {query.shape}")
    shares, baseline, _ = _highlights(query, document, document.factors @ query, similarity)
    return document, shares, baseline


def attribution_of_row(row: Mapping[str, Any]) -> Attribution:
    """Returns the attribution of a row of ``what="pairs"`` without ``top_k``.

    Matrix (in float32), main effects, parts, score and errors are the stored ones, and `words` and `spans` sum them.
    The factors reproduce these numbers in as few dimensions as possible, so they are valid only for this pair.

    Args:
        row: a row, by column name.

    Raises:
        ValueError: the row could not be explained, or has no matrix.
    """
    row = _plain(row)
    if row.get("reason") is None:
        require(
            row.get("matrix") is not None,
            "the row keeps no matrix: it is one of what='pairs' with top_k, or of another kind",
        )
    similarity = json.loads(row["settings"])["similarity"] if row.get("settings") else "cosine"
    a, b = (_stand_in(row, side, similarity) for side in "ab")
    return Attribution.of(a, b, similarity)


def _stand_in(row: Mapping[str, Any], side: str, similarity: str) -> TextFactors:
    """Returns factors in T + 3 dimensions. Their products are the matrix, the effects, the baseline and the score.

    The first T dimensions are the units of b, the next is b's reference, the last two hold both embeddings.
    """
    if row.get("reason") is not None:
        return side_of_row(row, f"text_{side}")
    matrix = np.array([*row["matrix"]], np.float64)
    main_a, main_b = (np.asarray(row[f"main_effects_{name}"], np.float64) for name in "ab")
    n_b, score = len(main_b), row["score"]
    width = n_b + 3
    factors = np.zeros((len(main_a) if side == "a" else n_b, width))
    reference, embedding = np.zeros(width), np.zeros(width)
    if side == "a":
        factors[:, :n_b], factors[:, n_b] = matrix, main_a
        reference[:n_b], reference[n_b] = main_b, row["baseline"]
        embedding[-2] = 1.0
    else:
        factors[:, :n_b] = np.eye(n_b)
        reference[n_b] = 1.0
        embedding[-2] = score
        if similarity == "cosine":
            embedding[-1] = np.sqrt(max(0.0, 1.0 - score**2))
    unshifted = None
    if row.get("score_unshifted") is not None:
        own = row["score_unshifted"]
        unshifted = np.array([1.0, 0.0] if side == "a" else [own, np.sqrt(max(0.0, 1.0 - own**2))])
    return side_of_row(
        row,
        f"text_{side}",
        f"_{side}",
        factors=factors,
        embedding=embedding,
        reference_term=reference,
        embedding_unshifted=unshifted,
        normalisation=1.0,
        known_residual=row[f"residual_{side}"],
    )
