"""Groups of clips of the same recording, found by their fingerprints."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from descant.curation.fingerprints import FRAME_S, Fingerprint

MAX_OCCURRENCES = 40
"""Numbers that occur more often are those of common notes and of drum machines; they would only cost time."""
MIN_VOTES = 10
MIN_SHARE = 0.29
"""Copies that begin between two frames have half as much in common as others; strangers over one drum pattern less."""
MIN_COMMON_FRAMES = round(3 / FRAME_S)
"""Less in common, or less than half of a shorter clip, is chance."""


@dataclass(frozen=True)
class Match:
    """Two clips with a common recording, by their positions.

    Args:
        offset_frames: where the second clip begins in the first one.
        votes: the rare pairs of peaks that both have at this offset.
        share: all pairs of peaks that both have, of those in their common time of the clip that has fewer there.
    """

    first: int
    second: int
    offset_frames: int
    votes: int
    share: float


def families(prints: Sequence[Fingerprint], digests: Sequence[str]) -> list[list[int]]:
    """The groups of two or more clips of the same recording, by their positions.

    Args:
        digests: equal for clips with equal samples, which are one family however short they are.
    """
    first_of = list(range(len(prints)))

    def root(clip: int) -> int:
        while first_of[clip] != clip:
            clip = first_of[clip]
        return clip

    first_with = {digest: clip for clip, digest in reversed(list(enumerate(digests)))}
    distinct = sorted(first_with.values())
    pairs = [(first_with[digest], clip) for clip, digest in enumerate(digests)]
    pairs += [
        (distinct[match.first], distinct[match.second]) for match in find_matches([prints[clip] for clip in distinct])
    ]
    for one, other in pairs:
        first, second = sorted((root(one), root(other)))
        first_of[second] = first
    groups: dict[int, list[int]] = {}
    for clip in range(len(prints)):
        groups.setdefault(root(clip), []).append(clip)
    return [group for group in groups.values() if len(group) > 1]


def find_matches(prints: Sequence[Fingerprint]) -> list[Match]:
    """The pairs of clips that hold the same recording, in the order of their positions."""
    found = []
    for first, second, offset_frames, votes in _candidates(prints):
        in_both, possible = _num_common(prints[first], prints[second], offset_frames)
        if in_both >= MIN_SHARE * possible:
            found.append(Match(first, second, offset_frames, votes, in_both / possible))
    return found


def _candidates(prints: Sequence[Fingerprint]) -> Iterator[tuple[int, int, int, int]]:
    """Of each pair of clips with enough common pairs of peaks at one offset: the clips, that offset, and how many."""
    if not prints:
        return
    clips = np.repeat(np.arange(len(prints)), [len(one.hashes) for one in prints])
    hashes = np.concatenate([one.hashes for one in prints])
    frames = np.concatenate([one.frames for one in prints]).astype(np.int64)
    _, place, occurrences = np.unique(hashes, return_inverse=True, return_counts=True)
    order = np.lexsort((clips, hashes))
    order = order[occurrences[place[order]] <= MAX_OCCURRENCES]
    clips, hashes, frames = clips[order], hashes[order], frames[order]
    span = 2 * int(frames.max(initial=0)) + 3
    found = [np.zeros(0, np.int64)]
    for step in range(1, MAX_OCCURRENCES):
        is_common = (hashes[step:] == hashes[:-step]) & (clips[step:] != clips[:-step])
        first, second = clips[:-step][is_common], clips[step:][is_common]
        offset = frames[:-step][is_common] - frames[step:][is_common]
        found.append((first * len(prints) + second) * span + offset + span // 2)
    keys, counts = np.unique(np.concatenate(found), return_counts=True)
    # A shift by half a frame divides the votes between two offsets.
    is_neighbour = np.diff(keys, append=-1) == 1
    votes = counts + np.where(is_neighbour, np.roll(counts, -1), 0)
    pair = keys // span
    order = np.lexsort((-votes, pair))
    best = order[np.diff(pair[order], prepend=-1) != 0]
    best = best[votes[best] >= MIN_VOTES]
    columns = (pair[best] // len(prints), pair[best] % len(prints), keys[best] % span - span // 2, votes[best])
    yield from zip(*(column.tolist() for column in columns), strict=True)


def _num_common(first: Fingerprint, second: Fingerprint, offset: int) -> tuple[int, int]:
    """The pairs of peaks in the time that both clips have: how many are in both, and how many one has at least."""
    begin, end = max(0, offset), min(first.num_frames, second.num_frames + offset)
    if end - begin < min(MIN_COMMON_FRAMES, first.num_frames // 2, second.num_frames // 2):
        return 0, 1
    ours, theirs = (
        set(zip(one.hashes[start:stop].tolist(), (one.frames[start:stop] + shift).tolist(), strict=True))
        for one, shift in ((first, 0), (second, offset))
        for start, stop in [np.searchsorted(one.frames, [begin - shift, end - shift])]
    )
    # A shift by half a frame moves some peaks to the next frame, and so the beginning of a pair or its wait.
    in_both = sum(
        not theirs.isdisjoint([(number + wait, frame + late) for wait in (0, 1, -1) for late in (0, 1, -1)])
        for number, frame in ours
    )
    return in_both, max(1, min(len(ours), len(theirs)))
