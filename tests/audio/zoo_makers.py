"""What an entry of the zoo says, and how its file is made: from sources by a program, or from other files by hand."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

SECONDS = 1.3
CUT = "cut short.*can be read"
HALF = 0.5
ID3V1 = b"TAG" + b"tones".ljust(125, b"\0")


@dataclass(frozen=True)
class Entry:
    """A file of the zoo.

    Args:
        make: a command line, or a function of the files made before.
        says: what the error's sentence must match; None for a file that is read.
        slack: how many samples the length may differ from that of the ffmpeg command, which keeps padding.
        salvages: of a damaged file, whether a part can be read.
        like: the entries whose samples it must have, one after the other, where ffmpeg gets it wrong.
        tolerance: how far samples may be apart; more than usual where versions of FFmpeg round differently.
        reference: ``libsndfile`` where ffmpeg 5.1 is wrong and libsndfile and lame agree on another result.
    """

    name: str
    make: str | Callable[[Mapping[str, bytes]], bytes]
    says: str | None = None
    slack: int = 0
    salvages: bool = False
    like: tuple[str, ...] = ()
    reference: str = "ffmpeg"
    tolerance: float = 1e-3


def sources(folder: Path) -> dict[str, Path]:
    """Plucked strings: sharp beginnings and a long decay, so that every shift and every seam shows."""
    made = {}
    for name, rate_hz, num_channels, subtype in (
        ("plucks", 44_100, 2, "PCM_16"),
        ("mono", 32_000, 1, "PCM_16"),
        ("speech", 8_000, 1, "PCM_16"),
        ("sixteen", 16_000, 1, "PCM_16"),
        ("studio", 48_000, 2, "PCM_24"),
        ("surround", 48_000, 6, "PCM_16"),
        ("float", 44_100, 2, "FLOAT"),
        ("one", 96_000, 1, "PCM_16"),
    ):
        made[name] = folder / f"{name}.wav"
        soundfile.write(made[name], plucks(rate_hz, num_channels)[: 1 if name == "one" else None], rate_hz, subtype)
    return made


def plucks(rate_hz: int, num_channels: int) -> np.ndarray:
    """[samples, channels], between -0.5 and 0.5."""
    generator = np.random.default_rng(rate_hz + num_channels)
    t = np.arange(round(SECONDS * rate_hz)) / rate_hz
    wave = np.zeros((len(t), num_channels))
    for start_s in np.arange(0.02, SECONDS - 0.05, 0.11):
        since = np.maximum(t - start_s, 0)
        for channel in range(num_channels):
            frequency_hz = generator.uniform(90, 0.2 * rate_hz)
            envelope = np.where(t >= start_s, np.exp(-since * 9), 0)
            wave[:, channel] += generator.uniform(0.1, 0.3) * envelope * np.sin(2 * np.pi * frequency_hz * since)
    return 0.5 * wave / np.abs(wave).max()


def ffmpeg(source: str, options: str) -> str:
    """A line for ffmpeg that leaves no trace of its version."""
    return f"ffmpeg -v error -y -i {{{source}}} -map_metadata -1 -bitexact {options} {{out}}"


def cut(name: str, share: float = HALF) -> Callable[[Mapping[str, bytes]], bytes]:
    """The beginning of another file."""
    return lambda made: made[name][: int(share * len(made[name]))]


def joined(*names: str) -> Callable[[Mapping[str, bytes]], bytes]:
    """Other files one after the other."""
    return lambda made: b"".join(made[name] for name in names)


def overwritten(name: str, share: float, count: int) -> Callable[[Mapping[str, bytes]], bytes]:
    """Another file with noise over some of its bytes."""

    def make(made: Mapping[str, bytes]) -> bytes:
        content, at = bytearray(made[name]), int(share * len(made[name]))
        content[at : at + count] = np.random.default_rng(0).integers(0, 255, count, np.uint8).tobytes()
        return bytes(content)

    return make


def without(name: str, share: float, count: int) -> Callable[[Mapping[str, bytes]], bytes]:
    """Another file with some of its bytes gone."""

    def make(made: Mapping[str, bytes]) -> bytes:
        at = int(share * len(made[name]))
        return made[name][:at] + made[name][at + count :]

    return make


def id3(size: int) -> bytes:
    """An ID3v2 tag with a private frame."""
    frame = b"PRIV" + struct.pack(">I", size)[-4:] + b"\0\0" + b"a\0" + b"p" * (size - 2)
    total = len(frame)
    return b"ID3\x03\0\0" + bytes((total >> shift) & 127 for shift in (21, 14, 7, 0)) + frame


def noise_bytes(count: int) -> bytes:
    """Bytes that mean nothing."""
    return np.random.default_rng(1).integers(0, 256, count, np.uint8).tobytes()
