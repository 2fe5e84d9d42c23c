"""Plot the results of the benchmarks.

    python benchmarks/figures.py

`docs/speed.png` shows each `pair_*.json` of benchmarks/results, `docs/scaling.png` shows `scaling.json` and
`directions.json`, `docs/exact.png` shows `exact_mpnet.json`. Missing files are skipped.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from exact import draw as draw_exact
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

BENCHMARKS = Path(__file__).parent
RESULTS = BENCHMARKS / "results"
DOCS = BENCHMARKS.parent / "docs"

PUBLISHED, OURS, LIGHT = "#7a8aa0", "#b2182b", "#c8b273"
SHOWN = ("published", "tolerance")
MODELS = {"minilm": "all-MiniLM-L6-v2", "mpnet": "all-mpnet-base-v2", "mpnet-base": "MPNet base size, random weights"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of JSON files")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder for the figures")
    options = parser.parse_args()
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10.5})

    pairs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(options.results.glob("pair_*.json"))]
    scaling, directions = (read(options.results / name) for name in ("scaling.json", "directions.json"))
    if pairs:
        save(draw_pairs(pairs), options.docs / "speed.png")
    else:
        print("no pair_*.json: speed.png is left out")
    exact = read(options.results / "exact_mpnet.json")
    if exact:
        save(draw_exact(exact), options.docs / "exact.png")
    if scaling or directions:
        save(draw_scaling(scaling, directions), options.docs / "scaling.png")


def read(path: Path) -> dict[str, Any] | None:
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    print(f"no {path.name}: it is left out")
    return None


def save(figure: plt.Figure, path: Path) -> None:
    figure.savefig(path, dpi=130)
    print(path.name)


def draw_pairs(records: list[dict[str, Any]]) -> plt.Figure:
    """Seconds and memory of the published algorithm and of xsbert at the same error, a block for each benchmark."""
    records = sorted(records, key=lambda record: (record["options"]["model"], -int(record["options"]["layer"])))
    n_rows = [len(SHOWN)] * len(records)
    figure, axes = plt.subplots(
        len(records),
        2,
        figsize=(11, 0.9 + sum(0.38 * n + 0.55 for n in n_rows)),
        layout="constrained",
        sharex="col",
        sharey="row",
        squeeze=False,
        height_ratios=n_rows,
    )
    figure.get_layout_engine().set(hspace=0.08, wspace=0.04)
    for (left, right), record in zip(axes, records, strict=True):
        options, results = record["options"], record["results"]
        names = list(SHOWN)
        seconds = [results[name]["seconds"] for name in names]
        gigabytes = [results[name]["bytes"] / 1e9 for name in names]
        bars(left, seconds, "s", "faster")
        bars(right, gigabytes, "GB", "less")
        left.set_yticks(range(len(names)), [row_title(name, record) for name in names])
        left.set_ylim(len(names) - 0.4, -0.6)
        tokens = " × ".join(map(str, results["published"]["tokens"]))
        model = MODELS.get(options["model"], options["model"])
        left.set_title(
            f"{model}, layer {options['layer']}, {tokens} tokens", loc="left", fontweight="bold", fontsize=10
        )
    logarithmic(axes[:, 0], "seconds", [record["results"][name]["seconds"] for record in records for name in SHOWN])
    axes[-1, 1].set_xlabel("peak memory of the process, GB")
    most = max(record["results"][name]["bytes"] / 1e9 for record in records for name in SHOWN)
    axes[-1, 1].set_xlim(0, 1.3 * most)
    return figure


def row_title(name: str, record: dict[str, Any]) -> str:
    options, result = record["options"], record["results"][name]
    same = options["tolerance"] == record["results"]["published"]["residual"]
    if name == "published":
        return f"published, {options['n_published']} steps" + ("" if same else f" (residual {result['residual']:.1f})")
    asked = "same error" if same else f"residual {options['tolerance']:g}"
    return "xsbert, {} ({} and {} nodes)".format(asked, *result["n_steps"])


def bars(ax: Axes, values: list[float], unit: str, better: str) -> None:
    """Bars with their values; from the second on also the ratio to the first."""
    colours = [PUBLISHED] + [OURS] * (len(values) - 1)
    ax.barh(range(len(values)), values, color=colours, height=0.68)
    for place, value in enumerate(values):
        number = f"{value:.0f}" if value >= 20 else f"{value:.1f}"
        ratio = f"   {values[0] / value:.0f} × {better}" if place and unit == "s" else ""
        ratio = f"   {values[0] / value:.1f} × {better}" if place and not ratio else ratio
        ax.annotate(f"{number} {unit}{ratio}", (value, place), (4, 0), textcoords="offset points", va="center")
    ax.tick_params(axis="y", length=0)


def logarithmic(axes: np.ndarray, title: str, values: list[float]) -> None:
    for ax in axes:
        ax.set_xscale("log")
        # Room for the annotation of the longest bar.
        ax.set_xlim(10 ** np.floor(np.log10(min(values))), 8 * max(values))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_locator(NullLocator())
    axes[-1].set_xlabel(f"{title} (logarithmic)")


def draw_scaling(scaling: dict[str, Any] | None, directions: dict[str, Any] | None) -> plt.Figure:
    """Seconds against length, layers and width; and a short query against long passages."""
    rows = [draw for draw, record in ((draw_sizes, scaling), (draw_pairs_of_lengths, directions)) if record]
    records = [record for record in (scaling, directions) if record]
    figure = plt.figure(figsize=(10.5, 3.6 * len(rows)), layout="constrained")
    figure.get_layout_engine().set(hspace=0.06, wspace=0.05)
    for draw, record, part in zip(rows, records, np.ravel(figure.subfigures(len(rows), 1)), strict=True):
        draw(part, record)
    return figure


def draw_sizes(figure: SubFigure, record: dict[str, Any]) -> None:
    axes = figure.subplots(1, 3)
    draw_length(axes[0], record["results"]["length"])
    draw_layers(axes[1], record["results"]["layers"])
    draw_width(axes[2], record["results"]["width"])


def draw_pairs_of_lengths(figure: SubFigure, record: dict[str, Any]) -> None:
    axes = figure.subplots(1, 2, width_ratios=(2, 1))
    draw_directions(axes[0], record["directions"])
    draw_units(axes[1], record)


def draw_length(ax: Axes, cells: list[dict[str, Any]]) -> None:
    tokens, seconds = [cell["length"] for cell in cells], [per_node(cell) for cell in cells]
    ax.plot(tokens, seconds, "o-", color=OURS)
    for cell, second in zip(cells, seconds, strict=True):
        ax.annotate(
            f"{cell['bytes'] / 1e9:.1f} GB",
            (cell["length"], second),
            (-5, 5),
            textcoords="offset points",
            ha="right",
            fontsize=8.5,
            color="0.3",
        )
    both_logarithmic(ax, tokens)
    ax.set_xlim(tokens[0] / 4, tokens[-1] * 1.4)
    ax.set_ylim(min(seconds) / 1.5, max(seconds) * 2)
    ax.set(title="length, with peak memory", xlabel="tokens", ylabel="seconds per node")


def draw_layers(ax: Axes, cells: list[dict[str, Any]]) -> None:
    ax.plot([cell["layers"] for cell in cells], [per_node(cell) for cell in cells], "o-", color=OURS)
    ax.set_ylim(0, None)
    ax.set_xticks([cell["layers"] for cell in cells])
    ax.set(title="layers differentiated through", xlabel="layers", ylabel="seconds per node")


def draw_width(ax: Axes, cells: list[dict[str, Any]]) -> None:
    widths = [cell["width"] for cell in cells]
    ax.plot(widths, [per_node(cell) for cell in cells], "o-", color=OURS)
    both_logarithmic(ax, widths)
    ax.set(title="width, two layers", xlabel="hidden size", ylabel="seconds per node")


def draw_directions(ax: Axes, cells: list[dict[str, Any]]) -> None:
    tokens = [cell["tokens"][1] for cell in cells]
    titles = {"forward": ("forward mode on both sides", PUBLISHED), "cheapest": ("cheapest direction", OURS)}
    for name, (title, colour) in titles.items():
        ax.plot(tokens, [statistics.median(cell["seconds"][name]) for cell in cells], "o-", color=colour, label=title)
    for cell in cells:
        seconds = statistics.median(cell["seconds"]["cheapest"])
        ax.annotate(
            f"{cell['ratio']:.1f} × faster",
            (cell["tokens"][1], seconds),
            (0, -14),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color="0.3",
        )
    both_logarithmic(ax, tokens)
    low, high = ax.get_ylim()
    ax.set_ylim(low / 1.6, high * 2)
    ax.set_xlim(tokens[0] / 1.25, tokens[-1] * 1.25)
    ax.legend(frameon=False, loc="upper left", fontsize=9)
    ax.set(
        title=f"query of {cells[0]['tokens'][0]} tokens, long passage", xlabel="tokens of the passage", ylabel="seconds"
    )


def draw_units(ax: Axes, record: dict[str, Any]) -> None:
    units = record["units"]
    names = list(units)
    seconds = [statistics.median(units[name]["seconds"]) for name in names]
    ax.bar(range(len(names)), seconds, color=[PUBLISHED, OURS, OURS], width=0.6)
    for place, name in enumerate(names):
        label = f"{seconds[place]:.1f} s" + (f"\n{units[name]['ratio']:.1f} × faster" if place else "")
        ax.annotate(label, (place, seconds[place]), (0, 3), textcoords="offset points", ha="center", fontsize=8.5)
    ax.set_xticks(range(len(names)), [f"{units[name]['units']}\n{name}" for name in names])
    ax.tick_params(axis="x", length=0)
    ax.set_ylim(0, 1.15 * max(seconds))
    ax.set(title=f"units of the passage of {record['directions'][-1]['tokens'][1]}", ylabel="seconds")


def per_node(cell: dict[str, Any]) -> float:
    return statistics.median(cell["seconds"]) / cell["n_steps"]


def both_logarithmic(ax: Axes, places: list[int]) -> None:
    ax.set(xscale="log", yscale="log")
    ax.xaxis.set_major_locator(FixedLocator(places))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_minor_locator(NullLocator())


if __name__ == "__main__":
    main()
