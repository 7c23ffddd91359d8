"""Headers of audio files that several machines have read, each its part, for the scan that follows them.

They are in hidden files of the scanned folder, ``.descant-headers-1-of-2.jsonl``, with the size and the time of change
of each audio file: one that has changed since is read again.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from descant.audio import AudioHeader
from descant.data.json_lines import lines_of, read_rows
from descant.data.parts import Part
from descant.data.shards import write_file
from descant.user_files import file_state


@dataclass(frozen=True, kw_only=True)
class ReadHeader:
    """The header of a file by its path in the folder; if it is left out, the reason and zeros."""

    path: str
    bytes: int
    modified_ns: int
    num_samples: int
    sample_rate_hz: int
    num_channels: int
    reason: str


def write_headers(
    root: Path, part: Part, headers: Iterable[tuple[Path, tuple[int, int] | None, AudioHeader | str]]
) -> None:
    """Writes the headers of a part, or why files are left out, each with the file's state before it was read.

    Raises:
        DataError: the file cannot be written.
    """
    write_file(
        root / f".descant-headers-{part.number}-of-{part.count}.jsonl",
        lines_of(asdict(_read_header(root, *read)) for read in headers),
    )


def known_headers(root: Path) -> dict[Path, AudioHeader | str]:
    """The headers, or the reasons, of the files that have not changed since they were read.

    Raises:
        DataError: a file of headers is damaged.
    """
    known: dict[Path, AudioHeader | str] = {}
    for file in _files(root):
        for _, row in read_rows(file, "the headers", _FIELDS, list(_FIELDS), lambda data: ReadHeader(**data)):
            path = root / row.path
            if file_state(path) == (row.bytes, row.modified_ns):
                known[path] = row.reason or AudioHeader(row.num_samples, row.sample_rate_hz, row.num_channels)
    return known


def remove_headers(root: Path) -> None:
    """Deletes the files, once a manifest has what they say."""
    for file in _files(root):
        file.unlink(missing_ok=True)


def _files(root: Path) -> list[Path]:
    return sorted(root.glob(".descant-headers-*-of-*.jsonl"))


def _read_header(root: Path, path: Path, state: tuple[int, int] | None, header: AudioHeader | str) -> ReadHeader:
    num_bytes, modified_ns = state or (0, 0)
    num_samples, sample_rate_hz, num_channels = (0, 0, 0) if isinstance(header, str) else header
    return ReadHeader(
        path=path.relative_to(root).as_posix(),
        bytes=num_bytes,
        modified_ns=modified_ns,
        num_samples=num_samples,
        sample_rate_hz=sample_rate_hz,
        num_channels=num_channels,
        reason=header if isinstance(header, str) else "",
    )


_FIELDS = {
    "path": "a string",
    "bytes": "an integer",
    "modified_ns": "an integer",
    "num_samples": "an integer",
    "sample_rate_hz": "an integer",
    "num_channels": "an integer",
    "reason": "a string",
}
