"""What a type checker knows of xsbert in the hands of its users. Checked by pyright, not run.

Each line that is wrong carries a comment that says so; pyright reports the comment where the error has gone.
"""

from collections.abc import Iterator

from typing_extensions import assert_type

from xsbert import Attribution, XSTransformer
from xsbert.engine import Explainer, Options
from xsbert.factors.text_factors import TextFactors


def use(model: XSTransformer) -> None:
    out = model.explain("a", "b", layer=-2, tolerance=0.01, units="words", task=("query", "document"))
    assert_type(out, Attribution)
    assert_type(model.attribute_prediction("a", "b", layer=-2), Attribution)
    assert_type(out.top_pairs(3, special_tokens=False), list[tuple[int, int, float]] | list[tuple[str, str, float]])
    assert_type(out.words(), Attribution)
    assert_type(model.text_factors(["a"], layer=3), list[TextFactors])
    assert_type(model.text_factors(["a"], errors="skip"), list[TextFactors | None])
    assert_type(model.explain_pairs([("a", "b")]), Iterator[Attribution])
    assert_type(model.explain_pairs([("a", "b")], errors="skip"), Iterator[Attribution | None])
    assert_type(model.explain_matrix(["a"], ["b"], errors="skip"), Iterator[tuple[int, int, Attribution]])
    assert_type(model.explainer(n_steps=3, rule="midpoint"), Explainer)
    assert_type(model.explainer().options, Options)


def misuse(model: XSTransformer) -> None:
    model.explain("a", "b", layer="two")  # pyright: ignore[reportArgumentType]
    model.attribute_prediction("a", "b", colour="red")  # pyright: ignore[reportCallIssue]
    model.explainer(tolerance="small")  # pyright: ignore[reportArgumentType]
    out = model.explain("a", "b")
    out.top_pairs(k=3)  # pyright: ignore[reportCallIssue]
    model.text_factors([1])  # pyright: ignore[reportArgumentType]
