"""``generate`` and ``regenerate``: music from text, and the same music again."""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from descant.apps.cli import request_options
from descant.apps.cli.option_names import errors_name_options
from descant.apps.cli.options import (
    AUDIO_FORMATS,
    LOUDNESS_LUFS,
    Commands,
    add_json_option,
    add_model_options,
    loudness,
)
from descant.apps.cli.outputs import Target, audio_target, codes_target, note
from descant.apps.cli.pieces import Piece, Writer, Written, show_written, total_duration_s, write_piece
from descant.apps.cli.progress import Report, part_of, progress, waiting
from descant.apps.cli.streaming import add_stream_options, check_stream, stream
from descant.atomic import place_of
from descant.errors import AudioError, CheckpointError, InvalidRequest

if TYPE_CHECKING:
    from descant.api import MusicGen
    from descant.generation.request import Request

MAX_FILES = 1_000
KEPT = ("made_from", "best_of", "scores")
GROUP = 8
"""Pieces that are made and written together: the engine's batch. Of a long run, what is written stays."""


def add_commands(commands: Commands) -> None:
    """Adds ``generate`` and ``regenerate``."""
    parser = commands.add(
        "generate", "music from text", 'descant generate "warm lo-fi piano, slow" -d 10 --seed 7 -o piano.wav'
    )
    parser.add_argument(
        "prompts",
        nargs="+",
        metavar="PROMPT",
        help='what the music should sound like; "" leaves it open; put -- before prompts that begin with -',
    )
    request_options.add_time_options(parser)
    _add_output_options(parser)
    parser.add_argument("--format", choices=AUDIO_FORMATS, help="audio format (default: by the suffix of FILE, or wav)")
    # Absent unless given: music to continue keeps its level unless a loudness is asked for.
    parser.add_argument(
        "--loudness",
        type=loudness,
        default=argparse.SUPPRESS,
        metavar="LUFS",
        help=f"loudness of the file, -70 to 0, or off (default: {LOUDNESS_LUFS:g}; with --continue: off)",
    )
    add_stream_options(parser)
    request_options.add_sampling_options(parser)
    request_options.add_conditions(parser)
    add_model_options(parser)
    add_json_option(parser)
    parser.set_defaults(run=generate)

    parser = commands.add(
        "regenerate",
        "make the music of a file again, from the settings that generate wrote into its tags",
        "descant regenerate piano.wav -o again.wav",
    )
    parser.add_argument("file", metavar="FILE", help="a file that generate has written")
    _add_output_options(parser)
    parser.add_argument("--format", choices=AUDIO_FORMATS, help="audio format (default: that of FILE)")
    # Absent unless given: off is a value of its own, and without the option the file's tags decide.
    parser.add_argument(
        "--loudness",
        type=loudness,
        default=argparse.SUPPRESS,
        metavar="LUFS",
        help="loudness of the new file, -70 to 0, or off (default: that of FILE)",
    )
    add_model_options(parser, default=None)
    parser.set_defaults(run=regenerate, device=None, precision=None)
    add_json_option(parser)


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE or DIR",
        help="where to write. An existing FILE is replaced. In a DIR, which is created if its name ends in /, each "
        "result gets a name of its own and no file is replaced. - writes one finished file to standard output "
        "(default: the current folder, under a name of its own)",
    )
    parser.add_argument(
        "--save-codes", metavar="FILE or DIR", help="also write the codes, as .safetensors; FILE and DIR as with -o"
    )


def generate(arguments: argparse.Namespace) -> None:
    """Makes every variation of every prompt, in groups, and writes each group as it is done."""
    num_files = _num_files(arguments)
    if arguments.stream is not None:
        check_stream(arguments, num_files)
    elif arguments.stream_format is not None:
        raise InvalidRequest("--stream-format: the format of a --stream; give both, or neither")
    target = audio_target(arguments.output, arguments.format, num_files, takes_stdout=True)
    codes = None if arguments.save_codes is None else codes_target(arguments.save_codes, num_files)
    _check_targets(arguments, target, codes)
    with errors_name_options():
        _generate(arguments, target, codes)


def _generate(arguments: argparse.Namespace, target: Target, codes: Target | None) -> None:
    with waiting(f"loading {arguments.model}"):
        request_options.refuse_conditions(arguments)
        requests = request_options.requests_of(arguments)

        from descant.api import load

        model = load(arguments.model, device=arguments.device, precision=arguments.precision)
        requests = [request_options.settled(request, arguments, model) for request in requests]
    if arguments.stream is not None:
        stream(model, requests[0], arguments.stream_format or "wav")
        return
    pieces = [Piece(number, request) for number, request in enumerate(requests, start=1)]
    lufs = None if arguments.prompt is not None else LOUDNESS_LUFS
    lufs = arguments.loudness if "loudness" in arguments else lufs
    _make(model, pieces, Writer(model, target, codes, lufs), arguments.json, arguments.best_of)


def regenerate(arguments: argparse.Namespace) -> None:
    """Makes a file's music again, with the settings and the weights that its tags name."""
    with waiting(f"reading {arguments.file}"):
        request, writer = _recorded_request(arguments)
    _make(writer.model, [Piece(1, request)], writer, arguments.json)


def _recorded_request(arguments: argparse.Namespace) -> tuple["Request", "Writer"]:
    from descant.api import load
    from descant.apps.cli.recorded_model import folder_named_in
    from descant.audio import Clip, read_info
    from descant.provenance import prompt_of, request_from_info

    source = Path(arguments.file)
    info = read_info(source)
    if not info:
        raise AudioError(
            f"{arguments.file!r} does not say how it was made; only what descant generate wrote does, streams aside"
        )
    request = request_from_info(info)
    given = prompt_of(info, _as_made(info, Clip.read(source)))
    if given is not None:
        request = replace(request, prompt=Clip(given.samples / _recorded_gain(info), given.sample_rate_hz))
    lufs = arguments.loudness if "loudness" in arguments else _recorded_loudness(info)
    target = _regenerated_target(arguments, source)
    codes = None if arguments.save_codes is None else codes_target(arguments.save_codes, 1)
    _check_targets(arguments, target, codes)
    name = _recorded(info, "model") if arguments.model is None else arguments.model
    folder = None if arguments.model is not None else folder_named_in(arguments.file, name)
    device, precision = (getattr(arguments, key) or _recorded(info, key) for key in ("device", "precision"))
    model = load(name, device=device, precision=precision, folder=folder)
    if model.fingerprint != info.get("model_fingerprint"):
        difference = f"{name!r} has other weights than the model that made {arguments.file!r}"
        if arguments.model is None:
            raise CheckpointError(f"{difference}: name one with --model, and the music will be another")
        note(f"note: {difference}: the music is another")
    kept = {name: info[name] for name in KEPT if name in info}
    return request, Writer(model, target, codes, lufs, kept)


def _regenerated_target(arguments: argparse.Namespace, source: Path) -> Target:
    """Where the music goes that is made again; without ``--output`` under a free name like ``SOURCE-again``."""
    suffix = source.suffix.lower().lstrip(".")
    suffix = suffix if suffix in AUDIO_FORMATS else "wav"
    if arguments.output is None:
        target = audio_target(f"{source.stem}-again.{arguments.format or suffix}", arguments.format, 1)
        return replace(target, may_replace=False)
    target = audio_target(arguments.output, arguments.format, 1, takes_stdout=True)
    return replace(target, suffix=suffix) if target.is_stdout and arguments.format is None else target


def _check_targets(arguments: argparse.Namespace, audio: Target, codes: Target | None) -> None:
    """Refuses two results in one place."""
    if audio.is_stdout and arguments.json:
        raise InvalidRequest("--json: both it and --output - write to standard output; leave one of them out")
    if (
        codes is not None
        and not audio.is_folder
        and not codes.is_folder
        and place_of(audio.path) == place_of(codes.path)
    ):
        raise InvalidRequest(f"--save-codes {str(codes.path)!r}: the audio goes there; name another file")


def _make(model: "MusicGen", pieces: list[Piece], writer: Writer, as_json: bool, best_of: int = 1) -> None:
    """Makes and writes the pieces, and prints what was written, also where an error ends the run half way."""
    audio_s = total_duration_s(pieces)
    written: list[Written] = []
    began = time.monotonic()
    try:
        with progress(f"{audio_s:g} s with {model.name} on {model.device}", audio_s) as report:
            for group, of_group in _groups(pieces, report):
                clips = model.generate([piece.request for piece in group], best_of=best_of, progress=of_group)
                for piece, clip in zip(group, clips, strict=True):
                    write_piece(piece, clip, writer, written)
    except KeyboardInterrupt as stop:
        if written:
            stop.args = (f"{len(written)} of {len(pieces)} files are finished and stay",)
        raise
    except Exception as error:
        if written:
            show_written(model, written, time.monotonic() - began, as_json, {"error": str(error)})
        raise
    seconds_taken = time.monotonic() - began
    if not writer.target.is_stdout:
        show_written(model, written, seconds_taken, as_json)
    if not as_json:
        note(f"{audio_s:g} s of audio in {seconds_taken:.1f} s, {audio_s / seconds_taken:.2g}x real time")


def _groups(pieces: list[Piece], report: Report) -> Iterator[tuple[list[Piece], Report]]:
    starts = range(0, len(pieces), GROUP)
    for part, start in enumerate(starts):
        yield pieces[start : start + GROUP], part_of(report, part, len(starts))


def _num_files(arguments: argparse.Namespace) -> int:
    if not 1 <= arguments.count <= MAX_FILES:
        raise InvalidRequest(f"--count {arguments.count}: allowed are 1 to {MAX_FILES}")
    num_files = len(arguments.prompts) * arguments.count
    if num_files > MAX_FILES:
        raise InvalidRequest(
            f"{len(arguments.prompts)} prompts with --count {arguments.count} are {num_files} files; "
            f"at most {MAX_FILES} are made at a time"
        )
    return num_files


def _recorded(info: dict[str, Any], key: str) -> str:
    value = info.get(key)
    if not isinstance(value, str):
        raise AudioError(f"the file does not say which {key} made it; name one with --{key}")
    return value


def _recorded_loudness(info: dict[str, Any]) -> float | None:
    lufs = info.get("loudness_lufs")
    if lufs is not None and not (isinstance(lufs, int | float) and -70 <= lufs <= 0):
        raise AudioError(f"the file says its loudness is {lufs!r:.60}; give one with --loudness")
    return None if lufs is None else float(lufs)


def _recorded_gain(info: dict[str, Any]) -> float:
    """By how much the file is louder than what was made and given."""
    gain = info.get("gain", 1.0)
    if isinstance(gain, bool) or not isinstance(gain, int | float) or not 1e-6 < gain < 1e6:
        raise AudioError(f"the file says it was made {gain!r:.20} times as loud, which cannot be; generate it anew")
    return float(gain)


def _as_made(info: dict[str, Any], clip: "Clip") -> "Clip":
    """The clip at the rate that it was made at; Opus files have another."""
    from descant.audio.files import MAX_RATE_HZ, MIN_RATE_HZ

    rate_hz = info.get("sample_rate_hz", clip.sample_rate_hz)
    if isinstance(rate_hz, bool) or not isinstance(rate_hz, int) or not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise AudioError(f"the file says it was made at {rate_hz!r:.20} Hz, which cannot be; generate it anew")
    return clip.resample(rate_hz)
