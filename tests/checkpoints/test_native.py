"""Models on disk: what is written is read back, and whatever is broken is reported and never loaded."""

import copy
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from descant.checkpoints import native
from descant.checkpoints.layouts import check_model
from descant.checkpoints.native import load_codec, load_model, read_model_config, save_codec, save_model
from descant.codec.any import StereoCodecConfig
from descant.codec.spectral import SpectralCodecConfig
from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.style import StyleConfig
from descant.errors import CheckpointError
from descant.nn.rvq import RVQConfig
from descant.patterns import stereo_partial_delay
from descant.presets import tiny

SPECTRAL = SpectralCodecConfig(
    hop_samples=160,
    window_samples=320,
    encoder_width=8,
    decoder_width=8,
    quantizer=RVQConfig(dim=4, codebook_dim=4, codebook_size=32),
)


@pytest.fixture(autouse=True)
def _the_tests_text_encoder(monkeypatch, word_hashes):
    monkeypatch.setattr(native, "load_text_encoder", lambda config, *_: word_hashes(config.text.dim))


@pytest.fixture
def folder(tiny_model, tmp_path) -> Path:
    save_model(tiny_model, tmp_path / "model")
    return tmp_path / "model"


def bits(tensors: dict[str, Tensor]) -> dict[str, bytes]:
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in tensors.items()}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def stereo_changes() -> dict[str, object]:
    base = tiny()
    return {
        "codec": StereoCodecConfig(mono=base.codec),
        "lm": replace(base.lm, num_codebooks=8),
        "pattern": stereo_partial_delay(8),
    }


@pytest.mark.parametrize("changes", [{}, {"codec": SPECTRAL}, stereo_changes()], ids=["mono", "spectral", "stereo"])
def test_what_is_written_is_read_back_bit_for_bit(make_model, changes, tmp_path):
    model = make_model(**changes)
    save_model(model, tmp_path / "model", model_card="# Card\n")
    again = load_model(tmp_path / "model")
    assert again.config == model.config
    assert bits(again.state_dict()) == bits(model.state_dict())
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())
    assert (tmp_path / "model" / "README.md").read_text() == "# Card\n"
    save_model(again, tmp_path / "again", model_card="# Card\n")
    assert files(tmp_path / "again") == files(tmp_path / "model")


def test_nothing_of_a_model_is_stored_as_pickle(folder):
    assert set(files(folder)) == {"config.json", "model.safetensors", "codec/config.json", "codec/model.safetensors"}


def test_fp16_storage_rounds_parameters_once_and_codebooks_never(tiny_model, tmp_path):
    save_model(tiny_model, tmp_path / "half", storage="fp16")
    half = load_model(tmp_path / "half")
    parameters = dict(tiny_model.named_parameters())
    for name, tensor in half.state_dict().items():
        exact = tiny_model.state_dict()[name]
        assert torch.equal(tensor, exact.half().float() if name in parameters else exact), name
    save_model(half, tmp_path / "again", storage="fp16")
    assert files(tmp_path / "again") == files(tmp_path / "half")


def test_int8_storage_rounds_matrices_of_the_language_model_once(tiny_model, tmp_path):
    save_model(tiny_model, tmp_path / "int8", storage="int8")
    rounded = load_model(tmp_path / "int8")
    exact = tiny_model.state_dict()
    for name, tensor in rounded.state_dict().items():
        if name.startswith("codec.") and "codebook" in name:
            assert torch.equal(tensor, exact[name])
        elif tensor.ndim == 2 and not name.startswith("codec."):
            step = exact[name].abs().amax(dim=1, keepdim=True) / 127
            assert ((tensor - exact[name]).abs() <= 0.51 * step).all(), name
    save_model(rounded, tmp_path / "again", storage="int8")
    assert files(tmp_path / "again") == files(tmp_path / "int8")
    assert (tmp_path / "int8" / "model.safetensors").stat().st_size < 40_000


def test_a_weight_too_large_for_fp16_is_refused_and_nothing_is_written(tiny_model, tmp_path):
    loud = copy.deepcopy(tiny_model)
    loud.lm.heads[0].weight[0, 0] = 1e5
    with pytest.raises(CheckpointError, match=r"lm\.heads\.0\.weight .* fp16"):
        save_model(loud, tmp_path / "model", storage="fp16")
    assert list(tmp_path.iterdir()) == []


def test_a_codec_folder_stands_alone(tiny_model, folder, tmp_path):
    codec, config = load_codec(folder / "codec")
    assert config == tiny_model.config.codec
    assert bits(codec.state_dict()) == bits(tiny_model.codec.state_dict())
    save_codec(codec, config, tmp_path / "codec")
    assert files(tmp_path / "codec") == files(folder / "codec")


def rewrite(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], object]:
    def apply(file: Path) -> None:
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file)

    return apply


def raw(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(change(file.read_bytes()))


def holding(content: bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(content)


def with_header(change: Callable[[dict], object]) -> Callable[[Path], object]:
    def edit(content: bytes) -> bytes:
        length = struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8 : 8 + length])
        change(header)
        encoded = json.dumps(header).encode()
        return struct.pack("<Q", len(encoded)) + encoded + content[8 + length :]

    return raw(edit)


HEAD = "lm.heads.0.weight"
OTHER = "lm.heads.1.weight"
BROKEN_TENSORS: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (lambda file: file.unlink(), "is missing"),
    "a folder": (lambda file: (file.unlink(), file.mkdir()), "is missing"),
    "empty": (holding(b""), "safetensors"),
    "text": (holding(b"hello, world, this is no tensor"), "safetensors"),
    "pickle": (lambda file: torch.save({"a": torch.zeros(1)}, file), "safetensors"),
    "cut short": (raw(lambda content: content[:-9]), "safetensors"),
    "cut in the header": (raw(lambda content: content[:50]), "safetensors"),
    "bytes at the end": (raw(lambda content: content + b"12345678"), "safetensors"),
    "an absurd header": (raw(lambda content: struct.pack("<Q", 2**62) + content[8:]), "safetensors"),
    "overlapping": (with_header(lambda h: h[HEAD].update(data_offsets=h[OTHER]["data_offsets"])), "safetensors"),
    "an absurd shape": (with_header(lambda h: h[HEAD].update(shape=[2**40, 2**40])), "safetensors"),
    "one too few": (rewrite(lambda tensors: tensors.pop(HEAD)), f"1 missing tensors, first {HEAD}"),
    "one too many": (rewrite(lambda tensors: tensors.update(x=torch.zeros(2))), "1 unknown tensors, first x"),
    "a codec's": (rewrite(lambda t: t.update({"codec.x": torch.zeros(2)})), r"1 unknown tensors, first codec\.x"),
    "transposed": (
        rewrite(lambda t: t.update({HEAD: t[HEAD].T.contiguous()})),
        r"is \(16, 32\), its config makes it \(32, 16",
    ),
    "NaN": (rewrite(lambda tensors: tensors[HEAD].fill_(torch.nan)), f"{HEAD} holds values that are not finite"),
    "infinity": (rewrite(lambda tensors: tensors[HEAD][3].fill_(torch.inf)), "not finite"),
    "too large": (rewrite(lambda t: t.update({HEAD: t[HEAD].double() + 1e300})), "not finite"),
    "integers": (rewrite(lambda t: t.update({HEAD: t[HEAD].to(torch.int8)})), "stored as torch.int8"),
    "a scale alone": (rewrite(lambda t: t.update({HEAD + ".scale": torch.ones(32)})), "cannot be read as torch.int8"),
    "a scale too long": (rewrite(lambda t: t.update({HEAD + ".scale": torch.ones(33)})), r"scale is \(33,\)"),
    "a scale of a vector": (rewrite(lambda t: t.update({"lm.norm.bias.scale": torch.ones(16)})), "1 unknown"),
}


@pytest.mark.parametrize("fault", BROKEN_TENSORS)
def test_a_broken_file_of_tensors_is_reported_and_never_loaded(folder, fault):
    damage, message = BROKEN_TENSORS[fault]
    damage(folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_model(folder)
    found = check_model(folder)
    assert len(found.problems) == 1
    assert "model.safetensors" in found.problems[0]


def test_a_broken_file_of_the_codec_is_reported_too(folder):
    rewrite(lambda tensors: tensors.popitem())(folder / "codec" / "model.safetensors")
    for load in (load_model, lambda whole: load_codec(whole / "codec")):
        with pytest.raises(CheckpointError, match="1 missing tensors"):
            load(folder)


def edited(path: tuple[str, ...], value: object) -> Callable[[Path], object]:
    def apply(file: Path) -> None:
        plain = inner = json.loads(file.read_text())
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value
        file.write_text(json.dumps(plain))

    return apply


BROKEN_CONFIGS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "gone": ("config.json", lambda file: file.unlink(), "is missing"),
    "no JSON": ("config.json", raw(lambda content: content[:-5]), "not a JSON file"),
    "a list": ("config.json", holding(b"[]"), "expected an object"),
    "a number too long": ("config.json", holding(b"1" * 5_000), "not a JSON file"),
    "no version": ("config.json", holding(b"{}"), "format_version 1 only"),
    "another version": ("config.json", edited(("format_version",), 2), "format_version 1 only"),
    "unknown key": ("config.json", edited(("lm", "depth"), 3), r"lm\.depth: unknown key"),
    "a second codec": ("config.json", edited(("codec",), {}), "config.json has a codec"),
    "wrong type": ("config.json", edited(("lm", "num_codebooks"), "4"), r"lm\.num_codebooks='4': expected int"),
    "contradiction": ("config.json", edited(("lm", "num_codebooks"), 5), "they must be the same"),
    "another shape": ("config.json", edited(("lm", "transformer", "width"), 32), "its config makes it"),
    "absurd size": ("config.json", edited(("lm", "transformer", "mlp_scale"), 10**11), "its config makes it"),
    "sees its future": ("config.json", edited(("lm", "transformer", "is_causal"), False), "attends to later steps"),
    "odd defaults": ("config.json", edited(("defaults", "temperature"), -1.0), "temperature must be above 0"),
    "no codec": ("codec/config.json", lambda file: file.unlink(), "is missing"),
    "unknown codec": ("codec/config.json", edited(("type",), "MP3"), "one of EnCodecConfig"),
    "absurd codebooks": ("codec/config.json", edited(("codebook_size",), 10**13), "entries a codebook"),
}


@pytest.mark.parametrize("fault", BROKEN_CONFIGS)
def test_a_broken_config_is_reported(folder, fault):
    name, damage, message = BROKEN_CONFIGS[fault]
    damage(folder / name)
    with pytest.raises(CheckpointError, match=message):
        load_model(folder)
    assert len(check_model(folder).problems) == 1


def test_a_codec_config_of_absurd_size_takes_no_memory(folder):
    edited(("codebook_size",), 10**13)(folder / "codec" / "config.json")
    with pytest.raises(CheckpointError, match="its config makes it"):
        load_codec(folder / "codec")


def test_a_text_encoder_of_another_width_is_refused(folder, monkeypatch, word_hashes):
    monkeypatch.setattr(native, "load_text_encoder", lambda *_: word_hashes(99))
    with pytest.raises(CheckpointError, match="99 wide"):
        load_model(folder)


def test_a_missing_folder_is_reported(tmp_path):
    for load in (load_model, load_codec, read_model_config):
        with pytest.raises(CheckpointError):
            load(tmp_path / "nowhere")
    assert check_model(tmp_path / "nowhere").size_bytes == 0


def test_an_intact_folder_has_no_problems(tiny_model, folder):
    found = check_model(folder)
    assert found.problems == ()
    assert found.num_parameters == sum(parameter.numel() for parameter in tiny_model.parameters())
    assert found.size_bytes == sum(len(content) for content in files(folder).values())


def test_the_precision_is_that_of_the_language_model_alone(folder):
    model = load_model(folder, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.lm.parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.text.parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.codec.parameters()} == {torch.float32}


CONDITIONED = {
    "melody": MelodyConfig(num_frames=7),
    "style": StyleConfig(features="nowhere/at all", feature_dim=5, width=8, num_heads=2, num_layers=1, codebook_size=4),
}


@pytest.mark.parametrize("name", CONDITIONED)
def test_a_model_with_melody_or_style_is_read_back_bit_for_bit(make_model, tmp_path, monkeypatch, name):
    monkeypatch.setattr(native, "load_style_features", lambda *_: None)
    model = make_model(**{name: CONDITIONED[name]}, lm_changes={"has_cross_attention": False})
    save_model(model, tmp_path / "model")
    read = load_model(tmp_path / "model")
    assert read.config == model.config
    assert bits(read.state_dict()) == bits(model.state_dict())
    halved = load_model(tmp_path / "model", dtype=torch.bfloat16)
    assert getattr(halved, name).project.weight.dtype == torch.bfloat16
    if halved.style is not None:
        assert halved.style.embed.weight.dtype == torch.float32


def test_a_style_model_without_its_encoder_is_refused(make_model, tmp_path):
    model = make_model(style=CONDITIONED["style"], lm_changes={"has_cross_attention": False})
    save_model(model, tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"names .nowhere/at all., which is not opened"):
        load_model(tmp_path / "model")
