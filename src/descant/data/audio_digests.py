"""Digests of audio files: what identifies a clip's codes, whatever its file is called and its tags say.

A digest is that of the samples. It is computed once; ``audio.jsonl`` next to the shards has the size and the time of
change of each file with it, so that unchanged files are not read again. Without that file, or after a copy that changes
times, all audio is read, but not encoded, once more.
"""

import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from einops import rearrange

from descant.audio import read_in_blocks
from descant.data.json_lines import lines_of, read_rows
from descant.data.manifest import ClipRecord
from descant.data.recorded import header_as_recorded
from descant.data.shards import write_file
from descant.errors import DataError

DIGESTS_NAME = "audio.jsonl"


@dataclass(frozen=True, kw_only=True)
class KnownAudio:
    """The state of a clip's file, its description in the manifest, and the digest that it had."""

    id: str
    bytes: int
    modified_ns: int
    source: str
    audio: str


class AudioDigests:
    """The digests of clips, each computed at most once as long as the file is unchanged."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Reads the digests that are stored in a folder of shards, if there are any."""
        self._path = Path(folder) / DIGESTS_NAME
        self._known: dict[str, KnownAudio] = {}
        if self._path.exists():
            try:
                rows = read_rows(self._path, "the digests of audio", _FIELDS, list(_FIELDS), _row)
            except DataError as error:
                raise DataError(f"{error}; delete that file, which only saves reading the audio again") from error
            self._known = {row.id: row for _, row in rows}

    def digest(self, record: ClipRecord, name: str) -> str:
        """The digest of a clip by its name. If the file is gone, the one that it had.

        Raises:
            AudioError: the file is missing and unknown, damaged or too short, or does not match the manifest.
        """
        known = self._known.get(name)
        if known is not None and known.source == source_of(record):
            state = _state(record.path)
            if state is None or state == (known.bytes, known.modified_ns):
                return known.audio
        header_as_recorded(record)
        # Read first: audio that changes while it is read is read again by the next run.
        state = _state(record.path)
        audio = _digest(record.path)
        self._add(record, name, audio, state)
        return audio

    def add(self, record: ClipRecord, name: str, audio: str) -> None:
        """Takes a clip's file as it is now for the one that has this digest."""
        self._add(record, name, audio, _state(record.path))

    def _add(self, record: ClipRecord, name: str, audio: str, state: tuple[int, int] | None) -> None:
        num_bytes, modified_ns = state or (0, 0)
        self._known[name] = KnownAudio(
            id=name, bytes=num_bytes, modified_ns=modified_ns, source=source_of(record), audio=audio
        )

    def save(self) -> None:
        """Writes the digests atomically.

        Raises:
            DataError: they cannot be written.
        """
        write_file(self._path, lines_of(asdict(row) for row in self._known.values()))


def source_of(record: ClipRecord) -> str:
    """The manifest's description of a clip's file."""
    return f"{record.duration_s!r} s, {record.sample_rate_hz} Hz, {record.num_channels} channels"


def _state(path: Path) -> tuple[int, int] | None:
    """The size and the time of change of a file, None if it is not there."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return state.st_size, state.st_mtime_ns


def _digest(path: Path) -> str:
    digest, form = hashlib.sha256(), ""
    for block, rate_hz in read_in_blocks(path):
        digest.update(rearrange(block, "C N -> N C").contiguous().numpy().tobytes())
        form = f"{len(block)} channels, {rate_hz} Hz"
    digest.update(form.encode())
    return digest.hexdigest()


def _row(data: dict[str, Any]) -> KnownAudio:
    return KnownAudio(**data)


_FIELDS = {
    "id": "a string",
    "bytes": "an integer",
    "modified_ns": "an integer",
    "source": "a string",
    "audio": "a string",
}
