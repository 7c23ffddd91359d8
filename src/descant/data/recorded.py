"""Checks that a clip's file still matches the manifest."""

from descant.audio import AudioHeader
from descant.data.manifest import ClipRecord
from descant.data.scan import plausible_header
from descant.errors import AudioError

DURATION_GRACE_S = 0.1
"""Tolerance of a manifest's durations: other tools round them."""


def is_as_recorded(record: ClipRecord, header: AudioHeader) -> bool:
    """Whether length, rate and channels match the manifest."""
    return (
        abs(header.duration_s - record.duration_s) < DURATION_GRACE_S
        and header.sample_rate_hz == record.sample_rate_hz
        and header.num_channels == record.num_channels
    )


def header_as_recorded(record: ClipRecord) -> AudioHeader:
    """The header of a clip's file, checked against the manifest.

    Raises:
        AudioError: the file is missing, damaged or too short, or does not match the manifest, which is the only sign of
            a truncated WAV.
    """
    header = plausible_header(record.path)
    if not is_as_recorded(record, header):
        raise AudioError(
            f"{str(record.path)!r} has {header.duration_s:.3f} s at {header.sample_rate_hz} Hz and "
            f"{header.num_channels} channels, but {record.duration_s:.3f} s at {record.sample_rate_hz} Hz and "
            f"{record.num_channels} in the manifest: put the file back, or scan the folder again"
        )
    return header
