"""Clips in files: what each format keeps of the sound and of the tags."""

import math

import numpy as np
import pytest
import soundfile
import torch

from descant.audio import FORMATS, Clip, audio_header, read_info, read_samples
from descant.errors import InvalidRequest
from tests.audio.clips import noise, sine
from tests.audio.zoo_makers import id3

INFO = {"prompt": 'a "quoted"\n\0 é 音 \u2028 😀 \ud800', "seed": 2**63, "nested": {"list": [1, 2.5, None, True]}}


class TestFiles:
    @pytest.mark.parametrize("num_channels", [1, 2, 6])
    @pytest.mark.parametrize("format", ["wav", "flac", "aiff"])
    def test_written_then_read_is_the_same(self, tmp_path, format, num_channels):
        clip = noise(num_channels, scale=1.0)
        clip.save(tmp_path / f"a.{format}")
        again = Clip.read(tmp_path / f"a.{format}")
        assert again.sample_rate_hz == clip.sample_rate_hz
        # Full scale itself is one step too many for 16 bits.
        torch.testing.assert_close(again.samples, clip.samples.clamp(max=32767 / 32768), rtol=0, atol=0)

    @pytest.mark.parametrize("num_samples", [1, 100, 1_023, 1_024, 1_025, 48_000])
    @pytest.mark.parametrize("num_channels", [1, 2])
    @pytest.mark.parametrize("format", ["ogg", "mp3", "opus", "m4a"])
    def test_lossy_formats_keep_length_and_sound(self, tmp_path, format, num_channels, num_samples):
        clip = sine(440, rate_hz=48_000, num_channels=num_channels)
        clip = Clip(clip.samples[:, :num_samples] * 0.5, clip.sample_rate_hz)
        clip.save(tmp_path / "a", format=format)
        again = Clip.read(tmp_path / "a")
        assert again.samples.shape == clip.samples.shape
        if num_samples == 48_000:
            # FFmpeg's AAC encoder is the weakest of the four.
            allowed = 3e-3 if format == "m4a" else 1e-3
            assert (again.samples - clip.samples).square().mean() < allowed * clip.samples.square().mean()

    @pytest.mark.parametrize("rate_hz", [32_000, 44_100])
    def test_opus_is_written_at_48_khz(self, tmp_path, rate_hz):
        clip = Clip(sine(440, rate_hz=rate_hz).samples * 0.5, rate_hz)
        clip.save(tmp_path / "a.opus")
        again = Clip.read(tmp_path / "a.opus")
        assert (again.sample_rate_hz, again.samples.shape) == (48_000, (1, 48_000))
        assert (again.samples - sine(440, rate_hz=48_000).samples * 0.5).abs().max() < 0.05

    @pytest.mark.parametrize("format", ["wav", "flac", "ogg", "aiff"])
    @pytest.mark.parametrize("num_channels", [3, 4, 5, 6, 7, 8])
    def test_many_channels_keep_their_places(self, tmp_path, format, num_channels):
        """Vorbis has an order of its own, in which the deep channel is the last."""
        tones = torch.cat([sine(200 * (channel + 1)).samples * 0.2 for channel in range(num_channels)])
        Clip(tones, 32_000).save(tmp_path / "a", format=format)
        torch.testing.assert_close(Clip.read(tmp_path / "a").samples, tones, rtol=0, atol=0.05)

    @pytest.mark.parametrize("format", FORMATS)
    def test_an_excerpt_is_that_slice_of_the_whole(self, tmp_path, format):
        path = tmp_path / f"a.{format}"
        noise(2).resample(48_000).save(path)
        whole = Clip.read(path).samples
        for offset, length in ((0, 1), (0, 24_000), (7_777, 4_321), (23_999, 1)):
            excerpt = read_samples(path, offset, length)
            assert torch.equal(excerpt, whole[:, offset : offset + length])
        assert tuple(audio_header(path)) == (24_000, 48_000, 2)
        for offset, length in ((-1, 5), (0, 0), (0, 24_001), (24_000, 1)):
            with pytest.raises(InvalidRequest, match="it has 24000"):
                read_samples(path, offset, length)

    @pytest.mark.parametrize("format", FORMATS)
    def test_the_same_clip_gives_the_same_bytes(self, format):
        clip = noise(2)
        assert clip.to_bytes(format) == clip.to_bytes(format)

    @pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
    def test_every_sample_type_is_read_at_the_same_scale(self, tmp_path, subtype):
        wave = np.array([0.0, 0.5, -0.5, 0.25, -1.0] * 10)
        soundfile.write(tmp_path / "a.wav", wave, 8000, subtype=subtype)
        expected = torch.from_numpy(wave).float()[None]
        torch.testing.assert_close(Clip.read(tmp_path / "a.wav").samples, expected, rtol=0, atol=0.03)

    @pytest.mark.parametrize("rate_hz", [8_000, 11_025, 44_100, 48_000, 96_000, 192_000])
    def test_common_rates_are_read(self, tmp_path, rate_hz):
        clip = noise(rate_hz=rate_hz, duration_s=0.1)
        clip.save(tmp_path / "a.wav")
        assert Clip.read(tmp_path / "a.wav").resample(32_000).duration_s == pytest.approx(0.1, abs=1e-4)

    def test_long_ogg_files_can_be_written(self, tmp_path):
        """libsndfile's Vorbis encoder overflows the stack when it gets a few minutes in one call."""
        Clip(torch.zeros(1, 8000 * 300), 8000).save(tmp_path / "a.ogg")
        assert audio_header(tmp_path / "a.ogg").duration_s == 300

    def test_a_loud_clip_is_turned_down_and_not_clipped(self, tmp_path):
        clip = Clip(sine(440).samples * 4, 32_000)
        clip.save(tmp_path / "a.wav")
        torch.testing.assert_close(Clip.read(tmp_path / "a.wav").samples, clip.samples * 0.99 / 4, rtol=0, atol=1e-4)

    @pytest.mark.parametrize("bitrate_mode", ["CONSTANT", "VARIABLE"])
    def test_an_mp3_without_a_length_is_counted(self, tmp_path, bitrate_mode):
        """A guess from the bitrate is a little too long if that is constant, and anything else if it varies."""
        path = tmp_path / "a.mp3"
        wave = np.concatenate([noise(duration_s=10.0).samples[0].numpy(), np.zeros(5 * 32_000)])
        soundfile.write(path, wave, 32_000, format="MP3", bitrate_mode=bitrate_mode, compression_level=0.5)
        whole = path.read_bytes()
        second_frame = whole.index(whole[:2], max(whole.find(b"Xing"), whole.find(b"Info")))
        path.write_bytes(whole[second_frame:])
        header = audio_header(path)
        assert Clip.read(path).samples.shape[1] == header.num_samples
        assert header.duration_s == pytest.approx(15, abs=0.1)
        read_samples(path, header.num_samples - 100, 100)

    def test_a_link_and_any_name_will_do(self, tmp_path):
        for name in ("with\nnewline.wav", "é 音 😀.wav", "x" * 251 + ".wav", "-rf.wav"):
            noise().save(tmp_path / name)
            (tmp_path / "link").symlink_to(tmp_path / name)
            assert Clip.read(tmp_path / "link").duration_s == 0.5
            (tmp_path / "link").unlink()
        assert len(list(tmp_path.iterdir())) == 4

    @pytest.mark.parametrize("format", FORMATS)
    def test_info_survives_in_every_format(self, tmp_path, format):
        path = tmp_path / f"a.{format}"
        clip = noise(2, rate_hz=48_000)
        Clip(clip.samples, clip.sample_rate_hz, info=INFO).save(path)
        assert read_info(path) == INFO
        assert Clip.read(path).samples.shape == clip.samples.shape
        clip.save(path)
        assert read_info(path) == {}

    @pytest.mark.parametrize(
        ("container", "endian"), [("CAF", "FILE"), ("AU", "FILE"), ("W64", "FILE"), ("RF64", "FILE"), ("WAV", "BIG")]
    )
    def test_formats_that_we_do_not_write_hold_none_of_ours(self, tmp_path, container, endian):
        """Their tags were said to be damaged, which ended commands that need no tags."""
        values = noise(2).samples.T.numpy()
        soundfile.write(tmp_path / "a", values, 32_000, "PCM_16", endian, format=container)
        assert Clip.read(tmp_path / "a").samples.shape == (2, len(values))
        assert read_info(tmp_path / "a") == {}

    def test_a_tag_before_sound_that_is_no_mp3_holds_none_of_ours(self, tmp_path):
        (tmp_path / "a.aac").write_bytes(id3(100) + b"\xff\xf1\x50\x80" + bytes(500))
        assert read_info(tmp_path / "a.aac") == {}

    @pytest.mark.parametrize("info", [{"a": math.nan}, {"a": object()}, {"a": torch.zeros(1)}])
    def test_info_that_is_no_json_is_refused(self, tmp_path, info):
        with pytest.raises(InvalidRequest, match="JSON"):
            Clip(noise().samples, 32_000, info=info).save(tmp_path / "a.wav")
        assert not list(tmp_path.iterdir())
