"""Copies of songs at other speeds, as a tape has that runs faster: all of it is higher then, and shorter.

Little music is learned by heart in a few passes. In copies a semitone higher and lower the same songs are in other keys
and tempi, so what a model learns of them is what they have in common.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from descant.audio import read_in_blocks, write_flac
from descant.data.manifest import ClipRecord
from descant.tempo_key import UNKNOWN, parse_key, parse_tempo_key
from descant.user_files import file_state

RATE_STEP_HZ = 100
"""Rates of copies are multiples of it, so that windows of codes begin at whole samples; off by at most two cents of a
rate of 44,100 Hz."""


@dataclass(frozen=True)
class Copy:
    """A song at another speed: the same samples at another rate, in a file that may not be there yet."""

    song: ClipRecord
    record: ClipRecord

    def write(self) -> None:
        """Writes the file.

        Raises:
            AudioError: the song cannot be read, or the file not be written.
        """
        self.record.path.parent.mkdir(parents=True, exist_ok=True)
        blocks = (block for block, _ in read_in_blocks(self.song.path))
        write_flac(self.record.path, blocks, self.record.sample_rate_hz)


def copies_of(
    songs: Sequence[ClipRecord], semitones: Sequence[float], folder: Path, fields: Sequence[str]
) -> list[Copy]:
    """The copies of songs whose files are there, in ``folder`` and with names that change when a song does.

    Captions that state a tempo or a key are not those of a copy. Of the tags it has those in ``fields``; a tempo
    follows the speed, and a key where the shift is of whole semitones.
    """
    return [
        _copy(song, shift, folder / f"{_digest(song)}{shift:+g}.flac", fields)
        for song in songs
        if song.path.exists()
        for shift in semitones
    ]


def _digest(song: ClipRecord) -> str:
    """What a song's file is known by: its place, size and time of change."""
    return hashlib.sha256(f"{song.path.absolute()}, {file_state(song.path)}".encode()).hexdigest()[:16]


def _copy(song: ClipRecord, semitones: float, file: Path, fields: Sequence[str]) -> Copy:
    rate_hz = max(1, round(song.sample_rate_hz * 2 ** (semitones / 12) / RATE_STEP_HZ)) * RATE_STEP_HZ
    speed = rate_hz / song.sample_rate_hz
    return Copy(
        song,
        ClipRecord(
            path=file,
            duration_s=song.duration_s / speed,
            sample_rate_hz=rate_hz,
            num_channels=song.num_channels,
            split=song.split,
            captions=tuple(text for text in song.captions if _holds_at_any_speed(text)),
            tags=_tags(song.tags, semitones, speed, fields),
        ),
    )


def _holds_at_any_speed(caption: str) -> bool:
    stated = parse_tempo_key(caption)
    return stated.bpm is None and stated.key is None


def _tags(tags: dict[str, Any], semitones: float, speed: float, fields: Sequence[str]) -> dict[str, Any]:
    changed = {name: tags[name] for name in fields if name in tags}
    for name, value in (("bpm", _tempo(tags.get("bpm"), speed)), ("key", _key(tags.get("key"), semitones))):
        changed.pop(name, None)
        if value is not None:
            changed[name] = value
    return changed


def _tempo(bpm: Any, speed: float) -> float | None:
    is_number = isinstance(bpm, int | float) and not isinstance(bpm, bool)
    return round(bpm * speed, 1) if is_number else None


def _key(name: Any, semitones: float) -> str | None:
    key = parse_key(name) if isinstance(name, str) else None
    if key is None or semitones != round(semitones):
        return None
    return UNKNOWN.with_key((key + round(semitones)) % 12 + key // 12 * 12).key_name
