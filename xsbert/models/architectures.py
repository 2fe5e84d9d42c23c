"""`XSTransformer` subclasses for single architectures, which reject models of any other."""

from __future__ import annotations

from .transformer import XSTransformer

__all__ = ["XSBert", "XSMPNet", "XSRoberta"]


class XSMPNet(XSTransformer):
    """MPNet sentence transformers, such as all-mpnet-base-v2.

    >>> XSMPNet.model_types
    ('mpnet',)
    """

    model_types = ("mpnet",)


class XSRoberta(XSTransformer):
    """RoBERTa and XLM-RoBERTa sentence transformers, such as all-distilroberta-v1.

    >>> XSRoberta.model_types
    ('roberta', 'xlm-roberta')
    """

    model_types = ("roberta", "xlm-roberta")


class XSBert(XSTransformer):
    """BERT sentence transformers, such as all-MiniLM-L6-v2.

    >>> XSBert.model_types
    ('bert',)
    """

    model_types = ("bert",)
