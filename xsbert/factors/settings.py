"""How a result was computed."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """How a result was computed."""

    model: str
    """A display name: the model's id, or the end of its path."""
    layer: int
    n_layers: int
    rule: str
    """The name of a quadrature rule, or ``"adaptive"`` if the nodes were placed for a tolerance."""
    n_steps: int
    """Number of nodes. For a pair, this and the other counts are the larger of both texts."""
    reference: str
    shift: bool
    dtype: str
    tolerance: float | None = None
    """The requested relative residual. None if the number of nodes was given."""
    fingerprint: str = ""
    """Identifies everything that determines the model's embeddings. Factors of different models are not combined.
    The format is a kind, a colon, and hexadecimal digits. Version 0.1.0 wrote only digits, from the first numbers of
    each weight. Only fingerprints of the same kind are comparable."""
    derivative_dtype: str = ""
    """Precision of derivative products in linear layers: ``"tf32"`` if torch uses it for float32."""
    n_looks: int = 0
    """Evaluations of the model to place the nodes and, for texts of 16 tokens or more, to estimate the error of the
    factors. The S + 1 evaluations per node are not counted."""
    n_float64: int = 0
    """Nodes computed in float64, because the embedding changes there faster than float32 resolves."""
    reference_positions: str = "text"
    """Positions of the reference's tokens: those of the text, or ``"padding"`` for the position of padding."""
    factor_tolerance: float | None = None
    """The requested relative error of the tokens' factors. None if the error was only estimated."""
    reference_prompt: str = "replace"
    """``"keep"`` if the reference keeps the tokens of the text's prompt. For a pair, of either prompt."""

    @property
    def described_tolerance(self) -> str:
        """A description of the tolerances. Empty if the number of nodes was given."""
        if self.tolerance is None:
            return ""
        of_factors = "" if self.factor_tolerance is None else f", of {self.factor_tolerance:g} for the factors"
        return f" for a tolerance of {self.tolerance:g}{of_factors}"

    @property
    def described_reference(self) -> str:
        """The token of the reference, its positions if they differ from the text's, and whether it keeps a prompt."""
        positions = "" if self.reference_positions == "text" else ", positions of padding"
        return f"{self.reference}{positions}{', prompt kept' if self.reference_prompt == 'keep' else ''}"

    @property
    def described_nodes(self) -> str:
        """The number of nodes and the rule, or the name of a method without integration."""
        return f"{self.n_steps} {self.rule} nodes" if self.n_steps else self.rule

    @property
    def described_layer(self) -> str:
        """The layer and the number of layers. A static model has only its table of token embeddings."""
        return f"layer {self.layer} of {self.n_layers}" if self.n_layers else "static token embeddings"

    @property
    def precision(self) -> str:
        """The dtype of the model, and the dtype of derivative products if it differs."""
        same = self.derivative_dtype in ("", self.dtype)
        return self.dtype if same else f"{self.dtype}, derivatives in {self.derivative_dtype}"
