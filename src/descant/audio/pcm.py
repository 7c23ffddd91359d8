"""Samples as 16-bit integers while they are made, when the loudest of them is not known yet."""

import struct

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

BYTES_PER_SAMPLE = 2
SOFT_LIMIT = 0.8
FULL_SCALE = 2**15


def soft_limited(samples: Float[Tensor, "C N"]) -> Float[Tensor, "C N"]:
    """The samples with what exceeds 0.8 compressed, so that none exceeds full scale."""
    over = (samples.abs() - SOFT_LIMIT).clamp(min=0)
    compressed = samples.sign() * (1 - SOFT_LIMIT) * (over / (1 - SOFT_LIMIT)).tanh()
    return samples.clamp(-SOFT_LIMIT, SOFT_LIMIT) + compressed


def pcm16(samples: Float[Tensor, "C N"]) -> bytes:
    """Samples in [-1, 1] as interleaved little-endian 16-bit integers, as a 16-bit file has them."""
    integers = (samples * FULL_SCALE).round().clamp(-FULL_SCALE, FULL_SCALE - 1).short()
    return bytes(integers.T.contiguous().numpy().astype("<i2").tobytes())


def from_pcm16(content: bytes, num_channels: int) -> Float[Tensor, "C N"]:
    """The samples that ``pcm16`` wrote."""
    integers = torch.from_numpy(np.frombuffer(content, "<i2").astype(np.int16))
    return (integers.float() / FULL_SCALE).view(-1, num_channels).T.contiguous()


def wav_header(num_samples: int | None, sample_rate_hz: int, num_channels: int) -> bytes:
    """The header of a 16-bit wav file (RIFF, PCM).

    Args:
        num_samples: of each channel; None where it is not known, for players that then read to the end.
    """
    frame = num_channels * BYTES_PER_SAMPLE
    size = 0xFFFFFFFF if num_samples is None else num_samples * frame
    format = struct.pack(
        "<HHIIHH", 1, num_channels, sample_rate_hz, sample_rate_hz * frame, frame, 8 * BYTES_PER_SAMPLE
    )
    head = struct.pack("<4sI4s4sI", b"RIFF", min(36 + size, 0xFFFFFFFF), b"WAVE", b"fmt ", 16)
    return head + format + struct.pack("<4sI", b"data", size)
