"""Ways into and out of audio files: names, open files, excerpts, memory, and the cache of decoded files."""

import contextlib
import io
import logging
import os
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from descant.audio import FORMATS, Clip, audio_header, files, mpeg, ogg, read_info, read_samples, sndfile
from descant.audio.decoded import DecodedFiles, FileCache
from descant.audio.readers import DecodedAudio
from descant.data.manifest import ClipRecord
from descant.data.scan import scan_folder
from descant.data.tokenize import tokenize
from descant.errors import AudioError, InvalidRequest


def plucks(duration_s: float = 1.0, rate_hz: int = 48_000, num_channels: int = 2) -> Clip:
    """Decaying tones, a new one every tenth of a second."""
    t = torch.arange(round(duration_s * rate_hz)) / rate_hz
    pitch = 200 * (1 + (t * 10).floor() % 7)
    wave = 0.4 * torch.exp(-20 * (t % 0.1)) * torch.sin(2 * torch.pi * pitch * (t % 0.1))
    return Clip(torch.stack([wave, wave.flip(0)])[:num_channels], rate_hz)


class TestNames:
    def test_home_is_known_and_bytes_are_a_path(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        clip = plucks()
        clip.save("~/a.wav")
        assert (tmp_path / "a.wav").is_file()
        for path in ("~/a.wav", b"~/a.wav", os.fsencode(tmp_path / "a.wav"), Path("~/a.wav")):
            assert Clip.read(path).samples.shape == clip.samples.shape
            assert read_info(path) == {}
        clip.save(os.fsencode(tmp_path / "b.flac"))
        assert sorted(os.listdir(tmp_path)) == ["a.wav", "b.flac"]

    @pytest.mark.parametrize("format", ["WAV", ".wav", ".Flac", "M4A"])
    def test_a_format_may_be_written_as_suffixes_are(self, tmp_path, format):
        plucks().save(tmp_path / "a", format=format)
        assert (tmp_path / "a").read_bytes() == plucks().to_bytes(format.lower().lstrip("."))

    @pytest.mark.parametrize("format", FORMATS)
    def test_open_files_are_read_and_written(self, tmp_path, format):
        clip = Clip(plucks().samples, 48_000, info={"a": 1})
        memory = io.BytesIO()
        clip.save(memory, format=format)
        assert memory.getvalue() == clip.to_bytes(format)
        with (tmp_path / "a").open("wb") as file:
            clip.save(file, format=format)
        memory.seek(0)
        assert torch.equal(Clip.read(memory).samples, Clip.read(tmp_path / "a").samples)
        memory.seek(0)
        assert read_info(memory) == {"a": 1}
        assert not memory.closed

    @pytest.mark.parametrize("takes", [None, 0])
    def test_a_file_that_takes_a_part_at_a_time_gets_all_or_fails(self, takes):
        class Raw(io.RawIOBase):
            content = b""

            def write(self, rest):
                self.content += bytes(rest[:100])
                return min(100, len(rest)) if len(self.content) < limit else takes

        limit, raw = 1 << 30, Raw()
        plucks(0.1).save(raw, format="wav")
        assert raw.content == plucks(0.1).to_bytes("wav")
        limit = 500
        with pytest.raises(AudioError, match="took only 400 of"):
            plucks(0.1).save(Raw(), format="wav")

    def test_an_object_that_counts_nothing_gets_all(self):
        class Upload:
            def __init__(self):
                self.parts = []

            def write(self, content):
                self.parts.append(content)

        upload = Upload()
        plucks(0.1).save(upload, format="wav")
        assert upload.parts == [plucks(0.1).to_bytes("wav")]

    def test_an_open_file_is_read_from_where_it_stands(self):
        memory = io.BytesIO(b"something else" + plucks().to_bytes("ogg"))
        memory.seek(14)
        assert Clip.read(memory).samples.shape == (2, 48_000)

    def test_open_files_that_will_not_do_are_refused(self, tmp_path):
        (tmp_path / "a.wav").write_bytes(plucks().to_bytes("wav"))
        with (tmp_path / "a.wav").open(encoding="latin-1") as file, pytest.raises(InvalidRequest, match="'rb'"):
            Clip.read(file)
        with pytest.raises(AudioError, match="read to its end"):
            Clip.read(io.BytesIO())
        with pytest.raises(InvalidRequest, match="give one of wav"):
            plucks().save(io.BytesIO())
        with (tmp_path / "b.wav").open("w") as file, pytest.raises(InvalidRequest, match="'wb'"):
            plucks().save(file, format="wav")
        with (tmp_path / "a.wav").open("rb") as file, pytest.raises(AudioError, match="cannot write"):
            plucks().save(file, format="wav")


class TestPieces:
    @pytest.mark.parametrize("format", FORMATS)
    def test_a_part_in_seconds_is_that_slice(self, format):
        content = plucks(3.0).to_bytes(format)
        whole = Clip.read(io.BytesIO(content)).samples
        part = Clip.read(io.BytesIO(content), offset_s=1.25, duration_s=0.5)
        assert torch.equal(part.samples, whole[:, 60_000:84_000])
        assert torch.equal(Clip.read(io.BytesIO(content), offset_s=2.5, duration_s=9.0).samples, whole[:, 120_000:])
        with pytest.raises(InvalidRequest, match="it has 3 s"):
            Clip.read(io.BytesIO(content), offset_s=3.0)

    @pytest.mark.parametrize("offset_s", [3.5, 1e300, 1e308])
    @pytest.mark.parametrize("format", FORMATS)
    def test_an_offset_behind_the_end_is_the_callers_mistake_in_every_format(self, format, offset_s):
        content = plucks(3.0).to_bytes(format)
        with pytest.raises(InvalidRequest, match="it has 3 s"):
            Clip.read(io.BytesIO(content), offset_s=offset_s)
        assert Clip.read(io.BytesIO(content), offset_s=2.5, duration_s=1e308).duration_s == 0.5

    @pytest.mark.parametrize("times", [{"offset_s": -1.0}, {"offset_s": float("nan")}, {"duration_s": 0.0}])
    def test_times_that_cannot_be_are_refused(self, times):
        with pytest.raises(InvalidRequest, match="offset_s="):
            Clip.read(io.BytesIO(plucks().to_bytes("wav")), **times)

    def test_a_long_mp3_is_not_read_with_clicks_at_the_blocks_of_soundfile(self, tmp_path):
        """soundfile seeks after every 262,144 values, and a decoder that begins anew there gives other samples."""
        plucks(8.0).save(tmp_path / "a.mp3")
        whole = Clip.read(tmp_path / "a.mp3").samples
        with (tmp_path / "a.mp3").open("rb") as file, sndfile.Reading(file, is_sequential=True) as reading:
            once = torch.from_numpy(np.concatenate(list(reading.blocks())).T.copy())
        torch.testing.assert_close(whole, once, rtol=0, atol=1e-4)

    def test_a_long_file_is_refused_before_all_of_it_is_read(self, tmp_path):
        plucks(3.0).save(tmp_path / "a.mp3")
        with pytest.raises(AudioError, match="more than 2 s long"):
            Clip.read(tmp_path / "a.mp3", max_duration_s=2.0)
        assert Clip.read(tmp_path / "a.mp3", max_duration_s=3.0).duration_s == 3.0

    def test_a_changed_file_is_decoded_again(self, tmp_path):
        path = tmp_path / "a.mp3"
        for duration_s in (1.0, 2.0):
            plucks(duration_s).save(path)
            assert audio_header(path).duration_s == duration_s
            assert read_samples(path, 0, round(duration_s * 48_000)).shape == (2, duration_s * 48_000)

    def test_threads_may_share_files(self, tmp_path):
        paths = [tmp_path / f"{index}.ogg" for index in range(3)]
        for index, path in enumerate(paths):
            plucks(1.0 + index).save(path)
        expected = {path: Clip.read(path).samples[:, 1_000:2_000] for path in paths}
        wrong: deque[Path] = deque()

        def work() -> None:
            for path in paths * 3:
                if not torch.equal(read_samples(path, 1_000, 1_000), expected[path]):
                    wrong.append(path)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


class TestWhatIsKept:
    def blocks(self, value: float):
        yield np.full((1_000, 2), value, np.float32)

    def test_the_files_used_last_are_kept(self):
        kept, decoded = DecodedFiles(max_bytes=20_000), []

        def take(key: int) -> float:
            def decode():
                decoded.append(key)
                yield from self.blocks(float(key))

            return float(kept.samples(key, decode)[0, 0])

        assert [take(key) for key in (1, 2, 1, 3, 1, 2)] == [1, 2, 1, 3, 1, 2]
        assert decoded == [1, 2, 3, 2]

    def test_one_file_beyond_the_limit_is_kept_alone(self):
        kept = DecodedFiles(max_bytes=100)
        assert kept.samples("a", lambda: self.blocks(1.0)).shape == (1_000, 2)
        kept.samples("a", lambda: pytest.fail("was kept"))

    def test_what_failed_is_tried_again(self):
        kept = DecodedFiles()

        def fail():
            raise AudioError("once")
            yield

        with pytest.raises(AudioError, match="once"):
            kept.samples("a", fail)
        assert kept.samples("a", lambda: self.blocks(2.0))[0, 0] == 2.0

        assert list(kept._kept) == ["a"]
        with pytest.raises(AudioError, match="once"):
            kept.samples("b", fail)
        assert list(kept._kept) == ["a"]

    @pytest.mark.parametrize("format", ["mp3", "ogg", "m4a"])
    def test_the_first_excerpt_of_a_file_takes_one_decoding(self, tmp_path, monkeypatch, format):
        decoded = []
        parts = DecodedAudio._parts
        monkeypatch.setattr(DecodedAudio, "_parts", lambda *given: (decoded.append(1), parts(*given))[1])
        plucks().save(tmp_path / f"a.{format}")
        for _ in range(2):
            read_samples(tmp_path / f"a.{format}", 100, 100)
        assert len(decoded) == 1

    def test_a_full_disk_says_what_to_do(self, monkeypatch):
        def full(**_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("tempfile.TemporaryFile", full)
        with pytest.raises(AudioError, match=r"No space left.*TMPDIR"):
            DecodedFiles().samples("a", lambda: self.blocks(1.0))

    def test_only_so_much_is_cache(self):
        cache: FileCache[int] = FileCache(max_items=2)
        for key in range(3):
            cache.put(key, key)
        assert [cache.get(key) for key in range(3)] == [None, 1, 2]

    def test_nothing_is_left_in_the_temporary_folder(self, tmp_path):
        plucks().save(tmp_path / "a.mp3")
        (tmp_path / "tmp").mkdir()
        code = (
            f"from descant.audio import read_samples as r; r({str(tmp_path / 'a.mp3')!r}, 5, 9); import os; os._exit(9)"
        )
        environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
        assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 9
        assert not os.listdir(tmp_path / "tmp")


class TestMemory:
    def test_an_excerpt_of_half_an_hour_takes_the_memory_of_an_excerpt(self, tmp_path):
        soundfile.write(tmp_path / "a.flac", np.zeros((30 * 60 * 44_100, 1), np.int16), 44_100)
        code = (
            "import resource, sys\nfrom descant.audio import Clip\n"
            "def peak():\n    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "short = Clip.read(sys.argv[1], duration_s=3.0)\nbefore = peak()\n"
            "assert Clip.read(sys.argv[1], offset_s=900.0, duration_s=3.0).duration_s == 3\n"
            "print(peak() - before)\n"
        )
        # In a process of its own: the peak of this one, after other tests, lies higher than any of these.
        words = [sys.executable, "-c", code, str(tmp_path / "a.flac")]
        done = subprocess.run(words, capture_output=True, check=True)
        # The whole would be 318 MB.
        assert int(done.stdout) < 60_000


@pytest.mark.usefixtures("unchecked")
class TestNumbers:
    @pytest.mark.parametrize("name", ["offset_s", "duration_s", "max_duration_s"])
    @pytest.mark.parametrize("value", ["1", True, float("nan"), [1], 1j])
    def test_a_time_that_is_not_a_number_is_refused(self, name, value):
        with pytest.raises(InvalidRequest, match=f"{name}=.*: expected a number of seconds"):
            files.read(io.BytesIO(plucks().to_bytes("wav")), **{name: value})

    @pytest.mark.parametrize("value", ["-14", True, float("nan"), [1]])
    def test_a_loudness_that_is_not_a_number_is_refused(self, tmp_path, value):
        for level in (
            lambda clip: clip.save(tmp_path / "a.wav", loudness=value),
            lambda clip: clip.to_bytes("wav", loudness=value),
            lambda clip: clip.normalize_loudness(value),
            lambda clip: clip.normalize_loudness(None),
        ):
            with pytest.raises(InvalidRequest, match=r"loudness=.*: expected a number of LUFS"):
                level(plucks())
        assert not os.listdir(tmp_path)

    def test_channels_are_one_or_two_however_they_are_typed(self):
        for one in (1, 1.0, np.float32(1), torch.tensor(1)):
            assert plucks().to_channels(one).samples.shape == (1, 48_000)
        assert plucks(num_channels=1).to_channels(2.0).samples.shape == (2, 48_000)
        for value in (True, "1", None, 1.5, 3, float("nan")):
            with pytest.raises(InvalidRequest, match="num_channels="):
                plucks().to_channels(value)


class TestWhatWouldTakeForEver:
    def test_the_end_of_lyrics_is_looked_for_nearby_and_not_up_to_the_end_of_the_file(self):
        searched: list[int] = []

        class Counting(bytes):
            def find(self, mark, start=0, end=None):
                end = len(self) if end is None else min(end, len(self))
                if mark.startswith(b"LYRICS"):
                    searched.append(end - start)
                return super().find(mark, start, end)

        frame = b"\xff\xfb\x90\x00" + bytes(413)
        mpeg.walk(Counting((frame + b"LYRICSBEGIN") * 200), mpeg.mpeg_frame)
        assert searched
        assert max(searched) <= 5_200


class TestWhatCannotBe:
    def test_less_than_a_sample_at_another_rate_is_said(self):
        with pytest.raises(InvalidRequest, match="1 samples at 96000 Hz is less than one sample at 32000 Hz"):
            Clip(torch.zeros(1, 1), 96_000).resample(32_000)
        assert Clip(torch.zeros(1, 2), 96_000).resample(32_000).samples.shape == (1, 1)

    def test_sides_that_cancel_are_warned_of(self, caplog):
        left = plucks().samples[:1]
        with caplog.at_level(logging.WARNING, logger="descant"):
            Clip(torch.cat([left, left]), 48_000).to_channels(1)
            Clip(torch.zeros(2, 100), 48_000).to_channels(1)
            assert not caplog.records
            Clip(torch.cat([left, -left]), 48_000).to_channels(1)
            assert "cancel each other" in caplog.text

    @pytest.mark.parametrize("num_samples", [1, 10, 95, 96])
    def test_a_file_is_long_enough_for_all_or_for_none(self, tmp_path, tiny_model, num_samples):
        path, is_enough = tmp_path / "a.wav", num_samples >= 96
        soundfile.write(path, np.zeros(num_samples), 96_000)
        assert Clip.read(path).samples.shape == (1, num_samples)
        found = scan_folder(tmp_path)
        assert bool(found.records) == is_enough
        assert is_enough or "too short" in found.problems[path]
        record = ClipRecord(path=path, duration_s=num_samples / 96_000, sample_rate_hz=96_000, num_channels=1)
        with contextlib.nullcontext() if is_enough else pytest.raises(AudioError, match="too short"):
            tokenize([record], tiny_model.codec, tmp_path / "out")

    def test_an_ogg_checksum_is_that_of_the_format(self):
        content = plucks().to_bytes("ogg")
        assert not ogg.walk(content).losses
        damaged = bytearray(content)
        damaged[-100] ^= 1
        assert "1 damaged page" in ogg.walk(bytes(damaged)).losses[0]


def test_importing_the_package_does_not_import_ffmpeg():
    code = "import sys, descant, descant.audio; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-W", "error", "-c", code], check=False).returncode == 0


def test_a_path_for_a_message_is_on_one_line():
    assert files.quoted("a\nb") == "'a\\nb'"
    assert files.quoted(io.BytesIO()) == "the BytesIO"
