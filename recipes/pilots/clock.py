"""What should every step know: the phase of the beat, and the chord?

Fresh weights with and without the beat's phase, with finer phases, and with the chords of the corpus as a condition,
which the music is judged without.
"""

from dataclasses import replace

from pilot_base import fresh

from descant.conditioning.chords import ChordsConfig
from descant.conditioning.dropout import ConditionDropout
from descant.conditioning.tempo_key import TempoKeyConfig
from descant.studies.ablation.run import AblationRun


def beat() -> AblationRun:
    """Tempo, key and the beat's phase up to its fourth multiple: the starter's."""
    return fresh()


def no_beat() -> AblationRun:
    """The text alone."""
    run = fresh()
    return replace(run, model=replace(run.model, tempo_key=None))


def fine_beat() -> AblationRun:
    """The beat's phase up to its eighth multiple."""
    run = fresh()
    return replace(run, model=replace(run.model, tempo_key=TempoKeyConfig(clock_harmonics=8)))


def chords() -> AblationRun:
    """The chords too, in half of the crops that have them."""
    run = fresh()
    task = replace(run.task, dropout=ConditionDropout(probability=0.15, chords=0.5))
    return replace(run, model=replace(run.model, chords=ChordsConfig()), task=task)


ROWS = (beat, no_beat, fine_beat, chords)
