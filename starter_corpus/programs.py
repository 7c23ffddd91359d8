"""Programs that the corpus is made with, each in a process of its own."""

import shutil
import subprocess
from collections.abc import Sequence

from descant.errors import MissingExtra

TIMEOUT_S = 3_600
"""Long enough that a machine that is busy or asleep for minutes does not end a run; none of them takes a second."""


def run_program(
    name: str, arguments: Sequence[str], *, package: str, reason: str, data: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    """A finished call of a program, whatever its exit code.

    Args:
        package: what installs it with apt.
        reason: the beginning of the message if it is missing, such as "the folk tunes need".
        data: for its standard input.

    Raises:
        MissingExtra: it is not installed.
    """
    program = shutil.which(name)
    if program is None:
        raise MissingExtra(f"{reason} the program {name}. Install it: apt install {package}")
    return subprocess.run([program, *arguments], input=data, capture_output=True, timeout=TIMEOUT_S, check=False)
