"""Tokenizing: a folder holds the codes of its clips, also if the run was interrupted or encoded in windows."""

import pytest
import torch

from descant.audio import Clip
from descant.codec.spec import codec_spec
from descant.data.corpus import read_corpus
from descant.data.shards import read_shard, shard_path
from descant.data.token_dataset import TokenBatchConfig, TokenBatches
from descant.data.tokenize import tokenize
from descant.errors import AudioError, ConfigError, DataError, InvalidRequest
from tests.data.fake_codec import FakeCodec, files_of, saved


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


def test_a_codec_spec_depends_on_what_determines_its_codes():
    codec = FakeCodec()
    before = codec_spec(codec)
    assert before == codec_spec(FakeCodec())
    torch.nn.init.ones_(codec.decoder.bias)
    assert codec_spec(codec) == before
    torch.nn.init.ones_(codec.encoder.bias)
    assert codec_spec(codec).fingerprint != before.fingerprint


def test_two_processes_do_not_write_shards_into_one_folder(records, tmp_path):
    def second(*_):
        with pytest.raises(InvalidRequest, match="in use by process"):
            tokenize(records, FakeCodec(), tmp_path / "codes")

    tokenize(records, FakeCodec(), tmp_path / "codes", progress=second)


def test_leftovers_of_a_killed_run_in_a_new_folder_are_ignored(records, tmp_path):
    (tmp_path / "codes").mkdir()
    (tmp_path / "codes" / ".descant-0123.part").write_bytes(b"half an index")
    tokenize(records, FakeCodec(), tmp_path / "codes")
