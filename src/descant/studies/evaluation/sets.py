"""The files of a set, with what each was made from."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from descant.audio import audio_header, read_info
from descant.counted import counted
from descant.errors import AudioError, DataError, naming, without_salvage
from descant.studies.clip_folders import audio_by_name, description_beside, read_texts
from descant.studies.evaluation.base import Asked, ClipFile
from descant.studies.evaluation.measuring import BrokenFile
from descant.tempo_key import TempoKey, parse_key
from descant.user_files import sha256_of


@dataclass(frozen=True, kw_only=True)
class ClipSet:
    """The files of a folder in the order of their names, and those that cannot be read, if that is allowed."""

    folder: Path
    files: tuple[ClipFile, ...]
    broken: tuple[BrokenFile, ...] = ()

    @property
    def duration_s(self) -> float:
        """Of all clips."""
        return sum(file.duration_s for file in self.files)

    def notes(self, title: str) -> list[str]:
        """What is worth knowing about the files: sample rates that differ, and files that are left out."""
        rates = Counter(file.sample_rate_hz for file in self.files)
        lines = []
        if len(rates) > 1:
            counts = ", ".join(f"{count} of {rate} Hz" for rate, count in sorted(rates.items()))
            lines.append(
                f"{title}: clips have different sample rates ({counts}); each is resampled for each embedder, but "
                "those of low rates stay dull"
            )
        if self.broken:
            left_out = counted(len(self.broken), "file is", "files are")
            lines.append(f"{title}: {left_out} left out, first {broken_line(self.broken[0])}")
        return lines


def open_set(
    folder: Path,
    *,
    files: Mapping[str, Path] | None = None,
    asked: Mapping[str, Asked] | None = None,
    prompts: Path | None = None,
    melodies: Path | None = None,
    skip_broken: bool = False,
) -> ClipSet:
    """The files below a folder.

    Args:
        files: the files by name, if they are known; by default all audio below the folder.
        asked: what the clips were made from, by name. Otherwise texts come from ``prompts``, or else from the tags of
            generated files or from ``.txt`` and ``.json`` files next to the clips; chords from tags and ``.json``.
        melodies: a folder of melodies under the names of the clips.
        skip_broken: leaves out files that are not readable audio, instead of raising.

    Raises:
        DataError: the folder is missing, has no audio or no readable audio, two files have one name, or ``prompts``
            does not fit.
        AudioError: a file is not readable audio.
    """
    found = audio_by_name(folder) if files is None else files
    if not found:
        raise DataError(f"{str(folder)!r} has no audio files: there is nothing to measure")
    if asked is None:
        asked = _asked(found, folder, prompts, melodies)
    usable, broken = [], []
    for name, path in sorted(found.items()):
        try:
            header = audio_header(path)
        except AudioError as error:
            if not skip_broken:
                raise AudioError(f"{error}; repair or remove it, or leave such files out (--skip-broken)") from error
            broken.append(BrokenFile(_unread(name, path), without_salvage(str(error))))
            continue
        usable.append(
            ClipFile(
                name=name,
                path=path,
                sha256=sha256_of(path),
                duration_s=header.duration_s,
                sample_rate_hz=header.sample_rate_hz,
                asked=asked.get(name, Asked()),
            )
        )
    if not usable:
        raise DataError(f"{str(folder)!r}: none of its {len(broken)} files is readable audio, first {broken[0].reason}")
    return ClipSet(folder=folder, files=tuple(usable), broken=tuple(broken))


def broken_line(broken: BrokenFile) -> str:
    """A file and why it is left out."""
    return f"{broken.file.name}: {broken.reason}"


def _unread(name: str, path: Path) -> ClipFile:
    return ClipFile(name=name, path=path, sha256="", duration_s=0.0, sample_rate_hz=0, asked=Asked())


def _asked(found: Mapping[str, Path], folder: Path, prompts: Path | None, melodies: Path | None) -> dict[str, Asked]:
    texts = {}
    if prompts is not None:
        with naming("prompts"):
            texts = read_texts(prompts, sorted(found), folder)
    melody_files: Mapping[str, Path] = {}
    if melodies is not None:
        with naming("melodies"):
            melody_files = _melodies(melodies, sorted(found))
    return {name: _asked_of(path, texts.get(name), melody_files.get(name)) for name, path in found.items()}


def _melodies(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    found = audio_by_name(folder)
    if not set(found) & set(names):
        raise DataError(f"no file in {str(folder)!r} has the name of a clip, such as {names[0]!r}")
    return found


def _asked_of(path: Path, text: str | None, melody: Path | None) -> Asked:
    beside = description_beside(path)
    try:
        info = read_info(path)
    except AudioError:  # reading the audio will tell whether the file is usable
        info = {}
    tagged, chords = info.get("text"), info.get("chords", beside.tags.get("chords"))
    stated = text or (tagged if isinstance(tagged, str) else None) or " ".join(beside.captions)
    return Asked(
        text=stated.strip() or None,
        chords=chords if isinstance(chords, str) else None,
        melody=melody,
        recorded=_recorded(info),
    )


def _recorded(info: Mapping[str, Any]) -> TempoKey:
    tempo, key = info.get("tempo"), info.get("key")
    recorded = TempoKey(bpm=float(tempo) if isinstance(tempo, int | float) else None)
    number = parse_key(key) if isinstance(key, str) else None
    return recorded if number is None else recorded.with_key(number)
