"""The problems that a check looks for, the worst first."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Severity = Literal["stops", "fault", "notice"]
"""``stops``: a training run would stop with an error. ``fault``: it harms training. ``notice``: worth knowing."""


@dataclass(frozen=True)
class Problem:
    """A kind of problem: what it means, and what to do about it."""

    severity: Severity
    meaning: str
    remedy: str


PROBLEMS: Mapping[str, Problem] = {
    "missing": Problem("stops", "the file is not there", "put it back, or scan again"),
    "unreadable": Problem("stops", "the file is empty, damaged, truncated or not audio", "get it again, or remove it"),
    "changed": Problem("stops", "length, rate or channels differ from the manifest", "scan again"),
    "too short": Problem("stops", "it is shorter than the millisecond that a codec needs", "remove it"),
    "leaked": Problem(
        "fault",
        "the same music is in the other split, so validation would measure memorisation",
        "run descant data check with --families and then descant data scan with --split-again, or remove one",
    ),
    "duplicate": Problem("fault", "the same music is in this split already", "remove one of them"),
    "silent": Problem("fault", "its level is below -60 dB", "remove it"),
    "mostly silent": Problem("fault", "more than a quarter of it is silence", "cut the silence out"),
    "cut off": Problem(
        "fault", "it ends in mid-sound, while nearly all other clips do not", "get the whole file, or let it fade out"
    ),
    "clipped": Problem("fault", "more than 0.03 % of its samples are at the same extreme", "get a cleaner copy"),
    "offset": Problem(
        "fault", "it is shifted by more than 3 % of full scale", "remove the offset: sox IN OUT highpass 20"
    ),
    "dead channel": Problem("fault", "a channel is silent while another is not", "mix it to mono from the other one"),
    "inverted channel": Problem(
        "fault", "two channels cancel each other, so a mono model gets next to nothing", "invert one of them"
    ),
    "low bandwidth": Problem(
        "fault", "nothing is above 10.5 kHz: an upsampled or strongly compressed file", "get a better copy"
    ),
    "empty caption": Problem("fault", "there is a caption, but without words", "write one, or delete the file"),
    "long caption": Problem(
        "fault", "a caption has more than 150 words, more than text encoders read", "shorten it to a sentence or two"
    ),
    "constant caption": Problem(
        "fault", "it has no caption of its own: much of the folder has the same", "describe what is special about it"
    ),
    "contradiction": Problem("fault", "a caption or tag states another tempo or key than is measured", "correct it"),
    "vocals": Problem(
        "notice", "a voice is recognised; MusicGen's training music has none", "use the instrumental, or keep it"
    ),
    "ends in mid-sound": Problem("notice", "as loops and excerpts do", "nothing, if they are meant to"),
    "without caption": Problem("notice", "it has neither captions nor tags", "run descant data caption"),
    "unknown licence": Problem(
        "notice", "no known licence is stated", "state it as licence in name.json or metadata.csv"
    ),
    "other rate": Problem("notice", "it is resampled each time it is read", "nothing"),
    "short": Problem("notice", "it is shorter than a crop and will be padded or left out", "nothing"),
    "not in the manifest": Problem("notice", "the file was added after the scan", "run descant data scan"),
}


@dataclass(frozen=True)
class Finding:
    """A problem of a clip, in words with its figures."""

    problem: str
    clip: Path
    detail: str

    def __post_init__(self) -> None:
        assert self.problem in PROBLEMS, self.problem
