"""``bench``: speed and memory beside the ceiling; the last line on stdout is one JSON object."""

import argparse
import json
import math

from descant.apps.cli.options import Commands, add_json_option, add_model_options, number, whole_number
from descant.apps.cli.outputs import note
from descant.errors import InvalidRequest

MAX_REPEATS = 100
KINDS = {
    "decode": (
        "text to sound: steps a second beside the memory bandwidth",
        "descant bench decode --model starter -d 10",
    ),
    "codec": ("the codec alone, both ways, beside the arithmetic rate", "descant bench codec -d 10"),
    "train": (
        "a training step of the language model, beside the arithmetic rate",
        "descant bench train --batch-size 8",
    ),
}


def add_commands(commands: Commands) -> None:
    """Adds ``bench decode``, ``codec`` and ``train``."""
    group = commands.group("bench", "speed and memory beside the ceiling: decode, codec, train")
    for name, (help, example) in KINDS.items():
        parser = group.add(name, help, example)
        parser.add_argument("-d", "--duration", type=number, metavar="SECONDS", help="of a clip (default: the model's)")
        parser.add_argument(
            "--repeats", type=whole_number, default=3, metavar="N", help="runs whose median counts (default: 3)"
        )
        if name == "train":
            parser.add_argument("--batch-size", type=whole_number, default=8, metavar="N", help="clips (default: 8)")
        add_model_options(parser)
        add_json_option(parser)
        parser.set_defaults(run=bench, kind=name)


def bench(arguments: argparse.Namespace) -> None:
    """Measures and prints: a table for people, then the JSON line."""
    _check(arguments)
    from descant.checkpoints.names import config_of

    limit_s = config_of(arguments.model).max_duration_s
    duration_s = limit_s if arguments.duration is None else arguments.duration
    if duration_s > limit_s:
        raise InvalidRequest(f"--duration {duration_s:g}: model {arguments.model!r:.200} makes up to {limit_s:g} s")

    from descant.api import load
    from descant.studies import speed

    model = load(arguments.model, device=arguments.device, precision=arguments.precision)
    note(f"measuring {arguments.kind} of {model.name} on {model.device}, {duration_s:g} s, {arguments.repeats} times")
    if arguments.kind == "decode":
        result = speed.decode_speed(model, duration_s, arguments.repeats)
    elif arguments.kind == "codec":
        result = speed.codec_speed(model, duration_s, arguments.repeats)
    else:
        result = speed.train_speed(model, duration_s, arguments.batch_size, arguments.repeats)
    if not arguments.json:
        for name, value in result.items():
            print(f"{name:<26} {value:.4g}" if isinstance(value, float) else f"{name:<26} {value}")
    print(json.dumps(result, allow_nan=False))


def _check(arguments: argparse.Namespace) -> None:
    if arguments.duration is not None and not (math.isfinite(arguments.duration) and arguments.duration > 0):
        raise InvalidRequest(f"--duration {arguments.duration}: must be above 0 seconds")
    if not 1 <= arguments.repeats <= MAX_REPEATS:
        raise InvalidRequest(f"--repeats {arguments.repeats}: allowed are 1 to {MAX_REPEATS}")
    if arguments.kind == "train" and not 1 <= arguments.batch_size <= 1_024:
        raise InvalidRequest(f"--batch-size {arguments.batch_size}: allowed are 1 to 1024")
