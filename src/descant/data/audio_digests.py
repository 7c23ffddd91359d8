"""Digests of audio files: what identifies a clip's codes, whatever its file is called and its tags say.

A digest is that of the samples. It is computed once; ``audio.jsonl`` next to the shards has the size and the time of
change of each file with it, so that unchanged files are not read again. Without that file, or after a copy that changes
times, all audio is read, but not encoded, once more.
"""

import hashlib
from collections.abc import Sequence
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
from descant.user_files import file_state

DIGESTS_NAME = "audio.jsonl"


@dataclass(frozen=True, kw_only=True)
class KnownAudio:
    """The state of a clip's file, its description in the manifest, and the digest that it had."""

    id: str
    bytes: int
    modified_ns: int
    source: str
    audio: str


@dataclass(frozen=True)
class MeasuredAudio:
    """The digest of a file, and its size and time of change before it was read, if it was there."""

    audio: str
    state: tuple[int, int] | None


class AudioDigests:
    """The digests of clips, each computed at most once as long as the file is unchanged."""

    def __init__(self, folder: Path, others: Sequence[Path] = ()) -> None:
        """Reads the digests that are stored in a folder of shards, if there are any, and in others."""
        self._path = folder / DIGESTS_NAME
        self._known: dict[str, KnownAudio] = {}
        for path in (self._path, *(other / DIGESTS_NAME for other in others)):
            if not path.exists():
                continue
            try:
                rows = read_rows(path, "the digests of audio", _FIELDS, list(_FIELDS), _row)
            except DataError as error:
                raise DataError(f"{error}; delete that file, which only saves reading the audio again") from error
            self._known |= {row.id: row for _, row in rows}

    def known(self, record: ClipRecord, name: str) -> str | None:
        """The digest of a clip by its name, if its file is as it was, or is gone; else None: it has to be read."""
        known = self._known.get(name)
        if known is None or known.source != source_of(record):
            return None
        return known.audio if file_state(record.path) in (None, (known.bytes, known.modified_ns)) else None

    def add(self, record: ClipRecord, name: str, audio: str) -> None:
        """Takes a clip's file as it is now for the one that has this digest."""
        self.add_measured(record, name, MeasuredAudio(audio, file_state(record.path)))

    def add_measured(self, record: ClipRecord, name: str, measured: MeasuredAudio) -> None:
        """Keeps what was measured of a clip."""
        num_bytes, modified_ns = measured.state or (0, 0)
        self._known[name] = KnownAudio(
            id=name, bytes=num_bytes, modified_ns=modified_ns, source=source_of(record), audio=measured.audio
        )

    def save(self) -> None:
        """Writes the digests atomically.

        Raises:
            DataError: they cannot be written.
        """
        write_file(self._path, lines_of(asdict(row) for row in self._known.values()))


def measure(record: ClipRecord) -> MeasuredAudio:
    """Reads a clip's file.

    Raises:
        AudioError: the file is missing, damaged or too short, or does not match the manifest.
    """
    header_as_recorded(record)
    # Read first: audio that changes while it is read is read again by the next run.
    state = file_state(record.path)
    return MeasuredAudio(_digest(record.path), state)


def source_of(record: ClipRecord) -> str:
    """The manifest's description of a clip's file."""
    return f"{record.duration_s!r} s, {record.sample_rate_hz} Hz, {record.num_channels} channels"


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
