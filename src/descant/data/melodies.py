"""Chromagrams of tokenized clips, from which a model learns to follow a melody.

They are extracted from the decoded codes, not from the recordings, so that the model is trained towards what its codec
can reproduce, and from the same part of the music as in generation (``MelodyConfig.part``). A frame is a row of levels
from 0 to 255.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from descant.audio import Clip
from descant.codec.base import AudioCodec
from descant.conditioning.chroma import MelodyConfig, chromagram
from descant.conditioning.melody import FULL_LEVEL
from descant.conditioning.stems import melodic_part
from descant.data.clip_features import FeatureKind, add_features
from descant.data.workers import Workers
from descant.errors import ConfigError
from descant.shapes import Codes, Wave

WINDOW_S, CONTEXT_S = 60.0, 2.0
"""Long clips are decoded in windows of ``WINDOW_S`` with ``CONTEXT_S`` on each side."""


def melodies(config: MelodyConfig) -> FeatureKind:
    """Chromagrams of a part of the music. The bottleneck is applied in training, so its settings may change.

    Raises:
        ConfigError: the part is ``auto``: melodies would come from another part than in use.
    """
    if config.part == "auto":
        raise ConfigError(
            "melody.part='auto' depends on what is installed, and a model is to be used as it was trained: "
            "take stems, harmonic or mix"
        )
    extractor: dict[str, str | int | float] = {
        "sample_rate_hz": config.sample_rate_hz,
        "num_pitches": config.num_pitches,
        "window_samples": config.window_samples,
        "hop_samples": config.hop_samples,
    }
    if config.part == "mix":
        return FeatureKind("chroma", "descant data melodies", torch.uint8, config.num_pitches, extractor)
    command = f"descant data melodies --part {config.part}"
    return FeatureKind(
        f"chroma-{config.part}", command, torch.uint8, config.num_pitches, {**extractor, "part": config.part}
    )


@torch.inference_mode()
def add_melodies(
    folder: str | os.PathLike[str],
    codec: AudioCodec,
    config: MelodyConfig,
    *,
    device: torch.device | str = "cpu",
    workers: int | Workers = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Extracts the melody of every clip of a folder of shards; resumes as ``add_features`` does.

    Args:
        device: the codec's device.
        workers: the number of processes that decode and extract, or the processes themselves, as in ``tokenize``.

    Raises:
        ConfigError: the config names no part.
        MissingExtra: what separates the part is not installed.
        DataError: as ``add_features``.
        InvalidRequest: as ``add_features``, or there is less than one process.
        ProcessLost: one of several workers was ended.
    """
    kind = melodies(config)
    with ExitStack() as stack:
        extractors = stack.enter_context(Workers(workers)) if isinstance(workers, int) else workers
        extractors.use(codec, device)

        def extract(clips: Iterable[Codes]) -> Iterator[UInt8[Tensor, "frames P"]]:
            calls = (extractors.start_with_codec(_melody, codes.numpy(), config) for codes in clips)
            return (torch.from_numpy(call()) for call in extractors.ahead(calls))

        add_features(folder, codec, kind, extract, progress)


def _melody(
    codec: AudioCodec, device: torch.device | str, codes: npt.NDArray[np.int64], config: MelodyConfig
) -> npt.NDArray[np.uint8]:
    """The chromagram of one clip: frames by pitches."""
    clip = decode_clip(torch.from_numpy(codes).to(device), codec, codec.decode_fast)
    part, _ = melodic_part(clip, config.part)
    levels = chromagram(part.resample(config.sample_rate_hz).samples[0], config) * FULL_LEVEL
    return levels.round().to(torch.uint8).numpy()


def crop(
    chroma: UInt8[Tensor, "T P"], first_s: float, num_frames: int, config: MelodyConfig
) -> Float[Tensor, "frames P"]:
    """``num_frames`` frames of a clip's chromagram from ``first_s`` on, with zeros after its end.

    Positions between two frames are interpolated linearly.
    """
    positions = first_s * config.sample_rate_hz / config.hop_samples + torch.arange(num_frames, dtype=torch.float64)
    before = positions.floor().long()
    share = (positions - before).float()[:, None]
    padded = torch.cat([chroma.float() / FULL_LEVEL, torch.zeros(1, chroma.shape[1])])
    before, after = (index.clamp(max=len(chroma)) for index in (before, before + 1))
    return torch.lerp(padded[before], padded[after], share)


def decode_clip(codes: Codes, codec: AudioCodec, decode: Callable[[Codes], Wave]) -> Clip:
    """The codes of one clip decoded to mono, on the CPU.

    Long clips are decoded in windows, so that memory does not grow with their length; at the window boundaries the
    audio is nearly, but not exactly, that of a single pass.

    Args:
        decode: the codec's ``decode`` or ``decode_fast``.
    """
    rate_hz = codec.frame_rate_hz
    window, context = round(WINDOW_S * rate_hz), round(CONTEXT_S * rate_hz)
    waves = []
    for start in range(0, codes.shape[-1], window):
        first = max(0, start - context)
        wave = decode(codes[:, :, first : start + window + context]).mean(dim=1)[0]
        waves.append(wave[(start - first) * codec.hop_samples :][: window * codec.hop_samples])
    return Clip(torch.cat(waves)[None].float().cpu(), codec.sample_rate_hz)
