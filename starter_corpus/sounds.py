"""Which preset plays a part, through which amplifier, in which room: drawn for each piece, suited to its genre.

A General MIDI program has several sounds here: those of other programs with the same instrument, variations in other
banks, and the same instrument of a second soundfont. Distorted guitars are clean ones through an amplifier
(``effects.py``): the recorded distortion of a single note does not distort a chord.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from starter_corpus.instruments import PROGRAMS, programs_of
from starter_corpus.score import Font, Part, Sound

_MUSESCORE_SHARE = 0.5
_AMPLIFIED_SHARE = 0.8
_CLEAN_GUITAR, _MUTED_GUITAR = 27, 28
_AMPLIFIERS: dict[str, tuple[tuple[int, tuple[str, ...]], ...]] = {
    "distorted guitar": ((_CLEAN_GUITAR, ("high gain", "lead")),),
    "overdriven guitar": ((_CLEAN_GUITAR, ("crunch", "lead")),),
    "electric guitar": ((_CLEAN_GUITAR, ("clean", "clean", "crunch")),),
    "muted electric guitar": ((_MUTED_GUITAR, ("clean", "crunch")),),
    "jazz guitar": ((26, ("clean",)),),
    "bass guitar": ((33, ("bass",)), (34, ("bass",))),
}
"""By instrument: clean presets, and the amplifiers for them."""

_VARIATIONS = {4: 8, 5: 8, 6: 8, 16: 8, 17: 8, 19: 8, 21: 8, 38: 8, 39: 8, 50: 8, 61: 8, 62: 8, 63: 8, 80: 8}
"""Programs that have another preset of the same instrument in another bank."""

_KITS: Mapping[str, tuple[int, ...]] = {
    "rock": (0, 1, 3, 8, 16),
    "metal": (16, 17, 0),
    "pop": (0, 2, 8, 9),
    "jazz": (32, 33, 40, 41),
    "ballad": (0, 8, 40),
    "electronic": (24, 25, 24, 25, 8),
    "hip hop": (25, 8, 24, 0),
    "disco": (0, 8, 24),
    "funk": (0, 4, 8, 10),
    "r&b": (8, 25, 0),
    "soul": (0, 8),
    "reggae": (0, 5, 8),
    "blues": (0, 8, 32, 40),
    "march": (0, 48),
    "show": (0, 32),
    "ballroom": (32, 40),
    "lullaby": (40,),
}
"""Kits of bank 128 by genre."""

_ROOMS: Mapping[str, tuple[str, ...]] = {
    "sacred": ("church", "church", "hall"),
    "classical": ("hall", "hall", "chamber"),
    "ambient": ("church", "hall", "plate"),
    "lullaby": ("chamber", "hall", "dry"),
    "ballad": ("plate", "hall", "chamber"),
    "electronic": ("dry", "plate", "dry", "chamber"),
    "metal": ("dry", "chamber"),
    "hip hop": ("dry", "dry", "chamber"),
}
_USUAL_ROOMS = ("dry", "chamber", "chamber", "plate")


def draw_room(rng: random.Random, genre: str) -> str:
    """A room of ``effects.ROOMS``, or ``dry``."""
    return rng.choice(_ROOMS.get(genre, _USUAL_ROOMS))


def draw_sounds(parts: Sequence[Part], genre: str, rng: random.Random) -> tuple[Part, ...]:
    """The parts with a sound each; parts of one program share it."""
    font: Font = "musescore" if rng.random() < _MUSESCORE_SHARE else "fluid"
    kit = Sound(font=font, bank=128, preset=rng.choice(_KITS.get(genre, (0, 0, 8))))
    sounds = {part.program: _sound(part.program, font, rng) for part in parts if not part.is_drums}
    return tuple(replace(part, sound=kit if part.is_drums else sounds[part.program]) for part in parts)


def _sound(program: int, font: Font, rng: random.Random) -> Sound:
    name = PROGRAMS[program].name
    if name in _AMPLIFIERS and rng.random() < _AMPLIFIED_SHARE:
        preset, amplifiers = rng.choice(_AMPLIFIERS[name])
        return Sound(font=font, preset=preset, amplifier=rng.choice(amplifiers))
    if rng.random() < 0.5:
        program = rng.choice(programs_of(name))
    bank = _VARIATIONS.get(program, 0) if rng.random() < 0.25 else 0
    return Sound(font=font, bank=bank, preset=program)
