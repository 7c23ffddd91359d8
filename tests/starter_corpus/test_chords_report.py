"""Chords of held-out pieces: which are chosen, the scores, and the report on a tiny model."""

import json
from dataclasses import replace

import pytest
import torch

from descant.audio import Clip
from descant.checkpoints.untrained import save_untrained
from descant.conditioning.chords import ChordsConfig, chords_text, parse_chords
from descant.conditioning.tempo_key import TempoKeyConfig
from descant.data.manifest import ClipRecord, read_manifest, write_manifest
from descant.errors import InvalidRequest
from descant.evaluation.embedders import MusiCNN, MusicTagger
from descant.evaluation.instruments import InstrumentDetector
from descant.presets import tiny
from starter_corpus.reports import chords as chords_report
from starter_corpus.reports import prompts

RATE_HZ = 16_000
CHORDS = ("C:0 G:2", "F:0 Dm:2", "Eb:0 Bb:2", "Am:0 E:2")


def played(track, duration_s=4.0):
    """The chords as chords of tones, with a few harmonics."""
    time = torch.arange(int(duration_s * RATE_HZ)) / RATE_HZ
    wave = torch.zeros_like(time)
    for chord in parse_chords(track):
        tones = sum(
            torch.sin(2 * torch.pi * 261.63 * 2 ** (pitch / 12) * harmonic * time) / harmonic
            for pitch in chord.pitches
            for harmonic in (1, 2, 3)
        )
        wave = torch.where(time >= chord.start_s, tones, wave)
    return Clip(samples=0.1 * wave[None], sample_rate_hz=RATE_HZ)


def shorten(monkeypatch):
    """Clips of three seconds."""
    for module in (prompts, chords_report):
        monkeypatch.setattr(module, "DURATION_S", 3.0)


@pytest.fixture
def manifest(tmp_path):
    """Four pieces with chords, also after the end of a clip, one without, one whose key is not known."""
    tags = [{"chords": f"{track} B:3.5", "key": "C major"} for track in CHORDS]
    records = []
    for name, own in enumerate([*tags, {"key": "C major"}, {"chords": "C:0", "key": None}]):
        played("C:0").save(tmp_path / f"{name}.wav")
        records.append(
            ClipRecord(
                path=tmp_path / f"{name}.wav", duration_s=4.0, sample_rate_hz=RATE_HZ, num_channels=1, split="valid",
                captions=(f"Piano {name}",), tags={"source": f"{name}", "instrument": ["piano"], "bpm": 120.0, **own},
            )
        )  # fmt: skip
    write_manifest(tmp_path / "manifest.jsonl", records)
    return tmp_path / "manifest.jsonl"


def test_pieces_that_know_their_chords_and_key_are_chosen(manifest, monkeypatch):
    shorten(monkeypatch)
    chosen, harmonies = chords_report.choose_harmonies(read_manifest(manifest, split="valid"), 4, seed=0)
    assert {(prompt.text, own.chords) for prompt, own in zip(chosen, harmonies, strict=True)} == {
        (f"Piano {name}", chords_text(parse_chords(track))) for name, track in enumerate(CHORDS)
    }, "chords after the end are refused by the model"
    with pytest.raises(InvalidRequest, match="another's chords"):
        chords_report.choose_harmonies(read_manifest(manifest, split="valid"), 1, seed=0)


def test_music_that_plays_its_chords_scores_above_music_that_does_not():
    own = [played(track) for track in CHORDS]
    means = chords_report.chord_agreement({"own": own, "none": [played("B:0")] * 4, "codec": own}, CHORDS)["means"]
    assert means["own"]["value"] > 0.9
    assert means["none"]["value"] == means["chance"]["value"] == 0
    assert means["own_minus_none"]["low"] > 0.9


@pytest.mark.filterwarnings("ignore:Trying to estimate tuning:UserWarning")
def test_the_report_on_a_tiny_model_ends_in_a_table_and_generates_nothing_twice(manifest, tmp_path, monkeypatch):
    pytest.importorskip("librosa", reason="librosa")
    shorten(monkeypatch)
    monkeypatch.setattr(InstrumentDetector, "load", lambda: InstrumentDetector(MusicTagger(MusiCNN()), {}))
    save_untrained(replace(tiny(), tempo_key=TempoKeyConfig(), chords=ChordsConfig()), tmp_path / "model")
    requested = []

    def counting(generate, requests, *rest):
        def counted(batch):
            requested.extend(batch)
            return generate(batch)

        return prompts.generate_missing(counted, requests, *rest)

    monkeypatch.setattr(chords_report, "generate_missing", counting)
    words = (str(tmp_path / "model"), manifest, tmp_path / "out", 4)
    report = chords_report.run(*words, progress=lambda _: None)
    with_chords, without = requested[:4], requested[4:]
    assert {parse_chords(request.chords) for request in with_chords} == {parse_chords(track) for track in CHORDS}
    assert {request.chords for request in without} == {"none"}
    assert [(one.text, one.seed, one.tempo, one.key) for one in with_chords] == [
        (one.text, one.seed, 120.0, "C major") for one in without
    ]
    assert report["chords"]["means"]["own"]["count"] == len(report["chords"]["by_clip"]["own"]) == 4
    assert json.loads((tmp_path / "out" / "chords.json").read_text())["num_prompts"] == 4
    assert "| the caption and its piece's chords |" in (tmp_path / "out" / "chords.md").read_text()
    assert chords_report.run(*words, progress=lambda _: None) == report
    assert len(requested) == 8
