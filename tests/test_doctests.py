"""The examples of public docstrings run, on real weights, and what is public has one."""

import doctest
import importlib
import inspect
import pkgutil

import numpy as np
import pytest
import torch

import xsbert

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(xsbert.__path__, "xsbert.") if module.name != "xsbert.__main__"
)


@pytest.fixture(scope="module")
def given(plain, splade, late, tmp_path_factory):
    """What examples may use without making it: a model, some of its results, a folder."""
    model = xsbert.XSTransformer.wrap(plain)
    out = model.attribute_prediction("The coffee is bad.", "This is not a good coffee.")
    pairs = [("A cold day.", "Cold days"), ("It rains.", "A rainy day.")]
    return {
        "np": np,
        "torch": torch,
        "xsbert": xsbert,
        "model": model,
        "splade": splade,
        "late": late,
        "out": out,
        "ranking": model.explain_ranking("cold weather", ["It rains.", "A cold day."]),
        "table": xsbert.faithfulness(model, pairs, methods=["products", "random"], operators=["remove", "unk"]),
        "folder": tmp_path_factory.mktemp("examples"),
    }


def examples(module):
    """The docstrings of a module that hold examples; of classes' methods too."""
    found = doctest.DocTestFinder().find(importlib.import_module(module), extraglobs={})
    return [each for each in found if each.examples]


@pytest.mark.parametrize("module", [name for name in MODULES if examples(name)])
def test_examples(module, given):
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    report = []
    for example in examples(module):
        example.globs.update({name: value for name, value in given.items() if name not in example.globs})
        runner.run(example, out=report.append)
    assert runner.failures == 0, "".join(report)


PUBLIC = [
    "xsbert",
    "xsbert.models",
    "xsbert.engine",
    "xsbert.text.units",
    "xsbert.text.display",
    "xsbert.integrated_jacobian.factors",
]
# Neither called nor read by users: parts of results, errors, and what serves within the package.
WITHOUT = {
    "CostEstimate",
    "Measured",
    "Reference",
    "ReferenceChoice",
    "ReferenceShift",
    "ReferenceTransformer",
    "ShiftCost",
    "ShiftWarning",
    "SkippedWarning",
    "Spelled",
    "TimedText",
    "OptionKeywords",
    "factors_of",
    "head",
    "load_model",  # from the network
    "of",
    # These need an extra to be installed.
    "aggregate",
    "explain_corpus",
    "read_corpus",
    "unshifted_modules",
}


def own_and_inherited(kind):
    """Attributes of a class, those from other classes of the package included."""
    classes = [each for each in reversed(kind.__mro__) if each.__module__.startswith("xsbert")]
    return {name: value for each in classes for name, value in vars(each).items()}.items()


def public():
    """Functions and classes of the modules whose names are promised, and the methods of these classes."""
    for module in map(importlib.import_module, PUBLIC):
        for name in module.__all__:
            thing = getattr(module, name)
            if not callable(thing) or not thing.__module__.startswith("xsbert"):
                continue
            yield name, thing
            for own, method in own_and_inherited(thing) if inspect.isclass(thing) else ():
                function = getattr(method, "__func__", method)
                if not own.startswith("_") and inspect.isfunction(function):
                    yield f"{name}.{own}", function


def test_public_docstrings_have_examples():
    missing = [
        name
        for name, thing in public()
        if ">>>" not in (inspect.getdoc(thing) or "")
        and not {*name.split(".")} & WITHOUT
        and not hasattr(thing, "__deprecated__")
        and not (inspect.isclass(thing) and issubclass(thing, BaseException))
    ]
    assert missing == []
