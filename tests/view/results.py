"""Results with planted or random factors, for tests of the views."""

from dataclasses import replace

import numpy as np

from xsbert.attribution.attribution import Attribution
from xsbert.factors.text_factors import Settings, TextFactors

SETTINGS = Settings("some/model", 4, 6, "gauss-legendre", 16, "[PAD]", False, "float32")
HOSTILE = [
    "<script>alert(1)</script>",
    "</style>",
    "</title>",
    "<!--",
    "]]>",
    "&amp;",
    "\"'",
    "\u2028\u2029",
    "\\u003c",
]


def text_factors(words, factors, reference_term=None):
    """One text of whole-word tokens between [CLS] and [SEP]; words alone in brackets count as special."""
    factors = np.asarray(factors, dtype=np.float64)
    reference_term = np.zeros(factors.shape[1]) if reference_term is None else reference_term
    text = " ".join(words[1:-1])
    ends = np.cumsum([len(word) + 1 for word in words[1:-1]]) - 1
    spans = [(int(end) - len(word), int(end)) for word, end in zip(words[1:-1], ends, strict=True)]
    return TextFactors(
        text=text,
        tokens=tuple(words),
        roles=("special", *["text"] * len(spans), "special"),
        word_ids=(None, *range(len(spans)), None),
        spans=((0, 0), *spans, (0, 0)),
        factors=factors,
        embedding=factors.sum(0) + reference_term,
        reference_term=reference_term,
        normalisation=1.0,
    )


def random_result(words_a, words_b, seed=0):
    rng = np.random.default_rng(seed)
    a = text_factors(["[CLS]", *words_a, "[SEP]"], rng.normal(size=(len(words_a) + 2, 8)), rng.normal(size=8))
    b = text_factors(["[CLS]", *words_b, "[SEP]"], rng.normal(size=(len(words_b) + 2, 8)), rng.normal(size=8))
    return Attribution(a, b, "cosine", SETTINGS)


def planted_result():
    """Only the pair (1, 3) has an attribution: 0.5."""
    factors_a, factors_b = np.zeros((5, 2)), np.zeros((6, 2))
    factors_a[1, 0], factors_b[3, 0] = 1.0, 0.5
    a = text_factors(["[CLS]", "one", "two", "three", "[SEP]"], factors_a)
    b = text_factors(["[CLS]", "un", "deux", "trois", "quatre", "[SEP]"], factors_b)
    return Attribution(a, b, "dot", SETTINGS)


def long_result(n=110, seed=0, shift=False):
    """Two texts of n short and long words, a long and a short one of which are far above the others."""
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list("abcdefgh"), rng.integers(1, 12))) for _ in range(n)]
    factors = [0.02 * rng.normal(size=(n + 2, 8)) for _ in "ab"]
    words[n // 2], words[1] = "understanding", "a"
    for side in factors:
        side[[n // 2 + 1, 2]] = rng.normal(size=(2, 8))
    terms = [None, None] if shift else rng.normal(size=(2, 8))
    a, b = (text_factors(["[CLS]", *words, "[SEP]"], f, term) for f, term in zip(factors, terms, strict=True))
    return Attribution(a, b, "cosine", replace(SETTINGS, shift=shift))
