"""A stream gives what decode or encode gives, however the whole is cut, in memory that does not grow."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from descant.checkpoints.native import load_codec, starter_folder
from descant.codec import seanet, spectral
from descant.codec.base import AudioCodec
from descant.codec.encodec import EnCodec, EnCodecConfig
from descant.codec.spectral import SpectralCodec, SpectralCodecConfig
from descant.codec.stereo import StereoCodec
from descant.errors import InvalidRequest
from descant.nn.rvq import RVQConfig

ENCODEC = EnCodecConfig(
    sample_rate_hz=600, filters=2, strides=(3, 2), latent_dim=4, lstm_layers=1, num_codebooks=2, codebook_size=8
)
CONFIGS: dict[str, EnCodecConfig | SpectralCodecConfig] = {
    "encodec": ENCODEC,
    "zeros": replace(ENCODEC, padding_mode="constant"),
    "causal": replace(ENCODEC, is_causal=True),
    "causal, zeros": replace(ENCODEC, is_causal=True, padding_mode="constant"),
    "no lstm": replace(ENCODEC, lstm_layers=0),
    "two lstms, one stride": replace(ENCODEC, lstm_layers=2, strides=(6,)),
    "dilated": replace(ENCODEC, residual_layers=3, has_conv_shortcut=True, strides=(5, 1, 2)),
    "dilated, causal": replace(ENCODEC, residual_layers=2, is_causal=True, residual_kernel_size=4),
    "even kernels": replace(ENCODEC, kernel_size=4, last_kernel_size=6, residual_kernel_size=2),
    "kernels of one": replace(ENCODEC, kernel_size=1, last_kernel_size=1, residual_kernel_size=1),
    "snake": replace(ENCODEC, activation="snake", decoder_filters=4, codebook_dim=2),
}
SPECTRAL = SpectralCodecConfig(
    sample_rate_hz=500,
    hop_samples=10,
    window_samples=32,
    encoder_width=4,
    encoder_layers=1,
    decoder_width=12,
    decoder_layers=2,
    decoder_kernel_size=5,
    phase_iterations=3,
    quantizer=RVQConfig(dim=8, codebook_dim=8, codebook_size=16, num_codebooks=2),
)
CONFIGS |= {
    "spectral": SPECTRAL,
    "spectral, whole hops": replace(SPECTRAL, hop_samples=5, window_samples=20),
    "spectral, half windows": replace(SPECTRAL, hop_samples=20, window_samples=40, decoder_layers=0),
    "spectral, one round": replace(SPECTRAL, phase_iterations=1),
    "spectral, many rounds": replace(SPECTRAL, phase_iterations=12, decoder_layers=1),
}
CODECS = [*CONFIGS, "stereo encodec", "stereo spectral"]


def make_codec(name: str) -> AudioCodec:
    """A codec with random codebooks, as if it had been trained."""
    torch.manual_seed(0)
    if name.startswith("stereo"):
        return StereoCodec(make_codec(name.removeprefix("stereo ")))
    config = CONFIGS[name]
    codec = (EnCodec(config) if isinstance(config, EnCodecConfig) else SpectralCodec(config)).eval()
    for level in codec.quantizer.levels:
        level.codebook.normal_()
        level.is_initialized.fill_(1)
    return codec


def random_codes(codec: AudioCodec, num_frames: int, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(num_frames)
    return torch.randint(codec.codebook_size, (batch, codec.num_codebooks, num_frames), generator=generator)


def streamed(codec: AudioCodec, chunks: list[Tensor]) -> Tensor:
    stream = codec.stream()
    return torch.cat([*map(stream.push, chunks), stream.finish()], dim=-1)


def assert_streams_as_it_decodes(codec: AudioCodec, codes: Tensor, sizes: int | list[int]) -> None:
    torch.testing.assert_close(
        streamed(codec, list(codes.split(sizes, dim=-1))), codec.decode(codes), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("size", [1, 4, 25])
def test_chunks_of_one_size_make_the_whole(name, size):
    codec = make_codec(name)
    assert_streams_as_it_decodes(codec, random_codes(codec, 25, batch=2), size)


@pytest.mark.parametrize("name", CODECS)
def test_chunks_of_any_sizes_make_the_whole(name):
    codec = make_codec(name)
    assert_streams_as_it_decodes(codec, random_codes(codec, 60), [0, 1, 2, 0, 30, 1, 1, 25, 0])


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("at_once", [1, 4, 40])
def test_blocks_of_any_size_make_the_whole(name, at_once, monkeypatch):
    """What fits the cache is a question of speed only."""
    codec = make_codec(name)
    codes, wave = random_codes(codec, 30), random_wave(codec, 29 * codec.hop_samples + 1)
    decoded, encoded_codes = codec.decode(codes), codec.encode(wave)
    monkeypatch.setattr(seanet, "ELEMENTS_AT_ONCE", at_once)
    monkeypatch.setattr(spectral, "FRAMES_AT_ONCE", at_once)
    torch.testing.assert_close(streamed(codec, [codes]), decoded, rtol=0, atol=1e-5)
    assert torch.equal(encoded(codec, [wave]), encoded_codes)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 5, 7])
def test_a_chunk_shorter_than_any_reach_is_decoded_by_its_own_rules(name, num_frames):
    """Inputs shorter than their mirror are padded otherwise, so their start is not certain until they end."""
    codec = make_codec(name)
    assert_streams_as_it_decodes(codec, random_codes(codec, num_frames), 1)


@pytest.mark.parametrize("name", CODECS)
def test_samples_come_as_early_as_the_reach_allows(name):
    codec = make_codec(name)
    ahead = codec.lookahead_frames
    codes, stream = random_codes(codec, ahead + 5), codec.stream()
    num_given = [stream.push(frame).shape[-1] for frame in codes.split(1, dim=-1)]
    assert sum(num_given[:ahead]) == 0
    assert num_given[ahead] > 0
    assert set(num_given[ahead + 1 :]) == {codec.hop_samples}


# Where windows meet by their edges, float32 loses what a code changes at the end of its reach.
@pytest.mark.parametrize("name", [*(name for name in CODECS if "spectral" not in name), "spectral, half windows"])
def test_the_last_code_that_a_sample_waits_for_changes_it(name):
    codec = make_codec(name).double()  # in float32 a change can be lost, on some processors and not on others
    codes, ahead = random_codes(codec, 30), codec.lookahead_frames
    changed = codes.clone()
    changed[..., ahead] = (changed[..., ahead] + 1) % codec.codebook_size
    assert (codec.decode(codes)[..., 0] != codec.decode(changed)[..., 0]).any()


def size_of_state(part: object) -> int:
    """Elements in the memory of all tensors that a stream keeps, its layers' weights apart."""
    if isinstance(part, Tensor):
        return part.untyped_storage().nbytes() // part.element_size()
    if isinstance(part, (list, tuple)):
        return sum(map(size_of_state, part))
    if isinstance(part, nn.Module) or not hasattr(part, "__dict__") or callable(part):
        return 0
    return sum(map(size_of_state, vars(part).values()))


@pytest.mark.parametrize("name", CODECS)
def test_memory_is_the_same_after_50_and_500_frames(name):
    codec = make_codec(name)
    stream = codec.stream()
    for _ in range(5):
        stream.push(random_codes(codec, 10))
    after_50 = size_of_state(stream)
    for _ in range(9):
        stream.push(random_codes(codec, 50))
    assert size_of_state(stream) == after_50 > 0


# The encoder, from chunks of a wave.


def random_wave(codec: AudioCodec, num_samples: int, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(num_samples)
    return 0.5 * torch.randn(batch, codec.num_channels, num_samples, generator=generator)


def encoded(codec: AudioCodec, chunks: list[Tensor]) -> Tensor:
    stream = codec.encoder_stream()
    return torch.cat([*map(stream.push, chunks), stream.finish()], dim=-1)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("num_samples", [*range(1, 14), 29, 60, 61, 257])
@pytest.mark.parametrize("size", [1, 7, 64])
def test_chunks_of_a_wave_have_the_codes_of_the_whole(name, num_samples, size):
    """Every remainder of the last window, waves shorter than any mirror, and chunks shorter than any stride."""
    codec = make_codec(name)
    wave = random_wave(codec, num_samples, batch=2)
    assert torch.equal(encoded(codec, list(wave.split(size, dim=-1))), codec.encode(wave))


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name in CONFIGS if "spectral" not in name])
def test_latents_of_chunks_are_those_of_the_whole(name):
    """Codes can agree where the vectors that they stand for do not."""
    encoder = make_codec(name).encoder
    for num_samples in (5, 61, 100):
        wave = torch.randn(1, 1, num_samples, generator=torch.Generator().manual_seed(num_samples))
        stage = encoder.stream()
        chunks = [stage.push(chunk, is_last=False) for chunk in wave.split([0, 3, num_samples - 3], dim=-1)]
        whole = encoder(wave)
        together = torch.cat([*chunks, stage.push(wave[..., :0], is_last=True)], dim=-1)
        torch.testing.assert_close(together, whole, rtol=0, atol=1e-5 * float(whole.abs().max()))


@pytest.mark.parametrize("name", CODECS)
def test_an_encoders_memory_is_the_same_after_50_and_500_frames(name):
    codec = make_codec(name)
    stream = codec.encoder_stream()
    for _ in range(5):
        stream.push(random_wave(codec, 10 * codec.hop_samples))
    after_50 = size_of_state(stream)
    for _ in range(9):
        stream.push(random_wave(codec, 50 * codec.hop_samples))
    assert size_of_state(stream) == after_50 > 0


@torch.no_grad()
def test_the_shipped_codec_decodes_noise_in_chunks_as_in_one_within_its_own_tolerance(monkeypatch):
    codec, _ = load_codec(starter_folder() / "codec")
    for name in ("chunk_s", "one_pass_s"):
        monkeypatch.setattr(codec, name, 1.0)
    wave = 0.1 * torch.randn(1, 1, 4 * codec.sample_rate_hz, generator=torch.Generator().manual_seed(0))
    codes = codec.encode(wave)
    whole = codec.decode(codes)
    peak = float(whole.abs().max())
    assert peak > 0.1
    assert StereoCodec(codec).chunk_tolerance == codec.chunk_tolerance > AudioCodec.chunk_tolerance
    torch.testing.assert_close(codec.decode_in_chunks(codes), whole, rtol=0, atol=codec.chunk_tolerance * peak)


@pytest.mark.parametrize("name", ["encodec", "spectral", "stereo encodec"])
def test_a_long_wave_there_and_back_in_chunks_is_as_in_one(name, monkeypatch):
    codec = make_codec(name)
    for name in ("chunk_s", "one_pass_s"):
        monkeypatch.setattr(codec, name, 10 / codec.frame_rate_hz)
    wave = random_wave(codec, 43 * codec.hop_samples + 1)
    seen: list[tuple[int, int]] = []
    codes = codec.encode_in_chunks(wave, lambda done, whole: seen.append((done, whole)))
    assert torch.equal(codes, codec.encode(wave))
    assert seen[0] == (10 * codec.hop_samples, wave.shape[-1])
    assert seen[-1] == (wave.shape[-1], wave.shape[-1])
    assert len(seen) == 5
    seen.clear()
    decoded = codec.decode_in_chunks(codes, lambda done, whole: seen.append((done, whole)))
    torch.testing.assert_close(decoded, codec.decode(codes), rtol=0, atol=1e-5)
    assert seen == [(10, 44), (20, 44), (30, 44), (40, 44), (44, 44)]


@pytest.mark.parametrize("name", ["encodec", "spectral", "stereo encodec"])
def test_what_is_no_wave_for_the_codec_is_refused_in_chunks_too(name):
    codec = make_codec(name)
    for shape in ((1, codec.num_channels, 0), (1, 3, 10)):
        with pytest.raises(InvalidRequest, match="at least one sample"):
            codec.encode_in_chunks(torch.zeros(shape))


def test_a_stream_keeps_no_gradient():
    codec = make_codec("encodec")
    wave = streamed(codec, [random_codes(codec, 20)])
    assert not wave.requires_grad


def test_two_streams_of_one_codec_do_not_affect_each_other():
    codec = make_codec("encodec")
    ours, theirs = random_codes(codec, 20), random_codes(codec, 21)
    one, other = codec.stream(), codec.stream()
    decoded = []
    for frame in range(20):
        decoded.append(one.push(ours[..., frame : frame + 1]))
        other.push(theirs[..., frame : frame + 1])
    torch.testing.assert_close(torch.cat([*decoded, one.finish()], dim=-1), codec.decode(ours), rtol=0, atol=1e-5)


def test_a_stream_refuses_what_it_cannot_go_on_with():
    codec = make_codec("encodec")
    stream = codec.stream()
    with pytest.raises(InvalidRequest, match="after at least one frame"):
        stream.finish()
    stream.push(random_codes(codec, 3, batch=2))
    with pytest.raises(InvalidRequest, match="began with a batch of 2"):
        stream.push(random_codes(codec, 3, batch=1))
    stream.finish()
    with pytest.raises(InvalidRequest, match=r"codes after finish\(\)"):
        stream.push(random_codes(codec, 3, batch=2))
    with pytest.raises(InvalidRequest, match="ends a stream once"):
        stream.finish()
