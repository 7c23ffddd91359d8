"""Errors of the library in the words of the command line: ``--top-p 2: ...`` for ``top_p=2: ...``."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from descant.errors import InvalidRequest

OPTIONS = {
    "text": "PROMPT",
    "negative_text": "--negative",
    "duration_s": "--duration",
    "seed": "--seed",
    "timeline": "--then",
    "stride_s": "--stride",
    "loop_bars": "--loop",
    "beats_per_bar": "--beats-per-bar",
    "temperature": "--temperature",
    "top_k": "--top-k",
    "top_p": "--top-p",
    "greedy": "--greedy",
    "guidance.scale": "--guidance",
    "guidance.text_scale": "--text-guidance",
    "guidance.melody_scale": "--melody-guidance",
    "guidance.schedule": "--guidance-at",
    "melody": "--melody",
    "melody_part": "--melody-part",
    "style": "--style",
    "prompt": "--continue",
}
"""The option of ``generate`` for each field of a request, by the words in which the library's errors begin."""

_FIELD = re.compile(rf"({'|'.join(OPTIONS)})(=[^:]*)?:")


@contextmanager
def errors_name_options() -> Iterator[None]:
    """Inside the block a refused request names the option that it came from."""
    try:
        yield
    except InvalidRequest as error:
        found = _FIELD.match(str(error))
        if found is None:
            raise
        field, value = found[1], (found[2] or "").removeprefix("=")
        option = f"{OPTIONS[field]} {value}".strip()
        raise InvalidRequest(f"{option}:{str(error)[found.end() :]}") from error
