"""Metrics of single clips on music whose content is known, and copies of a training set."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from descant import api
from descant.audio import Clip
from descant.codec.spec import codec_spec
from descant.data.clip_table import ClipRow, write_table
from descant.data.shard_index import ShardIndex, write_index
from descant.data.shards import StoredClip, shard_path, write_shard
from descant.errors import InvalidRequest
from descant.studies.evaluation.base import Asked, Training
from descant.studies.evaluation.choice import Choice, Settings
from descant.studies.evaluation.evaluate import evaluate
from descant.studies.evaluation.metrics.agreement import Chords, Key, MelodyCosine, Tempo
from descant.studies.evaluation.metrics.movement import MusicMoves
from descant.studies.evaluation.sets import open_set
from descant.tempo_key import parse_tempo_key
from tests.evaluation.tones import clip_of, pattern, sequence

CHORDS = [(60, 64, 67), (65, 69, 72), (67, 71, 74), (60, 64, 67)]


@pytest.fixture(scope="module")
def progression() -> Clip:
    pytest.importorskip("librosa", reason="librosa is not installed")
    return clip_of(sequence(CHORDS, 2.0))


def test_a_clip_scores_higher_for_what_it_plays(progression):
    beats = clip_of(pattern((0, 0.25, 0.5, 0.75), 2.0, 10.0))
    tempo = Tempo()
    assert tempo.measure(beats, Asked(text="drums, 120 bpm"))["tempo"] == 1
    assert tempo.measure(beats, Asked(text="drums, 90 bpm"))["tempo"] == 0
    assert tempo.measure(beats, Asked(text="drums"))["tempo"] is None
    key = Key()
    assert key.measure(progression, Asked(text="piano in C major"))["key"] == 1
    assert key.measure(progression, Asked(text="piano in Eb minor"))["key"] == 0
    chords = Chords()
    right, wrong = (chords.measure(progression, Asked(chords=text))["chords"] for text in RIGHT_AND_WRONG)
    assert right is not None
    assert wrong is not None
    assert right > 0.8 > 0.2 > wrong
    assert chords.measure(progression, Asked(text="piano"))["chords"] is None


RIGHT_AND_WRONG = ("C:0 F:2 G:4 C:6", "F#m:0 Ebm:2 C#m:4 F#m:6")


def test_a_clip_follows_its_own_melody(progression, tmp_path):
    progression.save(tmp_path / "melody.wav")
    clip_of(sequence([61, 66, 68, 63], 2.0)).save(tmp_path / "other.wav")
    melody = MelodyCosine()
    assert melody.measure(progression, Asked(melody=tmp_path / "melody.wav"))["chroma"] > 0.95
    assert melody.measure(progression, Asked(melody=tmp_path / "other.wav"))["chroma"] < 0.3
    assert melody.measure(progression, Asked())["chroma"] is None


def test_silence_scores_nothing(progression):
    silence = Clip(torch.zeros_like(progression.samples), progression.sample_rate_hz)
    assert Tempo().measure(silence, Asked(text="120 bpm"))["tempo"] == 0
    assert Key().measure(silence, Asked(text="C major"))["key"] == 0


def test_the_share_of_usual_clips_is_counted_against_the_reference():
    moves = MusicMoves.__new__(MusicMoves)
    reference = [values(onsets=rate, hold=1.0 + rate) for rate in np.linspace(1, 5, 40)]
    generated = [values(onsets=3.0, hold=4.0), values(onsets=3.0, hold=60.0), values(onsets=90.0, hold=None)]
    shares = {measure.key: estimate for measure, estimate in moves.compare(generated, reference).items()}
    assert (shares["onsets_per_second_usual"].value, shares["onsets_per_second_usual"].count) == (2 / 3, 3)
    assert (shares["longest_hold_s_usual"].value, shares["longest_hold_s_usual"].count) == (1 / 2, 2)
    # Nothing in the reference set has it, so nothing can be usual.
    assert set(shares) == {"onsets_per_second_usual", "longest_hold_s_usual"}


def values(onsets: float, hold: float | None) -> dict[str, float | None]:
    return {
        "longest_hold_s": hold,
        "chord_changes_per_minute": None,
        "onsets_per_second": onsets,
        "bar_self_similarity": None,
    }


@pytest.fixture
def training(tmp_path) -> Training:
    """One shard with the codes of the tiny model's codec."""
    spec = codec_spec(api.load("tiny").codec.codec)
    index = ShardIndex(codec=spec, window_s=30.0)
    folder = tmp_path / "shards"
    folder.mkdir()
    write_index(folder, index)
    codes = torch.randint(0, spec.codebook_size, (spec.num_codebooks, 600), generator=torch.Generator().manual_seed(0))
    write_shard(shard_path(folder, 0), [StoredClip(audio="1", start_frame=0, num_frames=600)], codes.to(torch.int16))
    write_table(folder, [ClipRow(id="song", audio="1", split="train")])
    return Training(folder=folder, model="tiny")


def test_a_copy_of_the_training_set_is_found_in_the_codes_next_to_a_clip(training, tmp_path, write):
    from descant.apps.cli.codec import header_of
    from descant.checkpoints.codes import save_codes
    from descant.data.shards import read_shard

    folder = write(tmp_path / "set", 3, seconds=6.0)
    model = api.load("tiny")
    trained = read_shard(shard_path(training.folder, 0)).codes.long()
    copied = trained[:, 100:400].clone()
    partly = copied.clone()
    partly[0, ::8] = (partly[0, ::8] + 1) % model.codec.codec.codebook_size
    for name, codes in (("00", copied), ("01", partly)):
        save_codes(folder / f"{name}.safetensors", codes, header_of(model, 300 * 640))
    found = evaluate(open_set(folder), None, Settings(metrics=("memorisation",), training=training))
    assert found.row("copied").estimate.value == pytest.approx(2 / 3)
    assert found.row("copied_exactly").estimate.value == pytest.approx(1 / 3)
    assert {clip.name: round(clip.values["copied_share"], 2) for clip in found.clips} == {
        "00": 1.0,
        "01": 0.88,
        "02": 0.0,
    }
    assert "memorisation: the codes of 1 clip were encoded again from audio, which hides exact copies" in found.notes


def test_codes_of_another_codec_are_refused(training, tmp_path, write):
    index = training.folder / "index.json"
    stored = json.loads(index.read_text())
    stored["codec"]["fingerprint"] = "another"
    index.write_text(json.dumps(stored))
    with pytest.raises(InvalidRequest, match="of another codec than tiny's"):
        evaluate(
            open_set(write(tmp_path / "set", 2, seconds=6.0)),
            None,
            Settings(metrics=("memorisation",), training=training),
        )


def test_a_chosen_tempo_and_key_are_judged_as_chosen_chords_are(progression, tmp_path):
    """The chords in a file's tags were judged, and its tempo and key were "no clip has a value"."""
    info = {"text": "piano", "tempo": 120.0, "key": "C major", "chords": "C:0 F:2 G:4 C:6"}
    replace(progression, info=info).save(tmp_path / "chosen.wav")
    (file,) = open_set(tmp_path).files
    assert Key().measure(progression, file.asked)["key"] == 1
    assert file.asked.tempo_key == parse_tempo_key("120 bpm, in C major")
    choice = Choice(open_set(tmp_path), None, Settings(metrics=("tempo", "key", "chords")))
    assert [metric.name for metric in choice.metrics] == ["tempo", "key", "chords"]


@pytest.mark.parametrize(
    ("metric", "reason"), [("tempo", "states a tempo"), ("key", "states a key"), ("chords", "no chords are known")]
)
def test_whether_there_is_something_to_judge_is_known_before_the_work(progression, tmp_path, metric, reason):
    replace(progression, info={"text": "piano"}).save(tmp_path / "open.wav")
    with pytest.raises(InvalidRequest, match=f"{metric}: no .*{reason}|{metric}: {reason}"):
        Choice(open_set(tmp_path), None, Settings(metrics=(metric,)))
