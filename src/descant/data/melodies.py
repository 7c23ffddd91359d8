"""The melodies of tokenized clips: chromagrams beside the codes, from which a model can learn to follow a tune.

They are heard in what the codes sound like, not in the recordings: what is asked of a model is then what its codec can
do, and nothing but the shards is needed. A shard's melodies are one safetensors file: ``chroma``, uint8 [T, P] of 255
levels, the clips' frames one after another, as the codes are.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import safetensors
import torch
from jaxtyping import Float, UInt8
from safetensors.torch import save
from torch import Tensor

from descant.audio import Clip, write_atomically
from descant.codec.base import AudioCodec
from descant.conditioning.chroma import MelodyConfig, chromagram
from descant.conditioning.melody import FULL_LEVEL
from descant.data.shards import TokenizedClip, read_index, read_shard, shard_path
from descant.data.tokenize import codec_facts
from descant.errors import AudioError, DataError
from descant.shapes import Codes, Wave

WINDOW_S, CONTEXT_S = 60.0, 2.0
"""Long clips are heard in windows of so many seconds, with so many more on each side."""


def melody_path(folder: str | os.PathLike[str], number: int) -> Path:
    """Where the melodies of the shard of that number are or will be."""
    return Path(folder) / f"melody-{number:05d}.safetensors"


@torch.inference_mode()
def add_melodies(
    folder: str | os.PathLike[str],
    codec: AudioCodec,
    config: MelodyConfig,
    *,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Hears every clip of a folder of shards; goes on where an interrupted run stopped.

    Args:
        config: what is heard; its bottleneck is not applied yet.
        device: where the codec is.
        progress: is called with the number of clips done and of all clips, after every shard.

    Raises:
        DataError: the codes are of another codec, or the melodies that are there were heard otherwise.
    """
    index = read_index(folder)
    if codec_facts(codec) != index.codec:
        raise DataError(f"the codes in {str(Path(folder))!r} are of another codec than this one: name the one they had")
    done = 0
    for number in range(index.num_shards):
        shard = read_shard(shard_path(folder, number))
        if melody_path(folder, number).exists():
            read_melodies(folder, number, shard.clips, config)
        else:
            clips = [shard.codes[:, clip.start_frame : clip.start_frame + clip.num_frames] for clip in shard.clips]
            heard = [_hear(codes.long()[None].to(device), codec, config) for codes in clips]
            _write(melody_path(folder, number), heard, shard.clips, config)
        done += len(shard.clips)
        if progress is not None:
            progress(done, index.num_clips)


def read_melodies(
    folder: str | os.PathLike[str], number: int, clips: tuple[TokenizedClip, ...], config: MelodyConfig
) -> list[UInt8[Tensor, "_ P"]]:
    """The chromagrams of a shard's clips.

    Raises:
        DataError: they are missing or damaged, of other clips, or heard otherwise than ``config`` says.
    """
    path = melody_path(folder, number)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            chroma = file.get_tensor("chroma")
            described = json.loads(file.metadata()["descant"])
        frames, names, heard_by = described["frames"], described["clips"], described["heard_by"]
    except (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"the melodies {str(path)!r} are missing or damaged ({error}): `descant data melodies` makes them"
        ) from error
    if names != [clip.id for clip in clips] or sum(frames) != len(chroma):
        raise DataError(f"{str(path)!r} holds melodies of other clips: delete it and run `descant data melodies` again")
    if heard_by != _hearing(config):
        raise DataError(f"{str(path)!r} was heard with {heard_by}, the model hears {_hearing(config)}: hear them anew")
    return list(chroma.split(frames))


def crop(
    chroma: UInt8[Tensor, "T P"], first_s: float, num_frames: int, config: MelodyConfig
) -> Float[Tensor, "frames P"]:
    """``num_frames`` frames of a clip's chromagram from ``first_s`` on, silence behind its end.

    A moment between two frames is told as what lies between them.
    """
    moments = first_s * config.sample_rate_hz / config.hop_samples + torch.arange(num_frames, dtype=torch.float64)
    before = moments.floor().long()
    share = (moments - before).float()[:, None]
    behind = torch.cat([chroma.float() / FULL_LEVEL, torch.zeros(1, chroma.shape[1])])
    before, after = (index.clamp(max=len(chroma)) for index in (before, before + 1))
    return torch.lerp(behind[before], behind[after], share)


def sound_of(codes: Codes, codec: AudioCodec, decode: Callable[[Codes], Wave]) -> Clip:
    """What the codes of one clip sound like, in mono on the CPU; long ones are decoded in windows.

    Args:
        decode: the codec's ``decode`` or ``sketch``.
    """
    rate_hz = codec.frame_rate_hz
    window, context = round(WINDOW_S * rate_hz), round(CONTEXT_S * rate_hz)
    waves = []
    for start in range(0, codes.shape[-1], window):
        first = max(0, start - context)
        wave = decode(codes[:, :, first : start + window + context]).mean(dim=1)[0]
        waves.append(wave[(start - first) * codec.hop_samples :][: window * codec.hop_samples])
    return Clip(torch.cat(waves)[None].float().cpu(), codec.sample_rate_hz)


def _hear(codes: Codes, codec: AudioCodec, config: MelodyConfig) -> UInt8[Tensor, "T P"]:
    """The chromagram of one clip."""
    heard = sound_of(codes, codec, codec.sketch).resample(config.sample_rate_hz)
    return (chromagram(heard.samples[0], config) * FULL_LEVEL).round().to(torch.uint8)


def _hearing(config: MelodyConfig) -> dict[str, int]:
    """What the chromagrams hang on; the bottleneck behind them may change."""
    return {
        "sample_rate_hz": config.sample_rate_hz,
        "num_pitches": config.num_pitches,
        "window_samples": config.window_samples,
        "hop_samples": config.hop_samples,
    }


def _write(
    path: Path, heard: list[UInt8[Tensor, "_ P"]], clips: tuple[TokenizedClip, ...], config: MelodyConfig
) -> None:
    described = {
        "clips": [clip.id for clip in clips],
        "frames": [len(chroma) for chroma in heard],
        "heard_by": _hearing(config),
    }
    try:
        write_atomically(path, save({"chroma": torch.cat(heard)}, {"descant": json.dumps(described)}))
    except AudioError as error:
        raise DataError(str(error)) from error
