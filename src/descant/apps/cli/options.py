"""The options that several commands share, and the types of their values.

Nothing here imports torch, so help and a mistyped option are answered at once.
"""

import argparse
import os
import re

from descant.apps.cli.parser import Parser
from descant.errors import InvalidRequest
from descant.seeds import MAX_SEED
from descant.tempo_key import OPEN

AUDIO_FORMATS = ("wav", "flac", "ogg", "mp3", "opus", "aiff", "m4a")
PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8", "int4")
LOUDNESS_LUFS = -14.0
"""The default loudness of files: streaming services play at this level, and papers evaluate at it."""

MACHINE = "model and machine"
"""Title of the options that say which model computes, on what."""

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?", re.ASCII)


def whole_number(text: str) -> int:
    """The whole number that the text is."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r:.60} is not a whole number") from None


def seed_number(text: str) -> int:
    """A seed of music or of other draws."""
    number = whole_number(text)
    if not 0 <= number <= MAX_SEED:
        raise argparse.ArgumentTypeError(f"{text:.60}: must lie between 0 and {MAX_SEED}")
    return number


def part_of_several(text: str) -> tuple[int, int]:
    """The number of a machine and how many there are, from ``I/N``."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r:.60} is not I/N with I from 1 to N, such as 2/8")
    return int(number), int(count)


def at_least_one(text: str) -> int:
    """A number of processes."""
    count = whole_number(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text!r:.60}: at least 1")
    return count


def refuse_with(option: str, arguments: argparse.Namespace, *fields: str) -> None:
    """Refuses options, by the names of their values, that have no effect with another one.

    Raises:
        InvalidRequest: one of them was given another value than its default.
    """
    for field in fields:
        if getattr(arguments, field) != arguments.parser.get_default(field):
            raise InvalidRequest(f"--{field.replace('_', '-')}: has no effect with {option}; leave it out")


def number(text: str) -> float:
    """The number that the text is."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r:.60} is not a number") from None


def path_and_strength(text: str) -> tuple[str, float]:
    """The folder of an adapter and its strength, from ``PATH`` or ``PATH:STRENGTH``."""
    path, colon, strength = text.rpartition(":")
    try:
        return (path, float(strength)) if colon and path else (text, 1.0)
    except ValueError:
        return text, 1.0


def tempo(text: str) -> float | str:
    """Beats per minute, or one of the words that state none."""
    return text if text in OPEN else number(text)


def second_and_text(text: str) -> tuple[float, str]:
    """The two parts of ``20 drums enter``."""
    second, space, prompt = text.strip().partition(" ")
    if not (space and prompt.strip()):
        raise argparse.ArgumentTypeError(f"{text!r:.60}: expected a second and a prompt, for example '20 drums enter'")
    return number(second), prompt.strip()


def second_and_scale(text: str) -> tuple[float, float]:
    """The two parts of ``2:1.5``."""
    second, colon, scale = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"{text!r:.60}: expected SECOND:G, for example 2:1.5")
    return number(second), number(scale)


def loudness(text: str) -> float | None:
    """A loudness in LUFS, or None for ``off``."""
    if text == "off":
        return None
    lufs = number(text)
    if not -70 <= lufs <= 0:
        raise argparse.ArgumentTypeError(f"{text!r:.60}: allowed are -70 to 0 LUFS, or off")
    return lufs


def precision(text: str) -> str:
    """The name of a precision."""
    if text not in PRECISIONS:
        raise argparse.ArgumentTypeError(f"{text!r:.60}: allowed are {', '.join(PRECISIONS)}")
    return text


def device(text: str) -> str:
    """The name of a device."""
    if not _DEVICE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r:.60}: allowed are auto, cpu, cuda, cuda:N, mps")
    return text


def setting(text: str) -> tuple[str, str]:
    """The two parts of ``key=value``."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r:.60}: expected key=value, for example trainer.max_steps=500")
    return key, value


def existing_file(text: str) -> str:
    """The path of a file."""
    if not os.path.isfile(text):
        raise argparse.ArgumentTypeError(f"{text!r:.300}: there is no such file")
    return text


def add_model_options(
    parser: Parser, default: str | None = "starter", recorded_in: str = "", *, is_training: bool = False
) -> None:
    """``--model``, ``--device`` and ``--precision``.

    Args:
        recorded_in: the file that names the model to use where ``--model`` is not given.
        is_training: whether the model is trained, which is done in other precisions.
    """
    group = parser.group(MACHINE)
    group.add_argument(
        "--model",
        default=default,
        metavar="MODEL",
        help="starter, tiny (random weights, for trying things), a model folder, or a hub id such as "
        f"facebook/musicgen-small (default: {default or f'the model named in {recorded_in}'})",
    )
    add_device_option(parser)
    if is_training:
        group.add_argument(
            "--precision",
            choices=("fp32", "bf16", "fp16"),
            default="fp32",
            help="of the forward pass, as trainer.precision (default: fp32)",
        )
        return
    group.add_argument(
        "--precision",
        type=precision,
        default="auto",
        metavar="PRECISION",
        help="of the language model: auto, fp32, bf16, fp16, int8 (on a CPU or CUDA) or int4 (on a CPU); int8 and "
        "int4 are faster, take less memory and change the music a little (default: auto, fp16 on CUDA and fp32 "
        "elsewhere)",
    )


def add_device_option(parser: Parser) -> None:
    """``--device``."""
    parser.group(MACHINE).add_argument(
        "--device",
        type=device,
        default="auto",
        metavar="DEVICE",
        help="auto, cpu, cuda, cuda:N or mps (default: auto, a GPU if there is one)",
    )


def add_workers_option(parser: Parser, work: str) -> None:
    """``--workers``: so many processes do the ``work``."""
    parser.add_argument(
        "--workers", type=at_least_one, default=1, metavar="N", help=f"processes that {work} (default: 1)"
    )


def add_sharing_options(parser: Parser, work: str, part: str, whole: str) -> None:
    """``--workers`` and ``--shard``, which share the work among processes and among machines.

    Args:
        work: what the processes do.
        part: what a machine does.
        whole: what the command does once all machines are done.
    """
    add_workers_option(parser, work)
    parser.add_argument(
        "--shard",
        type=part_of_several,
        metavar="I/N",
        help=f"on machine I of N that share the folder, {part}; the command without --shard, after all of them, "
        f"{whole}",
    )


def add_audio_options(group: argparse._ActionsContainer, format_default: str, loudness_default: str) -> None:
    """``--format`` and ``--loudness``; ``arguments.loudness`` exists only if given, because None means off."""
    group.add_argument(
        "--format",
        choices=AUDIO_FORMATS,
        metavar="FORMAT",
        help=f"{', '.join(AUDIO_FORMATS[:-1])} or {AUDIO_FORMATS[-1]} (default: {format_default})",
    )
    group.add_argument(
        "--loudness",
        type=loudness,
        default=argparse.SUPPRESS,
        metavar="LUFS",
        help="loudness of the file, -70 to 0 LUFS, less where its peaks allow no more, or off to leave it as it is "
        f"(default: {loudness_default})",
    )


def add_salvage_option(group: argparse._ActionsContainer) -> None:
    """``--salvage``."""
    group.add_argument(
        "--salvage", action="store_true", help="read what is intact of a damaged file, and report what is lost"
    )


def add_common_options(parser: Parser) -> None:
    """What every command takes: ``--threads``, ``--json``, ``--debug`` and ``--help``."""
    parser.group(MACHINE).add_argument(
        "--threads", type=whole_number, metavar="N", help="CPU threads to use (default: one per core)"
    )
    group = parser.group("general")
    group.add_argument("--json", action="store_true", help="print exactly one JSON object instead of text")
    group.add_argument("--debug", action="store_true", help="print the traceback of an error")
    group.add_argument("-h", "--help", action="help", help="show this help and exit")
