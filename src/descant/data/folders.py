"""The audio files, sidecars and tables below a folder, and the number of skipped files by reason."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from descant.data.families import FAMILIES_NAME
from descant.data.measured import MEASURED_NAME

AUDIO_SUFFIXES = frozenset(
    [
        *(".wav", ".wave", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".caf", ".au", ".snd", ".voc"),
        *(".flac", ".wv", ".ape", ".tta"),
        *(".ogg", ".oga", ".opus", ".mp2", ".mp3", ".m4a", ".m4b", ".mp4", ".aac"),
        *(".wma", ".amr", ".spx", ".ac3", ".eac3", ".dts"),
        *(".webm", ".mka", ".mkv"),
    ]
)
SIDECAR_SUFFIXES = frozenset({".txt", ".json"})
MANIFEST_NAME = "manifest.jsonl"
TABLE_NAMES = frozenset({"metadata.csv", "metadata.jsonl", "data.jsonl", "data.jsonl.gz"})

SYSTEM_FOLDERS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"})

HIDDEN_FOLDER = "hidden or system folder"
HIDDEN_FILE = "hidden audio file"
MACOS_FILE = "macOS resource file (._name)"
SAME_FOLDER = "link to a folder that was scanned before"
SAME_FILE = "link to a file that is there too"
UNREADABLE_FOLDER = "folder that cannot be read"


@dataclass(frozen=True, kw_only=True)
class FolderContents:
    """The files in a folder and its subfolders.

    Args:
        audio: audio files by suffix, in the order of their paths' parts.
        sidecars: text files by their path with the suffix in lower case.
        tables: files that describe many clips.
        measured: files with what ``descant data caption`` has measured.
        skipped: number of skipped entries by reason.
    """

    audio: list[Path] = field(default_factory=list)
    sidecars: dict[Path, Path] = field(default_factory=dict)
    tables: list[Path] = field(default_factory=list)
    measured: list[Path] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def list_folder(root: Path) -> FolderContents:
    """The contents of a folder, without hidden and system folders.

    Links to folders are followed after everything else; no folder is visited twice, so that loops end.
    """
    found = FolderContents()
    seen: set[tuple[int, int]] = set()
    waiting = [root]
    while waiting:
        linked: list[Path] = []
        for folder in waiting:
            linked += _walk(folder, found, seen)
        waiting = sorted(linked)
    _leave_out_links(found)
    found.audio.sort(key=lambda path: path.parts)
    found.tables.sort()
    return found


def _leave_out_links(found: FolderContents) -> None:
    """Leaves out links to audio that is found without them: it would come into training and validation."""
    links = sorted(path for path in found.audio if path.is_symlink() and path.exists())
    if not links:
        return
    seen = {_identity(path) for path in found.audio if not path.is_symlink()}
    left_out = set()
    for link in links:
        if _identity(link) in seen:
            left_out.add(link)
        seen.add(_identity(link))
    found.audio[:] = [path for path in found.audio if path not in left_out]
    found.skipped.update({SAME_FILE: len(left_out)} if left_out else {})


def _walk(root: Path, found: FolderContents, seen: set[tuple[int, int]]) -> list[Path]:
    """Adds the contents of a folder without following links; returns the linked folders."""
    linked: list[Path] = []

    def unreadable(error: OSError) -> None:
        del error
        found.skipped[UNREADABLE_FOLDER] += 1

    for place, folders, files in os.walk(root, onerror=unreadable):
        if _identity(place) in seen:
            found.skipped[SAME_FOLDER] += 1
            folders.clear()
            continue
        seen.add(_identity(place))
        for name in sorted(folders):
            if name.startswith(".") or name in SYSTEM_FOLDERS:
                found.skipped[HIDDEN_FOLDER] += 1
                folders.remove(name)
            elif os.path.islink(os.path.join(place, name)):
                linked.append(Path(place, name))
                folders.remove(name)
        for name in files:
            _add_file(Path(place, name), found)
    return linked


def _add_file(path: Path, found: FolderContents) -> None:
    suffix = path.suffix.lower()
    if path.name.startswith("."):
        if suffix in AUDIO_SUFFIXES:
            found.skipped[MACOS_FILE if path.name.startswith("._") else HIDDEN_FILE] += 1
    elif path.name in TABLE_NAMES:
        found.tables.append(path)
    elif path.name == MEASURED_NAME:
        found.measured.append(path)
    elif suffix in AUDIO_SUFFIXES:
        found.audio.append(path)
    elif suffix in SIDECAR_SUFFIXES:
        found.sidecars[path.with_suffix(suffix)] = path
    elif path.name not in (MANIFEST_NAME, FAMILIES_NAME):
        found.skipped[f"{suffix} file" if suffix else "file without a suffix"] += 1


def _identity(path: str | Path) -> tuple[int, int]:
    state = os.stat(path)
    return state.st_dev, state.st_ino
