"""MIDI files as tracks of notes; the only module that reads the format."""

from dataclasses import dataclass, field
from pathlib import Path

from descant.errors import MissingExtra
from starter_corpus.score import Note

DRUM_CHANNEL = 9
_VOLUME = 7


@dataclass(frozen=True, kw_only=True)
class Track:
    """The notes of one program in one track of a file, in the file's own ticks; ``volume`` is controller 7."""

    name: str
    program: int
    is_drums: bool
    notes: tuple[Note, ...]
    volume: int = 100


@dataclass
class _Reading:
    """A track while it is read: its notes by (program, is_drums), and the sounding notes by (channel, pitch)."""

    name: str = ""
    notes: dict[tuple[int, bool], list[Note]] = field(default_factory=dict)
    sounding: dict[tuple[int, int], tuple[int, int, int]] = field(default_factory=dict)
    volume: int = 100

    def press(self, tick: int, channel: int, pitch: int, velocity: int, program: int) -> None:
        self.release(tick, channel, pitch)
        self.sounding[channel, pitch] = (tick, velocity, program)

    def release(self, tick: int, channel: int, pitch: int) -> None:
        pressed = self.sounding.pop((channel, pitch), None)
        if pressed is not None:
            onset, velocity, program = pressed
            owner = (program, channel == DRUM_CHANNEL)
            self.notes.setdefault(owner, []).append(Note(onset, max(1, tick - onset), pitch, velocity))


def read_tracks(path: Path) -> tuple[Track, ...]:
    """The tracks of a MIDI file that have notes; a track with several programs is split into one for each.

    Only notes, programs and channel volume are read. Chorus, reverb, bends and pedals are dropped, so that a repeated
    bar sounds the same.

    Raises:
        MissingExtra: if mido is not installed.
    """
    try:
        import mido
    except ImportError as error:
        raise MissingExtra('reading MIDI needs mido: pip install -e ".[dev]"') from error
    tracks = []
    for midi_track in mido.MidiFile(path, clip=True).tracks:
        reading, tick, programs = _Reading(), 0, dict.fromkeys(range(16), 0)
        for message in midi_track:
            tick += message.time
            if message.type == "track_name":
                reading.name = message.name
            elif message.type == "program_change":
                programs[message.channel] = message.program
            elif message.type == "control_change" and message.control == _VOLUME:
                reading.volume = message.value
            elif message.type == "note_on" and message.velocity > 0:
                channel = message.channel
                reading.press(tick, channel, message.note, message.velocity, programs[channel])
            elif message.type in ("note_on", "note_off"):
                reading.release(tick, message.channel, message.note)
        for (program, is_drums), notes in reading.notes.items():
            tracks.append(
                Track(
                    name=reading.name,
                    program=program,
                    is_drums=is_drums,
                    notes=tuple(sorted(notes)),
                    volume=reading.volume,
                )
            )
    return tuple(tracks)
