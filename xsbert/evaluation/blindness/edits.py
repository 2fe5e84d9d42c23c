"""Edits of English texts by rule: some change the meaning, others keep it.

A rule works on words and small lists, without a parser. It makes the first edit of its kind that a text allows, or
none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest

from ..._utils.validation import check_one_of
from . import words as lists

__all__ = ["CHANGING", "KEEPING", "LANGUAGES", "Edit", "Replacement", "check_language", "edits_of"]

LANGUAGES = ("en",)
WORD = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*")
NUMBER = re.compile(r"(?<![\w.,:/\-])\d+(?:[.,]\d+)*(?![\w:/\-]|[.,]\d)")
YEAR = re.compile(r"(?<![\w.,:/\-$€£])(?:1[5-9]|20)\d\d(?![\w:/]|[.,]\d)")
# Words and signs before a year. Other numbers of four digits count something.
BEFORE_YEAR = re.compile(r"(?:\b(?:in|since|of|until|till|by|from|to|during|after|before|year|and)|[(–,])\s*$", re.I)
FEWEST_WORDS_TO_ORDER = 4
# In a headline capital letters name nothing.
MOST_CAPITALS = 0.6


@dataclass(frozen=True)
class Replacement:
    """A stretch of a text and what takes its place."""

    start: int
    """First character in the text; ``end`` is the one behind its last. They are equal for an insertion."""
    end: int
    new: str


@dataclass(frozen=True)
class Edit:
    """A text and an edited version of it."""

    kind: str
    """A name in `CHANGING` or `KEEPING`."""
    before: str
    after: str
    spans_before: tuple[tuple[int, int], ...]
    """Characters [start, end) of the text that the edit replaces; empty for an insertion."""
    spans_after: tuple[tuple[int, int], ...]
    """Characters [start, end) of the edited text that replace them, in the same order; empty for a deletion."""

    @property
    def changes(self) -> tuple[tuple[str, str], ...]:
        """What each replaced stretch was and what it became."""
        spans = zip(self.spans_before, self.spans_after, strict=True)
        return tuple((self.before[a:b], self.after[c:d]) for (a, b), (c, d) in spans)

    @property
    def label(self) -> str:
        """The changes in a line: ``"hot → cold"``, ``"+not"`` or ``"−not"``."""
        shown = []
        for old, new in self.changes:
            old, new = old.strip(), new.strip()
            shown.append(f"{old} → {new}" if old and new else f"+{new}" if new else f"−{old}")
        return ", ".join(shown)


def check_language(language: str) -> None:
    """Raises ValueError for a language without rules.

    >>> check_language("de")
    Traceback (most recent call last):
    ValueError: language must be one of 'en', got 'de': the edits have rules for English alone
    """
    try:
        check_one_of(language, "language", LANGUAGES)
    except ValueError as error:
        raise ValueError(f"{error}: the edits have rules for English alone") from None


def edits_of(text: str, kinds: Iterable[str]) -> list[Edit]:
    """Returns the edits of a text, at most one of each kind.

    Args:
        text: an English text.
        kinds: names in `CHANGING` and `KEEPING`.

    >>> [(edit.kind, edit.after) for edit in edits_of("The door is open.", ["negation", "antonym", "number"])]
    [('negation', 'The door is not open.'), ('antonym', 'The door is closed.')]
    """
    found = []
    rules = {**CHANGING, **KEEPING}
    for kind in kinds:
        replacements = rules[kind].make(text)
        edit = _applied(kind, text, replacements) if replacements else None
        if edit is not None and edit.after != text:
            found.append(edit)
    return found


def _applied(kind: str, text: str, replacements: Sequence[Replacement]) -> Edit:
    pieces, before, after = [], [], []
    at = length = 0
    for each in sorted(replacements, key=lambda each: each.start):
        pieces += [text[at : each.start], each.new]
        length += each.start - at
        before.append((each.start, each.end))
        after.append((length, length + len(each.new)))
        length += len(each.new)
        at = each.end
    return Edit(kind, text, "".join([*pieces, text[at:]]), tuple(before), tuple(after))


@dataclass(frozen=True)
class Word:
    """A word of a text and where it stands."""

    text: str
    start: int
    end: int
    begins_sentence: bool

    @property
    def lower(self) -> str:
        return self.text.lower().replace("’", "'")

    @property
    def is_plain(self) -> bool:
        """Whether the word is in lower case, up to a capital at the beginning of a sentence: no name."""
        return self.text == self.text.lower() or (self.begins_sentence and self.text == self.text.capitalize())

    def to(self, new: str) -> Replacement:
        """Returns the replacement of the word, with a capital letter where it has one."""
        return Replacement(self.start, self.end, new[:1].upper() + new[1:] if self.text[0].isupper() else new)


def _words(text: str) -> list[Word]:
    found = []
    for match in WORD.finditer(text):
        before = text[: match.start()].rstrip(" \t\r\n\"'“”‘’([")
        found.append(Word(match[0], match.start(), match.end(), not before or before[-1] in ".!?:"))
    return found


def _negation(text: str) -> list[Replacement]:
    words = _words(text)
    for word in words:
        if word.lower == "not" and not text[word.end :].lstrip().lower().startswith("only"):
            end = word.end + (text[word.end : word.end + 1] == " ")
            return [Replacement(word.start, end, "")]
        if word.lower.endswith("n't"):
            stem = {"won't": "will", "can't": "can", "shan't": "shall"}.get(word.lower, word.text[:-3])
            return [word.to(stem)]
        if word.lower == "cannot":
            return [word.to("can")]
    for word, following in zip_longest(words, words[1:]):
        if word.begins_sentence or word.text != word.lower or (following and following.lower in ("not", "only")):
            continue
        if word.lower in lists.AUXILIARIES and following is not None:
            return [Replacement(word.end, word.end, " not")]
    for previous, word in pairwise(words):
        # Forms that are participles as well are verbs behind a name or a pronoun.
        has_subject = previous.lower in lists.PRONOUNS or previous.text[0].isupper()
        auxiliary, base = lists.VERBS.get(word.text, ("did", lists.PARTICIPLES.get(word.text) if has_subject else None))
        if base is not None:
            return [Replacement(word.start, word.end, f"{auxiliary} not {base}")]
    return []


def _is_year(text: str, start: int, end: int) -> bool:
    match = YEAR.match(text, start)
    return (
        match is not None
        and match.end() == end
        and bool(BEFORE_YEAR.search(text[:start]) or _month_before(text, start))
    )


def _month_before(text: str, start: int) -> bool:
    return text[:start].rstrip(" ,").endswith(lists.MONTHS)


def _number(text: str) -> list[Replacement]:
    found: list[Replacement] = []
    for match in NUMBER.finditer(text):
        if _is_year(text, match.start(), match.end()) or _month_before(text, match.start()):
            continue
        # Another first digit, of the same length.
        first = "4567891234"[int(match[0][0])]
        found.append(Replacement(match.start(), match.end(), first + match[0][1:]))
    found += [word.to(lists.NUMBERS[word.lower]) for word in _words(text) if word.lower in lists.NUMBERS]
    return sorted(found, key=lambda each: each.start)[:1]


def _date(text: str) -> list[Replacement]:
    found = []
    for match in YEAR.finditer(text):
        if _is_year(text, match.start(), match.end()):
            found.append(Replacement(match.start(), match.end(), str(int(match[0]) - 14)))
    for word in _words(text):
        for names, step in ((lists.MONTHS, 5), (lists.WEEKDAYS, 3)):
            if word.text not in names:
                continue
            beside = re.search(r"\d\W{0,3}$", text[: word.start]) or re.match(r"\W{0,3}\d", text[word.end :])
            if word.text in ("May", "March") and not beside:
                continue
            found.append(word.to(names[(names.index(word.text) + step) % len(names)]))
    return sorted(found, key=lambda each: each.start)[:1]


def _entity(text: str) -> list[Replacement]:
    names = _names(text)
    for place, (start, end) in enumerate(names):
        for other_start, other_end in names[place + 1 :]:
            one, other = text[start:end], text[other_start:other_end]
            between = {word.text for word in _words(text[end:other_start]) if word.text == word.lower}
            if one in other or other in one or not between - lists.SYMMETRIC:
                continue
            return [Replacement(start, end, other), Replacement(other_start, other_end, one)]
    return []


def _names(text: str) -> list[tuple[int, int]]:
    """Returns the stretches of words with capital letters that name something, dates left out."""
    runs: list[list[Word]] = []
    words = _words(text)
    if sum(word.text[0].isupper() for word in words) > MOST_CAPITALS * len(words):
        return []
    for word in words:
        is_name = word.text[0].isupper() and word.text not in (*lists.MONTHS, *lists.WEEKDAYS)
        is_name = is_name and word.lower.partition("'")[0] != "i"
        if not is_name or (word.begins_sentence and word.lower.partition("'")[0] in lists.FUNCTION_WORDS):
            continue
        if runs and text[runs[-1][-1].end : word.start] in (" ", "-"):
            runs[-1].append(word)
        else:
            runs.append([word])
    found = []
    for run in runs:
        alone = len(run) == 1 and run[0].begins_sentence
        # A single word at the beginning of a sentence is a name only where a verb or a genitive follows.
        if alone and not _verb_follows(text, run[0]):
            continue
        end = run[-1].end - (2 if re.search(r"['’]s$", run[-1].text) else 0)
        found.append((run[0].start, end))
    return found


def _verb_follows(text: str, word: Word) -> bool:
    if re.search(r"['’]s$", word.text):
        return True
    following = WORD.match(text[word.end :].lstrip()) if text[word.end : word.end + 1] == " " else None
    if following is None or word.lower.endswith("s") or word.lower.endswith("ing"):
        return False
    verb = following[0]
    known = any(verb in each for each in (lists.AUXILIARIES, lists.VERBS, lists.PARTICIPLES, ("has", "had")))
    return known or (verb.endswith("ed") and len(verb) > 3)


def _exchanged(text: str, known: dict[str, str]) -> list[Replacement]:
    """Exchanges the first word or pair of words that a list holds, unless its partner stands in the text as well."""
    words = _words(text)
    held = {word.lower for word in words}
    previous = None
    for word, following in zip_longest(words, words[1:]):
        if word.is_plain:
            two = f"{word.lower} {following.lower}" if following is not None else ""
            if following is not None and two in known:
                both = Word(text[word.start : following.end], word.start, following.end, word.begins_sentence)
                return [both.to(known[two])]
            if word.lower in known and known[word.lower] not in held:
                return [*_article(previous, known[word.lower]), word.to(known[word.lower])]
        previous = word
    return []


def _article(word: Word | None, new: str) -> list[Replacement]:
    """Returns the other form of "a" or "an" where the new word asks for it."""
    article = "an" if new[0] in "aeiou" and new[:3] not in ("uni", "use") else "a"
    return [word.to(article)] if word is not None and word.lower in ("a", "an") and word.lower != article else []


def _quantifier(text: str) -> list[Replacement]:
    # "the most popular" and "a few" are left alone.
    return _exchanged(text, lists.QUANTIFIERS) if not _after_article(text, lists.QUANTIFIERS) else []


def _modal(text: str) -> list[Replacement]:
    # "the will", "a can" and "must not", which negation exchanges.
    return [] if _after_article(text, lists.MODALS) else _exchanged(text, lists.MODALS)


def _after_article(text: str, known: dict[str, str]) -> bool:
    """Whether the first word that a list holds follows an article or a possessive."""
    words = _words(text)
    before = ""
    for word in words:
        if word.is_plain and word.lower in known:
            return before in ("a", "an", "the", "his", "her", "its", "their", "our", "my", "your", "free")
        before = word.lower
    return False


def _antonym(text: str) -> list[Replacement]:
    return _exchanged(text, lists.ANTONYMS)


def _order(text: str) -> list[Replacement]:
    words = _words(text)
    last = text.rstrip(' .!?\n"”')
    for word in words:
        if word.text in lists.PIVOTS and not word.begins_sentence:
            left, right = text[: word.start].rstrip(" ,"), text[word.end : len(last)].lstrip()
            if len(WORD.findall(left)) > 1 and len(WORD.findall(right)) > 1 and not re.search(r"[.!?]\s", left + right):
                begin = len(last) - len(right)
                return [
                    Replacement(0, len(left), right[:1].upper() + right[1:]),
                    Replacement(begin, len(last), _without_capital(left, words[0])),
                ]
    return _reversed(text)


def _without_capital(text: str, first: Word) -> str:
    plain = first.lower in lists.FUNCTION_WORDS and first.text != "I"
    return text[:1].lower() + text[1:] if plain else text


def _reversed(text: str) -> list[Replacement]:
    """Puts the words of the first sentence that is long enough in reverse order."""
    sentences: list[list[re.Match[str]]] = [[]]
    for match in re.finditer(r"\w+(?:[.,'’\-]\w+)*", text):
        if sentences[-1] and re.search(r"[.!?]", text[sentences[-1][-1].end() : match.start()]):
            sentences.append([])
        sentences[-1].append(match)
    for words in sentences:
        if len(words) >= FEWEST_WORDS_TO_ORDER:
            return [
                Replacement(one.start(), one.end(), other[0])
                for one, other in zip(words, words[::-1], strict=True)
                if one[0] != other[0]
            ]
    return []


def _case(text: str) -> list[Replacement]:
    """Puts words into lower case, abbreviations left out; where there are no capitals, capitalises the first word."""
    words = _words(text)
    capital = [word for word in words if word.text[0].isupper() and (len(word.text) == 1 or not word.text.isupper())]
    if capital:
        return [Replacement(word.start, word.end, word.text.lower()) for word in capital]
    lower = [word for word in words if word.text[0].islower()]
    return [Replacement(lower[0].start, lower[0].end, lower[0].text.capitalize())] if lower else []


def _synonym(text: str) -> list[Replacement]:
    return _exchanged(text, lists.SYNONYMS)


def _punctuation(text: str) -> list[Replacement]:
    """Takes the last full stop away, or adds one; of a question or an exclamation takes the first comma away."""
    end = len(text.rstrip())
    if not end:
        return []
    if text[end - 1] == "." and text[max(end - 3, 0) : end] != "...":
        return [Replacement(end - 1, end, "")]
    if text[end - 1].isalnum():
        return [Replacement(end, end, ".")]
    comma = re.search(r"(?<=\w),(?= )", text)
    return [Replacement(comma.start(), comma.end(), "")] if comma else []


@dataclass(frozen=True)
class Rule:
    """What a kind of edits does."""

    description: str
    make: Callable[[str], list[Replacement]]


CHANGING = {
    "negation": Rule("“not” is put in or taken out", _negation),
    "number": Rule("a number becomes another one", _number),
    "date": Rule("a year, month or weekday becomes another one", _date),
    "entity": Rule("two names in the text change places", _entity),
    "quantifier": Rule("a quantifier becomes its opposite or another one: all → few, always → never", _quantifier),
    "modal": Rule("a modal verb becomes a stronger or a weaker one: may → must", _modal),
    "antonym": Rule("a word becomes its opposite, from a list", _antonym),
    "order": Rule("the two sides of a word such as “because” change places, or all words stand in reverse", _order),
}
"""Kinds of edits that change the meaning of a text."""

KEEPING = {
    "case": Rule("capitals become small letters, abbreviations left out", _case),
    "synonym": Rule("a word becomes a synonym, from a list", _synonym),
    "punctuation": Rule("the last full stop is taken out or put in", _punctuation),
}
"""Kinds of edits that keep the meaning of a text."""
