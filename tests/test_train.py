"""The training script: end to end, resumed, and with input that it must refuse."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

import train
from tests.tiny_models import WORDS, save_tiny_model
from xsbert import XSTransformer

ROOT = Path(__file__).parents[1]


def some_pairs(n_pairs, seed=0):
    """Pairs that share words, scored from 0 to 5 by how many they share."""
    chance = random.Random(seed)
    rows = []
    for _ in range(n_pairs):
        a = chance.sample(WORDS, 4)
        kept = chance.randint(0, 4)
        b = a[:kept] + chance.choices([word for word in WORDS if word not in a], k=chance.randint(4, 6) - kept)
        rows.append({"sentence1": " ".join(a), "sentence2": " ".join(b), "score": 5 * kept / 4})
    return rows


def write_csv(path, rows):
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return {
        "train": write_csv(folder / "train.csv", some_pairs(64)),
        "dev": write_csv(folder / "dev.csv", some_pairs(32, seed=1)),
        "test": write_csv(folder / "test.csv", some_pairs(32, seed=2)),
    }


def arguments(model_path, files, output, *more):
    options = {"--model": model_path, "--output": output, "--epochs": 2, "--learning-rate": 5e-3}
    options |= {f"--{name}": path for name, path in files.items()}
    return [str(part) for option in options.items() for part in option] + ["--score-range", "0", "5", *more]


def weights(folder):
    return load_file(Path(folder) / "model.safetensors")


@pytest.mark.slow
def test_end_to_end_as_a_command(model_path, files, tmp_path):
    command = [sys.executable, str(ROOT / "train.py"), *arguments(model_path, files, tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["after"]["dev"]["spearman"] > report["before"]["dev"]["spearman"] + 0.05
    assert f"test spearman {report['after']['test']['spearman']:.4f}" in done.stdout
    assert report["data"]["train"] == {"source": "train.csv", "n_pairs": 64}

    model = XSTransformer(str(tmp_path / "run"), device="cpu")
    assert model.shifted
    assert model.similarity_fn_name == "cosine"
    result = model.attribute_prediction("the cat sees a dog", "a bird sings", layer=1, n_steps=64)
    assert abs(result.error) < 1e-3
    card = (tmp_path / "run" / "README.md").read_text()
    assert "64 pairs of `train.csv`, fitting the cosine similarity" in card
    assert f"| test, spearman | {report['before']['test']['spearman']:.4f}" in card
    history = [row["eval_dev_spearman_cosine"] for row in report["history"] if "eval_dev_spearman_cosine" in row]
    assert len(history) == 2
    assert max(history) == pytest.approx(report["after"]["dev"]["spearman"], abs=1e-6)


@pytest.mark.slow
def test_two_processes(model_path, files, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    output = tmp_path / "run"
    command = [*launch, str(ROOT / "train.py"), *arguments(model_path, files, output, "--save-steps", "2")]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((output / "report.json").read_text())
    assert report["n_processes"] == 2
    assert report["n_steps"] == 4
    assert XSTransformer(str(output), device="cpu").shifted


def test_an_unshifted_dot_product_model(model_path, files, tmp_path):
    normalising = SentenceTransformer(model_path, device="cpu")
    normalising.append(train.Normalize())
    normalising.save_pretrained(str(tmp_path / "start"))
    train.main(arguments(tmp_path / "start", files, tmp_path / "run", "--loss", "dot", "--no-shift"))
    model = XSTransformer(str(tmp_path / "run"), device="cpu")
    assert not model.shifted
    assert model.similarity_fn_name == "dot"
    assert len(model) == 2
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["after"]["dev"]["spearman"] > report["before"]["dev"]["spearman"]
    assert report["score_unit"] > 1
    assert f"units of {report['score_unit']:g}" in (tmp_path / "run" / "README.md").read_text()


def test_positions_of_the_reference_are_saved_with_the_model(files, tmp_path):
    path = save_tiny_model(tmp_path / "start", "roberta")
    train.main(arguments(path, files, tmp_path / "run", "--epochs", "1", "--reference-positions", "padding"))
    assert XSTransformer(str(tmp_path / "run"), device="cpu").reference_positions == "padding"
    assert json.loads((tmp_path / "run" / "report.json").read_text())["options"]["reference_positions"] == "padding"


def test_the_unit_puts_dot_products_on_the_scale_of_the_scores(model_path):
    rows = some_pairs(64)
    pairs = train.Pairs(
        "", [r["sentence1"] for r in rows], [r["sentence2"] for r in rows], [r["score"] / 5 for r in rows]
    )
    model = XSTransformer(model_path, shift=True, similarity_fn_name="dot", device="cpu").eval()
    loss = train.DotProductLoss(model, pairs)
    features = [model.preprocess(texts) for texts in (pairs.texts_a, pairs.texts_b)]
    labels = torch.tensor(pairs.scores)
    a, b = (torch.tensor(model.encode(texts)) for texts in (pairs.texts_a, pairs.texts_b))
    expected = ((a * b).sum(1) / loss.unit - labels).square().mean()
    assert loss(features, labels).item() == pytest.approx(expected.item(), rel=1e-4)
    assert loss(features, labels).item() < 1


# Resuming


class Interrupting(train.SentenceTransformerTrainer):
    """Stops as a Ctrl-C would, after so many steps."""

    n_steps = 0

    def training_step(self, *args, **kwargs):
        if self.state.global_step == self.n_steps:
            raise KeyboardInterrupt
        return super().training_step(*args, **kwargs)


@pytest.mark.parametrize(
    ("options", "stop", "kept"),
    [
        pytest.param((), 6, 4, marks=pytest.mark.slow),
        (("--save-steps", "3"), 5, 3),
        pytest.param(("--save-steps", "3"), 7, 6, marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_ends_with_the_same_weights(options, stop, kept, model_path, files, tmp_path, monkeypatch, capfd):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train.main(arguments(model_path, files, whole, *options))
    with monkeypatch.context() as patch:
        patch.setattr(train, "SentenceTransformerTrainer", Interrupting)
        patch.setattr(Interrupting, "n_steps", stop)
        with pytest.raises(SystemExit) as stopped:
            train.main(arguments(model_path, files, parts, *options))
    assert stopped.value.code == 130
    assert "--resume" in capfd.readouterr().err
    assert not (parts / "report.json").exists()
    assert train.last_checkpoint(parts / "checkpoints").endswith(f"checkpoint-{kept}")

    # What an interruption in the middle of saving leaves behind must not be taken for a checkpoint.
    broken = parts / "checkpoints" / "checkpoint-8"
    broken.mkdir()
    (broken / "trainer_state.json").write_text('{"global_step": ')
    assert train.last_checkpoint(parts / "checkpoints").endswith(f"checkpoint-{kept}")

    train.main(arguments(model_path, files, parts, *options, "--resume"))
    expected, resumed = weights(whole), weights(parts)
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
    start = load_file(Path(model_path) / "model.safetensors")
    name = next(name for name in start if name.endswith("layer.1.output.dense.weight"))
    assert not torch.allclose(start[name], expected[name])


# Reading


def test_every_format_gives_the_same_pairs(tmp_path):
    rows = some_pairs(5)
    rows[0]["sentence1"] = 'the "old" cat, und Bäume\tall'
    frame = pd.DataFrame(rows)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t", encoding="utf-8-sig")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "a.parquet")
    options = train.parse_options(["--output", "x", "--score-range", "0", "5"])
    read = [train.read_pairs(tmp_path / f"a.{kind}", options) for kind in ("csv", "tsv", "jsonl", "parquet")]
    for pairs in read:
        assert (pairs.texts_a, pairs.texts_b) == (list(frame["sentence1"]), list(frame["sentence2"]))
        assert pairs.scores == pytest.approx(list(frame["score"] / 5))


def test_texts_of_digits_and_words_for_nothing_stay_texts(tmp_path):
    rows = [("1", "2"), ("NA", "null"), ("001", "1.0"), ("nan", "None")]
    (tmp_path / "a.csv").write_text("sentence1,sentence2,score\n" + "".join(f"{a},{b},1\n" for a, b in rows))
    pairs = train.read_pairs(tmp_path / "a.csv", train.parse_options(["--output", "x"]))
    assert list(zip(pairs.texts_a, pairs.texts_b, strict=True)) == rows


def test_the_files_of_the_sts_benchmark(tmp_path):
    file = tmp_path / "sts.csv"
    lines = [
        'main-captions\tMSRvid\t2012test\t0001\t5.000\tA "plane is off.\tAn air plane is off.',
        "main-news\theadlines\t2013\t17\t1.250\tShe's in.\tHe is 'out.\thttp://a source\thttp://another",
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    layout = "--format tsv --no-header --no-quoting --text-a 6 --text-b 7 --score 5 --score-range 0 5"
    pairs = train.read_pairs(file, train.parse_options(["--output", "x", *layout.split()]))
    assert pairs.texts_a == ['A "plane is off.', "She's in."]
    assert pairs.texts_b == ["An air plane is off.", "He is 'out."]
    assert pairs.scores == [1.0, 0.25]


# Refusing

GOOD = "sentence1,sentence2,score\na cat,a dog,1\na bird,it sings,0\n"
BAD_FILES = {
    "missing column": (
        GOOD.replace("score", "rating"),
        "has no column 'score', it has 'sentence1', 'sentence2', 'rating'",
    ),
    "short row": (GOOD + "a cat,a dog\n", "row 3: the score in column 'score' is no number, got ''"),
    "text score": (GOOD + "a cat,a dog,high\n", "row 3: the score in column 'score' is no number, got 'high'"),
    "no score": (GOOD + "a cat,a dog,\n", "is no number, got ''"),
    "nan": (GOOD + "a cat,a dog,nan\n", "score nan is outside 0 … 1"),
    "outside": (GOOD + "a cat,a dog,4.5\n", "row 3: score 4.5 is outside 0 … 1; give the scale with --score-range"),
    "empty text": (GOOD + "a cat,  ,1\n", "row 3: column 'sentence2' holds no text"),
    "empty file": ("", "cannot be read: No columns to parse from file"),
    "long row": (
        GOOD + "a cat,a dog,1,2\n",
        "cannot be read: Error tokenizing data. C error: Expected 3 fields in line 4",
    ),
    "open quote": (GOOD + '"a cat,a dog,1\n', "cannot be read: Error tokenizing data. C error: EOF inside string"),
    "no rows": ("sentence1,sentence2,score\n", "at least two annotated pairs, got 0"),
}


def refusal(arguments, capfd):
    """The error of a run that must stop before it starts."""
    with pytest.raises(SystemExit) as stopped:
        train.main([str(argument) for argument in arguments])
    message = str(stopped.value.code)
    assert message.startswith("train.py: error: ")
    assert "\n" not in message
    assert "train_runtime" not in capfd.readouterr().out
    return message


@pytest.mark.parametrize("case", BAD_FILES)
@pytest.mark.parametrize("which", ["train", "dev", "test"])
def test_bad_files(which, case, tmp_path, capfd):
    content, expected = BAD_FILES[case]
    options = ["--output", tmp_path / "run", "--model", "nowhere"]
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.csv").write_text(content if name == which else GOOD, encoding="utf-8")
        options += [f"--{name}", tmp_path / f"{name}.csv"]
    message = refusal(options, capfd)
    assert expected in message
    assert f"{which}.csv" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.xlsx", b"PK", "unknown format '.xlsx'; name one of csv, tsv, jsonl, parquet by --format"),
        ("a.csv", b"sentence1,sentence2,score\n\xff\xfe,a,1\n", "cannot be read"),
        ("a.parquet", b"no parquet", "cannot be read"),
        ("a.jsonl", b"{'a': 1}\n", "cannot be read: JSON parse error"),
        ("a.jsonl", b"[1, 2]\n", "has no column 'sentence1'"),
        ("a.jsonl", b'{"sentence1": "a", "score": 1}\n', "has no column 'sentence2', it has 'sentence1', 'score'"),
        ("a.jsonl", b'{"sentence1": 1, "sentence2": "a", "score": 1}\n', "holds no text, got 1"),
        ("a.jsonl", b'{"sentence1": "a", "sentence2": "a", "score": null}\n', "is no number, got None"),
        ("missing.csv", None, "cannot be read"),
    ],
)
def test_files_that_cannot_be_read(name, content, expected, tmp_path, capfd):
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    assert expected in refusal(["--output", tmp_path / "run", "--train", file, "--dev", file], capfd)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--batch-size 0", "--batch-size must be above 0"),
        ("--epochs -1", "--epochs must be above 0"),
        ("--learning-rate nan", "--learning-rate must be above 0"),
        ("--warmup 1.5", "--warmup is a share"),
        ("--score-range 5 0", "LOW < HIGH"),
        ("--no-shift --reference unk", "has no effect"),
        ("--no-shift --reference-positions padding", "--reference-positions without a shift has no effect"),
        ("--no-header", "columns are given by number"),
        ("--no-header --text-a 0 --text-b 2 --score 3", "by number from 1, got 0, 2, 3"),
        ("--reference nonsense", "not in the tokenizer's vocabulary"),
        ("--model /nowhere/at/all", "--model /nowhere/at/all cannot be loaded"),
    ],
)
def test_bad_options(options, expected, model_path, files, tmp_path, capfd):
    assert expected in refusal(arguments(model_path, files, tmp_path / "run") + options.split(), capfd)


def test_train_without_dev(files, tmp_path, capfd):
    assert "belong together" in refusal(["--output", tmp_path, "--train", files["train"]], capfd)
    assert "belong together" in refusal(["--output", tmp_path, "--test", files["test"]], capfd)


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU, fp16 runs")
def test_half_precision_without_a_gpu(model_path, files, tmp_path, capfd):
    assert "needs a GPU" in refusal(arguments(model_path, files, tmp_path, "--precision", "fp16"), capfd)


def test_output_that_cannot_be_written(model_path, files, tmp_path, capfd):
    (tmp_path / "file").touch()
    message = refusal(arguments(model_path, files, tmp_path / "file" / "run"), capfd)
    assert "cannot be written: Not a directory" in message


def test_output_of_another_run(model_path, files, tmp_path, capfd):
    (tmp_path / "something").touch()
    assert "is not empty; --resume goes on with it" in refusal(arguments(model_path, files, tmp_path), capfd)
    (tmp_path / "options.json").write_text(
        json.dumps(vars(train.parse_options(arguments(model_path, files, tmp_path))), default=str)
    )
    changed = arguments(model_path, files, tmp_path, "--resume", "--seed", "7")
    assert "--seed was 42, now is 7" in refusal(changed, capfd)


def test_a_shifted_model_cannot_be_unshifted(model_path, files, tmp_path, capfd):
    XSTransformer(model_path, shift=True, device="cpu").save_pretrained(str(tmp_path / "shifted"))
    message = refusal(arguments(tmp_path / "shifted", files, tmp_path / "run", "--no-shift"), capfd)
    assert "--no-shift cannot undo it" in message


def test_the_hub_out_of_reach(model_path, tmp_path, monkeypatch, capfd):
    def unreachable(name):
        raise ConnectionError("no way\nthere")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    message = refusal(["--model", model_path, "--output", tmp_path / "run"], capfd)
    assert "sentence-transformers/stsb could not be loaded, give --train and --dev files instead: no way" in message
