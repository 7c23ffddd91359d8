"""Whether a clip's file still is what the manifest says of it."""

from descant.audio import AudioFacts
from descant.data.manifest import ClipRecord
from descant.data.scan import plausible_facts
from descant.errors import AudioError

DURATION_GRACE_S = 0.1
"""How far a manifest's duration may be off: those of other tools are rounded."""


def is_as_recorded(record: ClipRecord, facts: AudioFacts) -> bool:
    """Whether length, rate and channels are those of the manifest."""
    return (
        abs(facts.duration_s - record.duration_s) < DURATION_GRACE_S
        and facts.sample_rate_hz == record.sample_rate_hz
        and facts.num_channels == record.num_channels
    )


def facts_as_recorded(record: ClipRecord) -> AudioFacts:
    """What the header of a clip's file says.

    Raises:
        AudioError: the file is missing, damaged or too short, or not the one of the manifest: a WAV that was cut short
            is noticed by nothing else.
    """
    facts = plausible_facts(record.path)
    if not is_as_recorded(record, facts):
        raise AudioError(
            f"{str(record.path)!r} has {facts.duration_s:.3f} s at {facts.sample_rate_hz} Hz and {facts.num_channels} "
            f"channels where the manifest says {record.duration_s:.3f} s at {record.sample_rate_hz} Hz and "
            f"{record.num_channels}: put the file back, or scan the folder again"
        )
    return facts
