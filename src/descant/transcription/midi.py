"""MIDI files of notes."""

import io
from collections.abc import Sequence

from descant.errors import InvalidRequest, MissingExtra
from descant.tempo_key import FASTEST_BPM, SLOWEST_BPM
from descant.transcription.network import INSTALL
from descant.transcription.notes import Note

DEFAULT_BPM = 120.0
"""Where no tempo is known."""
TICKS_PER_BEAT = 480
MAX_VELOCITY = 127


def check_tempo(tempo: float) -> None:
    """Checks a tempo in quarter notes per minute.

    Raises:
        InvalidRequest: it is outside 30 to 300.
    """
    if not SLOWEST_BPM <= tempo <= FASTEST_BPM:
        raise InvalidRequest(f"tempo={tempo:g}: the bars of a MIDI file have {SLOWEST_BPM:g} to {FASTEST_BPM:g} bpm")


def midi_file(notes: Sequence[Note], duration_s: float, tempo: float = DEFAULT_BPM, name: str = "") -> bytes:
    """The bytes of a MIDI file with one track, which ends at ``duration_s``.

    Args:
        tempo: in quarter notes per minute. Notes stay at their seconds; with the music's tempo, and the first beat at
            the beginning, they lie on the bars that a sequencer shows (of four beats).
        name: of the track.

    The velocity of a note is how sure it is.

    Raises:
        InvalidRequest: ``tempo`` is outside 30 to 300.
        MissingExtra: mido is not installed.
    """
    check_tempo(tempo)
    try:
        import mido
    except ImportError as error:
        raise MissingExtra(f"MIDI files need mido: {INSTALL}") from error
    beat_us = mido.bpm2tempo(tempo)
    track = mido.MidiTrack()
    # Latin-1 is the encoding of texts in MIDI files.
    track.append(mido.MetaMessage("track_name", name=name.encode("latin-1", "replace").decode("latin-1")))
    track.append(mido.MetaMessage("set_tempo", tempo=beat_us))
    track.append(mido.MetaMessage("time_signature", numerator=4, denominator=4))
    now = 0
    for tick, velocity, pitch in _events(notes, beat_us):
        track.append(mido.Message("note_on", note=pitch, velocity=velocity, time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track", time=max(0, _tick(duration_s, beat_us) - now)))
    file = io.BytesIO()
    mido.MidiFile(type=0, ticks_per_beat=TICKS_PER_BEAT, tracks=[track]).save(file=file)
    return file.getvalue()


def _events(notes: Sequence[Note], beat_us: int) -> list[tuple[int, int, int]]:
    """Tick, velocity and pitch of the beginnings of notes, and, with velocity 0, of their ends, which come first."""
    events = []
    for note in notes:
        start = _tick(note.onset_s, beat_us)
        velocity = min(max(round(MAX_VELOCITY * note.confidence), 1), MAX_VELOCITY)
        events += [(start, velocity, note.pitch), (max(_tick(note.end_s, beat_us), start + 1), 0, note.pitch)]
    return sorted(events)


def _tick(seconds: float, beat_us: int) -> int:
    """The tick of a second; ``beat_us`` are the microseconds of a quarter note."""
    return round(seconds * 1e6 / beat_us * TICKS_PER_BEAT)
