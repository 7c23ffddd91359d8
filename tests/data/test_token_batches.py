"""Batches of codes: crops of tokenized clips, drawn by seed and step, or fixed for validation."""

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch

from descant.conditioning.chords import crop_chords, parse_chords
from descant.data.captions import CaptionConfig
from descant.data.clip_conditions import chords_condition
from descant.data.corpus import read_corpus
from descant.data.fixed_crops import fixed_crops
from descant.data.shards import TokenizedClip, shard_path
from descant.data.token_dataset import TokenBatchConfig, TokenBatches
from descant.data.tokenize import tokenize
from descant.errors import ConfigError, DataError
from tests.data.fake_codec import FakeCodec

PLAIN = CaptionConfig(merge_probability=0.0, word_dropout=0.0)


@pytest.fixture
def folder(records, tmp_path):
    tokenize(records, FakeCodec(), tmp_path / "codes", shard_clips=3)
    return tmp_path / "codes"


def test_a_batch_is_a_function_of_seed_and_step(folder):
    config = TokenBatchConfig(batch_size=3, segment_frames=20)
    first, second = TokenBatches(folder, config), TokenBatches(folder, config)
    other = TokenBatches(folder, replace(config, seed=1))
    late, early = first.batch(5), second.batch(2)
    again = second.batch(5)
    assert torch.equal(late.codes, again.codes)
    assert (late.captions, late.clips) == (again.captions, again.clips)
    assert not torch.equal(late.codes, early.codes)
    assert not torch.equal(late.codes, other.batch(5).codes)


def test_one_clip_is_cropped_elsewhere_at_every_step_and_seed(folder):
    config = TokenBatchConfig(batch_size=1, segment_frames=5, split="valid")
    crops = [TokenBatches(folder, replace(config, seed=seed)).batch(step).codes for seed in (0, 1) for step in (0, 1)]
    assert len({codes.numpy().tobytes() for codes in crops}) == 4


def test_every_crop_is_a_slice_of_its_clip_with_its_caption(folder):
    batches = TokenBatches(folder, TokenBatchConfig(batch_size=4, segment_frames=60, captions=PLAIN))
    whole = TokenBatches(folder, TokenBatchConfig(batch_size=7, segment_frames=150)).fixed_batches()[0]
    clips = {clip.id: row[:, mask] for clip, row, mask in zip(whole.clips, whole.codes, whole.frame_mask, strict=True)}
    for step in range(4):
        batch = batches.batch(step)
        for codes, mask, clip, text in zip(batch.codes, batch.frame_mask, batch.clips, batch.captions, strict=True):
            assert text == f"clip {clip.tags['bpm']}"
            assert mask.sum() == min(60, clip.num_frames)
            windows = clips[clip.id].unfold(1, int(mask.sum()), 1)
            assert any(torch.equal(codes[:, mask], windows[:, place]) for place in range(windows.shape[1]))
            assert not codes[:, ~mask].any()


def test_every_second_batch_is_of_short_crops_and_holds_as_many_frames(folder):
    config = TokenBatchConfig(batch_size=3, segment_frames=60, captions=PLAIN)
    mixed, plain = TokenBatches(folder, replace(config, short_frames=20)), TokenBatches(folder, config)
    for step in range(3):
        assert torch.equal(mixed.batch(2 * step).codes, plain.batch(step).codes)
        assert mixed.batch(2 * step + 1).codes.shape == (9, *plain.batch(step).codes.shape[1:2], 20)
    crops = [codes for step in (1, 3, 5) for codes in mixed.batch(step).codes]
    assert len({codes.numpy().tobytes() for codes in crops}) == len(crops)
    for wrong in (-1, 60):
        with pytest.raises(ConfigError, match="short_frames"):
            replace(config, short_frames=wrong)


def test_a_crop_has_the_number_of_beats_before_it(folder):
    batches = TokenBatches(folder, TokenBatchConfig(batch_size=7, segment_frames=20))
    rate_hz = batches.index.codec.sample_rate_hz / batches.index.codec.hop_samples
    whole = TokenBatches(folder, TokenBatchConfig(batch_size=7, segment_frames=150)).fixed_batches()[0]
    clips = {clip.id: codes for clip, codes in zip(whole.clips, whole.codes, strict=True)}
    assert not whole.first_beats.any()
    batch = batches.batch(1)
    assert batch.first_beats.unique().numel() > 3
    for codes, clip, beats in zip(batch.codes, batch.clips, batch.first_beats.tolist(), strict=True):
        offset = round(beats * 60 / clip.tags["bpm"] * rate_hz)
        assert torch.equal(clips[clip.id][:, offset : offset + 20], codes)


@pytest.mark.parametrize(
    ("tags", "beats"),
    [
        ({"bpm": 90}, 1.5),
        ({"bpm": "90"}, 1.5),
        ({"bpm": 90.0, "first_beat_s": 0.4}, 0.9),
        ({"bpm": 90, "first_beat_s": "late"}, None),
        ({"bpm": "about 90"}, None),
        ({"bpm": [90, 180]}, None),
        ({}, None),
    ],
)
def test_beats_are_counted_if_the_tags_have_a_tempo(folder, tags, beats):
    batches = TokenBatches(folder, TokenBatchConfig(batch_size=1, segment_frames=20))
    clip = TokenizedClip(id="a", start_frame=0, num_frames=100, split="train", tags=tags)
    counted = batches._beats_before(clip, 50)
    assert math.isnan(counted) if beats is None else counted == pytest.approx(beats)


def test_an_epoch_visits_every_clip_by_its_length(folder):
    batches = TokenBatches(folder, TokenBatchConfig(batch_size=13, segment_frames=50))
    for epoch in range(3):
        visits = Counter(clip.id for clip in batches.batch(epoch).clips)
        assert visits == {clip.id: clip.num_frames // 50 for clip in batches.clips}
    assert batches.batch(0).clips != batches.batch(1).clips


def test_fixed_batches_cover_all_of_every_clip_and_never_change(folder):
    """They once were the starts of the first clips."""
    batches = TokenBatches(folder, TokenBatchConfig(batch_size=3, segment_frames=50))
    seen, again = batches.fixed_batches(), batches.fixed_batches()
    assert all(torch.equal(first.codes, second.codes) for first, second in zip(seen, again, strict=True))
    clips = [clip for batch in seen for clip in batch.clips]
    assert Counter(clip.id for clip in clips) == {clip.id: clip.num_frames // 50 for clip in batches.clips}
    assert [text for batch in seen for text in batch.captions] == [clip.captions[0] for clip in clips]
    assert any(batch.first_beats.any() for batch in seen)
    whole = TokenBatches(folder, TokenBatchConfig(batch_size=7, segment_frames=150)).fixed_batches()[0]
    of_clip = {
        clip.id: codes[:, mask] for clip, codes, mask in zip(whole.clips, whole.codes, whole.frame_mask, strict=True)
    }
    for clip, codes in zip(clips, torch.cat([batch.codes for batch in seen]), strict=True):
        assert (of_clip[clip.id].unfold(1, 50, 1) == codes[:, None]).all(dim=2).all(dim=0).any()


def test_every_clip_has_a_fixed_crop_before_one_has_two():
    lengths = [100, 400, 20, 250]
    whole = fixed_crops("abcd", lengths, 50, seed=1)
    assert Counter(clip for clip, _ in whole) == {0: 2, 1: 8, 2: 1, 3: 5}
    for clip, length in enumerate(lengths):
        count = max(1, length // 50)
        starts = sorted(start for crop, start in whole if crop == clip)
        parts = [max(0, length - 50) * part / count for part in range(count + 1)]
        assert all(low - 1 <= start <= high + 1 for start, low, high in zip(starts, parts, parts[1:], strict=False))
    for most in (1, 3, 4, 7, 12, 16):
        some = fixed_crops("abcd", lengths, 50, seed=1, most=most)
        assert len(some) == most
        assert set(some) <= set(whole)
        assert len({clip for clip, _ in some}) == min(4, most)
    assert fixed_crops("abcd", lengths, 50, seed=2) != whole
    alone = {start for clip, start in fixed_crops("b", [400], 50, seed=1)}
    assert alone == {start for clip, start in whole if clip == 1}, "another clip moves no crop of this one"
    with pytest.raises(ConfigError, match="num_validation_batches"):
        fixed_crops("a", [100], 50, seed=1, most=0)


def test_splits_are_kept_apart(folder):
    valid = TokenBatches(folder, TokenBatchConfig(batch_size=2, segment_frames=50, split="valid"))
    assert [clip.id for clip in valid.clips] == ["valid.wav"]
    assert valid.fixed_batches()[0].captions[0] is None
    assert valid.batch(3).captions == [None, None]


def test_a_folder_without_its_split_or_a_shard_says_so(folder, records, tmp_path):
    tokenize(records[:2], FakeCodec(), tmp_path / "train only")
    with pytest.raises(DataError, match="split 'valid'"):
        TokenBatches(tmp_path / "train only", TokenBatchConfig(split="valid"))
    shard_path(folder, 1).unlink()
    with pytest.raises(DataError, match=r"no codes of 3 of its 8 clips, first '3\.wav': tokenize again"):
        TokenBatches(folder, TokenBatchConfig())
    with pytest.raises(DataError, match="not a folder of shards"):
        TokenBatches(tmp_path / "nowhere", TokenBatchConfig())


def test_chords_in_a_clips_tags_are_cropped_with_its_codes(records, tmp_path):
    tagged = [replace(record, tags={"chords": "C:0 G:0.5 Am:0.9"}) for record in records[:3]] + records[3:]
    tokenize(tagged, FakeCodec(), tmp_path / "codes")
    config = TokenBatchConfig(batch_size=16, segment_frames=20)
    corpus = read_corpus(tmp_path / "codes")
    batch = TokenBatches(corpus, config, [chords_condition()]).batch(1)
    whole = {clip.id: corpus.codes(number) for number, clip in enumerate(corpus.clips)}
    cropped = set()
    for row, codes, clip in zip(batch.conditions, batch.codes, batch.clips, strict=True):
        assert ("chords" in row) == ("chords" in clip.tags)
        if "chords" in row:
            starts = range(clip.num_frames - 19)
            (offset,) = (at for at in starts if torch.equal(whole[clip.id][:, at : at + 20].long(), codes))
            assert row["chords"] == crop_chords(parse_chords(clip.tags["chords"]), offset / 50)
            cropped.add(offset)
    assert len(cropped) > 2


def test_clips_whose_chords_cannot_be_read_are_named_and_trained_without(records, tmp_path, caplog):
    """Once a single mistyped chord ended the run."""
    wrong = [replace(record, tags={"chords": "H:0"}) for record in records[:6]]
    tokenize([*wrong, replace(records[6], tags={"chords": "C:0"}), records[7]], FakeCodec(), tmp_path / "codes")
    batches = TokenBatches(tmp_path / "codes", TokenBatchConfig(batch_size=8), [chords_condition()])
    rows = {clip.id: row for clip, row in zip(batches.batch(0).clips, batches.batch(0).conditions, strict=True)}
    assert {name for name, row in rows.items() if "chords" in row} == {"6.wav"}
    (record,) = caplog.records
    assert "6 of 7 clips have no usable chords and are trained without: clip '0.wav': " in record.getMessage()
    assert record.getMessage().endswith("and 1 more")
