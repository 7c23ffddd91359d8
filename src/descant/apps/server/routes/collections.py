"""Collections of clips, and presets of requests."""

import json
import sqlite3
from typing import Annotated, Any

from fastapi import APIRouter, Response
from fastapi import Path as PathField
from fastapi.responses import JSONResponse
from pydantic import Field, StringConstraints

from descant.apps.server import rows
from descant.apps.server.auth import Maker, Reader
from descant.apps.server.ids import checked_id, new_id, now
from descant.apps.server.problems import not_found
from descant.apps.server.routes.answers import IdempotencyKey, problems
from descant.apps.server.schemas import CollectionObject, Given, JobRequest
from descant.apps.server.service import Parts

router = APIRouter(tags=["collections"])

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
ClipIds = Annotated[list[Annotated[str, StringConstraints(max_length=60)]], Field(max_length=1_000)]
PresetName = Annotated[str, PathField(min_length=1, max_length=100)]


class CollectionGiven(Given):
    """A new collection."""

    name: Name
    clip_ids: ClipIds = Field(default_factory=list)


class CollectionChanges(Given):
    """What may be changed of a collection."""

    name: Name | None = None
    clip_ids: ClipIds | None = None


class PresetGiven(Given):
    """A preset: a request, of which most may be left out."""

    request: JobRequest


@router.get("/v1/collections", responses=problems())
async def list_collections(owner: Reader, parts: Parts) -> dict[str, Any]:
    """The owner's collections, the newest first."""

    def find(db: sqlite3.Connection) -> list[dict[str, Any]]:
        found = db.execute("SELECT * FROM collections WHERE owner = ? ORDER BY number DESC", (owner.id,)).fetchall()
        return [_object(db, row) for row in found]

    return {"items": await parts.store.read(find), "next_cursor": None}


@router.post(
    "/v1/collections", status_code=201, response_model=CollectionObject, responses=problems(404, 409, 413, 415, 422)
)
async def add_collection(
    given: CollectionGiven, owner: Maker, parts: Parts, idempotency_key: IdempotencyKey = None
) -> Response:
    """Adds a collection."""

    def add(db: sqlite3.Connection) -> dict[str, Any]:
        values = {"id": new_id("collection"), "owner": owner.id, "name": given.name, "created_at": now()}
        rows.insert(db, "collections", values)
        _put_clips(db, values["id"], given.clip_ids, owner.id)
        return _object(db, rows.find(db, "collections", "collection", values["id"], owner.id))

    async def act() -> Response:
        added = await parts.store.write(add)
        parts.hub.publish_list("collections", owner.id)
        return JSONResponse(added, 201)

    return await parts.idempotency.once(owner.id, "collections", idempotency_key, given.model_dump(), act)


@router.get("/v1/collections/{id}", response_model=CollectionObject, responses=problems(404))
async def get_collection(id: str, owner: Reader, parts: Parts) -> dict[str, Any]:
    """A collection."""
    collection_id = checked_id("collection", id)
    return await parts.store.read(
        lambda db: _object(db, rows.find(db, "collections", "collection", collection_id, owner.id))
    )


@router.patch("/v1/collections/{id}", response_model=CollectionObject, responses=problems(404, 413, 415, 422))
async def change_collection(id: str, changes: CollectionChanges, owner: Maker, parts: Parts) -> dict[str, Any]:
    """Changes the name or the clips of a collection."""
    collection_id = checked_id("collection", id)

    def change(db: sqlite3.Connection) -> dict[str, Any]:
        rows.find(db, "collections", "collection", collection_id, owner.id)
        if changes.name is not None:
            db.execute("UPDATE collections SET name = ? WHERE id = ?", (changes.name, collection_id))
        if changes.clip_ids is not None:
            _put_clips(db, collection_id, changes.clip_ids, owner.id)
        return _object(db, rows.find(db, "collections", "collection", collection_id, owner.id))

    changed = await parts.store.write(change)
    parts.hub.publish_list("collections", owner.id)
    return changed


@router.delete("/v1/collections/{id}", status_code=204, response_class=Response, responses=problems(404))
async def delete_collection(id: str, owner: Maker, parts: Parts) -> None:
    """Removes a collection; its clips stay."""
    collection_id = checked_id("collection", id)

    def remove(db: sqlite3.Connection) -> None:
        rows.find(db, "collections", "collection", collection_id, owner.id)
        db.execute("DELETE FROM collections WHERE id = ?", (collection_id,))

    await parts.store.write(remove)
    parts.hub.publish_list("collections", owner.id)


@router.get("/v1/presets", tags=["presets"], responses=problems())
async def list_presets(owner: Reader, parts: Parts) -> dict[str, Any]:
    """The owner's presets, by name."""
    found = await parts.store.read(
        lambda db: db.execute("SELECT * FROM presets WHERE owner = ? ORDER BY name", (owner.id,)).fetchall()
    )
    items = [{"name": row["name"], "request": json.loads(row["request"])} for row in found]
    return {"items": items, "next_cursor": None}


@router.put("/v1/presets/{name}", tags=["presets"], responses=problems(413, 415, 422))
async def put_preset(name: PresetName, given: PresetGiven, owner: Maker, parts: Parts) -> dict[str, Any]:
    """Keeps a preset under this name."""
    request = given.request.model_dump(mode="json", exclude_unset=True)
    values = (owner.id, name, json.dumps(request))
    await parts.store.write(lambda db: db.execute("INSERT OR REPLACE INTO presets VALUES (?, ?, ?)", values))
    parts.hub.publish_list("presets", owner.id)
    return {"name": name, "request": request}


@router.delete(
    "/v1/presets/{name}", tags=["presets"], status_code=204, response_class=Response, responses=problems(404)
)
async def delete_preset(name: PresetName, owner: Maker, parts: Parts) -> None:
    """Removes a preset."""
    removed = await parts.store.write(
        lambda db: db.execute("DELETE FROM presets WHERE owner = ? AND name = ?", (owner.id, name)).rowcount
    )
    if not removed:
        raise not_found("preset", name)
    parts.hub.publish_list("presets", owner.id)


def _put_clips(db: sqlite3.Connection, collection_id: str, clip_ids: list[str], owner: str) -> None:
    for clip_id in clip_ids:
        rows.find(db, "clips", "clip", checked_id("clip", clip_id), owner)
    db.execute("DELETE FROM collection_clips WHERE collection_id = ?", (collection_id,))
    for place, clip_id in enumerate(dict.fromkeys(clip_ids)):
        db.execute("INSERT INTO collection_clips VALUES (?, ?, ?)", (collection_id, clip_id, place))


def _object(db: sqlite3.Connection, row: sqlite3.Row) -> dict[str, Any]:
    query = "SELECT clip_id FROM collection_clips WHERE collection_id = ? ORDER BY place"
    clip_ids = [clip["clip_id"] for clip in db.execute(query, (row["id"],))]
    return {"id": row["id"], "name": row["name"], "clip_ids": clip_ids, "created_at": row["created_at"]}
