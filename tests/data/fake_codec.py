"""A codec whose codes are easily checked, clips for it, and what a folder of their codes holds."""

from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from descant.audio import Clip
from descant.codec.base import AudioCodec, CodecOutput
from descant.data.corpus import read_corpus
from descant.data.manifest import ClipRecord
from descant.nn.stream import StreamStage


class FakeCodec(AudioCodec):
    """Codes that depend on the mean of each frame and the one before, as of a codec with state."""

    sample_rate_hz = 1000
    num_channels = 1
    num_codebooks = 2
    codebook_size = 200
    hop_samples = 20

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(1, 1)
        self.decoder = nn.Linear(1, 1)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        self.frames_seen = 0
        self.eval()

    def encode(self, wave: Tensor) -> Tensor:
        missing = self.num_frames(wave.shape[2]) * self.hop_samples - wave.shape[2]
        frames = rearrange(nn.functional.pad(wave, (0, missing)), "B 1 (T hop) -> B T hop", hop=self.hop_samples)
        self.frames_seen += frames.shape[0] * frames.shape[1]
        mean = frames.mean(dim=2)
        before = nn.functional.pad(mean, (1, 0))[:, :-1]
        return ((torch.stack([mean, before], dim=1) + 1) * 99.5).long().clamp(0, 199)

    def decode(self, codes: Tensor) -> Tensor:
        raise NotImplementedError

    def encoding_stage(self) -> StreamStage:
        raise NotImplementedError

    def decoding_stage(self) -> StreamStage:
        raise NotImplementedError

    def forward(self, wave: Tensor) -> CodecOutput:
        raise NotImplementedError

    def freeze_encoder(self) -> None:
        raise NotImplementedError


def saved(path: Path, duration_s: float, rate_hz: int = 1000, seed: int = 0, **about) -> ClipRecord:
    path.parent.mkdir(exist_ok=True)
    frames = torch.rand(1, 1 + round(duration_s * 50), generator=torch.Generator().manual_seed(seed)) - 0.5
    samples = frames.repeat_interleave(rate_hz // 50, dim=1)[:, : round(duration_s * rate_hz)]
    Clip(samples, rate_hz).save(path)
    return ClipRecord(path=path, duration_s=duration_s, sample_rate_hz=rate_hz, num_channels=1, **about)


def contents(folder: Path) -> list[tuple[Any, ...]]:
    """The clips of a folder with their codes, however its shards are arranged."""
    corpus = read_corpus(folder)
    return [
        (clip.id, clip.split, clip.captions, clip.tags, corpus.codes(number).tolist())
        for number, clip in enumerate(corpus.clips)
    ]


def files_of(folder: Path) -> dict[str, bytes]:
    """The bytes of every file in a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
