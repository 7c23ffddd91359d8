"""How much is kept, and what goes first when it becomes too much."""

import asyncio
import logging
import sqlite3
import time
from datetime import datetime, timedelta, timezone
from typing import Any

from descant.apps.server import rows
from descant.apps.server.config import ServerConfig
from descant.apps.server.events import Hub
from descant.apps.server.files import Files
from descant.apps.server.ids import as_text
from descant.apps.server.problems import Problem
from descant.apps.server.store import Store

KINDS = {
    "audio": "SELECT COALESCE(SUM(audio_bytes), 0) FROM clips WHERE audio_kept AND trashed_at IS NULL",
    "codes": "SELECT COALESCE(SUM(codes_bytes), 0) FROM clips",
    "uploads": "SELECT COALESCE(SUM(bytes), 0) FROM uploads",
    "trash": "SELECT COALESCE(SUM(audio_bytes), 0) FROM clips WHERE audio_kept AND trashed_at IS NOT NULL",
}
LOW = 0.9
"""From this share of the quota on its users are warned."""
RESERVE_BYTES = 64 * 2**20
"""Room that is left on the disk for what is being made."""
TIDY_EVERY_S = 600.0
ANSWERS_KEPT_S = 24 * 3_600.0

_log = logging.getLogger("descant.server")


class Storage:
    """The room that a server takes."""

    def __init__(self, config: ServerConfig, store: Store, files: Files, hub: Hub) -> None:
        self._config, self._store, self._files, self._hub = config, store, files, hub

    async def object(self) -> dict[str, Any]:
        """Bytes used by kind, and the quota."""
        by_kind = await self._by_kind()
        return {
            "used_bytes": sum(by_kind.values()),
            "quota_bytes": self._config.quota_bytes,
            "by_kind": by_kind,
        }

    async def require_room(self) -> None:
        """Makes room if there is none.

        Raises:
            Problem: everything that may go has gone.
        """
        used = sum((await self._by_kind()).values())
        if used >= self._config.quota_bytes:
            await self.make_room()
            used = sum((await self._by_kind()).values())
        if used >= self._config.quota_bytes:
            detail = (
                "favourites, codes and uploads fill the quota: delete some, or start the server with more --quota-gib"
            )
            raise Problem("storage-full", detail)
        if self._files.free_bytes() < RESERVE_BYTES:
            raise Problem("storage-full", "the disk is full: make room on it")

    async def make_room(self) -> None:
        """Drops what is least missed until the quota holds: cache, trash, audio of the clips heard longest ago."""
        over = sum((await self._by_kind()).values()) - self._config.quota_bytes
        if over > 0:
            over -= await asyncio.to_thread(self._files.clear_cache)
        if over > 0:
            over -= await self._drop("trashed_at IS NOT NULL", over)
        if over > 0:
            await self._drop("NOT favourite AND state IN ('ready', 'partial')", over)

    async def tidy(self) -> None:
        """Removes what its time is over for: trash, uploads that nothing uses, kept answers; then makes room."""
        limits = self._config.limits
        trashed_before, uploaded_before = _ago(limits.trash_kept_s), _ago(limits.upload_kept_s)

        def remove(db: sqlite3.Connection) -> tuple[list[sqlite3.Row], list[sqlite3.Row]]:
            clips = db.execute("SELECT * FROM clips WHERE trashed_at < ?", (trashed_before,)).fetchall()
            for row in clips:
                rows.delete_clip(db, row)
            old = "FROM uploads WHERE used_at IS NULL AND created_at < ?"
            uploads = db.execute(f"SELECT id, owner {old}", (uploaded_before,)).fetchall()
            db.execute(f"DELETE {old}", (uploaded_before,))
            db.execute("DELETE FROM idempotency WHERE created_at < ?", (_ago(ANSWERS_KEPT_S),))
            return clips, uploads

        clips, uploads = await self._store.write(remove)
        for row in clips:
            self._files.remove_clip(row["id"])
            self._hub.publish("clip.deleted", {"clip_id": row["id"]}, row["owner"])
        for row in uploads:
            self._files.remove_upload(row["id"])
        for owner in {row["owner"] for row in uploads}:
            self._hub.publish_list("uploads", owner)
        await self.make_room()
        used = sum((await self._by_kind()).values())
        if used > LOW * self._config.quota_bytes:
            self._hub.publish("storage.low", {"used_bytes": used, "quota_bytes": self._config.quota_bytes})

    async def keep_tidy(self) -> None:
        """Tidies now and then, for ever."""
        while True:
            try:
                await self.tidy()
            except Exception:  # of a disk that is full now, say: the next time it may work
                _log.exception("the folder could not be tidied up; it is tried again in %.0f s", TIDY_EVERY_S)
            await asyncio.sleep(TIDY_EVERY_S)

    async def _drop(self, which: str, bytes_needed: int) -> int:
        """Drops the audio of clips, those heard longest ago first; gives the number of bytes. Codes stay."""

        def choose(db: sqlite3.Connection) -> list[sqlite3.Row]:
            found = db.execute(
                f"SELECT * FROM clips WHERE audio_kept AND {which} ORDER BY COALESCE(heard_at, finished_at), number"
            )
            chosen, freed = [], 0
            for row in found:
                if freed >= bytes_needed:
                    break
                chosen.append(row)
                freed += row["audio_bytes"]
            return [rows.update_clip(db, row["id"], {"audio_kept": 0}) for row in chosen]

        dropped = await self._store.write(choose)
        for row in dropped:
            self._files.drop_audio(row["id"])
            self._hub.publish("clip.changed", {"clip": rows.clip_object(row)}, row["owner"], row["job_id"])
        return sum(row["audio_bytes"] for row in dropped)

    async def _by_kind(self) -> dict[str, int]:
        by_kind = await self._store.read(
            lambda db: {kind: int(db.execute(query).fetchone()[0]) for kind, query in KINDS.items()}
        )
        return {**by_kind, "cache": await asyncio.to_thread(self._files.cache_bytes)}


def _ago(seconds: float) -> str:
    return as_text(datetime.fromtimestamp(time.time(), timezone.utc) - timedelta(seconds=seconds))
