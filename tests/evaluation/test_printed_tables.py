"""Tables as text, data frames, LaTeX and CSV; results in one file; strongest pairs with labels."""

import io
import sys

import numpy as np
import pytest

import xsbert
from xsbert._utils.printed_tables import WIDTH, html_table, text_table
from xsbert.evaluation.linguistics import LabelledSpan, contributions, lexical_bias, strongest_pairs
from xsbert.evaluation.methods import explain_with

PAIRS = [
    ("A man plays the guitar.", "The man is playing a guitar."),
    ("The soup was salty.", "She bought a car."),
]


def labeller(text):
    found, start = [], 0
    for word in text.split():
        found.append(LabelledSpan(start, start + len(word), "NOUN" if len(word) > 3 else "PART"))
        start += len(word) + 1
    return found


@pytest.fixture(scope="module")
def results(model):
    return list(model.explain_pairs(PAIRS))


@pytest.fixture(scope="module")
def table(model):
    return xsbert.faithfulness(
        model, PAIRS, methods=["products", "lexical", "random"], operators=["remove", "unk", "mask"], layers=[-2]
    )


@pytest.mark.parametrize("n_columns", [2, 9, 40])
def test_printed_tables_fit_and_hold_every_cell(n_columns):
    cells = [[f"{row} in {column}" for column in range(n_columns)] for row in ("head", "first row", "second")]
    lines = text_table("a title " * 30, cells, ["a note " * 40]).split("\n")
    assert max(map(len, lines)) <= WIDTH
    text = "\n".join(lines)
    assert all(cell in text for row in cells for cell in row)
    # Each block repeats the first column.
    n_blocks = sum(line.startswith("first row in 0") for line in lines)
    assert n_blocks == sum(line.startswith("head in 0") for line in lines) > n_columns / 12


def test_cells_of_html_are_escaped():
    assert html_table("<t>", [["<a>"], ["&"]], ["<n>"]) == (
        "<table><caption>&lt;t&gt;</caption><tr><th>&lt;a&gt;</th></tr><tr><td>&amp;</td></tr></table><p>&lt;n&gt;</p>"
    )


def test_a_table_of_faithfulness_fits_a_terminal(table):
    lines = str(table).split("\n")
    assert max(map(len, lines)) <= WIDTH
    for metric in ("pearson remove", "pearson mean", "curve mean"):
        assert metric in str(table)


def test_faithfulness_as_a_data_frame(table):
    frame = table.to_dataframe()
    assert len(frame) == len(table.rows) * len(frame.groupby(["metric", "operator"]))
    row = frame[(frame.method == "products") & (frame.metric == "pearson") & (frame.operator == "mean")].iloc[0]
    expected = table.estimate("products")
    stated = (expected.value, expected.low, expected.high, expected.n)
    np.testing.assert_equal((row.value, row.low, row.high, row.n), stated)
    assert str(frame.layer.dtype) == "Int64"


def test_latex_and_csv_hold_the_numbers_of_the_table(table, results, tmp_path):
    import pandas as pd

    latex = table.to_latex(tmp_path / "table.tex", caption="Faithfulness", label="tab:one")
    assert (tmp_path / "table.tex").read_text(encoding="utf-8") == latex
    assert r"\caption{Faithfulness}" in latex
    assert f"{table.estimate('products').value:.3f}" in latex
    assert latex.count(r"\\") == 1 + len(table.rows)
    bias = lexical_bias(results)
    assert f"{bias.rows[0][1]:.2f} & " in bias.to_latex(decimals=2)
    for each in (table, bias, contributions(results, labeller)):
        read = pd.read_csv(io.StringIO(each.to_csv()), float_precision="round_trip")
        assert read.shape == each.to_dataframe().shape
    read = pd.read_csv(io.StringIO(bias.to_csv()), float_precision="round_trip")
    assert read["mean cell"].tolist() == bias.column("mean cell")


@pytest.mark.parametrize(("missing", "call"), [("pandas", "to_csv"), ("pandas", "to_latex"), ("jinja2", "to_latex")])
def test_a_missing_library_is_named(results, monkeypatch, missing, call):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=f"needs {missing}: pip install {missing}"):
        getattr(lexical_bias(results), call)()


def test_contributions_of_a_document_are_a_data_frame(model):
    hit = model.explain_ranking("guitar", [PAIRS[0][0]])[0]
    frame = hit.document.to_dataframe()
    assert frame.contribution.sum() + hit.document.baseline == pytest.approx(hit.document.total)
    row = frame[frame.unit == "guitar"].iloc[0]
    assert hit.text[row.start : row.end] == "guitar"
    assert hit.document.to_csv().startswith("unit,role,start,end,contribution")


def test_strongest_pairs_have_labels_and_are_those_of_the_words(results):
    found = strongest_pairs(results, labeller, k=3)
    assert len(found.rows) == 3 * len(results)
    words = results[0].words()
    expected = words.top_pairs(3, names=True, special=False)
    assert [(a, b, value) for place, a, _, b, _, value in found.rows if place == 0] == expected
    labels = {"man": "PART", "guitar": "NOUN", "plays": "NOUN", "playing": "NOUN"}
    assert all(labels.get(word, label) == label for _, word, label, *_ in found.rows)
    alone = strongest_pairs(results[0], labeller, k=3)
    assert alone.columns == ("word a", "label a", "word b", "label b", "value")
    assert alone.rows == tuple(row[1:] for row in found.rows[:3])
    assert strongest_pairs(words, labeller, k=3).rows == alone.rows
    with pytest.raises(ValueError, match="results must hold at least one attribution"):
        strongest_pairs([], labeller)


def test_words_are_filled_for_words_as_for_tokens(results):
    tokens, words = results[0].to_dataframe(), results[0].words().to_dataframe()
    sums = tokens.groupby(["word_a", "word_b"]).value.sum()
    assert words.groupby(["word_a", "word_b"]).value.sum().to_dict() == pytest.approx(sums.to_dict())
    assert set(words.word_a) == set(tokens.word_a)
    phrases = results[0].over(a=[(0, 5)]).to_dataframe()
    assert None in set(phrases.word_a) or phrases.word_a.isna().any()


def test_many_results_in_one_file(model, results, tmp_path):
    path = tmp_path / "results.safetensors"
    others = list(explain_with("lexical", model, PAIRS))
    given = [*results, results[0].words(), *others]
    xsbert.save_attributions(iter(given), path)
    loaded = xsbert.load_attributions(path)
    assert [type(each) for each in loaded] == [type(each) for each in given]
    for one, other in zip(given, loaded, strict=True):
        assert one.to_dict() == other.to_dict()
    with pytest.raises(ValueError, match=r"holds several results, which xsbert\.load_attributions reads"):
        xsbert.Attribution.load(path)
    results[0].save(tmp_path / "one")
    with pytest.raises(ValueError, match=r"cannot be read as a file of results: it holds a result, which Attribution"):
        xsbert.load_attributions(tmp_path / "one")
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="its data do not fit their checksum"):
        xsbert.load_attributions(path)


def test_what_is_no_list_of_results_is_refused(results, tmp_path):
    path = tmp_path / "results"
    with pytest.raises(TypeError, match=r"must be a list of attributions, got Attribution; one result has save"):
        xsbert.save_attributions(results[0], path)
    with pytest.raises(TypeError, match=r"results\[1\] must be an Attribution, got str"):
        xsbert.save_attributions([results[0], "x"], path)
    with pytest.raises(ValueError, match="at least one attribution"):
        xsbert.save_attributions([], path)
    assert not path.exists()
