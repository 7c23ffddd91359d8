"""Whether a clip's file still is what the manifest says of it."""

from descant.audio import AudioHeader
from descant.data.manifest import ClipRecord
from descant.data.scan import plausible_header
from descant.errors import AudioError

DURATION_GRACE_S = 0.1
"""How far a manifest's duration may be off: those of other tools are rounded."""


def is_as_recorded(record: ClipRecord, header: AudioHeader) -> bool:
    """Whether length, rate and channels are those of the manifest."""
    return (
        abs(header.duration_s - record.duration_s) < DURATION_GRACE_S
        and header.sample_rate_hz == record.sample_rate_hz
        and header.num_channels == record.num_channels
    )


def header_as_recorded(record: ClipRecord) -> AudioHeader:
    """What the header of a clip's file says.

    Raises:
        AudioError: the file is missing, damaged or too short, or not the one of the manifest: a WAV that was cut short
            is noticed by nothing else.
    """
    header = plausible_header(record.path)
    if not is_as_recorded(record, header):
        raise AudioError(
            f"{str(record.path)!r} has {header.duration_s:.3f} s at {header.sample_rate_hz} Hz and "
            f"{header.num_channels} channels where the manifest says {record.duration_s:.3f} s "
            f"at {record.sample_rate_hz} Hz and "
            f"{record.num_channels}: put the file back, or scan the folder again"
        )
    return header
