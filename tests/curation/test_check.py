"""Every planted problem of a folder is found where it is, and none in a folder in order."""

import json
from dataclasses import replace

import pytest
import torch

from descant.audio import Clip
from descant.curation.analysis import Job, analyse_files
from descant.curation.check import check, clips_of, measure_part
from descant.curation.problems import PROBLEMS
from descant.curation.rules import Settings
from descant.data.families import read_families, write_families
from descant.data.manifest import read_manifest, write_manifest
from descant.data.parts import Part
from descant.data.scan import scan_folder
from descant.errors import DataError, InvalidRequest
from tests.curation.music import RATE_HZ, song

NUM_SONGS = 12


@pytest.fixture(scope="module")
def songs() -> list[Clip]:
    return [song(seed, 6.0, bpm=80 + 7 * seed, tonic=7 * seed % 12) for seed in range(NUM_SONGS)]


@pytest.fixture
def music(songs, tmp_path):
    """A folder in order, in which every song has its own words."""
    for number, clip in enumerate(songs):
        save(tmp_path, f"song {number}x.wav", clip.samples, f"piece number {number}")
    return tmp_path


@pytest.fixture(scope="module", autouse=True)
def without_tagger():
    """Without MusiCNN, whose second for each clip is tested once in ``test_describe.py``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("descant.curation.check.find_spec", lambda _: None)
        yield


def save(folder, name, samples, caption=None, rate_hz=RATE_HZ, **tags):
    Clip(samples=samples, sample_rate_hz=rate_hz).save(folder / name)
    (folder / name).with_suffix(".json").write_text(json.dumps({"licence": "CC-BY-4.0", **tags}))
    if caption is not None:
        (folder / name).with_suffix(".txt").write_text(caption)


def found(report) -> dict[str, list[str]]:
    problems: dict[str, list[str]] = {}
    for finding in report.findings:
        problems.setdefault(finding.problem, []).append(report.name(finding.clip))
    return problems


def test_a_folder_in_order_has_no_findings(music):
    report = check(clips_of(music))
    assert found(report) == {}
    assert report.is_trainable
    assert report.lines()[-1] == "no fault found"
    assert report.hours == {"CC-BY-4.0": pytest.approx(NUM_SONGS * 6 / 3_600)}


def test_every_planted_fault_is_found_where_it_is(music, songs):
    wave = songs[0].samples
    extra = [song(100 + number, 6.0, bpm=90 + 11 * number, tonic=number) for number in range(9)]
    silent = torch.zeros_like(wave)
    save(music, "a silent.wav", silent, "one")
    save(music, "b gap.wav", torch.cat([extra[0].samples[:, : 2 * RATE_HZ], silent], dim=1), "two")
    save(music, "c clipped.wav", (extra[1].samples * 8).clamp(-0.7, 0.7), "three")
    save(music, "d offset.wav", 0.8 * extra[2].samples + 0.04, "four")
    save(music, "e dead.wav", torch.cat([extra[3].samples, silent]), "five")
    save(music, "f inverted.wav", torch.cat([extra[4].samples, -extra[4].samples]), "six")
    save(music, "g dull.wav", extra[5].resample(8_000).resample(RATE_HZ).samples, "seven")
    save(music, "h cut off.wav", extra[6].samples[:, : round(4.1 * RATE_HZ)], "eight")
    save(music, "i damaged.flac", extra[7].samples, "nine")
    content = (music / "i damaged.flac").read_bytes()
    (music / "i damaged.flac").write_bytes(content[: len(content) // 2])
    songs[1].save(music / "j copy.mp3")
    (music / "j copy.json").write_text('{"licence": "MIT", "split": "train"}')
    save(music, "k leak.wav", 0.7 * songs[2].samples[:, RATE_HZ // 3 :], "eleven", split="valid")
    for name in ("song 1x.json", "song 2x.json"):
        (music / name).write_text('{"licence": "MIT", "split": "train"}')
    save(music, "l long.wav", extra[8].samples, "very " * 200 + "long")
    save(music, "m empty.wav", song(201, 6.0, bpm=131).samples, "\n")
    save(music, "n dots.wav", song(202, 6.0, bpm=77).samples, "...")
    save(music, "o short.wav", torch.full((1, 10), 0.1), "an instant")
    report = check(clips_of(music), Settings(segment_s=5.0, sample_rate_hz=RATE_HZ))
    problems = found(report)
    notices = {name for name, problem in PROBLEMS.items() if problem.severity == "notice"}
    assert {name: clips for name, clips in problems.items() if name not in notices} == {
        "unreadable": ["i damaged.flac", "o short.wav"],
        "leaked": ["song 2x.wav"],
        "duplicate": ["song 1x.wav"],
        "silent": ["a silent.wav"],
        "mostly silent": ["b gap.wav"],
        "cut off": ["h cut off.wav"],
        "clipped": ["c clipped.wav"],
        "offset": ["d offset.wav"],
        "dead channel": ["e dead.wav"],
        "inverted channel": ["f inverted.wav"],
        "low bandwidth": ["g dull.wav"],
        "empty caption": ["m empty.wav", "n dots.wav"],
        "long caption": ["l long.wav"],
    }
    assert problems["short"] == ["h cut off.wav"]
    assert list(problems) == [name for name in PROBLEMS if name in problems]
    assert not report.is_trainable


def test_the_manifest_is_compared_with_the_files(music):
    records = scan_folder(music).records
    records[0] = replace(records[0], duration_s=9.0)
    write_manifest(music / "manifest.jsonl", records[:-1])
    records[1].path.unlink()
    report = check(clips_of(music))
    assert found(report) == {
        "missing": [records[1].path.name],
        "changed": [records[0].path.name],
        "not in the manifest": [records[-1].path.name],
    }
    assert found(check(clips_of(music / "manifest.jsonl"))).keys() == {"missing", "changed"}


def test_a_split_after_the_check_has_no_family_on_both_sides(music, songs):
    for number in range(6):
        songs[number].resample(22_050).save(music / f"another name {number}.wav")
    report = check(clips_of(music))
    assert len(report.families) == 6
    write_families(music, report.families)
    assert read_families(music) == [list(family) for family in report.families]
    for share in (0.1, 0.3, 0.5):
        records = scan_folder(music, valid_share=share).records
        split_of = {record.path: record.split for record in records}
        assert set(split_of.values()) == {"train", "valid"}
        assert all(len({split_of[clip] for clip in family}) == 1 for family in report.families)
    assert scan_folder(music).skipped == {}


def test_captions_that_are_the_same_everywhere_are_found(music):
    for number in range(NUM_SONGS):
        (music / f"song {number}x.txt").write_text("My song" if number else "Its own words")
    assert len(found(check(clips_of(music)))["constant caption"]) == NUM_SONGS - 1


def test_a_tempo_or_key_far_from_the_music_is_a_contradiction_and_a_related_one_is_not(tmp_path):
    wave = song(3, 15.0, bpm=120.0, tonic=0).samples
    for name, caption in {
        "right": "120 bpm, C major",
        "half": "a slow piece at 60 bpm",
        "relative": "in A minor",
        "tempo": "calm, 95 bpm",
        "key": "in F# major",
    }.items():
        (tmp_path / name).mkdir()
        save(tmp_path / name, "clip.wav", wave, caption)
    report = check(clips_of(tmp_path), allowed=["duplicate", "leaked"])
    assert found(report)["contradiction"] == ["key/clip.wav", "tempo/clip.wav"]


def test_what_is_allowed_is_a_notice(music):
    save(music, "offset.wav", 0.9 * song(300, 6.0).samples + 0.05, "moved")
    assert [finding.problem for finding in check(clips_of(music)).found("fault")] == ["offset"]
    report = check(clips_of(music), allowed=["offset"])
    assert report.found("fault") == []
    assert [finding.problem for finding in report.found("notice")] == ["offset"]
    with pytest.raises(InvalidRequest, match="clipped"):
        check(clips_of(music), allowed=["ofset"])


def test_many_clips_that_end_in_mid_sound_are_loops(tmp_path):
    for number in range(3):
        save(tmp_path, f"{number}x.wav", song(number, 6.0).samples[:, : 4 * RATE_HZ + 700], f"loop {number}")
    assert found(check(clips_of(tmp_path))) == {"ends in mid-sound": ["0x.wav", "1x.wav", "2x.wav"]}


def test_a_second_run_reads_no_audio_and_several_processes_find_the_same(music, tmp_path, monkeypatch):
    jobs = [Job(record.path, needs_music=number < 2) for number, record in enumerate(scan_folder(music).records)]
    cache = tmp_path / "cache"
    progress = []
    first = analyse_files(jobs, has_tagger=False, cache=cache, progress=lambda *done: progress.append(done))
    assert progress == [(number, NUM_SONGS) for number in range(1, NUM_SONGS + 1)]
    together = analyse_files(jobs[:4], has_tagger=False, cache=None, num_processes=2)
    monkeypatch.setattr("descant.curation.analysis.measure_levels", None)
    second = analyse_files(jobs, has_tagger=False, cache=cache)
    for one, other in [*zip(first, second, strict=True), *zip(first, together, strict=False)]:
        assert (one.levels, one.tempo, one.key) == (other.levels, other.tempo, other.key)
        assert (one.print.hashes == other.print.hashes).all()
        assert (one.print.frames == other.print.frames).all()
    assert first[0].tempo is not None
    assert first[2].tempo is None


def test_a_damaged_cache_is_measured_again(music, tmp_path):
    jobs = [Job(read.path, needs_music=False) for read in scan_folder(music).records[:1]]
    cache = tmp_path / "cache"
    first = analyse_files(jobs, has_tagger=False, cache=cache)[0]
    for file in cache.rglob("*.*"):
        file.write_bytes(b"{")
    assert analyse_files(jobs, has_tagger=False, cache=cache)[0].levels == first.levels


def test_a_place_without_music_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no audio"):
        check(clips_of(tmp_path))
    with pytest.raises(DataError, match="manifest"):
        check(clips_of(tmp_path / "none.jsonl"))
    with pytest.raises(DataError):
        read_manifest(tmp_path / "none.jsonl")


def test_what_machines_measured_in_parts_is_not_measured_again(music, tmp_path, monkeypatch):
    clips = clips_of(music)
    counts = [measure_part(clips, Part(number, 2), cache=tmp_path / "cache") for number in (1, 2)]
    assert sum(counts) == len(clips.records)
    assert abs(counts[0] - counts[1]) <= 1
    whole = check(clips)
    monkeypatch.setattr("descant.curation.analysis.measure_levels", None)
    assert check(clips, cache=tmp_path / "cache").lines() == whole.lines()
