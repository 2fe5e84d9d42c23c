"""`LateExplainer`: explains models that tokenize queries and documents differently."""

from __future__ import annotations

from dataclasses import replace

from ..factors.text_factors import TextFactors
from ..text.units import check_units
from .explainer import Explainer, Text
from .options import Options
from .protocol import Explainable
from .tokenization import Prompt, TokenizedText

__all__ = ["LateExplainer"]


class LateExplainer(Explainer):
    """An explainer of a late-interaction model.

    Queries and documents have limits, expansion and masks of their own. The reference keeps all special tokens of a
    text: those of a query expansion and markers, wherever they are.

    Args:
        model: model to explain.
        options: options of the explanation; None uses the defaults.

    Raises:
        ValueError: queries are expanded, and the reference of padding has positions that the model would not give it.
    """

    def __init__(self, model: Explainable, options: Options | None = None) -> None:
        super().__init__(model, options)
        padding = [each for each in self.reference.members if each.position_offset == each.token_id + 1]
        if padding and model[0].query_expansion is not None:
            raise ValueError(
                f"reference={padding[0].token!r}: this model numbers positions around padding, and expands "
                "queries, so that the positions of the expansion behind a reference of padding are not known. Take "
                "'unk' or 'mask'"
            )

    def prompt(self, prompt: str | None = None, prompt_name: str | None = None, task: str | None = None) -> Prompt:
        """Return a prompt, with the task that the text is tokenized for."""
        found = super().prompt(prompt, prompt_name, task)
        return replace(found, encoded_by=f"encode_{task}" if task else "encode", task=task)

    def tokenized(
        self, text: Text, prompt: Prompt | None = None, *, name: str = "text", warn: bool = True
    ) -> TokenizedText:
        """Tokenize a text as the model does for its task. A tokenized text is returned unchanged."""
        return replace(super().tokenized(text, prompt, name=name, warn=warn), keeps_special=True)

    def pair(self, text_a: Text, text_b: Text, *, units: str = "tokens") -> tuple[TextFactors, TextFactors]:
        """Compute the factors of two texts by forward mode, so that each match has an account of its own."""
        check_units(units)
        a, b = self.tokenized(text_a, name="text_a"), self.tokenized(text_b, name="text_b")
        factors_a, factors_b = self.factors_of([a, b], units=units)
        return factors_a, factors_b
