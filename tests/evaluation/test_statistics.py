import itertools

import numpy as np
import pytest
import torch

from descant.audio import Clip
from descant.errors import InvalidRequest
from descant.evaluation.embedded_clips import EmbeddedClip, EmbeddedClips, embed_clips, iterate_embedded
from descant.evaluation.embedders.base import LabelEmbedder
from descant.evaluation.embedders.weights import WeightsFile
from descant.evaluation.statistics import EmbeddingStatistics, embedding_statistics


class Levels(LabelEmbedder):
    """Three moments of the samples of a window, a hundredth of a second long."""

    name = "levels"
    weights = WeightsFile("none", "0" * 64)
    sample_rate_hz = 8_000
    window_samples = hop_samples = 80
    dim = 3
    shortest_s = 0.01
    rest = "shorter"

    def __init__(self):
        self.batches = []

    def embed_and_label(self, waves):
        self.batches.append(len(waves))
        moments = torch.stack([waves.pow(power).mean(dim=1) for power in (1, 2, 3)], dim=1)
        return moments, moments


def noises(count=7):
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        yield f"{number}", Clip(torch.randn(1, 80 + 50 * number, generator=generator) * 0.1, 8_000)


@pytest.mark.parametrize("batch_windows", [1, 2, 3, 100])
def test_clips_have_the_same_vectors_in_any_batch_and_in_order(batch_windows):
    embedder = Levels()
    clips = embed_clips(embedder, noises(), batch_windows)
    assert [clip.name for clip in clips.clips] == [name for name, _ in noises()]
    for embedded, (_, clip) in zip(clips.clips, noises(), strict=True):
        expected = torch.cat([embedder.embed(window[None]) for window in embedder.windows(clip)])
        torch.testing.assert_close(embedded.vectors, expected)
        torch.testing.assert_close(embedded.label_probabilities.float(), torch.softmax(expected, dim=1))
    assert max(embedder.batches) <= batch_windows


def test_clips_are_read_as_they_are_needed():
    read = []

    def watched():
        for name, clip in noises():
            read.append(name)
            yield name, clip

    embedded = iterate_embedded(Levels(), watched(), batch_windows=1)
    assert [next(embedded).name, next(embedded).name] == ["0", "1"]
    assert len(read) == 2


def test_statistics_are_those_of_numpy_in_one_pass_and_in_any_batch():
    clips = embed_clips(Levels(), noises())
    vectors = torch.cat([clip.vectors for clip in clips.clips]).double().numpy()
    for batch_windows in (1, 4):
        statistics = embedding_statistics(Levels(), noises(), batch_windows)
        assert statistics.count == len(vectors)
        np.testing.assert_allclose(statistics.mean, vectors.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(statistics.covariance, np.cov(vectors, rowvar=False), rtol=1e-6)


def test_parts_add_up_to_the_whole_in_any_order_even_far_from_zero():
    vectors = 1e4 + torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    whole = EmbeddingStatistics.of("e", vectors)
    parts = [EmbeddingStatistics.of("e", part) for part in vectors.split([1, 20, 29])]
    for first, second, third in itertools.permutations(parts):
        together = first + (second + third)
        torch.testing.assert_close(together.mean, whole.mean, rtol=1e-12, atol=0)
        torch.testing.assert_close(together.covariance, whole.covariance, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(whole.covariance, np.cov(vectors.numpy(), rowvar=False), rtol=1e-9)


def test_sets_that_cannot_be_measured_are_refused():
    with pytest.raises(InvalidRequest, match="without clips"):
        embed_clips(Levels(), [])
    with pytest.raises(InvalidRequest, match="without clips"):
        embedding_statistics(Levels(), [])
    clip = Clip(torch.zeros(1, 80), 8_000)
    with pytest.raises(InvalidRequest, match="two clips are named 'a'"):
        embed_clips(Levels(), [("a", clip), ("a", clip)])
    with pytest.raises(InvalidRequest, match=r"b: a clip of 0\.00 s: levels needs at least 0\.01 s"):
        embed_clips(Levels(), [("a", clip), ("b", Clip(torch.zeros(1, 20), 8_000))])
    with pytest.raises(InvalidRequest, match="not finite"):
        EmbeddedClips("e", (EmbeddedClip("a", torch.full((1, 2), torch.nan), None),))
    with pytest.raises(InvalidRequest, match="do not compare"):
        EmbeddingStatistics.of("e", torch.zeros(2, 2)) + EmbeddingStatistics.of("f", torch.zeros(2, 2))
    with pytest.raises(InvalidRequest, match="at least two windows"):
        _ = EmbeddingStatistics.of("e", torch.zeros(1, 2)).covariance
