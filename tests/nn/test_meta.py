"""Models without memory: shapes only, and nothing is calculated for them."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from descant.checkpoints.native import load_codec, starter_folder
from descant.nn.meta import on_meta_device, without_random_values


def test_modules_have_shapes_and_no_memory():
    with on_meta_device():
        module = nn.Sequential(nn.Linear(10**6, 10**6), nn.Embedding(10**9, 8), nn.LayerNorm(10**9))
    assert all(parameter.is_meta for parameter in module.parameters())
    assert module[0].weight.shape == (10**6, 10**6)
    assert nn.Linear(2, 2).weight.device.type == "cpu"


def test_weight_normalised_layers_have_the_shapes_that_they_have_with_memory():
    def layers() -> nn.ModuleList:
        return nn.ModuleList(
            weight_norm(layer) for layer in (nn.Conv1d(3, 5, 7), nn.ConvTranspose1d(3, 5, 7), nn.Linear(3, 5))
        )

    with on_meta_device():
        without = layers().state_dict()
    assert {name: tensor.shape for name, tensor in without.items()} == {
        name: tensor.shape for name, tensor in layers().state_dict().items()
    }
    assert all(tensor.is_meta for tensor in without.values())


def test_tensors_with_memory_are_changed_as_everywhere():
    there = torch.ones(2)
    with on_meta_device():
        nn.init.zeros_(there)
        there.add_(3)
    assert there.tolist() == [3, 3]


def test_modules_for_weights_of_a_file_draw_no_random_numbers():
    before = torch.get_rng_state()
    with without_random_values():
        module = nn.Sequential(nn.Linear(3, 4), nn.Conv1d(3, 4, 5), nn.Embedding(5, 6), nn.LayerNorm(7))
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(parameter.is_meta for parameter in module.parameters())
    assert module[3].weight.tolist() == [1.0] * 7, "what is calculated is as everywhere"


def test_loading_a_codec_leaves_the_callers_random_numbers_alone():
    before = torch.get_rng_state()
    load_codec(starter_folder() / "codec")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_loading_a_model_does_not_import_pytorchs_compiler(precision):
    generated = f"descant.load('starter', device='cpu', precision={precision!r}).generate('x', duration_s=0.1)"
    assert not is_compiler_imported_by(generated)


def test_an_encodec_without_memory_does_not_import_pytorchs_compiler():
    made = "with on_meta_device(): EnCodec(EnCodecConfig())"
    names = "from descant.codec.encodec import EnCodec, EnCodecConfig; from descant.nn.meta import on_meta_device"
    assert not is_compiler_imported_by(f"{names}\n{made}")


def is_compiler_imported_by(program: str) -> bool:
    asked = f"import sys, descant\n{program}\nprint('torch._dynamo' in sys.modules, 'sympy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    return done.stdout.split() != ["False", "False"]
