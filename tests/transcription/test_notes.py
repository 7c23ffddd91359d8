"""Notes from the probabilities of frames and pitches, without a network."""

import time

import numpy as np

from descant.transcription.notes import NUM_PITCHES, decode_notes

FRAMES_PER_MINUTE = 5_168


def probabilities(minutes):
    """Eight notes a second, most of them with an onset, and single frames between them that seem to sound."""
    draw = np.random.default_rng(0)
    shape = (round(minutes * FRAMES_PER_MINUTE), NUM_PITCHES)
    sounding = ((draw.random(shape) < 0.01) * 0.4).astype(np.float32)
    onsets = np.zeros(shape, np.float32)
    for _ in range(round(minutes * 480)):
        start, length, pitch = draw.integers(0, len(sounding) - 40), draw.integers(15, 40), draw.integers(5, 80)
        sounding[start : start + length, pitch] = draw.uniform(0.5, 0.9)
        onsets[start, pitch] = draw.uniform(0.4, 1.0)
    return sounding, onsets


def test_the_time_to_find_notes_is_proportional_to_the_length():
    """Each note once looked through all of the music: four minutes of it took two minutes."""
    seconds = []
    for minutes in (0.2, 2.0):
        given = probabilities(minutes)
        began = time.process_time()
        assert decode_notes(*given)
        seconds.append(time.process_time() - began)
    assert seconds[1] < 40 * seconds[0]


def test_a_frame_belongs_to_the_surest_note_near_it():
    """Without onsets: of two neighbours a semitone apart the surer one is the note, the other one its blur."""
    sounding, onsets = np.zeros((60, NUM_PITCHES), np.float32), np.zeros((60, NUM_PITCHES), np.float32)
    sounding[10:40, 30], sounding[10:40, 31], sounding[10:40, 40] = 0.6, 0.8, 0.5
    assert [note.pitch - 21 for note in decode_notes(sounding, onsets)] == [31, 40]
