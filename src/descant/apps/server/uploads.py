"""Uploads: audio that users bring, decoded in a process of its own with limits, and stored as FLAC."""

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from descant.apps.server.problems import at_fault

DECODE_S = 60.0
"""On a busy machine; on an idle one the limit of processor time comes first."""
CPU_S = 10
MEMORY_BYTES = 4 * 2**30
"""Of addresses, not of memory: the libraries alone map a gigabyte."""


@dataclass(frozen=True)
class Decoded:
    """An upload that could be decoded, as it is stored."""

    num_samples: int
    sample_rate_hz: int
    channels: int


async def decode(source: Path, stored: Path, min_s: float, max_s: float) -> Decoded:
    """Decodes a file that a user has sent and stores it as FLAC of at most two channels.

    A file of a few bytes may unfold to hours, and decoders have faults: so it happens in another process, which has
    limits of time and memory and may die without harm.

    Raises:
        Problem: it is not audio, is damaged, too short or too long, or its decoder has met a limit.
    """
    command = (sys.executable, "-m", "descant.apps.server.decode", str(source), str(stored), str(max_s))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=pipe,
        start_new_session=True,  # Ctrl-C is for the server, which finishes what it has accepted
    )
    assert process.stdout is not None
    try:
        told = await asyncio.wait_for(process.stdout.read(), DECODE_S)
    except asyncio.TimeoutError:
        process.kill()
        raise at_fault("/file", f"it could not be decoded within {DECODE_S:g} s", "bad-audio") from None
    finally:
        await process.wait()
    try:
        answer = json.loads(told)
    except ValueError:
        raise at_fault("/file", "decoding it needs more memory or time than is allowed", "bad-audio") from None
    if "error" in answer:
        raise at_fault("/file", answer["error"], "bad-audio")
    decoded = Decoded(**answer)
    if decoded.num_samples < min_s * decoded.sample_rate_hz:
        seconds = decoded.num_samples / decoded.sample_rate_hz
        detail = f"it is {seconds:.2g} s long, too short to make anything from; send at least {min_s:g} s"
        raise at_fault("/file", detail, "bad-audio")
    return decoded
