"""Audio to shards of codes, once for all, so that the language model never waits for the codec.

A shard is a pure function of its clips, the codec and the plan; whatever stops the run, the next one goes on with the
first shard that is not there.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int16
from torch import Tensor

from descant.audio import AudioFacts, Clip, audio_facts, check_usable, read_samples
from descant.codec.base import AudioCodec
from descant.data.manifest import ClipRecord
from descant.data.shards import (
    CodecFacts,
    ShardIndex,
    TokenizedClip,
    read_index,
    shard_path,
    write_index,
    write_shard,
)
from descant.errors import DataError, InvalidRequest

CONTEXT_S = 1.0
"""What a window of a long clip is given to hear on each side; the codes of it are thrown away."""


@torch.inference_mode()
def tokenize(
    records: Sequence[ClipRecord],
    codec: AudioCodec,
    folder: str | os.PathLike[str],
    *,
    shard_clips: int = 256,
    batch_size: int = 8,
    window_s: float = 60.0,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> ShardIndex:
    """Encodes every clip and writes the shards that the folder does not have yet.

    Clips of equal length are encoded ``batch_size`` at a time. Those longer than ``window_s`` are encoded in windows,
    each with a second of context on both sides, so that memory does not grow with their length.

    Args:
        device: where the codec is.
        progress: is called with the number of clips done and of all clips, after every shard.

    Raises:
        DataError: the folder was begun with other clips, another codec or another plan, or cannot be written.
        AudioError: a clip is missing or damaged; ``doctor.check`` finds all such clips at once.
        ConfigError: a batch, a shard or a window of nothing.
        InvalidRequest: the codec is in training mode or its codes do not fit 16 bits.
    """
    if codec.training:
        raise InvalidRequest("the codec is in training mode: call codec.eval() before tokenizing with it")
    if codec.codebook_size > torch.iinfo(torch.int16).max:
        raise InvalidRequest(f"codebooks of {codec.codebook_size} entries do not fit the shards' 16 bits")
    if not records:
        raise DataError("there are no clips to tokenize")
    ids = _ids(records)
    plan = ShardIndex(
        codec=codec_facts(codec),
        records_fingerprint=_records_fingerprint(records, ids),
        num_clips=len(records),
        shard_clips=shard_clips,
        batch_size=batch_size,
        window_s=window_s,
    )
    _begin(Path(folder), plan)
    for number in range(plan.num_shards):
        of_shard = slice(number * shard_clips, (number + 1) * shard_clips)
        if not shard_path(folder, number).exists():
            codes = _encode_all(records[of_shard], codec, plan, device)
            clips = _described(records[of_shard], ids[of_shard], codes)
            write_shard(shard_path(folder, number), clips, torch.cat(codes, dim=1))
        if progress is not None:
            progress(min(of_shard.stop, len(records)), len(records))
    return plan


def codec_facts(codec: AudioCodec) -> CodecFacts:
    """What codes of this codec mean, with a fingerprint of all weights that they hang on.

    Those under a module named ``decoder`` do not count: a better decoder leaves the codes as they are.
    """
    digest = hashlib.sha256(type(codec).__name__.encode())
    for name, tensor in sorted(codec.state_dict().items()):
        if "decoder" not in name.split("."):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return CodecFacts(
        fingerprint=digest.hexdigest(),
        sample_rate_hz=codec.sample_rate_hz,
        num_channels=codec.num_channels,
        num_codebooks=codec.num_codebooks,
        codebook_size=codec.codebook_size,
        hop_samples=codec.hop_samples,
    )


def _begin(folder: Path, plan: ShardIndex) -> None:
    """Makes the folder with its plan, or finds it as an earlier run with the same plan has left it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_new = not any(folder.iterdir())
    except OSError as error:
        raise DataError(f"cannot write shards to {str(folder)!r}: {error}") from error
    if is_new:
        write_index(folder, plan)
        return
    found = read_index(folder)
    changed = [name for name, value in vars(plan).items() if getattr(found, name) != value]
    if changed:
        raise DataError(
            f"{str(folder)!r} was begun with another {' and '.join(changed)}: its shards would not belong together. "
            f"Use a new folder, or delete this one"
        )


def _encode_all(
    records: Sequence[ClipRecord], codec: AudioCodec, plan: ShardIndex, device: torch.device | str
) -> list[Int16[Tensor, "K _"]]:
    """The codes of every clip, in order."""
    facts = [audio_facts(record.path) for record in records]
    for record, known in zip(records, facts, strict=True):
        check_usable(record.path, known)
    equals: dict[tuple[int, int], list[int]] = {}
    for index, (num_samples, rate_hz, _) in enumerate(facts):
        equals.setdefault((num_samples, rate_hz), []).append(index)
    codes: dict[int, Tensor] = {}
    for equal in equals.values():
        for start in range(0, len(equal), plan.batch_size):
            batch = equal[start : start + plan.batch_size]
            found = _encode_batch([records[index].path for index in batch], facts[batch[0]], codec, plan, device)
            codes.update(zip(batch, found, strict=True))
    return [codes[index] for index in range(len(records))]


def _encode_batch(
    paths: list[Path], facts: AudioFacts, codec: AudioCodec, plan: ShardIndex, device: torch.device | str
) -> Int16[Tensor, "B K T"]:
    """The codes of equally long clips, window by window."""
    rate_hz, hop = codec.sample_rate_hz, codec.hop_samples
    num_samples = round(facts.num_samples * rate_hz / facts.sample_rate_hz)
    num_frames = codec.num_frames(num_samples)
    # Windows begin where a frame begins on a whole sample of the file, or the resampled windows would be out of step.
    unit = rate_hz // math.gcd(rate_hz, hop * facts.sample_rate_hz)
    window = _rounded_up(plan.window_s * codec.frame_rate_hz, unit)
    context = _rounded_up(CONTEXT_S * codec.frame_rate_hz, unit)
    if num_frames <= window:
        window, context = num_frames, 0
    pieces = []
    for start in range(0, num_frames, window):
        first, last = max(0, start - context), start + window + context
        offset = first * hop * facts.sample_rate_hz // rate_hz
        # The last window ends with the file, be its last frame full or not.
        end = facts.num_samples if last >= num_frames else last * hop * facts.sample_rate_hz // rate_hz
        length = min(last * hop, num_samples) - first * hop
        waves = [_wave(path, offset, end - offset, codec, facts.sample_rate_hz, length) for path in paths]
        codes = codec.encode(torch.stack(waves).to(device)).cpu()
        pieces.append(codes[:, :, start - first : min(start + window, num_frames) - first])
    return torch.cat(pieces, dim=2).to(torch.int16)


def _wave(
    path: Path, offset: int, num_samples: int, codec: AudioCodec, rate_hz: int, length: int
) -> Float[Tensor, "C N"]:
    """A piece of a file as the codec wants it, ``length`` samples of the codec's rate."""
    clip = Clip(read_samples(path, offset, num_samples), rate_hz).to_channels(codec.num_channels)
    samples = clip.resample(codec.sample_rate_hz).samples
    # The resampler rounds a length in its own way; one sample more could begin another frame.
    return torch.nn.functional.pad(samples, (0, length - samples.shape[1]))


def _described(
    records: Sequence[ClipRecord], ids: Sequence[str], codes: Sequence[Int16[Tensor, "K _"]]
) -> list[TokenizedClip]:
    clips, start = [], 0
    for record, name, of_clip in zip(records, ids, codes, strict=True):
        clips.append(
            TokenizedClip(
                id=name,
                start_frame=start,
                num_frames=of_clip.shape[1],
                split=record.split,
                captions=record.captions,
                tags=record.tags,
            )
        )
        start += of_clip.shape[1]
    return clips


def _ids(records: Sequence[ClipRecord]) -> list[str]:
    """The clips' paths below their common folder: they stay what they are when the training set is moved."""
    common = os.path.commonpath([record.path.parent for record in records])
    return [record.path.relative_to(common).as_posix() for record in records]


def _records_fingerprint(records: Sequence[ClipRecord], ids: Sequence[str]) -> str:
    facts = [
        [
            name,
            record.duration_s,
            record.sample_rate_hz,
            record.num_channels,
            record.split,
            record.captions,
            record.tags,
        ]
        for record, name in zip(records, ids, strict=True)
    ]
    return hashlib.sha256(json.dumps(facts, ensure_ascii=True).encode()).hexdigest()


def _rounded_up(num_frames: float, unit: int) -> int:
    return max(1, math.ceil(num_frames / unit)) * unit
