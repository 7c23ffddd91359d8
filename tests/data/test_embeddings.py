"""Embeddings of tokenized clips, and the windows of a crop."""

from dataclasses import replace

import pytest
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from descant import presets
from descant.audio import Clip
from descant.codec.any import build_codec
from descant.conditioning.clap import ClapConfig, JointEncoder
from descant.data.captions import CaptionConfig
from descant.data.clip_conditions import clap_condition
from descant.data.clip_features import read_features
from descant.data.corpus import read_corpus
from descant.data.embeddings import add_embeddings, crop_embedding, embeddings
from descant.data.manifest import ClipRecord
from descant.data.shards import read_shard, shard_path
from descant.data.token_dataset import TokenBatchConfig, TokenBatches
from descant.data.tokenize import tokenize
from descant.errors import DataError

CONFIG = ClapConfig(name="fake", dim=3, sample_rate_hz=8_000, window_s=0.5, stride_s=0.1)
KIND = embeddings(CONFIG)


class Moments(JointEncoder):
    """An encoder that embeds a window as its mean, loudness and roughness."""

    def __init__(self, config: ClapConfig = CONFIG) -> None:
        super().__init__(config)
        self.windows = 0

    def to(self, device: torch.device | str) -> "Moments":
        del device
        return self

    def embed_text(self, text: str) -> Float[Tensor, " D"]:
        raise NotImplementedError

    def embed_window(self, wave: Float[Tensor, " N"]) -> Float[Tensor, " D"]:
        self.windows += 1
        rough = wave.diff().abs().mean() if len(wave) > 1 else wave.new_zeros(())
        return F.normalize(torch.stack([wave.mean(), wave.square().mean().sqrt(), rough]) + 1e-6, dim=0)


@pytest.fixture(scope="module")
def codec():
    torch.manual_seed(0)
    made = build_codec(presets.tiny().codec).eval().requires_grad_(False)
    for name, buffer in made.named_buffers():
        if name.endswith("codebook"):
            buffer.normal_()
    return made


@pytest.fixture(scope="module")
def tokens(codec, tmp_path_factory):
    """Five clips in three shards; the last one is for validation."""
    folder = tmp_path_factory.mktemp("tokens")
    records = []
    for index, duration_s in enumerate((1.0, 1.5, 0.2, 2.0, 1.2)):
        path = folder / f"{index}.wav"
        length = round(duration_s * codec.sample_rate_hz)
        wave = 0.5 * torch.sin(torch.arange(length) ** (1.2 + 0.1 * index))
        Clip(wave[None], codec.sample_rate_hz).save(path)
        records.append(
            ClipRecord(
                path=path,
                duration_s=duration_s,
                sample_rate_hz=codec.sample_rate_hz,
                num_channels=1,
                split="valid" if index == 4 else "train",
            )
        )
    tokenize(records, codec, folder / "codes", shard_clips=2)
    return folder / "codes"


@pytest.fixture
def embedded(tokens, codec):
    """The folder with all embeddings, recomputed."""
    for number in range(3):
        KIND.path(tokens, number).unlink(missing_ok=True)
    add_embeddings(tokens, codec, Moments())
    return tokens


def all_of(folder):
    corpus = read_corpus(folder)
    return [
        (clip, corpus.codes(number).long(), one)
        for number, (clip, one) in enumerate(zip(corpus.clips, corpus.features(KIND), strict=True))
    ]


def test_every_clip_has_the_windows_of_its_decoded_codes(embedded, codec):
    for clip, codes, found in all_of(embedded):
        sound = Clip(codec.decode(codes[None])[0], codec.sample_rate_hz)
        expected = Moments().embed_windows(sound)
        assert found.dtype == torch.float16
        assert len(found) == len(expected) == max(1, 1 + int((clip.num_frames * 0.02 - 0.5) / 0.1 + 1e-6))
        torch.testing.assert_close(found.float(), expected, rtol=0, atol=2e-3)


def test_an_interrupted_run_continues_and_gives_the_same_files(embedded, codec):
    whole = [KIND.path(embedded, number).read_bytes() for number in range(3)]
    KIND.path(embedded, 1).unlink()
    resumed = Moments()
    add_embeddings(embedded, codec, resumed)
    assert resumed.windows == 1 + 16
    assert [KIND.path(embedded, number).read_bytes() for number in range(3)] == whole


def test_embeddings_of_another_extractor_are_refused(embedded, codec):
    shard = read_shard(shard_path(embedded, 0))
    with pytest.raises(DataError, match="was made with"):
        read_features(embedded, 0, shard, embeddings(replace(CONFIG, stride_s=0.2)))
    with pytest.raises(DataError, match="was made with"):
        add_embeddings(embedded, codec, Moments(replace(CONFIG, name="other")))
    assert len(read_features(embedded, 0, shard, embeddings(replace(CONFIG, num_codebooks=2)))) == 2


def test_codes_of_another_codec_are_refused(embedded):
    torch.manual_seed(5)
    with pytest.raises(DataError, match="another codec"):
        add_embeddings(embedded, build_codec(presets.tiny().codec).eval(), Moments())


SQUARE = F.normalize(torch.randn(16, 3, generator=torch.Generator().manual_seed(0)), dim=1)


@pytest.mark.parametrize(
    ("first_s", "duration_s", "windows"),
    [
        (0.0, 0.5, range(1)),
        (0.34, 0.5, range(3, 4)),
        (1.0, 0.5, range(10, 11)),
        (9.0, 0.5, range(15, 16)),
        (0.34, 1.0, range(3, 9)),
        (0.0, 2.0, range(16)),
        (1.0, 0.1, range(8, 9)),
        (0.0, 0.1, range(1)),
    ],
    ids=str,
)
def test_a_crop_is_the_mean_of_the_windows_in_it_or_the_nearest(first_s, duration_s, windows):
    expected = F.normalize(SQUARE[list(windows)].mean(dim=0), dim=0)
    torch.testing.assert_close(crop_embedding(SQUARE.half(), first_s, duration_s, CONFIG), expected, rtol=0, atol=2e-3)


def test_batches_have_the_embeddings_of_their_crops(embedded):
    config = TokenBatchConfig(
        batch_size=3, segment_frames=25, captions=CaptionConfig(merge_probability=0.0, word_dropout=0.0)
    )
    batches = TokenBatches(embedded, config, [clap_condition(CONFIG)])
    batch = batches.batch(4)
    again = TokenBatches(embedded, config, [clap_condition(CONFIG)]).batch(4)
    for row, same in zip(batch.conditions, again.conditions, strict=True):
        assert torch.equal(row["clap"], same["clap"])
    assert torch.equal(batch.codes, TokenBatches(embedded, config).batch(4).codes)
    assert "clap" not in TokenBatches(embedded, config).batch(4).conditions[0]
    by_name = {clip.id: (codes, points) for clip, codes, points in all_of(embedded)}
    for row, clip in enumerate(batch.clips):
        codes, points = by_name[clip.id]
        frames = int(batch.frame_mask[row].sum())
        offsets = range(clip.num_frames - frames + 1)
        # The codes of one crop may be found in several places.
        found = [at for at in offsets if torch.equal(codes[:, at : at + frames], batch.codes[row, :, :frames])]
        expected = [crop_embedding(points, at * 0.02, frames * 0.02, CONFIG) for at in found]
        assert any(torch.equal(batch.conditions[row]["clap"], one) for one in expected)
    assert len(batches.features("clap")) == sum(len(one) for clip, _, one in all_of(embedded) if clip.split == "train")
    assert batches.features("clap").dtype == torch.float32
