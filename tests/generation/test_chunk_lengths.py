"""Chunks grow as far as nobody waits for them."""

import pytest

from descant.generation.chunk_lengths import AHEAD, ChunkLengths


def lengths(speeds, first=10, usual=20, longest=80) -> list[int]:
    """The frames of chunks of which each is made so many times as fast as it is played, at 50 frames a second."""
    now = [7.0]
    chunk = ChunkLengths(first, usual, longest, frame_rate_hz=50.0, clock=lambda: now[0])
    frames = [chunk.frames]
    for speed in speeds:
        now[0] += chunk.frames / 50 / speed
        chunk.add(chunk.frames)
        frames.append(chunk.frames)
    return frames


@pytest.mark.parametrize(
    ("speed", "frames"), [(0.5, [10, 20, 20, 20]), (AHEAD - 0.1, [10, 20, 20, 20]), (20, [10, 20, 40, 80])]
)
def test_chunks_are_longer_than_usual_only_where_the_music_is_made_much_faster_than_it_is_played(speed, frames):
    assert lengths([speed] * 3) == frames
    assert lengths([speed] * 5)[-1] == frames[-1]


def test_chunks_are_short_again_once_the_music_is_made_slowly():
    assert lengths([20, 20, 20, 1, 1, 1])[3:] == [80, 20, 20, 20]


def test_what_is_made_lasts_while_a_long_chunk_takes_twice_as_long():
    made = lengths([AHEAD] * 8)
    for number in range(2, len(made)):
        there_s = sum(made[:number]) / 50
        assert there_s - there_s / AHEAD >= 2 * made[number] / 50 / AHEAD
