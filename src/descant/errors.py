"""What can go wrong, told to the person who can mend it: what came, what is allowed, what to do."""

from collections.abc import Iterator
from contextlib import contextmanager


class DescantError(Exception):
    """Every error that Descant raises on purpose."""


class InvalidRequest(DescantError, ValueError):
    """A request, an argument or a prompt is outside what is allowed."""


class ConfigError(DescantError, ValueError):
    """A configuration contradicts itself, or has a key that is unknown, missing or of the wrong type."""


class AudioError(DescantError, ValueError):
    """An audio file is missing, unreadable, empty or holds samples that are no sound."""


class CheckpointError(DescantError):
    """A model folder or a training checkpoint is missing, broken, or not what its config says."""


class DataError(DescantError):
    """A manifest, a shard or a training set is missing, broken or changed since it was written."""


class Cancelled(DescantError):
    """The work was stopped because its caller asked for that."""


class MissingExtra(DescantError, ImportError):
    """An optional package or a system program is needed; the message holds the exact line that installs it."""


class TrainingDiverged(DescantError):
    """Loss or gradients stayed infinite or undefined for many steps in a row."""


@contextmanager
def naming(field: str) -> Iterator[None]:
    """Begins the message of whatever is wrong with a file with the option or the field of a config that named it."""
    try:
        yield
    except (AudioError, CheckpointError, ConfigError, DataError) as error:
        raise type(error)(f"{field}: {error}") from error
