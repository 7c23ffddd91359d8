import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from descant.audio import Clip
from descant.data.manifest import ClipRecord, read_manifest, scan_folder, write_manifest
from descant.errors import DataError, InvalidRequest


def record(path: Path, **changes) -> ClipRecord:
    return replace(ClipRecord(path=path, duration_s=1.5, sample_rate_hz=8000, num_channels=1), **changes)


def noise(path: Path, duration_s: float = 0.1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Clip(0.1 * torch.randn(1, round(8000 * duration_s)), 8000).save(path)


def test_written_then_read_is_the_same(tmp_path):
    records = [
        record(tmp_path / "a.wav", captions=("one", "línea\u2028zwei"), tags={"bpm": 120, "moods": ["sad"]}),
        record(tmp_path / "sub" / "b\nc é.wav", split="valid"),
        record(Path("/elsewhere/c.wav")),
    ]
    write_manifest(tmp_path / "set.jsonl", records)
    assert read_manifest(tmp_path / "set.jsonl") == records
    assert read_manifest(tmp_path / "set.jsonl", split="valid") == [records[1]]


def test_a_training_set_can_be_moved(tmp_path):
    (tmp_path / "old").mkdir()
    write_manifest(tmp_path / "old" / "set.jsonl", [record(tmp_path / "old" / "a.wav")])
    (tmp_path / "old").rename(tmp_path / "new")
    assert read_manifest(tmp_path / "new" / "set.jsonl")[0].path == tmp_path / "new" / "a.wav"


GOOD = {"path": "a.wav", "duration_s": 1, "sample_rate_hz": 8000, "num_channels": 1}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nonsense", "not JSON"),
        ("[1]", "expected an object"),
        ("[" * 100_000, "not JSON"),
        (json.dumps(GOOD | {"extra": 1}), "unknown key 'extra'"),
        (json.dumps({"path": "a.wav"}), "'duration_s' is missing"),
        (json.dumps(GOOD | {"duration_s": "1"}), "duration_s='1'"),
        (json.dumps(GOOD | {"duration_s": True}), "duration_s=True"),
        (json.dumps(GOOD | {"duration_s": 0}), "above 0"),
        (json.dumps(GOOD).replace("1,", "NaN,", 1), "duration_s=nan"),
        (json.dumps(GOOD | {"duration_s": 10**400}), "duration_s="),
        (json.dumps(GOOD | {"split": "test"}), "split='test'"),
        (json.dumps(GOOD | {"captions": [None]}), "captions="),
        (json.dumps(GOOD | {"path": "\0"}), "path="),
        (json.dumps(GOOD | {"path": "./first.wav"}), "on line 1 already"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path, line, says):
    manifest = tmp_path / "set.jsonl"
    manifest.write_text(json.dumps(GOOD | {"path": "first.wav"}) + "\n\n" + line + "\n")
    with pytest.raises(DataError, match="line 3") as raised:
        read_manifest(manifest)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_manifest_without_clips_is_an_error(tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    write_manifest(tmp_path / "train.jsonl", [record(tmp_path / "a.wav")])
    for ask in (
        lambda: read_manifest(tmp_path / "empty.jsonl"),
        lambda: read_manifest(tmp_path / "none.jsonl"),
        lambda: read_manifest(tmp_path / "train.jsonl", split="valid"),
    ):
        with pytest.raises(DataError):
            ask()


def test_a_scan_finds_facts_captions_and_tags(tmp_path):
    noise(tmp_path / "b.wav")
    noise(tmp_path / "a" / "c\nd é.flac", 0.2)
    (tmp_path / "b.json").write_text('{"title": "B", "description": "a drum", "key": "", "bpm": 120, "moods": []}')
    (tmp_path / "b.txt").write_text("drums\n\n  a beat \n")
    (tmp_path / "notes.txt").write_text("no audio")
    (tmp_path / "broken.mp3").write_text("no audio either")
    records, problems = scan_folder(tmp_path, valid_share=0.0)
    assert [found.path.name for found in records] == ["c\nd é.flac", "b.wav"]
    assert [found.duration_s for found in records] == [0.2, 0.1]
    assert records[1].captions == ("a drum", "drums", "a beat")
    assert records[1].tags == {"title": "B", "bpm": 120}
    assert list(problems) == [tmp_path / "broken.mp3"]


def test_a_clip_keeps_its_split_when_others_come(tmp_path):
    for index in range(20):
        noise(tmp_path / f"{index}.wav", 0.01)
    before = {found.path: found.split for found in scan_folder(tmp_path, valid_share=0.3)[0]}
    for index in range(20, 40):
        noise(tmp_path / f"{index}.wav", 0.01)
    after = {found.path: found.split for found in scan_folder(tmp_path, valid_share=0.3)[0]}
    assert {path: after[path] for path in before} == before
    assert 4 <= sum(split == "valid" for split in after.values()) <= 20


def test_a_scan_says_what_it_cannot_use(tmp_path):
    noise(tmp_path / "a.wav")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DataError, match=r"a\.wav"):
        scan_folder(tmp_path)
    with pytest.raises(DataError, match="not a folder"):
        scan_folder(tmp_path / "none")
    with pytest.raises(InvalidRequest, match="valid_share"):
        scan_folder(tmp_path, valid_share=5.0)
