"""Readers of row files for all commands and functions: CSV, TSV, JSON lines, Parquet, folders of Parquet.

CSV is read strictly by RFC 4180. In TSV and JSON lines each line is one record. Texts are never altered.
"""

from .advice import advise, option_message
from .parquet import is_parquet
from .records import BadRecord, Record, check_names, json_objects, json_problem, width_problem
from .rows import MissingColumnError, check_quoting, parquet_columns, peek, read_rows, records_of, rows_of_lines
from .text import TextLines, lines_of

__all__ = [
    "BadRecord",
    "MissingColumnError",
    "Record",
    "TextLines",
    "advise",
    "check_names",
    "check_quoting",
    "is_parquet",
    "json_objects",
    "json_problem",
    "lines_of",
    "option_message",
    "parquet_columns",
    "peek",
    "read_rows",
    "records_of",
    "rows_of_lines",
    "width_problem",
]
