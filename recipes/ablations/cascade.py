"""One stage against a minimal cascade: a model of the first codebook, then a model of the others given the first.

The claim of the paper is that one model is enough. Both rows have the same data, nearly the same parameters, and the
same positions times layers. The cascade's first model sees and draws only the first codebook; its second model reads
that one 16 frames (0.32 s) ahead of the codebooks that it draws.
"""

from dataclasses import replace

from ablation_base import NUM_FRAMES, small, with_pattern, with_size

from descant.patterns import Delay
from descant.studies.ablation.run import AblationRun

FRAMES_AHEAD = 16


def one_stage() -> AblationRun:
    """Four layers for all codebooks."""
    return small()


def cascade() -> AblationRun:
    """Two layers for the first codebook, two more for the others."""
    half = with_size(small(), width=192, num_heads=4, num_layers=2)
    # Codebooks that come after the end of a crop are neither read nor drawn.
    first = with_pattern(half, Delay(delays=(0, NUM_FRAMES, NUM_FRAMES, NUM_FRAMES)))
    rest = with_pattern(half, Delay(delays=(0, FRAMES_AHEAD, FRAMES_AHEAD + 1, FRAMES_AHEAD + 2)))
    return replace(
        first,
        task=replace(first.task, codebook_weights=(1.0, 0.0, 0.0, 0.0)),
        fine=replace(rest, task=replace(rest.task, codebook_weights=(0.0, 1.0, 1.0, 1.0))),
    )


ROWS = (one_stage, cascade)
MAIN = (one_stage, cascade)
