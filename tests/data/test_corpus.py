"""Captions, tags and splits belong to a table, codes to audio: only new or changed audio is ever encoded."""

import json
import os
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from mutagen.flac import FLAC

from descant.data import clip_features
from descant.data.clip_conditions import ClipCondition
from descant.data.clip_features import FeatureKind, add_features
from descant.data.clip_table import read_table
from descant.data.corpus import read_corpus
from descant.data.shards import shard_path
from descant.data.token_dataset import TokenBatchConfig, TokenBatches
from descant.data.tokenize import tokenize
from descant.errors import AudioError, DataError, InvalidRequest
from descant.folder_lock import locked
from tests.data.fake_codec import FakeCodec, contents, saved

LENGTHS = FeatureKind("lengths", "make lengths", torch.uint8, 2, {})
FIRST_VERSION = Path(__file__).parent / "first_version"
"""Codes of five clips, made by version 1 of the format (commit f681a52) as ``first_records`` describes them."""


@pytest.fixture
def records(tmp_path):
    folder = tmp_path / "audio"
    return [
        saved(folder / f"{index}.wav", 1.0 + index % 3, seed=index, captions=(f"clip {index}",), tags={"bpm": index})
        for index in range(6)
    ] + [saved(folder / "valid.wav", 1.005, seed=9, split="valid")]


def first_records(folder):
    return [
        saved(
            folder / f"{index}.wav",
            0.2 + 0.1 * index,
            seed=index,
            captions=(f"clip {index}",),
            tags={"bpm": 90 + index},
            split="valid" if index == 3 else "train",
        )
        for index in range(5)
    ]


def encoded(records, folder, **settings):
    """What tokenizing reports, which must have encoded exactly the new recordings."""
    codec = FakeCodec()
    made = tokenize(records, codec, folder, shard_clips=3, **settings)
    assert (codec.frames_seen == 0) == (made.num_encoded == 0)
    return made


def assert_equals_a_new_one(folder, records, tmp_path):
    """The folder is the training set that tokenizing these clips anew gives: its batches, conditions and identity."""
    new = tmp_path / "new"
    shutil.rmtree(new, ignore_errors=True)
    tokenize(records, FakeCodec(), new, shard_clips=3)
    assert contents(folder) == contents(new)
    assert read_corpus(folder).identity == read_corpus(new).identity
    for split in {record.split for record in records}:
        config = TokenBatchConfig(batch_size=3, segment_frames=20, split=split)
        ours, theirs = TokenBatches(folder, config), TokenBatches(new, config)
        for step in range(3):
            assert torch.equal(ours.batch(step).codes, theirs.batch(step).codes)
            assert ours.batch(step).captions == theirs.batch(step).captions
        assert ours.fixed_batches()[0].captions == theirs.fixed_batches()[0].captions


def test_edited_captions_tags_and_splits_equal_a_new_corpus_and_nothing_is_encoded(records, tmp_path):
    """Once a single corrected caption meant to delete all codes and tokenize everything again."""
    encoded(records, tmp_path / "codes")
    shards = {path: path.read_bytes() for path in (tmp_path / "codes").glob("shard-*")}
    edited = [
        replace(records[0], captions=("other words", "and more")),
        replace(records[1], tags={"genre": "folk"}),
        replace(records[2], split="valid"),
        *records[3:],
    ]
    made = encoded(edited, tmp_path / "codes")
    assert (made.num_encoded, made.num_added, made.num_removed, made.num_described) == (0, 0, 0, 3)
    assert {path: path.read_bytes() for path in (tmp_path / "codes").glob("shard-*")} == shards
    assert_equals_a_new_one(tmp_path / "codes", edited, tmp_path)


def test_added_removed_and_renamed_clips_equal_a_new_corpus_and_only_new_audio_is_encoded(records, tmp_path):
    encoded(records[:4], tmp_path / "codes")
    made = encoded(records, tmp_path / "codes")
    assert (made.num_encoded, made.num_added, made.num_removed) == (3, 3, 0)
    assert_equals_a_new_one(tmp_path / "codes", records, tmp_path)
    (tmp_path / "audio" / "sub").mkdir()
    renamed = replace(records[3], path=records[3].path.rename(tmp_path / "audio" / "sub" / "first.wav"))
    fewer = [saved(tmp_path / "audio" / "00.wav", 1.0, seed=20), renamed, *records[4:]]
    made = encoded(fewer, tmp_path / "codes")
    assert (made.num_encoded, made.num_added, made.num_removed, made.num_described) == (1, 1, 3, 0)
    assert_equals_a_new_one(tmp_path / "codes", fewer, tmp_path)
    # The codes of removed clips are still there.
    restored = [*records[:3], *fewer]
    assert encoded(restored, tmp_path / "codes").num_encoded == 0
    assert_equals_a_new_one(tmp_path / "codes", restored, tmp_path)


def test_changed_audio_is_encoded_again_and_copied_audio_is_not(records, tmp_path):
    encoded(records, tmp_path / "codes")
    saved(records[2].path, 3.0, seed=50)
    os.utime(records[3].path)
    shutil.copy(records[4].path, tmp_path / "audio" / "copy.wav")
    more = [*records, replace(records[4], path=tmp_path / "audio" / "copy.wav", captions=("the same",))]
    made = encoded(more, tmp_path / "codes")
    assert (made.num_encoded, made.num_clips) == (1, 8)
    assert_equals_a_new_one(tmp_path / "codes", more, tmp_path)


def test_tags_that_are_edited_in_a_file_do_not_change_its_audio(tmp_path):
    record = saved(tmp_path / "audio" / "a.flac", 1.0)
    encoded([record], tmp_path / "codes")
    before = record.path.stat().st_size
    file = FLAC(record.path)
    file["comment"] = "a long comment " * 9_000
    file.save()
    assert record.path.stat().st_size != before
    assert encoded([record], tmp_path / "codes").num_encoded == 0


def test_audio_is_read_again_only_if_its_file_has_changed(records, tmp_path, monkeypatch):
    read = []
    original = __import__("descant.data.audio_digests", fromlist=["read_in_blocks"]).read_in_blocks
    monkeypatch.setattr(
        "descant.data.audio_digests.read_in_blocks", lambda path: read.append(path.name) or original(path)
    )
    encoded(records, tmp_path / "codes")
    assert len(read) == 7
    encoded(records, tmp_path / "codes")
    assert len(read) == 7
    os.utime(records[0].path)
    encoded(records, tmp_path / "codes")
    assert read[7:] == ["0.wav"]
    (tmp_path / "codes" / "audio.jsonl").unlink()
    assert encoded(records, tmp_path / "codes").num_encoded == 0
    assert len(read) == 15


def test_a_training_set_that_is_moved_is_not_encoded_again(records, tmp_path):
    encoded(records, tmp_path / "codes")
    shutil.copytree(tmp_path / "audio", tmp_path / "elsewhere")
    moved = [replace(record, path=tmp_path / "elsewhere" / record.path.name) for record in records]
    assert encoded(moved, tmp_path / "codes").num_encoded == 0


def test_names_are_those_below_the_root_and_do_not_depend_on_the_other_clips(records, tmp_path):
    encoded(records, tmp_path / "codes", root=tmp_path)
    (tmp_path / "more").mkdir()
    more = [*records, saved(tmp_path / "more" / "a.wav", 1.0, seed=30)]
    encoded(more, tmp_path / "codes", root=tmp_path)
    assert [row.id for row in read_table(tmp_path / "codes")] == [
        *(f"audio/{record.path.name}" for record in records),
        "more/a.wav",
    ]


def test_a_file_that_is_gone_keeps_its_codes_and_a_damaged_one_is_left_out(records, tmp_path):
    encoded(records, tmp_path / "codes")
    records[0].path.unlink()
    records[1].path.write_bytes(b"no audio")
    left_out = []
    edited = [replace(records[0], captions=("edited",)), *records[1:]]
    encoded(edited, tmp_path / "codes", skip=lambda record, reason: left_out.append((record.path.name, reason)))
    assert [name for name, _ in left_out] == ["1.wav"]
    rows = read_table(tmp_path / "codes")
    assert [row.id for row in rows] == ["0.wav", *(f"{index}.wav" for index in range(2, 6)), "valid.wav"]
    assert rows[0].captions == ("edited",)


def test_a_run_that_fails_leaves_the_training_set_as_it_was(records, tmp_path):
    encoded(records[:4], tmp_path / "codes")
    before = contents(tmp_path / "codes")
    records[5].path.write_bytes(b"no audio")
    with pytest.raises(AudioError, match=r"5\.wav"):
        encoded([replace(records[0], captions=("edited",)), *records[1:]], tmp_path / "codes")
    assert contents(tmp_path / "codes") == before


first_rows = partial(map, lambda codes: codes[0, :2, :1].T)


def test_features_are_extracted_from_new_clips_only(records, tmp_path):
    def extract(codes):
        extracted.append(codes.shape[2])
        return torch.full((1, 2), codes.shape[2])

    extracted: list[int] = []
    encoded(records[:4], tmp_path / "codes")
    add_features(tmp_path / "codes", FakeCodec(), LENGTHS, partial(map, extract))
    assert len(extracted) == 4
    made = [replace(records[5], captions=("edited",)), *records[:3], records[6]]
    encoded(made, tmp_path / "codes")
    with pytest.raises(DataError, match="missing or damaged"):
        read_corpus(tmp_path / "codes").features(LENGTHS)
    add_features(tmp_path / "codes", FakeCodec(), LENGTHS, partial(map, extract))
    assert len(extracted) == 6
    corpus = read_corpus(tmp_path / "codes")
    assert [int(rows[0, 0]) for rows in corpus.features(LENGTHS)] == [clip.num_frames for clip in corpus.clips]


def test_two_processes_do_not_extract_features_into_one_folder(records, tmp_path):
    tokenize(records, FakeCodec(), tmp_path / "codes")
    with locked(tmp_path / "codes"), pytest.raises(InvalidRequest, match="is in use by process"):
        add_features(tmp_path / "codes", FakeCodec(), LENGTHS, first_rows)
    with pytest.raises(DataError, match="not a folder of shards"):
        add_features(tmp_path / "nowhere", FakeCodec(), LENGTHS, first_rows)
    assert not (tmp_path / "nowhere").exists()


def test_features_are_read_once_and_no_codes_stay_in_memory(records, tmp_path, monkeypatch):
    """Training and validation once each read and hashed all codes and features, and copied them to do so."""
    folder = tmp_path / "codes"
    tokenize(records, FakeCodec(), folder, shard_clips=3)
    add_features(folder, FakeCodec(), LENGTHS, first_rows)
    read, checksum = [], clip_features.checksum
    monkeypatch.setattr(clip_features, "checksum", lambda text, tensor: read.append(text) or checksum(text, tensor))
    corpus = read_corpus(folder)
    condition = ClipCondition("lengths", LENGTHS, lambda value, _: value)
    for split in ("train", "valid"):
        TokenBatches(corpus, TokenBatchConfig(batch_size=3, segment_frames=20, split=split), [condition]).batch(0)
    assert len(read) == 2 * len(corpus.shards), "the codes and the features, for both splits together"
    if sys.platform == "linux":
        mapped = Path("/proc/self/maps").read_text()
        assert not any(str(shard_path(folder, number)) in mapped for number in corpus.shards)


def test_the_table_can_be_edited_by_hand(records, tmp_path):
    encoded(records, tmp_path / "codes")
    table = tmp_path / "codes" / "clips.jsonl"
    lines = [json.loads(line) for line in table.read_text().splitlines()]
    lines[0] |= {"captions": ["by hand"], "split": "valid"}
    table.write_text("\n".join(json.dumps(line) for line in lines))
    edited = [replace(records[0], captions=("by hand",), split="valid"), *records[1:]]
    assert_equals_a_new_one(tmp_path / "codes", edited, tmp_path)
    for wrong, message in (
        ("{", "line 2: not JSON"),
        (json.dumps(lines[1] | {"split": "test"}), "line 2: split='test': expected 'train' or 'valid'"),
        (json.dumps(lines[1] | {"captions": "text"}), "line 2: captions='text': expected a list of strings"),
        (json.dumps(lines[0]), "line 2: there is another clip '0.wav'"),
    ):
        table.write_text("\n".join([json.dumps(lines[0]), wrong]))
        with pytest.raises(DataError, match=message):
            read_corpus(tmp_path / "codes")
    table.write_text(json.dumps(lines[0] | {"audio": "another"}))
    with pytest.raises(DataError, match=r"no codes of 1 of its 1 clips, first '0\.wav'"):
        read_corpus(tmp_path / "codes")


def test_codes_that_were_deleted_are_encoded_again(records, tmp_path):
    encoded(records, tmp_path / "codes")
    shard_path(tmp_path / "codes", 0).unlink()
    assert encoded(records, tmp_path / "codes").num_encoded == 3
    assert_equals_a_new_one(tmp_path / "codes", records, tmp_path)


def test_a_folder_that_was_never_finished_says_so(records, tmp_path):
    encoded(records, tmp_path / "codes")
    (tmp_path / "codes" / "clips.jsonl").unlink()
    with pytest.raises(DataError, match=r"has no clips\.jsonl, since tokenizing has not finished: tokenize again"):
        read_corpus(tmp_path / "codes")
    assert encoded(records, tmp_path / "codes").num_encoded == 0
    assert_equals_a_new_one(tmp_path / "codes", records, tmp_path)


def test_shards_of_version_1_are_read_as_they_are(tmp_path):
    tokenize(first_records(tmp_path / "audio"), FakeCodec(), tmp_path / "new")
    assert contents(FIRST_VERSION) == contents(tmp_path / "new")
    corpus = read_corpus(FIRST_VERSION)
    assert [len(rows) for rows in corpus.features(LENGTHS)] == [clip.num_frames for clip in corpus.clips]
    shutil.copytree(FIRST_VERSION, tmp_path / "damaged")
    shard_path(tmp_path / "damaged", 0).unlink()
    with pytest.raises(DataError, match="shard-00000"):
        read_corpus(tmp_path / "damaged")


@pytest.mark.parametrize("is_complete", [True, False])
def test_shards_of_version_1_are_updated_without_encoding_them_again(tmp_path, is_complete):
    records = first_records(tmp_path / "audio")
    shutil.copytree(FIRST_VERSION, tmp_path / "codes")
    if not is_complete:
        shard_path(tmp_path / "codes", 0).unlink()
    edited = [
        replace(records[4], captions=("edited",), split="valid"),
        *records[:4],
        saved(tmp_path / "audio" / "0.5.wav", 0.4, seed=40),
    ]
    for num_encoded in (1 if is_complete else 4, 0):
        made = encoded(edited, tmp_path / "codes", root=tmp_path)
        assert made.num_encoded == num_encoded
    tokenize(edited, FakeCodec(), tmp_path / "new", root=tmp_path)
    assert contents(tmp_path / "codes") == contents(tmp_path / "new")
    saved(records[1].path, 0.3, seed=60)
    assert encoded(edited, tmp_path / "codes", root=tmp_path).num_encoded == 1
    shutil.rmtree(tmp_path / "new")
    tokenize(edited, FakeCodec(), tmp_path / "new", root=tmp_path)
    assert contents(tmp_path / "codes") == contents(tmp_path / "new")
