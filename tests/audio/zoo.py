"""A zoo of odd audio files, made anew by the programs that people use, and by hand where none makes such a file.

Every entry is a line: its name, how it is made, and what is expected of it. A maker is a command line, in which
``{plucks}`` and the like are sources and ``{out}`` is the file; or a function of the files made so far, by name.

    python tests/audio/zoo.py FOLDER                   makes them all and says what the library makes of each
    python tests/audio/zoo.py FOLDER docs/formats.md   makes them all and writes the page's tables anew
"""

import re
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

PROGRAMS = ("ffmpeg", "sox", "lame", "flac", "opusenc", "oggenc", "wavpack", "twolame")
SECONDS = 1.3


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


TEST_VIDEO = "ffmpeg -v error -y -f lavfi -i testsrc=d=1:s=64x64 "
CUT = "cut short.*can be read"
HALF = 0.5


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


def replaced(name: str, old: bytes, new: bytes) -> Callable[[Mapping[str, bytes]], bytes]:
    """Another file with some bytes replaced, wherever they stand."""
    return lambda made: made[name].replace(old, new)


def wav_with_size(name: str, size: int) -> Callable[[Mapping[str, bytes]], bytes]:
    """A WAV file whose header says another number of bytes."""

    def make(made: Mapping[str, bytes]) -> bytes:
        at = made[name].index(b"data") + 4
        return made[name][:at] + struct.pack("<I", size) + made[name][at + 4 :]

    return make


def flac_with_length(name: str, num_samples: int) -> Callable[[Mapping[str, bytes]], bytes]:
    """A FLAC file whose header promises another number of samples."""

    def make(made: Mapping[str, bytes]) -> bytes:
        fields = int.from_bytes(made[name][18:26], "big") >> 36 << 36 | num_samples
        return made[name][:18] + fields.to_bytes(8, "big") + made[name][26:]

    return make


def with_endless_box(name: str) -> Callable[[Mapping[str, bytes]], bytes]:
    """An MP4 file with one more box at its end, of a size that no file can have."""
    return lambda made: made[name] + struct.pack(">I4sQ", 1, b"free", (1 << 64) - 1) + bytes(8)


def with_endless_element(name: str) -> Callable[[Mapping[str, bytes]], bytes]:
    """A Matroska file with an element before its segment that is larger than any file."""

    def make(made: Mapping[str, bytes]) -> bytes:
        at = made[name].index(b"\x18\x53\x80\x67")
        return made[name][:at] + b"\xec\x01" + b"\xff" * 6 + b"\xfe" + made[name][at:]

    return make


def rifx(made: Mapping[str, bytes]) -> bytes:
    """A WAV file of 16 bits in the other byte order."""
    content = made["wav s16"]
    at = content.index(b"data")
    fields = struct.unpack("<HHIIHH", content[20:36])
    samples = np.frombuffer(content[at + 8 :], "<i2").astype(">i2").tobytes()
    body = b"WAVEfmt " + struct.pack(">IHHIIHH", 16, *fields) + b"data" + struct.pack(">I", len(samples)) + samples
    return b"RIFX" + struct.pack(">I", len(body)) + body


def id3(size: int) -> bytes:
    """An ID3v2 tag with a private frame."""
    frame = b"PRIV" + struct.pack(">I", size)[-4:] + b"\0\0" + b"a\0" + b"p" * (size - 2)
    total = len(frame)
    return b"ID3\x03\0\0" + bytes((total >> shift) & 127 for shift in (21, 14, 7, 0)) + frame


def ape_tag() -> bytes:
    """An APEv2 tag with header and footer."""
    item = struct.pack("<II", 5, 0) + b"Title\0" + b"tones"
    fields = (2_000, len(item) + 32, 1)
    header, footer = (
        b"APETAGEX" + struct.pack("<IIII", *fields, flags) + bytes(8) for flags in (0xA000_0000, 0x8000_0000)
    )
    return header + item + footer


def lyrics3() -> bytes:
    """A Lyrics3v2 tag."""
    body = b"LYRICSBEGIN" + b"IND00002" + b"00" + b"LYR00012" + b"[00:01]tones"
    return body + b"%06d" % len(body) + b"LYRICS200"


LIST_CHUNK = b"LIST" + struct.pack("<I4s4sI6s", 18, b"INFO", b"INAM", 6, b"tones")

ID3V1 = b"TAG" + b"tones".ljust(125, b"\0")


def vbr_without_header(made: Mapping[str, bytes]) -> bytes:
    """What ``lame -t`` writes."""
    return made["mp3 vbr no header"]


def with_chunk(name: str, chunk: bytes, where: str) -> Callable[[Mapping[str, bytes]], bytes]:
    """A WAV file with one more chunk, before its sound or behind."""

    def make(made: Mapping[str, bytes]) -> bytes:
        content = made[name]
        at = content.index(b"data") if where == "before" else len(content)
        body = chunk[:4] + struct.pack("<I", len(chunk) - 4) + chunk[4:] + b"\0" * (len(chunk) % 2)
        return content[:at] + body + content[at:]

    return make


def ogg_pages(content: bytes) -> list[bytes]:
    """The pages of an Ogg file."""
    starts = [match.start() for match in re.finditer(b"OggS\0", content)]
    return [content[a:b] for a, b in zip(starts, [*starts[1:], len(content)], strict=True)]


def without_page(name: str, number: int) -> Callable[[Mapping[str, bytes]], bytes]:
    """An Ogg file with a page missing."""

    def make(made: Mapping[str, bytes]) -> bytes:
        pages = ogg_pages(made[name])
        del pages[number]
        return b"".join(pages)

    return make


def text_file(text: str) -> Callable[[Mapping[str, bytes]], bytes]:
    """A file of other things than sound."""
    return lambda _: text.encode()


def bytes_file(content: bytes) -> Callable[[Mapping[str, bytes]], bytes]:
    """A file of other things than sound."""
    return lambda _: content


def noise_bytes(count: int) -> bytes:
    """Bytes that mean nothing."""
    return np.random.default_rng(1).integers(0, 256, count, np.uint8).tobytes()


ENTRIES: tuple[Entry, ...] = (
    # WAV and its relatives: numbers one after the other.
    *(Entry(f"wav {kind}", ffmpeg("plucks", f"-c:a pcm_{kind} -f wav")) for kind in ("s16le", "s24le", "s32le", "u8")),
    *(Entry(f"wav {kind}", ffmpeg("float", f"-c:a pcm_{kind} -f wav")) for kind in ("f32le", "f64le", "alaw", "mulaw")),
    Entry("wav s16", ffmpeg("plucks", "-c:a pcm_s16le -f wav")),
    Entry("wav 5.1", ffmpeg("surround", "-c:a pcm_s16le -f wav")),
    Entry("wav extensible", ffmpeg("studio", "-c:a pcm_s24le -f wav")),
    *(
        Entry(f"wav {rate} Hz", ffmpeg("mono", f"-ar {rate} -f wav"))
        for rate in (8_000, 11_025, 22_050, 96_000, 192_000)
    ),
    Entry("wav rf64", ffmpeg("plucks", "-rf64 always -f wav")),
    Entry("w64", ffmpeg("plucks", "-f w64")),
    Entry("w64 adpcm", ffmpeg("plucks", "-c:a adpcm_ms -f w64")),
    Entry("wav rifx", rifx),
    Entry("wav odd chunk before", with_chunk("wav s16", b"junk" + b"x" * 33, "before")),
    Entry("wav chunk named data inside", with_chunk("wav s16", b"junk" + b"data" + bytes(8), "before")),
    Entry("wav id3 behind", with_chunk("wav s16", b"id3 " + id3(300), "behind")),
    Entry("wav size zero", wav_with_size("wav s16", 0)),
    Entry("wav size open", wav_with_size("wav s16", 0xFFFF_FFFF)),
    Entry("wav size of a pipe", "sh -c 'cat {plucks} | sox -t wav - -t wav - > {out}'"),
    Entry("wav pipe of ffmpeg", "sh -c 'ffmpeg -v error -i {plucks} -f wav - > {out}'"),
    Entry("wav cut", cut("wav s16"), CUT, salvages=True),
    Entry("wav size too large", wav_with_size("wav s16", 10_000_000), CUT, salvages=True),
    Entry("wav header only", lambda made: made["wav s16"][:44], "no samples"),
    Entry("wav no sound but tags", lambda made: made["wav size zero"][:44] + LIST_CHUNK, "no samples"),
    Entry("wav one sample", "sox {one} -t wav {out}", says=None),
    Entry("wav without data", lambda made: made["wav s16"][:36], "not audio|cannot be decoded|no samples"),
    *(Entry(f"wav {kind}", ffmpeg("plucks", f"-c:a {kind} -f wav")) for kind in ("adpcm_ms", "adpcm_yamaha")),
    Entry("wav adpcm_ima_wav", ffmpeg("plucks", "-c:a adpcm_ima_wav -f wav"), tolerance=3e-3),
    Entry("wav adpcm cut", cut("wav adpcm_ms"), CUT, salvages=True),
    Entry("wav adpcm from a pipe", "sh -c 'ffmpeg -v error -i {plucks} -c:a adpcm_ms -f wav - > {out}'"),
    Entry("wav g726", ffmpeg("speech", "-c:a g726 -b:a 32k -f wav")),
    Entry("wav g722", ffmpeg("sixteen", "-c:a g722 -f wav")),
    Entry("wav gsm", "sox {speech} -t wav -e gsm-full-rate {out}"),
    Entry("wav mp3 inside", ffmpeg("plucks", "-c:a libmp3lame -f wav")),
    Entry("wav mp2 inside", ffmpeg("plucks", "-c:a mp2 -f wav")),
    Entry("wav ac3 inside", ffmpeg("plucks", "-c:a ac3 -f wav")),
    *(
        Entry(f"aiff {kind}", ffmpeg("plucks", f"-c:a pcm_{kind} -f aiff"))
        for kind in ("s8", "s16be", "s24be", "s32be")
    ),
    *(
        Entry(f"aifc {kind}", ffmpeg("float", f"-c:a pcm_{kind} -f aiff"))
        for kind in ("f32be", "f64be", "alaw", "mulaw")
    ),
    Entry("aifc sowt", ffmpeg("plucks", "-c:a pcm_s16le -f aiff")),
    Entry("aifc ima4", ffmpeg("plucks", "-c:a adpcm_ima_qt -f aiff")),
    Entry("aiff cut", cut("aiff s16be"), CUT, salvages=True),
    *(Entry(f"au {kind}", ffmpeg("plucks", f"-c:a pcm_{kind} -f au")) for kind in ("s8", "s16be", "s24be", "s32be")),
    *(Entry(f"au {kind}", ffmpeg("float", f"-c:a pcm_{kind} -f au")) for kind in ("f32be", "f64be", "alaw", "mulaw")),
    Entry("au from a pipe", "sh -c 'ffmpeg -v error -i {plucks} -f au - > {out}'"),
    Entry("au cut", cut("au s16be"), CUT, salvages=True),
    Entry("caf s16", ffmpeg("plucks", "-c:a pcm_s16be -f caf")),
    Entry("caf f32", ffmpeg("float", "-c:a pcm_f32le -f caf")),
    Entry("caf alac", ffmpeg("plucks", "-c:a alac -f caf"), slack=4_096),
    Entry("caf from a pipe", "sh -c 'ffmpeg -v error -i {plucks} -c:a pcm_s16be -f caf - > {out}'"),
    Entry("caf cut", cut("caf s16"), CUT, salvages=True),
    Entry("voc", ffmpeg("mono", "-c:a pcm_u8 -f voc")),
    Entry("sox", "sox {plucks} -t sox {out}"),
    Entry("nist sphere", "sox {plucks} -t sph {out}"),
    Entry("8svx", "sox {speech} -t 8svx {out}"),
    Entry("ircam", "sox {plucks} -t ircam {out}"),
    # Lossless codecs.
    Entry("flac s16", "flac -s -f {plucks} -o {out}"),
    Entry("flac s24", "flac -s -f {studio} -o {out}"),
    Entry(
        "flac s32",
        "sh -c 'sox {plucks} -b 32 {out}.wav && flac -s -f {out}.wav -o {out}; rm {out}.wav'",
        like=("flac s16",),
    ),
    Entry("flac 5.1", ffmpeg("surround", "-c:a flac -f flac")),
    Entry("flac mono level 0", "flac -s -f -0 {mono} -o {out}"),
    Entry("flac of ffmpeg", ffmpeg("plucks", "-c:a flac -f flac")),
    Entry("flac from a pipe", "sh -c 'flac -s -c - < {plucks} | cat > {out}'"),
    Entry("flac without a length", "sh -c 'ffmpeg -v error -i {plucks} -f flac - | cat > {out}'"),
    Entry("flac id3 before", lambda made: id3(1_000) + made["flac s16"]),
    Entry("flac id3 of 400 kB", lambda made: id3(400_000) + made["flac s16"]),
    Entry("flac id3v1 behind", lambda made: made["flac s16"] + ID3V1),
    Entry("flac twice", joined("flac s16", "flac s16"), like=("flac s16", "flac s16")),
    Entry("flac three times", joined("flac s16", "flac of ffmpeg", "flac s16"), like=("flac s16",) * 3),
    Entry("flac twice, other rate", joined("flac s16", "flac s24"), "rate changes", salvages=True),
    Entry("flac of more than it promises", flac_with_length("flac s16", 20_000), like=("flac s16",)),
    Entry("flac cut", cut("flac s16"), "damaged.*can be read", salvages=True),
    Entry("flac cut at 99 %", cut("flac s16", 0.99), "damaged.*can be read", salvages=True),
    Entry("flac noise in the middle", overwritten("flac s16", 0.5, 3_000), "damaged.*can be read", salvages=True),
    Entry("flac hole", without("flac s16", 0.5, 9_000), "damaged.*can be read", salvages=True),
    Entry(
        "flac id3 cut",
        lambda made: (id3(1_000) + made["flac s16"])[: len(made["flac s16"]) // 2],
        "damaged.*can be read",
        salvages=True,
    ),
    Entry("flac in ogg", "flac -s -f --ogg --serial-number=1 {plucks} -o {out}"),
    Entry("alac", ffmpeg("plucks", "-c:a alac -f ipod"), slack=4_096),
    Entry("alac s24", ffmpeg("studio", "-c:a alac -sample_fmt s32p -f ipod"), slack=4_096),
    Entry("wavpack", "sh -c 'wavpack -q -y {plucks} -o - > {out}'"),
    Entry("wavpack s24", "sh -c 'wavpack -q -y {studio} -o - > {out}'"),
    Entry("wavpack float", "sh -c 'wavpack -q -y {float} -o - > {out}'"),
    Entry("wavpack 5.1", "sh -c 'wavpack -q -y {surround} -o - > {out}'"),
    Entry("wavpack hybrid", "sh -c 'wavpack -q -y -b256 {plucks} -o - > {out}'"),
    Entry("wavpack cut", cut("wavpack"), "damaged.*can be read", salvages=True),
    Entry("wavpack noise in the middle", overwritten("wavpack", 0.5, 3_000), "damaged.*can be read", salvages=True),
    Entry("tta", ffmpeg("plucks", "-c:a tta -f tta")),
    Entry("tta cut", cut("tta", 0.9), "damaged.*can be read", salvages=True),
    # MPEG audio.
    *(Entry(f"mp3 {rate} kbit/s", f"lame --quiet -b {rate} {{plucks}} {{out}}") for rate in (32, 128, 320)),
    *(Entry(f"mp3 vbr {level}", f"lame --quiet -V {level} {{plucks}} {{out}}") for level in (0, 4, 9)),
    Entry("mp3 64 kbit/s", "lame --quiet -b 64 {plucks} {out}", reference="libsndfile"),
    Entry("mp3 abr", "lame --quiet --abr 150 {plucks} {out}"),
    Entry("mp3 joint stereo", "lame --quiet -m j -b 96 {plucks} {out}"),
    Entry("mp3 plain stereo", "lame --quiet -m s -b 192 {plucks} {out}"),
    Entry("mp3 mono", "lame --quiet -m m {plucks} {out}"),
    Entry("mp3 free format", "lame --quiet --freeformat -b 200 {plucks} {out}", reference="libsndfile"),
    Entry("mp3 with checksums", "lame --quiet -p {plucks} {out}"),
    *(
        Entry(f"mp3 {rate} Hz", f"lame --quiet --resample {rate / 1_000} {{plucks}} {{out}}")
        for rate in (8_000, 11_025, 16_000, 22_050, 32_000, 48_000)
    ),
    Entry("mp3 24000 Hz", "lame --quiet --resample 24 {plucks} {out}", reference="libsndfile"),
    Entry("mp3 cbr no header", "lame --quiet -t {plucks} {out}"),
    Entry("mp3 vbr no header", "lame --quiet -t -V 4 {plucks} {out}"),
    Entry("mp3 of ffmpeg", ffmpeg("plucks", "-c:a libmp3lame -f mp3")),
    Entry("mp3 id3v2", lambda made: id3(2_000) + made["mp3 128 kbit/s"]),
    Entry("mp3 two id3v2", lambda made: id3(2_000) + id3(500) + made["mp3 128 kbit/s"]),
    Entry("mp3 cover of 300 kB", lambda made: id3(300_000) + made["mp3 128 kbit/s"]),
    Entry("mp3 id3v1", lambda made: made["mp3 128 kbit/s"] + ID3V1),
    Entry("mp3 ape", lambda made: made["mp3 128 kbit/s"] + ape_tag()),
    Entry("mp3 ape and id3v1", lambda made: made["mp3 128 kbit/s"] + ape_tag() + ID3V1),
    Entry("mp3 lyrics3 and id3v1", lambda made: made["mp3 128 kbit/s"] + lyrics3() + ID3V1),
    Entry("mp3 zeros behind", lambda made: made["mp3 128 kbit/s"] + bytes(50_000), like=("mp3 128 kbit/s",)),
    Entry("mp3 zeros before", lambda made: bytes(5_000) + made["mp3 128 kbit/s"], like=("mp3 128 kbit/s",)),
    Entry("mp3 noise before", lambda made: noise_bytes(700) + made["mp3 cbr no header"]),
    Entry("mp3 twice", joined("mp3 128 kbit/s", "mp3 128 kbit/s"), like=("mp3 128 kbit/s", "mp3 128 kbit/s")),
    Entry(
        "mp3 twice with tags",
        lambda made: id3(99) + made["mp3 vbr 4"] + ID3V1 + id3(99) + made["mp3 vbr 0"] + ID3V1,
        like=("mp3 vbr 4", "mp3 vbr 0"),
    ),
    Entry(
        "mp3 twice, other rate",
        joined("mp3 128 kbit/s", "mp3 48000 Hz"),
        "rate changes from 44100 to 48000",
        salvages=True,
    ),
    Entry(
        "mp3 twice, mono and stereo",
        joined("mp3 mono", "mp3 128 kbit/s"),
        "number of channels changes from 1 to 2",
        salvages=True,
    ),
    Entry("mp3 without its start", lambda made: made["mp3 cbr no header"][1_000:]),
    Entry("mp3 without its start, vbr", lambda made: made["mp3 vbr 4"][3_000:]),
    Entry(
        "mp3 noise between",
        lambda made: made["mp3 cbr no header"][:8_359] + noise_bytes(1_500) + made["mp3 cbr no header"][8_359:],
        like=("mp3 cbr no header",),
    ),
    Entry("mp3 noise over frames", overwritten("mp3 128 kbit/s", 0.5, 3_000), "damaged.*can be read", salvages=True),
    Entry("mp3 cut", cut("mp3 128 kbit/s"), CUT, salvages=True),
    Entry("mp3 cut, vbr", cut("mp3 vbr 4"), CUT, salvages=True),
    Entry("mp3 cut, no header", cut("mp3 cbr no header", 0.503), CUT, salvages=True),
    Entry("mp3 48 kHz, no header", "lame --quiet -t -b 128 --resample 48 {plucks} {out}"),
    Entry("mp3 of two frames", lambda made: made["mp3 48 kHz, no header"][:768]),
    Entry("mp3 of two frames and a half", lambda made: made["mp3 48 kHz, no header"][:1_000], CUT, salvages=True),
    Entry("mp3 tags only", lambda _: id3(2_000), "no frame of sound"),
    Entry("mp2", "twolame --quiet {plucks} {out}"),
    Entry("mp2 mono", "twolame --quiet -m mono {plucks} {out}"),
    Entry("mp2 of ffmpeg", ffmpeg("plucks", "-c:a mp2 -f mp2")),
    # Vorbis and Opus.
    *(Entry(f"vorbis quality {q}", f"oggenc -Q -s 1 -q {q} {{plucks}} -o {{out}}") for q in (-1, 3, 8)),
    Entry("vorbis mono", "oggenc -Q -s 2 {mono} -o {out}"),
    Entry("vorbis 8 kHz", "oggenc -Q -s 2 {speech} -o {out}", slack=96),
    Entry("vorbis 5.1", "oggenc -Q -s 2 {surround} -o {out}"),
    Entry("vorbis 48 kHz", "oggenc -Q -s 4 {studio} -o {out}"),
    Entry("vorbis of ffmpeg", ffmpeg("plucks", "-c:a libvorbis -f ogg")),
    Entry(
        "vorbis twice",
        joined("vorbis quality 3", "vorbis quality 8"),
        like=("vorbis quality 3", "vorbis quality 8"),
    ),
    Entry(
        "vorbis three times",
        joined("vorbis quality 3", "vorbis quality -1", "vorbis quality 8"),
        like=("vorbis quality 3", "vorbis quality -1", "vorbis quality 8"),
    ),
    Entry("vorbis twice, other rate", joined("vorbis quality 3", "vorbis 48 kHz"), "rate changes", salvages=True),
    Entry("vorbis 44.1 kHz mono", "oggenc -Q -s 6 --downmix {plucks} -o {out}"),
    Entry(
        "vorbis twice, other channels",
        joined("vorbis 44.1 kHz mono", "vorbis quality 3"),
        "number of channels changes",
        salvages=True,
    ),
    Entry("vorbis cut", cut("vorbis quality 3"), CUT, salvages=True),
    Entry(
        "vorbis noise in the middle",
        overwritten("vorbis quality 3", 0.5, 500),
        "damaged page.*can be read",
        salvages=True,
    ),
    Entry("vorbis page missing", without_page("vorbis quality 8", 4), "missing page.*can be read", salvages=True),
    Entry("vorbis no last page", without_page("vorbis quality 8", -1)),
    Entry(
        "vorbis headers only",
        lambda made: b"".join(ogg_pages(made["vorbis quality 3"])[:2]),
        "no samples|cannot be decoded",
    ),
    Entry("opus", "opusenc --quiet --serial 1 {studio} {out}"),
    Entry("vorbis then opus", joined("vorbis 48 kHz", "opus"), like=("vorbis 48 kHz", "opus")),
    Entry("opus 44.1 kHz", "opusenc --quiet --serial 2 {plucks} {out}"),
    Entry("opus 12 kbit/s", "opusenc --quiet --serial 2 --bitrate 12 {speech} {out}"),
    Entry("opus mono", "opusenc --quiet --serial 2 {mono} {out}"),
    Entry("opus 5.1", "opusenc --quiet --serial 2 {surround} {out}"),
    Entry("opus short frames", "opusenc --quiet --serial 2 --framesize 2.5 {plucks} {out}"),
    Entry("opus of ffmpeg", ffmpeg("plucks", "-c:a libopus -f opus")),
    Entry("opus twice", joined("opus", "opus 44.1 kHz"), like=("opus", "opus 44.1 kHz")),
    Entry("opus small pages", "opusenc --quiet --serial 2 --max-delay 100 {plucks} {out}"),
    Entry("opus cut", cut("opus"), "cut short"),
    Entry("opus small pages, cut", cut("opus small pages"), CUT, salvages=True),
    Entry("speex", ffmpeg("sixteen", "-c:a libspeex -f ogg")),
    Entry(
        "ogg with video",
        TEST_VIDEO + "-i {plucks} -bitexact -c:v libtheora -c:a libvorbis -f ogg {out}",
    ),
    # AAC and the containers of video.
    Entry("m4a", ffmpeg("plucks", "-c:a aac -f ipod"), slack=1_024),
    Entry("m4a mono", ffmpeg("mono", "-c:a aac -f ipod"), slack=1_024),
    Entry("m4a 5.1", ffmpeg("surround", "-c:a aac -f ipod"), slack=1_024),
    Entry("m4a 22.05 kHz", ffmpeg("plucks", "-ar 22050 -c:a aac -f ipod"), slack=1_024),
    Entry("m4a index first", ffmpeg("plucks", "-c:a aac -movflags faststart -f ipod"), slack=1_024),
    Entry("m4a in fragments", ffmpeg("plucks", "-c:a aac -movflags frag_keyframe+empty_moov -f mp4"), slack=2_048),
    Entry("m4a cut", cut("m4a"), "damaged|index"),
    Entry("m4a index first, cut", cut("m4a index first"), CUT, salvages=True),
    Entry("m4a box beyond every file", with_endless_box("m4a"), CUT, salvages=True),
    Entry("m4a protected", replaced("m4a", b"mp4a", b"drms"), "protected"),
    Entry("aac", ffmpeg("plucks", "-c:a aac -f adts")),
    Entry("aac id3 before", lambda made: id3(300) + made["aac"]),
    Entry("aac cut", cut("aac", 0.503), CUT, salvages=True),
    Entry("aac without its start", lambda made: made["aac"][1_000:]),
    Entry(
        "mp4 with video",
        TEST_VIDEO + "-i {plucks} -bitexact -c:v mpeg4 -c:a aac -f mp4 {out}",
        slack=1_024,
    ),
    Entry(
        "mp4 video only",
        TEST_VIDEO + "-bitexact -c:v mpeg4 -f mp4 {out}",
        "no audio",
    ),
    Entry("mov pcm", ffmpeg("plucks", "-c:a pcm_s16le -f mov")),
    Entry("mov s24", ffmpeg("studio", "-c:a pcm_s24le -f mov")),
    Entry(
        "mp4 two streams",
        "ffmpeg -v error -y -i {plucks} -i {mono} -map 0 -map 1 -bitexact -c:a aac -f mp4 {out}",
        slack=1_024,
    ),
    Entry("mp4 mp3 inside", ffmpeg("plucks", "-c:a libmp3lame -f mp4"), slack=2_048),
    Entry("mp4 opus inside", ffmpeg("studio", "-c:a libopus -f mp4"), slack=2_048),
    Entry("mp4 flac inside", ffmpeg("plucks", "-c:a flac -strict -2 -f mp4"), slack=4_608),
    *(
        Entry(f"mka {codec}", ffmpeg("plucks", f"-c:a {codec} -f matroska"))
        for codec in ("aac", "flac", "libvorbis", "libmp3lame", "pcm_s16le", "ac3")
    ),
    Entry("webm opus", ffmpeg("studio", "-c:a libopus -f webm")),
    Entry("webm vorbis", ffmpeg("plucks", "-c:a libvorbis -f webm")),
    Entry("webm from a pipe", "sh -c 'ffmpeg -v error -i {studio} -c:a libopus -f webm - | cat > {out}'"),
    Entry("webm cut", cut("webm opus"), CUT, salvages=True),
    Entry("mka element beyond every file", with_endless_element("mka flac"), "cut short"),
    Entry("mka cut", cut("mka flac"), CUT, salvages=True),
    *(Entry(f"wma {codec}", ffmpeg("plucks", f"-c:a {codec} -f asf")) for codec in ("wmav1", "wmav2")),
    Entry("wma cut", cut("wma wmav2"), CUT, salvages=True),
    Entry(
        "wma protected",
        lambda made: (
            made["wma wmav2"][:30] + bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e") + made["wma wmav2"][46:]
        ),
        "protected",
    ),
    Entry("ac3", ffmpeg("plucks", "-c:a ac3 -f ac3")),
    Entry("ac3 5.1", ffmpeg("surround", "-c:a ac3 -f ac3")),
    Entry("eac3", ffmpeg("plucks", "-c:a eac3 -f eac3")),
    Entry("dts", ffmpeg("studio", "-c:a dca -strict -2 -f dts")),
    Entry("avi pcm", ffmpeg("plucks", "-c:a pcm_s16le -f avi")),
    Entry("avi mp3", ffmpeg("plucks", "-c:a libmp3lame -f avi")),
    Entry("flv aac", ffmpeg("plucks", "-c:a aac -f flv")),
    Entry("mpegts aac", ffmpeg("plucks", "-c:a aac -f mpegts")),
    Entry("mpeg mp2", ffmpeg("plucks", "-c:a mp2 -f mpeg")),
    # What is no sound at all.
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
