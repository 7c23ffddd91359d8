"""Models without memory: shapes only, and nothing is calculated for them."""

import subprocess
import sys

import torch
from torch import nn

from descant.nn.meta import on_meta_device


def test_modules_have_shapes_and_no_memory():
    with on_meta_device():
        module = nn.Sequential(nn.Linear(10**6, 10**6), nn.Embedding(10**9, 8), nn.LayerNorm(10**9))
    assert all(parameter.is_meta for parameter in module.parameters())
    assert module[0].weight.shape == (10**6, 10**6)
    assert nn.Linear(2, 2).weight.device.type == "cpu"


def test_tensors_with_memory_are_changed_as_everywhere():
    there = torch.ones(2)
    with on_meta_device():
        nn.init.zeros_(there)
        there.add_(3)
    assert there.tolist() == [3, 3]


def test_loading_a_model_does_not_import_pytorchs_compiler():
    generated = "import sys, descant; descant.load('starter').generate('x', duration_s=0.1)"
    program = f"{generated}; print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
