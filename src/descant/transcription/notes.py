"""Notes from what a network gives for every frame and pitch: probabilities that a pitch begins, and that it sounds."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

SAMPLE_RATE_HZ = 22_050
FRAME_SAMPLES = 256
FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
LOWEST_PITCH, NUM_PITCHES = 21, 88
"""The keys of a piano."""

ONSET_THRESHOLD, SOUND_THRESHOLD = 0.5, 0.3
GAP_FRAMES = 11
"""A note ends where its pitch is below the threshold for so long (0.13 s)."""
SHORTEST_FRAMES = 11
LEAST_CONFIDENCE = 0.4
"""On nine General MIDI instruments with random chords, notes below it were wrong ones, mostly harmonics: without them
the mean F1 rose from 0.63 to 0.68, and no instrument lost."""
RISE_FRAMES = 2
"""An onset that the network did not find may be a rise over so many frames."""


@dataclass(frozen=True)
class Note:
    """A note.

    Args:
        pitch: MIDI number, 60 is middle C.
        confidence: how sure the network is of it while it sounds, from 0 to 1.
    """

    onset_s: float
    end_s: float
    pitch: int
    confidence: float


def decode_notes(sounding: Float[np.ndarray, "T P"], onsets: Float[np.ndarray, "T P"]) -> list[Note]:
    """The notes by onset and pitch, as Basic Pitch decodes them: each begins at an onset and lasts while it sounds.

    A frame of a pitch, with its neighbours a semitone away, belongs to one note, the later one first, so a note ends
    where its pitch begins again. What still sounds without an onset becomes notes too, the surest first. Unlike there,
    a note that is too short to be kept has its frames too.
    """
    left = sounding.copy()
    found = []
    starts = _peaks(np.maximum(onsets, _rises(sounding, onsets)))
    for start, pitch in sorted(zip(*(index.tolist() for index in np.nonzero(starts)), strict=True), reverse=True):
        found.append((start, _last_sounding(left[start:, pitch]) + start, pitch))
        _take(left, *found[-1])
    for middle, pitch in _surest_first(left):
        if not left[middle, pitch]:  # a note has it by now
            continue
        end = _last_sounding(left[middle:, pitch]) + middle
        start = middle + 1 - _last_sounding(left[middle::-1, pitch])
        found.append((start, end, pitch))
        _take(left, start, end, pitch)
    notes = [
        Note(start * FRAME_S, end * FRAME_S, pitch + LOWEST_PITCH, float(sounding[start:end, pitch].mean()))
        for start, end, pitch in found
        if end - start > SHORTEST_FRAMES
    ]
    return sorted(
        (note for note in notes if note.confidence >= LEAST_CONFIDENCE), key=lambda note: (note.onset_s, note.pitch)
    )


def _rises(sounding: Float[np.ndarray, "T P"], onsets: Float[np.ndarray, "T P"]) -> Float[np.ndarray, "T P"]:
    """How much each pitch becomes surer within a few frames, scaled to the surest onset."""
    padded = np.concatenate([np.zeros((RISE_FRAMES, sounding.shape[1]), sounding.dtype), sounding])
    earlier = [padded[RISE_FRAMES - back : len(padded) - back] for back in range(1, RISE_FRAMES + 1)]
    rise = np.minimum.reduce([sounding - before for before in earlier]).clip(min=0)
    rise[:RISE_FRAMES] = 0
    highest = rise.max(initial=0)
    return rise * (onsets.max(initial=0) / highest) if highest else rise


def _peaks(values: Float[np.ndarray, "T P"]) -> Bool[np.ndarray, "T P"]:
    """Where a pitch is above the threshold for onsets and higher than in the frame before and in the one after."""
    padded = np.pad(values, ((1, 1), (0, 0)))
    return (values >= ONSET_THRESHOLD) & (values > padded[:-2]) & (values >= padded[2:])


def _surest_first(left: Float[np.ndarray, "T P"]) -> list[tuple[int, int]]:
    """The frames and pitches that sound, sorted once: to search for the next one again and again takes minutes."""
    frames, pitches = np.nonzero(left > SOUND_THRESHOLD)
    order = np.argsort(-left[frames, pitches], kind="stable")
    return list(zip(frames[order].tolist(), pitches[order].tolist(), strict=True))


def _last_sounding(values: Float[np.ndarray, " T"]) -> int:
    """How many frames pass from the first until the pitch has been silent for ``GAP_FRAMES``, without those."""
    quiet = 0
    # Not as a list, which would hold the rest of the music for each note.
    for frame, value in enumerate(values[1:], start=1):
        quiet = quiet + 1 if value < SOUND_THRESHOLD else 0
        if quiet == GAP_FRAMES:
            return frame + 1 - GAP_FRAMES
    return len(values) - quiet


def _take(left: Float[np.ndarray, "T P"], start: int, end: int, pitch: int) -> None:
    left[start:end, max(pitch - 1, 0) : pitch + 2] = 0
