"""Measured tags complete what people wrote and never replace it."""

import json
from dataclasses import replace

import pytest
import torch

from descant.curation.analysis import Analysis
from descant.curation.describe import NAMES, describe, describe_clips
from descant.curation.fingerprints import fingerprint
from descant.curation.levels import Levels
from descant.curation.tags import instruments, spread, voice, words
from descant.data.manifest import ClipRecord
from descant.data.measured import MeasuredTag, read_measured, write_measured
from descant.data.scan import scan_folder
from descant.errors import DataError
from descant.evaluation.embedders import TAGS
from descant.evaluation.embedders.musicnn_weights import INSTALL
from tests.curation.music import song


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("music")
    song(1, 12.0, bpm=100.0, tonic=7).save(folder / "bare.wav")
    song(2, 12.0, bpm=90.0).save(folder / "described.wav")
    (folder / "described.txt").write_text("sad jazz guitar, 77 bpm, in F minor")
    song(3, 12.0, bpm=120.0).save(folder / "tagged.wav")
    (folder / "tagged.json").write_text('{"key": "Bb minor"}')
    return folder


@pytest.fixture(scope="module")
def described(folder):
    pytest.importorskip("musicnn", reason="musicnn")
    return {one.clip.name: one for one in describe_clips(scan_folder(folder).records, has_tagger=True)}


def test_tempo_and_key_are_measured_with_confidence_and_source(described):
    measured = described["bare.wav"].measured
    assert measured["bpm"].value == pytest.approx(100, rel=0.01)
    assert measured["key"].value == "G major"
    for tag in measured.values():
        assert 0.5 <= tag.confidence <= 1
        assert tag.source
    assert set(measured) | set(described["bare.wav"].left_out) == set(NAMES)


def test_what_a_person_states_is_left_out_by_name(described):
    assert described["described.wav"].measured == {}
    assert set(described["described.wav"].left_out.values()) >= {"stated in its description"}
    assert described["tagged.wav"].left_out["key"] == "stated in its description"
    assert "bpm" in described["tagged.wav"].measured


def test_a_scan_uses_measured_tags_only_where_people_said_nothing(folder, described):
    measured = {one.clip: {**one.measured, "bpm": MeasuredTag(value=1.0, confidence=1.0, source="x"),
                           "key": MeasuredTag(value="C major", confidence=1.0, source="x")}
                for one in described.values()}  # fmt: skip
    write_measured(folder / "measured.jsonl", measured)
    try:
        tags = {record.path.name: record.tags for record in scan_folder(folder).records}
        assert tags["bare.wav"]["bpm"] == tags["tagged.wav"]["bpm"] == 1.0
        assert not {"bpm", "key"} & set(tags["described.wav"])
        assert tags["tagged.wav"]["key"] == "Bb minor"
        without = scan_folder(folder, uses_measured=False).records
        assert [record.tags for record in without] == [{}, {}, {"key": "Bb minor"}]
    finally:
        (folder / "measured.jsonl").unlink()


def test_measured_tags_are_read_as_written_and_a_bad_line_is_named(tmp_path):
    tags = {"instrument": MeasuredTag(value=["piano", "drums"], confidence=0.7, source="a tagger")}
    inside, outside = tmp_path / "sub" / "a.wav", tmp_path.parent / "b.wav"
    write_measured(tmp_path / "measured.jsonl", {outside: tags, inside: tags})
    assert read_measured(tmp_path / "measured.jsonl") == {inside: tags, outside: tags}
    row = {"file_name": "a.wav", "measured": {"bpm": {"value": 3}}}
    (tmp_path / "measured.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match=r"line 1.*confidence"):
        read_measured(tmp_path / "measured.jsonl")
    assert any("confidence" in note for note in scan_folder(tmp_path).notes)


LEVELS = Levels(
    num_samples=288_000, sample_rate_hz=32_000, num_channels=1, digest="", level_db=-20.0, clipped_share=0.0,
    silent_share=0.0, longest_silence_s=0.0, dc_offset=0.0, dead_channels=(), correlation=None, bandwidth_hz=16_000.0,
    ending_db=-40.0,
)  # fmt: skip


def analysis_with(**probabilities: float) -> Analysis:
    tags = dict.fromkeys(TAGS, 0.01) | {name.replace("_", " "): value for name, value in probabilities.items()}
    return Analysis(levels=LEVELS, print=fingerprint(torch.zeros(1)), tags=tags)


def test_words_come_from_likely_tags_only(tmp_path):
    record = ClipRecord(path=tmp_path / "a.wav", duration_s=9.0, sample_rate_hz=32_000, num_channels=1)
    found = describe(record, analysis_with(flute=0.9, piano=0.4, techno=0.8, rock=0.6, slow=0.2)).measured
    assert found["instrument"].value == ["flute", "piano"]
    assert found["genre"].value == "techno"
    assert found["genre"].confidence == 0.8
    assert set(found) == {"instrument", "genre"}
    assert describe(record, Analysis(levels=LEVELS, print=fingerprint(torch.zeros(1)))).measured == {}


@pytest.mark.parametrize(
    ("duration_s", "has_tagger", "of_tags", "of_tempo", "of_key"),
    [
        (1.0, True, "shorter than 3 s", "shorter than 5 s", "shorter than 5 s"),
        (4.0, True, "silent", "shorter than 5 s", "shorter than 5 s"),
        (9.0, True, "silent", "silent", "nothing has a pitch"),
        (1.0, False, f"no tagger: {INSTALL}", "shorter than 5 s", "shorter than 5 s"),
    ],
)
def test_what_cannot_be_measured_has_its_one_true_reason(tmp_path, duration_s, has_tagger, of_tags, of_tempo, of_key):
    """A clip of a second was said to have "no tagger, shorter than 3 s, or silent", with the tagger installed."""
    record = ClipRecord(path=tmp_path / "a.wav", duration_s=duration_s, sample_rate_hz=32_000, num_channels=1)
    levels = replace(LEVELS, num_samples=round(duration_s * 32_000))
    described = describe(record, Analysis(levels=levels, print=fingerprint(torch.zeros(1))), has_tagger=has_tagger)
    tags = dict.fromkeys(("instrument", "genre", "moods"), of_tags)
    assert described.left_out == {"bpm": of_tempo, "key": of_key, **tags}


def test_a_voice_is_the_likeliest_of_its_tags():
    assert voice(analysis_with(female_vocal=0.7, male=0.2).tags) == 0.7
    assert voice(analysis_with(no_vocals=0.9).tags) == 0.01
    assert words({"slow": 0.9, "fast": 0.3}, {"slow": "slow", "fast": "fast"})[0].word == "slow"
    assert instruments(analysis_with(choir=0.1).tags) == []


def test_a_long_recording_is_heard_from_beginning_to_end():
    wave = torch.arange(3_000.0)
    parts = spread(wave, sample_rate_hz=10)
    assert len(parts) == 600
    assert (parts[0], parts[-1]) == (wave[0], wave[-1])
    assert torch.equal(spread(wave[:600], sample_rate_hz=10), wave[:600])
