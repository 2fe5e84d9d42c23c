"""Profile of an explanation: fraction of the time by operation, from torch's profiler.

python benchmarks/where_time_goes.py --model mpnet --layer 10
python benchmarks/where_time_goes.py --model minilm --layer 4
python benchmarks/where_time_goes.py --model minilm --layer 4 --tokens 256 --n-steps 1
"""

from __future__ import annotations

import argparse
from collections import Counter

from common import MODEL_HELP, TEXTS, environment, load, settings, table, text_of, timed, write_json
from torch.profiler import ProfilerActivity, profile

KINDS = {
    "matrix products": {"mm", "addmm"},
    "products within attention": {"bmm", "baddbmm"},
    "copies": {"copy_", "cat", "clone", "fill_", "zero_", "index"},
    "elementwise and reductions": {
        *("add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_", "neg", "exp", "erf", "rsqrt", "pow", "where"),
        *("sum", "mean", "var_mean", "amax", "_softmax", "gelu", "native_layer_norm", "masked_fill", "clamp_min"),
    },
}
REST = "everything else (dispatch, views, Python)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="minilm", help=MODEL_HELP)
    parser.add_argument("--layer", type=int, default=4)
    parser.add_argument("--n-steps", type=int, default=8)
    parser.add_argument("--texts", choices=sorted(TEXTS), default="long", help="20 × 25 or 7 × 9 tokens")
    parser.add_argument("--tokens", type=int, help="the factors of one text of so many tokens instead")
    parser.add_argument("--json", help="write the full record here")
    options = parser.parse_args()

    model, texts = load(options.model), TEXTS[options.texts]

    if options.tokens:
        model.max_seq_length = max(options.tokens, model.max_seq_length)
        long = text_of(model, options.tokens)
    how = {"layer": options.layer, "n_steps": options.n_steps, "show_progress_bar": False}

    def explain() -> None:
        if options.tokens:
            model.text_factors([long], **how)
        else:
            model.attribute_prediction(*texts, **how)

    for _ in range(2):
        explain()
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        seconds, _ = timed(explain, "cpu")
    spent: Counter[str] = Counter()
    for event in recorded.key_averages():
        name = event.key.removeprefix("aten::")
        kind = next((kind for kind, names in KINDS.items() if name in names), REST)
        spent[kind] += event.self_cpu_time_total / 1e6
    spent[REST] = seconds - sum(value for kind, value in spent.items() if kind != REST)
    shares = {kind: value / seconds for kind, value in spent.most_common()}

    of = f", {options.tokens} tokens" if options.tokens else ""
    head = f"{options.model}{of}, layer {options.layer}, {options.n_steps} nodes, {seconds:.2f} s"
    print(table([{head: kind, "share of the time": f"{share:.0%}"} for kind, share in shares.items()]))
    where = environment("cpu")
    print(f"\nfloat32, {', '.join(f'{name} {value}' for name, value in where.items())}")
    write_json(options.json, {"options": settings(options), "environment": where, "seconds": seconds, "shares": shares})


if __name__ == "__main__":
    main()
