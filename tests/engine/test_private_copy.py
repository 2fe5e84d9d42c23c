"""The private copy of a model's structure is what `deepcopy` would make, but for what it shares on purpose."""

import copy

import pytest
import torch
from torch import nn

from xsbert.engine.private_copy import private_copy


class Own(nn.Module):
    """Decides itself how it is copied."""

    def __init__(self):
        super().__init__()
        self.copied_by = "nobody"

    def __deepcopy__(self, memo):
        twin = Own()
        twin.copied_by = "itself"
        return twin


class Holder(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.own = Own()
        self.register_buffer("count", torch.zeros(1))
        self.config = {"width": 2, "nested": {"names": ["a"]}}
        self.alias = self.config["nested"]
        self.list_of_modules = [self.inner]
        self.by_key = {self.inner: 1, ("pair", 2): self.inner}
        self.call = self.inner.forward
        self.parent = None


@pytest.fixture
def holder():
    module = Holder()
    module.own.holder_name = "x"
    return module.train()


def test_attributes_are_copied_with_their_references(holder):
    (found,) = private_copy([holder])
    expected = copy.deepcopy(holder)
    assert vars(found).keys() - {"_compiled_call_impl"} == vars(expected).keys()
    assert found.config == holder.config
    assert found.config is not holder.config
    assert found.alias is found.config["nested"]
    assert found.alias is not holder.alias
    # Modules that are held elsewhere are the copies.
    assert found.inner is not holder.inner
    assert found.list_of_modules == [found.inner]
    assert found.by_key == {found.inner: 1, ("pair", 2): found.inner}
    assert found.call.__self__ is found.inner


def test_weights_are_shared_and_buffers_are_not(holder):
    (found,) = private_copy([holder])
    assert found.inner.weight is holder.inner.weight
    assert found.count is not holder.count
    assert not found.training
    assert holder.training


def test_a_module_copies_itself_where_it_knows_how(holder):
    (found,) = private_copy([holder])
    assert found.own.copied_by == "itself"
    assert holder.own.copied_by == "nobody"
    attention = nn.MultiheadAttention(4, 2)  # has a __setstate__
    (same,) = private_copy([attention])
    assert vars(same).keys() - {"_compiled_call_impl"} == vars(attention).keys()


def test_circles_and_several_roots(holder):
    object.__setattr__(holder, "parent", holder)
    first, second = private_copy([holder, holder.inner])
    assert first.parent is first
    assert second is first.inner
