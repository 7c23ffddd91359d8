"""The MusicGen paper's own table: music for MusicCaps' captions, compared with MusicCaps' clips.

MusicCaps (arXiv 2301.11325) is a table of captions of ten seconds of YouTube videos; the clips themselves are not
distributed. The folder has the table, as a ``.csv`` with the columns ``ytid`` and ``caption``, and those clips that a
person has, under names that begin with the ``ytid``, perhaps in square brackets.
"""

import csv
import io
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from descant.audio import Clip, read_info
from descant.data.folders import list_folder
from descant.data.sidecars import MAX_TABLE_BYTES, read_text
from descant.errors import DataError, InvalidRequest
from descant.evaluation.report import markdown_table
from descant.generation.request import Request
from descant.studies.evaluation.base import Asked, Role
from descant.studies.evaluation.results import Evaluation
from descant.studies.evaluation.sets import ClipSet, open_set

DURATION_S = 10.0
NUM_OF_PAPER = 5_521
METRICS = ("fad", "kl", "clap")
EMBEDDERS: dict[Role, str] = {"embedder": "vggish", "labeller": "passt", "text_embedder": "clap"}
"""Those of the paper (arXiv 2306.05284, section 3.4)."""

PAPER: tuple[tuple[str, float, float | None, float | None], ...] = (
    ("Riffusion", 14.8, 2.06, 0.19),
    ("Mousai", 7.5, 1.59, 0.23),
    ("MusicLM", 4.0, None, None),
    ("Noise2Music", 2.1, None, None),
    ("MusicGen 300M", 3.1, 1.28, 0.31),
    ("MusicGen 1.5B", 3.4, 1.23, 0.32),
    ("MusicGen 3.3B", 3.8, 1.22, 0.31),
    ("released small", 4.88, 1.42, 0.27),
    ("released medium", 5.14, 1.38, 0.28),
    ("released large", 5.48, 1.37, 0.28),
)
"""FAD, KL and CLAP: table 1 of the paper, then audiocraft's model card for the released weights."""

Report = Callable[[float, float], None]
Generate = Callable[[list[Request]], list[Clip]]


@dataclass(frozen=True, kw_only=True)
class CaptionedClip:
    """A caption of MusicCaps and the clip that it describes."""

    ytid: str
    text: str
    reference: Path


@dataclass(frozen=True, kw_only=True)
class MusicCaps:
    """The captions whose clips are there, and the number of those without."""

    clips: tuple[CaptionedClip, ...]
    num_missing: int


def read_musiccaps(folder: Path, generated: Path, num_clips: int | None = None) -> MusicCaps:
    """The captions and clips in a folder, in the order of the table.

    Args:
        generated: a folder that may be inside it, whose clips are no references.
        num_clips: how many to use, from the start.

    Raises:
        DataError: there is no table or more than one, it lacks a column, or none of the clips is there.
        InvalidRequest: ``num_clips`` is out of range.
    """
    if not folder.is_dir():
        raise DataError(f"{str(folder)!r} is not a folder")
    tables = sorted(folder.glob("*.csv"))
    if len(tables) != 1:
        raise DataError(f"{str(folder)!r} has {len(tables)} .csv files; put MusicCaps' table there, and no other")
    audio = {
        file.stem.removeprefix("["): file
        for file in list_folder(folder).audio
        if not file.absolute().is_relative_to(generated.absolute())
    }
    stems = sorted(audio)
    found, num_missing = [], 0
    for ytid, text in _rows(tables[0]):
        # The stems that begin with the ytid follow it in the order of letters.
        place = bisect_left(stems, ytid)
        stem = stems[place] if place < len(stems) else ""
        if _is_of(stem, ytid):
            found.append(CaptionedClip(ytid=ytid, text=text, reference=audio[stem]))
        else:
            num_missing += 1
    if not found:
        raise DataError(
            f"{str(folder)!r} has none of the clips of {tables[0].name}: name each by its ytid, such as {ytid!r}.wav"
        )
    if num_clips is not None and not 1 <= num_clips <= len(found):
        raise InvalidRequest(f"num_clips={num_clips}: allowed are 1 to {len(found)}, the clips that are there")
    return MusicCaps(clips=tuple(found[:num_clips]), num_missing=num_missing)


def generate_missing(
    generate: Generate, fingerprint: str, clips: Sequence[CaptionedClip], folder: Path, batch: int, report: Report
) -> int:
    """Generates ten seconds for each caption, as ``YTID.wav`` in a folder, and returns how many were there already.

    Each clip has its own seed, a checksum of its ytid. A run that was interrupted continues where it stopped.

    Args:
        fingerprint: of the model, which the clips' tags have too.

    Raises:
        DataError: a clip in the folder was made with another model or for another caption.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [clip for clip in clips if not _is_made(fingerprint, clip, folder)]
    for start in range(0, len(missing), batch):
        report(start, len(missing))
        group = missing[start : start + batch]
        for captioned, clip in zip(group, generate([_request(one) for one in group]), strict=True):
            # The record has the text that was read, which may have been cut.
            replace(clip, info={**clip.info, "musiccaps": captioned.ytid}).save(_file(captioned, folder))
    return len(clips) - len(missing)


def open_sets(clips: Sequence[CaptionedClip], folder: Path, skip_broken: bool) -> tuple[ClipSet, ClipSet]:
    """The generated clips and their references, both under the names of the ytids.

    Raises:
        AudioError, DataError: as ``open_set``.
    """
    by_ytid = {clip.ytid: clip for clip in clips}
    asked = {ytid: Asked(text=clip.text) for ytid, clip in by_ytid.items()}
    generated = open_set(folder, asked=asked, files={ytid: _file(clip, folder) for ytid, clip in by_ytid.items()})
    references = open_set(
        folder.parent,
        asked=asked,
        files={ytid: clip.reference for ytid, clip in by_ytid.items()},
        skip_broken=skip_broken,
    )
    known = {file.name for file in references.files}
    return replace(generated, files=tuple(file for file in generated.files if file.name in known)), references


def paper_table(name: str, found: Evaluation) -> str:
    """The three numbers next to the published ones, with what keeps them from being comparable."""
    ours = [next((str(row.estimate) for row in found.rows if row.measure.key == key), "") for key in METRICS]
    rows: list[list[str | float]] = [[name, *ours]]
    for model, *values in PAPER:
        rows.append([model, *("" if value is None else value for value in values)])
    lines = [markdown_table(["model", "FAD", "KL", "CLAP"], rows)]
    used = {role: label.split(" (")[0].lower() for role, label in found.embedders.items()}
    for role, expected in EMBEDDERS.items():
        if role in used and not used[role].startswith(expected):
            lines.append(f"note: the paper's {role.replace('_', ' ')} is {expected}, not {used[role]}: do not compare")
    if len(found.generated.files) < NUM_OF_PAPER:
        lines.append(
            f"note: {len(found.generated.files)} clips; the paper has {NUM_OF_PAPER}, and FAD is larger for fewer"
        )
    return "\n".join(lines)


def _rows(table: Path) -> Iterator[tuple[str, str]]:
    reader = csv.DictReader(io.StringIO(read_text(table, MAX_TABLE_BYTES)[0]))
    if not {"ytid", "caption"} <= set(reader.fieldnames or ()):
        raise DataError(
            f"{str(table)!r}: MusicCaps' table has the columns ytid and caption, this has {reader.fieldnames}"
        )
    seen: set[str] = set()
    for row in reader:
        ytid, text = (row["ytid"] or "").strip(), (row["caption"] or "").strip()
        if not ytid or not text or ytid in seen:
            raise DataError(
                f"{str(table)!r}, line {reader.line_num}: no ytid, no caption, or a ytid for the second time"
            )
        seen.add(ytid)
        yield ytid, text


def _is_of(stem: str, ytid: str) -> bool:
    """Whether a file's stem is the ytid, perhaps with the seconds behind it."""
    rest = stem.removeprefix(ytid)
    return rest != stem and (not rest or rest[0] in "]_-. ")


def _request(clip: CaptionedClip) -> Request:
    return Request(text=clip.text, duration_s=DURATION_S, seed=_seed(clip), long_prompt="cut")


def _seed(clip: CaptionedClip) -> int:
    return zlib.crc32(clip.ytid.encode())


def _file(clip: CaptionedClip, folder: Path) -> Path:
    return folder / f"{clip.ytid}.wav"


def _is_made(fingerprint: str, clip: CaptionedClip, folder: Path) -> bool:
    file = _file(clip, folder)
    if not file.is_file():
        return False
    info = read_info(file)
    if info.get("model_fingerprint") != fingerprint or info.get("seed") != _seed(clip):
        raise DataError(f"{str(file)!r} was made with another model; give another folder (--output)")
    return True
