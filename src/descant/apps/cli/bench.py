"""``bench``: speed and memory against the machine's limits; the last line on stdout is one JSON object."""

import argparse
import json
import math

from descant.apps.cli.options import add_common_options, add_model_options, number, whole_number
from descant.apps.cli.outputs import note
from descant.apps.cli.parser import Commands
from descant.errors import InvalidRequest

MAX_REPEATS = 100
KINDS = {
    "decode": (
        "time the generation of music: steps per second, and the memory bandwidth used",
        "descant bench decode --model starter -d 10",
    ),
    "codec": ("time the codec alone, encoding and decoding, and its arithmetic rate", "descant bench codec -d 10"),
    "train": (
        "time a training step of the language model, and its arithmetic rate",
        "descant bench train --batch-size 8",
    ),
}


def add_commands(commands: Commands) -> None:
    """Adds ``bench decode``, ``codec`` and ``train``."""
    group = commands.group("bench", "measure speed and memory against the machine's limits: decode, codec, train")
    for name, (help, example) in KINDS.items():
        parser = group.add(name, help, example, run=bench)
        parser.set_defaults(kind=name)
        parser.add_argument(
            "-d", "--duration", type=number, metavar="SECONDS", help="length of a clip (default: the model's longest)"
        )
        parser.add_argument(
            "--repeats",
            type=whole_number,
            default=3,
            metavar="N",
            help=f"runs, up to {MAX_REPEATS}, of which the median is reported (default: 3)",
        )
        if name == "train":
            parser.add_argument(
                "--batch-size", type=whole_number, default=8, metavar="N", help="clips in a batch (default: 8)"
            )
        add_model_options(parser)
        add_common_options(parser)


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
