"""The table of kinds of models and abilities: each cell is walked through."""

import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import xsbert
from xsbert.__main__ import main
from xsbert.models.wrapping import ABILITIES, KINDS, abilities_table, class_of

A, B = "A cold day.", "The day is cold."
QUICK = {"layer": -1, "n_steps": 2}
DOCS = Path(xsbert.__file__).parents[1] / "docs"


def explained(model):
    return model.attribute_prediction(A, B, **QUICK)


def ranked(model, **how):
    return model.explain_ranking(A, [B, "Stock prices fell on a cold day."], **QUICK, **how)


def plot(model, folder):
    plt.close(explained(model).plot_heatmap()[0])


def corpus(model, folder, what):
    rows = [{"text_a": A, "text_b": B, "query": A, "document": B, "text": A}]
    wanted = {"pairs": ("text_a", "text_b"), "highlights": ("query", "document"), "factors": ("text",)}[what]
    source = [{name: row[name] for name in wanted} for row in rows]
    found = xsbert.explain_corpus(
        model, source, folder / what, what=what, layer=-1, tolerance=0.1, show_progress_bar=False
    )
    assert found.row(0)["reason"] is None


def saved(model, folder):
    result = explained(model)
    result.save(folder / "result.safetensors")
    assert xsbert.Attribution.load(folder / "result.safetensors").error == result.error
    ranking = ranked(model)
    ranking.save(folder / "ranking.safetensors")
    assert xsbert.Ranking.load(folder / "ranking.safetensors").order == ranking.order


def factors(model, folder):
    xsbert.save_factors(folder / "factors.safetensors", model.text_factors([A, B], **QUICK))
    assert len(xsbert.load_factors(folder / "factors.safetensors")) == 2


def command_line(model, folder):
    model.save_pretrained(str(folder / "model"), create_model_card=False)
    assert class_of(folder / "model") is type(model)
    assert main([A, B, "--model", str(folder / "model"), "--layer", "-1", "--json", str(folder / "out.json")]) == 0


def shift(model, folder):
    shifted = xsbert.wrap(model, shift=True)
    assert shifted.attribute_prediction(A, B, **QUICK).settings.shift


def measured(model, folder):
    table = xsbert.faithfulness(
        model, [(A, B), ("It rains.", "A rainy day.")], layers=[-1], tolerance=0.1, show_progress_bar=False
    )
    assert "integrated" in {row.method for row in table.rows}


WALKS = {
    "pairs": lambda model, folder: explained(model).matrix,
    "words": lambda model, folder: explained(model).words().word_effects(),
    "terms": lambda model, folder: str(explained(model).terms()[0]),
    "matches": lambda model, folder: str(explained(model).matches()),
    "rankings": lambda model, folder: str(ranked(model)),
    "highlights": lambda model, folder: ranked(model)[0].tagged(),
    "contrast": lambda model, folder: (
        ranked(model).contrast(0, 1),
        xsbert.contrast(explained(model), explained(model)),
    ),
    "page": lambda model, folder: (explained(model).to_html(), ranked(model, detail="pairs").to_html()),
    "plots": plot,
    "save": saved,
    "factors in files": factors,
    "corpus": lambda model, folder: [corpus(model, folder, what) for what in ("pairs", "highlights")],
    "corpus of factors": lambda model, folder: corpus(model, folder, "factors"),
    "command line": command_line,
    "faithfulness": measured,
    "exact shift": shift,
}


@pytest.fixture(scope="module", params=[each.__name__ for each in KINDS.values()])
def any_kind(request):
    return request.getfixturevalue(
        {"XSTransformer": "model", "XSSparseEncoder": "splade", "XSMultiVectorEncoder": "late"}[request.param]
    )


@pytest.mark.parametrize("ability", ABILITIES)
def test_each_cell_of_the_table(any_kind, ability, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if ability not in any_kind.lacks:
            assert WALKS[ability](any_kind, tmp_path) is not False
            return
        with pytest.raises((ValueError, TypeError)) as raised:
            WALKS[ability](any_kind, tmp_path)
    assert len(str(raised.value)) > 20


def test_the_documentation_shows_the_same_table():
    page = (DOCS / "guides" / "kinds.md").read_text(encoding="utf-8")
    shown = page.partition("<!-- abilities -->\n")[2].partition("\n<!-- end of abilities -->")[0]
    assert shown == abilities_table()
    assert set(WALKS) == set(ABILITIES)
    assert all(set(each.lacks) <= set(ABILITIES) for each in KINDS.values())
