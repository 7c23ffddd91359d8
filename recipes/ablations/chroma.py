"""How much of a melody to give: agreement with it against copying of its recording.

The paper keeps the loudest pitch class of each chromagram frame, because models that were given the whole chromagram
tended to reconstruct the recording (arXiv 2306.05284, section 2.3). The melody is that of the held-out recording of a
prompt; copying is the share of frames whose first code is the recording's.
"""

from dataclasses import replace

from ablation_base import melody_config, small_hidden, with_melody

from descant.studies.ablation.run import AblationRun


def argmax() -> AblationRun:
    """The paper's: the loudest pitch class of each frame of 128 ms."""
    return with_melody(small_hidden(), melody_config())


def four_strongest() -> AblationRun:
    """The four strongest pitch classes with their strengths."""
    return with_melody(small_hidden(), replace(melody_config(), bottleneck="strongest", strongest=4))


def full() -> AblationRun:
    """All twelve pitch classes with their strengths."""
    return with_melody(small_hidden(), replace(melody_config(), bottleneck="full"))


def slow_argmax() -> AblationRun:
    """The loudest pitch class of every four frames together, 512 ms."""
    return with_melody(small_hidden(), replace(melody_config(), pooled_frames=4))


ROWS = (argmax, four_strongest, full, slow_argmax)
MAIN = (argmax, full)
