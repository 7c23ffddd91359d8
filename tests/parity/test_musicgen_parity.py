"""Our MusicGen, read from the folder that transformers wrote, against transformers: random weights, no network."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from descant import api
from descant.checkpoints import huggingface
from descant.generation.request import Guidance, Request, Sampling

transformers = pytest.importorskip("transformers", reason="transformers")

TEXTS = ["warm slow piano with drums", "techno"]
KINDS = ["odd", "stereo", "two codebooks"]


def close(ours: Tensor, theirs: Tensor) -> None:
    """Within 1e-5 of the scale of theirs, which is loud enough for that to mean something."""
    scale = float(theirs.abs().max())
    assert scale > 0.01
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * scale)


def tokens(folder: Path, texts: list[str]) -> Any:
    return transformers.AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")


def sequence_for(model: Any) -> Tensor:
    books, special = model.config.decoder.num_codebooks, model.config.decoder.vocab_size
    return torch.randint(0, special + 1, (2, books, 11), generator=torch.Generator().manual_seed(3))


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_theirs_in_one_pass_and_step_by_step(transformers_model, kind):
    theirs = transformers_model(kind)
    ours = huggingface.load_model(theirs.folder)
    sequence = sequence_for(theirs.model)
    expected = theirs.model(**tokens(theirs.folder, TEXTS), decoder_input_ids=sequence.flatten(0, 1)).logits
    expected = expected.unflatten(0, sequence.shape[:2])
    inputs = ours.inputs(ours.prepare([{"text": text} for text in TEXTS]), ours.span())
    close(ours.lm(sequence, inputs), expected)
    cache = ours.lm.new_cache(2, sequence.shape[-1], inputs)
    close(torch.cat([ours.lm(step, inputs, cache) for step in sequence.split(1, dim=-1)], dim=2), expected)
    alone = theirs.model.decoder(input_ids=sequence.flatten(0, 1)).logits.unflatten(0, sequence.shape[:2])
    close(ours.lm(sequence), alone)
    assert not torch.allclose(alone, expected, atol=1e-2)


@torch.no_grad()
def test_melody_logits_are_theirs_where_theirs_hears_the_melody(transformers_model):
    """Theirs did not from 4.57 to 5.5 (huggingface/transformers#45647): a reference that is deaf proves nothing."""
    theirs = transformers_model("melody")
    ours = huggingface.load_model(theirs.folder)
    sequence = sequence_for(theirs.model)
    pitches = torch.randint(0, 12, (2, 7), generator=torch.Generator().manual_seed(5))

    def their_logits(melody: Tensor | None) -> Tensor:
        heard = {} if melody is None else {"input_features": torch.nn.functional.one_hot(melody, 12).float()}
        out = theirs.model(**tokens(theirs.folder, TEXTS), **heard, decoder_input_ids=sequence.flatten(0, 1))
        return out.logits[:, -sequence.shape[-1] :].unflatten(0, sequence.shape[:2])

    expected = their_logits(pitches)
    assert not torch.allclose(expected, their_logits(pitches.flip(1)), atol=1e-2)
    levels = 255 * torch.nn.functional.one_hot(pitches, 12)
    rows = [{"text": text, "melody": melody} for text, melody in zip(TEXTS, levels, strict=True)]
    close(ours.lm(sequence, ours.inputs(ours.prepare(rows), ours.span())), expected)
    close(
        ours.lm(sequence, ours.inputs(ours.prepare([{"text": text} for text in TEXTS]), ours.span())),
        their_logits(None),
    )


@torch.no_grad()
@pytest.mark.parametrize("num_samples", [1, 8, 61, 200])
def test_a_codec_folder_gives_their_codes_and_waves(transformers_model, num_samples, tmp_path):
    theirs = transformers_model("odd").model.audio_encoder
    theirs.save_pretrained(tmp_path)
    ours, config = huggingface.load_codec(tmp_path)
    assert config.num_codebooks == 4
    wave = torch.randn(2, 1, num_samples, generator=torch.Generator().manual_seed(7))
    encoded = theirs.encode(wave)
    codes = ours.encode(wave)
    assert torch.equal(codes, encoded.audio_codes[0])
    close(ours.decode(codes), theirs.decode(encoded.audio_codes, encoded.audio_scales).audio_values)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["odd", "stereo"])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_greedy_generation_is_theirs(transformers_model, kind, scale, monkeypatch):
    """Texts of different lengths in one batch, T5 and tokenizer included."""
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
        **tokens(theirs.folder, TEXTS), do_sample=False, guidance_scale=scale, max_new_tokens=num_frames + delay
    )
    expected = decoded[0] if kind == "odd" else torch.stack(decoded, dim=2).flatten(1, 2)
    settings = {"sampling": Sampling(greedy=True), "guidance": Guidance(scale=scale), "duration_s": num_frames / 1_000}
    clips = ours.generate([Request(text=text, **settings) for text in TEXTS])
    for clip, codes, wave in zip(clips, expected, waves, strict=True):
        assert torch.equal(clip.codes, codes)
        close(clip.samples, wave)
    assert len({tuple(clip.codes.flatten().tolist()) for clip in clips}) == 2


@pytest.mark.parametrize("kind", ["odd", "stereo", "melody"])
def test_transformers_loads_what_we_write_and_has_the_same_weights(transformers_model, kind, tmp_path):
    theirs = transformers_model(kind)
    huggingface.save_model(huggingface.load_model(theirs.folder), tmp_path / "ours")
    again, report = type(theirs.model).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values()), report
    expected = theirs.model.state_dict()
    assert again.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in again.state_dict().items())
    for part in ("decoder", "audio_encoder", "text_encoder"):
        told, said = (getattr(model.config, part).to_dict() for model in (again, theirs.model))
        different = {name for name in told if told[name] != said.get(name)} - {"dropout", "_name_or_path", "dtype"}
        assert not different - {"architectures"}, different
    sequence = sequence_for(theirs.model)
    with torch.no_grad():
        logits = [
            model(**tokens(folder, TEXTS), decoder_input_ids=sequence.flatten(0, 1)).logits
            for model, folder in ((again.eval(), tmp_path / "ours"), (theirs.model, theirs.folder))
        ]
    assert torch.equal(*logits)
