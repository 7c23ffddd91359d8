"""The errors of Descant. A message says what came, what is allowed, and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager


class DescantError(Exception):
    """Every error that Descant raises on purpose."""


class InvalidRequest(DescantError, ValueError):
    """A request, an argument or a prompt is outside what is allowed."""


class ConfigError(DescantError, ValueError):
    """A configuration contradicts itself, or has a key that is unknown, missing or of the wrong type."""


class AudioError(DescantError, ValueError):
    """An audio file is missing, unreadable, empty, or holds NaN or infinite samples."""


class CheckpointError(DescantError):
    """A model folder or a training checkpoint is missing, broken, or does not match its config."""


class DataError(DescantError):
    """A manifest, a shard or a training set is missing, broken or changed since it was written."""


class Cancelled(DescantError):
    """The caller stopped the work."""


class MissingExtra(DescantError, ImportError):
    """An optional package or a system program is needed; the message has the line that installs it."""


class TrainingDiverged(DescantError):
    """Loss or gradients stayed infinite or NaN for many steps in a row."""


class ProcessLost(DescantError):
    """Another process of the same work, such as a training run, has ended or does not answer."""


SALVAGE_HINT = "; salvage=True takes them"
"""The end of the message about a damaged file of which seconds can be read."""


def without_salvage(message: str) -> str:
    """The message about a file for work on many, which cannot salvage: how to keep what can be read of the file."""
    return message.replace(SALVAGE_HINT, "; keep them with ffmpeg -i INPUT output.wav")


@contextmanager
def naming(field: str) -> Iterator[None]:
    """Begins the messages of errors in the block with the option, the argument or the field of a config at fault."""
    try:
        yield
    except (AudioError, CheckpointError, ConfigError, DataError, InvalidRequest) as error:
        raise type(error)(f"{field}: {error}") from error
