"""Listening tests over HTTP. A key with the scope ``listen`` can take part and do nothing else."""

import asyncio
import json
import sqlite3
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from pydantic import Field, StringConstraints

from descant.apps.server import rows
from descant.apps.server.audio_out import Wanted, exported, require_audio
from descant.apps.server.auth import Listener, Maker, Reader
from descant.apps.server.ids import checked_id, new_id, now
from descant.apps.server.listening import Kind, Trial, is_answer, results, trials
from descant.apps.server.problems import at_fault, not_found
from descant.apps.server.routes.answers import IdempotencyKey, StoredFile, problems
from descant.apps.server.schemas import Given, TestObject
from descant.apps.server.service import Parts

router = APIRouter(prefix="/v1/listening-tests", tags=["listening tests"])

LOUDNESS_LUFS = -16.0
MOST_CLIPS = {"pairs": 8, "rating": 16}
Participant = Annotated[str, Query(min_length=1, max_length=80)]


class TestGiven(Given):
    """A new listening test."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    kind: Kind = "pairs"
    question: Annotated[str, StringConstraints(max_length=500)] = "Which do you prefer?"
    clip_ids: Annotated[list[Annotated[str, StringConstraints(max_length=60)]], Field(max_length=16)]


class AnswerGiven(Given):
    """An answer of a participant."""

    participant: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    trial: Annotated[int, Field(ge=0, le=1_000)]
    answer: str | int


@router.post("", status_code=201, response_model=TestObject, responses=problems(404, 409, 410, 413, 415, 422))
async def add_test(given: TestGiven, owner: Maker, parts: Parts, idempotency_key: IdempotencyKey = None) -> Response:
    """Adds a test."""
    fewest = 2 if given.kind == "pairs" else 1
    if not fewest <= len(set(given.clip_ids)) == len(given.clip_ids) <= MOST_CLIPS[given.kind]:
        raise at_fault("/clip_ids", f"{fewest} to {MOST_CLIPS[given.kind]} different clips")

    def add(db: sqlite3.Connection) -> dict[str, Any]:
        for clip_id in given.clip_ids:
            require_audio(rows.find(db, "clips", "clip", checked_id("clip", clip_id), owner.id))
        values = {**given.model_dump(), "clip_ids": json.dumps(given.clip_ids)}
        values |= {"id": new_id("listening test"), "owner": owner.id, "created_at": now()}
        rows.insert(db, "tests", values)
        return _object(rows.find(db, "tests", "listening test", values["id"], owner.id))

    async def act() -> Response:
        added = await parts.store.write(add)
        parts.hub.publish_list("listening-tests", owner.id)
        return JSONResponse(added, 201)

    return await parts.idempotency.once(owner.id, "listening-tests", idempotency_key, given.model_dump(), act)


@router.get("", responses=problems())
async def list_tests(owner: Reader, parts: Parts) -> dict[str, Any]:
    """The owner's tests, the newest first."""
    found = await parts.store.read(
        lambda db: db.execute("SELECT * FROM tests WHERE owner = ? ORDER BY number DESC", (owner.id,)).fetchall()
    )
    return {"items": [_object(row) for row in found], "next_cursor": None}


@router.get("/{id}", response_model=TestObject, responses=problems(404))
async def get_test(id: str, owner: Reader, parts: Parts) -> dict[str, Any]:
    """A test as its owner sees it."""
    test_id = checked_id("listening test", id)
    return _object(await parts.store.read(lambda db: rows.find(db, "tests", "listening test", test_id, owner.id)))


@router.delete("/{id}", status_code=204, response_class=Response, responses=problems(404))
async def delete_test(id: str, owner: Maker, parts: Parts) -> None:
    """Removes a test and its answers."""
    test_id = checked_id("listening test", id)

    def remove(db: sqlite3.Connection) -> None:
        rows.find(db, "tests", "listening test", test_id, owner.id)
        db.execute("DELETE FROM tests WHERE id = ?", (test_id,))

    await parts.store.write(remove)
    parts.hub.publish_list("listening-tests", owner.id)


@router.get("/{id}/trials", responses=problems(404, 422))
async def test_trials(id: str, participant: Participant, listener: Listener, parts: Parts) -> dict[str, Any]:
    """What a participant is to judge; which clip is which stays unsaid."""
    del listener

    def find(db: sqlite3.Connection) -> tuple[sqlite3.Row, dict[int, Any]]:
        row = _test(db, id)
        query = "SELECT trial, answer FROM answers WHERE test_id = ? AND participant = ?"
        given = {one["trial"]: json.loads(one["answer"]) for one in db.execute(query, (row["id"], participant))}
        return row, given

    row, given = await parts.store.read(find)
    items = [
        {"trial": trial.number, "letters": list(trial.letters), "answer": given.get(trial.number)}
        for trial in _trials(row, participant)
    ]
    test = {name: row[name] for name in ("id", "name", "kind", "question")}
    return {"test": test, "participant": participant, "items": items}


@router.get("/{id}/trials/{n}/{letter}/audio", response_class=StoredFile, responses=problems(404, 409, 410, 416, 422))
async def trial_audio(
    id: str, n: int, letter: str, participant: Participant, listener: Listener, parts: Parts
) -> Response:
    """A clip of a trial, all at the same loudness, without a name."""
    del listener
    test = await parts.store.read(lambda db: _test(db, id))
    trial = next((one for one in _trials(test, participant) if one.number == n), None)
    if trial is None or letter not in trial.letters:
        raise not_found("clip of this test", f"{n}/{letter}")
    clip_id = trial.clip_ids[trial.letters.index(letter)]
    row = await parts.store.read(lambda db: rows.find(db, "clips", "clip", clip_id, test["owner"]))
    require_audio(row)
    wanted = Wanted(loudness_lufs=LOUDNESS_LUFS, is_anonymous=True)
    path = await asyncio.to_thread(exported, parts.files, parts.files.audio(clip_id), clip_id, {}, wanted)
    # Neither a name nor an ETag, which would be the same in another trial.
    return StoredFile(path, media_type="audio/wav", headers={"Cache-Control": "no-store", "ETag": f'"{n}{letter}"'})


@router.post("/{id}/answers", status_code=204, response_class=Response, responses=problems(404, 413, 415, 422))
async def add_answer(id: str, given: AnswerGiven, listener: Listener, parts: Parts) -> None:
    """Keeps an answer; the last one to a trial counts."""
    del listener

    def keep(db: sqlite3.Connection) -> str:
        row = _test(db, id)
        if given.trial not in {trial.number for trial in _trials(row, given.participant)}:
            raise at_fault("/trial", "this test has no such trial", got=given.trial)
        if not is_answer(row["kind"], given.answer):
            allowed = "a, b or same" if row["kind"] == "pairs" else "a whole number from 1 to 5"
            raise at_fault("/answer", f"must be {allowed}")
        values = (row["id"], given.participant, given.trial, json.dumps(given.answer), now())
        db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", values)
        return str(row["owner"])

    parts.hub.publish_list("listening-tests", await parts.store.write(keep))


@router.get("/{id}/results", responses=problems(404))
async def test_results(id: str, owner: Reader, parts: Parts) -> dict[str, Any]:
    """What the answers say."""
    test_id = checked_id("listening test", id)

    def find(db: sqlite3.Connection) -> tuple[sqlite3.Row, list[tuple[str, int, Any]]]:
        row = rows.find(db, "tests", "listening test", test_id, owner.id)
        found = db.execute("SELECT * FROM answers WHERE test_id = ? ORDER BY participant, trial", (test_id,))
        return row, [(one["participant"], one["trial"], json.loads(one["answer"])) for one in found]

    row, answers = await parts.store.read(find)
    return results(row["kind"], json.loads(row["clip_ids"]), row["id"], answers)


def _test(db: sqlite3.Connection, id: str) -> sqlite3.Row:
    """A test for a participant, whoever its owner is: its name is all that is needed to take part."""
    row = db.execute("SELECT * FROM tests WHERE id = ?", (checked_id("listening test", id),)).fetchone()
    if row is None:
        raise not_found("listening test", id)
    return row  # type: ignore[no-any-return]


def _trials(row: sqlite3.Row, participant: str) -> list[Trial]:
    return trials(row["kind"], json.loads(row["clip_ids"]), row["id"], participant)


def _object(row: sqlite3.Row) -> dict[str, Any]:
    values = {name: row[name] for name in ("id", "name", "kind", "question", "created_at")}
    return {**values, "clip_ids": json.loads(row["clip_ids"])}
