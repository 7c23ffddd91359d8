"""Melodies of tokenized clips: those of the decoded codes, whole files or none, and the frames of a crop."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from descant import presets
from descant.audio import Clip
from descant.codec.any import build_codec
from descant.conditioning.chroma import MelodyConfig, chromagram
from descant.conditioning.melody import apply_bottleneck, extract_melody
from descant.conditioning.stems import melodic_part
from descant.data.captions import CaptionConfig
from descant.data.clip_conditions import CropTimes, melody_condition
from descant.data.clip_features import codes_of, read_features
from descant.data.corpus import read_corpus
from descant.data.manifest import ClipRecord
from descant.data.melodies import add_melodies, crop, decode_clip, melodies
from descant.data.shards import read_shard, shard_path, write_shard
from descant.data.token_dataset import TokenBatchConfig, TokenBatches
from descant.data.tokenize import tokenize
from descant.errors import ConfigError, DataError, InvalidRequest

CONFIG = MelodyConfig(sample_rate_hz=32_000, window_samples=2_048, hop_samples=1_024, num_frames=10, part="mix")
KIND = melodies(CONFIG)


@pytest.fixture(scope="module")
def codec():
    torch.manual_seed(0)
    return build_codec(presets.tiny().codec).eval().requires_grad_(False)


@pytest.fixture
def tokens(codec, tmp_path):
    records = []
    for index, duration_s in enumerate((1.0, 1.5, 0.2)):
        wave = 0.5 * torch.sin(torch.arange(round(duration_s * 32_000)) ** (1.2 + 0.1 * index))
        Clip(wave[None], 32_000).save(tmp_path / f"{index}.wav")
        records.append(
            ClipRecord(path=tmp_path / f"{index}.wav", duration_s=duration_s, sample_rate_hz=32_000, num_channels=1)
        )
    tokenize(records, codec, tmp_path / "codes", shard_clips=2)
    return tmp_path / "codes"


@pytest.fixture
def with_melodies(tokens, codec):
    add_melodies(tokens, codec, CONFIG)
    return tokens


def test_every_clip_has_the_chromagram_of_its_decoded_codes(with_melodies, codec):
    shard = read_shard(shard_path(with_melodies, 0))
    for codes, found in zip(codes_of(shard), read_features(with_melodies, 0, shard, KIND), strict=True):
        expected = chromagram(codec.decode(codes.long()[None])[0, 0], CONFIG)
        torch.testing.assert_close(found.float() / 255, expected, rtol=0, atol=0.003)


@pytest.mark.parametrize("part", ["mix", "harmonic", "stems"])
def test_a_melody_in_training_is_the_melody_in_use(tokens, codec, part, monkeypatch):
    """Melodies once came from the mix in training and from the stems in use."""
    if part == "harmonic":
        pytest.importorskip("librosa", reason="librosa")
    monkeypatch.setattr("descant.conditioning.stems._stems", lambda clip: Clip(clip.samples[:, ::2], 16_000))
    config = replace(CONFIG, part=part, bottleneck="full")
    add_melodies(tokens, codec, config)
    shard = read_shard(shard_path(tokens, 0))
    codes = codes_of(shard)[1].long()
    clip = Clip(codec.decode(codes[None])[0], 32_000)
    melody_part, _ = melodic_part(clip, config.part)
    in_use = extract_melody(melody_part, config, clip.duration_s) / 255
    stored = read_features(tokens, 0, shard, melodies(config))[1]
    in_training = melody_condition(config).crop(stored, CropTimes(0.0, clip.duration_s, clip.duration_s))
    torch.testing.assert_close(in_training[: len(in_use)], in_use, rtol=0, atol=0.005)


def test_parts_are_stored_side_by_side_and_none_is_guessed(tokens, codec, monkeypatch):
    monkeypatch.setattr("descant.conditioning.stems._stems", lambda clip: clip)
    add_melodies(tokens, codec, CONFIG)
    with pytest.raises(DataError, match="descant data melodies --part stems"):
        TokenBatches(tokens, TokenBatchConfig(segment_frames=25), [melody_condition(replace(CONFIG, part="stems"))])
    add_melodies(tokens, codec, replace(CONFIG, part="stems"))
    assert len(list(tokens.glob("chroma-0*"))) == len(list(tokens.glob("chroma-stems-*"))) == 2
    with pytest.raises(ConfigError, match="part='auto'"):
        melodies(replace(CONFIG, part="auto"))


def test_an_interrupted_run_continues_and_gives_the_same_files(with_melodies, codec):
    whole = [KIND.path(with_melodies, number).read_bytes() for number in range(2)]
    KIND.path(with_melodies, 1).unlink()
    done = []
    add_melodies(with_melodies, codec, CONFIG, progress=lambda *both: done.append(both))
    assert [KIND.path(with_melodies, number).read_bytes() for number in range(2)] == whole
    assert done == [(2, 3), (3, 3)]


def test_several_processes_write_the_same_files(with_melodies, codec):
    whole = [KIND.path(with_melodies, number).read_bytes() for number in range(2)]
    for number in range(2):
        KIND.path(with_melodies, number).unlink()
    add_melodies(with_melodies, codec, CONFIG, workers=2)
    assert [KIND.path(with_melodies, number).read_bytes() for number in range(2)] == whole
    with pytest.raises(InvalidRequest, match="at least 1"):
        add_melodies(with_melodies, codec, CONFIG, workers=0)


def test_melodies_of_other_codes_or_another_extractor_are_refused(with_melodies, codec, tmp_path):
    shard = read_shard(shard_path(with_melodies, 0))
    write_shard(tmp_path / "other", shard.clips, 1 - shard.codes)
    with pytest.raises(DataError, match="made from other codes"):
        read_features(with_melodies, 0, read_shard(tmp_path / "other"), KIND)
    with pytest.raises(DataError, match="was made with"):
        add_melodies(with_melodies, codec, replace(CONFIG, hop_samples=512))
    # The bottleneck lies behind what is kept.
    read_features(with_melodies, 0, shard, melodies(replace(CONFIG, bottleneck="full", pooled_frames=3)))


def damage_bytes(path):
    path.write_bytes(path.read_bytes()[:-7])


def damage_value(path):
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(bytes(whole))


def damage_counts(counts):
    def damage(path):
        described = {"rows": counts, "codes": "", "extractor": {}, "sha256": ""}
        save_file(load_file(path), path, {"descant": json.dumps(described)})

    return damage


def damage_no_metadata(path):
    save_file(load_file(path), path)


@pytest.mark.parametrize(
    "damage",
    [damage_bytes, damage_value, damage_no_metadata]
    + [damage_counts(counts) for counts in (None, ["a"], [-1, 100], [0, 79], [79], [1, 1], [True, 78], {"a": 1})],
)
def test_damaged_melodies_are_refused(with_melodies, damage):
    damage(KIND.path(with_melodies, 0))
    with pytest.raises(DataError, match="missing or damaged"):
        read_features(with_melodies, 0, read_shard(shard_path(with_melodies, 0)), KIND)
    with pytest.raises(DataError, match="missing or damaged"):
        TokenBatches(with_melodies, TokenBatchConfig(segment_frames=25), [melody_condition(CONFIG)])


def test_a_crop_is_interpolated_between_frames_and_zero_after_the_end():
    chroma = torch.randint(0, 256, (6, 12), dtype=torch.uint8)
    rate_hz = CONFIG.frame_rate_hz
    cropped = crop(chroma, 2.25 / rate_hz, 6, CONFIG)
    levels = torch.cat([chroma.float() / 255, torch.zeros(4, 12)])
    torch.testing.assert_close(cropped, 0.75 * levels[2:8] + 0.25 * levels[3:9])


def test_batches_have_the_melodies_of_their_crops(with_melodies):
    captions = CaptionConfig(merge_probability=0.0, word_dropout=0.0)
    config = TokenBatchConfig(batch_size=2, segment_frames=25, captions=captions)
    batch = TokenBatches(with_melodies, config, [melody_condition(CONFIG)]).batch(3)
    assert torch.equal(batch.codes, TokenBatches(with_melodies, config).batch(3).codes)
    assert [row["melody"].shape for row in batch.conditions] == [(18, 12)] * 2
    corpus = read_corpus(with_melodies)
    of_clip = {
        clip.id: (corpus.codes(number).long(), rows)
        for number, (clip, rows) in enumerate(zip(corpus.clips, corpus.features(KIND), strict=True))
    }
    for row, clip in enumerate(batch.clips):
        codes, rows = of_clip[clip.id]
        frames = int(batch.frame_mask[row].sum())
        offsets = range(codes.shape[1] - frames + 1)
        found = [at for at in offsets if torch.equal(codes[:, at : at + frames], batch.codes[row, :, :frames])]
        melodies = [apply_bottleneck(crop(rows, at * 0.02, 18, CONFIG), CONFIG) for at in found]
        assert any(torch.equal(batch.conditions[row]["melody"], melody) for melody in melodies)


def test_a_long_clip_is_decoded_in_windows_that_join(codec, monkeypatch):
    codes = torch.randint(0, 32, (1, 4, 120), generator=torch.Generator().manual_seed(0))
    whole = decode_clip(codes, codec, codec.decode)
    monkeypatch.setattr("descant.data.melodies.WINDOW_S", 0.8)
    monkeypatch.setattr("descant.data.melodies.CONTEXT_S", 0.4)
    assert decode_clip(codes, codec, codec.decode).samples.shape == whole.samples.shape
