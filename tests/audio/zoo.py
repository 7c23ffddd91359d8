"""A zoo of odd audio files, made anew by the programs that people use, and by hand where none makes such a file.

Every entry is a line: its name, how it is made, and what is expected of it. A maker is a command line, in which
``{plucks}`` and the like are sources and ``{out}`` is the file; or a function of the files made so far, by name.

    python -m tests.audio.zoo FOLDER                   makes them all and says what the library makes of each
    python -m tests.audio.zoo FOLDER docs/formats.md   makes them all and writes the page's tables anew
"""

import shlex
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from tests.audio.zoo_lossless import LOSSLESS
from tests.audio.zoo_lossy import LOSSY
from tests.audio.zoo_makers import Entry, noise_bytes, sources

PROGRAMS = ("ffmpeg", "sox", "lame", "flac", "opusenc", "oggenc", "wavpack", "twolame")


def text_file(text: str) -> Callable[[Mapping[str, bytes]], bytes]:
    """A file of other things than sound."""
    return lambda _: text.encode()


def bytes_file(content: bytes) -> Callable[[Mapping[str, bytes]], bytes]:
    """A file of other things than sound."""
    return lambda _: content


NO_SOUND: tuple[Entry, ...] = (
    Entry("empty", bytes_file(b""), r"empty \(0 bytes\)"),
    Entry("apple double", bytes_file(b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(4_000)), "AppleDouble"),
    Entry(
        "git lfs",
        text_file("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"),
        "git-LFS pointer",
    ),
    Entry("html", text_file("\n<!DOCTYPE html>\n<html><body>404</body></html>"), "HTML page"),
    Entry("json", text_file('{"error": "not found"}'), "JSON"),
    Entry("xml", text_file('<?xml version="1.0"?><Error/>'), "XML"),
    Entry("playlist", text_file("#EXTM3U\nhttp://127.0.0.1:9/secret.ts\n"), "playlist"),
    Entry("text", text_file("no music, only words\n" * 300), "text"),
    Entry("png", bytes_file(b"\x89PNG\r\n\x1a\n" + bytes(500)), "picture"),
    Entry("jpeg", bytes_file(b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(500)), "picture"),
    Entry("pdf", bytes_file(b"%PDF-1.4\n"), "PDF"),
    Entry("zip", bytes_file(b"PK\3\4" + bytes(500)), "zip archive"),
    Entry("gzip", bytes_file(b"\x1f\x8b\x08" + bytes(500)), "gzip"),
    Entry("program", bytes_file(b"MZ\x90\0" + bytes(500)), "program"),
    Entry("midi", bytes_file(b"MThd\0\0\0\6\0\1\0\1\0\x60MTrk" + bytes(50)), "MIDI"),
    Entry("zeros", bytes_file(bytes(5_000)), "zeros"),
    Entry("noise", bytes_file(noise_bytes(20_000)), "not audio"),
    Entry("raw samples", lambda made: made["wav s16"][44:], "not audio"),
    Entry("adif", bytes_file(b"ADIF" + bytes(100)), "ADIF"),
)
ENTRIES = (*LOSSLESS, *LOSSY, *NO_SOUND)


@dataclass(frozen=True)
class Zoo:
    """The files, by the names of their entries."""

    folder: Path
    paths: dict[str, Path]


def missing_programs() -> list[str]:
    """The programs that make files here and are not installed."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


def make_zoo(folder: Path) -> Zoo:
    """Makes every file. A line that fails is an error of the zoo."""
    given = {name: shlex.quote(str(path)) for name, path in sources(folder).items()}
    contents: dict[str, bytes] = {}
    paths = {}
    for number, entry in enumerate(ENTRIES):
        # Names that say nothing: the content alone must decide.
        path = folder / f"{number:03d}"
        if isinstance(entry.make, str):
            line = entry.make.format(**given, out=shlex.quote(str(path)))
            subprocess.run(shlex.split(line), check=True, stdin=subprocess.DEVNULL, capture_output=True)
            contents[entry.name] = path.read_bytes()
        else:
            contents[entry.name] = entry.make(contents)
            path.write_bytes(contents[entry.name])
        paths[entry.name] = path
    return Zoo(folder, paths)


def decoded_by_ffmpeg(path: Path) -> tuple[np.ndarray, int] | None:
    """What the ffmpeg command makes of a file, [samples, channels], and the rate; None if it makes nothing of it."""
    line = ["ffmpeg", "-v", "error", "-i", str(path), "-vn", "-c:a", "pcm_f32be", "-f", "au", "-"]
    out = subprocess.run(line, check=False, capture_output=True, stdin=subprocess.DEVNULL).stdout
    if len(out) < 24 or out[:4] != b".snd":
        return None
    start, _, _, rate_hz, num_channels = struct.unpack(">5I", out[4:24])
    samples = np.frombuffer(out[start:], ">f4").astype(np.float32)
    return samples.reshape(-1, num_channels), rate_hz


def reference(zoo: Zoo, entry: Entry) -> tuple[np.ndarray, int] | None:
    """What another program finds in a file, [samples, channels], and its rate; None if it makes nothing of it."""
    if entry.reference == "libsndfile":
        # In a single read: soundfile seeks between two.
        return soundfile.read(zoo.paths[entry.name], dtype="float32", always_2d=True)
    if not entry.like:
        return decoded_by_ffmpeg(zoo.paths[entry.name])
    parts = [decoded_by_ffmpeg(zoo.paths[name]) for name in entry.like]
    return np.concatenate([samples for samples, _ in parts]), parts[0][1]


BEGIN, END = "<!-- made by tests/audio/zoo.py -->", "<!-- end -->"


def tables(zoo: Zoo) -> str:
    """The tables of docs/formats.md: what is written, and by which library each kind of file is read."""
    from descant.audio.encode import FORMATS, MAX_CHANNELS, MAX_RATE_HZ, RATES_HZ
    from descant.audio.sniff import sniff

    lines = ["| Written | Holds | Channels | Rates in Hz |", "| --- | --- | --- | --- |"]
    for name, holds in FORMATS.items():
        rates = ", ".join(map(str, RATES_HZ[name])) if name in RATES_HZ else f"1000 to {MAX_RATE_HZ.get(name, 768_000)}"
        lines.append(f"| {name} | {holds} | up to {MAX_CHANNELS[name]} | {rates} |")
    found: dict[tuple[str, str, str], list[str]] = {}
    for entry in ENTRIES:
        if entry.says is None:
            with zoo.paths[entry.name].open("rb") as file:
                source = sniff(file)
            excerpts = "by themselves" if source.seeks else "after decoding all"
            found.setdefault((source.name, source.decoder, excerpts), []).append(entry.name)
    lines += ["", "| Read | By | Excerpts | Tested with |", "| --- | --- | --- | --- |"]
    lines += [f"| {' | '.join(kind)} | {', '.join(names)} |" for kind, names in sorted(found.items())]
    return "\n".join(lines)


def with_tables(page: str, made: str) -> str:
    """A page with these tables between its marks."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{rest.split(END)[1]}"


def main(folder: Path, page: Path | None) -> None:
    """Makes the zoo and says what the library makes of it; or writes the tables of a page anew."""
    from descant.audio import Clip
    from descant.errors import AudioError

    folder.mkdir(parents=True, exist_ok=True)
    zoo = make_zoo(folder)
    if page is not None:
        page.write_text(with_tables(page.read_text(encoding="utf-8"), tables(zoo)), encoding="utf-8")
        return
    for entry in ENTRIES:
        path = zoo.paths[entry.name]
        expected = reference(zoo, entry)
        theirs = "none" if expected is None else f"{len(expected[0])} samples"
        try:
            clip = Clip.read(path)
            result = f"{clip.samples.shape[1]} samples"
            if expected is not None:
                shared = min(len(expected[0]), clip.samples.shape[1])
                result += f", {np.abs(clip.samples.numpy().T[:shared] - expected[0][:shared]).max():.2g} apart"
        except AudioError as error:
            result = str(error).removeprefix(repr(str(path)))
        print(f"{entry.name:32} ffmpeg {theirs:16} {result}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
