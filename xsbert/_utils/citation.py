"""How to cite the software and the papers whose method it implements."""

from __future__ import annotations

from .version import __version__

__all__ = ["cite"]

_SOFTWARE = """@software{{xsbert,
  title = {{xsbert: Explanations of Similarity in Embedding Models}},
  author = {{{{The xsbert authors}}}},
  version = {{{version}}},
  year = {{2026}}
}}"""

_PAPERS = """@inproceedings{moeller-etal-2023-attribution,
  title = {An Attribution Method for {Siamese} Encoders},
  author = {Moeller, Lucas and Nikolaev, Dmitry and Pad{\\'o}, Sebastian},
  booktitle = {Proceedings of the 2023 Conference on Empirical Methods in Natural Language Processing},
  year = {2023},
  doi = {10.18653/v1/2023.emnlp-main.980}
}

@inproceedings{moeller-etal-2024-approximate,
  title = {Approximate Attributions for Off-the-Shelf {Siamese} Transformers},
  author = {Moeller, Lucas and Nikolaev, Dmitry and Pad{\\'o}, Sebastian},
  booktitle = {Proceedings of the 18th Conference of the European Chapter of the Association for Computational
    Linguistics (Volume 1: Long Papers)},
  year = {2024},
  doi = {10.18653/v1/2024.eacl-long.125}
}"""


def cite() -> str:
    """Return BibTeX entries of this version of the software and of the two papers whose method it implements.

    >>> print(cite().split("{")[0])
    @software
    """
    return _SOFTWARE.format(version=__version__) + "\n\n" + _PAPERS
