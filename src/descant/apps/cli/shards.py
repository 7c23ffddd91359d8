"""``data tokenize``, ``melodies`` and ``embeddings``: from a manifest to training shards, and what is added to them."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from descant.apps.cli.options import (
    add_device_option,
    add_model_options,
    add_sharing_options,
    add_workers_option,
    whole_number,
)
from descant.apps.cli.outputs import check_outside, note, show
from descant.apps.cli.parser import Commands, Parser
from descant.apps.cli.progress import Report, progress
from descant.counted import counted
from descant.errors import InvalidRequest, naming

if TYPE_CHECKING:
    import torch

    from descant.codec.base import AudioCodec
    from descant.data.manifest import ClipRecord
    from descant.data.tokenize import TokenizeResult
    from descant.data.workers import Workers

Extend: TypeAlias = Callable[["AudioCodec", "torch.device", Report], None]
"""Adds something to every shard of a folder, with the codec that made them."""


def _add_tokenize(group: Commands) -> Parser:
    parser = group.add(
        "tokenize",
        "write the codes of all clips in shards; an interrupted run continues",
        "descant data tokenize music/manifest.jsonl --codec runs/starter_codec/codec -o shards",
        "descant data tokenize music/manifest.jsonl -o shards --workers 4",
        run=tokenize,
    )
    parser.add_argument("manifest", metavar="MANIFEST", help="a manifest that data scan has written")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="the folder for the shards")
    parser.add_argument("--codec", metavar="DIR", help="a trained codec's folder (default: the codec of --model)")
    parser.add_argument(
        "--batch-size", type=whole_number, default=8, metavar="N", help="clips to encode at a time (default: 8)"
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="fail if a clip cannot be read (default: such clips are named and left out)",
    )
    add_sharing_options(parser, work="read and encode", part="encode its part of the clips", whole="joins the parts")
    add_model_options(parser)
    return parser


def _add_melodies(group: Commands) -> Parser:
    parser = group.add(
        "melodies",
        "add the melody of every tokenized clip, to train a melody model; an interrupted run continues",
        "descant data melodies shards --codec runs/starter_codec/codec",
        "descant data melodies shards --codec runs/starter_codec/codec --workers 4",
        run=melodies,
    )
    _add_shard_options(parser)
    add_workers_option(parser, "decode the codes and extract melodies")
    parser.add_argument(
        "--part",
        choices=("mix", "harmonic", "stems"),
        default="mix",
        help="the part of the music that the melody is taken from, in training and in use: stems, as in the paper, "
        "needs Demucs, harmonic needs librosa (default: mix)",
    )
    return parser


def _add_embeddings(group: Commands) -> Parser:
    parser = group.add(
        "embeddings",
        "add the CLAP embedding of every tokenized clip, to train a CLAP model; an interrupted run continues",
        "descant data embeddings shards --codec runs/starter_codec/codec",
        run=embeddings,
    )
    _add_shard_options(parser)
    parser.add_argument(
        "--clap", metavar="NAME", help="hub id or folder of a CLAP model (default: laion/larger_clap_music)"
    )
    return parser


def _add_shard_options(parser: Parser) -> None:
    parser.add_argument("folder", metavar="DIR", help="a folder of shards that data tokenize has written")
    parser.add_argument("--codec", required=True, metavar="DIR", help="folder of the codec that made the codes")
    add_device_option(parser)


ADDERS = (_add_tokenize, _add_melodies, _add_embeddings)
"""Each adds one command and gives its parser."""


def tokenize(arguments: argparse.Namespace) -> None:
    """Writes the shards that are missing."""
    if not 1 <= arguments.batch_size <= 1_024:
        raise InvalidRequest(f"--batch-size {arguments.batch_size}: allowed are 1 to 1024")
    check_outside("--output", arguments.output, codec=arguments.codec or arguments.model)
    from descant.data.manifest import read_manifest
    from descant.data.workers import Workers

    records = read_manifest(arguments.manifest)
    # Processes start before this one imports what they import too.
    with Workers(arguments.workers) as workers:
        _tokenize(arguments, records, workers)


def _tokenize(arguments: argparse.Namespace, records: "list[ClipRecord]", workers: "Workers") -> None:
    from descant import load
    from descant.data.parts import Part
    from descant.data.tokenize import tokenize as write_shards
    from descant.devices import select_device

    chosen = select_device(arguments.device)
    if arguments.codec is None:
        codec = load(arguments.model, device=arguments.device, precision=arguments.precision).model.codec
    else:
        codec = load_codec_folder(arguments.codec).to(chosen)
    left_out: list[str] = []

    def skip(record: "ClipRecord", reason: str) -> None:
        left_out.append(str(record.path))
        note(f"left out: {reason}")

    part = None if arguments.shard is None else Part(*arguments.shard)
    audio_s = sum(record.duration_s for record in records) / (1 if part is None else part.count)
    with progress(f"tokenizing {audio_s / 3_600:.2f} h", audio_s) as report:
        made = write_shards(
            records,
            codec,
            arguments.output,
            root=Path(arguments.manifest).parent,
            batch_size=arguments.batch_size,
            device=chosen,
            workers=workers,
            part=part,
            progress=report,
            skip=None if arguments.strict else skip,
        )
    if part is None:
        _show_whole(arguments, made, left_out, audio_s)
    else:
        _show_part(arguments, made, left_out)


def _show_part(arguments: argparse.Namespace, made: "TokenizeResult", left_out: list[str]) -> None:
    number, count = arguments.shard
    result = {
        "folder": arguments.output,
        "part": number,
        "num_parts": count,
        "num_clips": made.num_clips,
        "num_encoded": made.num_encoded,
        "left_out": left_out,
        "codec": made.index.codec.fingerprint,
    }
    line = (
        f"{counted(made.num_clips, 'clip')} in part {number} of {count}, {made.num_encoded} of them encoded now, "
        f"{len(left_out)} left out; tokenize without --shard once all {count} parts are there"
    )
    show(result, [line], arguments.json)


def _show_whole(arguments: argparse.Namespace, made: "TokenizeResult", left_out: list[str], audio_s: float) -> None:
    for kept in made.kept_parts:
        note(f"{kept}: has codes of clips that are not in {arguments.manifest!r}, so it stays; delete it if not needed")
    result = {
        "folder": arguments.output,
        "num_clips": made.num_clips,
        "left_out": left_out,
        "kept_parts": [*made.kept_parts],
        "num_shards": made.num_shards,
        "num_encoded": made.num_encoded,
        "num_added": made.num_added,
        "num_removed": made.num_removed,
        "num_described": made.num_described,
        "duration_s": audio_s,
        "codec": made.index.codec.fingerprint,
    }
    clips = counted(made.num_clips, "clip")
    lines = [
        f"{arguments.output}: {clips} in {counted(made.num_shards, 'shard')}, {len(left_out)} left out",
        f"{made.num_encoded} encoded; {counted(made.num_added, 'clip')} added, {made.num_removed} removed, "
        f"{made.num_described} with new captions, tags or split",
    ]
    show(result, lines, arguments.json)


def melodies(arguments: argparse.Namespace) -> None:
    """Adds the melodies that are missing."""
    from descant.data.workers import Workers

    # Processes start before this one imports what they import too.
    with Workers(arguments.workers) as workers:
        from descant.conditioning.chroma import MelodyConfig
        from descant.data.melodies import add_melodies

        config = MelodyConfig(part=arguments.part)

        def add(codec: "AudioCodec", device: "torch.device", report: Report) -> None:
            add_melodies(arguments.folder, codec, config, device=device, workers=workers, progress=report)

        _extend_shards(arguments, "melodies", add)


def embeddings(arguments: argparse.Namespace) -> None:
    """Adds the CLAP embeddings that are missing."""
    from descant.conditioning.clap import ClapConfig
    from descant.conditioning.encoders.clap import ClapEncoder
    from descant.data.embeddings import add_embeddings

    def add(codec: "AudioCodec", device: "torch.device", report: Report) -> None:
        config = ClapConfig() if arguments.clap is None else ClapConfig(name=arguments.clap)
        add_embeddings(arguments.folder, codec, ClapEncoder.load(config).to(device), device=device, progress=report)

    _extend_shards(arguments, "embeddings", add)


def _extend_shards(arguments: argparse.Namespace, added: str, extend: Extend) -> None:
    from descant.data.corpus import read_corpus
    from descant.devices import select_device

    corpus = read_corpus(arguments.folder)
    audio_s = sum(clip.num_frames for clip in corpus.clips) / corpus.index.codec.frame_rate_hz
    chosen = select_device(arguments.device)
    codec = load_codec_folder(arguments.codec).to(chosen)
    with progress(f"{added} of {audio_s / 3_600:.2f} h", audio_s) as report:
        extend(codec, chosen, report)
    result = {"folder": arguments.folder, "num_clips": len(corpus.clips), "num_shards": len(corpus.shards)}
    show(result, [f"{arguments.folder}: {added} of {len(corpus.clips)} clips"], arguments.json)


def load_codec_folder(folder: str) -> "AudioCodec":
    """The codec in the folder that ``--codec`` names.

    Raises:
        CheckpointError: it holds none, or a broken one.
    """
    from descant.checkpoints.layouts import load_codec

    with naming(f"--codec {folder!r}"):
        return load_codec(Path(folder))[0]
