"""How often models do not notice a change of meaning, and two models side by side.

    python benchmarks/blind_spots.py sts-dev.csv --columns 6 --models minilm mpnet --json FILE

The file has tab-separated texts in the given --columns, by default as in the STS benchmark. The record has shares and
thresholds, and no text of the file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import distinct_texts, environment, load, settings, write_json

from xsbert.evaluation import blind_spots


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path, help="tab-separated file")
    parser.add_argument("--columns", type=int, nargs="+", default=[6, 7], help="columns of texts, from 1")
    parser.add_argument("--models", nargs="+", default=["minilm"], help='"minilm", "mpnet", ids or paths')
    parser.add_argument("--n-texts", type=int, default=300)
    parser.add_argument("--json", help="write the record here")
    options = parser.parse_args()

    texts = distinct_texts(options.texts, options.columns, options.n_texts)
    tables, record = [], {}
    for name in options.models:
        table = blind_spots(load(name, shift=False), texts, explain=0, show_progress_bar=False)
        print(table, "\n", flush=True)
        record[Path(name).name] = {key: value for key, value in table.to_dict().items() if key != "collapses"}
        tables.append(table)
    comparisons = [tables[0].compare(other) for other in tables[1:]]
    for comparison in comparisons:
        print(comparison, "\n", flush=True)
    write_json(
        options.json,
        {
            "options": settings(options) | {"models": [Path(name).name for name in options.models]},
            "environment": environment("cpu"),
            "tables": record,
            "comparisons": [comparison.to_dict() for comparison in comparisons],
        },
    )


if __name__ == "__main__":
    main()
