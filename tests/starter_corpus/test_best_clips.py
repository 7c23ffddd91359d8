"""A round of expert iteration: the judge prefers what was asked for, and the best clips are written as codes."""

import json
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest
import torch

import descant
from descant.audio import Clip
from descant.data.corpus import read_corpus
from descant.data.manifest import ClipRecord, write_manifest
from descant.data.tokenize import tokenize
from descant.errors import DataError
from descant.tempo_key import TempoKey
from starter_corpus import expert
from starter_corpus.judge import MIN_CLIPS, FamilyClassifier, Judge, load_embedder, mean_vector

RATE_HZ = 32_000


def chord(pitches_hz, duration_s=10.0, gap_s=0.5):
    """The chord, struck anew after each gap."""
    times = np.arange(int(duration_s * RATE_HZ)) / RATE_HZ
    wave = sum(np.sin(2 * np.pi * hz * times) for hz in pitches_hz) * np.exp(-4 * (times % gap_s))
    return Clip(torch.from_numpy(0.1 * wave).float()[None], RATE_HZ)


def test_the_classifier_knows_families_and_leaves_out_those_that_are_rare_or_always_there():
    generator = torch.Generator().manual_seed(0)
    playing = [{"drums"} | ({"piano"} if number % 2 else {"flute"}) for number in range(60)]
    playing[0] = playing[0] | {"harp"}
    vectors = torch.randn(60, 8, generator=generator)
    vectors[:, 0] += torch.tensor([5.0 if "piano" in one else -5.0 for one in playing])
    classifier = FamilyClassifier.fit(vectors, playing)
    assert classifier.families == ("flute", "piano")
    found = [classifier.probabilities(vector) for vector in vectors]
    right = [(one["piano"] > 0.5) == ("piano" in families) for one, families in zip(found, playing, strict=True)]
    assert sum(right) >= 58
    assert MIN_CLIPS < 30


@pytest.fixture(scope="module")
def judge():
    pytest.importorskip("musicnn", reason="needs musicnn's weights")
    pytest.importorskip("librosa", reason="librosa")
    low, high = chord((110, 165)), chord((1_760, 2_640))
    generator = torch.Generator().manual_seed(0)
    noisy = [
        (Clip(clip.samples + 0.001 * torch.randn(1, len(clip), generator=generator), RATE_HZ), {family})
        for _ in range(MIN_CLIPS)
        for clip, family in ((low, "bass"), (high, "bells"))
    ]
    embedder = load_embedder()
    vectors = torch.stack([mean_vector(embedder, clip) for clip, _ in noisy])
    return Judge(embedder, FamilyClassifier.fit(vectors, [families for _, families in noisy]))


@pytest.mark.parametrize(
    ("asked", "other"),
    [
        ((TempoKey(bpm=120.0), set()), (TempoKey(bpm=95.0), set())),
        ((TempoKey().with_key(0), set()), (TempoKey().with_key(6), set())),
        ((TempoKey(), {"bells"}), (TempoKey(), {"bass"})),
    ],
    ids=["tempo", "key", "instrument"],
)
def test_the_judge_prefers_what_was_asked_for(judge, asked, other):
    clip = chord((1_046.5, 1_318.5, 1_568.0) if asked[0] != TempoKey() else (1_760, 2_640))
    assert judge.score(clip, *asked) > judge.score(clip, *other) + 0.1


@pytest.fixture
def corpus(tmp_path):
    """The manifest and the codes of four clips, one of them held out."""
    records = []
    for number in range(4):
        clip = chord((220 * (number + 1),), duration_s=2.0)
        clip.save(tmp_path / f"{number}.wav")
        record = ClipRecord(path=tmp_path / f"{number}.wav", duration_s=2.0, sample_rate_hz=RATE_HZ, num_channels=1)
        tags = {"source": f"song {number}", "instrument": ["piano"]}
        records.append(replace(record, captions=("slow piano",), tags=tags, split="valid" if number == 3 else "train"))
    write_manifest(tmp_path / "manifest.jsonl", records)
    tokenize(records, descant.load("tiny").model.codec, tmp_path / "tokens", root=tmp_path)
    return tmp_path


class _Instant:
    """In the place of processes: scores by the loudness of clips."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def submit(self, _, samples, *__):
        done = Future()
        done.set_result(float(samples.abs().mean()))
        return done


@pytest.fixture
def music(monkeypatch):
    """The model; its clips are judged at once, by their loudness."""
    monkeypatch.setattr(expert, "process_pool", lambda *_, **__: _Instant())
    deaf = FamilyClassifier((), *(torch.zeros(8),) * 2, torch.zeros(0, 8), torch.zeros(0))
    monkeypatch.setattr(expert, "fitted_classifier", lambda *_: deaf)
    monkeypatch.setattr(expert, "DURATION_S", 0.3)
    loaded = descant.load("tiny")
    monkeypatch.setattr(expert.api, "load", lambda _: loaded)
    return loaded


def test_the_best_clips_become_half_of_the_training_set(corpus, music, monkeypatch):
    kept = []
    generate = music.generate

    def remembered(requests):
        clips = generate(requests)
        kept.append(max(clips, key=lambda clip: float(clip.samples.abs().mean())))
        return clips

    monkeypatch.setattr(music, "generate", remembered)
    out, tokens = corpus / "out", corpus / "tokens"
    found = expert.choose("tiny", corpus / "manifest.jsonl", tokens, out, 2, progress=lambda _: None)
    assert found["clips"] == 2
    assert found["score"] > found["mean_score"]
    before, after = read_corpus(tokens), read_corpus(out)
    chosen = [number for number, clip in enumerate(after.clips) if clip.id.startswith("chosen/")]
    share = sum(after.clips[number].num_frames for number in chosen)
    others = sum(clip.num_frames for clip in before.clips if clip.split == "train")
    assert share == pytest.approx(others, rel=0.2)
    assert {clip.id for clip in before.clips} < {clip.id for clip in after.clips}
    codes = [after.codes(number).long() for number in chosen]
    assert all(any(torch.equal(one, clip.codes) for one in codes) for clip in kept)
    assert {after.clips[number].split for number in chosen} == {"train"}
    with pytest.raises(DataError, match="exists"):
        expert.choose("tiny", corpus / "manifest.jsonl", tokens, out, 2)


def test_a_run_that_was_stopped_goes_on_and_chooses_the_same_clips(corpus, music, monkeypatch):
    manifest, tokens = corpus / "manifest.jsonl", corpus / "tokens"
    whole = expert.choose("tiny", manifest, tokens, corpus / "whole", 3, progress=lambda _: None)
    captions, generate = [], music.generate

    def stopped_at_the_third(requests):
        captions.append(requests[0].text)
        if len(captions) == 3:
            raise KeyboardInterrupt
        return generate(requests)

    # A clip is saved while those of the next caption are judged: the second is lost with the third.
    monkeypatch.setattr(music, "generate", stopped_at_the_third)
    out = corpus / "out"
    with pytest.raises(KeyboardInterrupt):
        expert.choose("tiny", manifest, tokens, out, 3, progress=lambda _: None)
    assert not out.exists()
    with pytest.raises(DataError, match="other weights, another manifest or seed"):
        expert.choose("tiny", manifest, tokens, out, 3, seed=1, progress=lambda _: None)
    assert expert.choose("tiny", manifest, tokens, out, 3, progress=lambda _: None) == whole
    assert len(captions) == 5
    chosen, expected = read_corpus(out), read_corpus(corpus / "whole")
    assert [clip.id for clip in chosen.clips] == [clip.id for clip in expected.clips]
    numbers = range(len(chosen.clips))
    assert all(torch.equal(chosen.codes(number), expected.codes(number)) for number in numbers)
    assert not out.with_name("out.part").exists()


def test_tags_of_chosen_clips_are_what_was_chosen_for_them():
    clips = descant.load("tiny").generate(["slow piano"] * 2, duration_s=0.2)
    for clip, (tempo, key) in zip(clips, ((None, None), (90.0, "A minor")), strict=True):
        clip.info.update(tempo=tempo, key=key)
    assert json.dumps(expert._best(clips, [1.0, 0.0]).tags) == '{"first_beat_s": 0.0}'
    assert expert._best(clips, [0.0, 1.0]).tags == {"first_beat_s": 0.0, "bpm": 90.0, "key": "A minor"}
