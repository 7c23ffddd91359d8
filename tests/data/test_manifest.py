import codecs
import json
from dataclasses import replace
from pathlib import Path

import pytest

from descant.data.manifest import ClipRecord, read_manifest, require_files, write_manifest
from descant.errors import DataError


def record(path: Path, **changes) -> ClipRecord:
    return replace(ClipRecord(path=path, duration_s=1.5, sample_rate_hz=8000, num_channels=1), **changes)


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
    ("line", "message"),
    [
        ("nonsense", "not JSON"),
        ("{} {}", "not JSON (Extra data"),
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
def test_a_bad_line_is_named_by_its_number(tmp_path, line, message):
    manifest = tmp_path / "set.jsonl"
    manifest.write_text(json.dumps(GOOD | {"path": "first.wav"}) + "\n\n" + line + "\n")
    with pytest.raises(DataError, match="line 3") as raised:
        read_manifest(manifest)
    assert message in str(raised.value)
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


def test_a_manifest_from_another_system_is_read(tmp_path):
    text = "".join(json.dumps(GOOD | {"path": name}) + "\r\n" for name in ("a.wav", "b.wav"))
    (tmp_path / "set.jsonl").write_bytes(codecs.BOM_UTF8 + text.encode())
    assert [found.path.name for found in read_manifest(tmp_path / "set.jsonl")] == ["a.wav", "b.wav"]


def test_missing_clips_are_counted_and_the_first_is_named(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"")
    require_files([record(tmp_path / "a.wav")])
    with pytest.raises(DataError, match=r"2 of 3 clips are not there, first '.*b\.wav'"):
        require_files([record(tmp_path / name) for name in ("a.wav", "b.wav", "c.wav")])


def test_a_manifest_that_cannot_be_read_is_refused_in_plain_words(tmp_path):
    """Errors once had the number that Python gives them, and the path twice."""
    with pytest.raises(DataError, match=r"': it is a folder; name a file, perhaps one in it$"):
        read_manifest(tmp_path)
    with pytest.raises(DataError, match=r"': No such file or directory$"):
        read_manifest(tmp_path / "none.jsonl")
    (tmp_path / "latin.jsonl").write_bytes("café".encode("latin-1"))
    with pytest.raises(DataError, match=r"': it is not text in UTF-8$"):
        read_manifest(tmp_path / "latin.jsonl")
