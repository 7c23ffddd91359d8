"""The music of a fine-tuning run: scanned, described, split and tokenised."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from descant.codec.base import AudioCodec
from descant.counted import counted
from descant.data.audio_digests import AudioDigests
from descant.data.captions import CaptionConfig, plain_caption
from descant.data.licences import licence_of, stated_licence
from descant.data.manifest import ClipRecord, Split, names_of, read_manifest, write_manifest
from descant.data.scan import scan_folder
from descant.data.splits import with_splits
from descant.data.tokenize import tokenize
from descant.errors import DataError
from descant.finetuning.varispeed import Copy, copies_of

MANIFEST, TOKENS, COPIES = "manifest.jsonl", "tokens", "copies"
COPIES_AT_ONCE = 16
"""Files of copies, each as large as a song without losses."""
SHORTEST_S = 5.0
"""Shorter clips, such as jingles and single sounds, are left out."""

Note = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Music:
    """The clips of a run.

    Args:
        tokens: the folder of their codes.
        left_out: the reason for each file that is not used.
    """

    records: Sequence[ClipRecord]
    tokens: Path
    left_out: dict[str, str]

    def minutes(self, split: Split | None = None) -> float:
        """Of all clips together, or of those of one split."""
        return sum(record.duration_s for record in self.records if split in (None, record.split)) / 60

    def minutes_by_licence(self) -> dict[str, float]:
        """Minutes of music under each licence that descriptions or tags state; "" where none is."""
        found: dict[str, float] = {}
        for record in self.records:
            licence = self.licence_of(record)
            found[licence] = found.get(licence, 0.0) + record.duration_s / 60
        return found

    def licence_of(self, record: ClipRecord) -> str:
        """The licence that a clip's description or tags state, in their words if it is not a known one; "" for none."""
        return licence_of(record.tags) or stated_licence(record.tags)


def prepare_music(
    folder: Path,
    out_dir: Path,
    codec: AudioCodec,
    valid_share: float,
    note: Note,
    *,
    varispeed: Sequence[float] = (),
    caption_fields: Sequence[str] = CaptionConfig().fields,
) -> Music:
    """Scans and tokenises a folder of music. Codes that are in ``out_dir`` already are not made again, and clips keep
    their split. Files that cannot be used are left out and reported to ``note``.

    Args:
        varispeed: the clips that are trained on are also there so many semitones higher or lower.
        caption_fields: the tags that these copies have.

    Raises:
        DataError: the folder is missing, or fewer than two clips can be used.
        AudioError: no clip at all can be read.
    """
    manifest = out_dir / MANIFEST
    before = read_manifest(manifest) if manifest.exists() else []
    found = scan_folder(folder, valid_share=valid_share, previous=before, shortest_s=SHORTEST_S)
    left_out = {str(path): reason for path, reason in found.problems.items()}
    for line in [*found.notes, *(f"left out: {reason}" for reason in left_out.values())]:
        note(line)

    def skip(record: ClipRecord, reason: str) -> None:
        left_out[str(record.path)] = reason
        note(f"left out: {reason}")

    def usable(records: Sequence[ClipRecord]) -> list[ClipRecord]:
        rest = [record for record in records if str(record.path) not in left_out]
        _check_enough(rest, folder, left_out)
        return _with_both_splits(rest, folder, valid_share, note)

    # Of the copies too, so that what is known of a clip by its name stays known.
    root = os.path.commonpath([folder.absolute(), out_dir.absolute()])

    def encode(records: Sequence[ClipRecord]) -> None:
        device = next(codec.parameters()).device
        tokenize(records, codec, out_dir / TOKENS, root=root, device=device, skip=skip)

    records = usable(found.records)
    _note_bare(records, note)
    note(f"encoding {sum(record.duration_s for record in records) / 60:.1f} min of music, where that is not done yet")
    encode(records)
    if any(str(record.path) in left_out for record in records):
        # A damaged file shows only when it is decoded; the splits of the others may change without it.
        records = usable(records)
        encode(records)
    write_manifest(manifest, records)
    copies = copies_of(
        [record for record in records if record.split == "train"], varispeed, out_dir / COPIES, caption_fields
    )
    if copies:
        note(f"encoding the clips to train on at {counted(len(varispeed), 'other speed')} too")
        _encode_copies(copies, records, encode, AudioDigests(out_dir / TOKENS), root)
        # Gone already where all copies had their codes.
        shutil.rmtree(out_dir / COPIES, ignore_errors=True)
    return Music(records=records, tokens=out_dir / TOKENS, left_out=left_out)


def _encode_copies(
    copies: Sequence[Copy],
    records: Sequence[ClipRecord],
    encode: Callable[[Sequence[ClipRecord]], None],
    digests: AudioDigests,
    root: str,
) -> None:
    """Encodes copies in addition to the clips. Their files are there while they are encoded, a few at a time."""
    of_copies = [copy.record for copy in copies]
    named = zip(copies, names_of(of_copies, root), strict=True)
    missing = [copy for copy, name in named if digests.known(copy.record, name) is None]
    for first in range(0, len(missing), COPIES_AT_ONCE):
        group = missing[first : first + COPIES_AT_ONCE]
        for copy in group:
            copy.write()
        encode([copy.record for copy in group])
        for copy in group:
            copy.record.path.unlink()
    # Only now is the table that of all clips; their codes are there.
    encode([*records, *of_copies])


def _note_bare(records: Sequence[ClipRecord], note: Note) -> None:
    """Says how many clips nothing describes."""
    bare = [record for record in records if plain_caption(record, CaptionConfig()) is None]
    if bare:
        note(
            f"{len(bare)} of {len(records)} clips have neither a caption nor tags that make one: theirs is the trigger "
            f"word alone. A description in {bare[0].path.with_suffix('.txt').name!r} next to the clip helps, or "
            f"'descant data caption' on the folder first"
        )


def _with_both_splits(records: list[ClipRecord], folder: Path, valid_share: float, note: Note) -> list[ClipRecord]:
    """The clips with their splits, drawn again if one is empty without the clips that were left out."""
    if len({record.split for record in records}) == 2:
        return records
    notes: list[str] = []
    divided, _ = with_splits(records, folder.absolute(), valid_share, records, notes)
    for line in notes:
        note(line)
    return divided


def _check_enough(records: Sequence[ClipRecord], folder: Path, left_out: dict[str, str]) -> None:
    if len(records) >= 2:
        return
    why = (
        f"; {counted(len(left_out), 'file')} cannot be used, first: {next(iter(left_out.values()))}" if left_out else ""
    )
    if records:
        raise DataError(
            f"{str(folder)!r} has one usable clip, {records[0].path.name!r}, and at least two are needed, as one is "
            f"held out to find out when to stop: add music, or cut this clip into parts{why}"
        )
    raise DataError(f"{str(folder)!r} has no usable audio{why or '; put the music there'}")
