"""Explanations of a whole corpus: a folder of Parquet shards that survives crashes and can be resumed.

`explain_corpus` runs in this process, `ray_job` on a Ray cluster. Both apply `explain_columns` to each shard.
`read_corpus` and `aggregate` read the folder. Needs pyarrow: ``pip install "xsbert[corpus]"``.
"""

try:
    import pyarrow  # noqa: F401
except ImportError as error:
    raise ImportError('xsbert.corpus needs pyarrow: pip install "xsbert[corpus]"') from error

from .aggregates import UnitsOfRow, aggregate
from .columns import explain_columns
from .explain import explain_corpus
from .growth import Changes
from .ray_data import ray_job
from .reading import Corpus, read_corpus
from .rows import attribution_of_row, factors_of_row, highlights_of_row
from .task import Task

__all__ = [
    "Changes",
    "Corpus",
    "Task",
    "UnitsOfRow",
    "aggregate",
    "attribution_of_row",
    "explain_columns",
    "explain_corpus",
    "factors_of_row",
    "highlights_of_row",
    "ray_job",
    "read_corpus",
]
