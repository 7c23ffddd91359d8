"""A stream of samples as a stream of MP3."""

import asyncio
from collections.abc import AsyncIterator

from descant.audio.mp3_stream import Mp3Stream


async def mp3_of(content: AsyncIterator[bytes], sample_rate_hz: int, channels: int) -> AsyncIterator[bytes]:
    """The same audio, encoded as it comes."""
    encoder = Mp3Stream(sample_rate_hz, channels)
    async for block in content:
        if encoded := await asyncio.to_thread(encoder.push, block):
            yield encoded
    yield await asyncio.to_thread(encoder.finish)
