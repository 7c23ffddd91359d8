"""Rows of the database as the objects of the protocol, and the queries that several parts share."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from descant.apps.server.ids import now
from descant.apps.server.problems import not_found

ENDED = ("succeeded", "failed", "cancelled")
FINISHED = ("ready", "partial", "cancelled", "failed")
LATER: Mapping[str, Any] = {"stride_s": None, "best_of": 1, "adapters": []}
"""Fields that the requests of jobs from earlier versions lack."""
WORDS = ("text", "title", "notes", "tags")


def clip_object(row: sqlite3.Row, made: Mapping[str, int] | None = None) -> dict[str, Any]:
    """A clip as in `docs/protocol.md`.

    Args:
        made: samples of the clips that are being made.
    """
    id, rate_hz = row["id"], row["sample_rate_hz"]
    num_samples = row["num_samples"] if made is None or id not in made else made[id]
    parent = {"clip_id": row["parent_id"], "at_s": row["parent_at_s"], "relation": row["relation"]}
    url = f"/v1/clips/{id}"
    return {
        "id": id,
        "job_id": row["job_id"],
        "index": row["place"],
        "state": row["state"],
        "problem": _loaded(row["problem"]),
        "text": row["text"],
        "title": row["title"],
        "seed": row["seed"],
        "model": row["model"],
        "asked_s": row["asked_s"],
        "duration_s": num_samples / rate_hz if rate_hz else 0.0,
        "sample_rate_hz": rate_hz,
        "channels": row["channels"],
        "tempo_bpm": row["tempo_bpm"],
        "key": row["musical_key"],
        "chords": row["chords"],
        "parent": parent if row["parent_id"] is not None else None,
        "measured": _loaded(row["measured"]),
        "favourite": bool(row["favourite"]),
        "rating": row["rating"],
        "tags": json.loads(row["tags"]),
        "notes": row["notes"],
        "audio_kept": bool(row["audio_kept"]),
        "audio_bytes": row["audio_bytes"],
        "version": row["version"],
        "created_at": row["created_at"],
        "finished_at": row["finished_at"],
        "trashed_at": row["trashed_at"],
        "urls": {
            "self": url,
            **{name: f"{url}/{name}" for name in ("stream", "audio", "midi", "peaks", "codes", "recipe")},
        },
    }


def job_object(row: sqlite3.Row, clips: Sequence[dict[str, Any]], queue: dict[str, Any] | None) -> dict[str, Any]:
    """A job as in `docs/protocol.md`."""
    url = f"/v1/jobs/{row['id']}"
    return {
        "id": row["id"],
        "state": row["state"],
        "queue": queue if row["state"] == "queued" else None,
        "request": request_of(row),
        "seeds": json.loads(row["seeds"]),
        "clips": list(clips),
        "attempt": row["attempt"],
        "problem": _loaded(row["problem"]),
        "label": row["label"],
        "created_at": row["created_at"],
        "started_at": row["started_at"],
        "finished_at": row["finished_at"],
        "urls": {"self": url, "events": f"{url}/events", "cancel": f"{url}/cancel"},
    }


def request_of(row: sqlite3.Row) -> dict[str, Any]:
    """The request of a job or a clip, with all fields."""
    return {**LATER, **json.loads(row["request"])}


def find(db: sqlite3.Connection, table: str, kind: str, id: str, owner: str) -> sqlite3.Row:
    """The row of a table with this identifier.

    Raises:
        Problem: there is none, or it is another owner's.
    """
    row = db.execute(f"SELECT * FROM {table} WHERE id = ? AND owner = ?", (id, owner)).fetchone()
    if row is None:
        raise not_found(kind, id)
    return row  # type: ignore[no-any-return]


def clips_of(db: sqlite3.Connection, job_id: str) -> list[sqlite3.Row]:
    """The clips of a job, in their order."""
    return db.execute("SELECT * FROM clips WHERE job_id = ? ORDER BY place", (job_id,)).fetchall()


def insert(db: sqlite3.Connection, table: str, values: Mapping[str, Any]) -> int:
    """Adds a row and gives its number."""
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    added = db.execute(f"INSERT INTO {table}({names}) VALUES ({marks})", tuple(values.values()))
    assert added.lastrowid is not None
    return added.lastrowid


def update_clip(db: sqlite3.Connection, clip_id: str, values: Mapping[str, Any]) -> sqlite3.Row:
    """Changes a clip, and gives its new row; the words that are searched follow."""
    _update(db, "clips", clip_id, {**values})
    db.execute("UPDATE clips SET version = version + 1 WHERE id = ?", (clip_id,))
    row = db.execute("SELECT * FROM clips WHERE id = ?", (clip_id,)).fetchone()
    if any(name in values for name in WORDS):
        index_words(db, row)
    return row  # type: ignore[no-any-return]


def update_job(db: sqlite3.Connection, job_id: str, values: Mapping[str, Any]) -> sqlite3.Row:
    """Changes a job, and gives its new row."""
    _update(db, "jobs", job_id, values)
    return db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()  # type: ignore[no-any-return]


def index_words(db: sqlite3.Connection, row: sqlite3.Row) -> None:
    """Makes the words of a clip searchable."""
    db.execute("DELETE FROM clip_words WHERE rowid = ?", (row["number"],))
    words = [row["text"], row["title"], row["notes"], " ".join(json.loads(row["tags"]))]
    db.execute(
        "INSERT INTO clip_words(rowid, text, title, notes, tags) VALUES (?, ?, ?, ?, ?)", (row["number"], *words)
    )


def delete_clip(db: sqlite3.Connection, row: sqlite3.Row) -> None:
    """Removes a clip and its words."""
    db.execute("DELETE FROM clip_words WHERE rowid = ?", (row["number"],))
    db.execute("DELETE FROM clips WHERE id = ?", (row["id"],))


def _update(db: sqlite3.Connection, table: str, id: str, values: Mapping[str, Any]) -> None:
    assignments = ", ".join(f"{name} = ?" for name in values)
    db.execute(f"UPDATE {table} SET {assignments} WHERE id = ?", (*values.values(), id))


def _loaded(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def note_heard(db: sqlite3.Connection, clip_id: str) -> None:
    """Somebody has listened to a clip: its audio is not among the first to be dropped."""
    db.execute("UPDATE clips SET heard_at = ? WHERE id = ?", (now(), clip_id))
