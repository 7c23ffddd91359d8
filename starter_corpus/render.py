"""From a score to audio: FluidSynth renders every part separately, then the parts are balanced and mixed to mono.

Parts may be played by two soundfonts, through amplifiers, and the whole mix in a room (``sounds.py``, ``effects.py``).

FluidSynth starts notes on blocks of 64 samples, ten per frame, and chorus and reverb, which vary over time, are off: a
bar played twice is the same samples twice. Separate parts let the mix follow each part's measured loudness, and let
captions name only audible instruments.
"""

import ctypes
import ctypes.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from descant.errors import DataError, MissingExtra
from starter_corpus.effects import amplify, in_room
from starter_corpus.score import (
    FRAME_SAMPLES,
    SAMPLE_RATE_HZ,
    TICKS_PER_BEAT,
    Font,
    Part,
    Score,
    Sound,
    release_before_repeat,
    sample_of,
)

BLOCK_SAMPLES = 64
_DRUM_BANK = 128
MAX_PARTS = 16
TARGET_RMS_DB = -20.0
MAX_PEAK = 0.97
_INSTALL = (
    "Install them: apt install fluidsynth fluid-soundfont-gm musescore-general-soundfont "
    "(macOS: brew install fluid-synth)"
)
_FOLDERS = (
    "/usr/share/sounds/sf2",
    "/usr/share/sounds/sf3",
    "/usr/share/soundfonts",
    "/usr/local/share/soundfonts",
    "/opt/homebrew/share/soundfonts",
)
_FILES: dict[Font, tuple[str, ...]] = {
    "fluid": ("FluidR3_GM.sf2",),
    "musescore": ("MuseScore_General_Full.sf3", "MuseScore_General.sf3", "MuseScore_General.sf2"),
}

# The level of a part in the mix relative to a lead, in decibels.
ROLE_LEVEL_DB = {"lead": 0.0, "arpeggio": -3.0, "chords": -4.5, "pad": -8.0, "bass": -3.0, "drums": -3.0}


def find_soundfont(path: Path | None = None, font: Font = "fluid") -> Path:
    """The given soundfont, or the one of that name from a usual location.

    Raises:
        MissingExtra: if there is none; the message says how to install it.
    """
    usual = [Path(folder, name) for name in _FILES[font] for folder in _FOLDERS]
    candidates = usual if path is None else [Path(path)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise MissingExtra(f"no soundfont at {', '.join(str(candidate) for candidate in candidates)}. {_INSTALL}")


def _load_library() -> ctypes.CDLL:
    name = ctypes.util.find_library("fluidsynth")
    if name is None:
        raise MissingExtra(f"the FluidSynth library was not found. {_INSTALL}")
    library = ctypes.CDLL(name)
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    library.new_fluid_settings.restype = pointer
    library.new_fluid_synth.restype = pointer
    library.new_fluid_synth.argtypes = [pointer]
    library.fluid_settings_setint.argtypes = [pointer, ctypes.c_char_p, integer]
    library.fluid_settings_setnum.argtypes = [pointer, ctypes.c_char_p, ctypes.c_double]
    library.fluid_synth_sfload.argtypes = [pointer, ctypes.c_char_p, integer]
    library.fluid_synth_set_channel_type.argtypes = [pointer, integer, integer]
    library.fluid_synth_program_select.argtypes = [pointer, integer, integer, integer, integer]
    library.fluid_synth_noteon.argtypes = [pointer, integer, integer, integer]
    library.fluid_synth_noteoff.argtypes = [pointer, integer, integer]
    library.fluid_synth_process.argtypes = [pointer, integer, integer, pointer, integer, pointer]
    library.delete_fluid_synth.argtypes = [pointer]
    library.delete_fluid_settings.argtypes = [pointer]
    library.fluid_set_log_function.argtypes = [integer, pointer, pointer]
    for level in range(5):
        library.fluid_set_log_function(level, None, None)
    return library


class Synthesizer:
    """FluidSynth with its soundfonts loaded; renders one score at a time and is not thread-safe."""

    def __init__(self, soundfont: Path | None = None) -> None:
        """Args:
        soundfont: General MIDI presets instead of FluidR3's.

        Raises:
            MissingExtra: FluidSynth or a soundfont is missing.
        """
        self._paths: dict[Font, Path] = {
            "fluid": find_soundfont(soundfont),
            "musescore": find_soundfont(font="musescore"),
        }
        self._library = _load_library()
        self._settings = self._library.new_fluid_settings()
        for name, value in {
            "synth.reverb.active": 0,
            "synth.chorus.active": 0,
            "synth.polyphony": 256,
            "synth.midi-channels": MAX_PARTS,
            "synth.cpu-cores": 1,
            "synth.lock-memory": 0,
            # Samples are read when their preset is chosen, so that a soundfont is opened in milliseconds.
            "synth.dynamic-sample-loading": 1,
        }.items():
            self._library.fluid_settings_setint(self._settings, name.encode(), value)
        self._library.fluid_settings_setnum(self._settings, b"synth.sample-rate", float(SAMPLE_RATE_HZ))
        self._library.fluid_settings_setnum(self._settings, b"synth.gain", 0.35)

    def close(self) -> None:
        """Frees its memory; the synthesiser cannot be used afterwards."""
        self._library.delete_fluid_settings(self._settings)

    def play(self, score: Score) -> np.ndarray:
        """Each part of the score separately, through its amplifier, in mono: float32 of shape [parts, num_samples].

        Of a looping score three repetitions are rendered and the third is copied: the first lacks the tails of earlier
        notes, and a voice may carry its last panning into the first block of its next note.
        """
        if score.loop_bars is None or score.num_bars <= 3 * score.loop_bars:
            return self._amplified(score.parts, self._play_through(score))
        three_loops = self._amplified(score.parts, self._play_through(replace(score, num_bars=3 * score.loop_bars)))
        loop = three_loops.shape[1] // 3
        positions = np.arange(score.num_samples)
        late = positions >= 3 * loop
        positions[late] = 2 * loop + (positions[late] - 2 * loop) % loop
        return three_loops[:, positions]

    @staticmethod
    def _amplified(parts: Sequence[Part], stems: np.ndarray) -> np.ndarray:
        for part, stem in zip(parts, stems, strict=True):
            if part.sound is not None and part.sound.amplifier is not None:
                stem[:] = amplify(stem, part.sound.amplifier)
        return stems

    def _play_through(self, score: Score) -> np.ndarray:
        synth = self._new_synth(len(score.parts))
        try:
            self._choose_presets(synth, score.parts)
            return self._render(synth, score)
        finally:
            self._library.delete_fluid_synth(synth)

    def _new_synth(self, num_parts: int) -> int:
        """A new synthesiser with an output for each part.

        A used one keeps the gains of its old voices, so that the last bits of a piece would depend on what was
        rendered before it.
        """
        for name in (b"synth.audio-channels", b"synth.audio-groups"):
            self._library.fluid_settings_setint(self._settings, name, num_parts)
        return int(self._library.new_fluid_synth(self._settings))

    def _choose_presets(self, synth: int, parts: Sequence[Part]) -> None:
        library = self._library
        numbers: dict[Font, int] = {}
        for channel, part in enumerate(parts):
            preset = 0 if part.is_drums else part.program
            sound = part.sound or Sound(bank=_DRUM_BANK if part.is_drums else 0, preset=preset)
            if sound.font not in numbers:
                path = self._paths[sound.font]
                numbers[sound.font] = library.fluid_synth_sfload(synth, str(path).encode(), 0)
                if numbers[sound.font] < 0:
                    raise MissingExtra(f"FluidSynth could not load the soundfont {path}. {_INSTALL}")
            library.fluid_synth_set_channel_type(synth, channel, 1 if part.is_drums else 0)
            number = numbers[sound.font]
            if library.fluid_synth_program_select(synth, channel, number, sound.bank, sound.preset) != 0:
                path = self._paths[sound.font]
                raise DataError(f"the soundfont {path} has no preset {sound.preset} in bank {sound.bank}")

    def _render(self, synth: int, score: Score) -> np.ndarray:
        library = self._library
        num_blocks = -(-score.num_samples // BLOCK_SAMPLES)
        stereo = np.zeros((len(score.parts), 2, num_blocks * BLOCK_SAMPLES), dtype=np.float32)
        rows = stereo.reshape(2 * len(score.parts), -1)
        addresses = np.array([row.ctypes.data for row in rows], dtype=np.uint64)
        position = 0
        for block, is_on, channel, pitch, velocity in [*_events(score), (num_blocks, False, 0, 0, 0)]:
            block = min(block, num_blocks)
            if block > position:
                here = addresses + np.uint64(position * BLOCK_SAMPLES * rows.itemsize)
                samples = (block - position) * BLOCK_SAMPLES
                library.fluid_synth_process(synth, samples, 0, None, len(here), here.ctypes.data)
                position = block
            if is_on:
                library.fluid_synth_noteon(synth, channel, pitch, velocity)
            else:
                library.fluid_synth_noteoff(synth, channel, pitch)
        return stereo[:, :, : score.num_samples].mean(axis=1)


def _events(score: Score) -> list[tuple[int, bool, int, int, int]]:
    """(block, is_on, channel, pitch, velocity) in time order; within a block note-offs come before note-ons."""
    events = []
    for channel, part in enumerate(score.parts):
        for note in release_before_repeat(part.notes):
            if note.onset >= score.num_ticks:
                break
            start = sample_of(note.onset, score.samples_per_beat) // BLOCK_SAMPLES
            end = sample_of(note.onset + note.length, score.samples_per_beat) // BLOCK_SAMPLES
            events.append((start, True, channel, note.pitch, note.velocity))
            events.append((max(end, start + 1), False, channel, note.pitch, 0))
    return sorted(events)


@dataclass(frozen=True, eq=False)
class Mix:
    """Mono samples [num_samples] and, for each part, the share of 10 s crops in which it is audible."""

    samples: np.ndarray
    audible_shares: tuple[float, ...]


def mix(score: Score, stems: np.ndarray, offsets_db: Sequence[float], room: str = "dry") -> Mix:
    """The parts in one channel: each at the level of its role plus its own offset, the whole at -20 dB rms.

    A part's loudness is measured where it plays, so that a sparse part is not amplified. Ends with a fade: short, or
    as long as the last notes of the score ring.
    """
    gains = [_gain(part, stem, offset) for part, stem, offset in zip(score.parts, stems, offsets_db, strict=True)]
    balanced = stems * np.array(gains, dtype=np.float32)[:, None]
    whole = in_room(balanced.sum(axis=0), room)
    tail = sample_of(score.tail_beats * TICKS_PER_BEAT, score.samples_per_beat)
    fade = np.linspace(1, 0, max(4 * FRAME_SAMPLES, tail), dtype=np.float32)
    whole[-len(fade) :] *= fade
    rms, peak = float(np.sqrt(np.mean(np.square(whole, dtype=np.float64)))), float(np.abs(whole).max())
    if rms == 0:
        return Mix(whole, tuple(0.0 for _ in score.parts))
    whole *= min(10 ** (TARGET_RMS_DB / 20) / rms, MAX_PEAK / peak)
    return Mix(whole, tuple(_audible_share(stem, balanced) for stem in balanced))


def _gain(part: Part, stem: np.ndarray, offset_db: float) -> float:
    levels = _window_rms(stem, SAMPLE_RATE_HZ // 10)
    loudest = levels.max()
    if loudest == 0:
        return 0.0
    sounding = levels[levels > 0.05 * loudest]
    loudness = float(np.sqrt(np.mean(sounding**2)))
    return 10 ** ((ROLE_LEVEL_DB[part.role] + offset_db) / 20) * 0.1 / loudness


def _audible_share(stem: np.ndarray, balanced: np.ndarray) -> float:
    """The share of 10 s crops in which the part is less than 20 dB below the whole mix."""
    crop, hop = 100, 10
    own = _window_rms(stem, SAMPLE_RATE_HZ // 10) ** 2
    all_parts = _window_rms(balanced.sum(axis=0), SAMPLE_RATE_HZ // 10) ** 2
    starts = range(0, max(1, len(own) - crop + 1), hop)
    ratios = [own[s : s + crop].mean() / max(all_parts[s : s + crop].mean(), 1e-12) for s in starts]
    return float(np.mean([ratio > 0.01 for ratio in ratios]))


def _window_rms(samples: np.ndarray, window: int) -> np.ndarray:
    whole = len(samples) // window * window
    return np.sqrt(np.mean(np.square(samples[:whole].reshape(-1, window), dtype=np.float64), axis=1))
