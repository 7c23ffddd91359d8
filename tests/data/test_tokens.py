"""Tokenizing, shards and batches of codes: three files of one format."""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from descant.audio import Clip, read_samples
from descant.codec.spec import codec_spec
from descant.conditioning.chords import crop_chords, parse_chords
from descant.data.captions import CaptionConfig
from descant.data.clip_conditions import chords_condition
from descant.data.clip_features import FeatureKind, add_features, read_features
from descant.data.corpus import read_corpus
from descant.data.fixed_crops import fixed_crops
from descant.data.manifest import ClipRecord
from descant.data.shards import StoredClip, TokenizedClip, read_shard, shard_path, write_shard
from descant.data.token_dataset import TokenBatchConfig, TokenBatches
from descant.data.tokenize import tokenize
from descant.errors import AudioError, ConfigError, DataError, InvalidRequest
from tests.data.fake_codec import FakeCodec, contents, saved

PLAIN = CaptionConfig(merge_probability=0.0, word_dropout=0.0)


@pytest.fixture
def records(tmp_path):
    folder = tmp_path / "audio"
    return [
        saved(folder / f"{index}.wav", 1.0 + index % 3, seed=index, captions=(f"clip {index}",), tags={"bpm": index})
        for index in range(7)
    ] + [saved(folder / "valid.wav", 1.005, seed=9, split="valid")]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_interrupted_run_that_continues_equals_an_uninterrupted_one(records, tmp_path):
    class PulledPlug(Exception):
        pass

    def pull(done: int, _: int) -> None:
        if done == 6:
            raise PulledPlug

    with pytest.raises(PulledPlug):
        tokenize(records, FakeCodec(), tmp_path / "cut", shard_clips=3, progress=pull)
    assert sorted(files_of(tmp_path / "cut")) == ["audio.jsonl", "index.json"] + [
        f"shard-0000{n}.safetensors" for n in (0, 1)
    ]
    resumed = FakeCodec()
    tokenize(records, resumed, tmp_path / "cut", shard_clips=3)
    tokenize(records, FakeCodec(), tmp_path / "whole", shard_clips=3)
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")
    assert resumed.frames_seen == 50 + 51


def test_shards_hold_what_the_codec_gives_for_each_clip(records, tmp_path):
    codec = FakeCodec()
    tokenize(records, codec, tmp_path / "codes", shard_clips=5, batch_size=2)
    corpus = read_corpus(tmp_path / "codes")
    assert [len(shard.clips) for shard in corpus.shards.values()] == [5, 3]
    assert [clip.id for clip in corpus.clips] == [record.path.name for record in records]
    for number, (record, clip) in enumerate(zip(records, corpus.clips, strict=True)):
        alone = codec.encode(Clip.read(record.path).samples[None])[0]
        assert torch.equal(corpus.codes(number).long(), alone)
        assert clip.num_frames == alone.shape[1]
        assert (clip.captions, clip.tags, clip.split) == (record.captions, record.tags, record.split)


@pytest.mark.parametrize("rate_hz", [1000, 2000, 1050])
def test_windows_give_the_codes_of_the_whole(tmp_path, rate_hz):
    long = saved(tmp_path / "audio" / "long.wav", 9.33, rate_hz)
    tokenize([long], FakeCodec(), tmp_path / "whole")
    windowed = FakeCodec()
    tokenize([long], windowed, tmp_path / "windows", window_s=2.0)
    whole, windows = (read_shard(shard_path(tmp_path / name, 0)).codes for name in ("whole", "windows"))
    assert windowed.frames_seen > 467
    assert whole.shape == windows.shape == (2, 467)
    assert (whole - windows).abs().max() <= (0 if rate_hz == 1000 else 1)


def test_another_decoder_changes_nothing_and_another_codec_or_window_is_refused(records, tmp_path):
    codec = FakeCodec()
    tokenize(records, codec, tmp_path / "codes")
    before = files_of(tmp_path / "codes")
    torch.nn.init.ones_(codec.decoder.weight)
    assert tokenize(records, codec, tmp_path / "codes").num_encoded == 0
    assert files_of(tmp_path / "codes") == before
    with pytest.raises(DataError, match="another window_s:"):
        tokenize(records, codec, tmp_path / "codes", window_s=2.0)
    torch.nn.init.ones_(codec.encoder.weight)
    with pytest.raises(DataError, match="another codec:"):
        tokenize(records, codec, tmp_path / "codes")
    with pytest.raises(DataError, match="not a folder of shards"):
        tokenize(records, codec, tmp_path / "audio")
    assert files_of(tmp_path / "codes") == before


def test_what_cannot_be_tokenized_is_an_error(records, tmp_path):
    with pytest.raises(InvalidRequest, match=r"codec\.eval"):
        tokenize(records, FakeCodec().train(), tmp_path / "codes")
    with pytest.raises(ConfigError, match="shard_clips=0"):
        tokenize(records, FakeCodec(), tmp_path / "codes", shard_clips=0)
    with pytest.raises(DataError, match="no clips"):
        tokenize([], FakeCodec(), tmp_path / "codes")
    records[3].path.write_bytes(b"not audio")
    with pytest.raises(AudioError, match=r"3\.wav"):
        tokenize(records, FakeCodec(), tmp_path / "codes")
    with pytest.raises(DataError, match="tokenize again"):
        TokenBatches(tmp_path / "codes", TokenBatchConfig())


def test_a_shard_written_then_read_is_the_same(tmp_path):
    codes = torch.randint(0, 2048, (4, 30)).short()
    clips = (
        StoredClip(audio="a\nb é", start_frame=0, num_frames=10),
        StoredClip(audio="c", start_frame=10, num_frames=20),
    )
    write_shard(tmp_path / "a", clips, codes)
    write_shard(tmp_path / "b", clips, codes.clone())
    shard = read_shard(tmp_path / "a")
    assert torch.equal(shard.codes, codes)
    assert shard.clips == clips
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_torn_or_flipped_shard_is_named(tmp_path):
    clip = StoredClip(audio="a", start_frame=0, num_frames=30)
    path = tmp_path / "shard"
    codes = torch.randint(0, 2048, (4, 30)).short()
    write_shard(path, [clip], codes)
    whole = path.read_bytes()
    broken = [whole[:size] for size in range(0, len(whole), 16)]
    for position in range(0, len(whole), 7):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        broken.append(bytes(flipped))
    for content in broken:
        path.write_bytes(content)
        # A flip in the header may hit an unused byte: then the shard is unchanged.
        try:
            shard = read_shard(path)
        except DataError as error:
            assert "shard" in str(error)  # noqa: PT017
        else:
            assert torch.equal(shard.codes, codes)
            assert shard.clips == (clip,)


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


def test_a_codec_spec_depends_on_what_determines_its_codes():
    codec = FakeCodec()
    before = codec_spec(codec)
    assert before == codec_spec(FakeCodec())
    torch.nn.init.ones_(codec.decoder.bias)
    assert codec_spec(codec) == before
    torch.nn.init.ones_(codec.encoder.bias)
    assert codec_spec(codec).fingerprint != before.fingerprint


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
    add_features(tmp_path / "codes", FakeCodec(), kind, lambda codes: torch.full((codes.shape[2], 2), 7))
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


def test_two_processes_do_not_write_shards_into_one_folder(records, tmp_path):
    def second(*_):
        with pytest.raises(InvalidRequest, match="in use by process"):
            tokenize(records, FakeCodec(), tmp_path / "codes")

    tokenize(records, FakeCodec(), tmp_path / "codes", progress=second)


def test_leftovers_of_a_killed_run_in_a_new_folder_are_ignored(records, tmp_path):
    (tmp_path / "codes").mkdir()
    (tmp_path / "codes" / ".descant-0123.part").write_bytes(b"half an index")
    tokenize(records, FakeCodec(), tmp_path / "codes")


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
