"""Audio files that cannot be tokenized: they are named, affect no other clip, and are added once they are repaired."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from descant.audio import Clip, read_samples
from descant.data.clip_features import FeatureKind, add_features, read_features
from descant.data.manifest import ClipRecord
from descant.data.shards import read_shard, shard_path
from descant.data.token_dataset import TokenBatchConfig, TokenBatches
from descant.data.tokenize import tokenize
from descant.errors import AudioError
from tests.data.fake_codec import FakeCodec, contents, files_of, saved


def test_an_unreadable_file_affects_no_other_clip_and_is_added_once_repaired(records, tmp_path):
    """Once the run ended at such a file, and the folder was refused for ever after the set was scanned again."""
    sound = records[4].path.read_bytes()
    records[4].path.write_bytes(sound[:200])
    with pytest.raises(AudioError, match=r"4\.wav.*codes of all other clips are written"):
        tokenize(records, FakeCodec(), tmp_path / "codes", shard_clips=3)
    assert "clips.jsonl" not in files_of(tmp_path / "codes")
    records[4].path.write_bytes(sound)
    codec = FakeCodec()
    tokenize(records, codec, tmp_path / "codes", shard_clips=3)
    assert codec.frames_seen == 50 * 2
    tokenize(records, FakeCodec(), tmp_path / "whole", shard_clips=3)
    assert contents(tmp_path / "codes") == contents(tmp_path / "whole")


def test_broken_clips_can_be_left_out_and_are_tried_again(records, tmp_path):
    sounds = {index: records[index].path.read_bytes() for index in (0, 4)}
    for index in sounds:
        records[index].path.write_bytes(sounds[index][:200])
    for _ in range(2):
        names, reasons = [], []

        def skip(record, reason, names=names, reasons=reasons):
            names.append(record.path.name)
            reasons.append(reason)

        tokenize(records, FakeCodec(), tmp_path / "codes", shard_clips=3, skip=skip)
        assert names == ["0.wav", "4.wav"]
        assert all(name in reason for name, reason in zip(names, reasons, strict=True))
    good = [record for record in records if record not in (records[0], records[4])]
    assert len(TokenBatches(tmp_path / "codes", TokenBatchConfig()).clips) == len(good) - 1
    with pytest.raises(AudioError, match=r"0\.wav"):
        tokenize(records, FakeCodec(), tmp_path / "codes", shard_clips=3)
    for index in sounds:
        records[index].path.write_bytes(sounds[index])
    tokenize(records, FakeCodec(), tmp_path / "codes", shard_clips=3)
    tokenize(records, FakeCodec(), tmp_path / "whole", shard_clips=3)
    assert contents(tmp_path / "codes") == contents(tmp_path / "whole")


def test_a_shard_without_a_broken_clip_is_that_of_a_set_that_never_had_it(tmp_path):
    records = [saved(tmp_path / "audio" / f"{index}.wav", 1.0, seed=index) for index in range(6)]
    records[2].path.write_bytes(records[2].path.read_bytes()[:200])
    tokenize(records, FakeCodec(), tmp_path / "left", batch_size=2, skip=lambda *_: None)
    tokenize([*records[:2], *records[3:]], FakeCodec(), tmp_path / "never", batch_size=2)
    left, never = (shard_path(tmp_path / name, 0).read_bytes() for name in ("left", "never"))
    assert left == never


def test_if_no_clip_can_be_read_the_error_says_so(tmp_path):
    records = [saved(tmp_path / "audio" / f"{index}.wav", 1.0) for index in range(2)]
    for record in records:
        record.path.unlink()
    for shard_clips in (1, 2):
        with pytest.raises(AudioError, match="none of all 2 clips"):
            tokenize(records, FakeCodec(), tmp_path / f"{shard_clips}", shard_clips=shard_clips, skip=lambda *_: None)


def test_broken_clips_affect_no_other_and_are_added_once_repaired(records, tmp_path):
    sounds = {record.path: record.path.read_bytes() for record in records[:3]}
    for path, content in sounds.items():
        path.write_bytes(content[:200])
    names = []
    tokenize(
        records, FakeCodec(), tmp_path / "codes", shard_clips=3, skip=lambda record, _: names.append(record.path.name)
    )
    assert names == ["0.wav", "1.wav", "2.wav"]
    assert [len(read_shard(shard_path(tmp_path / "codes", number)).clips) for number in range(2)] == [3, 2]
    kind = FeatureKind("lengths", "make lengths", torch.uint8, 2, {})
    add_features(tmp_path / "codes", FakeCodec(), kind, partial(map, lambda codes: torch.full((codes.shape[2], 2), 7)))
    rows = [
        read_features(tmp_path / "codes", number, read_shard(shard_path(tmp_path / "codes", number)), kind)
        for number in range(2)
    ]
    assert [len(of_shard) for of_shard in rows] == [3, 2]
    broken = TokenBatches(tmp_path / "codes", TokenBatchConfig())
    assert len(broken.clips) == 4
    for path, content in sounds.items():
        path.write_bytes(content)
    tokenize(records, FakeCodec(), tmp_path / "codes", shard_clips=3, skip=lambda *_: None)
    repaired = TokenBatches(tmp_path / "codes", TokenBatchConfig())
    assert len(repaired.clips) == 7
    # Training checks this before it continues: the index is the same, but the clips are not.
    assert repaired.index == broken.index
    assert repaired.identity != broken.identity
    assert repaired.identity == TokenBatches(tmp_path / "codes", TokenBatchConfig()).identity


def test_a_file_found_broken_while_reading_affects_only_its_own_batch(tmp_path, monkeypatch):
    records = [saved(tmp_path / "audio" / f"{index}.wav", 1.0, seed=index) for index in range(7)]

    def read(path, *place):
        if path.name in ("4.wav", "5.wav"):
            raise AudioError(f"{path.name} is broken")
        return read_samples(path, *place)

    monkeypatch.setattr("descant.data.encode_clips.read_samples", read)
    codec, names = FakeCodec(), []
    tokenize(records, codec, tmp_path / "left", batch_size=2, skip=lambda record, _: names.append(record.path.name))
    assert names == ["4.wav", "5.wav"]
    assert codec.frames_seen == 5 * 50
    tokenize([*records[:4], records[6]], FakeCodec(), tmp_path / "never", batch_size=2)
    left, never = (shard_path(tmp_path / name, 0).read_bytes() for name in ("left", "never"))
    assert left == never


def test_a_file_with_other_channels_than_the_manifest_says_is_not_tokenized(tmp_path):
    record = replace(saved(tmp_path / "audio" / "a.wav", 1.0), num_channels=2)
    with pytest.raises(AudioError, match="put the file back, or scan the folder again"):
        tokenize([record], FakeCodec(), tmp_path / "codes")


def test_a_clip_of_one_sample_is_named(tmp_path):
    """Once it passed scan and check, and ended tokenize with "range() arg 3 must not be zero"."""
    Clip(torch.ones(1, 1), 96_000).save(tmp_path / "one.wav")
    record = ClipRecord(path=tmp_path / "one.wav", duration_s=1 / 96_000, sample_rate_hz=96_000, num_channels=1)
    with pytest.raises(AudioError, match=r"one\.wav.*too short: 1 samples"):
        tokenize([record], FakeCodec(), tmp_path / "codes")
