"""The spectral codec: exact analysis, lengths, and who learns."""

import copy
from dataclasses import replace

import pytest
import torch

from descant.codec.phase_stream import find_wave
from descant.codec.spectral import SpectralCodec, SpectralCodecConfig
from descant.config import from_dict, to_dict
from descant.errors import ConfigError
from descant.nn.rvq import RVQConfig

TINY = SpectralCodecConfig(
    sample_rate_hz=8_000,
    hop_samples=160,
    window_samples=320,
    encoder_width=12,
    encoder_layers=2,
    decoder_width=12,
    decoder_layers=1,
    quantizer=RVQConfig(dim=8, codebook_dim=8, codebook_size=16, num_codebooks=3, kmeans_iterations=3),
)


def make_codec(config: SpectralCodecConfig = TINY) -> SpectralCodec:
    torch.manual_seed(0)
    codec = SpectralCodec(config)
    for level in codec.quantizer.levels:
        level.codebook.normal_()
        level.is_initialized.fill_(1)
    return codec


def wave(batch: int = 1, num_samples: int = 160 * 9) -> torch.Tensor:
    return 0.3 * torch.randn(batch, 1, num_samples, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("num_samples", [1, 159, 160, 161, 1_000])
def test_a_frame_is_a_hop_and_the_last_one_is_filled_up(num_samples):
    codec = make_codec().eval()
    codes = codec.encode(wave(num_samples=num_samples))
    assert codes.shape == (1, 3, -(-num_samples // 160)) == (1, 3, codec.num_frames(num_samples))
    assert 0 <= codes.min() <= codes.max() < 16
    assert codec.decode(codes).shape == (1, 1, codes.shape[-1] * 160)
    assert codec(wave(num_samples=num_samples)).wave.shape == (1, 1, num_samples)


def test_the_last_frame_is_filled_up_with_silence():
    codec, short = make_codec().eval(), wave(num_samples=1_000)
    filled = torch.nn.functional.pad(short, (0, 120))
    assert torch.equal(codec.encode(short), codec.encode(filled))


def test_a_row_of_a_batch_is_what_it_is_alone():
    codec, waves = make_codec().eval(), wave(batch=3)
    codes = codec.encode(waves)
    assert torch.equal(codes, torch.cat([codec.encode(row[None]) for row in waves]))
    alone = torch.cat([codec.decode(row[None]) for row in codes])
    torch.testing.assert_close(codec.decode(codes), alone, rtol=0, atol=1e-5)


def test_threads_find_waves_where_gradients_are_on():
    """The mode in which nothing is recorded is a thread's own: those that find waves had that of a new thread."""
    codec = make_codec(replace(TINY, window_samples=400)).eval()  # no power of two: PyTorch and not compiled code
    codes = codec.encode(wave(batch=3))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = codec.decode(codes)
        torch.set_num_threads(2)
        torch.testing.assert_close(codec.decode(codes), expected, rtol=0, atol=1e-5)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("window_samples", [320, 512])
def test_clips_decoded_together_have_the_bits_that_they_have_alone(window_samples):
    codec = make_codec(replace(TINY, window_samples=window_samples)).eval()
    codes = [codec.encode(wave(num_samples=160 * length))[0] for length in (9, 70, 9, 1)]
    codes[2] = codes[2].flip(1)
    alone = [codec.decode_in_chunks(of_clip[None])[0] for of_clip in codes]
    together = codec.decode_all(codes)
    assert all(torch.equal(one, other) for one, other in zip(together, alone, strict=True))


def test_in_training_the_originals_phases_carry_the_decoded_magnitudes():
    codec = make_codec().eval()
    output = codec(wave())
    assert torch.equal(output.codes, codec.encode(wave()))
    magnitudes = codec.decoder(codec.quantizer.decode(output.codes))
    phases = codec.stft.analyze(wave()[:, 0]).angle()
    expected = codec.stft.synthesize(torch.polar(magnitudes, phases))[:, None]
    torch.testing.assert_close(output.wave, expected, rtol=0, atol=1e-5)


def test_a_held_note_is_one_code_though_its_phase_is_another_in_every_frame():
    """What a language model is to learn: a note that stays the same is a code that stays the same."""
    codec = make_codec(replace(TINY, window_samples=1_024)).eval()
    note = 0.3 * torch.sin(2 * torch.pi * 433.3 * torch.arange(160 * 40) / 8_000)[None, None]
    phases = codec.stft.analyze(note[:, 0]).angle()[0, 10:-10, 55]
    assert phases.std() > 0.5, "the note's period must be no whole part of a frame"
    codes = codec.encode(note)[0, :, 10:-10]
    assert (codes == codes[:, :1]).all()


def test_gradients_of_the_sound_reach_encoder_and_decoder():
    codec = make_codec().train()
    output = codec(wave(batch=2))
    (output.wave.square().mean() + output.quantizer_loss).backward()
    silent = [
        name for name, parameter in codec.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert silent == []


def test_a_frozen_encoder_keeps_all_codes_while_the_decoder_learns():
    codec = make_codec().train()
    codec.freeze_encoder()
    before, codes = copy.deepcopy(codec.state_dict()), codec.encode(wave(batch=2))
    optimizer = torch.optim.SGD([p for p in codec.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        output = codec(wave(batch=2))
        (output.wave.square().mean() + output.quantizer_loss).backward()
        optimizer.step()
    assert torch.equal(codec.encode(wave(batch=2)), codes)
    changed = {
        name.split(".")[0] for name, tensor in codec.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert changed == {"decoder"}


def test_loud_latents_make_loud_sound_and_never_infinities():
    codec = make_codec().eval()
    magnitudes = codec.decoder(1e6 * torch.randn(1, 8, 5))
    assert find_wave(codec.stft, magnitudes, 4).isfinite().all()


def test_silence_has_finite_gradients():
    codec = make_codec().train()
    silence = torch.zeros(1, 1, 1_600, requires_grad=True)
    codec(silence).wave.square().sum().backward()
    assert silence.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in codec.parameters() if parameter.grad is not None)


def test_the_spec_of_a_codec_is_that_of_its_config():
    codec = make_codec()
    spec = (codec.sample_rate_hz, codec.num_channels, codec.num_codebooks, codec.codebook_size, codec.hop_samples)
    assert spec == (8_000, 1, 3, 16, 160)
    assert codec.frame_rate_hz == 50
    assert SpectralCodecConfig().num_bins == 1_025
    assert from_dict(SpectralCodecConfig, to_dict(TINY)) == TINY


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"window_samples": 333}, "must be even"),
        ({"window_samples": 300}, "at least twice hop_samples=160"),
        ({"encoder_kernel_size": 6}, "encoder_kernel_size=6: must be odd"),
        ({"decoder_kernel_size": 2}, "decoder_kernel_size=2: must be odd"),
        ({"phase_iterations": 0}, "phase_iterations=0"),
        ({"hop_samples": 0}, "hop_samples=0"),
        ({"encoder_width": 0}, "encoder_width=0"),
        ({"mlp_scale": -1}, "mlp_scale=-1"),
    ],
    ids=str,
)
def test_a_config_that_makes_no_codec_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        replace(TINY, **fields)
