"""Changes that spoil a file of a model, and the commands that must refuse it."""

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from descant.apps.cli.main import main

FILE_IS_WRONG = 3
CHECK = ("models", "check", "model")
GENERATE = ("generate", "warm", "--model", "model", "-d", "0.1", "-o", "out.wav", "--loudness", "off")
Spoil = Callable[[Path], object]


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


def run(*words: str) -> Outcome:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    return Outcome(code, out.getvalue(), err.getvalue())


def raw(change: Callable[[bytes], bytes]) -> Spoil:
    return lambda file: file.write_bytes(change(file.read_bytes()))


def holding(content: bytes) -> Spoil:
    return lambda file: file.write_bytes(content)
