"""Find the changes of meaning that a model's scores do not show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._utils.sequences import as_entries
from ..._utils.tables import as_table
from ..._utils.validation import check_one_of, checked_integer, checked_real
from ...attribution.similarity import resolved_similarity
from ...engine.options import takes_options
from ...engine.pairing import pairs_of, two_texts
from ...models.comparing import ComparingModel
from ...models.pair_inputs import Sides, sides_of
from .cells import with_cells
from .edits import CHANGING, KEEPING, Edit, check_language, edits_of
from .results import EditEffect
from .scoring import Scorer
from .table import BlindSpots, checked_limits, described

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ...engine import OptionKeywords

__all__ = ["assert_not_blind", "blind_spots"]

N_FAILURES_SHOWN = 3


@dataclass(frozen=True)
class _Given:
    """A text to edit and the other text of its score."""

    text: str
    other: str
    place: int
    side: str


@takes_options
def blind_spots(
    model: ComparingModel,
    texts: Any,
    *,
    kinds: Sequence[str] | None = None,
    quantile: float = 0.9,
    threshold: float | None = None,
    explain: int | None = None,
    language: str = "en",
    similarity: str | None = None,
    prompt: Sides = None,
    prompt_name: Sides = None,
    task: Sides = None,
    **options: Unpack[OptionKeywords],
) -> BlindSpots:
    """Find edits that change the meaning of a text and hardly move the model's score.

    Each text is edited by the rules of `CHANGING` and of `KEEPING`, at most once by each. A text by itself is scored
    against its edited version. Of a pair, either text is edited, and the score with the other text is compared before
    and after. An edit that changes the meaning and moves the score by no more than the threshold is a collapse.

    The threshold is a quantile of how far the edits that keep the meaning move the scores of the same texts. Each kind
    of them has equal weight. Those that leave the model's tokens as they are, such as small letters for a model that
    ignores case, are left out.

    Args:
        model: not modified.
        texts: n English texts; or n pairs of texts, as for `explain_pairs`. Equal ones count once. Take texts of one
            kind and length, some dozens at least: an edit of one word moves the score of a long text less.
        kinds: names in `CHANGING`; None takes all.
        quantile: of the meaning-keeping changes, above 0 and at most 1.
        threshold: in units of the score, in place of the quantile.
        explain: number of collapses to explain: the smallest change of each kind, then the second, and so on. None
            explains all. An explanation takes the factors of two or three texts.
        language: ``"en"``. There are no rules for other languages.
        similarity: ``"cosine"`` or ``"dot"``; None uses the model's own.
        prompt, prompt_name, task: as for `explain_pairs`.
        **options: of the explanations; see `Options`.

    Returns:
        a table with a row for each kind, and all edits.

    Raises:
        TypeError: ``texts`` holds neither texts nor pairs.
        ValueError: there are no texts, a text is empty, the language or a kind is unknown, a number is out of range,
            no text has anything that an edit could change, or no edit keeps the meaning and ``threshold`` is None.

    >>> found = blind_spots(model, ["The door is open.", "Two men met in Paris in 2019."], explain=0)
    >>> found.n_texts, found.rate("negation").n, found.rate("number").n
    (2, 1, 1)
    """
    check_language(language)
    chosen = _checked_kinds(kinds)
    quantile = _checked_quantile(quantile)
    if threshold is not None and checked_real(threshold, "threshold") < 0:
        raise ValueError(f"threshold must be at least 0, got {threshold}")
    explain = checked_integer(explain, "explain", least=0, optional=True)
    given, pairs = _given(texts)
    explainer = model.explainer(**options)
    similarity = resolved_similarity(similarity, model.similarity_fn_name)
    sides = sides_of(explainer, prompt, prompt_name, task)
    scorer = Scorer(model, explainer, sides, similarity, explainer.options.show_progress_bar)
    kept, n_cut = _readable(given, scorer, pairs)
    edits = [(each, edit) for each in kept for edit in edits_of(each.text, (*chosen, *KEEPING))]
    edits = [(each, edit) for each, edit in edits if scorer.tokens(edit.after, each.side) is not None]
    if not any(edit.kind in CHANGING for _, edit in edits):
        raise ValueError(f"no text has anything that an edit could change: {len(kept)} texts, {', '.join(chosen)}")
    effects = _scored(scorer, kept, edits)
    limit = _calibrated(effects, quantile) if threshold is None else float(threshold)
    made = {kind: sum(edit.kind == kind for _, edit in edits) for kind in (*chosen, *KEEPING)}
    changed = {each.place for each, edit in edits if edit.kind in CHANGING}
    table = BlindSpots(
        model=model.label,
        similarity=similarity,
        language=language,
        n_texts=len({each.place for each in kept}),
        n_cut=n_cut,
        pairs=pairs,
        threshold=limit,
        quantile=quantile if threshold is None else None,
        effects=tuple(effects),
        kinds=chosen,
        n_untouched={kind: len(kept) - n for kind, n in made.items()},
        n_without=len({each.place for each in kept} - changed),
        unrelated=_unrelated(scorer, kept),
    )
    how: dict[str, Any] = {
        "similarity": similarity,
        "prompt": prompt,
        "prompt_name": prompt_name,
        "task": task,
        **options,
    }
    return _with_explanations(model, table, explain, how, explainer.options.show_progress_bar)


def assert_not_blind(
    model: ComparingModel,
    texts: Any,
    *,
    fail_above: float | Mapping[str, float] = 0.2,
    against: ComparingModel | None = None,
    explain: int | None = N_FAILURES_SHOWN,
    **how: Any,
) -> BlindSpots:
    """Raise AssertionError if a model collapses too often. For tests, such as those of a new version of a model.

    Args:
        model, texts, explain: as for `blind_spots`.
        fail_above: largest share of collapses of a kind, between 0 and 1; or one for each kind that matters, such as
            ``{"negation": 0.3, "number": 0.2}``.
        against: another model, such as the one in use. The test then also fails on a kind of which ``model`` collapses
            more often than it, with a 95 % interval above zero.
        **how: as for `blind_spots`.

    Returns:
        the table of ``model``.

    Raises:
        AssertionError: a kind collapses too often, or the scores do not tell the texts apart. The message has the
            shares and the worst collapses.
        TypeError, ValueError: as for `blind_spots` and `BlindSpots.failures`.

    >>> table = assert_not_blind(model, ["The water is hot.", "The exam was easy."], fail_above=1, explain=0)
    """
    checked_limits(fail_above, _checked_kinds(how.get("kinds")))
    table = blind_spots(model, texts, explain=explain, **how)
    failures = table.failures(fail_above)
    problems = [f"{kind}: {rate} of {rate.n} edits collapse" for kind, rate in failures.items()]
    if not table.separates:
        problems.append(table.sentence)
    if against is not None:
        comparison = table.compare(blind_spots(against, texts, explain=0, **how))
        problems += [
            f"{row.kind}: {row.one.value:.2f} collapse, {row.other.value:.2f} of {comparison.other_model}"
            for row in comparison.worse
        ]
    if problems:
        shown = [effect for effect in table.collapses() if effect.edit.kind in failures][:N_FAILURES_SHOWN]
        lines = [f"{table.model} is blind (threshold {table.threshold:.4f}):", *problems, *map(described, shown)]
        raise AssertionError("\n".join(lines))
    return table


def _checked_kinds(kinds: Sequence[str] | None) -> tuple[str, ...]:
    if kinds is None:
        return tuple(CHANGING)
    if isinstance(kinds, str):
        raise ValueError(f"kinds must be a list of names, got {kinds!r}")
    found = as_entries(kinds, "kinds", "names")
    for place, kind in enumerate(found):
        check_one_of(kind, f"kinds[{place}]", CHANGING)
    if not found:
        raise ValueError("kinds must hold one name at least, got none")
    return tuple(dict.fromkeys(found))


def _checked_quantile(quantile: float) -> float:
    found = checked_real(quantile, "quantile")
    if not 0 < found <= 1:
        raise ValueError(f"quantile must be above 0 and at most 1, got {quantile}")
    return found


def _given(texts: Any) -> tuple[list[_Given], bool]:
    """Returns the texts to edit, and whether they come in pairs."""
    entries: Any = texts if as_table(texts) is not None else as_entries(texts, "texts", "texts or pairs of texts")
    if isinstance(entries, list) and all(isinstance(entry, str) for entry in entries):
        found = [_Given(text, text, place, "a") for place, text in enumerate(entries)]
        first = {text: place for place, text in reversed([*enumerate(entries)])}
        found, pairs = [each for each in found if first[each.text] == each.place], False
    else:
        both = [two_texts(pair, place) for place, pair in enumerate(pairs_of(entries))]
        first_pair = {pair: place for place, pair in reversed([*enumerate(both)])}
        found = [
            each
            for place, (a, b) in enumerate(both)
            if first_pair[a, b] == place
            for each in (_Given(a, b, place, "a"), _Given(b, a, place, "b"))
        ]
        pairs = True
    if not found:
        raise ValueError("texts must hold at least one text, got none")
    return found, pairs


def _readable(given: list[_Given], scorer: Scorer, pairs: bool) -> tuple[list[_Given], int]:
    """Returns the texts that the model reads to the end, and the number of texts or pairs that it does not."""
    cut = set()
    for each in given:
        name = f"pairs[{each.place}][{'ab'.index(each.side)}]" if pairs else f"texts[{each.place}]"
        if scorer.tokens(each.text, each.side, name) is None:
            cut.add(each.place)
    return [each for each in given if each.place not in cut], len(cut)


def _scored(scorer: Scorer, kept: Sequence[_Given], edits: Iterable[tuple[_Given, Edit]]) -> list[EditEffect]:
    edits = [*edits]
    opposite = {"a": "b", "b": "a"}
    wanted = [pair for each in kept for pair in ((each.text, each.side), (each.other, opposite[each.side]))]
    scorer.embed([*wanted, *((edit.after, each.side) for each, edit in edits)])
    return [
        EditEffect(
            edit,
            each.place,
            each.side,
            each.other,
            scorer.score(each.text, each.side, each.other),
            scorer.score(edit.after, each.side, each.other),
            scorer.tokens(each.text, each.side) == scorer.tokens(edit.after, each.side),
        )
        for each, edit in edits
    ]


def _calibrated(effects: Sequence[EditEffect], quantile: float) -> float:
    """Returns the quantile of the meaning-keeping changes, with equal weight for each kind."""
    seen = [each for each in effects if not each.changes_meaning and not each.same_tokens]
    if not seen:
        raise ValueError(
            "the threshold cannot be calibrated: no edit that keeps the meaning changes a token of these texts; give a "
            "threshold"
        )
    kinds = [each.edit.kind for each in seen]
    weights = np.array([1 / kinds.count(kind) for kind in kinds])
    changes = np.array([each.change for each in seen])
    order = np.argsort(changes, kind="stable")
    reached = np.cumsum(weights[order]) / weights.sum()
    # The sum of weights may miss 1 by rounding.
    return float(changes[order][min(np.searchsorted(reached, quantile - 1e-12), len(order) - 1)])


def _unrelated(scorer: Scorer, kept: Sequence[_Given]) -> float:
    """Returns the median change of the score when the next text takes the place of each text."""
    changes = []
    for side in "ab":
        own = [each for each in kept if each.side == side]
        for each, following in zip(own, [*own[1:], *own[:1]], strict=True):
            if following.text != each.text:
                before = scorer.score(each.text, side, each.other)
                changes.append(abs(scorer.score(following.text, side, each.other) - before))
    return float(np.median(changes)) if changes else float("nan")


def _with_explanations(
    model: ComparingModel, table: BlindSpots, explain: int | None, how: dict[str, Any], show: bool | None
) -> BlindSpots:
    chosen = [effect for _, effect in _worst_first(table)][:explain]
    known = {each.key: each for each in with_cells(model, chosen, table.threshold, how, show)}
    return replace(table, effects=tuple(known.get(each.key, each) for each in table.effects))


def _worst_first(table: BlindSpots) -> list[tuple[int, EditEffect]]:
    """Returns the smallest change of each kind, then the second of each, and so on."""
    ranked = [found for kind in table.kinds for found in enumerate(table.collapses(kind))]
    return sorted(ranked, key=lambda found: (found[0], found[1].change))
