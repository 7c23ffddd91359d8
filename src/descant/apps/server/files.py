"""What a server keeps on disk besides its database.

A file is complete before a row of the database names it, and a row is gone before its file is::

    studio.sqlite                the rows
    clips/ab/clip_….flac         finished audio, 16 bits
    clips/ab/clip_….safetensors  its codes
    uploads/upl_….flac           what users have brought
    parts/clip_….pcm             audio that is being made
    cache/…                      audio in other formats; may go at any time
"""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from descant.apps.server.ids import is_id
from descant.atomic import write_atomically

ORPHAN_AGE_S = 3_600.0
"""Younger files without a row may belong to a clip that is just being finished."""
IN_USE_S = 60.0
"""A cached file that was asked for within this time may be about to be sent."""


class Files:
    """The folder of a server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts = folder / "parts"
        self.cache = folder / "cache"
        for one in (folder, self.parts, self.cache, folder / "clips", folder / "uploads"):
            one.mkdir(parents=True, exist_ok=True)

    def part(self, clip_id: str) -> Path:
        """The growing audio of a clip."""
        return self.parts / f"{clip_id}.pcm"

    def audio(self, clip_id: str) -> Path:
        """The finished audio of a clip."""
        return self._shelf(clip_id) / f"{clip_id}.flac"

    def codes(self, clip_id: str) -> Path:
        """The codes of a clip."""
        return self._shelf(clip_id) / f"{clip_id}.safetensors"

    def upload(self, upload_id: str) -> Path:
        """The audio of an upload."""
        return self.folder / "uploads" / f"{upload_id}.flac"

    def cached(self, id: str, fingerprint: str, suffix: str) -> Path:
        """Audio of a clip or an upload in another form."""
        return self.cache / f"{id}-{fingerprint}.{suffix}"

    def write(self, path: Path, content: bytes) -> int:
        """Writes a file completely, to the disk itself, or not at all. Gives its size.

        Raises:
            AudioError: it cannot be written.
        """
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, content)
        return len(content)

    def remove_clip(self, clip_id: str) -> None:
        """Removes what there is of a clip."""
        for path in (self.audio(clip_id), self.codes(clip_id), self.part(clip_id), *self.cache.glob(f"{clip_id}-*")):
            path.unlink(missing_ok=True)

    def drop_audio(self, clip_id: str) -> None:
        """Removes the audio of a clip in all formats; its codes stay."""
        for path in (self.audio(clip_id), *self.cache.glob(f"{clip_id}-*")):
            path.unlink(missing_ok=True)

    def remove_upload(self, upload_id: str) -> None:
        """Removes what there is of an upload."""
        for path in (self.upload(upload_id), *self.cache.glob(f"{upload_id}-*")):
            path.unlink(missing_ok=True)

    def clear_cache(self) -> int:
        """Removes audio in other formats that nobody is about to be sent, and gives the number of bytes."""
        before, freed = time.time() - IN_USE_S, 0
        for path, found in self._cached():
            if found.st_mtime < before:
                path.unlink(missing_ok=True)
                freed += found.st_size
        return freed

    def cache_bytes(self) -> int:
        """Bytes of audio in other formats."""
        return sum(found.st_size for _, found in self._cached())

    def _cached(self) -> list[tuple[Path, os.stat_result]]:
        """The files of the cache; others may come and go meanwhile."""
        found = []
        with os.scandir(self.cache) as entries:
            for entry in entries:
                # Hidden are those that are being written.
                if not entry.name.startswith("."):
                    with suppress(FileNotFoundError):
                        found.append((Path(entry.path), entry.stat()))
        return found

    def sweep(self, clip_ids: set[str], open_ids: set[str], upload_ids: set[str]) -> int:
        """Removes files that belong to nothing, and gives their number.

        Args:
            clip_ids, upload_ids: all that the database has.
            open_ids: clips that are still to be made; only they have parts.
        """
        known = {*clip_ids, *upload_ids}
        removed = 0
        for unfinished in (*self.parts.glob(".upload-*"), *self.parts.glob(".zip-*")):
            shutil.rmtree(unfinished, ignore_errors=True)
        # The user's own files may be next to ours, such as adapters: only what has one of our names is looked at.
        for path in (*self.parts.glob("*.pcm"), *self.folder.glob("clips/*/*"), *self.folder.glob("uploads/*")):
            if not is_id(path.stem):
                continue
            is_part = path.parent == self.parts
            belongs = path.stem in (open_ids if is_part else known)
            if not belongs and (is_part or time.time() - path.stat().st_mtime > ORPHAN_AGE_S):
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def free_bytes(self) -> int:
        """Room that is left on the disk."""
        return shutil.disk_usage(self.folder).free

    def is_writable(self) -> bool:
        """Whether a small file can be written there now."""
        probe = self.parts / ".probe"
        try:
            probe.write_bytes(b"1")
            os.unlink(probe)
        except OSError:
            return False
        return True

    def _shelf(self, clip_id: str) -> Path:
        return self.folder / "clips" / clip_id.removeprefix("clip_")[:2]
