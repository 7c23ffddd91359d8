"""Melodies of held-out clips: the melody of each caption, the scores, and the report on a tiny model."""

import json
from dataclasses import replace

import pytest
import torch

from descant.audio import Clip
from descant.checkpoints.untrained import save_untrained
from descant.conditioning.chroma import MelodyConfig
from descant.config import to_dict
from descant.data.manifest import ClipRecord, write_manifest
from descant.errors import InvalidRequest
from descant.evaluation.embedders import MusiCNN, MusicTagger
from descant.evaluation.instruments import FamilyThreshold
from descant.presets import tiny
from starter_corpus.reports import melody as melody_report
from starter_corpus.reports import prompts

RATE_HZ = 8_000
SURE = FamilyThreshold(score=0.5, separation=0.9, recall=0.9, num_with=50, num_without=50)


def tone(key, duration_s=3.0):
    time = torch.arange(int(duration_s * RATE_HZ)) / RATE_HZ
    return Clip(
        samples=0.3 * torch.sin(2 * torch.pi * 440 * 2 ** ((key - 69) / 12) * time)[None], sample_rate_hz=RATE_HZ
    )


@pytest.fixture
def manifest(tmp_path):
    """Four tunes with drums whose captions state a tempo, and a clip of drums alone."""
    records = []
    for name, key in {"a": 60, "b": 64, "c": 67, "d": 71, "drums": 69}.items():
        tone(key, 4.0).save(tmp_path / f"{name}.wav")
        playing = ["drums"] if name == "drums" else ["piano", "drums"]
        records.append(
            ClipRecord(
                path=tmp_path / f"{name}.wav", duration_s=4.0, sample_rate_hz=RATE_HZ, num_channels=1, split="valid",
                captions=("Piano and drums at 120 bpm",),
                tags={"source": name, "instrument": playing, "bpm": 120.0, "has_drums": True},
            )
        )  # fmt: skip
    write_manifest(tmp_path / "manifest.jsonl", records)
    return tmp_path / "manifest.jsonl"


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Three seconds instead of ten, an untrained tagger, and thresholds for it."""
    monkeypatch.setattr(prompts, "DURATION_S", 3.0)
    tagger = MusicTagger(MusiCNN())
    monkeypatch.setattr(MusicTagger, "load", lambda: tagger)
    (tmp_path / "tagger.json").write_text(json.dumps({"piano": to_dict(SURE), "drums": to_dict(SURE)}))
    return tmp_path / "tagger.json"


def save_model(folder, melody):
    save_untrained(replace(tiny(), melody=melody), folder)
    return str(folder)


def test_the_report_on_a_tiny_model_ends_in_a_table_and_generates_nothing_twice(manifest, small, tmp_path, monkeypatch):
    pytest.importorskip("librosa", reason="librosa")
    melody = MelodyConfig(sample_rate_hz=RATE_HZ, window_samples=2_048, hop_samples=1_024, num_frames=24, fusion="sum")
    model = save_model(tmp_path / "model", melody)
    requested = []

    def counting(generate, requests, *rest):
        def counted(batch):
            requested.extend(batch)
            return generate(batch)

        return prompts.generate_missing(counted, requests, *rest)

    monkeypatch.setattr(melody_report, "generate_missing", counting)
    report = melody_report.run(model, manifest, tmp_path / "out", small, num_prompts=4, progress=lambda _: None)
    assert len(requested) == 12
    assert [request.seed for request in requested[:4]] == [request.seed for request in requested[4:8]]
    assert [request.melody is None for request in requested] == [False] * 4 + [True] * 4 + [False] * 4
    scores = report["melody"]
    for who in ("own", "none", "other", "other_with_given", "codec"):
        assert scores[who].count == len(scores["by_clip"][who]) == 4
    assert scores["own_minus_none"].value == pytest.approx(scores["own"].value - scores["none"].value)
    assert report["tempo"]["real"]["within_5_percent"].count == 4
    assert json.loads((tmp_path / "out" / "melody.json").read_text())["num_prompts"] == 4
    table = (tmp_path / "out" / "melody.md").read_text()
    assert "| the caption and the clip's melody |" in table
    assert "| named instrument family recognised |" in table
    again = melody_report.run(model, manifest, tmp_path / "out", small, num_prompts=4, progress=lambda _: None)
    assert again == report
    assert len(requested) == 12


def test_a_model_that_takes_no_melody_is_refused(manifest, small, tmp_path):
    with pytest.raises(InvalidRequest, match="takes no melody"):
        melody_report.run(save_model(tmp_path / "model", None), manifest, tmp_path / "out", small, num_prompts=2)


def test_a_model_that_follows_its_melody_scores_above_one_that_does_not():
    melodies = [tone(key) for key in (60, 64, 67, 71)]
    given = melody_report.given_melodies(melodies)
    assert [id(clip) for clip in given["other"]] == [id(melodies[index]) for index in (2, 3, 0, 1)]
    following = {"own": melodies, "none": [tone(61)] * 4, "other": given["other"], "codec": melodies}
    report = melody_report.melody_agreement(melodies, following)
    assert [report[who].value for who in ("own", "none", "other", "other_with_given")] == [1, 0, 0, 1]
    assert report["own_minus_none"].low == report["own_minus_other"].low == 1
    ignoring = {who: [tone(60)] * 4 for who in following}
    report = melody_report.melody_agreement(melodies, ignoring)
    assert report["own"].value == pytest.approx(0.25)
    assert report["own_minus_none"].value == report["own_minus_other"].high == 0


def test_melodies_are_the_beginnings_of_clips_with_more_than_drums(manifest, small):
    del small
    records = melody_report.read_manifest(manifest, split="valid")
    chosen = melody_report.choose_melodies(records, 4, seed=0)
    assert sorted(prompt.reference.stem for prompt in chosen) == ["a", "b", "c", "d"]
    assert {prompt.offset_s for prompt in chosen} == {0.0}
    with pytest.raises(InvalidRequest, match="another's melody"):
        melody_report.choose_melodies(records, 1, seed=0)
