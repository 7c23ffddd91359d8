"""Models with rounded weights: what they keep of their files changes nothing but the memory that they take."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import descant
from descant.api import MusicGen
from descant.checkpoints.layouts import convert, load_model
from descant.checkpoints.native import save_model
from descant.devices import WEIGHT_FORMATS, Precision, WeightFormat
from descant.errors import CheckpointError
from descant.packer import WeightPacker
from descant.presets import small


@pytest.fixture(scope="module")
def folders(transformers_model, tmp_path_factory) -> dict[str, Path]:
    """One model with a T5 in all layouts that hold one."""
    theirs = transformers_model("odd").folder
    native = tmp_path_factory.mktemp("native") / "model"
    convert(theirs, native, "native")
    return {"huggingface": theirs, "native": native}


@pytest.mark.parametrize("layout", ["huggingface", "native"])
@pytest.mark.parametrize("format", WEIGHT_FORMATS)
def test_matrices_packed_while_they_are_read_are_those_packed_afterwards(folders, layout, format: WeightFormat):
    whole = load_model(folders[layout])
    expected = MusicGen(copy.deepcopy(whole), "model", Precision(format, torch.float32, format))
    found = descant.load(folders[layout], device="cpu", precision=format)
    assert found.fingerprint == expected.fingerprint == MusicGen(whole, "model").fingerprint
    clips = [model.generate("warm piano", duration_s=0.05, seed=1) for model in (found, expected)]
    assert torch.equal(clips[0].codes, clips[1].codes)
    assert torch.equal(clips[0].samples, clips[1].samples)
    matrices = [[*model.engine.runtime.weights.matrices()] for model in (found, expected)]
    assert all(torch.equal(one.panels, other.panels) for one, other in zip(*matrices, strict=True))
    assert all(parameter.is_meta for parameter in found.model.lm.parameters() if parameter.ndim == 2)


def test_only_a_matrix_of_a_layer_is_packed():
    packer = WeightPacker("int8")
    for name in ("lm.embeddings.0.weight", "codec.blocks.0.weight", "text.projection.weight"):
        weight = torch.randn(32, 32)
        assert packer.keep(name, weight) is weight
    assert packer.keep("lm.blocks.0.mlp.up.weight", torch.randn(64, 32)).is_meta
    assert [*packer.packed] == ["blocks.0.mlp.up.weight"]


def test_a_t5_on_disk_gives_the_same_vectors_and_survives_the_removal_of_its_file(folders, tmp_path):
    folder = tmp_path / "model"
    convert(folders["huggingface"], folder, "huggingface")
    encoder = descant.load(folder, device="cpu", precision="int8").model.text.encoder
    (folder / "model.safetensors").unlink()
    held = load_model(folders["huggingface"]).text.encoder
    for text in ("warm piano", "a sad violin with drums and piano"):
        assert torch.equal(encoder.states(text), held.states(text))
    assert copy.deepcopy(encoder).states("piano").equal(held.states("piano"))


def test_a_t5_on_disk_that_was_overwritten_is_an_error(folders, tmp_path):
    folder = tmp_path / "model"
    convert(folders["huggingface"], folder, "huggingface")
    encoder = descant.load(folder, device="cpu", precision="int8").model.text.encoder
    content = (folder / "model.safetensors").read_bytes()
    for changed in (content[:-100_000], b""):
        (folder / "model.safetensors").write_bytes(changed)
        with pytest.raises(CheckpointError, match="was changed since the model was loaded"):
            encoder.states("warm piano")


def test_a_t5_on_disk_with_a_value_that_is_not_finite_is_refused(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    convert(folders["huggingface"], folder, "huggingface")
    tensors = load_file(folder / "model.safetensors")
    tensors["text_encoder.encoder.final_layer_norm.weight"][3] = torch.inf
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"final_layer_norm.weight holds values that are not finite"):
        descant.load(folder, device="cpu", precision="int8")


PEAK = """
import sys, descant
from descant.studies.speed.machine import peak_resident_bytes
before = peak_resident_bytes()
descant.load(sys.argv[1], device="cpu", precision=sys.argv[2])
print(peak_resident_bytes() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from the system")
def test_rounded_weights_take_less_than_half_the_memory_from_the_beginning(tmp_path):
    """The whole model was once in memory, and more than twice, before its matrices were rounded."""
    from descant.checkpoints.untrained import Elsewhere, untrained_model

    config = small()
    model = untrained_model(config, Elsewhere(config.text.dim))
    size = sum(parameter.nbytes for parameter in model.lm.parameters())
    peaks = {}
    save_model(model, tmp_path / "model")
    program = "import descant.api as api; from descant.checkpoints.untrained import Elsewhere\n"
    program += "import descant.checkpoints.native as native\n"
    program += "native.load_text_encoder = lambda config, *_: Elsewhere(config.text.dim)\n"
    for precision in ("fp32", "int8"):
        words = [sys.executable, "-c", program + PEAK, str(tmp_path / "model"), precision]
        peaks[precision] = int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert peaks["fp32"] > size
    assert peaks["int8"] < 0.6 * size, f"{peaks['int8'] / size:.2f} of the language model's float32 weights"
