"""The entries of the zoo that hold every sample: WAV and its relatives, and lossless codecs."""

import struct
from collections.abc import Callable, Mapping

import numpy as np

from tests.audio.zoo_makers import CUT, ID3V1, Entry, cut, ffmpeg, id3, joined, overwritten, without

LIST_CHUNK = b"LIST" + struct.pack("<I4s4sI6s", 18, b"INFO", b"INAM", 6, b"tones")


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


def rifx(made: Mapping[str, bytes]) -> bytes:
    """A WAV file of 16 bits in the other byte order."""
    content = made["wav s16"]
    at = content.index(b"data")
    fields = struct.unpack("<HHIIHH", content[20:36])
    samples = np.frombuffer(content[at + 8 :], "<i2").astype(">i2").tobytes()
    body = b"WAVEfmt " + struct.pack(">IHHIIHH", 16, *fields) + b"data" + struct.pack(">I", len(samples)) + samples
    return b"RIFX" + struct.pack(">I", len(body)) + body


def with_chunk(name: str, chunk: bytes, where: str) -> Callable[[Mapping[str, bytes]], bytes]:
    """A WAV file with one more chunk, before its sound or behind."""

    def make(made: Mapping[str, bytes]) -> bytes:
        content = made[name]
        at = content.index(b"data") if where == "before" else len(content)
        body = chunk[:4] + struct.pack("<I", len(chunk) - 4) + chunk[4:] + b"\0" * (len(chunk) % 2)
        return content[:at] + body + content[at:]

    return make


LOSSLESS: tuple[Entry, ...] = (
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
)
