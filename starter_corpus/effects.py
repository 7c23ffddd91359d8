"""Amplifiers for guitars and basses, and rooms for the whole mix, by the program ``sox``.

The program is GPL-2 and runs in its own process. Its effects here do not vary over time, so a bar that repeats still
repeats in what comes out of them.
"""

import numpy as np
from jaxtyping import Float32

from descant.errors import DataError
from starter_corpus.programs import run_program
from starter_corpus.score import SAMPLE_RATE_HZ

_CABINET = "highpass 85 equalizer 400 1.0q -4 equalizer 2600 0.9q 5 lowpass 5200 lowpass 6500"
_HARD = "rate -h 128000"
"""Distortion at four times the rate: its overtones above the band would else be mirrored into it."""

AMPLIFIERS = {
    "clean": "compand 0.005,0.15 6:-40,-24,-12,-8 -3 highpass 70 equalizer 3000 1.0q 3 lowpass 7500",
    "crunch": f"{_HARD} highpass 120 overdrive 14 5 rate -h 32000 {_CABINET}",
    "high gain": f"{_HARD} highpass 150 equalizer 900 0.8q 4 overdrive 30 0 overdrive 12 0 rate -h 32000 {_CABINET}",
    "lead": f"{_HARD} highpass 150 equalizer 1100 0.7q 6 overdrive 22 8 rate -h 32000 {_CABINET}",
    "bass": "compand 0.01,0.2 6:-40,-20,-10,-8 -4 equalizer 90 1.0q 3 equalizer 700 0.8q -3 lowpass 4500",
}
"""Chains of sox's effects by name."""

ROOMS = {
    "chamber": ("reverb -w 30 60 25 100 5 0", 0.14),
    "plate": ("reverb -w 55 30 60 100 0 0", 0.14),
    "hall": ("reverb -w 60 50 85 100 20 0", 0.2),
    "church": ("reverb -w 80 40 100 100 40 0", 0.3),
}
"""By name, the effect of the room alone and its level relative to the music."""

_DRIVE_PEAK = 0.5
"""The peak at which a part enters its amplifier: how much it distorts depends on that."""


def amplify(samples: Float32[np.ndarray, " N"], amplifier: str) -> Float32[np.ndarray, " N"]:
    """A part through an amplifier; the level is another.

    Raises:
        MissingExtra: sox is not installed.
        DataError: sox failed.
    """
    peak = np.abs(samples).max()
    if peak == 0:
        return samples
    return _sox(samples * (_DRIVE_PEAK / peak), AMPLIFIERS[amplifier])


def in_room(samples: Float32[np.ndarray, " N"], room: str) -> Float32[np.ndarray, " N"]:
    """The music with the sound of a room added; ``dry`` adds nothing.

    Raises:
        MissingExtra, DataError: as ``amplify``.
    """
    peak = np.abs(samples).max()
    if room == "dry" or peak == 0:
        return samples
    chain, level = ROOMS[room]
    wet = _sox(samples * (0.25 / peak), chain)
    gain = level * np.sqrt(np.mean(samples**2) / max(float(np.mean(wet**2)), 1e-12))
    return samples + np.float32(gain) * wet


def _sox(samples: Float32[np.ndarray, " N"], chain: str) -> Float32[np.ndarray, " N"]:
    sound = ["-t", "f32", "-r", str(SAMPLE_RATE_HZ), "-c", "1", "-"]
    call = ["-D", "-V1", *sound, *sound, *chain.split()]
    data = samples.astype("<f4").tobytes()
    run = run_program("sox", call, package="sox", reason="amplifiers and rooms need", data=data)
    played = np.frombuffer(run.stdout, dtype="<f4")
    if run.returncode != 0 or not 0 <= len(samples) - len(played) < SAMPLE_RATE_HZ // 10:
        raise DataError(f"sox {chain}: {run.stderr.decode(errors='replace')[-300:]}, {len(played)} samples")
    return np.pad(played, (0, len(samples) - len(played))).astype(np.float32)
