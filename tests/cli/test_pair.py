"""The command line: what it prints and writes, its exit status, its messages, and colours on a terminal."""

import io
import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest

from tests.pairs import PAIRS
from tests.view.results import random_result, text_factors
from xsbert import Attribution, XSRoberta, XSTransformer, __version__
from xsbert.__main__ import main
from xsbert.cli import options
from xsbert.cli import pair as command
from xsbert.cli import run as commands
from xsbert.cli.output import print_account
from xsbert.integrated_jacobian.rules import RULES
from xsbert.text.units import UNITS
from xsbert.view.terminal import columns, matrix_lines, printable

A, B = PAIRS[0]
FEW = ["--n-steps", "2"]
PAD = ["--shift", "--reference", "pad"]
WARNING = "xsbert: warning: the shift that was added to the model changes its score: 0.9042"
CELL = re.compile(r"\x1b\[48;2;(\d+);(\d+);(\d+);38;2;\d+;\d+;\d+m([^\x1b]*)\x1b\[0m")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch):
    for name in ("NO_COLOR", "COLORTERM", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def result(shifted):
    return shifted.attribute_prediction(A, B, n_steps=2)


def run(capsys, *argv):
    status = main([*argv])
    out, err = capsys.readouterr()
    return status, out, err


def same_numbers(content, result):
    assert content["tokens_a"] == result.tokens_a
    assert content["tokens_b"] == result.tokens_b
    np.testing.assert_array_equal(content["matrix"], result.matrix)
    np.testing.assert_array_equal(content["main_effects_a"], result.main_effects_a)
    np.testing.assert_array_equal(content["main_effects_b"], result.main_effects_b)
    for name in ("score", "score_unshifted", "baseline", "error", "residual_a", "residual_b", "parts"):
        assert content[name] == getattr(result, name)


def test_the_account_of_a_pair(capsys, result):
    status, out, err = run(capsys, A, B, *PAD, *FEW)
    assert (status, out) == (0, f"{result}\n")
    assert "without the shift, is 0.7915\n" in out
    assert err.startswith(WARNING)
    assert err.count("\n") == 1


def test_the_model_as_it_is_is_the_default(capsys, plain):
    expected = XSTransformer.wrap(plain).attribute_prediction(A, B, n_steps=2)
    assert run(capsys, A, B, *FEW) == (0, f"{expected}\n", "")


def test_json_has_the_numbers_of_the_result(capsys, model):
    expected = model.attribute_prediction(A, B, layer=3, n_steps=3, rule="midpoint", similarity="dot", reference="unk")
    argv = ["--layer", "3", "--n-steps", "3", "--rule", "midpoint", "--similarity", "dot", "--reference", "unk"]
    status, out, err = run(capsys, A, B, *argv, "--json", "-")
    assert (status, err, out.count("\n")) == (0, "", 1)
    content = json.loads(out)
    same_numbers(content, expected)
    assert content["settings"] == asdict(expected.settings)
    assert content["similarity"] == "dot"


def test_positions_of_the_reference(capsys, roberta_path):
    model = XSRoberta(roberta_path, device="cpu", shift=True, reference_positions="padding")
    expected = model.attribute_prediction(A, B, n_steps=2)
    argv = ["--model", roberta_path, "--shift", *FEW, "--reference-positions"]
    status, out, err = run(capsys, A, B, *argv, "padding", "--json", "-")
    assert status == 0
    assert "the shift that was added" in err
    same_numbers(json.loads(out), expected)
    assert json.loads(out)["settings"]["reference_positions"] == "padding"
    status, out, _ = run(capsys, A, B, *argv, "text")
    assert status == 0
    assert "padding" not in out


def test_tolerance(capsys, shifted):
    status, out, _ = run(capsys, A, B, *PAD, "--tolerance", "0.1", "--json", "-")
    assert status == 0
    content = json.loads(out)
    same_numbers(content, shifted.attribute_prediction(A, B, tolerance=0.1))
    assert content["settings"]["tolerance"] == 0.1


def test_a_tolerance_of_the_factors(capsys, shifted):
    argv = [A, B, *PAD, "--tolerance", "0.1", "--factor-tolerance", "0.02", "--json", "-"]
    status, out, _ = run(capsys, *argv)
    assert status == 0
    expected = shifted.attribute_prediction(A, B, tolerance=0.1, factor_tolerance=0.02)
    assert expected.settings.n_steps > shifted.attribute_prediction(A, B, tolerance=0.1).settings.n_steps
    same_numbers(json.loads(out), expected)


def test_words(capsys, shifted):
    status, out, _ = run(capsys, "unbelievable coffee", B, *PAD, "--units", "words", *FEW, "--json", "-")
    assert status == 0
    expected = shifted.attribute_prediction("unbelievable coffee", B, n_steps=2, units="words")
    same_numbers(json.loads(out), expected)
    assert "unbelievable" in expected.tokens_a


def test_files(capsys, tmp_path, result):
    names = {kind: str(tmp_path / f"out.{kind}") for kind in ("html", "png", "json")}
    argv = [argument for kind, name in names.items() for argument in (f"--{kind}", name)]
    status, out, err = run(capsys, A, B, *PAD, *FEW, *argv)
    assert (status, out) == (0, f"{result}\n")
    assert err.startswith(WARNING)
    assert (tmp_path / "out.html").read_text(encoding="utf-8") == result.to_html()
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    same_numbers(json.loads((tmp_path / "out.json").read_text()), result)


def test_prompts_for_both_or_one_each(capsys):
    def texts(*argv):
        status, out, _ = run(capsys, A, B, "--n-steps", "1", "--json", "-", *argv)
        assert status == 0
        content = json.loads(out)
        return content["text_a"], content["text_b"]

    assert texts("--prompt", "say: ") == (f"say: {A}", f"say: {B}")
    assert texts("--prompt", "ask: ", "--prompt", "say: ") == (f"ask: {A}", f"say: {B}")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "got 0 of 2 texts"),
        ([A], "got 1 of 2 texts"),
        ([A, B, A], "got 3 of 2 texts"),
        ([A, B, "--pairs", "-"], "not both"),
        (["--pairs", "-", "--html", "x.html"], "are for one pair"),
        ([A, B, "--id", "key"], "--id goes with --pairs"),
        ([A, B, "--resume"], "--resume goes with --pairs"),
        ([A, B, "--no-header"], "--no-header goes with --pairs"),
        (["--pairs", "-", "--resume"], "--resume needs --output"),
        ([A, B, "--top-k", "0"], "must be above 0, got 0"),
        ([A, B, "--n-steps", "0"], "must be above 0, got 0"),
        ([A, B, "--n-steps", "many"], "invalid int value: 'many'"),
        ([A, B, "--tolerance", "nan"], "must be above 0, got nan"),
        ([A, B, "--tolerance", "0.1", "--n-steps", "3"], "not both"),
        ([A, B, "--factor-tolerance", "0.1", "--n-steps", "3"], "give --factor-tolerance or --n-steps, not both"),
        ([A, B, "--factor-tolerance", "-1"], "must be above 0, got -1"),
        ([A, B, "--rule", "midpoint"], "--rule needs --n-steps"),
        ([A, B, "--rule", "simpson"], "invalid choice: 'simpson'"),
        ([A, B, "--similarity", "euclidean"], "invalid choice: 'euclidean'"),
        ([A, B, "--prompt", "x", "--prompt-name", "y"], "not allowed with"),
        ([A, B, *["--prompt", "x"] * 3], "--prompt can be given twice at most"),
        ([A, B, "--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_arguments_that_make_no_sense(capsys, argv, message):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: xsbert ")
    assert message in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([A, B, "--layer", "99"], "layer must be between -6 and 6"),
        ([A, " "], "text_b must hold some text"),
        ([A, B, "--prompt-name", "question"], "prompt_name must be one of"),
        ([A, B, "--reference", "nothing of the kind"], "is not in the tokenizer's vocabulary"),
        ([A, B, "--reference-positions", "padding"], "BertModel has no position of padding"),
        ([A, B, "--model", "no/such-model"], "'no/such-model' cannot be loaded"),
        ([A, B, *FEW, "--html", "no/such/folder/out.html"], "No such file or directory"),
        (["--pairs", "no-such-file.tsv"], "No such file or directory: 'no-such-file.tsv'"),
    ],
)
def test_failures_are_one_line(capsys, argv, message):
    status, out, err = run(capsys, *argv)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("xsbert: error: ")
    assert message in err


def test_a_text_that_is_too_long_is_a_warning(capsys):
    status, out, err = run(capsys, "tea " * 300, B, "--n-steps", "1", "--layer", "6")
    assert status == 0
    assert "46 tokens cut off" in out
    assert re.fullmatch(r"xsbert: warning: text_a is longer than the model's limit of 256 tokens: .*\n", err)


def test_an_interrupt_is_quiet(capsys, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "_explain", interrupt)
    assert run(capsys, A, B) == (130, "", "")


def test_version_and_help(capsys):
    for option, expected in (("--version", f"xsbert {__version__}\n"), ("--help", command.EPILOG)):
        with pytest.raises(SystemExit) as stop:
            main([option])
        assert stop.value.code == 0
        assert expected in capsys.readouterr().out


def test_help_and_usage_errors_import_nothing_heavy():
    """What is not imported takes no time."""
    script = "import sys; from xsbert.__main__ import main\ntry: main(sys.argv[1:])\nfinally: print(*sys.modules)"
    for argv in (["--help"], ["--version"], ["one text"]):
        done = subprocess.run([sys.executable, "-c", script, *argv], capture_output=True, text=True, check=False)
        imported = done.stdout.splitlines()[-1].split()
        assert "xsbert.cli.pair" in imported
        assert not {"numpy", "scipy", "torch", "transformers", "sentence_transformers"} & set(imported)


def test_names_are_there_when_they_are_asked_for():
    import xsbert

    names = set(xsbert.__all__) - {"__version__"}
    assert {name: getattr(xsbert, name).__name__ for name in names} == {name: name for name in names}
    assert set(xsbert.__all__) <= set(dir(xsbert))
    assert set(xsbert._MODULES) == names
    script = "import xsbert; print(xsbert.utils.sum_groups.__name__, xsbert.text.__name__)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "sum_groups xsbert.text\n"
    with pytest.raises(AttributeError, match="module 'xsbert' has no attribute 'nothing_of_the_kind'"):
        xsbert.nothing_of_the_kind  # noqa: B018


def test_the_names_of_rules():
    assert set(options.RULES) == set(RULES)
    assert options.UNITS == UNITS


def test_closed_standard_streams(capsys, monkeypatch):
    """Python has None for them."""
    monkeypatch.setattr(sys, "stdin", None)
    assert run(capsys, "--pairs", "-") == (1, "", "xsbert: error: standard input is closed\n")
    monkeypatch.setattr(sys, "stdout", None)
    status = main([A, B, *FEW])
    assert (status, capsys.readouterr().err) == (1, "xsbert: error: standard output is closed\n")
    monkeypatch.setattr(sys, "stderr", None)
    assert main([A, B, *FEW]) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_full_disk(capsys, monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        status = main([A, B, *FEW])
    assert (status, capsys.readouterr().err) == (1, "xsbert: error: [Errno 28] No space left on device\n")


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text(f"{A}\t{B}\n" * 8)
    command = [sys.executable, "-m", "xsbert", "--pairs", str(path), "--n-steps", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert json.loads(process.stdout.readline())["text_a"] == A
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (141, "")


@pytest.mark.slow
def test_colours_on_a_terminal(result):
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLORTERM": "truecolor", "TERM": "xterm-256color", "COLUMNS": "100"}
    command = [sys.executable, "-m", "xsbert", A, B, *PAD, *FEW]
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, env=environment)
    os.close(theirs)
    content = b""
    while True:
        try:
            content += os.read(ours, 65536)
        except OSError:  # Linux says so when the other side has closed the terminal.
            break
    os.close(ours)
    assert process.wait() == 0
    assert process.stderr.read().decode().startswith(WARNING)
    process.stderr.close()
    lines = content.decode().replace("\r\n", "\n").split("\n")
    drawn = matrix_lines(result, 100)
    assert "\n".join(lines).startswith(str(result))
    assert lines[-len(drawn) - 1 :] == [*drawn, ""]


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({"TERM": "xterm-256color"}, "48;5;"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "48;2;"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": "1"}, None),
        ({"TERM": "dumb", "COLORTERM": "truecolor"}, None),
        ({"TERM": "xterm-256color", "COLUMNS": "40"}, None),
    ],
)
def test_which_colours(monkeypatch, result, environment, coloured):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for name, value in {"COLUMNS": "100", **environment}.items():
        monkeypatch.setenv(name, value)
    out = Terminal()
    print_account(result, out)
    assert out.getvalue().startswith(f"{result}\n")
    assert ("\x1b" in out.getvalue()) == (coloured is not None)
    assert coloured is None or coloured in out.getvalue()


def planted(words_a, words_b, cell, value):
    """A result with one attribution that is not zero."""
    s, t = cell
    factors_a, factors_b = np.zeros((len(words_a), 2)), np.zeros((len(words_b), 2))
    factors_a[s, 0], factors_b[t, 0] = value, 1
    bare = random_result(words_a, words_b)
    return Attribution(
        a=replace(text_factors(words_a, factors_a), embedding=np.array([1.0, 0])),
        b=replace(text_factors(words_b, factors_b), embedding=np.array([1.0, 0])),
        similarity="dot",
        settings=bare.settings,
    )


WORDS_A, WORDS_B = ["[CLS]", "one", "two", "[SEP]"], ["[CLS]", "three", "four", "five", "[SEP]"]


@pytest.mark.parametrize(("value", "colour"), [(0.5, (178, 24, 43)), (-0.5, (33, 102, 172))])
def test_a_planted_signal_shows_in_its_cell_alone(value, colour):
    head, *rows = matrix_lines(planted(WORDS_A, WORDS_B, (1, 3), value), 80)
    assert head.split() == WORDS_B
    assert [ANSI.sub(" ", row).split()[0] for row in rows] == WORDS_A
    cells = [[(tuple(map(int, cell[:3])), float(cell[3])) for cell in CELL.findall(row)] for row in rows]
    assert [len(row) for row in cells] == [5] * 4
    assert cells[1][3] == (colour, value)
    cells[1][3] = ((247, 247, 247), 0)
    assert {cell for row in cells for cell in row} == {((247, 247, 247), 0)}


def test_256_colours():
    lines = matrix_lines(planted(WORDS_A, WORDS_B, (1, 3), 0.5), 80, true_colour=False)
    assert [code for code in re.findall(r"48;5;(\d+)", "".join(lines)) if code != "231"] == ["124"]


def test_lines_are_as_wide_as_each_other_and_no_wider_than_the_terminal():
    words_a = ["[CLS]", "咖啡", "incomprehensibilities", "שלום", "e\u0301te\u0301", "[SEP]"]
    words_b = ["[CLS]", "コーヒー", "한국어는", "extraordinarily", "[SEP]"]
    result = random_result(words_a, words_b)
    drawn = {width: matrix_lines(result, width) for width in range(20, 120)}
    widths = {
        width: {columns(ANSI.sub("", line)) for line in lines} for width, lines in drawn.items() if lines is not None
    }
    narrowest = min(widths)
    assert list(widths) == list(range(narrowest, 120))
    assert narrowest > 20
    assert widths[narrowest] == {narrowest}
    assert all(len(found) == 1 and max(found) <= width for width, found in widths.items())


def test_widths_of_characters():
    family, flag = "👩\u200d👩\u200d👧", "🇩🇪"
    texts = ["tea", "茶", "e\u0301", "ｔ", family, flag, "a\x1bb", "a\u200bb", ""]
    assert [columns(text) for text in texts] == [3, 2, 1, 2, 2, 2, 2, 2, 0]


def test_the_account_aligns_wide_characters():
    lines = str(planted(["[CLS]", "茶", "tea", "[SEP]"], WORDS_B, (1, 3), 1.0)).splitlines()
    start = lines.index("  strongest pairs") + 1
    assert len({columns(line) for line in lines[start:]}) == 1


def test_control_characters_do_not_reach_the_terminal(capsys):
    assert printable("a\x1b[31mb\x07\n茶") == "a\ufffd[31mb\ufffd\n茶"
    result = planted(["[CLS]", "\x1b[31m", "[SEP]"], WORDS_B, (1, 3), 1.0)
    assert "\x1b[31m" not in "".join(matrix_lines(result, 80))
    print_account(result, sys.stdout)
    assert "\x1b" not in capsys.readouterr().out
