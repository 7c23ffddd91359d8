"""``generate`` and ``regenerate``: music from text, and the same music again."""

import argparse
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from descant.apps.cli.options import (
    AUDIO_FORMATS,
    LOUDNESS_LUFS,
    Commands,
    add_audio_options,
    add_json_option,
    add_model_options,
    loudness,
    number,
    whole_number,
)
from descant.apps.cli.outputs import Target, audio_target, codes_target, note, show
from descant.apps.cli.progress import Report, part_of, progress
from descant.errors import AudioError, CheckpointError, InvalidRequest
from descant.version import __version__

if TYPE_CHECKING:
    from descant.api import MusicGen
    from descant.audio import Clip
    from descant.generation.request import Request

MAX_FILES = 1_000
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
    parser.add_argument("-d", "--duration", type=number, default=10.0, metavar="SECONDS", help="length (default: 10)")
    parser.add_argument("--seed", type=whole_number, metavar="N", help="the same seed, the same music (default: any)")
    parser.add_argument(
        "--count", type=whole_number, default=1, metavar="N", help="variations of each prompt, seeds N, N+1, ..."
    )
    _add_output_options(parser)
    add_audio_options(parser, loudness_lufs=LOUDNESS_LUFS)
    _add_sampling_options(parser)
    conditions = parser.add_argument_group("besides the prompt")
    conditions.add_argument("--negative", metavar="TEXT", help="what to stay away from")
    conditions.add_argument("--continue", dest="prompt", metavar="FILE", help="music to go on with; -d counts it in")
    conditions.add_argument("--melody", metavar="FILE", help="a melody to follow, its first 30 s")
    conditions.add_argument("--style", metavar="FILE", help="music to resemble, 3 s from its middle")
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


def _add_sampling_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sampling; each is the model's own choice where it is left out")
    group.add_argument("--temperature", type=number, metavar="T", help="above 0; 1 is the model's own distribution")
    group.add_argument("--top-k", type=whole_number, metavar="K", help="draw among the K likeliest; 0: among all")
    group.add_argument("--top-p", type=number, metavar="P", help="draw among the likeliest that hold P; 1: among all")
    group.add_argument("--greedy", action="store_true", default=None, help="always take the likeliest")
    group.add_argument("--guidance", type=number, metavar="G", help="0 ignores the prompt, 1 is plain, 3 follows it")
    group.add_argument(
        "--text-guidance",
        type=number,
        metavar="T",
        help="beside --style: how much further the text is followed, 0 to 100; try 5",
    )


def generate(arguments: argparse.Namespace) -> None:
    """Makes every variation of every prompt, in groups, and writes each group as it is done."""
    num_files = _num_files(arguments)
    _refuse_conditions(arguments)
    target = audio_target(arguments.output, arguments.format, num_files)
    codes = None if arguments.save_codes is None else codes_target(arguments.save_codes, num_files)
    pieces = _pieces(arguments)
    _check_duration(arguments.model, arguments.duration)

    from descant.api import load

    model = load(arguments.model, device=arguments.device, precision=arguments.precision)
    pieces = [replace(piece, request=_settled(piece.request, arguments, model)) for piece in pieces]
    _make(model, pieces, Writer(model, target, codes, arguments.loudness), arguments.json)


def regenerate(arguments: argparse.Namespace) -> None:
    """Makes a file's music again, with the settings and the weights that its tags name."""
    from descant.api import load, request_from_info
    from descant.audio import read_info

    source = Path(arguments.file)
    info = read_info(source)
    if not info:
        raise AudioError(f"{arguments.file!r} does not say how it was made; only what descant generate wrote does")
    request = request_from_info(info)
    lufs = arguments.loudness if "loudness" in arguments else _recorded_loudness(info)
    suffix = arguments.format or source.suffix.lower().lstrip(".")
    suffix = suffix if suffix in AUDIO_FORMATS else "wav"
    target = audio_target(arguments.output or f"{source.stem}-again.{suffix}", arguments.format, 1)
    codes = None if arguments.save_codes is None else codes_target(arguments.save_codes, 1)
    name = arguments.model or _recorded(info, "model")
    _check_duration(name, request.duration_s)
    device, precision = (getattr(arguments, key) or _recorded(info, key) for key in ("device", "precision"))
    model = load(name, device=device, precision=precision)
    if model.fingerprint != info.get("model_fingerprint"):
        told = f"{name!r} has other weights than the model that made {arguments.file!r}"
        if arguments.model is None:
            raise CheckpointError(f"{told}: name one with --model, and the music will be another")
        note(f"note: {told}: the music is another")
    _make(model, [Piece(1, request)], Writer(model, target, codes, lufs), arguments.json)


@dataclass(frozen=True)
class Writer:
    """Writes what was made: audio, and codes where they are asked for."""

    model: "MusicGen"
    target: Target
    codes: Target | None
    loudness_lufs: float | None

    def write(self, piece: Piece, clip: "Clip") -> tuple[Path, Path | None]:
        """Writes one piece; gives the paths of the audio and of the codes."""
        seed = clip.info["seed"]
        path = self.target.file(piece.number, seed, piece.request.text)
        marked = replace(clip, info={**clip.info, "loudness_lufs": self.loudness_lufs})
        marked.save(path, format=self.target.suffix, loudness=self.loudness_lufs)
        return path, None if self.codes is None else self._write_codes(piece, clip, self.codes)

    def _write_codes(self, piece: Piece, clip: "Clip", target: Target) -> Path:
        from descant.apps.cli.codec import facts_of
        from descant.checkpoints.codes import save_codes

        assert clip.codes is not None
        path = target.file(piece.number, clip.info["seed"], piece.request.text)
        save_codes(path, clip.codes, facts_of(self.model, clip.samples.shape[-1]))
        return path


def _make(model: "MusicGen", pieces: list[Piece], writer: Writer, as_json: bool) -> None:
    """Makes and writes the pieces, and says what came of them."""
    duration_s = pieces[0].request.duration_s
    audio_s = duration_s * len(pieces)
    began = time.monotonic()
    written: list[tuple[Path, Path | None]] = []
    with progress(f"{audio_s:g} s with {model.name} on {model.device}", audio_s) as report:
        for group, of_group in _groups(pieces, report):
            clips = model.generate([piece.request for piece in group], progress=of_group)
            written += [writer.write(piece, clip) for piece, clip in zip(group, clips, strict=True)]
    seconds_taken = time.monotonic() - began
    result = {
        "files": [str(path) for path, _ in written],
        "codes_files": [str(path) for _, path in written if path is not None],
        "seeds": [piece.request.seed for piece in pieces],
        "prompts": [piece.request.text for piece in pieces],
        "duration_s": duration_s,
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


def _refuse_conditions(arguments: argparse.Namespace) -> None:
    from descant.apps.cli.model_names import config_of

    for name in ("melody", "style"):
        if getattr(arguments, name) is not None and getattr(config_of(arguments.model), name) is None:
            raise InvalidRequest(f"--{name}: model {arguments.model!r:.200} takes no {name}; leave it out")
    if arguments.text_guidance is not None and arguments.style is None:
        raise InvalidRequest("--text-guidance: weighs the text against a --style; give both, or neither")


def _pieces(arguments: argparse.Namespace) -> list[Piece]:
    """One piece for every file, with everything checked that can be checked without a model."""
    from descant.audio import Clip
    from descant.generation.request import Guidance, Request, Sampling

    Sampling(**_asked_sampling(arguments))
    Guidance(**_asked_guidance(arguments))
    seed = secrets.randbits(31) if arguments.seed is None else arguments.seed
    requests = [
        Request(text=text, negative_text=arguments.negative, duration_s=arguments.duration, seed=seed + variation)
        for text in arguments.prompts
        for variation in range(arguments.count)
    ]
    melody, style = (None if file is None else Clip.read(file) for file in (arguments.melody, arguments.style))
    requests = [replace(request, melody=melody, style=style) for request in requests]
    if arguments.prompt is not None:
        prompt = _read_prompt(arguments.prompt, arguments.duration, arguments.model)
        requests = [replace(request, prompt=prompt) for request in requests]
    return [Piece(number, request) for number, request in enumerate(requests, start=1)]


def _settled(request: "Request", arguments: argparse.Namespace, model: "MusicGen") -> "Request":
    """The request with what was asked for, over what suits the model."""
    guidance = replace(model.default_guidance, **_asked_guidance(arguments))
    sampling = replace(model.default_sampling, **_asked_sampling(arguments))
    return replace(request, sampling=sampling, guidance=guidance)


def _asked_guidance(arguments: argparse.Namespace) -> dict[str, Any]:
    asked = {"scale": arguments.guidance, "text_scale": arguments.text_guidance}
    return {name: value for name, value in asked.items() if value is not None}


def _asked_sampling(arguments: argparse.Namespace) -> dict[str, Any]:
    asked = {name: getattr(arguments, name) for name in ("temperature", "top_k", "top_p", "greedy")}
    return {name: value for name, value in asked.items() if value is not None}


def _read_prompt(file: str, duration_s: float, model: str) -> "Clip":
    from descant.audio import Clip, audio_facts

    _check_duration(model, duration_s)
    facts = audio_facts(file)
    if facts.duration_s >= duration_s:
        raise InvalidRequest(
            f"--continue {file!r} is {facts.duration_s:g} s long, -d counts it in and is {duration_s:g}; ask for more"
        )
    return Clip.read(file, max_duration_s=duration_s)


def _check_duration(model: str, duration_s: float) -> None:
    """Refuses what the model would refuse, before it is loaded."""
    from descant.apps.cli.model_names import config_of

    limit_s = config_of(model).max_duration_s
    if duration_s > limit_s:
        raise InvalidRequest(f"--duration {duration_s:g}: model {model!r:.200} makes up to {limit_s:g} s; ask for less")


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
