"""``bench``: speed and memory against the machine's limits; the last line on stdout is one JSON object."""

import argparse
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from descant.apps.cli.options import MACHINE, add_common_options, add_model_options, number, whole_number
from descant.apps.cli.outputs import faults_name_stdout, note
from descant.apps.cli.parser import Commands, Parser
from descant.errors import InvalidRequest

if TYPE_CHECKING:
    from descant.api import MusicGen

MAX_REPEATS = 100
MAX_BUSY = 64
MAX_COUNT = 64
DEFAULT_COUNT_OF_CURVE = 8
CURVES = ("steps", "duration", "count")
KINDS = {
    "decode": (
        "time the generation of music: steps per second, and the memory bandwidth used",
        "descant bench decode --model starter -d 10",
        "descant bench decode --untrained small -d 2 --against transformers",
        "descant bench decode --count 8",
        "descant bench decode --curve steps",
    ),
    "codec": (
        "time the codec alone, encoding and decoding, and its arithmetic rate",
        "descant bench codec -d 10",
        "descant bench codec --untrained small -d 10 --against transformers",
    ),
    "train": (
        "time a training step of the language model, and its arithmetic rate",
        "descant bench train --batch-size 8",
        "descant bench train --precision bf16",
    ),
    "load": (
        "time the loading of a model, and its memory when it is loaded, when it has generated, and at most",
        "descant bench load --model starter",
    ),
    "cold-start": (
        "time from the start of a process to the first step, to the first sound, and to the end of a whole command",
        "descant bench cold-start --model starter --busy 2",
    ),
}
FRESH = ("load", "cold-start")
"""Kinds that measure processes of their own."""


def add_commands(commands: Commands) -> None:
    """Adds a command of ``bench`` for each kind of measurement."""
    group = commands.group("bench", f"measure speed and memory against the machine's limits: {', '.join(KINDS)}")
    for name, (help, *examples) in KINDS.items():
        parser = group.add(name, help, *examples, run=bench)
        parser.set_defaults(kind=name, duration=None, against=None, curve=None, count=None)
        if name not in FRESH:
            parser.add_argument(
                "-d",
                "--duration",
                type=number,
                metavar="SECONDS",
                help="length of a clip (default: the model's longest)",
            )
        parser.add_argument(
            "--repeats",
            type=whole_number,
            default=3,
            metavar="N",
            help=f"runs, up to {MAX_REPEATS}, of which the median, smallest and largest are reported (default: 3)",
        )
        if name == "train":
            parser.add_argument(
                "--batch-size", type=whole_number, default=8, metavar="N", help="clips in a batch (default: 8)"
            )
        if name == "decode":
            _add_decode_options(parser)
        _add_comparisons(parser, name)
        add_model_options(parser, is_training=name == "train")
        parser.group(MACHINE).add_argument(
            "--untrained",
            metavar="PRESET",
            help="instead of --model, a preset of descant models list with random weights: nothing is downloaded, and "
            "speed does not depend on the weights",
        )
        add_common_options(parser)


def _add_decode_options(parser: Parser) -> None:
    parser.add_argument(
        "--count",
        type=whole_number,
        metavar="N",
        help=f"requests at once, up to {MAX_COUNT}; their throughput is compared with that of one (default: 1)",
    )
    parser.add_argument(
        "--curve",
        choices=CURVES,
        help="measure the points of a curve instead: milliseconds of a step over the steps in the cache, seconds over "
        f"the duration, or throughput over the count of requests (up to --count, default: {DEFAULT_COUNT_OF_CURVE})",
    )


def _add_comparisons(parser: Parser, kind: str) -> None:
    group = parser.group("comparisons, measured in turns")
    if kind in ("decode", "codec"):
        group.add_argument(
            "--against", choices=("transformers",), help="measure that library too, with the same weights"
        )
    group.add_argument(
        "--busy",
        type=whole_number,
        default=0,
        metavar="N",
        help=f"measure next to N processes too, up to {MAX_BUSY}, that keep processors busy (default: 0)",
    )


def bench(arguments: argparse.Namespace) -> None:
    """Measures and prints: a table for people, then the JSON line."""
    _check(arguments)
    limit_s = _max_duration_s(arguments)
    duration_s = limit_s if arguments.duration is None else arguments.duration
    if duration_s > limit_s:
        model = arguments.untrained or arguments.model
        raise InvalidRequest(f"--duration {duration_s:g}: model {model!r:.200} makes up to {limit_s:g} s")
    result = _measure_fresh(arguments) if arguments.kind in FRESH else _measure(arguments, duration_s)
    with faults_name_stdout():
        if not arguments.json:
            print("\n".join(_lines(result)))
        print(json.dumps(result, allow_nan=False))


def _measure(arguments: argparse.Namespace, duration_s: float) -> dict[str, Any]:
    from descant.studies.speed.codec import codec_speed
    from descant.studies.speed.curves import decode_curve
    from descant.studies.speed.decoding import decode_speed
    from descant.studies.speed.training import train_speed

    model, repeats = _model(arguments, "fp32" if arguments.kind == "train" else None), arguments.repeats
    note(f"measuring {arguments.kind} of {model.name} on {model.device}, {duration_s:g} s, {repeats} times")
    compared: dict[str, Any] = {"num_busy": arguments.busy, "against_transformers": arguments.against is not None}
    if arguments.curve is not None:
        return decode_curve(model, arguments.curve, duration_s, repeats, arguments.count or DEFAULT_COUNT_OF_CURVE)
    if arguments.kind == "decode":
        whole = _model(arguments, "fp32") if arguments.against is not None and _is_rounded(model) else None
        return decode_speed(model, duration_s, repeats, count=arguments.count or 1, whole=whole, **compared)
    if arguments.kind == "codec":
        return codec_speed(model, duration_s, repeats, **compared)
    return train_speed(
        model, duration_s, arguments.batch_size, repeats, precision=arguments.precision, num_busy=arguments.busy
    )


def _measure_fresh(arguments: argparse.Namespace) -> dict[str, Any]:
    from descant.devices import select_device
    from descant.studies.speed.fresh_process import cold_start_speed, load_speed

    select_device(arguments.device)
    with _name_and_folder(arguments) as (name, folder):
        note(f"measuring {arguments.kind} of {name}, {arguments.repeats} times")
        speed = load_speed if arguments.kind == "load" else cold_start_speed
        result = speed(folder, arguments.device, arguments.precision, arguments.repeats, num_busy=arguments.busy)
        return {**result, "model": name}


@contextmanager
def _name_and_folder(arguments: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """What results call the model, and the name by which another process loads it."""
    from descant.checkpoints.names import recorded_name
    from descant.checkpoints.native import save_model

    if arguments.untrained is None:
        yield recorded_name(arguments.model), arguments.model
        return
    with TemporaryDirectory(prefix="descant-bench-") as folder:
        model = _model(arguments, "fp32")  # rounded weights cannot be stored
        name = model.name
        save_model(model.model, Path(folder) / "model")
        del model  # a large one and the process that loads it may not fit into the memory together
        yield name, str(Path(folder) / "model")


def _is_rounded(model: "MusicGen") -> bool:
    """Whether the model keeps only rounded weights."""
    return any(parameter.is_meta for parameter in model.model.parameters())


def _model(arguments: argparse.Namespace, precision: str | None = None) -> "MusicGen":
    from descant import load
    from descant.studies.speed.untrained import untrained

    make, name = (load, arguments.model) if arguments.untrained is None else (untrained, arguments.untrained)
    return make(name, device=arguments.device, precision=precision or arguments.precision)


def _max_duration_s(arguments: argparse.Namespace) -> float:
    from descant.checkpoints.names import config_of
    from descant.presets import PRESETS

    if arguments.untrained is None:
        return config_of(arguments.model).max_duration_s
    if arguments.untrained not in PRESETS:
        raise InvalidRequest(f"--untrained {arguments.untrained!r:.60}: allowed are {', '.join(PRESETS)}")
    return PRESETS[arguments.untrained]().max_duration_s


def _check(arguments: argparse.Namespace) -> None:
    if arguments.duration is not None and not (math.isfinite(arguments.duration) and arguments.duration > 0):
        raise InvalidRequest(f"--duration {arguments.duration}: must be above 0 seconds")
    if not 1 <= arguments.repeats <= MAX_REPEATS:
        raise InvalidRequest(f"--repeats {arguments.repeats}: allowed are 1 to {MAX_REPEATS}")
    if arguments.kind == "train" and not 1 <= arguments.batch_size <= 1_024:
        raise InvalidRequest(f"--batch-size {arguments.batch_size}: allowed are 1 to 1024")
    if not 0 <= arguments.busy <= MAX_BUSY:
        raise InvalidRequest(f"--busy {arguments.busy}: allowed are 0 to {MAX_BUSY}")
    if arguments.count is not None and not 1 <= arguments.count <= MAX_COUNT:
        raise InvalidRequest(f"--count {arguments.count}: allowed are 1 to {MAX_COUNT}")
    if arguments.untrained is not None and "model" in arguments.given:
        raise InvalidRequest("--untrained: it takes the place of --model; give one of them")
    if arguments.curve is not None:
        other = {"--against": arguments.against, "--busy": arguments.busy}
        other |= {} if arguments.curve == "count" else {"--count": arguments.count}
        for name, value in other.items():
            if value:
                raise InvalidRequest(f"{name}: not possible together with --curve {arguments.curve}; leave one out")


def _lines(result: dict[str, Any]) -> list[str]:
    """A line for each value with its spread, and for each point of a curve."""
    texts = _texts(result)
    width = max(map(len, texts))
    lines = [f"{name:<{width}}  {text}" for name, text in texts.items()]
    points = result.get("points", ())
    return lines + ["  ".join(f"{name} {text}" for name, text in _texts(point).items()) for point in points]


def _texts(values: dict[str, Any]) -> dict[str, str]:
    texts = {}
    for name, value in values.items():
        is_spread = name.endswith(("_min", "_max")) and name[: -len("_min")] in values
        if name == "points" or is_spread:
            continue
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        if f"{name}_min" in values:
            text += f" ({values[f'{name}_min']:.4g} to {values[f'{name}_max']:.4g})"
        texts[name] = text
    return texts
