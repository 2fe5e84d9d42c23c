"""Growth of the run time of text rules with the text size: the log-log slope, which is one for linear time.

    python benchmarks/linear.py --json benchmarks/results/linear.json

needs no model. The texts reveal a rule that scans the whole text for each of its parts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from common import environment, settings, table, write_json

from xsbert import Attribution
from xsbert.factors.text_factors import Settings, TextFactors
from xsbert.text.units import sentence_ranges

WIDTH = 16
HOW = Settings("none", 0, 1, "midpoint", 1, "[PAD]", False, "float32")


def factors(n_units: int) -> TextFactors:
    """Words of two tokens each, ten words a sentence."""
    words = [f"word{'.' if at % 10 == 9 else ' '} " for at in range(n_units // 2)]
    starts = np.cumsum([0, *map(len, words)])[:-1].tolist()
    spans = tuple(span for start in starts for span in ((start, start + 2), (start + 2, start + 5)))
    rng = np.random.default_rng(0)
    return TextFactors(
        text="".join(words),
        tokens=("wo", "rd.") * len(words),
        roles=("text",) * len(spans),
        word_ids=tuple(at // 2 for at in range(len(spans))),
        spans=spans,
        factors=rng.normal(size=(len(spans), WIDTH)),
        embedding=rng.normal(size=WIDTH),
        reference_term=np.zeros(WIDTH),
        normalisation=1.0,
        settings=HOW,
    )


def result(n_cells: int) -> Attribution:
    side = factors(2 * round(np.sqrt(n_cells) / 2))
    made = Attribution.of(side, side, "cosine")
    # Computed once and kept, so that the account alone is timed.
    assert made.matrix.size
    return made


# What it is called, what its size counts, its sizes, what is made of a size, and what is timed.
RULES: dict[str, tuple[str, list[int], Callable[[int], object], Callable]] = {
    "sentence_ranges, marks that end none": (
        "characters",
        [2**n for n in range(13, 20)],
        lambda n: "a" + "." * n + "x",
        sentence_ranges,
    ),
    "sentence_ranges, sentences": (
        "characters",
        [2**n for n in range(13, 20)],
        lambda n: "A sentence. " * (n // 12),
        sentence_ranges,
    ),
    "words()": ("tokens", [2**n for n in range(9, 16)], factors, TextFactors.words),
    'over("sentences")': ("tokens", [2**n for n in range(9, 16)], factors, lambda side: side.over("sentences")),
    "str(out)": ("cells", [4**n for n in range(7, 12)], result, str),
    "top_pairs(10)": ("cells", [4**n for n in range(7, 12)], result, lambda made: made.top_pairs(10)),
}


def processor_time(rule: Callable, given: object) -> float:
    """Seconds of this process alone: what else the machine does would slow long calls more than short ones."""
    start = time.process_time()
    rule(given)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="the best of so many is taken (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="also write the record")
    options = parser.parse_args()
    rows, record = [], {}
    for name, (unit, sizes, make, rule) in RULES.items():
        seconds = []
        for size in sizes:
            given = make(size)
            seconds.append(min(processor_time(rule, given) for _ in range(options.repeats)))
        slope = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
        record[name] = {"unit": unit, "sizes": sizes, "seconds": seconds, "slope": slope}
        rows.append(
            {
                "rule": name,
                "smallest": f"{sizes[0]} {unit}: {1e3 * seconds[0]:.2g} ms",
                "largest": f"{sizes[-1]} {unit}: {1e3 * seconds[-1]:.3g} ms",
                "slope": f"{slope:.2f}",
            }
        )
    print(table(rows))
    write_json(options.json, {"settings": settings(options), "environment": environment("cpu"), "rules": record})


if __name__ == "__main__":
    main()
