"""What is kept of clips: while they are made, when they are finished, and what is measured afterwards."""

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

from descant.apps.server import rows
from descant.apps.server.engine.messages import Message
from descant.apps.server.events import Hub
from descant.apps.server.files import Files
from descant.apps.server.ids import now
from descant.apps.server.open_jobs import Making
from descant.apps.server.parts import Part
from descant.apps.server.problems import Problem
from descant.apps.server.store import Store
from descant.audio import Clip
from descant.audio.pcm import from_pcm16
from descant.errors import AudioError

CHOSEN = {"tempo": "tempo_bpm", "key": "musical_key", "chords": "chords"}
"""Columns by their names in the record of a clip."""

_log = logging.getLogger("descant.server")


class Keeper:
    """Writes files and rows of clips, and tells listeners so."""

    def __init__(self, store: Store, files: Files, hub: Hub) -> None:
        self._store, self._files, self._hub = store, files, hub

    async def begun(self, clip: Making, part: Part, given: Mapping[str, Any]) -> None:
        """A clip is being made; ``given`` is what the engine has decided."""
        values = {"state": "making", "sample_rate_hz": given["sample_rate_hz"], "channels": given["channels"]}
        values |= {"tempo_bpm": given["tempo_bpm"], "musical_key": given["key"], "chords": given["chords"]}
        values |= {"model": given["model"], "maker": clip.maker}
        row = await self._store.write(lambda db: rows.update_clip(db, clip.id, values))
        made = {clip.id: part.num_samples}
        self._hub.publish("clip.changed", {"clip": rows.clip_object(row, made)}, clip.job.owner, clip.job.id)

    async def finished(self, clip: Making, part: Part | None, problem: Problem | None, message: Message | None) -> str:
        """Writes the files of a clip, and then the row that says that they are there. Gives the state of the clip.

        Args:
            part: its audio, if there is any.
            message: of the engine, with codes and the record; None if it could send none.
        """
        is_done = message is not None and message.kind == "done"
        values: dict[str, Any] = {
            "problem": None if problem is None else json.dumps(problem.to_dict()),
            "finished_at": now(),
        }
        if part is not None and part.length:
            values["state"] = "ready" if is_done else "partial"
            try:
                # Side by side, since either waits for the disk.
                for written in await asyncio.gather(
                    asyncio.to_thread(self._write_audio, clip.id, part, message),
                    asyncio.to_thread(self._write_codes, clip.id, message),
                ):
                    values |= written
            except (AudioError, OSError) as error:
                _log.error("clip %s cannot be kept: %s", clip.id, error)
                full = Problem("storage-full", f"the clip cannot be written: {error}")
                values |= {"state": "failed", "problem": json.dumps(full.to_dict())}
        else:
            values["state"] = "failed" if problem is not None else "cancelled"
        row = await self._store.write(lambda db: rows.update_clip(db, clip.id, values))
        self._files.part(clip.id).unlink(missing_ok=True)
        self._hub.publish("clip.ready", {"clip": rows.clip_object(row)}, clip.job.owner, clip.job.id)
        return str(values["state"])

    async def measured(self, clip_id: str, measures: dict[str, Any]) -> None:
        """A finished clip was measured."""
        values = {"measured": json.dumps(measures)}
        row = await self._store.write(lambda db: rows.update_clip(db, clip_id, values))
        if row is not None:
            self._hub.publish("clip.measured", {"clip": rows.clip_object(row)}, row["owner"], row["job_id"])

    def _write_audio(self, clip_id: str, part: Part, message: Message | None) -> dict[str, Any]:
        """Writes the audio, and gives what the row then says."""
        info = {} if message is None else dict(message.fields["info"] or {})
        clip = Clip(from_pcm16(part.content(), part.channels), part.sample_rate_hz, info=info)
        return {
            "num_samples": part.num_samples,
            "audio_bytes": self._files.write(self._files.audio(clip_id), clip.to_bytes("flac")),
            "audio_kept": 1,
            "info": json.dumps(info),
            # They may be others than at the beginning: of the candidate that was chosen, or of sections that changed.
            **{column: info[name] for name, column in CHOSEN.items() if name in info},
        }

    def _write_codes(self, clip_id: str, message: Message | None) -> dict[str, Any]:
        """Writes the codes, if there are any, and gives what the row then says."""
        if message is None or "codes" not in message.payloads:
            return {}
        return {"codes_bytes": self._files.write(self._files.codes(clip_id), message.payloads["codes"])}
