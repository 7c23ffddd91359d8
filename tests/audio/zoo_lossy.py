"""The entries of the zoo that are compressed with loss, and the containers of video."""

import re
import struct
from collections.abc import Callable, Mapping

from tests.audio.zoo_makers import CUT, ID3V1, Entry, cut, ffmpeg, id3, joined, noise_bytes, overwritten

TEST_VIDEO = "ffmpeg -v error -y -f lavfi -i testsrc=d=1:s=64x64 "


def replaced(name: str, old: bytes, new: bytes) -> Callable[[Mapping[str, bytes]], bytes]:
    """Another file with some bytes replaced, wherever they stand."""
    return lambda made: made[name].replace(old, new)


def with_endless_box(name: str) -> Callable[[Mapping[str, bytes]], bytes]:
    """An MP4 file with one more box at its end, of a size that no file can have."""
    return lambda made: made[name] + struct.pack(">I4sQ", 1, b"free", (1 << 64) - 1) + bytes(8)


def with_endless_element(name: str) -> Callable[[Mapping[str, bytes]], bytes]:
    """A Matroska file with an element before its segment that is larger than any file."""

    def make(made: Mapping[str, bytes]) -> bytes:
        at = made[name].index(b"\x18\x53\x80\x67")
        return made[name][:at] + b"\xec\x01" + b"\xff" * 6 + b"\xfe" + made[name][at:]

    return make


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


LOSSY: tuple[Entry, ...] = (
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
)
