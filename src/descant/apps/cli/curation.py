"""``data check`` and ``data caption``: what is wrong with a folder of music, and what can be said about it."""

import argparse
import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from descant.apps.cli.options import at_least_one, number, part_of_several, refuse_with, whole_number
from descant.apps.cli.outputs import note, show
from descant.apps.cli.parser import Commands, Parser
from descant.apps.cli.progress import progress
from descant.counted import counted
from descant.errors import DataError, InvalidRequest, naming
from descant.user_files import cache_folder

if TYPE_CHECKING:
    from descant.codec.base import AudioCodec
    from descant.curation.check import Clips, Report
    from descant.curation.codec_loss import CodecLoss
    from descant.curation.describe import Described

NO_CACHE = "off"
NUM_SHOWN = 20


def _add_check(group: Commands) -> Parser:
    parser = group.add(
        "check",
        "find what would stop or harm a training run: damage, silence, clipping, duplicates, leaks, bad captions",
        "descant data check music --page music.html",
        "descant data check music --families",
        run=check,
    )
    parser.add_argument("folder", metavar="FOLDER", help="a folder of music, or a manifest that data scan has written")
    parser.add_argument(
        "--segment",
        type=number,
        metavar="SECONDS",
        help="length of a training example, to find clips that are shorter (default: not checked)",
    )
    parser.add_argument(
        "--sample-rate",
        type=whole_number,
        metavar="HZ",
        help="rate of the codec, to find clips of another rate (default: not checked)",
    )
    parser.add_argument(
        "--allow", type=_names, default=(), metavar="LIST", help="faults that are meant, separated by commas"
    )
    parser.add_argument(
        "--families",
        action="store_true",
        help="write which clips are the same music to FOLDER/families.jsonl; data scan keeps them in one split",
    )
    parser.add_argument("--page", metavar="FILE", help="also write a page, with the clips that the codec harms most")
    parser.add_argument(
        "--codec", metavar="DIR", help="with --page: a trained codec's folder (default: the codec of the starter)"
    )
    parser.add_argument(
        "--shard",
        type=part_of_several,
        metavar="I/N",
        help="on machine I of N, only measure its part of the clips into the --cache that all share; the command "
        "without --shard, after all of them, finds it there and reports",
    )
    _add_work_options(parser)
    return parser


def _add_caption(group: Commands) -> Parser:
    parser = group.add(
        "caption",
        "measure tempo, key, instruments, genre and mood of a folder of music; what people wrote stays and wins",
        "descant data caption music --dry-run",
        "descant data caption music",
        run=caption,
    )
    parser.add_argument("folder", metavar="FOLDER", help="a folder of music; results go to FOLDER/measured.jsonl")
    parser.add_argument("--dry-run", action="store_true", help="only show the results")
    _add_work_options(parser)
    return parser


ADDERS = (_add_check, _add_caption)


def _add_work_options(parser: Parser) -> None:
    parser.add_argument(
        "--workers", type=at_least_one, metavar="N", help="processes that read files (default: one for each CPU thread)"
    )
    parser.add_argument(
        "--cache",
        metavar="DIR",
        help="where measurements are kept by the content of files, or off (default: the user's cache folder)",
    )


def check(arguments: argparse.Namespace) -> None:
    """Prints the problems of a training set, and fails if there are faults."""
    if arguments.shard is not None:
        refuse_with("--shard", arguments, "segment", "sample_rate", "allow", "families", "page", "codec")
    for name, value in (("--segment", arguments.segment), ("--sample-rate", arguments.sample_rate)):
        if value is not None and not 0 < value < math.inf:
            raise InvalidRequest(f"{name} {value}: must be above 0")
    page_file = _page_file(arguments)
    workers, cache = _workers(arguments), _cache(arguments)
    from descant.curation.check import check as check_clips
    from descant.curation.check import clips_of, require_faults
    from descant.curation.rules import Settings
    from descant.data.families import write_families

    with naming("--allow"):
        require_faults(arguments.allow)
    clips = clips_of(os.path.expanduser(arguments.folder))
    if arguments.shard is not None:
        _measure_part(arguments, clips, workers, cache)
        return
    audio_s = sum(record.duration_s for record in clips.records)
    with progress(f"reading {counted(len(clips.records), 'clip')}", audio_s) as report:
        found = check_clips(
            clips,
            Settings(segment_s=arguments.segment, sample_rate_hz=arguments.sample_rate),
            allowed=arguments.allow,
            cache=cache,
            num_processes=workers,
            progress=report,
        )
    lines = list(found.lines())
    losses: Sequence[CodecLoss] = ()
    if page_file is not None:
        losses = _write_page(page_file, found, arguments.codec, cache)
        lines.append(f"{page_file}: the page")
    if arguments.families:
        lines.append(
            f"{write_families(clips.folder, found.families)}: {counted(len(found.families), 'family', 'families')}"
        )
    show(_result(arguments.folder, found, losses), lines, arguments.json)
    if faults := found.found("stops", "fault"):
        names = dict.fromkeys(finding.problem for finding in faults)
        counts = ", ".join(f"{sum(one.problem == name for one in faults)} {name}" for name in names)
        raise DataError(
            f"{arguments.folder!r}: {counts}; repair or remove these files, or accept what is meant with --allow"
        )


def _measure_part(arguments: argparse.Namespace, clips: "Clips", workers: int, cache: Path | None) -> None:
    from descant.curation.check import measure_part
    from descant.data.parts import Part

    if cache is None:
        raise InvalidRequest(
            "--shard: what is measured has to be kept; name a folder with --cache that all machines share"
        )
    part = Part(*arguments.shard)
    audio_s = sum(record.duration_s for record in clips.records) / part.count
    with progress(f"reading part {part.number} of {part.count}", audio_s) as report:
        count = measure_part(clips, part, cache=cache, num_processes=workers, progress=report)
    result = {"folder": arguments.folder, "part": part.number, "num_parts": part.count, "num_measured": count}
    show(
        result,
        [f"{counted(count, 'clip')} measured; check without --shard once all {part.count} parts are"],
        arguments.json,
    )


def _result(folder: str, found: "Report", losses: Sequence["CodecLoss"]) -> dict[str, object]:
    problems: dict[str, list[dict[str, str]]] = {}
    for finding in found.findings:
        problems.setdefault(finding.problem, []).append({"clip": found.name(finding.clip), "detail": finding.detail})
    return {
        "folder": folder,
        "num_clips": len(found.clips.records),
        "duration_s": found.duration_s,
        "is_trainable": found.is_trainable,
        "num_faults": len(found.found("stops", "fault")),
        "problems": problems,
        "families": [[found.name(clip) for clip in family] for family in found.families],
        "licence_hours": found.hours,
        "not_checked": list(found.left_out),
        "codec_loss_db": {found.name(loss.clip): loss.distance_db for loss in losses},
    }


def _write_page(file: Path, found: "Report", codec: str | None, cache: Path | None) -> Sequence["CodecLoss"]:
    from descant.atomic import write_atomically
    from descant.curation.codec_loss import EXCERPT_S, codec_losses
    from descant.curation.page import page

    chosen = _codec(codec)
    unreadable = {finding.clip for finding in found.found("stops")}
    paths = [record.path for record in found.clips.records if record.path not in unreadable]
    with progress(f"encoding {counted(len(paths), 'clip')}", EXCERPT_S * len(paths)) as report:
        losses = codec_losses(chosen, paths, cache=cache, progress=report)
    write_atomically(file, page(found, losses, chosen).encode())
    return losses


def _codec(folder: str | None) -> "AudioCodec":
    from descant.apps.cli.shards import load_codec_folder

    if folder is not None:
        return load_codec_folder(folder)
    from descant import load

    return load("starter").model.codec


def caption(arguments: argparse.Namespace) -> None:
    """Writes what is measured of a folder, or only shows it."""
    workers, cache = _workers(arguments), _cache(arguments)
    from importlib.util import find_spec

    from descant.curation.describe import describe_clips
    from descant.data.measured import MEASURED_NAME, write_measured
    from descant.data.scan import scan_folder

    folder = Path(os.path.expanduser(arguments.folder))
    scanned = scan_folder(folder, uses_measured=False)
    for line in (f"left out: {problem}" for problem in scanned.problems.values()):
        note(line)
    if not scanned.records:
        raise DataError(f"{arguments.folder!r}: no readable audio in it")
    with progress(
        f"measuring {counted(len(scanned.records), 'clip')}", sum(one.duration_s for one in scanned.records)
    ) as report:
        described = describe_clips(
            scanned.records,
            has_tagger=find_spec("musicnn") is not None,
            cache=cache,
            num_processes=workers,
            progress=report,
        )
    output = folder / MEASURED_NAME
    if not arguments.dry_run:
        write_measured(output, {one.clip: one.measured for one in described if one.measured})
    names = {one.clip: one.clip.relative_to(folder.absolute()).as_posix() for one in described}
    result = {
        "output": None if arguments.dry_run else str(output),
        "clips": {
            names[one.clip]: {
                "measured": {name: vars(tag) for name, tag in one.measured.items()},
                "left_out": one.left_out,
            }
            for one in described
        },
    }
    lines = [_clip_line(names[one.clip], one) for one in described[:NUM_SHOWN]]
    lines += [f"and {len(described) - NUM_SHOWN} more clips (--json has all)"] * (len(described) > NUM_SHOWN)
    lines += _left_out_lines(described)
    ending = (
        "nothing was written (--dry-run)"
        if arguments.dry_run
        else f"{output}: {counted(len(described), 'clip')}; scan the folder again, so that training uses it"
    )
    show(result, [*lines, ending], arguments.json)


def _clip_line(name: str, described: "Described") -> str:
    found = [
        f"{key}: {', '.join(tag.value) if isinstance(tag.value, list) else tag.value} ({tag.confidence:.2f})"
        for key, tag in described.measured.items()
    ]
    return f"{name}: {', '.join(found) or 'nothing'}"


def _left_out_lines(described: Sequence["Described"]) -> list[str]:
    """Each reason for which something is left out, once, with what it concerns and of how many clips."""
    from descant.curation.describe import UNCERTAIN

    counts: dict[str, Counter[str]] = {}
    for name, reason in (entry for one in described for entry in one.left_out.items()):
        # A value and its probability are those of one clip; --json has them.
        kind = UNCERTAIN if reason.startswith(UNCERTAIN) else reason
        counts.setdefault(kind, Counter())[name] += 1
    return [
        f"left out ({reason}): "
        + ", ".join(f"{name} of {count} {'clip' if count == 1 else 'clips'}" for name, count in of_reason.items())
        for reason, of_reason in counts.items()
    ]


def _workers(arguments: argparse.Namespace) -> int:
    import torch

    return torch.get_num_threads() if arguments.workers is None else int(arguments.workers)


def _cache(arguments: argparse.Namespace) -> Path | None:
    caches = cache_folder()
    usual = caches and caches / "curation"
    if arguments.cache is None:
        return usual
    if arguments.cache == NO_CACHE:
        return None
    place = Path(os.path.expanduser(arguments.cache))
    if place.is_file():
        raise InvalidRequest(f"--cache {arguments.cache!r}: it is a file; give a folder, or off")
    return place


def _page_file(arguments: argparse.Namespace) -> Path | None:
    if arguments.page is None:
        if arguments.codec is not None:
            raise InvalidRequest("--codec: it belongs to --page; leave it out, or add --page FILE")
        return None
    place = Path(os.path.expanduser(arguments.page))
    if place.suffix.lower() not in (".html", ".htm"):
        raise InvalidRequest(f"--page {arguments.page!r}: end the file in .html")
    if not place.absolute().parent.is_dir():
        raise InvalidRequest(f"--page {arguments.page!r}: there is no folder {str(place.parent)!r}; make it first")
    return place


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
