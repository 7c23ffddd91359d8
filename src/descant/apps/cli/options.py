"""What the commands share of the command line: the parser, the types of arguments, and the options many of them have.

Nothing here imports torch: help and a mistyped option are answered at once.
"""

import argparse
import re
import sys
from typing import NoReturn

from descant.errors import CheckpointError, InvalidRequest

AUDIO_FORMATS = ("wav", "flac", "ogg", "mp3", "opus", "aiff", "m4a")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
PLANNED_PRECISIONS = ("int8", "int4")
LOUDNESS_LUFS = -14.0
"""How loud files are made, where nothing else is asked for: streaming services play at this, and papers judge at it."""

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?", re.ASCII)


class Parser(argparse.ArgumentParser):
    """An argument parser that raises what it has to say as ``InvalidRequest``, and takes no shortened options."""

    def __init__(self, *, example: str | None = None, **settings: object) -> None:
        super().__init__(
            **settings,  # type: ignore[arg-type]
            allow_abbrev=False,
            epilog=None if example is None else f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def,override]
        """As argparse does it; remembers the words, for ``error`` to look at."""
        self._words = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise InvalidRequest(f"{message}{self._hint(message)}; see: {self.prog} --help")

    def _hint(self, message: str) -> str:
        """What to do about a prompt such as ``-foo``, which looks like an option."""
        before = self._words[: self._words.index("--")] if "--" in self._words else self._words
        odd = [word for word in before if re.match("-[^-]", word) and self._is_at_fault(word, message)]
        if odd:
            return f"; if {odd[0]!r:.60} is the prompt, put -- before it: -- {odd[0]!r:.60}"
        left_over = message.removeprefix("unrecognized arguments: ")
        if left_over != message and not left_over.startswith("-"):
            return "; put all prompts, or all files, next to each other"
        return ""

    def _is_at_fault(self, word: str, message: str) -> bool:
        if word[:2] in self._option_string_actions:
            # "-dark piano" is -d with the value "ark piano".
            return len(word) > 2 and message.startswith("argument -") and repr(word[2:]) in message
        return "PROMPT" in message or (message.startswith("unrecognized arguments: ") and word in message.split())


class Commands:
    """A set of commands, each added with its help, one worked example and the function that runs it."""

    def __init__(self, parser: Parser, name: str = "command") -> None:
        self._parsers = parser.add_subparsers(metavar="COMMAND", required=True, dest=name)

    def add(self, name: str, help: str, example: str) -> Parser:
        """A new command's parser; it takes ``--debug`` and ``--threads`` like every other."""
        parser: Parser = self._parsers.add_parser(name, help=help, description=help, example=example)
        parser.add_argument("--debug", action="store_true", help="print the traceback of an error")
        parser.add_argument(
            "--threads", type=whole_number, metavar="N", help="processor threads to use (default: as many as cores)"
        )
        return parser

    def group(self, name: str, help: str) -> "Commands":
        """A new command that has commands of its own."""
        parser: Parser = self._parsers.add_parser(name, help=help, description=help)
        return Commands(parser, f"{name}_command")


def whole_number(text: str) -> int:
    """The whole number written there."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r:.60} is not a whole number") from None


def number(text: str) -> float:
    """The number written there."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r:.60} is not a number") from None


def loudness(text: str) -> float | None:
    """A loudness in LUFS, or None for ``off``."""
    if text == "off":
        return None
    lufs = number(text)
    if not -70 <= lufs <= 0:
        raise argparse.ArgumentTypeError(f"{text!r:.60}: allowed are -70 to 0 LUFS, or off")
    return lufs


def model_name(text: str) -> str:
    """A model's name. An empty one, perhaps of a shell variable that is not set, would be the current folder."""
    if not text.strip():
        raise CheckpointError(f"--model {text!r}: the name is empty; give starter, tiny, a model folder or a hub id")
    return text


def precision(text: str) -> str:
    """The name of a precision that there is."""
    if text in PLANNED_PRECISIONS:
        raise argparse.ArgumentTypeError(f"{text} is not there yet; allowed are {', '.join(PRECISIONS)}")
    if text not in PRECISIONS:
        raise argparse.ArgumentTypeError(f"{text!r:.60}: allowed are {', '.join(PRECISIONS)}")
    return text


def device(text: str) -> str:
    """The name of a kind of device."""
    if not _DEVICE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r:.60}: allowed are auto, cpu, cuda, cuda:N, mps")
    return text


def setting(text: str) -> tuple[str, str]:
    """``key=value`` in its two parts."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r:.60}: expected key=value, for example trainer.max_steps=500")
    return key, value


def add_model_options(parser: argparse.ArgumentParser, default: str | None = "starter") -> None:
    """``--model``, ``--device`` and ``--precision``."""
    by_default = "" if default is None else f" (default: {default})"
    parser.add_argument(
        "--model",
        type=model_name,
        default=default,
        metavar="ID_OR_PATH",
        help=f"a model's name, folder or hub id{by_default}",
    )
    parser.add_argument("--device", type=device, default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    parser.add_argument("--precision", type=precision, default="auto", help=f"{', '.join(PRECISIONS)} (default: auto)")


def add_audio_options(parser: argparse.ArgumentParser, loudness_lufs: float | None) -> None:
    """``--format`` and ``--loudness``."""
    parser.add_argument(
        "--format", choices=AUDIO_FORMATS, help="what to write (default: what the file's suffix says, or wav)"
    )
    default = "off" if loudness_lufs is None else f"{loudness_lufs:g}"
    parser.add_argument(
        "--loudness",
        type=loudness,
        default=loudness_lufs,
        metavar="LUFS",
        help=f"-70 to 0, or off (default: {default})",
    )


def add_salvage_option(parser: argparse._ActionsContainer) -> None:
    """``--salvage``."""
    parser.add_argument(
        "--salvage", action="store_true", help="take what can be read of a damaged FILE, and say what is lost"
    )


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="print exactly one JSON object instead of text")
