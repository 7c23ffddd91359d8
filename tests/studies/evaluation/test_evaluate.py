"""Folders of clips as numbers: the same whatever the order, the processes and the cache, and never silently wrong."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from descant.audio import Clip
from descant.errors import AudioError, CheckpointError, DataError, InvalidRequest
from descant.evaluation.embedded_clips import embed_clips
from descant.evaluation.frechet import frechet_audio_distance
from descant.evaluation.report import mean_with_interval
from descant.evaluation.signal_checks import measure_signal
from descant.evaluation.statistics import EmbeddingStatistics
from descant.studies.evaluation import measuring
from descant.studies.evaluation.base import ClipFile, Measure
from descant.studies.evaluation.choice import Settings
from descant.studies.evaluation.evaluate import evaluate
from descant.studies.evaluation.measuring import LOUDNESS_LUFS
from descant.studies.evaluation.results import badness_of
from descant.studies.evaluation.sets import open_set
from tests.studies.evaluation.embedders import RATE_HZ, BandEmbedder

DISTANCES = ("fad", "kad", "kl", "clap")


@pytest.fixture
def settings(embedders):
    return Settings(metrics=DISTANCES, embedders=embedders)


def values_of(found) -> dict[str, float]:
    return {row.measure.key: row.estimate.value for row in found.rows}


def test_a_distance_is_that_of_the_library_at_the_stated_loudness(pair, settings):
    found = evaluate(*map(open_set, pair), settings)
    sets = []
    for folder in pair:
        clips = [(file.name, Clip.read(file.path).normalize_loudness(LOUDNESS_LUFS)) for file in open_set(folder).files]
        sets.append(embed_clips(BandEmbedder(), clips))
    generated, reference = sets
    expected = frechet_audio_distance(EmbeddingStatistics.of_clips(reference), generated)
    assert found.row("fad").estimate == expected
    assert found.row("fad").embedder == BandEmbedder().label
    assert found.row("kl").estimate.count == found.row("clap").estimate.count == 24
    assert found.row("clap").reference is not None


def test_the_distance_of_a_set_to_itself_is_zero_and_grows_with_noise(tmp_path, write, settings):
    reference = open_set(write(tmp_path / "clean", 24))
    of_noise = [
        values_of(evaluate(open_set(write(tmp_path / f"{noise}", 24, noise=noise)), reference, settings))
        for noise in (0.0, 0.01, 0.1, 1.0)
    ]
    for name in ("fad", "kl"):
        assert of_noise[0][name] == pytest.approx(0, abs=2e-5)
    # Without bias, so that two samples of one distribution give 0 on average, and a set against itself less.
    assert of_noise[0]["kad"] <= 0
    for name in ("fad", "kad", "kl"):
        assert (np.diff([values[name] for values in of_noise]) > 0).all()
    assert of_noise[-1]["clap"] < of_noise[0]["clap"] - 0.1


def test_shuffled_prompts_are_worse_by_paired_measures_only(tmp_path, pair, settings):
    generated, reference = pair
    names = [file.name for file in open_set(generated).files]
    (tmp_path / "shuffled").mkdir()
    texts = {file.name: file.asked for file in open_set(generated).files}
    for number, name in enumerate(names):
        shutil.copy(generated / f"{names[number - 1]}.wav", tmp_path / "shuffled" / f"{name}.wav")
    right = values_of(evaluate(open_set(generated), open_set(reference), settings))
    wrong = values_of(evaluate(open_set(tmp_path / "shuffled", asked=texts), open_set(reference), settings))
    assert wrong["fad"] == pytest.approx(right["fad"], rel=1e-9)
    assert wrong["kad"] == pytest.approx(right["kad"], rel=1e-9)
    assert wrong["kl"] > right["kl"] + 1
    assert wrong["clap"] < right["clap"] - 0.3


def test_numbers_depend_neither_on_the_order_of_clips_nor_on_the_cache(tmp_path, pair, settings):
    generated, reference = map(open_set, pair)
    first = evaluate(generated, reference, settings)
    backwards = replace(generated, files=generated.files[::-1])
    assert evaluate(backwards, reference, settings).rows == first.rows
    for _ in range(2):
        again = evaluate(generated, reference, replace(settings, cache=tmp_path / "cache"))
        assert again.as_json() == first.as_json()


def test_what_is_in_the_cache_is_not_read_again_until_the_file_changes(tmp_path, write, settings, monkeypatch):
    folder = write(tmp_path / "set", 24)
    settings = replace(settings, metrics=(*DISTANCES, "checks"), cache=tmp_path / "cache")
    first = evaluate(open_set(folder), open_set(folder), settings)
    read = []
    original = measuring.Clip.read
    monkeypatch.setattr(measuring.Clip, "read", lambda path, **given: read.append(path.stem) or original(path, **given))
    assert evaluate(open_set(folder), open_set(folder), settings).as_json() == first.as_json()
    assert read == []
    write(tmp_path / "other", 24, seed=9)
    shutil.copy(tmp_path / "other" / "03.wav", folder / "03.wav")
    assert evaluate(open_set(folder), open_set(folder), settings).as_json() != first.as_json()
    # As a generated and as a reference clip.
    assert read in (["03"], ["03", "03"])
    # A shorter part is another measurement, and so is another prompt where the metric reads it.
    evaluate(open_set(folder), open_set(folder), replace(settings, duration_s=2.0))
    assert len(read) > 24


def test_measurements_of_other_lengths_are_kept_apart(tmp_path, pair, settings):
    generated, reference = map(open_set, pair)
    for duration_s in (None, 2.0, None):
        plain = replace(settings, metrics=(*DISTANCES, "checks"), duration_s=duration_s)
        cached = evaluate(generated, reference, replace(plain, cache=tmp_path / "cache"))
        assert cached.as_json() == evaluate(generated, reference, plain).as_json()


def test_a_damaged_entry_of_the_cache_counts_as_missing(tmp_path, pair, settings):
    settings = replace(settings, metrics=("kad", "checks"), cache=tmp_path / "cache")
    first = evaluate(*map(open_set, pair), settings)
    for entry in (tmp_path / "cache").rglob("*.*"):
        entry.write_bytes(entry.read_bytes()[:20])
    assert evaluate(*map(open_set, pair), settings).as_json() == first.as_json()


def test_two_processes_give_the_numbers_of_one(pair, tmp_path):
    """Without an embedder, so that the processes need no weights."""
    generated = open_set(pair[0])
    settings = Settings(metrics=("checks",))
    alone = evaluate(generated, None, settings)
    together = evaluate(generated, None, replace(settings, num_processes=2, cache=tmp_path / "cache"))
    assert together.as_json() == alone.as_json()


def test_the_numbers_of_a_clip_are_those_of_the_metric(pair):
    found = evaluate(open_set(pair[0]), None, Settings(metrics=("checks",)))
    signals = {file.name: measure_signal(Clip.read(file.path)) for file in open_set(pair[0]).files}
    assert {clip.name: clip.values["loudness_lufs"] for clip in found.clips} == {
        name: signal.loudness_lufs for name, signal in signals.items()
    }
    expected = mean_with_interval([signals[name].loudness_lufs for name in sorted(signals)])
    assert found.row("loudness_lufs").estimate == expected


def test_by_default_everything_possible_is_measured_and_the_rest_has_a_reason(pair, embedders):
    pytest.importorskip("librosa", reason="librosa is not installed")
    found = evaluate(open_set(pair[0]), None, Settings(embedders=embedders))
    assert {row.metric for row in found.rows} == {"movement", "checks"}
    assert "--reference" in found.left_out["fad"]
    assert "--melody" in found.left_out["chroma"]
    assert found.left_out["tempo"] == "no prompt states a tempo, and no tags of a generated file have one"
    assert found.left_out["clap"] == "only if it is asked for (--metrics clap)"
    with pytest.raises(InvalidRequest, match=r"fad: it compares with a reference set; give one \(--reference\)"):
        evaluate(open_set(pair[0]), None, Settings(metrics=("checks", "fad"), embedders=embedders))


def test_label_kl_needs_the_same_names(tmp_path, pair, settings, write):
    other = write(tmp_path / "other", 5)
    (other / "04.wav").rename(other / "without a partner.wav")
    with pytest.raises(InvalidRequest, match="kl: it compares clips of equal names"):
        evaluate(open_set(other), open_set(pair[1]), settings)


def test_a_folder_without_audio_is_refused(tmp_path):
    with pytest.raises(DataError, match="has no audio files"):
        open_set(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        open_set(tmp_path / "nowhere")


def test_one_clip_has_numbers_without_intervals_and_no_distances(tmp_path, write, pair, embedders):
    folder = write(tmp_path / "one", 1)
    settings = Settings(metrics=("kl", "checks"), embedders=embedders)
    found = evaluate(open_set(folder), open_set(pair[1]), settings)
    assert "(one clip, no interval)" in found.markdown()
    loudness = next(row for row in found.as_json()["metrics"] if row["measure"] == "loudness_lufs")
    assert (loudness["low"], loudness["high"], loudness["count"]) == (None, None, 1)
    with pytest.raises(InvalidRequest, match=r"kad: the set has 1 clip.*at least two"):
        evaluate(open_set(folder), open_set(pair[1]), replace(settings, metrics=("kad",)))


def test_a_set_of_silence_is_refused_and_single_silent_clips_are_named(tmp_path, write, pair, embedders):
    settings = Settings(metrics=("kad", "checks"), embedders=embedders)
    folder = write(tmp_path / "set", 8)
    silence = Clip(torch.zeros(1, 3 * RATE_HZ), RATE_HZ)
    silence.save(folder / "03.wav")
    found = evaluate(open_set(folder), open_set(pair[1]), settings)
    assert "generated: 1 clip is silent and counts as such, first '03'" in found.notes
    assert found.row("loudness_lufs").estimate.count == 7
    assert found.row("silent_share").estimate.value == 1 / 8
    assert found.clips[0].name == "03"
    assert found.clips[0].is_silent
    for file in folder.iterdir():
        silence.save(file)
    with pytest.raises(InvalidRequest, match="all 8 clips are silent"):
        evaluate(open_set(folder), open_set(pair[1]), settings)


def test_mixed_sample_rates_are_resampled_and_stated(tmp_path, pair, settings):
    folder = tmp_path / "mixed"
    shutil.copytree(pair[0], folder)
    clip = Clip.read(folder / "05.wav")
    Clip(clip.resample(16_000).samples, 16_000, info={"text": "band 5"}).save(folder / "05.wav")
    found = evaluate(open_set(folder), open_set(pair[1]), settings)
    assert any("different sample rates (23 of 8000 Hz, 1 of 16000 Hz)" in note for note in found.notes)
    plain = evaluate(*map(open_set, pair), settings)
    assert found.row("fad").estimate.value == pytest.approx(plain.row("fad").estimate.value, rel=0.05)


def test_a_file_that_cannot_be_read_is_named_or_left_out_if_that_is_asked_for(tmp_path, pair, settings):
    folder = tmp_path / "set"
    shutil.copytree(pair[0], folder)
    (folder / "07.wav").write_bytes(b"this is no sound" * 50)
    with pytest.raises(AudioError, match=r"07\.wav.*--skip-broken"):
        open_set(folder)
    # Its header is in order, but its samples are not: found only when it is measured.
    soundfile.write(folder / "08.wav", np.full(3 * RATE_HZ, np.nan), RATE_HZ, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"08.*--skip-broken"):
        evaluate(open_set(folder, skip_broken=True), open_set(pair[1]), settings)
    found = evaluate(
        open_set(folder, skip_broken=True),
        open_set(pair[1]),
        replace(settings, metrics=("fad", "kl"), skip_broken=True),
    )
    assert found.row("kl").estimate.count == 22
    assert sum("left out" in note for note in found.notes) == 2
    for file in folder.iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError, match="none of its 24 files is readable"):
        open_set(folder, skip_broken=True)


def test_a_clip_too_short_for_the_embedder_is_named(tmp_path, pair, settings, write):
    folder = tmp_path / "set"
    shutil.copytree(pair[0], folder)
    write(tmp_path / "short", 1, seconds=0.5)
    shutil.copy(tmp_path / "short" / "00.wav", folder / "00.wav")
    with pytest.raises(AudioError, match=r"00: .*0\.50 s.*needs at least 1 s"):
        evaluate(open_set(folder), open_set(pair[1]), settings)


def test_fewer_windows_than_dimensions_have_no_frechet_distance_but_a_kernel_distance(tmp_path, write, embedders, pair):
    folder = write(tmp_path / "few", 2)
    found = evaluate(open_set(folder), open_set(pair[1]), Settings(embedders=embedders, metrics=None))
    assert "6 windows for 6 dimensions" in found.left_out["fad"]
    assert "kernel distance" in found.left_out["fad"]
    assert "kad" in values_of(found)
    assert "kad: an interval over 2 clips means little; give more" in found.notes
    with pytest.raises(InvalidRequest, match="fad: the set has 6 windows for 6 dimensions"):
        evaluate(open_set(folder), open_set(pair[1]), Settings(embedders=embedders, metrics=("fad",)))


def test_a_metric_whose_weights_are_missing_is_left_out_with_the_reason(pair, embedders, tmp_path):
    without = {**embedders, "embedder": f"vggish={tmp_path / 'none.pth'}"}
    found = evaluate(*map(open_set, pair), Settings(embedders=without))
    assert "none.pth: missing; download it" in found.left_out["fad"]
    with pytest.raises(CheckpointError, match=r"fad: .*none\.pth: missing"):
        evaluate(*map(open_set, pair), Settings(embedders=without, metrics=("fad",)))


def test_one_content_under_two_names_counts_twice(tmp_path, pair, settings):
    folder = tmp_path / "copies"
    shutil.copytree(pair[0], folder)
    shutil.copy(folder / "00.wav", folder / "06.wav")
    for _ in range(2):
        found = evaluate(open_set(folder), open_set(pair[1]), replace(settings, cache=tmp_path / "cache"))
        assert found.row("kl").estimate.count == 24


def test_clips_are_ranked_by_the_share_of_clips_that_are_better():
    lower, higher, neither = (
        Measure(key=key, label=key, better=better) for key, better in (("a", "lower"), ("b", "higher"), ("c", None))
    )
    values = {"x": {"a": 1.0, "b": 3.0, "c": 9.0}, "y": {"a": 2.0, "b": 2.0}, "z": {"a": 3.0}, "w": {"c": 1.0}}
    assert badness_of(values, [lower, higher, neither]) == {"x": 0.0, "y": 0.75, "z": 1.0, "w": None}
    equal = {name: {"a": 1.0} for name in "xyz"}
    assert set(badness_of(equal, [lower]).values()) == {0.5}


def test_wrong_settings_are_refused():
    with pytest.raises(InvalidRequest, match="metrics='fda': allowed are fad, kad"):
        Settings(metrics=("fda",))
    with pytest.raises(InvalidRequest, match="duration_s=0: must be above 0"):
        Settings(duration_s=0.0)


def test_files_are_listed_with_their_checksums(pair):
    files = open_set(pair[0]).files
    assert all(isinstance(file, ClipFile) and len(file.sha256) == 64 for file in files)
    assert [file.name for file in files] == [f"{number:02d}" for number in range(24)]
