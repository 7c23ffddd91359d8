"""Creates the records of a manifest from a folder of music, with counts of the files found, described and skipped."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from descant.audio import AudioHeader, audio_header, check_usable
from descant.data.descriptions import Descriptions
from descant.data.folders import list_folder
from descant.data.header_parts import known_headers, write_headers
from descant.data.manifest import ClipRecord
from descant.data.parts import Part
from descant.data.splits import with_splits
from descant.data.workers import Workers
from descant.errors import AudioError, DataError, InvalidRequest, without_salvage
from descant.user_files import file_state

BLOCK = 64
"""Files whose headers a process reads at a time."""
MAX_SAMPLES_PER_BYTE = 10_000
"""Above what any format reaches: digital silence in FLAC, the densest, has about 4,000 samples per byte."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The result of a scan.

    Args:
        works: the name of the work that each record is of.
        problems: excluded audio files with the reasons.
        notes: other problems, one line each: unreadable descriptions and likely mistakes.
        described: number of clips described by each kind of source.
        skipped: number of skipped entries by reason.
    """

    records: list[ClipRecord]
    works: list[str]
    problems: dict[Path, str]
    notes: list[str]
    described: dict[str, int]
    skipped: dict[str, int]


def scan_folder(
    folder: str | os.PathLike[str],
    *,
    valid_share: float = 0.05,
    previous: Sequence[ClipRecord] = (),
    uses_measured: bool = True,
    shortest_s: float = 0.0,
    workers: int = 1,
) -> Scan:
    """A record for every audio file below a folder, in the order of their names.

    Clips are divided into training and validation by work (``splits.py``).

    Args:
        valid_share: share of the clips for validation, 0 to 1; at 0 and 1 a split is empty.
        previous: the records of an earlier scan, so that clips keep their split when others are added.
        uses_measured: whether measured tags (``measured.py``) complete the descriptions.
        shortest_s: shorter clips are excluded.
        workers: the number of processes that read the files' headers.

    Raises:
        DataError: the folder does not exist, or its families cannot be read.
        InvalidRequest: ``valid_share`` is not in [0, 1].
    """
    if not 0 <= valid_share <= 1:
        raise InvalidRequest(f"valid_share={valid_share}: allowed are 0 to 1")
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{str(folder)!r} is not a folder")
    contents = list_folder(root)
    if not uses_measured:
        contents = replace(contents, measured=[])
    notes = [*_shared_names(contents.audio)]
    descriptions = Descriptions(contents, notes)
    records, problems = [], {}
    known = known_headers(root)
    unknown = [path for path in contents.audio if path not in known]
    known |= dict(zip(unknown, _headers(unknown, workers), strict=True))
    for path in contents.audio:
        header = known[path]
        if isinstance(header, str):
            problems[path] = header
            continue
        if header.duration_s < shortest_s:
            problems[path] = f"{str(path)!r} has {header.duration_s:.3g} s; at least {shortest_s:g} s are needed"
            continue
        captions, tags = descriptions.of(path)
        records.append(
            ClipRecord(
                path=path.absolute(),
                duration_s=header.duration_s,
                sample_rate_hz=header.sample_rate_hz,
                num_channels=header.num_channels,
                captions=captions,
                tags=tags,
            )
        )
    notes += descriptions.final_notes()
    records, works = with_splits(records, root.absolute(), valid_share, previous, notes)
    return Scan(
        records=records,
        works=works,
        problems=problems,
        notes=notes,
        described=dict(descriptions.counts),
        skipped=dict(contents.skipped),
    )


def scan_part(folder: str | os.PathLike[str], part: Part, *, workers: int = 1) -> int:
    """Reads the headers of one machine's share of a folder, where ``scan_folder`` finds them, and gives their number.

    Raises:
        DataError: the folder does not exist or cannot be written to.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{str(folder)!r} is not a folder")
    own = part.own(list_folder(root).audio)
    # Before the headers: a file that changes while it is read is read again.
    states = [file_state(path) for path in own]
    write_headers(root, part, zip(own, states, _headers(own, workers), strict=True))
    return len(own)


def plausible_header(path: Path) -> AudioHeader:
    """The header of an audio file, if it is plausible for the file size and the clip is long enough to be encoded.

    Raises:
        AudioError: it is not, or the file is not audio.
    """
    header = audio_header(path)
    size = path.stat().st_size
    if header.num_samples > MAX_SAMPLES_PER_BYTE * size:
        raise AudioError(
            f"{str(path)!r} is damaged: its header claims {header.duration_s / 3_600:.3g} hours, but the file has "
            f"{size} bytes; rewrite it: ffmpeg -i INPUT output.wav"
        )
    check_usable(path, header)
    return header


def _headers(paths: Sequence[Path], num_processes: int) -> list[AudioHeader | str]:
    """The header of each file, or why it is left out, read in so many processes."""
    blocks = [paths[start : start + BLOCK] for start in range(0, len(paths), BLOCK)]
    with Workers(num_processes) as workers:
        calls = (workers.start(_headers_of, block) for block in blocks)
        return [header for call in workers.ahead(calls) for header in call()]


def _headers_of(paths: Sequence[Path]) -> list[AudioHeader | str]:
    headers: list[AudioHeader | str] = []
    for path in paths:
        try:
            headers.append(plausible_header(path))
        except AudioError as error:
            headers.append(without_salvage(str(error)))
    return headers


def _shared_names(audio: list[Path]) -> Iterator[str]:
    """A note if files of one folder differ only in their suffix and so share their captions."""
    by_stem: dict[Path, list[Path]] = {}
    for path in audio:
        by_stem.setdefault(path.with_suffix(""), []).append(path)
    shared = [paths for paths in by_stem.values() if len(paths) > 1]
    if shared:
        first = " and ".join(repr(str(path)) for path in shared[0][:3])
        apart = shared[0][0].name + ".txt"
        yield (
            f"{len(shared)} names belong to several audio files, which share name.txt and name.json "
            f"(first {first}): keep one of them, or describe each in a file with its full name, such as {apart!r}"
        )
