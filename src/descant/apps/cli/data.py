"""``data``: from folders of audio to training shards."""

import argparse
import math
from pathlib import Path

from descant.apps.cli.options import Commands, add_json_option, add_model_options, device, number, whole_number
from descant.apps.cli.outputs import note, show
from descant.apps.cli.progress import progress
from descant.errors import DataError, InvalidRequest, naming

MAX_HOURS = 10_000
MAX_WORKERS = 256
MAX_PROBLEMS = 20


def add_commands(commands: Commands) -> None:
    """Adds ``data scan``, ``check``, ``tokenize``, ``melodies``, ``embeddings`` and ``render-starter``."""
    group = commands.group("data", "training data: scan, check, tokenize, melodies, embeddings, render-starter")
    for add in (_add_scan, _add_check, _add_tokenize, _add_melodies, _add_embeddings, _add_render_starter):
        add(group)


def _add_scan(group: Commands) -> None:
    parser = group.add("scan", "a manifest of a folder of audio", "descant data scan music -o music/manifest.jsonl")
    parser.add_argument(
        "folder", metavar="FOLDER", help="a folder of sound files, described by .txt, .json, metadata.csv or tags"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="the manifest (default: FOLDER/manifest.jsonl)")
    parser.add_argument(
        "--valid-share", type=number, default=0.05, metavar="SHARE", help="kept for validation (default: 0.05)"
    )
    add_json_option(parser)
    parser.set_defaults(run=scan)


def _add_check(group: Commands) -> None:
    parser = group.add("check", "the data doctor: what would stop or spoil a run", "descant data check m.jsonl")
    parser.add_argument("manifest", metavar="MANIFEST", help="what data scan has written")
    parser.add_argument("--segment", type=number, metavar="SECONDS", help="how long a crop will be")
    parser.add_argument("--sample-rate", type=whole_number, metavar="HZ", help="what the codec works at")
    add_json_option(parser)
    parser.set_defaults(run=check)


def _add_tokenize(group: Commands) -> None:
    parser = group.add(
        "tokenize",
        "the codes of all clips, resumable",
        "descant data tokenize music/manifest.jsonl --codec runs/starter_codec/codec -o shards",
    )
    parser.add_argument("manifest", metavar="MANIFEST", help="what data scan has written")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="the folder for the shards")
    parser.add_argument("--codec", metavar="DIR", help="a trained codec's folder, instead of a whole model's codec")
    parser.add_argument("--batch-size", type=whole_number, default=8, metavar="N", help="clips at a time (default: 8)")
    parser.add_argument(
        "--skip-broken", action="store_true", help="leave out clips that cannot be read, and name them at the end"
    )
    add_model_options(parser)
    add_json_option(parser)
    parser.set_defaults(run=tokenize)


def _add_melodies(group: Commands) -> None:
    parser = group.add(
        "melodies",
        "the melodies of all tokenized clips, for a model that is to follow some; resumable",
        "descant data melodies shards --codec runs/starter_codec/codec",
    )
    parser.add_argument("folder", metavar="DIR", help="what data tokenize has written")
    parser.add_argument("--codec", required=True, metavar="DIR", help="the codec that made the codes")
    parser.add_argument("--device", type=device, default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    add_json_option(parser)
    parser.set_defaults(run=melodies)


def _add_embeddings(group: Commands) -> None:
    parser = group.add(
        "embeddings",
        "where all tokenized clips are in CLAP's space, for a model that is told points of it; resumable",
        "descant data embeddings shards --codec runs/starter_codec/codec",
    )
    parser.add_argument("folder", metavar="DIR", help="what data tokenize has written")
    parser.add_argument("--codec", required=True, metavar="DIR", help="the codec that made the codes")
    parser.add_argument("--clap", metavar="NAME", help="hub id or folder of a CLAP (default: laion/larger_clap_music)")
    parser.add_argument("--device", type=device, default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    add_json_option(parser)
    parser.set_defaults(run=embeddings)


def _add_render_starter(group: Commands) -> None:
    parser = group.add(
        "render-starter",
        "the starter's training set, made from scores by this machine; resumable",
        "descant data render-starter starter-data --hours 1",
    )
    parser.add_argument("folder", metavar="DIR", help="where to; what is there already is kept")
    parser.add_argument("--hours", type=number, required=True, metavar="H", help="how much music, 34.5 for the starter")
    parser.add_argument("--seed", type=whole_number, default=0, metavar="N", help="another corpus (default: 0)")
    parser.add_argument("--workers", type=whole_number, default=2, metavar="N", help="processes (default: 2)")
    parser.add_argument("--soundfont", metavar="FILE", help="a General MIDI soundfont (default: FluidR3)")
    add_json_option(parser)
    parser.set_defaults(run=render_starter)


def scan(arguments: argparse.Namespace) -> None:
    """Writes a manifest; files that are no audio are listed and left out."""
    from descant.data.manifest import write_manifest
    from descant.data.scan import scan_folder

    output = Path(arguments.output or Path(arguments.folder) / "manifest.jsonl")
    if arguments.output and not output.absolute().parent.is_dir():
        raise InvalidRequest(f"--output {str(output)!r}: there is no folder {str(output.parent)!r}; make it first")
    found = scan_folder(arguments.folder, valid_share=arguments.valid_share)
    problems = [f"left out: {problem}" for problem in found.problems.values()] + found.notes
    for line in [*problems[:MAX_PROBLEMS], *_more(problems)]:
        note(line)
    if not found.records:
        raise DataError(f"{arguments.folder!r}: no readable audio in it ({len(found.problems)} unreadable files)")
    write_manifest(output, found.records)
    duration_s = sum(record.duration_s for record in found.records)
    num_valid = sum(record.split == "valid" for record in found.records)
    num_captioned = sum(bool(record.captions or record.tags) for record in found.records)
    result = {
        "manifest": str(output),
        "num_clips": len(found.records),
        "num_valid": num_valid,
        "num_captioned": num_captioned,
        "described_by": found.described,
        "duration_s": duration_s,
        "left_out": [str(path) for path in found.problems],
        "skipped": found.skipped,
        "notes": found.notes,
    }
    lines = [
        f"{output}: {len(found.records)} clips, {duration_s / 3_600:.2f} h, {len(found.problems)} files left out",
        f"{num_valid} of them to validate on, {num_captioned} with captions or tags"
        + "".join(f"; {count} by {kind}" for kind, count in found.described.items()),
        *(f"passed over: {count} x {kind}" for kind, count in found.skipped.items()),
    ]
    show(result, lines, arguments.json)


def _more(problems: list[str]) -> list[str]:
    """A line for the problems that are not printed."""
    left = len(problems) - MAX_PROBLEMS
    return [f"and {left} more; --json lists them all"] if left > 0 else []


def check(arguments: argparse.Namespace) -> None:
    """Prints what is wrong with a training set, and fails if a run would not get through."""
    for name, value in (("--segment", arguments.segment), ("--sample-rate", arguments.sample_rate)):
        if value is not None and not 0 < value < math.inf:
            raise InvalidRequest(f"{name} {value}: must be above 0")
    from descant.data import doctor
    from descant.data.manifest import read_manifest

    audio_s = sum(record.duration_s for record in read_manifest(arguments.manifest))
    with progress("reading the clips", audio_s) as report:
        found = doctor.check(
            arguments.manifest, segment_s=arguments.segment, sample_rate_hz=arguments.sample_rate, progress=report
        )
    result = {
        "manifest": arguments.manifest,
        "num_clips": found.num_clips,
        "duration_s": found.duration_s,
        "is_trainable": found.is_trainable,
        "problems": found.found,
    }
    show(result, found.text().splitlines(), arguments.json)
    if not found.is_trainable:
        stopping = [f"{len(found.found[name])} {name}" for name in doctor.STOPPING if name in found.found]
        raise DataError(f"{arguments.manifest!r}: a run would stop at {', '.join(stopping)} clips; mend or remove them")


def tokenize(arguments: argparse.Namespace) -> None:
    """Writes the shards that are not there yet."""
    if not 1 <= arguments.batch_size <= 1_024:
        raise InvalidRequest(f"--batch-size {arguments.batch_size}: allowed are 1 to 1024")
    from descant.api import load
    from descant.checkpoints.layouts import load_codec
    from descant.data.manifest import ClipRecord, read_manifest
    from descant.data.tokenize import tokenize as write_shards
    from descant.devices import select_device

    records = read_manifest(arguments.manifest)
    chosen = select_device(arguments.device)
    if arguments.codec is None:
        codec = load(arguments.model, device=arguments.device, precision=arguments.precision).model.codec
    else:
        with naming(f"--codec {arguments.codec!r}"):
            codec = load_codec(Path(arguments.codec))[0].to(chosen)
    left_out: list[str] = []

    def skip(record: ClipRecord, reason: str) -> None:
        left_out.append(str(record.path))
        note(f"left out: {reason}")

    audio_s = sum(record.duration_s for record in records)
    with progress(f"tokenizing {audio_s / 3_600:.2f} h", audio_s) as report:
        index = write_shards(
            records,
            codec,
            arguments.output,
            batch_size=arguments.batch_size,
            device=chosen,
            progress=report,
            skip=skip if arguments.skip_broken else None,
        )
    num_clips = index.num_clips - len(left_out)
    result = {
        "folder": arguments.output,
        "num_clips": num_clips,
        "left_out": left_out,
        "num_shards": index.num_shards,
        "duration_s": audio_s,
        "codec": index.codec.fingerprint,
    }
    show(
        result,
        [f"{arguments.output}: {num_clips} clips in {index.num_shards} shards, {len(left_out)} left out"],
        arguments.json,
    )


def melodies(arguments: argparse.Namespace) -> None:
    """Hears the melodies that are not there yet."""
    from descant.checkpoints.layouts import load_codec
    from descant.conditioning.chroma import MelodyConfig
    from descant.data.melodies import add_melodies
    from descant.data.shards import read_index
    from descant.devices import select_device

    index = read_index(arguments.folder)
    audio_s = _audio_s(arguments.folder)
    chosen = select_device(arguments.device)
    with naming(f"--codec {arguments.codec!r}"):
        codec = load_codec(Path(arguments.codec))[0].to(chosen)
    with progress(f"hearing {audio_s / 3_600:.2f} h", audio_s) as report:
        add_melodies(arguments.folder, codec, MelodyConfig(), device=chosen, progress=report)
    result = {"folder": arguments.folder, "num_clips": index.num_clips, "num_shards": index.num_shards}
    show(result, [f"{arguments.folder}: melodies of {index.num_clips} clips"], arguments.json)


def embeddings(arguments: argparse.Namespace) -> None:
    """Finds the places that are not there yet."""
    from descant.checkpoints.layouts import load_codec
    from descant.conditioning.clap import ClapConfig, ClapEncoder
    from descant.data.embeddings import add_embeddings
    from descant.data.shards import read_index
    from descant.devices import select_device

    index = read_index(arguments.folder)
    audio_s = _audio_s(arguments.folder)
    chosen = select_device(arguments.device)
    with naming(f"--codec {arguments.codec!r}"):
        codec = load_codec(Path(arguments.codec))[0].to(chosen)
    encoder = ClapEncoder(ClapConfig() if arguments.clap is None else ClapConfig(name=arguments.clap)).to(chosen)
    with progress(f"hearing {audio_s / 3_600:.2f} h", audio_s) as report:
        add_embeddings(arguments.folder, codec, encoder, device=chosen, progress=report)
    result = {"folder": arguments.folder, "num_clips": index.num_clips, "num_shards": index.num_shards}
    show(result, [f"{arguments.folder}: embeddings of {index.num_clips} clips"], arguments.json)


def _audio_s(folder: str) -> float:
    """How much sound the codes of a folder are."""
    from descant.data.shards import read_index, read_shard, shard_path

    index = read_index(folder)
    shards = [read_shard(shard_path(folder, number)) for number in range(index.num_shards)]
    return sum(clip.num_frames for shard in shards for clip in shard.clips) / index.codec.frame_rate_hz


def render_starter(arguments: argparse.Namespace) -> None:
    """Renders what is not there yet."""
    if not 0 < arguments.hours <= MAX_HOURS:
        raise InvalidRequest(f"--hours {arguments.hours:g}: allowed are above 0 and up to {MAX_HOURS}")
    if not 1 <= arguments.workers <= MAX_WORKERS:
        raise InvalidRequest(f"--workers {arguments.workers}: allowed are 1 to {MAX_WORKERS}")
    from descant.data.manifest import read_manifest
    from starter_corpus.corpus import render_corpus

    soundfont = None if arguments.soundfont is None else Path(arguments.soundfont)
    with progress(f"rendering {arguments.hours:g} h", 3_600 * arguments.hours) as report:
        manifest = render_corpus(
            Path(arguments.folder), arguments.hours, arguments.seed, arguments.workers, report, soundfont
        )
    records = read_manifest(manifest)
    audio_s = sum(record.duration_s for record in records)
    result = {"manifest": str(manifest), "num_clips": len(records), "duration_s": audio_s, "seed": arguments.seed}
    show(result, [f"{manifest}: {len(records)} clips, {audio_s / 3_600:.2f} h"], arguments.json)
