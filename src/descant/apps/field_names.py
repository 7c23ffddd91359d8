"""Fields that have one name in the library and another in the protocol, in errors.

An error begins with ``field: `` or ``field=value: ``, and may suggest ``field=value``.
"""

import re
from collections.abc import Mapping

WIRE_NAMES = {
    "timeline": "sections",
    "prompt": "continue_from",
    "loop_bars": "loop.bars",
    "beats_per_bar": "loop.beats_per_bar",
    "temperature": "sampling.temperature",
    "top_k": "sampling.top_k",
    "top_p": "sampling.top_p",
    "greedy": "sampling.greedy",
    "hold_penalty": "sampling.hold_penalty",
}
"""The protocol's names for fields of a request that have another one in the library."""
LIBRARY_NAMES = {wire: name for name, wire in WIRE_NAMES.items()}

_FIELD = r"[a-z_]+(?:\.[a-z_]+)*"
_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_MENTIONED = re.compile(
    rf"^(?P<first>{_FIELD})(?=[:=])|(?<!\w)(?:{_QUOTED})|"
    rf"(?<![\w.-])(?P<suggested>{_FIELD})(?P<value>=(?:{_QUOTED}|[^\s:;,)]+))"
)


def renamed(message: str, names: Mapping[str, str]) -> str:
    """The message with other names of fields; quoted text in it stays as it is.

    Args:
        names: the new names. That of ``field=value`` replaces this suggestion as a whole.
    """

    def new_name(found: re.Match[str]) -> str:
        if found["first"] is not None:
            return names.get(found["first"], found["first"])
        if found["suggested"] is None:
            return found[0]
        return names.get(found[0]) or names.get(found["suggested"], found["suggested"]) + found["value"]

    return _MENTIONED.sub(new_name, message)
