"""What rounding costs the starter: the measures of each precision, and the report on a tiny model."""

import json
from pathlib import Path

import pytest
import torch

from descant.audio import Clip, read_info
from descant.config import to_dict
from descant.data.manifest import ClipRecord, write_manifest
from descant.evaluation.embedders import MusiCNN, MusicTagger
from descant.evaluation.instruments import FamilyThreshold
from starter_corpus.reports import prompts, rounding
from starter_corpus.reports.measures import ClipMeasures
from starter_corpus.reports.prompts import Prompt
from starter_corpus.reports.rounding import music_values, tag_wins, with_differences

SURE = FamilyThreshold(score=0.0, separation=0.9, recall=0.9, num_with=50, num_without=50)
THRESHOLDS = {"piano": 0.5, "flute": 0.5}


def prompt(bpm=None, has_drums=True, families=()):
    return Prompt(
        text="", seed=0, bpm=bpm, has_drums=has_drums, families=families, reference=Path("clip.wav"), offset_s=0.0
    )


def measures(tempo_bpm=None, piano=0.0, flute=0.0):
    return ClipMeasures(tempo_bpm, {"piano": piano, "flute": flute, "harp": 0.0}, 0.01, 2.0)


def test_a_prompt_counts_once_however_many_clips_and_families_it_has():
    asked = [prompt(120.0, families=("piano", "flute", "harp")), prompt(100.0, has_drums=False), prompt()]
    clips = [[measures(120.0, piano=0.9), measures(90.0, piano=0.9, flute=0.9)]] + [[measures(100.0)] * 2] * 2
    assert music_values(asked, clips, THRESHOLDS) == {"recognised": [0.75], "tempo": [0.5]}


def test_the_tagger_prefers_neither_of_equal_clips_and_always_the_better_one():
    asked = [prompt(families=("piano",)), prompt(families=("harp",)), prompt(families=("piano", "flute"))]
    clips = [[measures(piano=0.7, flute=0.1)]] * 3
    assert tag_wins(asked, clips, clips, THRESHOLDS) == [0.5, 0.5]
    assert tag_wins(asked, clips, [[measures(piano=0.6, flute=0.2)]] * 3, THRESHOLDS) == [1.0, 0.5]
    assert tag_wins(asked, clips, [[measures(piano=0.8, flute=0.1)]] * 3, THRESHOLDS) == [0.0, 0.25]


def test_differences_are_those_on_the_same_prompts():
    found = with_differences({"tempo": [0.1, 5.2, 9.3]}, {"tempo": [0.0, 5.0, 9.0]})
    assert found["tempo"].value == pytest.approx(14.6 / 3)
    difference = found["tempo_difference"]
    assert difference.value == pytest.approx(0.2)
    assert 0.1 - 1e-9 <= difference.low < difference.high <= 0.3 + 1e-9


@pytest.fixture
def manifest(tmp_path):
    """Three clips of noise with captions that state instruments and a tempo."""
    records = []
    for index, text in enumerate(["Piano and drums at 120 bpm", "Drums, 90 bpm", "Piano, drums, 140 bpm"]):
        path = tmp_path / f"{index}.wav"
        noise = torch.rand(1, 8_000 * 4, generator=torch.Generator().manual_seed(index))
        Clip(samples=noise - 0.5, sample_rate_hz=8_000).save(path)
        tags = {"source": str(index), "instrument": ["piano", "drums"], "bpm": 120.0, "has_drums": True}
        records.append(
            ClipRecord(
                path=path, duration_s=4.0, sample_rate_hz=8_000, num_channels=1, split="valid",
                captions=(text,), tags=tags,
            )
        )  # fmt: skip
    write_manifest(tmp_path / "manifest.jsonl", records)
    return tmp_path / "manifest.jsonl"


def test_predictions_of_a_tiny_model_differ_only_where_it_is_rounded(manifest, monkeypatch):
    monkeypatch.setattr(prompts, "DURATION_S", 1.0)
    reports = rounding.predictions("tiny", manifest, num_prompts=3)
    assert [report["precision"] for report in reports] == list(rounding.PRECISIONS)
    names = ["cross_entropy", *(f"cross_entropy_q{codebook}" for codebook in range(4))]
    exact, _, int4 = ([report[f"{name}_difference"].value for name in names] for report in reports)
    assert exact == [0.0] * 5
    assert all(int4)
    assert reports[2]["cross_entropy"].count == 3
    assert int4[0] == pytest.approx(sum(int4[1:]) / 4)


def test_music_of_a_tiny_model_is_compared_with_itself_and_not_generated_twice(manifest, tmp_path, monkeypatch):
    pytest.importorskip("librosa", reason="librosa")
    monkeypatch.setattr(prompts, "DURATION_S", 3.0)
    tagger = MusicTagger(MusiCNN())
    monkeypatch.setattr(MusicTagger, "load", lambda: tagger)
    out_dir = tmp_path / "out"
    out_dir.mkdir()
    (out_dir / "tagger.json").write_text(json.dumps({"piano": to_dict(SURE), "drums": to_dict(SURE)}))

    def run(num_seeds):
        return rounding.music("tiny", manifest, out_dir, num_prompts=2, num_seeds=num_seeds, progress=lambda _: None)

    def written():
        return {file: file.stat().st_mtime_ns for file in out_dir.glob("*/*.wav")}

    reports = run(1)
    assert [report["precision"] for report in reports] == list(rounding.PRECISIONS)
    assert reports[0]["recognised_difference"].value == reports[0]["tempo_difference"].value == 0
    assert reports[0]["tag_wins"].value == 0.5
    assert (reports[2]["recognised"].count, reports[2]["tempo"].count) == (3, 3)
    first = written()
    assert len(first) == 9
    run(2)
    assert len(written()) == 18
    assert first.items() <= written().items()
    made = [read_info(out_dir / "int4" / f"{number:03d}.wav") for number in range(6)]
    assert [info["text"] for info in made[:3]] == [info["text"] for info in made[3:]]
    assert [info["seed"] + 1 for info in made[:3]] == [info["seed"] for info in made[3:]]
