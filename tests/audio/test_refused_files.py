"""Files that are refused, in writing or in reading: the error is one line that names the file or what is allowed."""

import contextlib
import math
import os
import random
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from descant.audio import FORMATS, Clip, read_info
from descant.errors import AudioError, InvalidRequest
from tests.audio.clips import noise


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
