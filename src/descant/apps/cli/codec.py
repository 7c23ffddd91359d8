"""``encode`` and ``decode``: the codec alone."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from descant.apps.cli.options import add_audio_options, add_common_options, add_model_options, add_salvage_option
from descant.apps.cli.outputs import audio_target, codes_target, show
from descant.apps.cli.parser import Commands
from descant.apps.cli.progress import progress
from descant.errors import InvalidRequest

if TYPE_CHECKING:
    from descant.api import MusicGen
    from descant.checkpoints.codes import CodesHeader

MAX_AUDIO_S = 3_600.0
"""The codec works in chunks, but the samples are held as a whole: an hour takes a gigabyte or two."""


def add_commands(commands: Commands) -> None:
    """Adds ``encode`` and ``decode``."""
    help = "turn audio into codes with a model's codec"
    parser = commands.add("encode", help, "descant encode song.flac -o song.safetensors", run=encode)
    parser.add_argument("audio", metavar="AUDIO", help=f"an audio file of up to {MAX_AUDIO_S:g} s")
    parser.add_argument("-o", "--output", required=True, metavar="CODES", help="the .safetensors file to write")
    add_salvage_option(parser)
    add_model_options(parser)
    add_common_options(parser)

    parser = commands.add(
        "decode", "turn codes back into audio", "descant decode song.safetensors -o song.wav", run=decode
    )
    parser.add_argument("codes", metavar="CODES", help="a file that encode or generate --save-codes has written")
    parser.add_argument("-o", "--output", required=True, metavar="AUDIO", help="the audio file to write")
    add_audio_options(parser, format_default="the suffix of AUDIO", loudness_default="off")
    add_model_options(parser, default=None, recorded_in="CODES")
    add_common_options(parser)


def encode(arguments: argparse.Namespace) -> None:
    """Writes the codes of an audio file."""
    target = _one_file(codes_target("--output", arguments.output, 1).path, arguments.output)
    from descant import load
    from descant.audio import Clip
    from descant.checkpoints.codes import save_codes
    from descant.checkpoints.names import config_of

    config_of(arguments.model)
    clip = Clip.read(arguments.audio, max_duration_s=MAX_AUDIO_S, salvage=arguments.salvage)
    model = load(arguments.model, device=arguments.device, precision=arguments.precision)
    began = time.monotonic()
    # One name for all three clips: an hour of stereo is a gigabyte, freed as soon as it is not needed.
    clip = clip.to_channels(model.num_channels)
    clip = clip.resample(model.sample_rate_hz)
    with progress(f"encoding {clip.duration_s:g} s", clip.duration_s) as report:
        codes = model.codec.encode(clip, report)
    header = header_of(model, clip.samples.shape[-1])
    save_codes(target, codes, header)
    result = {
        "file": str(target),
        "num_codebooks": codes.shape[0],
        "num_frames": codes.shape[1],
        "codebook_size": header.codebook_size,
        "sample_rate_hz": header.sample_rate_hz,
        "duration_s": clip.duration_s,
        "seconds_taken": time.monotonic() - began,
        "model": model.name,
    }
    show(result, [f"{target}"], arguments.json)


def decode(arguments: argparse.Namespace) -> None:
    """Writes the audio that codes stand for, with the codec that made them."""
    target = audio_target(arguments.output, arguments.format, 1)
    path = _one_file(target.path, arguments.output)
    from dataclasses import replace

    from descant import load
    from descant.apps.cli.recorded_model import folder_named_in
    from descant.checkpoints.codes import load_codes

    codes, header = load_codes(Path(arguments.codes))
    folder = None if arguments.model is not None else folder_named_in(arguments.codes, header.model)
    name = header.model if arguments.model is None else arguments.model
    model = load(name, device=arguments.device, precision=arguments.precision, folder=folder)
    _check_same_codec(model, header)
    began = time.monotonic()
    duration_s = header.num_samples / model.sample_rate_hz
    if duration_s > MAX_AUDIO_S:
        raise InvalidRequest(f"{arguments.codes!r} holds {duration_s:.1f} s; at most {MAX_AUDIO_S:g} s are decoded")
    with progress(f"decoding {duration_s:g} s", duration_s) as report:
        clip = model.codec.decode(codes, report)
    clip = replace(clip, samples=clip.samples[:, : header.num_samples].contiguous())
    clip.save(path, format=target.suffix, loudness=getattr(arguments, "loudness", None))
    result = {
        "file": str(path),
        "duration_s": clip.duration_s,
        "sample_rate_hz": clip.sample_rate_hz,
        "num_channels": clip.samples.shape[0],
        "seconds_taken": time.monotonic() - began,
        "model": model.name,
    }
    show(result, [f"{path}"], arguments.json)


def header_of(model: "MusicGen", num_samples: int) -> "CodesHeader":
    """The header of a codes file for codes of this model's codec."""
    from descant.checkpoints.codes import CodesHeader
    from descant.codec.spec import codec_spec

    codec = codec_spec(model.codec.codec)
    return CodesHeader(
        model=model.name,
        codec_fingerprint=codec.fingerprint,
        sample_rate_hz=codec.sample_rate_hz,
        num_channels=codec.num_channels,
        num_codebooks=codec.num_codebooks,
        codebook_size=codec.codebook_size,
        hop_samples=codec.hop_samples,
        num_samples=num_samples,
    )


def _check_same_codec(model: "MusicGen", header: "CodesHeader") -> None:
    ours = header_of(model, header.num_samples)
    if ours.codec_fingerprint != header.codec_fingerprint:
        raise InvalidRequest(
            f"--model {model.name!r:.200}: these codes were made by another codec, that of {header.model!r:.200}; "
            "decode them with the model that made them"
        )


def _one_file(path: Path, output: str) -> Path:
    if path.is_dir() or output.endswith("/"):
        raise InvalidRequest(f"--output {output!r}: a folder; name the file to write")
    return path
