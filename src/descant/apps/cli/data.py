"""``data``: from folders of audio to a manifest, and the starter's training set."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from descant.apps.cli import curation, shards
from descant.apps.cli.options import add_common_options, add_sharing_options, number, refuse_with
from descant.apps.cli.outputs import note, show
from descant.apps.cli.parser import Commands, Parser
from descant.counted import counted
from descant.errors import DataError, InvalidRequest, naming

if TYPE_CHECKING:
    from descant.data.scan import Scan


def add_commands(commands: Commands) -> None:
    """Adds ``data scan``, ``check``, ``caption``, ``tokenize``, ``melodies`` and ``embeddings``."""
    group = commands.group("data", "prepare training data: scan, check, caption, tokenize, melodies, embeddings")
    for add in (_add_scan, *curation.ADDERS, *shards.ADDERS):
        add_common_options(add(group))


def _add_scan(group: Commands) -> Parser:
    parser = group.add(
        "scan", "list a folder of audio in a manifest", "descant data scan music -o music/manifest.jsonl", run=scan
    )
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        help="a folder of audio files; descriptions come from .txt and .json files of the same name, from "
        "metadata.csv, or from tags",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="the manifest to write (default: FOLDER/manifest.jsonl)")
    parser.add_argument(
        "--valid-share",
        type=number,
        default=0.05,
        metavar="SHARE",
        help="share of the clips kept for validation, 0 to 1, whole works at a time (default: 0.05)",
    )
    parser.add_argument(
        "--split-again",
        action="store_true",
        help="draw the splits anew (default: clips of the existing manifest keep theirs)",
    )
    add_sharing_options(
        parser,
        work="read files",
        part="only read the headers of its part of the files",
        whole="writes the manifest",
    )
    return parser


def scan(arguments: argparse.Namespace) -> None:
    """Writes a manifest; files that are not readable audio are listed and left out."""
    from descant.data.header_parts import remove_headers
    from descant.data.manifest import read_manifest, write_manifest
    from descant.data.parts import Part
    from descant.data.scan import scan_folder, scan_part

    if arguments.shard is not None:
        refuse_with("--shard", arguments, "output", "valid_share", "split_again")
        part = Part(*arguments.shard)
        count = scan_part(arguments.folder, part, workers=arguments.workers)
        result = {"folder": arguments.folder, "part": part.number, "num_parts": part.count, "num_files": count}
        show(
            result,
            [f"{counted(count, 'file')} read; scan without --shard once all {part.count} parts are"],
            arguments.json,
        )
        return
    output = Path(arguments.output or Path(arguments.folder) / "manifest.jsonl")
    if arguments.output and not output.absolute().parent.is_dir():
        raise InvalidRequest(f"--output {str(output)!r}: there is no folder {str(output.parent)!r}; make it first")
    previous = []
    if output.exists() and not arguments.split_again:
        with naming("the manifest to replace, whose splits are kept unless --split-again is given"):
            previous = read_manifest(output)
    found = scan_folder(
        arguments.folder, valid_share=arguments.valid_share, previous=previous, workers=arguments.workers
    )
    for line in [*(f"left out: {problem}" for problem in found.problems.values()), *found.notes]:
        note(line)
    if not found.records:
        raise DataError(
            f"{arguments.folder!r}: no readable audio in it ({counted(len(found.problems), 'unreadable file')})"
        )
    write_manifest(output, found.records)
    remove_headers(Path(arguments.folder))
    result = {
        "manifest": str(output),
        "num_clips": len(found.records),
        "num_works": len(set(found.works)),
        "num_valid": sum(record.split == "valid" for record in found.records),
        "num_captioned": sum(bool(record.captions or record.tags) for record in found.records),
        "num_with_captions": sum(bool(record.captions) for record in found.records),
        "described_by": found.described,
        "duration_s": sum(record.duration_s for record in found.records),
        "left_out": [str(path) for path in found.problems],
        "reasons": {str(path): reason for path, reason in found.problems.items()},
        "skipped": found.skipped,
        "notes": found.notes,
    }
    show(result, _scan_lines(output, found), arguments.json)


def _scan_lines(output: Path, found: "Scan") -> list[str]:
    records = found.records
    hours = sum(record.duration_s for record in records) / 3_600
    lines = [
        f"{output}: {counted(len(records), 'clip')}, {hours:.2f} h, {counted(len(found.problems), 'file')} left out"
    ]
    for split, name in (("train", "training"), ("valid", "validation")):
        pairs = zip(records, found.works, strict=True)
        works = [work for record, work in pairs if record.split == split]
        duration_s = sum(record.duration_s for record in records if record.split == split)
        lines.append(
            f"{name}: {counted(len(works), 'clip')} of {counted(len(set(works)), 'work')}, {duration_s / 60:.1f} min"
        )
    num_captions = sum(bool(record.captions) for record in records)
    num_tags = sum(bool(record.tags) for record in records)
    lines.append(f"{counted(num_captions, 'clip')} with captions, {num_tags} with tags")
    lines += [f"described by {kind}: {counted(count, 'clip')}" for kind, count in found.described.items()]
    if bare := [record for record in records if not record.captions and not record.tags]:
        have = counted(len(bare), "clip has", "clips have")
        lines.append(f"{have} neither captions nor tags, first {str(bare[0].path)!r}")
    return lines + [f"skipped: {count} x {kind}" for kind, count in found.skipped.items()]
