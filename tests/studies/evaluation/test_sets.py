"""What is known of the clips of a folder: texts from tags, from files next to them, and from files of texts."""

import json
import shutil

import pytest

from descant.audio import Clip
from descant.errors import DataError
from descant.studies.evaluation.sets import open_set
from tests.studies.evaluation.conftest import sound
from tests.studies.evaluation.embedders import RATE_HZ


@pytest.fixture
def folder(tmp_path):
    """Three clips of another system, without tags."""
    place = tmp_path / "set"
    (place / "inner").mkdir(parents=True)
    for name in ("a", "b-seed7", "inner/c"):
        Clip(sound(0, 0, 1.0), RATE_HZ).save(place / f"{name}.wav")
    return place


def texts_of(clips) -> dict[str, str | None]:
    return {file.name: file.asked.text for file in clips.files}


EXPECTED = {"a": "warm piano", "b": "drums, 120 bpm", "inner/c": "a choir"}


def test_texts_come_from_files_next_to_the_clips_and_from_tags(folder):
    assert texts_of(open_set(folder)) == dict.fromkeys(EXPECTED)
    (folder / "a.txt").write_text("warm\npiano\n")
    (folder / "b-seed7.json").write_text(json.dumps({"description": "drums, 120 bpm", "chords": "C:0 G:2"}))
    Clip(sound(0, 0, 1.0), RATE_HZ, info={"text": "a choir", "chords": "Am:0"}).save(folder / "inner" / "c.wav")
    clips = open_set(folder)
    assert texts_of(clips) == EXPECTED
    assert [file.asked.chords for file in clips.files] == [None, "C:0 G:2", "Am:0"]


def test_a_file_of_texts_may_be_an_object_a_table_or_lines(folder, tmp_path):
    rows = {"a.wav": "warm piano", "b-seed7.wav": "drums, 120 bpm", "inner/c.wav": "a choir"}
    files = {
        "names.json": json.dumps(EXPECTED),
        "lines.txt": "\n".join(EXPECTED.values()),
        "inside.csv": "file_name,caption\n" + "\n".join(f'{name},"{text}"' for name, text in rows.items()),
        "whole paths.jsonl": "\n".join(
            json.dumps({"file_name": str(folder / name), "text": text}) for name, text in rows.items()
        ),
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
        assert texts_of(open_set(folder, prompts=tmp_path / name)) == EXPECTED, name


def test_a_file_without_a_clips_text_is_refused(folder, tmp_path):
    (tmp_path / "few.json").write_text('{"a": "warm piano"}')
    with pytest.raises(DataError, match=r"prompts: .*no text for 'b', and 2 are missing"):
        open_set(folder, prompts=tmp_path / "few.json")
    (tmp_path / "bad.csv").write_text("file_name,caption\n,no name\n")
    with pytest.raises(DataError, match=r"bad\.csv.*no file_name"):
        open_set(folder, prompts=tmp_path / "bad.csv")


def test_melodies_belong_to_clips_of_their_name(folder, tmp_path):
    (tmp_path / "melodies").mkdir()
    shutil.copy(folder / "a.wav", tmp_path / "melodies" / "b.wav")
    assert [file.asked.melody for file in open_set(folder, melodies=tmp_path / "melodies").files] == [
        *(None, tmp_path / "melodies" / "b.wav", None)
    ]
    (tmp_path / "melodies" / "b.wav").rename(tmp_path / "melodies" / "z.wav")
    with pytest.raises(DataError, match="has the name of a clip"):
        open_set(folder, melodies=tmp_path / "melodies")
