"""Metadata in sidecars and tables, as a scan uses it."""

import codecs
import gzip
import json
import re
from pathlib import Path

import pytest
import torch
from mutagen.flac import FLAC

from descant.audio import Clip
from descant.data.descriptions import FILE_TAGS
from descant.data.manifest import read_manifest, write_manifest
from descant.data.scan import scan_folder


def noise(path: Path, num_samples: int = 80) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Clip(0.1 * torch.randn(1, num_samples), 8000).save(path)
    return path


def only(folder, **settings):
    found = scan_folder(folder, **settings)
    assert len(found.records) == 1
    return found.records[0], found


WORDS = "línea, Über, “quoted”"


@pytest.mark.parametrize(
    "content",
    [
        WORDS.encode(),
        codecs.BOM_UTF8 + WORDS.encode(),
        WORDS.encode("utf-16"),
        codecs.BOM_UTF16_BE + WORDS.encode("utf-16-be"),
        WORDS.encode("utf-32"),
        WORDS.encode("cp1252"),
        WORDS.encode() + b"\r\n",
    ],
)
def test_captions_are_read_in_any_encoding_without_byte_order_mark(tmp_path, content):
    noise(tmp_path / "a.wav")
    (tmp_path / "a.txt").write_bytes(content)
    record, found = only(tmp_path)
    assert record.captions == (WORDS,)
    assert any("Windows-1252" in note for note in found.notes) == (content == WORDS.encode("cp1252"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"{"),
        ("a.json", b'{"bpm": 120,}'),
        ("a.json", b'{"bpm": NaN}'),
        ("a.json", b'{"bpm": 1e999}'),
        ("a.json", b'["a drum"]'),
        ("a.json", b'{"caption": {"en": "a drum"}}'),
        ("a.json", b'{"caption": ["a drum", 3]}'),
        ("a.json", b'{"caption": "half \\ud800"}'),
        ("a.json", b"[" * 100_000),
        ("a.json", b'{"a":' * 400 + b"1" + b"}" * 400),
        ("a.json", b'{"bpm": ' + b"9" * 5_000 + b"}"),
        ("a.json", b'{"caption": "' + b"x" * (1 << 20) + b'"}'),
        ("a.txt", b"\x81\x8d not in Windows-1252"),
        ("a.txt", "no mark".encode("utf-16-le")),
        ("metadata.csv", b"name,text\na.wav,a drum\n"),
        ("metadata.csv", b"file_name,text\na.wav," + b"x" * 200_000),
        ("metadata.jsonl", b'{"file_name": "a.wav"}\n{"file_name": 3}\n'),
        ("data.jsonl.gz", b"no gzip"),
        ("data.jsonl.gz", gzip.compress(b"{}", mtime=0)[:-9]),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_one_bad_description_is_noted_and_the_scan_continues(tmp_path, name, content):
    """Once a single trailing comma ended the scan of a folder of thousands."""
    noise(tmp_path / "a.wav")
    noise(tmp_path / "b.wav")
    (tmp_path / "b.txt").write_text("a flute")
    (tmp_path / name).write_bytes(content)
    found = scan_folder(tmp_path)
    assert [(record.captions, record.tags) for record in found.records] == [((), {}), (("a flute",), {})]
    assert [name in note for note in found.notes if "may move to the other split" not in note] == [True]
    write_manifest(tmp_path / "manifest.jsonl", found.records)
    assert read_manifest(tmp_path / "manifest.jsonl") == found.records


@pytest.mark.parametrize("key", ["description", "caption", "captions", "text", "prompt"])
@pytest.mark.parametrize("value", ["a drum", ["a drum", "drums"]])
def test_captions_are_read_from_all_common_field_names(tmp_path, key, value):
    noise(tmp_path / "a.wav")
    (tmp_path / "a.json").write_text(json.dumps({key: value, "genre": "folk", "duration": 3.0, "sample_rate": 8000}))
    record, _ = only(tmp_path)
    assert list(record.captions) == ([value] if isinstance(value, str) else value)
    assert record.tags == {"genre": "folk"}


TABLES = {
    "metadata.csv": "file_name,text,bpm\nsub/a.wav,a drum,120\ngone.wav,nothing,\n",
    "metadata.csv with marks": "\ufefffile_name;text;bpm\r\nsub/a.wav;a drum;120\r\ngone.wav;;\r\n",
    "metadata.jsonl": '{"file_name": "sub/a.wav", "text": "a drum", "bpm": "120"}\n{"file_name": "gone.wav"}\n',
    "data.jsonl": '{"path": "sub/a.wav", "duration": 9, "caption": "a drum", "bpm": "120"}\n{"path": "/gone.wav"}\n',
    "data.jsonl.gz": '{"path": "sub/a.wav", "caption": "a drum", "bpm": "120"}\n\n{"path": "gone.wav"}',
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_describes_its_clips_and_rows_without_a_clip_are_counted(tmp_path, name):
    noise(tmp_path / "sub" / "a.wav")
    content = TABLES[name].encode()
    (tmp_path / name.split()[0]).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    record, found = only(tmp_path)
    assert (record.captions, record.tags) == (("a drum",), {"bpm": "120"})
    assert found.described == {name.split()[0]: 1}
    (table,) = tmp_path.glob("*data*")
    (unused,) = [note for note in found.notes if "not in this scan" in note]
    assert unused.startswith(f"{str(table)!r}: 1 of its 2 clips are not in this scan, first ")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_bad_row_of_a_table_affects_no_other_and_is_named_by_its_line(tmp_path, kind):
    names = ["a.wav", "", *[""] * 6, "b.wav"]
    for name in ("a.wav", "b.wav"):
        noise(tmp_path / name)
    rows = [
        f"{name},text of {name}" if kind == "csv" else json.dumps({"file_name": name, "text": f"text of {name}"})
        for name in names
    ]
    if kind == "csv":
        rows[1] = "c.wav," + "x" * 200_000
    else:
        rows[1] = "{"
    (tmp_path / f"metadata.{kind}").write_text("\n".join([*(["file_name,text"] if kind == "csv" else []), *rows]))
    found = scan_folder(tmp_path)
    assert [record.captions for record in found.records] == [("text of a.wav",), ("text of b.wav",)]
    notes = [note for note in found.notes if "not read" in note]
    first = 3 if kind == "csv" else 2
    assert [re.search(r"', line (\d+): ", note)[1] for note in notes[:5]] == [str(first + index) for index in range(5)]
    assert "2 more rows of" in notes[5]
    assert len(notes) == 6


def test_captions_of_all_sources_are_kept_and_the_first_value_of_a_tag(tmp_path):
    clip = noise(tmp_path / "sub" / "a.flac")
    audio = FLAC(clip)
    audio["genre"], audio["title"], audio["bpm"], audio["comment"] = "rock", "A", "98.5", "ripped at home"
    audio.save()
    (tmp_path / "sub" / "a.json").write_text('{"text": "a drum", "genre": "folk"}')
    (tmp_path / "sub" / "a.txt").write_text("a drum\ndrums")
    (tmp_path / "sub" / "metadata.csv").write_text("file_name,text,genre,key\na.flac,near,jazz,C\n")
    (tmp_path / "metadata.csv").write_text("file_name,text,key\nsub/a.flac,far,D\n")
    record, found = only(tmp_path)
    assert record.captions == ("a drum", "drums", "near", "far")
    assert record.tags == {"genre": "folk", "key": "C", "title": "A", "bpm": 98.5, "comment": "ripped at home"}
    assert found.described == {"name.json": 1, "name.txt": 1, "metadata.csv": 2, FILE_TAGS: 1}


def test_files_of_one_stem_are_named_and_can_be_described_apart(tmp_path):
    noise(tmp_path / "a.wav")
    noise(tmp_path / "a.flac")
    (tmp_path / "a.txt").write_text("both")
    (tmp_path / "a.wav.txt").write_text("the wav alone")
    found = scan_folder(tmp_path)
    assert [record.captions for record in found.records] == [("both",), ("the wav alone",)]
    assert "1 names belong to several audio files" in found.notes[0]
