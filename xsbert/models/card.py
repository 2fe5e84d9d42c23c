"""A note on the shift for the model card of a shifted model."""

from __future__ import annotations

from pathlib import Path

__all__ = ["add_shift_note"]

SHIFT_HEADING = "## Exact attributions"
SHIFT_NOTE = """
{heading}

This model subtracts from the embedding of each text that of its reference: the same number of tokens, all
`{reference}` but the special ones{positions} (Moeller et al., EMNLP 2023).
Its similarities can be attributed to pairs of tokens without a remainder, with xsbert:

```python
from xsbert import XSTransformer

model = XSTransformer("path or id of this model")
print(model.explain("The coffee is bad.", "This is not a good coffee."))
```

`SentenceTransformer` loads it with `trust_remote_code=True` where xsbert is installed.
"""


def add_shift_note(card: Path, reference: str, positions: str) -> None:
    """Insert a note after the front matter of a model card, unless the card has one.

    Args:
        card: file of the card.
        reference: token of the reference.
        positions: positions of its tokens, ``"text"`` or ``"padding"``.
    """
    text = card.read_text(encoding="utf-8")
    if SHIFT_HEADING in text:
        return
    front, separator, body = text.partition("\n---\n")
    if not (text.startswith("---\n") and separator):
        front, separator, body = "", "", text
    where = ", at the position of padding" if positions == "padding" else ""
    note = SHIFT_NOTE.format(heading=SHIFT_HEADING, reference=reference, positions=where)
    card.write_text(front + separator + note + body, encoding="utf-8")
