"""Looks up what a folder says about its clips.

A clip's metadata comes from, in this order: ``name.json`` and ``name.txt`` next to it (``name.wav.json`` before
``name.json``), the tables of its folder and those above, the tags in the file itself, and what was measured
(``measured.py``). Captions from all sources are kept, duplicates once; of a tag with several values the first is used.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from descant.audio.common_tags import read_common_tags
from descant.counted import counted
from descant.data.folders import FolderContents
from descant.data.measured import MEASURED_NAME, MeasuredTag, read_measured, with_measured
from descant.data.sidecars import Description, read_json_sidecar, read_table, read_text_sidecar
from descant.errors import AudioError, DataError

FILE_TAGS = "tags in the file"


class Descriptions:
    """Looks up the metadata of clips; what cannot be read becomes a note and does not stop the scan."""

    def __init__(self, contents: FolderContents, notes: list[str]) -> None:
        self._sidecars = contents.sidecars
        self._notes = notes
        self._guessed: list[str] = []
        self._used: set[tuple[Path, Path]] = set()
        self._used_sidecars: set[Path] = set()
        self.counts: Counter[str] = Counter()
        self._tables: dict[Path, dict[Path, Description]] = {}
        for table in contents.tables:
            try:
                self._tables[table] = read_table(table, notes.append)
            except DataError as error:
                notes.append(f"not read: {error}")
        self._measured: dict[Path, dict[str, MeasuredTag]] = {}
        for file in sorted(contents.measured, key=lambda file: len(file.parts)):
            try:
                self._measured.update(read_measured(file))
            except DataError as error:
                notes.append(f"not read: {error}")

    def of(self, audio: Path) -> tuple[tuple[str, ...], dict[str, Any]]:
        """The captions and tags of a clip."""
        captions: list[str] = []
        tags: dict[str, Any] = {}
        for kind, found in self._found(audio):
            self.counts[kind] += 1
            captions += found.captions
            tags = {**found.tags, **tags}
        measured = self._measured.get(Path(os.path.normpath(audio.absolute())), {})
        completed = with_measured(tags, captions, measured)
        if len(completed) > len(tags):
            self.counts[MEASURED_NAME] += 1
        return tuple(dict.fromkeys(captions)), completed

    def final_notes(self) -> Iterator[str]:
        """Notes to report after all clips were looked up."""
        unused_sidecars = sorted(set(self._sidecars.values()) - self._used_sidecars)
        if unused_sidecars:
            unused = counted(len(unused_sidecars), ".txt or .json file describes", ".txt or .json files describe")
            yield f"{unused} no clip, first {str(unused_sidecars[0])!r}"
        if self._guessed:
            guessed = counted(len(self._guessed), "file is not UTF-8 and was", "files are not UTF-8 and were")
            yield f"{guessed} read as Windows-1252, first {self._guessed[0]!r}"
        for table, rows in self._tables.items():
            absent = [clip for clip in rows if (table, clip) not in self._used]
            if absent:
                few = f"{len(absent)} of its {len(rows)} clips are not in this scan"
                yield f"{str(table)!r}: {few}, first {str(absent[0])!r}"

    def _found(self, audio: Path) -> Iterator[tuple[str, Description]]:
        for suffix, reader in ((".json", read_json_sidecar), (".txt", read_text_sidecar)):
            own = self._sidecars.get(audio.with_name(audio.name + suffix))
            sidecar = own or self._sidecars.get(audio.with_suffix(suffix))
            if sidecar is not None:
                self._used_sidecars.add(sidecar)
                try:
                    description = reader(sidecar)
                except DataError as error:
                    self._notes.append(f"not read: {error}")
                    continue
                if description.is_guessed:
                    self._guessed.append(str(sidecar))
                if description.captions or description.tags:
                    yield f"name{suffix}", description
        clip = Path(os.path.normpath(audio.absolute()))
        for table in sorted(self._tables, key=lambda path: (-len(path.parts), path)):
            if clip in self._tables[table]:
                self._used.add((table, clip))
                yield table.name, self._tables[table][clip]
        try:
            if tags := read_common_tags(audio):
                yield FILE_TAGS, Description(tags=tags)
        except AudioError as error:
            self._notes.append(f"not read: {error}")
