"""The argument parser of the command line and its tree of commands."""

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from descant.errors import InvalidRequest

UNKNOWN = "unrecognized arguments: "
WRONG_COMMAND = "argument COMMAND: invalid choice: "
FOLLOWS_FROM_UNKNOWN = (WRONG_COMMAND, "the following arguments are required: ")
"""How errors begin that an option which there is not may be the reason for: its value was taken for something else."""
TEXTS = ("PROMPT", "TEXT")
"""The metavariables of values that may be empty."""


class Parser(argparse.ArgumentParser):
    """An argument parser that raises ``InvalidRequest``, takes no shortened options, and no option's value twice.

    Args:
        examples: command lines for the end of the help; a line without ``descant`` in front is a heading.
    """

    def __init__(self, *, examples: Sequence[str] = (), **settings: Any) -> None:
        lines = [f"  {line}" if line.startswith("descant ") else f"\n{line}:" for line in examples]
        super().__init__(
            **settings,
            allow_abbrev=False,
            epilog="\n".join(["examples:" if len(lines) > 1 else "example:", *lines]) if lines else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for action in (None, "store"):
            self.register("action", action, _StoreOnce)
        self._titled: dict[str, argparse._ArgumentGroup] = {}

    def group(self, title: str) -> argparse._ArgumentGroup:
        """The group of options under this title in the help; a new title comes after the earlier ones."""
        if title not in self._titled:
            self._titled[title] = self.add_argument_group(title)
        return self._titled[title]

    def names(self) -> frozenset[str]:
        """What a user can give on the command line: ``--option``, ``-o`` and ``POSITIONAL``."""
        return frozenset(name for action in self._actions for name in action.option_strings or [str(action.metavar)])

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def,override]
        """As argparse does it, but words that a command does not know are its own error, with its hints."""
        self._words = sys.argv[1:] if args is None else list(args)
        parsed, left_over = super().parse_known_args(args, namespace)
        if left_over:
            self.error(f"{UNKNOWN}{' '.join(left_over)}")
        return parsed, left_over

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """As argparse does it, without empty values, such as those of unset shell variables: as a path, for example,
        one would be the current folder."""
        if not arg_string.strip() and action.choices is None and action.metavar not in TEXTS:
            raise argparse.ArgumentError(action, f"{arg_string!r:.60} is empty; expected {action.metavar}")
        return super()._get_value(action, arg_string)  # type: ignore[misc]

    def error(self, message: str) -> NoReturn:
        if message.startswith(FOLLOWS_FROM_UNKNOWN) and (unknown := self._unknown_options()):
            message = f"{UNKNOWN}{unknown[0]}"
        raise InvalidRequest(f"{message}{self._hint(message)}; see: {self.prog} --help")

    def _words_before_two_dashes(self) -> list[str]:
        return self._words[: self._words.index("--")] if "--" in self._words else self._words

    def _unknown_options(self) -> list[str]:
        words = [word.split("=")[0] for word in self._words_before_two_dashes()]
        return [word for word in words if word.startswith("--") and word not in self._option_string_actions]

    def _hint(self, message: str) -> str:
        """What to do about a prompt such as ``-foo``, which looks like an option, and about other words."""
        before = self._words_before_two_dashes()
        odd = [word for word in before if re.match("-[^-]", word) and self._is_at_fault(word, message)]
        if odd:
            return f"; if {odd[0]!r:.60} is the prompt, put -- before it: -- {odd[0]!r:.60}"
        if message.startswith(WRONG_COMMAND):
            commands = next(action.choices for action in self._get_positional_actions() if action.metavar == "COMMAND")
            return _near(message.split("'")[1], list(commands or ()))
        if not message.startswith(UNKNOWN):
            return ""
        option = message.removeprefix(UNKNOWN).split("=")[0].split()[0]
        if option.startswith("-"):
            return _near(option, list(self._option_string_actions))
        return "; put all prompts, or all files, next to each other" if self._takes_several() else ""

    def _takes_several(self) -> bool:
        return any(action.nargs in ("+", "*") for action in self._get_positional_actions())

    def _is_at_fault(self, word: str, message: str) -> bool:
        if word[:2] in self._option_string_actions:
            # "-dark piano" is -d with the value "ark piano".
            return len(word) > 2 and message.startswith("argument -") and repr(word[2:]) in message
        takes_prompts = "PROMPT" in self.names()
        return takes_prompts and ("PROMPT" in message or (message.startswith(UNKNOWN) and word in message.split()))


def _near(word: str, words: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else ""


class _StoreOnce(argparse._StoreAction):
    """Stores an option's value, and refuses a second one instead of dropping the first."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        given = vars(namespace).setdefault("given", [])
        if option is not None and self.dest in given:
            raise argparse.ArgumentError(self, "given twice; it takes one value")
        given.append(self.dest)
        super().__call__(parser, namespace, values, option)


def is_given(arguments: argparse.Namespace, name: str) -> bool:
    """Whether an option that takes a value was given, be it with its default."""
    return name in vars(arguments).get("given", ())


class Commands:
    """A set of commands, each with a line of help, examples, and the function that runs it."""

    def __init__(self, parser: Parser, name: str = "command", *, is_required: bool = True) -> None:
        self._parsers = parser.add_subparsers(metavar="COMMAND", required=is_required, dest=name)

    def add(self, name: str, help: str, *examples: str, run: Callable[[argparse.Namespace], None]) -> Parser:
        """The parser of a new command, still without options; its arguments name it as ``parser``."""
        description = f"{help[0].upper()}{help[1:]}."
        parser: Parser = self._parsers.add_parser(
            name, help=help, description=description, examples=examples, add_help=False
        )
        parser.set_defaults(run=run, parser=parser)
        return parser

    def group(self, name: str, help: str) -> "Commands":
        """A new command that has commands of its own."""
        return Commands(self._parsers.add_parser(name, help=help, description=help), f"{name}_command")
