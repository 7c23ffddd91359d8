from dataclasses import replace

import pytest
import torch

from descant.audio import AudioHeader, Clip
from descant.data import doctor
from descant.data.doctor import PROBLEMS, check
from descant.data.manifest import ClipRecord, write_manifest
from descant.errors import DataError


@pytest.fixture
def saved(tmp_path):
    def save(name: str, samples: torch.Tensor | None = None, rate_hz: int = 8000, **about) -> ClipRecord:
        clip = Clip(0.3 * torch.rand(1, 8000) if samples is None else samples, rate_hz)
        path = tmp_path / name
        clip.save(path)
        about = {"captions": ("a sound",), **about}
        return ClipRecord(
            path=path,
            duration_s=clip.duration_s,
            sample_rate_hz=rate_hz,
            num_channels=len(clip.samples),
            **about,
        )

    return save


def found(tmp_path, records, **settings) -> dict[str, list[str]]:
    write_manifest(tmp_path / "set.jsonl", records)
    report = check(tmp_path / "set.jsonl", **settings)
    return {name: [path.rsplit("/", 1)[1] for path in paths] for name, paths in report.found.items()}


@pytest.mark.parametrize(("stated_s", "read_s"), [(1.0, 2.0), (2.0, 1.0)])
def test_a_header_and_samples_of_different_lengths_are_a_change(saved, tmp_path, monkeypatch, stated_s, read_s):
    record = replace(saved("a.wav", 0.3 * torch.rand(1, int(8000 * read_s))), duration_s=1.0)
    monkeypatch.setattr(doctor, "plausible_header", lambda _: AudioHeader(int(8000 * stated_s), 8000, 1))
    assert found(tmp_path, [record]) == {"changed": ["a.wav"]}


def test_a_good_set_has_no_findings(saved, tmp_path):
    records = [saved("a.wav"), saved("b.flac", split="valid"), saved("c.ogg", captions=(), tags={"bpm": 1})]
    assert found(tmp_path, records, segment_s=1.0, sample_rate_hz=8000) == {}
    report = check(tmp_path / "set.jsonl")
    assert report.is_trainable
    assert report.text() == "3 clips, 0.00 h\nno problem found"


def test_every_problem_is_found_where_it_is(saved, tmp_path):
    twice = 0.2 * torch.rand(1, 8000)
    loud = torch.rand(1, 8000)
    loud[:, ::100] = 1.0
    records = [
        saved("gone.wav"),
        saved("text.wav"),
        saved("empty.wav"),
        replace(saved("longer.wav"), duration_s=2.0),
        saved("first.wav", twice),
        saved("again.flac", twice),
        saved("other split.wav", twice, split="valid"),
        saved("silent.wav", torch.zeros(1, 8000)),
        saved("loud.wav", loud),
        saved("rate.wav", rate_hz=16000, samples=0.1 * torch.rand(1, 16000)),
        saved("short.wav", 0.1 * torch.rand(1, 100)),
        saved("mute.wav", captions=()),
        saved("one.wav", 0.1 * torch.rand(1, 1) + 0.01),
    ]
    records[0].path.unlink()
    records[1].path.write_text("RIFF but no music")
    records[2].path.write_bytes(b"")
    problems = found(tmp_path, records, segment_s=0.5, sample_rate_hz=8000)
    assert problems == {
        "missing": ["gone.wav"],
        "unreadable": ["text.wav", "empty.wav"],
        "changed": ["longer.wav"],
        "too short": ["one.wav"],
        "leaked": ["other split.wav"],
        "duplicate": ["again.flac"],
        "silent": ["silent.wav"],
        "clipped": ["loud.wav"],
        "other rate": ["rate.wav"],
        "short": ["short.wav", "one.wav"],
        "without caption": ["mute.wav"],
    }
    assert list(problems) == list(PROBLEMS)


def test_the_text_counts_and_gives_the_first_examples(saved, tmp_path):
    records = [saved(f"{index}.wav", captions=()) for index in range(5)]
    records[4].path.unlink()
    write_manifest(tmp_path / "set.jsonl", records)
    seen = []
    report = check(tmp_path / "set.jsonl", progress=lambda done, all_clips: seen.append((done, all_clips)))
    assert not report.is_trainable
    assert "1 missing: " in report.text()
    assert "5 without caption: " in report.text(num_examples=2)
    assert "and 3 more" in report.text(num_examples=2)
    assert seen == [(number, 5) for number in range(1, 6)]


def test_a_header_that_promises_too_much_is_found_as_tokenizing_would_find_it(saved, tmp_path, monkeypatch):
    records = [saved("a.wav")]
    assert found(tmp_path, records) == {}
    monkeypatch.setattr("descant.data.scan.MAX_SAMPLES_PER_BYTE", 0.001)
    assert found(tmp_path, records) == {"unreadable": ["a.wav"]}


def test_a_broken_manifest_is_an_error(tmp_path):
    with pytest.raises(DataError, match="manifest"):
        check(tmp_path / "none.jsonl")
