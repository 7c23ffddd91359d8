"""What is measured of a finished clip: tempo, key, loudness and true peak."""

import math

from descant.audio import Clip, integrated_loudness
from descant.audio.limiter import true_peak
from descant.curation.key import estimate_key
from descant.curation.tempo import tempo_of

UNMEASURED: dict[str, float | str | None] = dict.fromkeys(
    ("tempo_bpm", "tempo_confidence", "key", "key_confidence", "loudness_lufs", "true_peak_db")
)
"""Of a clip that cannot be measured."""


def measured(clip: Clip) -> dict[str, float | str | None]:
    """The measures of a clip, None for those that it has not: silence, or music that is too short."""
    tempo, key = tempo_of(clip), estimate_key(clip)
    loudness, peak = integrated_loudness(clip.samples, clip.sample_rate_hz), true_peak(clip)
    return {
        "tempo_bpm": None if tempo is None else round(tempo.bpm, 1),
        "tempo_confidence": None if tempo is None else round(tempo.confidence, 3),
        "key": None if key is None else key.name,
        "key_confidence": None if key is None else round(key.confidence, 3),
        "loudness_lufs": round(loudness, 1) if math.isfinite(loudness) else None,
        "true_peak_db": round(20 * math.log10(peak), 1) if peak > 0 else None,
    }
