"""Musical MIDI Accompaniment (the program ``mma``): its grooves, and their notes over our chords.

The program is GPL-2 and runs in its own process; the notes it writes for our chords are ours. Its style files are named
directly, so its groove database is not needed.
"""

import functools
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from descant.errors import DataError, MissingExtra
from starter_corpus.chords import Chord
from starter_corpus.midi import Track, read_tracks
from starter_corpus.programs import run_program
from starter_corpus.score import TICKS_PER_BEAT, rescale

MMA_LIBRARY = Path("/usr/share/mma/lib")
MMA_TICKS_PER_BEAT = 192
_NOT_A_LOOP = re.compile(r"intro|(?<!esc)end|fill|break|metronome|drumsonly|^mil|tacet|ritard", re.IGNORECASE)
_LINE = re.compile(r"^\s*(time|timesig|seqsize|defgroove)\s+(.*)$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Groove:
    """One groove of a style file: MMA's beats per bar, the musical beats per bar, and the bars until it repeats."""

    file: str
    name: str
    mma_beats_per_bar: int
    beats_per_bar: int
    metre: str
    num_bars: int


@functools.cache
def grooves_of(file: str) -> tuple[Groove, ...]:
    """The grooves of a style file that can be repeated, without introductions, fills and endings.

    Raises:
        MissingExtra: if MMA is not installed.
    """
    path = MMA_LIBRARY / f"{file}.mma"
    if not path.is_file():
        raise MissingExtra(f"{path} is missing: the band pieces need the program MMA. Install it: apt install mma")
    time, signature, num_bars = 4, "", 1
    grooves = {}
    for line in path.read_text(encoding="latin-1").splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        word, rest = match.group(1).lower(), match.group(2).split("//")[0].replace("/", " ").split()
        if word == "time" and rest and rest[0].isdigit():
            time, signature = int(rest[0]), " ".join(rest[:2]) if len(rest) > 1 else signature
        elif word == "timesig":
            signature = " ".join(rest[:2])
        elif word == "seqsize":
            num_bars = int(rest[0])
        elif word == "defgroove" and not _NOT_A_LOOP.search(rest[0]):
            grooves[rest[0]] = _groove(file, rest[0], time, signature, num_bars)
    return tuple(grooves.values())


def _groove(file: str, name: str, time: int, signature: str, num_bars: int) -> Groove:
    """A groove of ``time`` MMA beats per bar, which are quarters or eighths; a compound bar has two musical beats."""
    is_compound = time == 6 or signature == "6 8"
    beats_per_bar = 2 if is_compound else time
    metre = "6/8" if is_compound else f"{time}/4"
    return Groove(
        file=file, name=name, mma_beats_per_bar=time, beats_per_bar=beats_per_bar, metre=metre, num_bars=num_bars
    )


def play(groove: Groove, bars: Sequence[Sequence[Chord]], seed: int, names: Sequence[str] = ()) -> tuple[Track, ...]:
    """The groove's tracks over one or two chords per bar, in our ticks; the same seed gives the same notes.

    Args:
        names: for each bar the groove of the same file that plays it; by default the given one plays all.

    Raises:
        MissingExtra: if MMA is not installed.
        DataError: if MMA rejects the groove or the chords.
    """
    with tempfile.TemporaryDirectory(prefix="descant-mma-") as folder:
        source, target = Path(folder, "piece.mma"), Path(folder, "piece.mid")
        source.write_text(_program_text(groove, bars, seed, names or [groove.name] * len(bars)))
        call = ["-f", str(target), str(source)]
        run = run_program("mma", call, package="mma", reason="the band pieces need")
        if run.returncode != 0 or not target.is_file():
            raise DataError(
                f"mma could not play groove {groove.name} of {groove.file}: "
                f"{run.stdout.decode(errors='replace')[-300:]}"
            )
        tracks = read_tracks(target)
    ratio = Fraction(groove.beats_per_bar * TICKS_PER_BEAT, groove.mma_beats_per_bar * MMA_TICKS_PER_BEAT)
    return tuple(_in_our_ticks(track, ratio) for track in tracks)


def _program_text(groove: Groove, bars: Sequence[Sequence[Chord]], seed: int, names: Sequence[str]) -> str:
    lines = [f"Use {MMA_LIBRARY / groove.file}.mma", f"RndSeed {seed}", "Tempo 120"]
    playing = None
    for number, (bar, name) in enumerate(zip(bars, names, strict=True), start=1):
        if name != playing:
            lines.append(f"Groove {name}")
            playing = name
        cells = ["/"] * groove.mma_beats_per_bar
        for position, chord in enumerate(bar):
            cells[position * groove.mma_beats_per_bar // len(bar)] = chord.symbol
        lines.append(f"{number} {' '.join(cells)}")
    return "\n".join(lines) + "\n"


def _in_our_ticks(track: Track, ratio: Fraction) -> Track:
    return replace(track, notes=rescale(track.notes, ratio))
