import contextlib
import math
import os
import random
import struct
import zipfile
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import soundfile
import torch

from descant.audio import FORMATS, Clip, audio_header, integrated_loudness, read_info, read_samples
from descant.errors import AudioError, InvalidRequest
from tests.audio.zoo import id3

INFO = {"prompt": 'a "quoted"\n\0 é 音 \u2028 😀 \ud800', "seed": 2**63, "nested": {"list": [1, 2.5, None, True]}}


def noise(num_channels: int = 1, duration_s: float = 0.5, rate_hz: int = 32_000, scale: float = 0.3) -> Clip:
    """Noise on the grid of 16-bit integers, so that no rounding hides a mistake."""
    generator = torch.Generator().manual_seed(num_channels)
    samples = torch.rand(num_channels, round(duration_s * rate_hz), generator=generator) * 2 - 1
    return Clip((samples * scale * 32768).round() / 32768, rate_hz)


def sine(frequency_hz: float, duration_s: float = 1.0, rate_hz: int = 32_000, num_channels: int = 1) -> Clip:
    phase = 2 * math.pi * frequency_hz * torch.arange(round(duration_s * rate_hz), dtype=torch.float64) / rate_hz
    return Clip(torch.sin(phase).float().repeat(num_channels, 1), rate_hz)


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


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "says"),
        [("a.wma", "'wma'"), ("a", "''"), ("a.", "''"), (".wav", "''"), ("a.wav.exe", "'exe'")],
    )
    def test_an_unknown_format_names_the_known(self, tmp_path, name, says):
        with pytest.raises(InvalidRequest, match=r"allowed are wav, flac, ogg, mp3, opus, aiff, m4a$") as raised:
            noise().save(tmp_path / name)
        assert says in str(raised.value)
        assert not list(tmp_path.iterdir())

    def test_what_a_format_has_no_place_for_is_refused(self):
        with pytest.raises(InvalidRequest, match="32000, 44100, 48000"):
            noise(rate_hz=44_000).to_bytes("mp3")
        with pytest.raises(InvalidRequest, match="44100, 48000, 64000"):
            noise(rate_hz=44_000).to_bytes("m4a")
        # libvorbis would end the process with a segmentation fault.
        with pytest.raises(InvalidRequest, match="at most 200000"):
            noise(rate_hz=200_001).to_bytes("ogg")
        with pytest.raises(InvalidRequest, match="at most 655350"):
            noise(rate_hz=768_000).to_bytes("flac")
        with pytest.raises(InvalidRequest, match="at most 2"):
            noise(3).to_bytes("mp3")
        with pytest.raises(InvalidRequest, match="at most 8"):
            noise(9, 0.01).to_bytes("flac")

    def test_a_failed_write_leaves_nothing_and_the_old_file(self, tmp_path, monkeypatch):
        path = tmp_path / "a.wav"
        path.write_text("old")

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", full)
        with pytest.raises(AudioError, match="No space left"):
            noise().save(path)
        assert path.read_text() == "old"
        assert os.listdir(tmp_path) == ["a.wav"]

    @pytest.mark.parametrize("name", ["no/such/folder/a.wav", "x" * 300 + ".wav", "nul\0.wav", "file/a.wav"])
    def test_a_place_that_cannot_be_written_is_named(self, tmp_path, name):
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(AudioError, match="cannot write"):
            noise().save(tmp_path / name)

    def write_bad_files(self, folder: Path) -> None:
        noise().save(folder / "good.wav")
        good = (folder / "good.wav").read_bytes()
        (folder / "empty.wav").write_bytes(b"")
        (folder / "header only.wav").write_bytes(good[:44])
        (folder / "no samples.wav").write_bytes(good[:40] + bytes(4))
        (folder / "text.wav").write_text("no music, only words\n" * 100)
        (folder / "page.mp3").write_text("<html><body>404</body></html>" * 50)
        (folder / "picture.wav").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
        (folder / "list.m3u8").write_text("#EXTM3U\nhttp://127.0.0.1/secret\n")
        (folder / "phone.m4a").write_bytes(struct.pack(">I", 24) + b"ftypM4A " + bytes(1000))
        with zipfile.ZipFile(folder / "archive.wav", "w") as archive:
            archive.writestr("a.wav", good)
        for name, value in (("nan", math.nan), ("inf", math.inf), ("too large for float32", 1e300)):
            soundfile.write(folder / f"{name}.wav", np.array([0.0, value, 0.0]), 8000, subtype="DOUBLE")
        soundfile.write(folder / "slow.wav", np.zeros(100), 999)
        soundfile.write(folder / "fast.wav", np.zeros(100), 768_001)
        (folder / "folder.wav").mkdir()
        os.mkfifo(folder / "fifo.wav")
        (folder / "dangling.wav").symlink_to("nowhere")
        (folder / "zero.wav").symlink_to("/dev/zero")
        (folder / "good.wav").unlink()

    def test_each_bad_file_is_one_line_that_names_it(self, tmp_path):
        self.write_bad_files(tmp_path)
        for path in [*tmp_path.iterdir(), tmp_path / "missing\nfile.wav", "nul\0.wav", "", "x" * 5000]:
            with pytest.raises(AudioError) as raised:
                Clip.read(path)
            message = str(raised.value)
            assert repr(str(path)) in message
            assert "\n" not in message
        assert len(list(tmp_path.iterdir())) == 18

    def test_an_unreadable_format_names_the_way_to_convert_it(self, tmp_path):
        (tmp_path / "raw.pcm").write_bytes(np.random.default_rng(0).bytes(5_000))
        with pytest.raises(AudioError, match=r"wav, flac, ogg.*ffmpeg -i"):
            Clip.read(tmp_path / "raw.pcm")

    def test_a_long_file_is_refused_before_it_is_read(self, tmp_path):
        soundfile.write(tmp_path / "a.flac", np.zeros(3_600_000, dtype=np.int16), 1000)
        with pytest.raises(AudioError, match=r"3600\.0 s long; at most 60 s"):
            Clip.read(tmp_path / "a.flac", max_duration_s=60.0)

    def test_a_file_cut_short_says_so(self, tmp_path):
        noise(duration_s=2.0).save(tmp_path / "a.flac")
        whole = (tmp_path / "a.flac").read_bytes()
        (tmp_path / "a.flac").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(AudioError, match=r"cut short|damaged"):
            Clip.read(tmp_path / "a.flac")

    @pytest.mark.parametrize("format", FORMATS)
    def test_a_mutated_file_is_audio_or_an_audio_error(self, tmp_path, format):
        """Bytes flipped in the header, numbers in it made absurd, the end cut off."""
        whole = noise(2, 0.02).to_bytes(format)
        path = tmp_path / f"a.{format}"
        outcomes = set()
        for seed in range(80):
            generator = random.Random(seed)
            mutated = bytearray(whole)
            for _ in range(generator.randint(1, 4)):
                place = generator.randrange(min(len(whole), 128)) if seed % 2 else generator.randrange(len(whole))
                lie = generator.choice(
                    [b"\0", b"\xff", b"\xff\xff\xff\xff", bytes(4), bytes([generator.randrange(256)])]
                )
                mutated[place : place + len(lie)] = lie
            path.write_bytes(mutated[: generator.randrange(len(whole))] if seed % 5 == 0 else mutated)
            outcomes.add(outcome(path))
        assert outcomes == {"audio", "error"}

    def test_tags_that_are_damaged_are_an_audio_error(self, tmp_path):
        path = tmp_path / "a.flac"
        Clip(noise().samples, 32_000, info={"a": 1}).save(path)
        path.write_bytes(path.read_bytes().replace(b'{"a":1}', b'{"a":1 '))
        with pytest.raises(AudioError, match="tags"):
            read_info(path)
        path.write_bytes(path.read_bytes().replace(b'{"a":1 ', b"[10000]"))
        with pytest.raises(AudioError, match="no JSON object"):
            read_info(path)


def outcome(path: Path) -> str:
    """What reading gives; anything but a clip or an AudioError goes up."""
    with contextlib.suppress(AudioError):
        read_info(path)
    try:
        clip = Clip.read(path)
    except AudioError:
        return "error"
    assert torch.isfinite(clip.samples).all()
    return "audio"


class TestClip:
    @pytest.mark.parametrize(
        ("samples", "rate_hz"),
        [
            (torch.zeros(1, 1, 8), 8000),
            (torch.zeros(1, 0), 8000),
            (torch.zeros(0, 8), 8000),
            (torch.full((1, 8), math.nan), 8000),
            (torch.full((1, 8), math.inf), 8000),
            (torch.zeros(1, 8), 0),
            (torch.zeros(1, 8), 1_000_000),
        ],
    )
    def test_what_is_no_sound_is_no_clip(self, samples, rate_hz):
        with pytest.raises((InvalidRequest, jaxtyping.TypeCheckError)):
            Clip(samples, rate_hz)

    @pytest.mark.parametrize("rate_hz", [16_000, 22_050, 44_100, 48_000])
    def test_resampling_keeps_the_sound(self, rate_hz):
        there = sine(440).resample(rate_hz)
        assert there.samples.shape == (1, rate_hz)
        middle = slice(rate_hz // 10, -rate_hz // 10)
        expected = sine(440, rate_hz=rate_hz).samples
        torch.testing.assert_close(there.samples[:, middle], expected[:, middle], rtol=0, atol=1e-3)
        assert there.resample(rate_hz) is there
        for wrong in (0, -1, 10**6):
            with pytest.raises(InvalidRequest, match="rate_hz"):
                there.resample(wrong)

    def test_channels_are_copied_or_averaged(self):
        left_right = Clip(torch.tensor([[0.2, 0.4], [0.0, 0.0]]), 8000)
        mono = left_right.to_channels(1)
        torch.testing.assert_close(mono.samples, torch.tensor([[0.1, 0.2]]))
        assert torch.equal(mono.to_channels(2).samples, mono.samples.expand(2, -1))
        assert left_right.to_channels(2) is left_right
        surround = Clip(torch.rand(6, 50), 8000)
        assert torch.equal(surround.to_channels(1).samples[0], surround.samples.mean(dim=0))
        assert torch.equal(surround.to_channels(2).samples[1], surround.samples.mean(dim=0))
        with pytest.raises(InvalidRequest, match="1 and 2"):
            mono.to_channels(6)

    def test_codes_do_not_outlive_their_samples_but_info_does(self):
        clip = Clip(torch.rand(1, 800), 8000, codes=torch.zeros(4, 5, dtype=torch.int64), info={"a": 1})
        for changed in (clip.resample(16_000), clip.to_channels(2)):
            assert changed.codes is None
            assert changed.info == {"a": 1}


class TestLoudness:
    @pytest.mark.parametrize("rate_hz", [24_000, 32_000, 44_100, 48_000])
    def test_a_full_scale_sine_is_3_lufs_under_zero(self, rate_hz):
        """The calibration of BS.1770-4: 997 Hz at full scale in one channel reads -3.01."""
        mono = sine(997, 3.0, rate_hz)
        assert integrated_loudness(mono.samples, rate_hz) == pytest.approx(-3.01, abs=0.03)
        assert integrated_loudness(mono.samples.repeat(2, 1), rate_hz) == pytest.approx(0.0, abs=0.03)
        assert integrated_loudness(mono.samples / 10, rate_hz) == pytest.approx(-23.01, abs=0.03)

    @pytest.mark.parametrize("frequency_hz", [38, 100, 1000, 10_000])
    def test_the_filter_is_the_standard_s_own(self, frequency_hz):
        """Against the coefficients printed in BS.1770-4, tables 1 and 2, at 48 kHz."""
        z = np.exp(-2j * np.pi * frequency_hz / 48_000)
        shelf = np.polyval([1.19839281085285, -2.69169618940638, 1.53512485958697], z)
        shelf /= np.polyval([0.73248077421585, -1.69065929318241, 1.0], z)
        high_pass = np.polyval([1.0, -2.0, 1.0], z) / np.polyval([0.99007225036621, -1.99004745483398, 1.0], z)
        expected = 20 * np.log10(abs(shelf * high_pass))
        clip = sine(frequency_hz, 4.0, 48_000)
        measured = integrated_loudness(clip.samples, 48_000) + 3.0103 + 0.691
        assert measured == pytest.approx(expected, abs=0.02)

    def test_quiet_parts_do_not_count(self):
        loud = sine(997, 5.0)
        pauses = torch.cat([loud.samples, torch.zeros(1, 320_000), loud.samples * 0.01], dim=1)
        # The blocks that hold a bit of both sides of the edge stay in.
        assert integrated_loudness(pauses, 32_000) == pytest.approx(-3.01, abs=0.3)
        assert integrated_loudness(torch.cat([loud.samples, loud.samples * 0.5], dim=1), 32_000) < -4.5

    def test_chunks_give_the_loudness_of_one_pass(self, monkeypatch):
        clip = noise(2, 3.3)
        whole = integrated_loudness(clip.samples, 32_000)
        monkeypatch.setattr("descant.audio.loudness.CHUNK_S", 1)
        assert integrated_loudness(clip.samples, 32_000) == pytest.approx(whole, abs=1e-9)

    def test_a_normalised_clip_has_that_loudness(self, tmp_path):
        clip = noise(2, 2.0, scale=0.05)
        for lufs in (-14.0, -23.0, -40.0):
            normal = clip.normalize_loudness(lufs)
            assert integrated_loudness(normal.samples, 32_000) == pytest.approx(lufs, abs=1e-3)
        clip.save(tmp_path / "a.wav", loudness=-23.0)
        saved = Clip.read(tmp_path / "a.wav")
        assert integrated_loudness(saved.samples, 32_000) == pytest.approx(-23, abs=0.01)

    def test_the_peak_limits_the_gain(self):
        click = torch.zeros(1, 32_000)
        click[0, 100] = 0.5
        clip = Clip(click + 1e-3 * noise(1, 1.0).samples, 32_000)
        normal = clip.normalize_loudness(-5.0)
        assert normal.samples.abs().max().item() == pytest.approx(0.99)
        torch.testing.assert_close(normal.samples / normal.samples.abs().max(), clip.samples / clip.samples.abs().max())

    def test_silence_stays_silent_and_short_clips_have_a_loudness(self):
        silence = Clip(torch.zeros(2, 32_000), 32_000)
        assert integrated_loudness(silence.samples, 32_000) == -math.inf
        assert silence.normalize_loudness(-14.0) is silence
        assert integrated_loudness(torch.full((1, 1), 0.5), 32_000) > -20
        assert Clip(torch.full((1, 500), 1e30), 32_000).normalize_loudness(-14.0).samples.abs().max() <= 0.99
        with pytest.raises(InvalidRequest, match="loudness=3"):
            silence.normalize_loudness(3.0)
