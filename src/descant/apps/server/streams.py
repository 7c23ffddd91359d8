"""Audio of clips as streams: of those that are made as it comes, of finished ones from their files."""

import asyncio
from collections.abc import AsyncIterator, Generator
from pathlib import Path

from descant.apps.server.files import Files
from descant.apps.server.production import Production
from descant.audio import read_in_blocks
from descant.audio.pcm import pcm16

PCM_TYPE = "audio/pcm;rate={rate};channels={channels};bits=16;encoding=signed-int;endian=little"


async def clip_pcm(production: Production, files: Files, clip_id: str, start_s: float) -> AsyncIterator[bytes]:
    """The samples of a clip from a second on, as 16-bit integers, to its end; waits for what is not made yet."""
    part = await production.growing.begun(clip_id)
    if part is not None:
        async for block in part.read(round(start_s * part.sample_rate_hz)):
            yield block
        return
    path = files.audio(clip_id)
    if await asyncio.to_thread(path.exists):
        blocks = _stored_pcm(path, start_s)
        try:
            while block := await asyncio.to_thread(_next, blocks):
                yield block
        finally:
            blocks.close()


def _stored_pcm(path: Path, start_s: float) -> Generator[bytes, None, None]:
    left: int | None = None
    for samples, rate_hz in read_in_blocks(path):
        if left is None:
            left = round(start_s * rate_hz)
        skipped = min(left, samples.shape[1])
        left -= skipped
        if skipped < samples.shape[1]:
            yield pcm16(samples[:, skipped:])


def _next(blocks: Generator[bytes, None, None]) -> bytes:
    return next(blocks, b"")
