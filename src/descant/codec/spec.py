"""The identity of a codec: what stored codes must record to be decoded by the right one."""

import hashlib
from dataclasses import dataclass

import torch

from descant.codec.base import AudioCodec


@dataclass(frozen=True, kw_only=True)
class CodecSpec:
    """The shape of a codec's codes, and a hash of all weights that they depend on: equal specs give equal codes."""

    fingerprint: str
    sample_rate_hz: int
    num_channels: int
    num_codebooks: int
    codebook_size: int
    hop_samples: int

    @property
    def frame_rate_hz(self) -> float:
        """Frames per second."""
        return self.sample_rate_hz / self.hop_samples


def codec_spec(codec: AudioCodec) -> CodecSpec:
    """The shape of a codec's codes, with a hash of all weights that they depend on.

    Weights of modules named ``decoder`` are excluded: another decoder does not change the codes.
    """
    digest = hashlib.sha256(type(codec).__name__.encode())
    for name, tensor in sorted(codec.state_dict().items()):
        if "decoder" not in name.split("."):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return CodecSpec(
        fingerprint=digest.hexdigest(),
        sample_rate_hz=codec.sample_rate_hz,
        num_channels=codec.num_channels,
        num_codebooks=codec.num_codebooks,
        codebook_size=codec.codebook_size,
        hop_samples=codec.hop_samples,
    )
