"""Prepared weights are shared while the layer stays as it is, and never out of date."""

import copy
import pickle

import pytest
import torch
from torch import nn

from descant.nn.prepared import Prepared


def doubled(layer: nn.Linear) -> torch.Tensor:
    return 2 * layer.weight.detach()


@torch.no_grad()
def change_in_place(layer: nn.Linear) -> None:
    layer.weight.add_(1)


def replace(layer: nn.Linear) -> None:
    layer.weight = nn.Parameter(torch.randn(3, 2))


def train(layer: nn.Linear) -> None:
    optimiser = torch.optim.AdamW(layer.parameters(), fused=True)
    layer(torch.ones(1, 2)).sum().backward()
    optimiser.step()


def test_unchanged_weights_are_prepared_once():
    prepared = Prepared(nn.Linear(2, 3), doubled)
    assert prepared.get() is prepared.get()


@pytest.mark.parametrize("change", [change_in_place, replace, train, nn.Module.double])
def test_changed_weights_are_prepared_again(change):
    layer = nn.Linear(2, 3)
    prepared = Prepared(layer, doubled)
    before = prepared.get()
    kept = before.clone()
    change(layer)
    assert torch.equal(prepared.get(), doubled(layer))
    assert torch.equal(before, kept)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda prepared: pickle.loads(pickle.dumps(prepared))])
def test_a_copy_prepares_its_own_layer(copied):
    layer = nn.Linear(2, 3)
    prepared = Prepared(layer, doubled)
    prepared.get()
    other, before = copied(prepared), prepared.get().clone()
    assert len(pickle.dumps(prepared)) == len(pickle.dumps(Prepared(layer, doubled)))
    change_in_place(layer)
    assert torch.equal(other.get(), before)


def test_what_is_prepared_in_inference_mode_can_be_used_outside():
    prepared = Prepared(nn.Linear(2, 3), doubled)
    with torch.inference_mode():
        prepared.get()
    assert not prepared.get().is_inference()
