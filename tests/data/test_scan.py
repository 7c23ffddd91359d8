import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from descant.audio import AudioHeader, Clip
from descant.data import scan
from descant.data.families import write_families
from descant.data.folders import AUDIO_SUFFIXES, list_folder
from descant.data.manifest import read_manifest, write_manifest
from descant.data.scan import scan_folder
from descant.errors import DataError, InvalidRequest

SUFFIXES = {
    **{kind: (f".{kind.lower()}",) for kind in ("AAC", "AU", "CAF", "DTS", "FLAC", "MP3", "VOC", "W64", "WAV")},
    "AC-3": (".ac3", ".eac3"),
    "AIFF": (".aif", ".aiff", ".aifc"),
    "ASF": (".wma",),
    "MP4": (".mp4", ".m4a", ".m4b"),
    "Matroska": (".mka", ".mkv", ".webm"),
    "Ogg": (".ogg", ".oga", ".opus", ".spx"),
    "True Audio": (".tta",),
    "WavPack": (".wv",),
}
NOT_LOOKED_FOR = {
    *("8SVX", "AVI", "FLV", "MPEG program stream", "MPEG transport stream", "NIST SPHERE", "SoX", "others"),
    *("---", "Read"),
}
"""Videos and rarities, which can be read but are not what a folder of music is made of."""


def noise(path: Path, num_samples: int = 80) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Clip(0.1 * torch.randn(1, num_samples), 8000).save(path)
    return path


def only(folder, **settings):
    found = scan_folder(folder, **settings)
    assert len(found.records) == 1
    return found.records[0], found


def test_a_scan_finds_headers_captions_and_tags(tmp_path):
    noise(tmp_path / "b.wav", 800)
    noise(tmp_path / "a" / "c\nd é.flac", 1_600)
    (tmp_path / "b.json").write_text('{"title": "B", "description": "a drum", "key": "", "bpm": 120, "moods": []}')
    (tmp_path / "b.txt").write_text("drums\n\n  a beat \n")
    (tmp_path / "notes.txt").write_text("no audio")
    (tmp_path / "broken.mp3").write_text("no audio either")
    found = scan_folder(tmp_path, valid_share=0.0)
    assert [record.path.name for record in found.records] == ["c\nd é.flac", "b.wav"]
    assert [record.duration_s for record in found.records] == [0.2, 0.1]
    assert found.records[1].captions == ("a drum", "drums", "a beat")
    assert found.records[1].tags == {"title": "B", "bpm": 120}
    assert list(found.problems) == [tmp_path / "broken.mp3"]
    assert found.described == {"name.json": 1, "name.txt": 1}


def test_skipped_entries_are_counted(tmp_path):
    noise(tmp_path / "music" / "a.wav")
    (tmp_path / "music" / "a.wav").rename(tmp_path / "music" / "A.WAVE")
    noise(tmp_path / "music" / "b.ogg").rename(tmp_path / "music" / "b.oga")
    for place in (".git", ".ipynb_checkpoints", "__MACOSX"):
        noise(tmp_path / "music" / place / "copy.wav")
    noise(tmp_path / "music" / ".hidden.wav")
    (tmp_path / "music" / "._a.wav").write_bytes(b"\0\5\x16\7")
    noise(tmp_path / "other" / "c.wav")
    (tmp_path / "music" / "alink").symlink_to(tmp_path / "other")
    (tmp_path / "music" / "blink").symlink_to(tmp_path / "other")
    (tmp_path / "music" / "loop").symlink_to(tmp_path / "music")
    (tmp_path / "other" / "back").symlink_to(tmp_path / "music")
    found = scan_folder(tmp_path / "music")
    assert [str(record.path.relative_to(tmp_path / "music")) for record in found.records] == [
        "A.WAVE", "alink/c.wav", "b.oga",
    ]  # fmt: skip
    assert found.problems == {}
    assert found.skipped == {
        "hidden or system folder": 3,
        "hidden audio file": 1,
        "macOS resource file (._name)": 1,
        "link to a folder that was scanned before": 3,
    }


def test_a_file_that_is_also_linked_is_one_clip(tmp_path):
    """It was a second clip, which could come into the other split."""
    music = tmp_path / "music"
    music.mkdir()
    noise(music / "b.wav")
    noise(tmp_path / "elsewhere.wav")
    (music / "a.wav").symlink_to("b.wav")
    (music / "c.wav").symlink_to("a.wav")
    (music / "d.wav").symlink_to(tmp_path / "elsewhere.wav")
    (music / "e.wav").symlink_to(tmp_path / "elsewhere.wav")
    (music / "f.wav").symlink_to("nowhere.wav")
    found = list_folder(music)
    assert [path.name for path in found.audio] == ["b.wav", "d.wav", "f.wav"]
    assert found.skipped == {"link to a file that is there too": 3}


def test_a_folder_that_is_also_linked_is_read_at_its_own_path(tmp_path):
    noise(tmp_path / "z" / "c.wav")
    (tmp_path / "a").symlink_to(tmp_path / "z")
    record, _ = only(tmp_path)
    assert record.path == tmp_path / "z" / "c.wav"


def test_names_that_are_not_utf_8_are_kept(tmp_path):
    path = Path(str(tmp_path) + "/\udcff.wav")
    noise(tmp_path / "a.wav").rename(path)
    path.with_suffix(".txt").write_text("a drum")
    record, found = only(tmp_path)
    write_manifest(tmp_path / "manifest.jsonl", found.records)
    assert read_manifest(tmp_path / "manifest.jsonl")[0] == record
    assert record.path.exists()
    assert record.captions == ("a drum",)


def test_a_header_that_promises_more_than_its_file_can_hold_is_left_out(tmp_path, monkeypatch):
    """A FLAC written to a pipe does not say how long it is; one reader takes that for 58 billion hours."""
    noise(tmp_path / "a.wav")
    monkeypatch.setattr(scan, "audio_header", lambda _: AudioHeader(2**63 - 1, 44_100, 1))
    found = scan_folder(tmp_path)
    assert found.records == []
    assert "claims 5.81e+10 hours" in found.problems[tmp_path / "a.wav"]


def test_silence_packed_as_densely_as_can_be_is_plausible(tmp_path):
    Clip(torch.zeros(1, 600_000), 8000).save(tmp_path / "a.flac")
    record, _ = only(tmp_path)
    assert record.duration_s == 75


def test_a_clip_too_short_for_any_codec_is_left_out(tmp_path):
    Clip(torch.ones(1, 1), 96_000).save(tmp_path / "a.wav")
    noise(tmp_path / "b.wav", 8)
    record, found = only(tmp_path)
    assert record.path.name == "b.wav"
    assert "too short: 1 samples" in found.problems[tmp_path / "a.wav"]


def test_a_clip_keeps_its_split_when_others_come(tmp_path):
    records = []
    for count in (1, 3, 12, 13, 30):
        before = {record.path: record.split for record in records}
        for index in range(len(before), count):
            noise(tmp_path / f"{index}.wav")
        found = scan_folder(tmp_path, previous=records)
        records = found.records
        after = {record.path: record.split for record in records}
        assert {path: after[path] for path in before} == before
        assert [record.split for record in records].count("valid") == (0 if count == 1 else max(1, round(count / 20)))
        assert not any("moved" in note for note in found.notes)


def test_a_split_that_an_earlier_manifest_leaves_empty_is_filled(tmp_path):
    noise(tmp_path / "a.wav")
    noise(tmp_path / "b.wav")
    records = scan_folder(tmp_path, valid_share=0.0).records
    found = scan_folder(tmp_path, previous=records)
    assert sorted(record.split for record in found.records) == ["train", "valid"]
    assert "1 clip moved between training and validation" in found.notes[0]


def test_a_description_decides_the_split_of_its_clip(tmp_path):
    for index in range(4):
        noise(tmp_path / f"{index}.wav")
    for index, split in enumerate(("train", "Validation", "train")):
        (tmp_path / f"{index}.json").write_text(f'{{"split": "{split}", "genre": "folk"}}')
    previous = scan_folder(tmp_path, valid_share=1.0).records
    found = scan_folder(tmp_path, previous=previous)
    assert [record.split for record in found.records] == ["train", "valid", "train", "valid"]
    assert found.records[0].tags == {"genre": "folk"}
    (tmp_path / "3.json").write_text('{"split": "test"}')
    found = scan_folder(tmp_path)
    assert "1 clip has a split that is not one of train" in found.notes[0]
    assert found.records[3].tags == {"split": "test"}


@pytest.mark.parametrize("suffix", [".m4a", ".aac", ".wma", ".opus", ".mp3", ".flac", ".ogg"])
def test_songs_are_read_with_the_tags_in_their_files(tmp_path, suffix):
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=duration=1", "-metadata", "genre=Folk"]
    command += ["-metadata", "title=A song", "-metadata", "artist=Us", "-metadata", "album=Ours"]
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg")
    subprocess.run([*command, tmp_path / f"a{suffix}"], check=True)
    record, found = only(tmp_path)
    assert record.duration_s == pytest.approx(1, abs=0.1)
    # Raw AAC has no tags.
    if suffix != ".aac":
        assert record.tags == {"title": "A song", "artist": "Us", "album": "Ours", "genre": "Folk"}
        assert found.described == {"tags in the file": 1}


def test_every_file_that_cannot_be_used_is_named_once(tmp_path):
    noise(tmp_path / "good.wav")
    noise(tmp_path / "cut.flac").write_bytes((tmp_path / "cut.flac").read_bytes()[:30])
    for name in ("empty.mp3", "page.m4a", "a.wma", "b.opus", "nothing.aac"):
        (tmp_path / name).write_bytes(b"<html>not found</html>" if name == "page.m4a" else b"")
    (tmp_path / "damaged.wav").write_bytes(b"RIFF\0\0\0\0WAVEfmt ")
    (tmp_path / "score.mid").write_bytes(b"MThd")
    (tmp_path / "LICENSE").write_text("free")
    found = scan_folder(tmp_path)
    assert [record.path.name for record in found.records] == ["good.wav"]
    bad = ["a.wma", "b.opus", "cut.flac", "damaged.wav", "empty.mp3", "nothing.aac", "page.m4a"]
    assert [path.name for path in found.problems] == bad
    for path, reason in found.problems.items():
        assert path.name in reason
        assert not any(path.name in other for other in [*found.notes, *found.problems.values()] if other != reason)
    assert found.skipped == {".mid file": 1, "file without a suffix": 1}


def test_texts_that_describe_no_clip_are_noted(tmp_path):
    noise(tmp_path / "a.wav")
    (tmp_path / "a .txt").write_text("a drum")
    _, found = only(tmp_path)
    assert "1 .txt or .json file describes no clip, first" in found.notes[0]


def test_every_suffix_begins_with_a_dot_and_what_the_documents_name_is_found():
    assert all(suffix[0] == "." and len(suffix) > 2 and suffix == suffix.lower() for suffix in AUDIO_SUFFIXES)
    text = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    written, read = text.split("| Read |")
    names = {name.lower() for name in re.findall(r"^\| (\w+) \| [^|]+ \| up to ", written, flags=re.MULTILINE)}
    assert len(names) >= 7
    kinds = set(re.findall(r"^\| ([^|]+) \| (?:FFmpeg|libsndfile) \|", read, flags=re.MULTILINE)) - NOT_LOOKED_FOR
    assert {f".{name}" for name in names} | {suffix for kind in kinds for suffix in SUFFIXES[kind]} <= AUDIO_SUFFIXES


def test_shares_of_0_and_1_leave_a_split_empty_and_a_single_clip_is_for_training(tmp_path):
    noise(tmp_path / "a.wav")
    record, found = only(tmp_path, valid_share=0.5)
    assert record.split == "train"
    assert found.notes == ["there is only one clip: it is for training, and validation has none"]
    noise(tmp_path / "b.wav")
    for share, split in ((0.0, "train"), (1.0, "valid")):
        previous = scan_folder(tmp_path).records
        assert {record.split for record in scan_folder(tmp_path, valid_share=share, previous=previous).records} == {
            split
        }


def test_families_stay_together_however_the_folder_is_named(tmp_path):
    music = tmp_path / "music"
    music.mkdir()
    clips = [noise(music / f"{name}.wav") for name in ("dawn", "noon", "dusk", "night")]
    write_families(music, [clips[:3]])
    for folder in (music, tmp_path / "other" / ".." / "music"):
        (tmp_path / "other").mkdir(exist_ok=True)
        scan = scan_folder(folder, valid_share=0.3)
        work = dict(zip((record.path.name for record in scan.records), scan.works, strict=True))
        assert work["dawn.wav"] == work["noon.wav"] == work["dusk.wav"] != work["night.wav"]


def test_clips_of_one_work_are_split_one_by_one_with_a_note(tmp_path):
    for index in range(3):
        noise(tmp_path / f"song part {index}.wav")
    found = scan_folder(tmp_path)
    assert sorted(record.split for record in found.records) == ["train", "train", "valid"]
    assert "all 3 clips seem to be of one work" in found.notes[0]


def test_a_scan_reports_what_it_cannot_use(tmp_path):
    with pytest.raises(DataError, match="not a folder"):
        scan_folder(tmp_path / "none")
    with pytest.raises(InvalidRequest, match="valid_share"):
        scan_folder(tmp_path, valid_share=5.0)
