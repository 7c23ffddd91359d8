"""Crops for validation: always the same ones, spread over all clips and over the whole of each."""

import random
from collections.abc import Sequence

from descant.errors import ConfigError


def fixed_crops(
    names: Sequence[str], lengths: Sequence[int], crop_length: int, seed: int, most: int | None = None
) -> list[tuple[int, int]]:
    """The clip of each crop and where it starts, in the order of the clips.

    A clip has as many crops as fit into it, at least one, each at a random place in its own part of the clip. Where a
    clip is cropped depends on its name, its length and the seed, not on the other clips.

    Args:
        names: of the clips.
        lengths: in frames or samples, as ``crop_length`` and the starts.
        most: if fewer than there are, every clip has its first before any has its second; of more clips than ``most``
            a random selection is used.

    Raises:
        ConfigError: ``most`` is below 1.
    """
    if most is not None and most < 1:
        raise ConfigError("num_validation_batches: must be at least 1, or none for all of them")
    order = random.Random(f"{seed}/fixed").sample(range(len(names)), len(names))
    counts = [max(1, length // crop_length) for length in lengths]
    chosen: list[tuple[int, int]] = []
    rounds = range(max(counts, default=0)) if most is None or most > len(names) else range(1)
    for number in rounds:
        chosen += [(clip, number) for clip in order if number < counts[clip]]
    crops = []
    for clip, number in sorted(chosen[:most]):
        generator = random.Random(f"{seed}/fixed/{names[clip]}")
        part = generator.sample(range(counts[clip]), counts[clip])[number]
        place = part + [generator.random() for _ in range(number + 1)][-1]
        spare = max(0, lengths[clip] - crop_length)
        crops.append((clip, min(spare, int(place / counts[clip] * (spare + 1)))))
    return crops
