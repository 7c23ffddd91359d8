"""The two kinds of files of a listening test besides its page: the key, and each listener's answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from descant import config
from descant.errors import ConfigError, DataError

VERSION = 1
KEY_NAME = "key.json"

LOWEST, HIGHEST = 1, 100
SCALES = ("overall", "relevance", "melody")
"""Overall quality and relevance to the text as in arXiv 2306.05284, section 3.3, and adherence to the melody."""

Role = Literal["rated", "repeat", "anchor"]
File = TypeVar("File")


@dataclass(frozen=True, kw_only=True)
class KeyClip:
    """What a blind name stands for.

    Args:
        system: whose clip it is, also that of a repeat; an anchor is made from this system's clip.
        source: blind name of the clip that a repeat plays again, or that an anchor was made from.
    """

    name: str
    system: str
    prompt: str
    has_melody: bool
    role: Role = "rated"
    source: str | None = None


@dataclass(frozen=True, kw_only=True)
class Key:
    """Which blind name is whose clip. Listeners do not get it."""

    version: int = VERSION
    test: str
    systems: tuple[str, ...]
    clips: tuple[KeyClip, ...]

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ConfigError(f"version={self.version}: this release reads version {VERSION}")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The ratings of one clip, and how often it was played to its end; ``melody`` only where a melody was given."""

    clip: str
    overall: int
    relevance: int
    melody: int | None = None
    plays: int

    def __post_init__(self) -> None:
        for scale in SCALES:
            rating = getattr(self, scale)
            if rating is not None and not LOWEST <= rating <= HIGHEST:
                raise ConfigError(f"{scale}={rating}: allowed are {LOWEST} to {HIGHEST}")
        if self.plays < 1:
            raise ConfigError(f"plays={self.plays}: a clip must be played to its end before it is rated")


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the page saves: the ratings of one listener, in the order in which the clips were played."""

    version: int = VERSION
    test: str
    listener: str
    answers: tuple[Answer, ...]

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ConfigError(f"version={self.version}: this release reads version {VERSION}")


def read_key(folder: Path) -> Key:
    """The key of the test in a folder.

    Raises:
        DataError: there is none, or it is damaged.
    """
    if not (folder / KEY_NAME).is_file():
        raise DataError(f"{str(folder)!r} holds no {KEY_NAME}; name the folder that `descant listen build` has written")
    return _read(Key, folder / KEY_NAME)


def read_answers(key: Key, files: list[Path]) -> list[Answers]:
    """The answers in these files.

    Raises:
        DataError: a file is missing, broken, empty or from another test, rates a clip twice, one that the test does
            not have or on a scale that was not asked for; or two files are of the same listener.
    """
    by_listener: dict[str, Path] = {}
    found = []
    for file in files:
        answers = _read(Answers, file)
        _check(answers, key, repr(str(file)))
        if answers.listener in by_listener:
            raise DataError(
                f"{str(file)!r} and {str(by_listener[answers.listener])!r} are both of listener "
                f"{answers.listener!r:.60}; keep the later one"
            )
        by_listener[answers.listener] = file
        found.append(answers)
    return found


def _read(kind: type[File], file: Path) -> File:
    try:
        return config.read_json(kind, file)
    except ConfigError as error:
        raise DataError(f"{str(file)!r}: {error}") from error
    except OSError as error:
        raise DataError(f"{str(file)!r}: {error.strerror}") from error


def _check(answers: Answers, key: Key, file: str) -> None:
    if answers.test != key.test:
        raise DataError(f"{file} belongs to test {answers.test!r:.60}, and this is {key.test!r}; leave it out")
    if not answers.answers:
        raise DataError(f"{file} holds no ratings; leave it out")
    clips = {clip.name: clip for clip in key.clips}
    rated = set()
    for answer in answers.answers:
        if answer.clip not in clips:
            raise DataError(f"{file} rates {answer.clip!r:.60}, which this test does not have")
        if answer.clip in rated:
            raise DataError(f"{file} rates {answer.clip!r} twice")
        if clips[answer.clip].has_melody != (answer.melody is not None):
            state = "no melody rating" if answer.melody is None else "a melody rating, but the clip has no melody"
            raise DataError(f"{file}: {answer.clip!r} has {state}")
        rated.add(answer.clip)
