"""Where tokenized clips are in the joint space of texts and sound, from which a model learns to be asked in words.

They are heard in what the codes sound like, as melodies are: nothing but the shards is needed. One embedding for each
window that lies in a clip, a second apart by default (``ClapConfig.stride_s``), so that a crop from anywhere has its
own: of windows laid end to end, the nearest would be up to half a window beside a crop. An hour takes 3.7 MB. A shard's
are one safetensors file: ``embeddings``, float16 [windows, D], the clips' one after another.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import safetensors
import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from descant.audio import write_atomically
from descant.codec.base import AudioCodec
from descant.conditioning.clap import ClapConfig, JointEncoder
from descant.data.melodies import sound_of
from descant.data.shards import TokenizedClip, read_index, read_shard, shard_path
from descant.data.tokenize import codec_facts
from descant.errors import AudioError, DataError


def embeddings_path(folder: str | os.PathLike[str], number: int) -> Path:
    """Where the embeddings of the shard of that number are or will be."""
    return Path(folder) / f"clap-{number:05d}.safetensors"


@torch.inference_mode()
def add_embeddings(
    folder: str | os.PathLike[str],
    codec: AudioCodec,
    encoder: JointEncoder,
    *,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Hears every clip of a folder of shards; goes on where an interrupted run stopped.

    Args:
        encoder: on the device where it is to compute.
        device: where the codec is.
        progress: is called with the number of clips done and of all clips, after every shard.

    Raises:
        DataError: the codes are of another codec, or the embeddings that are there were made otherwise.
    """
    index = read_index(folder)
    if codec_facts(codec) != index.codec:
        raise DataError(f"the codes in {str(Path(folder))!r} are of another codec than this one: name the one they had")
    done = 0
    for number in range(index.num_shards):
        shard = read_shard(shard_path(folder, number))
        if embeddings_path(folder, number).exists():
            read_embeddings(folder, number, shard.clips, encoder.config)
        else:
            clips = [shard.codes[:, clip.start_frame : clip.start_frame + clip.num_frames] for clip in shard.clips]
            sounds = (sound_of(codes.long()[None].to(device), codec, codec.decode) for codes in clips)
            heard = [encoder.embed_windows(sound) for sound in sounds]
            _write(embeddings_path(folder, number), heard, shard.clips, encoder.config)
        done += len(shard.clips)
        if progress is not None:
            progress(done, index.num_clips)


def read_embeddings(
    folder: str | os.PathLike[str], number: int, clips: tuple[TokenizedClip, ...], config: ClapConfig
) -> list[Float[Tensor, "_ D"]]:
    """The embeddings of a shard's clips, a row for each window.

    Raises:
        DataError: they are missing or damaged, of other clips, or made otherwise than ``config`` says.
    """
    path = embeddings_path(folder, number)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            embeddings = file.get_tensor("embeddings")
            described = json.loads(file.metadata()["descant"])
        windows, names, heard_by = described["windows"], described["clips"], described["heard_by"]
    except (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"the embeddings {str(path)!r} are missing or damaged ({error}): `descant data embeddings` makes them"
        ) from error
    if names != [clip.id for clip in clips] or sum(windows) != len(embeddings):
        raise DataError(
            f"{str(path)!r} holds embeddings of other clips: delete it and run `descant data embeddings` again"
        )
    if heard_by != _hearing(config):
        raise DataError(f"{str(path)!r} was heard with {heard_by}, the model hears {_hearing(config)}: hear them anew")
    return list(embeddings.split(windows))


def crop_embedding(
    embeddings: Float[Tensor, "windows D"], first_s: float, duration_s: float, config: ClapConfig
) -> Float[Tensor, " D"]:
    """Where a crop of a clip is: the mean of the windows that lie in it, of length 1.

    The nearest window where the crop is no longer than one; places are rounded to those of the windows.
    """
    last_s = first_s + duration_s - config.window_s
    if last_s < first_s:
        first_s = last_s = (first_s + last_s) / 2
    most = len(embeddings) - 1
    first, last = (min(max(round(start_s / config.stride_s), 0), most) for start_s in (first_s, last_s))
    return F.normalize(embeddings[first : last + 1].float().mean(dim=0), dim=0)


def _hearing(config: ClapConfig) -> dict[str, str | float]:
    """What the embeddings hang on; the quantiser behind them may change."""
    return {
        "name": config.name,
        "dim": config.dim,
        "sample_rate_hz": config.sample_rate_hz,
        "window_s": config.window_s,
        "stride_s": config.stride_s,
    }


def _write(path: Path, heard: list[Float[Tensor, "_ D"]], clips: tuple[TokenizedClip, ...], config: ClapConfig) -> None:
    described = {
        "clips": [clip.id for clip in clips],
        "windows": [len(embeddings) for embeddings in heard],
        "heard_by": _hearing(config),
    }
    try:
        content = save({"embeddings": torch.cat(heard).half()}, {"descant": json.dumps(described)})
        write_atomically(path, content)
    except AudioError as error:
        raise DataError(str(error)) from error
