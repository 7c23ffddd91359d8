"""Planted copies are found in a training set, and nothing else: as by comparing everything with everything."""

import numpy as np
import pytest
import torch

from descant.codec.spec import CodecSpec
from descant.data.clip_table import ClipRow, write_table
from descant.data.shard_index import ShardIndex, write_index
from descant.data.shards import StoredClip, shard_path, write_shard
from descant.errors import InvalidRequest
from descant.evaluation.memorisation import find_copies, memorisation_rates, shard_codes, share_equal


def codes(num_frames, seed, size=64):
    return np.random.default_rng(seed).integers(0, size, num_frames)


def changed(sequence, num_changes, seed=0):
    """The sequence with other codes in some frames."""
    changed = sequence.copy()
    changed[np.random.default_rng(seed).permutation(len(sequence))[:num_changes]] += 1_000
    return changed


def training_set(num_clips=20, num_frames=600):
    return [(f"clip {number}", codes(num_frames, number)) for number in range(num_clips)]


def best_by_comparing_everything(generated, training, window, min_share):
    best = None
    for _, theirs in training:
        for start in range(len(generated) - window + 1):
            for place in range(len(theirs) - window + 1):
                share = (generated[start : start + window] == theirs[place : place + window]).mean()
                if share >= min_share and (best is None or share > best):
                    best = share
    return best


@pytest.mark.parametrize("num_changes", [0, 1, 50])
@pytest.mark.parametrize("shift", [0, 137, 350])
def test_a_planted_copy_is_found_where_it_is(num_changes, shift):
    training = training_set()
    generated = codes(400, seed=99)
    generated[80:330] = changed(training[13][1][shift : shift + 250], num_changes)
    [copy] = find_copies([generated], training)
    assert (copy.share, copy.source) == (1 - num_changes / 250, "clip 13")
    assert (copy.generated_frame, copy.source_frame) == (80, shift)


def test_a_copy_with_too_many_changes_and_new_music_are_no_copies():
    training = training_set()
    assert find_copies([changed(training[3][1][:250], 51), codes(250, seed=99)], training) == [None, None]


@pytest.mark.parametrize("window", [5, 12, 25])
@pytest.mark.parametrize("min_share", [0.6, 0.8, 1.0])
def test_the_search_finds_what_comparing_everything_finds(window, min_share):
    """With few codes and short windows, where chance alone gives many near copies."""
    training = [(str(number), codes(80, number, size=3)) for number in range(4)]
    generated = [codes(30 + number, seed=50 + number, size=3) for number in range(12)]
    generated[0][:25] = changed(training[1][1][7:32], 5)
    found = find_copies(generated, training, window, min_share)
    shares = [None if copy is None else copy.share for copy in found]
    assert shares == [best_by_comparing_everything(one, training, window, min_share) for one in generated]
    for one, copy in zip(generated, found, strict=True):
        if copy is not None:
            ours = one[copy.generated_frame : copy.generated_frame + window]
            theirs = training[int(copy.source)][1][copy.source_frame : copy.source_frame + window]
            assert (ours == theirs).mean() == copy.share
            assert copy.num_codes == len(set(ours.tolist()))


def test_long_silence_is_found_with_its_single_code(monkeypatch):
    """In batches of pairs that are far smaller than the number of pairs."""
    monkeypatch.setattr("descant.evaluation.memorisation._MAX_PAIRS", 1_000)
    silence = np.zeros(400, dtype=np.int16)
    [copy, other] = find_copies([silence, codes(400, 5)], [("pause", silence), *training_set(3)])
    assert (copy.share, copy.source, copy.num_codes) == (1, "pause", 1)
    assert other is None


def test_tensors_arrays_and_all_codebooks_are_read_alike():
    training = training_set()
    generated = torch.from_numpy(changed(training[7][1][20:270], 10))
    books = torch.stack([generated, torch.zeros_like(generated)]).to(torch.int32)
    as_tensors = [(name, torch.from_numpy(one)[None].to(torch.int16)) for name, one in training]
    assert find_copies([books], as_tensors) == find_copies([generated.numpy()], training)


def test_the_rates_are_those_of_the_paper():
    source = codes(250, 1)
    pairs = [(source, source), (changed(source, 50), source), (changed(source, 51), source), (codes(250, 2), source)]
    assert [share_equal(*pair) for pair in pairs[:3]] == [1, 0.8, 1 - 51 / 250]
    rates = memorisation_rates(pairs)
    assert (rates.exact.value, rates.partial.value) == (0.25, 0.5)
    assert rates.exact.low < 0.25 < rates.exact.high


def test_the_training_clips_of_shards_are_read(tmp_path):
    spec = CodecSpec(
        fingerprint="", sample_rate_hz=32_000, num_channels=1, hop_samples=640, num_codebooks=2, codebook_size=2_048
    )
    write_index(tmp_path, ShardIndex(codec=spec, window_s=30.0))
    everything = torch.from_numpy(np.stack([codes(300, 0), codes(300, 1)])).to(torch.int16)
    stored = [
        StoredClip(audio="1", start_frame=0, num_frames=100),
        StoredClip(audio="2", start_frame=100, num_frames=200),
    ]
    write_shard(shard_path(tmp_path, 0), stored, everything)
    write_shard(shard_path(tmp_path, 1), [StoredClip(audio="3", start_frame=0, num_frames=300)], everything)
    clips = {"a": ("1", "train"), "b": ("2", "valid"), "c": ("3", "train")}
    write_table(tmp_path, [ClipRow(id=name, audio=audio, split=split) for name, (audio, split) in clips.items()])
    read = dict(shard_codes(tmp_path))
    assert {name: one.tolist() for name, one in read.items()} == {
        "a": everything[0, :100].tolist(),
        "c": everything[0].tolist(),
    }


@pytest.mark.parametrize(
    ("generated", "window", "share", "message"),
    [
        ([], 250, 0.8, "0 sequences"),
        ([codes(249, 0)], 250, 0.8, "has 249 frames"),
        ([codes(250, 0)], 0, 0.8, "window_frames=0"),
        ([codes(250, 0)], 250, 0.0, "min_share=0"),
        ([codes(250, 0)], 250, 1.1, "min_share=1.1"),
        ([codes(250, 0).astype(np.float32)], 250, 0.8, r"generated\[0\]: float32"),
        ([codes(250, 0).reshape(1, 1, 250)], 250, 0.8, r"expected whole numbers"),
    ],
)
def test_impossible_searches_are_refused(generated, window, share, message):
    with pytest.raises(InvalidRequest, match=message):
        find_copies(generated, training_set(1), window, share)


def test_pairs_of_different_lengths_and_no_pairs_are_refused():
    with pytest.raises(InvalidRequest, match="250 generated frames against 249"):
        share_equal(codes(250, 0), codes(249, 0))
    with pytest.raises(InvalidRequest, match="0 trials"):
        memorisation_rates([])
