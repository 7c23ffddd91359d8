"""Several clips in one zip file."""

import asyncio
import sqlite3
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import StringConstraints
from starlette.background import BackgroundTask

from descant.apps.server import rows
from descant.apps.server.audio_out import AudioFormat, Wanted, exported, file_name, info_of
from descant.apps.server.auth import Reader
from descant.apps.server.ids import checked_id
from descant.apps.server.problems import Problem
from descant.apps.server.routes.answers import StoredFile, problems
from descant.apps.server.service import Parts, Service

router = APIRouter()

MOST_CLIPS = 500
"""Of one archive of clips that are named: their names stand in the address."""
ClipIds = Annotated[
    list[Annotated[str, StringConstraints(max_length=60)]],
    Query(alias="clip_id", min_length=1, max_length=MOST_CLIPS),
]


@router.get("/v1/archive", tags=["clips"], response_class=StoredFile, responses=problems(404, 416, 422))
async def archive_of_clips(clip_ids: ClipIds, owner: Reader, parts: Parts, format: AudioFormat = "wav") -> Response:
    """Clips in one zip, in the order of their names in the address; those without stored audio are left out."""
    known = [checked_id("clip", clip_id) for clip_id in dict.fromkeys(clip_ids)]
    clips = await parts.store.read(lambda db: [rows.find(db, "clips", "clip", one, owner.id) for one in known])
    return await _archive(parts, [row for row in clips if row["audio_kept"]], format, "clips")


@router.get(
    "/v1/collections/{id}/archive",
    tags=["collections"],
    response_class=StoredFile,
    responses=problems(404, 416, 422),
)
async def archive(id: str, owner: Reader, parts: Parts, format: AudioFormat = "wav") -> Response:
    """The clips of a collection in one zip; those without stored audio are left out."""
    collection_id = checked_id("collection", id)

    def find(db: sqlite3.Connection) -> tuple[sqlite3.Row, list[sqlite3.Row]]:
        collection = rows.find(db, "collections", "collection", collection_id, owner.id)
        clips = db.execute(
            "SELECT clips.* FROM collection_clips JOIN clips ON clips.id = clip_id "
            "WHERE collection_id = ? AND audio_kept ORDER BY collection_clips.place",
            (collection_id,),
        ).fetchall()
        return collection, clips

    collection, clips = await parts.store.read(find)
    return await _archive(parts, clips, format, collection["name"][:60])


async def _archive(parts: Service, clips: Sequence[sqlite3.Row], format: AudioFormat, name: str) -> Response:
    """A zip of the audio of clips, which is removed once it was sent."""
    folder = TemporaryDirectory(dir=parts.files.parts, prefix=".zip-")
    path = Path(folder.name) / "clips.zip"
    await asyncio.to_thread(_pack, parts, path, clips, format)
    return StoredFile(
        path, media_type="application/zip", filename=f"{name}.zip", background=BackgroundTask(folder.cleanup)
    )


def _pack(parts: Service, path: Path, clips: Sequence[sqlite3.Row], format: AudioFormat) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as packed:
        for number, row in enumerate(clips, start=1):
            source = parts.files.audio(row["id"])
            try:
                file = exported(parts.files, source, row["id"], info_of(row), Wanted(format=format))
            except Problem as problem:
                if problem.slug != "audio-dropped":
                    raise
                continue
            packed.write(file, f"{number:03d}-{file_name(row, format)}")
