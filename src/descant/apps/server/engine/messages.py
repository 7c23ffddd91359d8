"""Messages between server and engine: a JSON object and some named byte strings.

On the pipe: the length of the JSON as four bytes (little-endian), the JSON, and the byte strings in the order of its
field ``payloads``, which has their names and lengths.
"""

import asyncio
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from descant.errors import DescantError

MAX_HEADER_BYTES = 2**26
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Message:
    """A message: its kind, the clip that it is about (empty if it is about none), and its content."""

    kind: str
    clip_id: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    payloads: Mapping[str, bytes] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The message as it goes through the pipe."""
        sizes = [[name, len(content)] for name, content in self.payloads.items()]
        header = {"kind": self.kind, "clip_id": self.clip_id, "fields": self.fields, "payloads": sizes}
        encoded = json.dumps(header, allow_nan=False).encode()
        return b"".join([_LENGTH.pack(len(encoded)), encoded, *self.payloads.values()])


def refusal_of(error: Exception) -> dict[str, str | None]:
    """Why a request is not made, for the server: the class of an error of the library; None if the fault is ours."""
    if isinstance(error, DescantError):
        return {"error": type(error).__name__, "detail": str(error)}
    return {"error": None, "detail": f"{type(error).__name__}: {error}"}


def read_message(pipe: BinaryIO) -> Message | None:
    """The next message; None at the end of the pipe."""
    length = _read_exactly(pipe, _LENGTH.size)
    if len(length) < _LENGTH.size:
        return None
    header = json.loads(_read_exactly(pipe, _LENGTH.unpack(length)[0]))
    payloads = {name: _read_exactly(pipe, size) for name, size in header["payloads"]}
    return Message(header["kind"], header["clip_id"], header["fields"], payloads)


async def receive_message(pipe: asyncio.StreamReader) -> Message | None:
    """The next message; None at the end of the pipe, also where it ends within a message.

    Raises:
        ValueError: what comes is no message: something else has written into the pipe.
    """
    try:
        length = _LENGTH.unpack(await pipe.readexactly(_LENGTH.size))[0]
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"a message with {length} bytes of JSON: something else wrote into the pipe")
        header = json.loads(await pipe.readexactly(length))
        payloads = {name: await pipe.readexactly(size) for name, size in header["payloads"]}
    except asyncio.IncompleteReadError:
        return None
    return Message(header["kind"], header["clip_id"], header["fields"], payloads)


def _read_exactly(pipe: BinaryIO, size: int) -> bytes:
    """So many bytes, of a pipe that gives them as they come; fewer only at its end."""
    content = bytearray()
    while len(content) < size and (block := pipe.read(size - len(content))):
        content += block
    return bytes(content)
