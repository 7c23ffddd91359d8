"""Tempo and key of a clip's tags as conditions of its crops."""

from dataclasses import replace

import pytest
import torch

from descant.data.captions import CaptionConfig
from descant.data.token_dataset import TokenBatchConfig, TokenBatches
from descant.data.tokenize import tokenize
from descant.errors import ConfigError
from descant.tempo_key import TempoKey
from tests.data.fake_codec import FakeCodec, saved

PLAIN = CaptionConfig(merge_probability=0.0, word_dropout=0.0)
CONFIG = TokenBatchConfig(batch_size=40, segment_frames=20, captions=PLAIN)


def batches_of(tmp_path, config, *tags):
    clips = [saved(tmp_path / f"{n}.wav", 1.0, seed=n, captions=("music",), tags=own) for n, own in enumerate(tags)]
    held_out = saved(tmp_path / "valid.wav", 1.0, seed=99, split="valid", tags={"bpm": 90.0, "key": "D minor"})
    tokenize([*clips, held_out], FakeCodec(), tmp_path / "codes")
    return TokenBatches(tmp_path / "codes", config)


def test_crops_are_given_what_their_clips_tags_state_in_full(tmp_path):
    stated = {
        TempoKey(bpm=90.0).with_key(14): {"bpm": 90.0, "key": "D minor"},
        TempoKey(bpm=120.0): {"bpm": 120},
        TempoKey().with_key(9): {"bpm": "fast", "key": "A major"},
    }
    nothing = [{}, {"bpm": "about 90", "key": "D minor, A minor"}, {"bpm": 2_000.0, "key": 5}]
    batches = batches_of(tmp_path, replace(CONFIG, tempo_key_probability=1.0), *stated.values(), *nothing)
    expected = {repr(tags): tempo_key for tempo_key, tags in stated.items()}
    batch = batches.batch(0)
    assert {repr(clip.tags) for clip in batch.clips} == {repr(tags) for tags in (*stated.values(), *nothing)}
    for row, clip in zip(batch.conditions, batch.clips, strict=True):
        assert row.get("tempo_key") == expected.get(repr(clip.tags))


def test_the_probability_is_kept_and_changes_nothing_else(tmp_path):
    batches = batches_of(tmp_path, CONFIG, {"bpm": 90.0, "key": "D minor"})
    without = [batches.batch(step) for step in range(10)]
    batches.config = replace(CONFIG, tempo_key_probability=0.7)
    some = [batches.batch(step) for step in range(10)]
    assert not any("tempo_key" in row for batch in without for row in batch.conditions)
    given = [row for batch in some for row in batch.conditions if "tempo_key" in row]
    assert 0.6 < len(given) / 400 < 0.8
    for before, after in zip(without, some, strict=True):
        assert torch.equal(before.codes, after.codes)
        assert before.captions == after.captions
    held_out = replace(batches.config, split="valid")
    fixed = TokenBatches(tmp_path / "codes", held_out).fixed_batches()
    assert not any("tempo_key" in row for batch in fixed for row in batch.conditions)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_refused(wrong):
    with pytest.raises(ConfigError, match="tempo_key_probability"):
        replace(CONFIG, tempo_key_probability=wrong)
