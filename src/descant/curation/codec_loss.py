"""What a codec alone loses of each clip: no model that uses it can sound better."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from descant.audio import Clip, audio_header
from descant.codec.base import AudioCodec
from descant.codec.clip_codec import ClipCodec
from descant.codec.spec import codec_spec
from descant.evaluation.codec_quality import WINDOW, log_mel_distance
from descant.studies.evaluation.cache import Cache, entry_key
from descant.user_files import sha256_of

EXCERPT_S = 10.0
"""How much of the middle of a clip is measured."""
_DISTANCE = "log_mel_db"


@dataclass(frozen=True)
class CodecLoss:
    """The log-mel distance in dB between ten seconds of a clip and their reconstruction, 0 for none."""

    clip: Path
    distance_db: float


def codec_losses(
    codec: AudioCodec,
    paths: Sequence[Path],
    *,
    cache: Path | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> list[CodecLoss]:
    """The loss of each clip that is long enough to be measured, the largest first."""
    kept = None if cache is None else Cache(cache)
    fingerprint = codec_spec(codec).fingerprint
    losses = []
    for number, path in enumerate(paths, start=1):
        key = entry_key(sha256_of(path), _DISTANCE, fingerprint, EXCERPT_S)
        known = None if kept is None else kept.values(key)
        distance_db = _distance_db(codec, path) if known is None else known.get(_DISTANCE)
        if kept is not None and known is None:
            kept.keep_values(key, {_DISTANCE: distance_db})
        if distance_db is not None:
            losses.append(CodecLoss(path, distance_db))
        progress(number, len(paths))
    return sorted(losses, key=lambda loss: -loss.distance_db)


def round_trip(codec: AudioCodec, path: Path) -> tuple[Clip, Clip]:
    """The excerpt of a file as the codec takes it, and its reconstruction.

    Raises:
        AudioError: the file cannot be read.
    """
    duration_s = audio_header(path).duration_s
    excerpt = Clip.read(path, offset_s=max(0.0, (duration_s - EXCERPT_S) / 2), duration_s=EXCERPT_S)
    taken = excerpt.resample(codec.sample_rate_hz).to_channels(codec.num_channels)
    decoded = ClipCodec(codec).decode(ClipCodec(codec).encode(taken))
    samples = decoded.samples[:, : taken.samples.shape[1]]
    return taken, Clip(samples=samples, sample_rate_hz=decoded.sample_rate_hz)


def _distance_db(codec: AudioCodec, path: Path) -> float | None:
    taken, decoded = round_trip(codec, path)
    if taken.samples.shape[1] < WINDOW:
        return None
    return log_mel_distance(taken.samples, decoded.samples, codec.sample_rate_hz)
