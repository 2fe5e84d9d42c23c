"""The rows of a corpus are the explanations that the model gives one by one, and can be read back without it."""

import importlib
import json
import re
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset, load_dataset
from sentence_transformers import SentenceTransformer

import xsbert
from tests.pairs import PAIRS as ALL_PAIRS
from tests.tiny_models import TEXTS, save_tiny_model
from xsbert import Attribution, XSTransformer
from xsbert.corpus import (
    Task,
    attribution_of_row,
    explain_columns,
    explain_corpus,
    factors_of_row,
    highlights_of_row,
    read_corpus,
)
from xsbert.corpus.sources import CHUNK, rows_of_source

PAIRS = ALL_PAIRS[:2]
FEW = {"n_steps": 3, "show_progress_bar": False}


@pytest.fixture(scope="module")
def tiny_path(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tiny(tiny_path):
    return XSTransformer(tiny_path, device="cpu")


@pytest.fixture(scope="module")
def tiny_pairs():
    """Texts recur in several shards of four rows, in either column."""
    return [(TEXTS[i % 6], TEXTS[(i * i + 1) % 6]) for i in range(11)]


def same_parts(out, expected, tolerance=1e-12):
    for name, value in expected.parts.items():
        assert out.parts[name] == pytest.approx(value, abs=1e-6)
    assert out.score == pytest.approx(expected.score, abs=tolerance)
    np.testing.assert_allclose(out.matrix, expected.matrix, rtol=1e-6, atol=1e-9)
    for side in "ab":
        name = f"main_effects_{side}"
        np.testing.assert_allclose(getattr(out, name), getattr(expected, name), atol=tolerance)
        for name in (f"residual_{side}", f"factor_error_{side}"):
            # Texts of one length are computed together, or not: the last digits differ.
            assert getattr(out, name) == pytest.approx(getattr(expected, name), rel=1e-9)
        one, other = getattr(out, side), getattr(expected, side)
        for name in ("text", "prompt", "tokens", "roles", "word_ids", "spans", "n_cut"):
            assert getattr(one, name) == getattr(other, name)
    assert out.settings == expected.settings
    assert str(out) == str(expected)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_pairs_of_the_real_model(tmp_path, model, similarity):
    corpus = explain_corpus(model, PAIRS, tmp_path / "out", similarity=similarity, show_progress_bar=False)
    expected = model.explain_pairs(PAIRS, similarity=similarity)
    for row, one in enumerate(expected):
        out = corpus.attribution(row)
        same_parts(out, one)
        words = out.words()
        assert words.tokens_a == one.words().tokens_a
        np.testing.assert_allclose(words.matrix, one.words().matrix, atol=1e-6)


def test_the_score_without_an_added_shift_is_told(tmp_path, shifted):
    corpus = explain_corpus(shifted, PAIRS[:2], tmp_path / "out", **FEW)
    for row, one in enumerate(shifted.explain_pairs(PAIRS[:2], n_steps=3)):
        out = corpus.attribution(row)
        assert out.score_unshifted == pytest.approx(one.score_unshifted, abs=1e-12)
        same_parts(out, one)


@pytest.mark.parametrize("what", ["pairs", "highlights"])
@pytest.mark.parametrize("units", ["tokens", "words", "sentences"])
def test_contributions_and_the_baseline_sum_to_the_score(tmp_path, model, what, units):
    corpus = explain_corpus(model, PAIRS, tmp_path / "out", what=what, units=units, **FEW)
    names = ("contributions_a", "contributions_b") if what == "pairs" else ("contributions",)
    for row, pair in zip(corpus.to_table().to_pylist(), PAIRS, strict=True):
        total = sum(sum(row[name]) for name in names) + row["baseline"]
        assert abs(row["score"] - total) == pytest.approx(row["error"], abs=1e-9)
        assert row["score"] == pytest.approx(float(model.similarity(*map(model.encode, pair))), abs=1e-6)


def test_the_strongest_cells(tmp_path, model):
    corpus = explain_corpus(model, PAIRS, tmp_path / "out", top_k=5, **FEW)
    for row, out in zip(corpus.to_table().to_pylist(), model.explain_pairs(PAIRS, n_steps=3), strict=True):
        between_words = [
            (s, t, value)
            for s, t, value in out.top_pairs(out.matrix.size)
            if out.a.roles[s] == out.b.roles[t] == "text"
        ]
        found = [(cell["a"], cell["b"], cell["value"]) for cell in row["top"]]
        assert found == between_words[:5]
        with pytest.raises(ValueError, match="keeps no matrix"):
            attribution_of_row(row)


def test_factors_come_back_bit_by_bit(tmp_path, model):
    texts = [text for pair in PAIRS for text in pair]
    corpus = explain_corpus(model, texts, tmp_path / "out", what="factors", dtype="float64", **FEW)
    for row, one in enumerate(model.text_factors(texts, n_steps=3)):
        out = corpus.factors(row)
        for name in ("factors", "embedding", "reference_term"):
            np.testing.assert_array_equal(getattr(out, name), getattr(one, name))
        for name in ("text", "tokens", "roles", "word_ids", "spans", "settings", "factor_error", "residual"):
            assert getattr(out, name) == getattr(one, name)
    expected = Attribution.of(*model.text_factors(texts[:2], n_steps=3), "cosine")
    assert str(corpus.attribution(0, 1)) == str(expected)


def test_factors_in_half_precision(tmp_path, model):
    corpus = explain_corpus(model, [PAIRS[0][0]], tmp_path / "out", what="factors", **FEW)
    (expected,) = model.text_factors([PAIRS[0][0]], n_steps=3)
    found = corpus.factors(0).factors
    # Half a unit in the last place of 11 bits, or of the smallest number that there is.
    assert (np.abs(found - expected.factors) <= np.maximum(2.0**-11 * np.abs(expected.factors), 2.0**-25)).all()
    assert corpus.to_table().schema.field("factors").type == pa.list_(pa.list_(pa.float16()))


def test_factors_that_half_precision_cannot_hold(tmp_path, tiny_path):
    large = XSTransformer(tiny_path, device="cpu")
    with torch.no_grad():
        large[0].model.encoder.layer[-1].output.LayerNorm.weight.mul_(1e6)
    corpus = explain_corpus(large, TEXTS[:2], tmp_path / "out", what="factors", **FEW)
    reasons = corpus.to_table()["reason"].to_pylist()
    assert all(reason.startswith("ValueError: a factor of ") and "float16" in reason for reason in reasons)
    exact = explain_corpus(large, TEXTS[:2], tmp_path / "exact", what="factors", dtype="float32", **FEW)
    assert exact.counts()["failed"] == 0


def test_factors_that_half_precision_rounds_away(tmp_path, tiny_path):
    """Below 6e-8 it has no numbers, and few above."""
    small = XSTransformer(tiny_path, device="cpu")
    with torch.no_grad():
        for parameter in small[0].model.encoder.layer[-1].output.LayerNorm.parameters():
            parameter.mul_(1e-6)
    corpus = explain_corpus(small, TEXTS[:2], tmp_path / "out", what="factors", **FEW)
    for reason in corpus.to_table()["reason"].to_pylist():
        assert re.fullmatch(
            r"ValueError: factors of at most .* are too small for float16, .* changes them by .*%", reason
        )
    exact = explain_corpus(small, TEXTS[:2], tmp_path / "exact", what="factors", dtype="float32", **FEW)
    assert exact.counts()["failed"] == 0


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_highlights_of_a_hit_without_the_model(tmp_path, model, similarity):
    queries, documents = zip(*PAIRS, strict=True)
    how = {"similarity": similarity, **FEW}
    marked = explain_corpus(model, PAIRS, tmp_path / "marked", what="highlights", **how)
    stored = explain_corpus(model, documents, tmp_path / "stored", what="factors", dtype="float64", **how)
    for place, query in enumerate(model.encode(list(queries))):
        row = marked.row(place)
        document, shares, baseline = highlights_of_row(stored.row(place), query, similarity)
        np.testing.assert_allclose(shares, row["contributions"], atol=1e-6)
        assert baseline == pytest.approx(row["baseline"], abs=1e-6)
        assert list(document.tokens) == row["tokens"]
        # The columns of the pair's own attribution, its main effects of the document included.
        (out,) = model.explain_pairs([PAIRS[place]], similarity=similarity, n_steps=3)
        gap = np.linalg.norm(out.a.factors.sum(0) + out.a.reference_term - out.a.embedding)
        bound = gap * np.linalg.norm(out.b.factors, axis=1) / out.scale
        assert (np.abs(out.matrix.sum(0) + out.main_effects_b - shares) <= bound + 1e-6).all()
    with pytest.raises(ValueError, match="query must have shape"):
        highlights_of_row(stored.row(0), np.ones(3))


def test_queries_and_documents_have_prompts_of_their_own(tmp_path, minilm_path):
    prompts = {"query": "query: ", "document": "passage: "}
    model = XSTransformer.wrap(SentenceTransformer(minilm_path, prompts=prompts, device="cpu"))
    row = explain_corpus(model, PAIRS[:1], tmp_path / "out", what="highlights", **FEW).row(0)
    score = model.similarity(model.encode_query(PAIRS[0][0]), model.encode_document(PAIRS[0][1]))
    assert row["score"] == pytest.approx(float(score), abs=1e-6)
    assert row["prompt"] == "passage: "
    assert set(row["roles"]) == {"text", "special", "prompt"} or set(row["roles"]) == {"text", "special"}
    named = explain_corpus(model, PAIRS[:1], tmp_path / "named", prompt=("query: ", "passage: "), **FEW)
    (a,), (b,) = (
        model.text_factors([text], n_steps=3, prompt=p) for text, p in zip(PAIRS[0], prompts.values(), strict=True)
    )
    same_parts(named.attribution(0), Attribution.of(a, b, "cosine"))


def test_one_pure_function(tiny, tiny_pairs):
    columns = pa.table({"text_a": [a for a, _ in tiny_pairs], "text_b": [b for _, b in tiny_pairs], "label": range(11)})
    before = columns.to_pydict()
    task = Task.of(tiny, "pairs", n_steps=3)
    once, twice = (explain_columns(tiny, columns, task) for _ in range(2))
    assert once.equals(twice)
    assert columns.to_pydict() == before
    assert once["label"].to_pylist() == [*range(11)]
    with pytest.raises(ValueError, match="columns have names that the results use: n_cut_a"):
        explain_columns(tiny, columns.rename_columns(["text_a", "text_b", "n_cut_a"]), task)
    with pytest.raises(ValueError, match="columns must have text_a, text_b, got text_b, label"):
        explain_columns(tiny, columns.drop_columns(["text_a"]), task)


def test_texts_that_fail_are_rows_with_a_reason(tmp_path, tiny, monkeypatch):
    compute = tiny.text_factors

    def fails(texts, **options):
        if TEXTS[1] in texts:
            raise FloatingPointError("numbers that are not finite")
        return compute(texts, **options)

    monkeypatch.setattr(tiny, "text_factors", fails)
    rows = [("a cat", TEXTS[1]), (None, "a cat"), ("dog", " \n"), (7, "\ud800 x"), ("dog", "a cat"), (TEXTS[1], "")]
    corpus = explain_corpus(tiny, rows, tmp_path / "out", **FEW)
    assert [row["reason"] for row in corpus.to_table().to_pylist()] == [
        "text_b: FloatingPointError: numbers that are not finite",
        "text_a: there is no text (null)",
        "text_b: the text is empty or only white space",
        "text_a: a text must be a string, got int: 7; "
        "text_b: the text is no Unicode text: surrogates not allowed at 0 of '\\ud800 x'",
        None,
        "text_b: the text is empty or only white space",
    ]
    assert corpus.counts() == {"rows": 6, "failed": 5, "cut": 0, "missed": 0}
    assert corpus.failures()["row"].to_pylist() == [0, 1, 2, 3, 5]
    with pytest.raises(ValueError, match="row 0 could not be explained: text_b: FloatingPointError"):
        corpus.attribution(0)
    assert corpus.attribution(4).score == pytest.approx(float(tiny.similarity(*map(tiny.encode, rows[4]))), abs=1e-6)


def test_a_device_that_is_gone_ends_the_job(tmp_path, tiny, monkeypatch):
    monkeypatch.setattr("xsbert.corpus.columns.FATAL", (ConnectionError,))
    task = Task.of(tiny, "factors", n_steps=3)
    monkeypatch.setattr(tiny, "text_factors", lambda *_, **__: (_ for _ in ()).throw(ConnectionError("gone")))
    with pytest.raises(ConnectionError):
        explain_columns(tiny, pa.table({"text": TEXTS}), task)


def test_what_the_rows_tell_of_their_texts(tmp_path, tiny):
    long = " ".join(["the old cat sees"] * 40)
    corpus = explain_corpus(tiny, [long, "a cat"], tmp_path / "out", what="factors", layer=0, n_steps=1)
    assert corpus.row(0)["n_cut"] == tiny.text_factors([long], layer=0, n_steps=1)[0].n_cut > 0
    assert corpus.counts()["cut"] == 1
    missed = explain_corpus(tiny, TEXTS, tmp_path / "missed", what="factors", layer=0, tolerance=1e-9, max_steps=2)
    residuals = np.array(missed.to_table()["residual"])
    assert missed.counts()["missed"] == (residuals > 1e-9).sum() > 0
    assert f"{missed.counts()['missed']} miss the tolerance" in str(missed)


def test_a_source_in_any_form_is_the_same_job(tmp_path, tiny, tiny_pairs):
    rows = [{"a": a, "b": b, "n": n} for n, (a, b) in enumerate(tiny_pairs)]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "rows.parquet")
    (tmp_path / "folder").mkdir()
    pq.write_table(table.slice(0, 5), tmp_path / "folder" / "0.parquet")
    pq.write_table(table.slice(5), tmp_path / "folder" / "1.parquet")
    table.to_pandas().to_csv(tmp_path / "rows.csv", index=False)
    table.to_pandas().to_csv(tmp_path / "rows.tsv", index=False, sep="\t")
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    sources = [
        *(tmp_path / name for name in ("rows.parquet", "folder", "rows.csv", "rows.tsv", "rows.jsonl")),
        str(tmp_path / "rows.csv"),
        table,
        table.to_pandas(),
        Dataset.from_list(rows),
        rows,
        iter(rows),
    ]
    columns = ("a", "b")
    corpus = explain_corpus(tiny, tiny_pairs, tmp_path / "out", shard_size=4, **FEW)
    written = [path.stat().st_mtime_ns for path in sorted((tmp_path / "out").glob("part-*"))]
    for source in sources:
        explain_corpus(tiny, source, tmp_path / "out", columns=columns, shard_size=4, **FEW)
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "out").glob("part-*"))] == written
    assert len(corpus) == len(tiny_pairs)


def test_ids_and_kept_columns(tmp_path, tiny):
    rows = [{"text": text, "key": f"k{n}", "label": n / 2, "other": "x"} for n, text in enumerate(TEXTS)]
    how = {"what": "factors", "id": "key", "keep": ["label"], **FEW}
    table = explain_corpus(tiny, rows, tmp_path / "out", **how).to_table()
    assert table["id"].to_pylist() == [row["key"] for row in rows]
    assert table["label"].to_pylist() == [row["label"] for row in rows]
    assert "other" not in table.column_names
    rows[2]["label"] = 17.0
    with pytest.raises(ValueError, match="source fingerprint"):
        explain_corpus(tiny, rows, tmp_path / "out", **how)


def test_a_kept_column_may_have_any_name_that_no_result_has(tmp_path, tiny):
    rows = [{"text": text, "bad_words": place, "score": 0.5} for place, text in enumerate(TEXTS)]
    corpus = explain_corpus(tiny, rows, tmp_path / "out", what="factors", keep=["bad_words", "score"], **FEW)
    assert corpus.to_table(["bad_words"])["bad_words"].to_pylist() == [*range(len(TEXTS))]
    assert corpus.row(1)["score"] == 0.5


@pytest.mark.parametrize("kind", ["parquet", "table", "dataset"])
def test_a_kept_column_that_is_null_at_first(tmp_path, tiny, kind):
    """As long as the source has a schema, which tells what it is of."""
    n = CHUNK + 1
    late = pa.array([None] * (n - 1) + ["late"], pa.string())
    nested = pa.array([[]] * (n - 1) + [[1]], pa.list_(pa.int64()))
    table = pa.table({"text": ["a cat"] * n, "late": late, "coded": late.dictionary_encode(), "nested": nested})
    pq.write_table(table, tmp_path / "late.parquet")
    source = {"parquet": tmp_path / "late.parquet", "table": table, "dataset": Dataset(table)}[kind]
    (*_, last) = rows_of_source(source, ("text",), None, None, ["late", "coded", "nested"])
    assert last.drop_columns(["row", "bad_text"]).to_pylist() == [
        {"text": "a cat", "late": "late", "coded": "late", "nested": [1]}
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["s", float("nan")], "the column 'k' that is to be kept has float nan in row 1 after string"),
        ([None, 1, 2, "s", 3], "has str 's' in row 3 after int64"),
        (["a", "\ud800"], "has str .* in row 1 after string"),
        ([object()], "has object .* in row 0: a column is of one type"),
    ],
)
def test_a_kept_column_of_several_types(tmp_path, tiny, values, message):
    rows = [{"text": "a cat", "k": value} for value in values]
    with pytest.raises(ValueError, match=message):
        explain_corpus(tiny, rows, tmp_path / "out", what="factors", keep=["k"], **FEW)


def test_a_row_that_lacks_its_text_is_one_with_a_reason(tmp_path, tiny):
    rows = [{"text_a": "a cat", "text_b": "dog"}, {"text_a": "a cat"}, {"text_b": "dog", "text_a": None}]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    corpus = explain_corpus(tiny, tmp_path / "rows.jsonl", tmp_path / "out", **FEW)
    assert corpus.to_table(["reason"])["reason"].to_pylist() == [
        None,
        "text_b: there is no text (null)",
        "text_a: there is no text (null)",
    ]
    # Whichever of them is the first.
    other = explain_corpus(tiny, rows[1:], tmp_path / "other", **FEW)
    assert other.counts()["failed"] == 2


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ([], ValueError, "source has no rows"),
        (7, TypeError, "source must be a path"),
        ({"text": ["a"]}, TypeError, "source must be a path"),
        ("missing.parquet", FileNotFoundError, r"no source missing\.parquet"),
        ([{"words": "a"}], ValueError, "no row has a column text; row 0 has words: columns"),
        ([("a", "b")], ValueError, "row 0 must have 1 texts, got 2"),
    ],
)
def test_sources_that_are_refused(tmp_path, tiny, source, error, message):
    with pytest.raises(error, match=message):
        explain_corpus(tiny, source, tmp_path / "out", what="factors", **FEW)
    assert not list((tmp_path / "out").glob("*.parquet"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", "text,n\na cat,1,2\n", "line 2: it has 3 fields, the first record has 2"),
        ("rows.txt", "a cat\n", "must end in"),
    ],
)
def test_files_that_are_malformed(tmp_path, tiny, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        explain_corpus(tiny, tmp_path / name, tmp_path / "out", what="factors", **FEW)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"what": "matrix"}, ValueError, "what must be one of 'pairs', 'factors', 'highlights', got 'matrix'"),
        ({"units": "letters"}, ValueError, "units must be one of"),
        ({"dtype": "int8"}, ValueError, "dtype must be one of"),
        ({"top_k": 0}, ValueError, "top_k must be at least 1"),
        ({"top_k": 2.0}, TypeError, "top_k must be None or an integer"),
        ({"top_k": 3, "what": "factors"}, ValueError, "requires what='pairs'"),
        ({"texts": ["a"]}, TypeError, "unexpected keyword argument 'texts'"),
        ({"shard_sise": 3}, TypeError, "unexpected keyword argument 'shard_sise'; did you mean 'shard_size'"),
        ({"factor_tolerance": -1}, ValueError, "factor_tolerance must be above 0"),
        ({"layer": 99}, ValueError, "layer must be between"),
        ({"similarity": "cos"}, ValueError, "did you mean 'cosine'"),
        ({"columns": ("a",)}, ValueError, "columns must name 2 columns"),
        ({"keep": ("score",)}, ValueError, "keep names columns that the results use: score"),
        (
            {"keep": ("error", "n_cut_a")},
            ValueError,
            "keep names columns that the results use: error, n_cut_a",
        ),
        ({"keep": ("bad_text_a", "matrix")}, ValueError, "results use: bad_text_a, matrix"),
        ({"keep": "label"}, ValueError, "keep must be a sequence of names of columns, got 'label'"),
        ({"shard_size": 0}, ValueError, "shard_size must be at least 1, got 0"),
        ({"shard_size": 2.5}, TypeError, "shard_size must be an integer"),
        ({"memory_budget": -1}, ValueError, "memory_budget must be above 0"),
        ({"prompt": ("a", "b", "c")}, TypeError, "prompt must be a string, None, or a tuple of 2"),
        ({"prompt": "a", "prompt_name": "b"}, ValueError, "pass prompt or prompt_name, not both"),
        ({"prompt_name": "b"}, ValueError, "prompt_name must be one of"),
    ],
)
def test_arguments_that_make_no_sense(tmp_path, tiny, tiny_pairs, options, error, message):
    with pytest.raises(error, match=message):
        explain_corpus(tiny, tiny_pairs, tmp_path / "out", **options)
    assert not (tmp_path / "out" / "_corpus.json").exists()


def test_rows_are_read_by_datasets(tmp_path, tiny):
    corpus = explain_corpus(tiny, TEXTS, tmp_path / "out", what="factors", shard_size=4, **FEW)
    files = [str(path) for path in sorted((tmp_path / "out").glob("part-*.parquet"))]
    dataset = load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    for place, row in enumerate(dataset):
        np.testing.assert_array_equal(factors_of_row(row).factors, corpus.factors(place).factors)
    frame = corpus.to_dataframe()
    np.testing.assert_array_equal(factors_of_row(frame.iloc[1].to_dict()).factors, corpus.factors(1).factors)


def test_rows_beside_an_index(tmp_path, tiny):
    lancedb = pytest.importorskip("lancedb")
    corpus = explain_corpus(tiny, TEXTS, tmp_path / "out", what="factors", **FEW)
    table = lancedb.connect(str(tmp_path / "index")).create_table("texts", corpus.to_table())
    query = tiny.encode("the cat sees the bird")
    hits = table.search(query.tolist(), vector_column_name="embedding").distance_type("cosine").limit(3).to_list()
    for hit in hits:
        document, shares, baseline = highlights_of_row(hit, query)
        assert document.text == TEXTS[hit["row"]]
        score = shares.sum() + baseline
        assert score == pytest.approx(1 - hit["_distance"], abs=0.02 + 2 * hit["residual"])


def test_reading_what_is_not_there(tmp_path, tiny):
    with pytest.raises(FileNotFoundError, match="is not a corpus"):
        read_corpus(tmp_path)
    corpus = explain_corpus(tiny, TEXTS, tmp_path / "out", what="factors", shard_size=2, **FEW)
    with pytest.raises(IndexError, match="row must be between 0 and 5, got 6"):
        corpus.row(6)
    with pytest.raises(ValueError, match="pass two rows of a corpus of factors"):
        corpus.attribution(0)
    (tmp_path / "out" / "part-00001.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="1 of 3 shards are missing"):
        read_corpus(tmp_path / "out")
    partial = read_corpus(tmp_path / "out", partial=True)
    assert partial.to_table()["row"].to_pylist() == [0, 1, 4, 5]
    assert partial.row(4)["text"] == TEXTS[4]
    with pytest.raises(FileNotFoundError, match="row 2 is in shard 1"):
        partial.row(2)
    manifest = tmp_path / "out" / "_corpus.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "format_version": 99}))
    with pytest.raises(ValueError, match="newer version"):
        read_corpus(tmp_path / "out")
    manifest.write_text(manifest.read_text()[:50])
    with pytest.raises(ValueError, match="damaged"):
        read_corpus(tmp_path / "out")


def test_the_extra_is_named_where_pyarrow_is_missing(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("xsbert.corpus")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(xsbert, "corpus", raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r'pip install "xsbert\[corpus\]"'):
        importlib.import_module("xsbert.corpus")
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = xsbert.nonsense
