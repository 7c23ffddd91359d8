"""``generate`` and ``regenerate``: music from text, and the same music again."""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from descant.apps.cli import asking
from descant.apps.cli.options import (
    AUDIO_FORMATS,
    LOUDNESS_LUFS,
    Commands,
    add_json_option,
    add_model_options,
    loudness,
)
from descant.apps.cli.outputs import Target, audio_target, codes_target, note, show, tell_what_is_logged
from descant.apps.cli.progress import Report, part_of, progress
from descant.apps.cli.streaming import add_stream_options, check_stream, stream
from descant.errors import AudioError, CheckpointError, InvalidRequest
from descant.version import __version__

if TYPE_CHECKING:
    from descant.api import MusicGen
    from descant.audio import Clip
    from descant.generation.request import Request

MAX_FILES = 1_000
KEPT = ("made_from", "best_of", "scores")
GROUP = 8
"""Pieces that are made and written together: the engine's batch. Of a long run, what is written stays."""


@dataclass(frozen=True)
class Piece:
    """One file to be made; the number is its place in the run."""

    number: int
    request: "Request"


def add_commands(commands: Commands) -> None:
    """Adds ``generate`` and ``regenerate``."""
    parser = commands.add(
        "generate", "music from text", 'descant generate "warm lo-fi piano, slow" -d 10 --seed 7 -o piano.wav'
    )
    parser.add_argument("prompts", nargs="+", metavar="PROMPT", help='what it should sound like; "" asks for anything')
    asking.add_time_options(parser)
    _add_output_options(parser)
    parser.add_argument(
        "--format", choices=AUDIO_FORMATS, help="what to write (default: what the file's suffix says, or wav)"
    )
    # Absent unless given: what was given to continue is left as it is where nobody asks for a loudness.
    parser.add_argument(
        "--loudness",
        type=loudness,
        default=argparse.SUPPRESS,
        metavar="LUFS",
        help=f"-70 to 0, or off (default: {LOUDNESS_LUFS:g}, with --continue off)",
    )
    add_stream_options(parser)
    asking.add_sampling_options(parser)
    asking.add_conditions(parser)
    add_model_options(parser)
    add_json_option(parser)
    parser.set_defaults(run=generate)

    parser = commands.add(
        "regenerate",
        "the same music again from what generate wrote into a file's tags",
        "descant regenerate piano.wav -o again.wav",
    )
    parser.add_argument("file", metavar="FILE", help="a file that generate has written")
    _add_output_options(parser)
    parser.add_argument("--format", choices=AUDIO_FORMATS, help="what to write (default: as FILE)")
    # Absent unless given: off is a value of its own, and without the option the file's record counts.
    parser.add_argument(
        "--loudness",
        type=loudness,
        default=argparse.SUPPRESS,
        metavar="LUFS",
        help="-70 to 0, or off (default: as FILE)",
    )
    add_model_options(parser, default=None)
    parser.set_defaults(run=regenerate, device=None, precision=None)
    add_json_option(parser)


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", metavar="FILE or DIR", help="where to; a DIR that is new ends in /")
    parser.add_argument("--save-codes", metavar="FILE or DIR", help="also write the codes (.safetensors)")


def generate(arguments: argparse.Namespace) -> None:
    """Makes every variation of every prompt, in groups, and writes each group as it is done."""
    num_files = _num_files(arguments)
    if arguments.stream is not None:
        check_stream(arguments, num_files)
    elif arguments.stream_format is not None:
        raise InvalidRequest("--stream-format: says how a --stream is written; give both, or neither")
    asking.refuse_conditions(arguments)
    target = audio_target(arguments.output, arguments.format, num_files)
    codes = None if arguments.save_codes is None else codes_target(arguments.save_codes, num_files)
    tell_what_is_logged()
    requests = asking.requests_of(arguments)

    from descant.api import load

    model = load(arguments.model, device=arguments.device, precision=arguments.precision)
    requests = [asking.settled(request, arguments, model) for request in requests]
    if arguments.stream is not None:
        stream(model, requests[0], arguments.stream_format or "wav")
        return
    pieces = [Piece(number, request) for number, request in enumerate(requests, start=1)]
    lufs = None if arguments.prompt is not None else LOUDNESS_LUFS
    lufs = arguments.loudness if "loudness" in arguments else lufs
    _make(model, pieces, Writer(model, target, codes, lufs), arguments.json, arguments.best_of)


def regenerate(arguments: argparse.Namespace) -> None:
    """Makes a file's music again, with the settings and the weights that its tags name."""
    from descant.api import load
    from descant.audio import Clip, read_info
    from descant.record import given_part, request_from_info

    source = Path(arguments.file)
    info = read_info(source)
    if not info:
        raise AudioError(
            f"{arguments.file!r} does not say how it was made; only what descant generate wrote does, streams aside"
        )
    request = request_from_info(info)
    given = given_part(info, _as_made(info, Clip.read(source)))
    if given is not None:
        request = replace(request, prompt=Clip(given.samples / _recorded_gain(info), given.sample_rate_hz))
    lufs = arguments.loudness if "loudness" in arguments else _recorded_loudness(info)
    suffix = arguments.format or source.suffix.lower().lstrip(".")
    suffix = suffix if suffix in AUDIO_FORMATS else "wav"
    target = audio_target(arguments.output or f"{source.stem}-again.{suffix}", arguments.format, 1)
    codes = None if arguments.save_codes is None else codes_target(arguments.save_codes, 1)
    name = arguments.model or _recorded(info, "model")
    device, precision = (getattr(arguments, key) or _recorded(info, key) for key in ("device", "precision"))
    model = load(name, device=device, precision=precision)
    if model.fingerprint != info.get("model_fingerprint"):
        told = f"{name!r} has other weights than the model that made {arguments.file!r}"
        if arguments.model is None:
            raise CheckpointError(f"{told}: name one with --model, and the music will be another")
        note(f"note: {told}: the music is another")
    kept = {name: info[name] for name in KEPT if name in info}
    _make(model, [Piece(1, request)], Writer(model, target, codes, lufs, kept), arguments.json)


@dataclass(frozen=True)
class Writer:
    """Writes what was made: audio, and codes where they are asked for.

    Args:
        kept: what a file's tags said that music made anew does not know: what it was made from.
    """

    model: "MusicGen"
    target: Target
    codes: Target | None
    loudness_lufs: float | None
    kept: dict[str, Any] = field(default_factory=dict)

    def write(self, piece: Piece, clip: "Clip") -> tuple[Path, Path | None]:
        """Writes one piece; gives the paths of the audio and of the codes."""
        from descant.audio.clip import PEAK_LIMIT
        from descant.generation.seams import turned_down

        seed = clip.info["seed"]
        path = self.target.file(piece.number, seed, piece.request.text)
        given = clip.info["prompt_samples"]
        if given is not None and self.loudness_lufs is None:
            clip = replace(clip, samples=turned_down(clip.samples, given, PEAK_LIMIT, clip.sample_rate_hz))
        level, gain = clip.leveled(self.loudness_lufs)
        made = {"loudness_lufs": self.loudness_lufs, "gain": gain, "sample_rate_hz": clip.sample_rate_hz}
        info = {**clip.info, **self.kept, **made}
        replace(level, info=info).save(path, format=self.target.suffix)
        return path, None if self.codes is None else self._write_codes(piece, clip, self.codes)

    def _write_codes(self, piece: Piece, clip: "Clip", target: Target) -> Path:
        from descant.apps.cli.codec import facts_of
        from descant.checkpoints.codes import save_codes

        assert clip.codes is not None
        path = target.file(piece.number, clip.info["seed"], piece.request.text)
        save_codes(path, clip.codes, facts_of(self.model, clip.samples.shape[-1]))
        return path


def _make(model: "MusicGen", pieces: list[Piece], writer: Writer, as_json: bool, best_of: int = 1) -> None:
    """Makes and writes the pieces, and says what came of them."""
    from descant.generation.engine import duration_of

    audio_s = sum(duration_of(piece.request) for piece in pieces)
    seeds: list[int] = []
    began = time.monotonic()
    written: list[tuple[Path, Path | None]] = []
    with progress(f"{audio_s:g} s with {model.name} on {model.device}", audio_s) as report:
        for group, of_group in _groups(pieces, report):
            clips = model.generate([piece.request for piece in group], best_of=best_of, progress=of_group)
            seeds += [clip.info["seed"] for clip in clips]
            written += [writer.write(piece, clip) for piece, clip in zip(group, clips, strict=True)]
    seconds_taken = time.monotonic() - began
    result = {
        "files": [str(path) for path, _ in written],
        "codes_files": [str(path) for _, path in written if path is not None],
        "seeds": seeds,
        "prompts": [piece.request.text for piece in pieces],
        "duration_s": duration_of(pieces[0].request),
        "sample_rate_hz": model.sample_rate_hz,
        "seconds_taken": seconds_taken,
        "real_time_factor": seconds_taken / audio_s,
        "model": model.name,
        "device": model.device,
        "precision": model.precision,
        "version": __version__,
    }
    show(result, [str(path) for pair in written for path in pair if path is not None], as_json)
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
