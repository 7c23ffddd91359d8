"""The format of a file, detected from its bytes and not from its name.

Only audio containers are handed to a decoder, by the name of their demuxer: a playlist cannot send FFmpeg to a network
address, and text is not taken for subtitles.
"""

import mmap
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from descant.audio import containers, flac, mpeg, ogg
from descant.audio.headers import W64_RIFF, read_header
from descant.audio.source import FFMPEG, LIBSNDFILE, ByteFile, Source, UnreadableAudio, size_of

HEAD_BYTES = 4_096
SEARCHED_BYTES = 1 << 20
"""How far to search for the first frame of an MP3 behind bytes that are not audio."""

MAX_FLAC_BITS = 24
"""libsndfile reads no FLAC of more bits."""

DRM_OF_ASF = bytes.fromhex("fbb31122 23bd d211 b4b7 00a0c955fc6e")

_TEXTS = (
    (re.compile(rb"version https?://git-lfs"), "is a git-LFS pointer and not the file itself: run git lfs pull"),
    (re.compile(rb"<(!doctype html|html|head|body|!--)", re.I), "is an HTML page, as servers send in place of a file"),
    (re.compile(rb"<\?xml|<[a-z]+[ >]", re.I), "is an XML document"),
    (re.compile(rb"#EXTM3U|\[playlist\]", re.I), "is a playlist, not the audio itself"),
    (re.compile(rb'\{\s*("|\})|\[\s*[\[{"\]0-9]'), "is JSON text, as servers send in place of a file"),
)
_OTHERS = (
    (
        0,
        b"\x00\x05\x16\x07",
        "is macOS metadata of another file (AppleDouble): the audio is in the file without ._",
    ),
    (0, b"\x00\x05\x16\x00", "is macOS metadata of another file (AppleSingle)"),
    (0, b"MThd", "is a MIDI file: notes, not audio; render it first"),
    (8, b"RMID", "is a MIDI file: notes, not audio; render it first"),
    (8, b"WEBP", "is a picture (WebP)"),
    (0, b"\x89PNG\r\n", "is a picture (PNG)"),
    (0, b"\xff\xd8\xff", "is a picture (JPEG)"),
    (0, b"GIF8", "is a picture (GIF)"),
    (0, b"%PDF", "is a PDF document"),
    (0, b"PK\x03\x04", "is a zip archive: unpack it first"),
    (0, b"PK\x05\x06", "is a zip archive with nothing in it"),
    (0, b"\x1f\x8b", "is compressed (gzip): unpack it first"),
    (0, b"BZh", "is compressed (bzip2): unpack it first"),
    (0, b"\xfd7zXZ", "is compressed (xz): unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "is a 7z archive: unpack it first"),
    (0, b"Rar!", "is a rar archive: unpack it first"),
    (0, b"MZ", "is a program (Windows)"),
    (0, b"\x7fELF", "is a program (ELF)"),
    (0, b"SQLite format 3", "is a database (SQLite)"),
    (0, b"Extended Module:", "is a tracker module (XM): notes and short sounds; render it first"),
    (0, b"IMPM", "is a tracker module (IT): notes and short sounds; render it first"),
    (44, b"SCRM", "is a tracker module (S3M): notes and short sounds; render it first"),
    (1080, b"M.K.", "is a tracker module (MOD): notes and short sounds; render it first"),
    (0, b"ADIF", "is AAC in an ADIF container, which is not read here"),
    (0, b"OFR ", "is an OptimFROG file, which is not read here"),
)
_HEADED: tuple[tuple[bytes, str, str], ...] = (
    (b"RIFF", "WAV", "wav"),
    (b"RIFX", "WAV", "wav"),
    (b"RF64", "WAV", "wav"),
    (b"BW64", "WAV", "wav"),
)
_HEADED += ((W64_RIFF, "W64", "w64"), (b"FORM", "AIFF", "aiff"), (b".snd", "AU", "au"), (b"caff", "CAF", "caf"))
_BY_MAGIC = (
    (0, b"MAC ", "Monkey's Audio", "ape"),
    (0, b"TTA", "True Audio", "tta"),
    (0, b"tBaK", "TAK", "tak"),
    (0, b"DSD ", "DSF", "dsf"),
    (0, b"FRM8", "DSDIFF", "iff"),
    (8, b"8SVX", "8SVX", "iff"),
    (0, b"#!AMR", "AMR", "amr"),
    (0, b"FLV\x01", "FLV", "flv"),
    (8, b"AVI ", "AVI", "avi"),
    (0, b"Creative Voice File\x1a", "VOC", "voc"),
    (0, b"MPCK", "Musepack", "mpc8"),
    (0, b"MP+", "Musepack", "mpc"),
    (0, b"\x0b\x77", "AC-3", "ac3"),
    (0, b"\x7f\xfe\x80\x01", "DTS", "dts"),
    (0, b".RMF", "RealMedia", "rm"),
    (0, b"\x00\x00\x01\xba", "MPEG program stream", "mpeg"),
    (0, b".SoX", "SoX", "sox"),
    (0, b"XoS.", "SoX", "sox"),
    (0, b"NIST_1A", "NIST SPHERE", "nistsphere"),
    (0, b"qoaf", "QOA", "qoa"),
)
_FRAMED = (("AAC", "aac", mpeg.adts_frame), ("MP3", "mp3", mpeg.mpeg_frame))
_MOV_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp")


def sniff(file: ByteFile) -> Source:
    """How to read a file.

    Raises:
        UnreadableAudio: it is not audio, or in an unsupported format; the message says what it is, without its name.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    for offset, magic, what in _OTHERS:
        if head.startswith(magic, offset):
            raise UnreadableAudio(what)
    for magic, name, demuxer in _HEADED:
        # Other files begin with FORM too.
        if head.startswith(magic) and (header := read_header(file)) is not None:
            if header.present < 1:
                raise UnreadableAudio("holds no samples: it has a header and no audio")
            losses = () if header.loss is None else (header.loss,)
            decoder = LIBSNDFILE if header.is_exact else FFMPEG
            return Source(name=name, decoder=decoder, demuxer=demuxer, seeks=header.is_exact, losses=losses)
    for read in (_flac, _ogg, _framed, _box):
        if (source := read(file, head)) is not None:
            return source
    for offset, magic, name, demuxer in _BY_MAGIC:
        if head.startswith(magic, offset):
            return Source(name=name, demuxer=demuxer)
    if head[:1] == b"\x47" and head[188:189] == b"\x47" and head[376:377] == b"\x47":
        return Source(name="MPEG transport stream", demuxer="mpegts")
    if (source := _search_frames(file)) is not None:
        return source
    refuse_text(head)
    # The other formats of libsndfile: PAF, 8SVX, IRCAM, PVF, HTK, SDS, MPC 2000 and the like.
    return Source(name="others", decoder=LIBSNDFILE)


def _flac(file: ByteFile, head: bytes) -> Source | None:
    tag = mpeg.id3_size(head)
    file.seek(tag)
    if file.read(4) != flac.MARK:
        return None
    is_plain, parts = False, []
    if tag == 0:
        with _mapped(file) as content:
            parts, promised = flac.parts(content), flac.num_samples(content)
            is_complete = promised > 0 and (flac.last_sample(content) or 0) <= promised
            is_plain = len(parts) == 1 and is_complete and flac.bits_per_sample(content) <= MAX_FLAC_BITS
    return Source(
        name="FLAC",
        decoder=LIBSNDFILE if is_plain else FFMPEG,
        demuxer="flac",
        seeks=is_plain,
        parts=tuple((part,) for part in parts) if len(parts) > 1 else (),
    )


def _ogg(file: ByteFile, head: bytes) -> Source | None:
    if head[:4] != b"OggS":
        return None
    with _mapped(file) as content:
        pages = ogg.walk(content)
        is_vorbis = all(ogg.is_vorbis(content, start) for start, _ in pages.links)
    return Source(
        name="Ogg",
        # FFmpeg's lengths differ from Ogg's by up to a thousand samples; those of libsndfile, read in order, do not.
        decoder=LIBSNDFILE if is_vorbis else FFMPEG,
        demuxer="ogg",
        parts=tuple((link,) for link in pages.links) if len(pages.links) > 1 else (),
        losses=tuple(pages.losses),
        notes=tuple(pages.notes),
    )


def _framed(file: ByteFile, head: bytes) -> Source | None:
    """MPEG audio or ADTS, with or without ID3 tags before it."""
    at = 0
    while size := mpeg.id3_size(head):
        at += size
        file.seek(at)
        head = file.read(HEAD_BYTES)
    for name, demuxer, read_frame in _FRAMED:
        frame = read_frame(head, 0)
        if frame is None:
            continue
        file.seek(at + frame.num_bytes)
        following = read_frame(file.read(16), 0)
        is_all = at + frame.num_bytes >= size_of(file)
        if is_all or (following is not None and following.kind == frame.kind):
            return _walked(file, name, demuxer, read_frame)
    for magic, name, demuxer in ((b"TTA", "True Audio", "tta"), (b"MAC ", "Monkey's Audio", "ape")):
        if at and head.startswith(magic):
            return Source(name=name, demuxer=demuxer)
    if at:
        # A tag is only written before audio, whose first frame may be missing.
        return _walked(file, "MP3", "mp3", mpeg.mpeg_frame)
    return None


def _walked(file: ByteFile, name: str, demuxer: str, read_frame: mpeg.ReadFrame) -> Source:
    with _mapped(file) as content:
        end = mpeg.audio_end(content)
    with _mapped(file, end) as content:
        found = mpeg.walk(content, read_frame)
    if not found.runs:
        raise UnreadableAudio(f"has the tags of an {name}, but no frame of sound after them")
    losses = [
        f"{'' if found.gaps else 'it is cut short: '}its header promises {run.promised_s:.2f} s, "
        f"{run.duration_s:.2f} s are there"
        for run in found.runs
        if run.num_frames < (run.promised_frames or 0)
    ]
    if found.torn_bytes and not losses:
        losses.append(f"it is cut short: only {found.torn_bytes} bytes of its last frame are there")
    gaps = [f"{size} bytes at {at_s:.2f} s are not audio and were skipped" for at_s, size in found.gaps[:3]]
    gaps += [f"{len(found.gaps) - 3} more such places"] if len(found.gaps) > 3 else []
    return Source(
        name=name,
        demuxer=demuxer,
        parts=tuple(tuple(run.spans) for run in found.runs),
        num_frames=tuple(run.num_frames for run in found.runs),
        losses=tuple(losses + gaps if losses else losses),
        notes=() if losses else tuple(gaps),
    )


def _search_frames(file: ByteFile) -> Source | None:
    """An MP3 or AAC file that begins with something else: zeros, half a frame, the rest of a broken download."""
    file.seek(0)
    content = file.read(SEARCHED_BYTES)
    for name, demuxer, read_frame in _FRAMED:
        if mpeg.first_frame(content, 0, read_frame, num_followers=4) is not None:
            return _walked(file, name, demuxer, read_frame)
    return None


def _box(file: ByteFile, head: bytes) -> Source | None:
    """Containers made of boxes, whose sizes show whether the file was cut."""
    found: tuple[str, str, Callable[[ByteFile], list[str]]] | None = None
    if head[4:8] in _MOV_BOXES:
        found = ("MP4", "mov", containers.losses_of_mov)
    elif head[:4] == b"\x1a\x45\xdf\xa3":
        found = ("Matroska", "matroska", containers.losses_of_matroska)
    elif head[:4] == b"\x30\x26\xb2\x75":
        if DRM_OF_ASF in head:
            raise UnreadableAudio("is protected against copying (Windows Media DRM) and cannot be decoded")
        found = ("ASF", "asf", containers.losses_of_asf)
    elif head[:4] == b"wvpk":
        found = ("WavPack", "wv", containers.losses_of_wavpack)
    if found is None:
        return None
    name, demuxer, losses_of = found
    return Source(name=name, demuxer=demuxer, losses=tuple(losses_of(file)))


def refuse_text(head: bytes) -> None:
    """Refuses a file that begins with this and is text or zeros.

    Raises:
        UnreadableAudio: it is; the message says what it is, without its name.
    """
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for pattern, what in _TEXTS:
        if pattern.match(text):
            raise UnreadableAudio(what)
    if not head.strip(b"\0"):
        raise UnreadableAudio(f"begins with {len(head)} zeros and no audio: a failed download?")
    if all(32 <= byte < 127 or byte in b"\t\n\r\f" for byte in head):
        raise UnreadableAudio("is text, not audio")


@contextmanager
def _mapped(file: ByteFile, end: int = 0) -> Iterator[bytes]:
    """The bytes of a file, up to ``end`` unless that is 0; memory-mapped if possible."""
    try:
        content = mmap.mmap(file.fileno(), end, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        file.seek(0)
        yield file.read(end or -1)
        return
    with content:
        yield content  # type: ignore[misc]
