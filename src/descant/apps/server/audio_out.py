"""Clips as files for users: a format, a part, a loudness, loop points, notes; kept for the next time in the cache."""

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from descant.apps.cli.outputs import slug
from descant.apps.server.files import Files
from descant.apps.server.problems import Problem, at_fault
from descant.audio import Clip
from descant.audio.loop_points import FORMATS as LOOP_FORMATS
from descant.audio.loop_points import with_loop_points
from descant.errors import AudioError
from descant.transcription import DEFAULT_BPM, midi_file, transcribe

AudioFormat = Literal["wav", "flac", "mp3", "ogg", "opus", "m4a"]
TYPES = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "m4a": "audio/mp4",
}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The file that is asked for.

    Args:
        end_s: None is the end.
        loudness_lufs: None leaves the level as it is.
        is_anonymous: without tags, which would say what it is.
    """

    format: AudioFormat = "wav"
    start_s: float = 0.0
    end_s: float | None = None
    loudness_lufs: float | None = None
    is_loop: bool = False
    is_anonymous: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the clip."""
        return self.start_s == 0 and self.end_s is None


def exported(files: Files, source: Path, id: str, info: Mapping[str, Any], wanted: Wanted) -> Path:
    """The path of a clip's audio as it is wanted, written if it is not in the cache.

    Args:
        source: the stored audio.
        info: the record of how it was made.

    Raises:
        Problem: the part lies outside the clip, the format has no loop points, or the audio has just been removed.
    """
    path = files.cached(id, _fingerprint(asdict(wanted)), wanted.format)
    if path.exists():
        path.touch()
        return path
    files.write(path, audio_file(source, id, info, wanted))
    return path


def audio_file(source: Path, id: str, info: Mapping[str, Any], wanted: Wanted) -> bytes:
    """A clip's audio as it is wanted; arguments and errors as of ``exported``."""
    if wanted.is_loop and wanted.format not in LOOP_FORMATS:
        raise at_fault("/loop", f"{wanted.format} files have no loop points; ask for {' or '.join(LOOP_FORMATS)}")
    clip = _stored(source, id)
    if not wanted.is_whole:
        if round(wanted.start_s * clip.sample_rate_hz) >= len(clip):
            raise at_fault("/start_s", f"must lie within the {clip.duration_s:.2f} s of the clip", got=wanted.start_s)
        end_s = clip.duration_s if wanted.end_s is None else min(wanted.end_s, clip.duration_s)
        if round(end_s * clip.sample_rate_hz) <= round(wanted.start_s * clip.sample_rate_hz):
            raise at_fault("/end_s", "must be at least a sample after start_s", got=wanted.end_s)
        clip = clip[wanted.start_s : end_s]
    level, gain = clip.leveled(wanted.loudness_lufs)
    tags: dict[str, Any] = {}
    if wanted.is_whole and not wanted.is_anonymous and info:
        made = {"loudness_lufs": wanted.loudness_lufs, "gain": gain, "sample_rate_hz": clip.sample_rate_hz}
        tags = {**info, **made}
    content = Clip(level.samples, level.sample_rate_hz, info=tags).to_bytes(wanted.format)
    if wanted.is_loop:
        content = with_loop_points(content, wanted.format, len(level), level.sample_rate_hz)
    return content


def transcribed(files: Files, source: Path, row: sqlite3.Row) -> Path:
    """The path of a MIDI file of a clip's notes, written if it is not in the cache; its bars have the measured tempo.

    Args:
        source: the stored audio.

    Raises:
        MissingExtra: what finds notes is not installed.
        Problem: the audio has just been removed.
    """
    measured = {} if row["measured"] is None else json.loads(row["measured"])
    tempo = float(measured.get("tempo_bpm") or row["tempo_bpm"] or DEFAULT_BPM)
    name = row["title"] or row["text"] or ""
    path = files.cached(row["id"], _fingerprint({"tempo": tempo, "name": name}), "mid")
    if path.exists():
        path.touch()
        return path
    clip = _stored(source, row["id"])
    files.write(path, midi_file(transcribe(clip), clip.duration_s, tempo, name))
    return path


def file_name(row: sqlite3.Row, format: str) -> str:
    """A name that a person understands: words, seed and a part of the identifier."""
    words = slug(row["title"] or row["text"])
    return f"{words}-s{row['seed']}-{row['id'].removeprefix('clip_')[:4]}.{format}"


def info_of(row: sqlite3.Row) -> dict[str, Any]:
    """The record of how a clip was made."""
    return {} if row["info"] is None else dict(json.loads(row["info"]))


def require_audio(row: sqlite3.Row) -> None:
    """Refuses a clip without stored audio.

    Raises:
        Problem: it is being made, has none, or its audio was dropped.
    """
    if row["state"] in ("waiting", "making"):
        raise Problem("not-finished", f"clip {row['id']} is {row['state']}; its stream has what is made already")
    if row["state"] in ("cancelled", "failed"):
        raise Problem("not-found", f"clip {row['id']} has no audio: it is {row['state']}")
    if not row["audio_kept"]:
        raise _dropped(row["id"])


def _stored(source: Path, id: str) -> Clip:
    """The stored audio, which may have been removed since somebody looked for it."""
    try:
        return Clip.read(source)
    except AudioError:
        if source.exists():
            raise
        if id.startswith("clip_"):
            raise _dropped(id) from None
        raise Problem("not-found", f"{id} was deleted") from None


def _dropped(id: str) -> Problem:
    return Problem("audio-dropped", f"the audio of clip {id} was dropped to make room; make it again")


def _fingerprint(wanted: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]
