"""Edits of English texts by rule."""

import re

import pytest

from xsbert.evaluation.blindness import CHANGING, KEEPING, edits_of
from xsbert.evaluation.blindness.edits import check_language
from xsbert.evaluation.blindness.words import ANTONYMS, SYNONYMS


def edited(kind, text):
    found = edits_of(text, [kind])
    return found[0].after if found else None


@pytest.mark.parametrize(
    ("kind", "text", "after"),
    [
        ("negation", "The door is open.", "The door is not open."),
        ("negation", "It isn’t cold.", "It is cold."),
        ("negation", "They won't come.", "They will come."),
        ("negation", "He cannot swim.", "He can swim."),
        ("negation", "She does not sing.", "She does sing."),
        ("negation", "A baby eats bread.", "A baby does not eat bread."),
        ("negation", "She sold the house.", "She did not sell the house."),
        ("negation", "A house sold last year.", None),
        ("negation", "He went home.", "He did not go home."),
        ("negation", "Is the door open?", None),  # a negated question asks the same
        ("negation", "She is not only tall.", None),
        ("negation", "Mr. Will sings.", "Mr. Will does not sing."),
        ("number", "It has 250 seats.", "It has 650 seats."),
        ("number", "It costs 1,200.50 euros.", "It costs 5,200.50 euros."),
        ("number", "Two men sing.", "Five men sing."),
        ("number", "In 1998 it rained.", None),  # a date
        ("number", "On March 3 it rained.", None),
        ("number", "Flight B52 left at 12:30.", None),
        ("date", "In 1998 it rained.", "In 1984 it rained."),
        ("date", "There are 2000 seats.", None),
        ("date", "We met on Monday.", "We met on Thursday."),
        ("date", "It may rain. May I go?", None),
        ("date", "On May 3 it rained.", "On October 3 it rained."),
        ("entity", "Anna sent a letter to Peter.", "Peter sent a letter to Anna."),
        ("entity", "The road from New York to Boston.", "The road from Boston to New York."),
        ("entity", "Yesterday Anna and Peter sang.", None),  # the same the other way round
        ("entity", "Anna met Peter.", None),
        ("entity", "The dog barked at Peter.", None),
        ("entity", "Storm Hits Town In France", None),  # a headline
        ("quantifier", "All men sing.", "Few men sing."),
        ("quantifier", "He has at least two dogs.", "He has at most two dogs."),
        ("quantifier", "It is the most popular song.", None),
        ("modal", "You must go.", "You may go."),
        ("modal", "His will was read.", None),
        ("antonym", "The water is hot.", "The water is cold."),
        ("antonym", "Hot water helps.", "Cold water helps."),
        ("antonym", "It is an easy song.", "It is a difficult song."),
        ("antonym", "A black and white dog.", None),
        ("antonym", "He saw the White House.", None),
        ("order", "It fell because the wind blew hard.", "The wind blew hard because it fell."),
        ("order", "A dog bites the man.", "man the bites dog A."),
        ("order", "It rains.", None),
        ("case", "The UN met in Paris.", "the UN met in paris."),
        ("case", "rain in spain", "Rain in spain"),
        ("synonym", "A child sings.", "A kid sings."),
        ("synonym", "A baby sings.", "An infant sings."),
        ("punctuation", "It rains.", "It rains"),
        ("punctuation", "It rains", "It rains."),
        ("punctuation", "Well, does it rain?", "Well does it rain?"),
        ("punctuation", "Does it rain?", None),
    ],
)
def test_a_rule(kind, text, after):
    assert edited(kind, text) == after


TEXTS = [
    "If you can get over the first exam, all of the others are easy.",
    "On Tuesday, Anna Smith of London said that 25 people must leave before 1999, because it’s too hot.",
    "  „Zwei“ 12 🙂 men didn't   sing…\nNew lines aren't  lost. ",
    "UPPER CASE IS NOT A NAME",
    "1998",
    "🙂 🙂",
    "今日は雨です。",
]


@pytest.mark.parametrize("text", TEXTS)
def test_spans_say_what_was_replaced(text):
    """Outside its spans an edit leaves every character, and inside them it changes all."""
    for edit in edits_of(text, [*CHANGING, *KEEPING]):
        assert edit.before == text != edit.after
        old = [text[start:end] for start, end in edit.spans_before]
        rest, rest_after, at, at_after = "", "", 0, 0
        for (start, end), (new_start, new_end) in zip(edit.spans_before, edit.spans_after, strict=True):
            rest += text[at:start] + "|"
            rest_after += edit.after[at_after:new_start] + "|"
            at, at_after = end, new_end
        assert rest + text[at:] == rest_after + edit.after[at_after:]
        assert all(one != other for one, other in edit.changes)
        assert [one for one, _ in edit.changes] == old
        assert edits_of(text, [edit.kind]) == [edit]


def test_negation_undoes_itself():
    for text in ("The door is open.", "Prices will rise in April.", "You should not go."):
        assert edited("negation", edited("negation", text)) == text


def test_an_exchange_of_names_or_words_keeps_all_words():
    for kind in ("entity", "order"):
        for edit in edits_of("Anna sent two letters to Peter Smith in spring.", [kind]):
            assert sorted(re.findall(r"\w+", edit.before)) == sorted(re.findall(r"\w+", edit.after))


def test_no_word_is_a_synonym_of_its_antonym():
    assert {word for word, other in ANTONYMS.items() if SYNONYMS.get(word) == other} == set()
    assert [word for word in {**ANTONYMS, **SYNONYMS} if word != word.lower() or word.strip() != word] == []


@pytest.mark.parametrize("language", ["de", "EN", None])
def test_other_languages_are_refused_by_name(language):
    with pytest.raises(ValueError, match=rf"language must be one of 'en', got {language!r}.*English alone"):
        check_language(language)
