"""The shapes that transformers accepts beside the released ones: the same logits, codes and waves as there."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from descant import api
from descant.checkpoints import huggingface
from descant.checkpoints.layouts import convert, load_model
from descant.errors import CheckpointError
from descant.generation.request import Guidance, Request, Sampling

transformers = pytest.importorskip("transformers", reason="transformers")

TEXTS = ["warm slow piano with drums", "techno"]
PLAIN = [
    "text as wide",
    "text as wide, by its name",
    "32 codebooks for 4",
    "4 codebooks for 2",
    "gated text",
    "gated text with a contradicting activation",
    "causal codec",
    "other codec",
    "codec of two channels",
]
STEREO = "stereo, 6 codebooks for 4"
AS_WIDE = ["text as wide", "text as wide, by its name", "melody, text as wide"]
SPARE = ["32 codebooks for 4", "4 codebooks for 2", STEREO]


def close(ours: Tensor, theirs: Tensor) -> None:
    scale = float(theirs.abs().max())
    assert scale > 0.01
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * scale)


def tokens(folder: Path, texts: list[str]) -> Any:
    return transformers.AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")


def logits(model: Any, folder: Path) -> Tensor:
    sequence = torch.randint(
        0, 17, (2, model.config.decoder.num_codebooks, 9), generator=torch.Generator().manual_seed(3)
    )
    out = model(**tokens(folder, TEXTS), decoder_input_ids=sequence.flatten(0, 1)).logits
    return out[:, -sequence.shape[-1] :].unflatten(0, sequence.shape[:2])


@torch.no_grad()
@pytest.mark.parametrize("kind", [*PLAIN, STEREO, "melody, text as wide"])
def test_logits_are_theirs(transformers_model, kind):
    theirs = transformers_model(kind)
    ours = huggingface.load_model(theirs.folder)
    sequence = torch.randint(0, 17, (2, ours.config.lm.num_codebooks, 9), generator=torch.Generator().manual_seed(3))
    close(
        ours.lm(sequence, ours.inputs(ours.prepare([{"text": text} for text in TEXTS]), ours.span())),
        logits(theirs.model, theirs.folder),
    )


@torch.no_grad()
@pytest.mark.parametrize("kind", [*PLAIN, STEREO])
def test_greedy_codes_and_waves_are_theirs(transformers_model, kind, monkeypatch):
    theirs = transformers_model(kind)
    ours = api.load(theirs.folder, device="cpu")
    num_frames, delay = 12, max(ours.config.pattern.delays)
    decoded: list[Tensor] = []
    codec = theirs.model.audio_encoder
    decode = codec.decode

    def listen(codes: Tensor, **settings: Any) -> Any:
        decoded.append(codes[0])
        return decode(codes, **settings)

    monkeypatch.setattr(codec, "decode", listen)
    waves = theirs.model.generate(
        **tokens(theirs.folder, TEXTS), do_sample=False, guidance_scale=3.0, max_new_tokens=num_frames + delay
    )
    expected = torch.stack(decoded, dim=2).flatten(1, 2) if kind == STEREO else decoded[0]
    settings = {"sampling": Sampling(greedy=True), "guidance": Guidance(scale=3.0), "duration_s": num_frames / 1_000}
    clips = ours.generate([Request(text=text, **settings) for text in TEXTS])
    for clip, codes, wave in zip(clips, expected, waves, strict=True):
        assert torch.equal(clip.codes, codes)
        close(clip.samples, wave)
    assert len({tuple(clip.codes.flatten().tolist()) for clip in clips}) == 2


@torch.no_grad()
@pytest.mark.parametrize("kind", SPARE)
def test_the_first_codebooks_are_those_that_they_encode_with(transformers_model, kind):
    theirs = transformers_model(kind).model.audio_encoder
    ours = huggingface.load_model(transformers_model(kind).folder).codec
    mono = ours.mono if kind == STEREO else ours
    wave = torch.randn(2, 1, 61, generator=torch.Generator().manual_seed(7))
    codes = mono.encode(wave)
    assert torch.equal(
        codes, theirs.encode(wave, bandwidth=theirs.config.target_bandwidths[-1]).audio_codes[0, :, : len(codes[0])]
    )
    assert len(codes[0]) < len(theirs.quantizer.layers)


@pytest.mark.parametrize("kind", [*PLAIN, STEREO, "melody, text as wide"])
def test_there_and_back_is_the_same_and_theirs_again(transformers_model, kind, tmp_path):
    source = transformers_model(kind)
    first = load_model(source.folder)
    convert(source.folder, tmp_path / "native", "native")
    convert(tmp_path / "native", tmp_path / "theirs", "huggingface")
    for name in ("native", "theirs"):
        again = load_model(tmp_path / name)
        assert again.config == first.config
        assert all(torch.equal(again.state_dict()[key], tensor) for key, tensor in first.state_dict().items())
    before, after = (load_file(folder / "model.safetensors") for folder in (source.folder, tmp_path / "theirs"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())
    assert not {name for name in before.keys() - after.keys() if "quantizer.layers" not in name}
    assert (before.keys() == after.keys()) == (kind not in SPARE)
    assert ("enc_to_dec_proj.weight" in after) == (kind not in AS_WIDE)
    loaded, report = type(source.model).from_pretrained(tmp_path / "theirs", output_loading_info=True)
    assert not any(report.values()), report
    with torch.no_grad():
        assert torch.equal(logits(loaded.eval(), tmp_path / "theirs"), logits(source.model, source.folder))


def test_a_model_without_a_projection_in_half_precision_hears_its_text(transformers_model):
    ours = huggingface.load_model(transformers_model("text as wide").folder, dtype=torch.bfloat16)
    inputs = ours.inputs(ours.prepare([{"text": "warm piano"}]), ours.span())
    assert inputs.cross.dtype == torch.bfloat16
    assert not any(tensor.is_meta for tensor in (*ours.parameters(), *ours.buffers()))


def test_a_projection_between_equal_widths_has_no_place_there(transformers_model, tmp_path):
    """transformers has a layer there only where the widths differ, and would leave ours out without a word."""
    convert(transformers_model("text as wide").folder, tmp_path / "native", "native")
    edited = json.loads((tmp_path / "native" / "config.json").read_text())
    edited["text"]["has_projection"] = True
    (tmp_path / "native" / "config.json").write_text(json.dumps(edited))
    tensors = load_file(tmp_path / "native" / "model.safetensors")
    tensors |= {"text.project.weight": torch.randn(20, 20), "text.project.bias": torch.zeros(20)}
    save_file(tensors, tmp_path / "native" / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"text\.has_projection=True has no place"):
        convert(tmp_path / "native", tmp_path / "theirs", "huggingface")


def test_audiocraft_has_no_model_without_a_projection(transformers_model, tmp_path):
    pytest.importorskip("yaml")
    folder = shutil.copytree(transformers_model("text as wide").folder, tmp_path / "m")
    plain = json.loads((folder / "config.json").read_text())
    plain["text_encoder"]["_name_or_path"] = "t5-base"
    (folder / "config.json").write_text(json.dumps(plain))
    with pytest.raises(CheckpointError, match="has_projection=False"):
        convert(folder, tmp_path / "theirs", "audiocraft")


REFUSED: dict[str, tuple[str, str, object]] = {
    "another activation": ("decoder", "activation_function", "gelu_new"),
    "another text width by name": ("decoder", "cross_attention_hidden_size", 16),
    "too few codebooks": ("decoder", "num_codebooks", 5),
    "no codebooks": ("decoder", "num_codebooks", 0),
    "another vocabulary": ("audio_encoder", "codebook_size", 32),
    "normalized sound": ("audio_encoder", "normalize", True),
    "sound in chunks": ("audio_encoder", "chunk_length_s", 1.0),
    "a norm over time": ("audio_encoder", "norm_type", "time_group_norm"),
    "another padding": ("audio_encoder", "pad_mode", "replicate"),
    "another trimming": ("audio_encoder", "trim_right_ratio", 0.5),
    "an activation that nobody knows": ("text_encoder", "dense_act_fn", "someone/kernel"),
    "a start that is a sound": ("generation", "decoder_start_token_id", 3),
    "an end": ("generation", "eos_token_id", 3),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_theirs_is_refused_by_its_name(transformers_model, tmp_path, case):
    section, key, value = REFUSED[case]
    folder = shutil.copytree(transformers_model("odd").folder, tmp_path / "m")
    file = folder / ("generation_config.json" if section == "generation" else "config.json")
    plain = json.loads(file.read_text())
    (plain if section == "generation" else plain[section])[key] = value
    file.write_text(json.dumps(plain))
    with pytest.raises(CheckpointError, match=key) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["odd", "melody"])
def test_notes_of_other_releases_of_transformers_change_nothing(transformers_model, tmp_path, kind):
    """``dtype`` was ``torch_dtype``; every release writes a few fields more or less."""
    source = transformers_model(kind).folder
    folder = shutil.copytree(source, tmp_path / "m")
    plain = json.loads((folder / "config.json").read_text())
    base = transformers.PretrainedConfig().to_dict()
    old = {"torch_dtype": "float32", "transformers_version": "4.31.0.dev0", "return_dict": True, "torchscript": False}
    for part in (plain, plain["decoder"], plain["audio_encoder"], plain["text_encoder"]):
        part.pop("dtype", None)
        part.update({name: value for name, value in {**base, **old}.items() if name not in part})
    plain["decoder"]["layerdrop"] = 0.1
    (folder / "config.json").write_text(json.dumps(plain))
    ours, theirs = load_model(folder), load_model(source)
    assert ours.config == theirs.config
    assert all(torch.equal(ours.state_dict()[name], tensor) for name, tensor in theirs.state_dict().items())
