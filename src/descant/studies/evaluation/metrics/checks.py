"""Faults of the signal: level, clipping, silence, offset and dead channels."""

import math

from descant.audio import Clip
from descant.evaluation.signal_checks import find_faults, measure_signal
from descant.studies.evaluation.base import Asked, ClipMetric, Measure, Values


class SignalFaults(ClipMetric):
    """The share of clips with a fault, and the figures behind it; silence has no loudness and no peak."""

    name = "checks"
    help = "loudness, peaks, clipping and silence of the files, and the share of clips with a fault"
    measures = (
        Measure(key="faulty", label="share of clips with a fault of the signal", better="lower"),
        Measure(key="loudness_lufs", label="loudness, LUFS"),
        Measure(key="true_peak_db", label="true peak, dB"),
        Measure(key="clipped_share", label="share of samples clipped", better="lower"),
        Measure(key="silent_share", label="share of the time silent", better="lower"),
    )

    def measure(self, clip: Clip, asked: Asked) -> Values:
        del asked
        signal = measure_signal(clip)
        is_silent = signal.sample_peak_db == -math.inf
        return {
            "faulty": float(bool(find_faults(signal))),
            # Minus infinity has no mean.
            "loudness_lufs": None if signal.loudness_lufs == -math.inf else signal.loudness_lufs,
            "true_peak_db": None if is_silent else signal.true_peak_db,
            "clipped_share": signal.clipped_share,
            "silent_share": 1.0 if is_silent else signal.silent_share,
        }
