"""Crops of five, ten or twenty seconds?

At equal frames in an update, from fresh weights: longer crops have phrases that return, shorter ones more captions.
"""

from dataclasses import replace

from pilot_base import fresh

from descant.studies.ablation.run import AblationRun


def _crops(seconds: int) -> AblationRun:
    run = fresh()
    batches = replace(run.batches, segment_frames=50 * seconds, batch_size=40 // seconds)
    return replace(run, model=replace(run.model, max_duration_s=max(10.0, seconds)), batches=batches)


def ten_seconds() -> AblationRun:
    """Four crops of ten seconds."""
    return _crops(10)


def five_seconds() -> AblationRun:
    """Eight of five."""
    return _crops(5)


def twenty_seconds() -> AblationRun:
    """Two of twenty."""
    return _crops(20)


ROWS = (ten_seconds, five_seconds, twenty_seconds)
