"""The report on whether the measures order recordings, music and noise."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from descant.audio import Clip
from descant.data.manifest import ClipRecord, write_manifest
from descant.evaluation.report import Estimate
from descant.studies.evaluation.base import Measure, Row
from starter_corpus.reports import four_sets, prompts

TEXTS = ("Piano and drums at 120 bpm", "Drums, 90 bpm", "Piano, drums, 140 bpm", "Slow piano, 70 bpm")


def found(**values: float) -> SimpleNamespace:
    """An evaluation of which only the rows are known."""
    rows = [
        Row(metric=key, measure=measure, estimate=Estimate(values[key], values[key], values[key], 9))
        for key, measure in MEASURES.items()
        if key in values
    ]
    return SimpleNamespace(rows=rows)


MEASURES = {
    "kad": Measure(key="kad", label="kernel distance", better="lower"),
    "tempo": Measure(key="tempo", label="tempo", better="higher"),
    "loudness_lufs": Measure(key="loudness_lufs", label="loudness"),
}


@pytest.mark.usefixtures("unchecked")
def test_an_order_is_right_where_shuffling_matters_and_wrong_where_it_is_not_kept():
    sets = {
        "other": found(kad=0.5),
        "codec": found(kad=1.0, tempo=0.9, loudness_lufs=-20.0),
        "generated": found(kad=2.0, tempo=0.8, loudness_lufs=-10.0),
        "shuffled": found(kad=2.0, tempo=0.8, loudness_lufs=-10.0),
        "noise": found(kad=9.0, tempo=0.1, loudness_lufs=-14.0),
    }
    lines = four_sets.markdown(sets).splitlines()
    assert lines[2].endswith("| right |")
    assert lines[3].endswith("| generated is not better than shuffled (intervals overlap) |")
    assert lines[4].endswith("|  |")
    sets["noise"] = found(kad=1.5, tempo=0.1)
    assert four_sets.markdown(sets).splitlines()[2].endswith("| generated is not better than noise |")


def test_every_set_has_the_names_of_the_recordings(tmp_path, monkeypatch):
    pytest.importorskip("librosa", reason="librosa is not installed")
    records = []
    for index, text in enumerate(TEXTS):
        path = tmp_path / f"{index}.wav"
        noise = torch.rand(1, 8_000 * 4, generator=torch.Generator().manual_seed(index))
        Clip(samples=noise - 0.5, sample_rate_hz=8_000).save(path)
        tags = {"source": str(index), "instrument": ["piano", "drums"], "bpm": 120.0}
        shape = {"duration_s": 4.0, "sample_rate_hz": 8_000, "num_channels": 1}
        records.append(ClipRecord(path=path, **shape, split="valid", captions=(text,), tags=tags))
    write_manifest(tmp_path / "manifest.jsonl", records)
    for module in (prompts, four_sets):
        monkeypatch.setattr(module, "DURATION_S", 3.0)
    monkeypatch.setattr(four_sets, "NUM_PROMPTS", 2)
    monkeypatch.setattr(four_sets, "NUM_TEMPO_PROMPTS", 0)
    out = tmp_path / "out"

    def run():
        return four_sets.run("tiny", tmp_path / "manifest.jsonl", out, progress=lambda _: None)

    def content(folder: str) -> list[bytes]:
        return [file.read_bytes() for file in sorted(Path(out, folder).glob("*.wav"))]

    measured = run()
    assert tuple(measured) == four_sets.SETS
    assert all(len(content(name)) == 2 for name in ("reference", *four_sets.SETS))
    assert [Clip.read(file).duration_s for file in sorted(Path(out, "noise").glob("*.wav"))] == [3.0, 3.0]
    first, second = (Clip.read(out / "generated" / f"00{number}.wav").samples for number in range(2))
    assert torch.equal(Clip.read(out / "shuffled" / "000.wav").samples, second)
    assert torch.equal(Clip.read(out / "shuffled" / "001.wav").samples, first)
    assert "share of clips with a fault" in four_sets.markdown(measured)
    assert {name: one.as_json() for name, one in run().items()} == {
        name: one.as_json() for name, one in measured.items()
    }
