"""The accompaniment of a band: which of a groove's tracks play, on which instruments, and ours over drum patterns."""

import random
from collections.abc import Sequence
from dataclasses import replace

from starter_corpus.arrangement import within_range
from starter_corpus.instruments import PROGRAMS, instrument_of, program_of, programs_of
from starter_corpus.midi import Track
from starter_corpus.score import TICKS_PER_BEAT, Part
from starter_corpus.styles import Style

# Accompaniment of the drum patterns, by genre: bass textures and programs, chord textures and instruments.
_OVER_BEATS: dict[str, tuple[tuple[str, ...], tuple[int, ...], tuple[str, ...], tuple[str, ...]]] = {
    "world": (
        ("syncopated", "roots"),
        (32, 33),
        ("strum", "arpeggio"),
        ("nylon guitar", "kalimba", "marimba", "sitar"),
    ),
    "ambient": (("roots",), (38, 89), ("block", "rising"), ("synth pad", "electric piano", "synth strings")),
    "ballad": (("two_feel", "roots"), (33, 32), ("arpeggio", "block"), ("piano", "acoustic guitar", "electric piano")),
    "pop": (("eighths", "two_feel"), (33, 34), ("pulse", "strum", "block"), ("piano", "acoustic guitar", "synth pad")),
    "blues": (("two_feel", "walking"), (33, 32), ("backbeat", "pulse"), ("electric guitar", "organ", "piano")),
    "latin": (("two_feel", "syncopated"), (32,), ("stabs", "strum"), ("nylon guitar", "piano")),
    "country": (("two_feel",), (32, 33), ("strum", "picking"), ("acoustic guitar", "banjo")),
    "electronic": (
        ("octaves", "eighths"),
        (38, 39),
        ("offbeat", "stabs", "rising", "sixteenths"),
        ("synth brass", "synth lead", "synth pad", "electric piano", "piano"),
    ),
    "funk": (("syncopated",), (36, 33), ("stabs", "offbeat"), ("clavinet", "electric guitar", "electric piano")),
    "jazz": (
        ("two_feel", "walking"),
        (32,),
        ("stabs", "backbeat"),
        ("piano", "jazz guitar", "vibraphone", "electric piano"),
    ),
    "hip hop": (
        ("syncopated", "roots"),
        (38, 33, 36),
        ("block", "stabs", "arpeggio"),
        ("electric piano", "piano", "synth strings", "jazz guitar"),
    ),
    "rock": (
        ("eighths",),
        (34, 33),
        ("pulse", "strum", "chugs"),
        ("overdriven guitar", "electric guitar", "organ", "distorted guitar"),
    ),
    "metal": (("eighths",), (34,), ("pulse", "chugs"), ("distorted guitar",)),
    "reggae": (("syncopated",), (33,), ("offbeat",), ("organ", "electric guitar", "piano")),
    "r&b": (("syncopated", "roots"), (33, 38), ("block", "stabs"), ("electric piano", "synth pad")),
}

DISTORTED = (29, 30)
"""The programs of guitars that play power chords."""

_MAY_SUBSTITUTE = {
    *("jazz", "latin", "ballad", "pop", "lullaby", "classical", "folk", "r&b", "ballroom", "waltz", "gospel"),
}
_SUBSTITUTES = {
    "piano": ("electric piano", "vibraphone", "organ", "nylon guitar"),
    "jazz guitar": ("nylon guitar", "nylon guitar", "acoustic guitar", "piano"),
    "acoustic guitar": ("nylon guitar", "piano"),
    "electric piano": ("piano", "vibraphone"),
    "strings": ("choir", "synth strings"),
    "organ": ("accordion", "electric piano"),
}


def parts_of(tracks: Sequence[Track], genre: str) -> list[Part]:
    """The tracks with a named instrument as parts, each with its role."""
    parts = []
    for track in tracks:
        instrument = instrument_of(track.program, is_drums=track.is_drums)
        if instrument is None or not track.notes:
            continue
        role = _role_of(track)
        program = track.program
        if role == "bass" and instrument.family in ("guitar", "synth") and genre != "electronic":
            program = 32 if genre in ("jazz", "latin", "ballroom", "show", "country", "folk") else 33
        parts.append(Part(program=program, role=role, notes=track.notes, is_drums=track.is_drums))
    return parts


def _role_of(track: Track) -> str:
    if track.is_drums:
        return "drums"
    pitches = sorted(note.pitch for note in track.notes)
    instrument = PROGRAMS[track.program]
    is_bass_line = track.name.startswith(("Bass", "Walk")) and pitches[len(pitches) // 2] < 48
    if instrument.family == "bass" or is_bass_line:
        return "bass"
    if sum(note.length for note in track.notes) / len(track.notes) > 2 * TICKS_PER_BEAT:
        return "pad"
    return "arpeggio" if track.name.startswith(("Arpeggio", "Scale", "Solo", "Bass")) else "chords"


def thin_out(parts: list[Part], style: Style, rng: random.Random) -> list[Part]:
    """Some of the parts: at most three instruments besides drums and bass, since simple textures are learned first."""
    drums = [part for part in parts if part.is_drums]
    bass = [part for part in parts if part.role == "bass"]
    others = [part for part in parts if part.role not in ("drums", "bass")]
    names = list(dict.fromkeys(part.program for part in others))
    rng.shuffle(names)
    names.sort(key=lambda program: all(part.role == "pad" for part in others if part.program == program))
    draw = rng.random()
    if drums and draw < (0.35 if style.is_beat else 0.05):
        return drums
    if names and draw > 0.93:
        return [part for part in others if part.program == names[0]]
    kept = set(rng.choices((names[:1], names[:2], names[:3]), (4, 4, 2))[0])
    chosen = [part for part in others if part.program in kept]
    if style.genre in _MAY_SUBSTITUTE and rng.random() < 0.3:
        chosen = _substituted(chosen, rng)
    if bass and (rng.random() < 0.85 or not chosen):
        chosen += bass
    if drums and (rng.random() < 0.85 or not chosen):
        chosen += drums
    return chosen


def _substituted(parts: Sequence[Part], rng: random.Random) -> list[Part]:
    """The parts, some instruments replaced by related ones."""
    replacements: dict[int, int] = {}
    for part in parts:
        names = _SUBSTITUTES.get(PROGRAMS[part.program].name)
        if names and part.program not in replacements:
            replacements[part.program] = program_of(rng.choice(names))
    return [within_range(replace(part, program=replacements.get(part.program, part.program))) for part in parts]


def draw_backing(style: Style, rng: random.Random) -> tuple[tuple[Part, str], ...]:
    """Random parts for a drum pattern, which have no notes yet, each with its texture: chords and usually a bass."""
    bass_textures, bass_programs, chord_textures, chord_names = _OVER_BEATS[style.genre]
    program = rng.choice(programs_of(rng.choice(chord_names)))
    texture = "chugs" if program in DISTORTED and rng.random() < 0.7 else rng.choice(chord_textures)
    parts = [(Part(program=program, role="chords", notes=()), texture)]
    if rng.random() < 0.85:
        parts.append((Part(program=rng.choice(bass_programs), role="bass", notes=()), rng.choice(bass_textures)))
    return tuple(parts)
