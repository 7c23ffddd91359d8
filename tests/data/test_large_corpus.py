"""A corpus as large as the paper's: 20,000 hours of codes, in sparse files."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from descant.codec.spec import codec_spec
from descant.data.clip_table import ClipRow, write_table
from descant.data.corpus import read_corpus
from descant.data.shard_index import ShardIndex, write_index
from descant.data.shards import StoredClip, read_shards, shard_path, write_shard
from descant.data.token_dataset import TokenBatchConfig, TokenBatches
from descant.errors import DataError
from tests.data.fake_codec import FakeCodec

NUM_CODEBOOKS, CLIP_FRAMES, SHARD_CLIPS = 4, 9_000, 256
NUM_SHARDS = 1_563
"""Of 256 clips of three minutes: 20,006 hours."""
NUM_READ = 2
"""Shards whose clips are for validation, and whose codes are read."""

OPEN = """
import json, sys, time
from descant.data.corpus import read_corpus
from descant.data.token_dataset import TokenBatchConfig, TokenBatches

def resident_mb():
    status = open("/proc/self/status").read()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024

before_mb, began = resident_mb(), time.perf_counter()
corpus = read_corpus(sys.argv[1])
training = TokenBatches(corpus, TokenBatchConfig())
seconds = time.perf_counter() - began
held_out = TokenBatches(corpus, TokenBatchConfig(split="valid"))
for step in range(20):
    assert held_out.batch(step).codes.shape == (8, 4, 1500)
print(json.dumps({"seconds": seconds, "before_mb": before_mb, "mb": resident_mb(), "clips": len(training.clips)}))
"""


def write_sparse_shard(path, clips):
    """A shard of silence, whose zeros take no room on the disk; only the first ones have a right checksum."""
    described = json.dumps(
        [{"audio": c.audio, "start_frame": c.start_frame, "num_frames": c.num_frames} for c in clips]
    )
    shape = (NUM_CODEBOOKS, CLIP_FRAMES * SHARD_CLIPS)
    num_bytes = 2 * shape[0] * shape[1]
    is_read = path.name < shard_path("", NUM_READ).name
    digest = hashlib.sha256(f"{described}{shape!r}".encode() + bytes(num_bytes)).hexdigest() if is_read else ""
    metadata = {"descant": json.dumps({"clips": described, "sha256": digest})}
    codes = {"dtype": "I16", "shape": shape, "data_offsets": [0, num_bytes]}
    header = json.dumps({"__metadata__": metadata, "codes": codes}).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + num_bytes)


def write_sparse_corpus(folder):
    folder.mkdir()
    codec = replace(codec_spec(FakeCodec()), num_codebooks=NUM_CODEBOOKS)
    write_index(folder, ShardIndex(codec=codec, window_s=60.0))
    rows = []
    for number in range(NUM_SHARDS):
        clips = [
            StoredClip(
                audio=hashlib.sha256(f"{number}/{at}".encode()).hexdigest(),
                start_frame=at * CLIP_FRAMES,
                num_frames=CLIP_FRAMES,
            )
            for at in range(SHARD_CLIPS)
        ]
        write_sparse_shard(shard_path(folder, number), clips)
        rows += [
            ClipRow(
                id=f"album {number:05d}/{at:03d}.flac",
                audio=clip.audio,
                split="valid" if number < NUM_READ else "train",
                captions=("a warm and slow piece for piano and strings, with a calm melody in the left hand",),
                tags={"genre": "classical", "bpm": 72, "key": "A minor", "moods": ["calm", "warm"]},
            )
            for at, clip in enumerate(clips)
        ]
    write_table(folder, rows)


@pytest.mark.slow
def test_twenty_thousand_hours_open_in_ten_seconds_and_half_a_gigabyte(tmp_path):
    write_sparse_corpus(tmp_path / "codes")
    done = subprocess.run([sys.executable, "-c", OPEN, tmp_path / "codes"], capture_output=True, text=True, check=True)
    print(done.stdout)
    found = json.loads(done.stdout)
    assert found["clips"] == SHARD_CLIPS * (NUM_SHARDS - NUM_READ)
    assert found["seconds"] < 10
    assert found["mb"] < 500


def test_codes_are_checked_when_they_are_first_read(tmp_path):
    write_index(tmp_path, ShardIndex(codec=codec_spec(FakeCodec()), window_s=60.0))
    codes = torch.arange(2 * 60).reshape(2, 60).short()
    for number, audio in enumerate(("a", "b")):
        write_shard(shard_path(tmp_path, number), [StoredClip(audio=audio, start_frame=0, num_frames=60)], codes)
    write_table(tmp_path, [ClipRow(id=f"{audio}.wav", audio=audio, split="train") for audio in ("a", "b")])
    content = bytearray(shard_path(tmp_path, 1).read_bytes())
    content[-1] ^= 1
    shard_path(tmp_path, 1).write_bytes(content)
    corpus = read_corpus(tmp_path)
    assert torch.equal(corpus.codes(0, offset=7, num_frames=20), codes[:, 7:27])
    assert torch.equal(corpus.codes(0, offset=50, num_frames=20), codes[:, 50:])
    batches = TokenBatches(corpus, TokenBatchConfig(batch_size=4, segment_frames=50))
    with pytest.raises(DataError, match=r"shard-00001.*its checksum is wrong"):
        batches.batch(0)
    with pytest.raises(DataError, match=r"shard-00001.*its checksum is wrong"):
        read_shards(tmp_path)


def test_the_fingerprint_of_many_clips_is_that_of_one_list(tmp_path):
    write_index(tmp_path, ShardIndex(codec=codec_spec(FakeCodec()), window_s=60.0))
    rows = [
        ClipRow(id=f"é {at}.wav", audio=str(at), split="valid" if at < 2 else "train", tags={"key": "F", "bpm": at})
        for at in range(2_345)
    ]
    clips = [StoredClip(audio=row.audio, start_frame=at, num_frames=1) for at, row in enumerate(rows)]
    write_shard(shard_path(tmp_path, 0), clips, torch.zeros(2, len(rows), dtype=torch.int16))
    write_table(tmp_path, rows)
    described = [[row.id, row.audio, 1, row.split, row.captions, row.tags] for row in rows]
    expected = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
    assert read_corpus(tmp_path).identity["clips_fingerprint"] == expected
