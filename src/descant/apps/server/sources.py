"""The clips and uploads that a job is made from."""

import sqlite3
from collections.abc import Mapping
from typing import Any

import torch

from descant.apps.server import rows
from descant.apps.server.files import Files
from descant.apps.server.ids import checked_id, now
from descant.apps.server.problems import Problem, at_fault
from descant.checkpoints.codes import load_codes
from descant.generation.request import END_TOLERANCE_S

RELATIONS = {"continue_from": "continue", "melody": "melody", "style": "style"}
"""What a clip is to its source, by the field that names it; of several the first counts."""


def check_sources(db: sqlite3.Connection, job: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Checks that the sources of a job are there, and gives the columns that say where its clips come from.

    Raises:
        Problem: one is not there, or has no audio.
    """
    parents: list[dict[str, Any]] = []
    for name, relation in RELATIONS.items():
        source = job[name]
        if source is None:
            continue
        row = _row_of(db, source, name, owner)
        if source["clip_id"] is not None:
            at_s = source["at_s"] if name == "continue_from" else source["start_s"]
            parents.append({"parent_id": row["id"], "parent_at_s": at_s, "relation": relation})
        length_s = row["num_samples"] / row["sample_rate_hz"]
        limit_s = source.get("at_s") or source.get("start_s", 0.0)
        # Up to the last sample can be continued, and nothing begins after it.
        if limit_s > length_s or (name != "continue_from" and limit_s == length_s):
            raise _at(f"{name}", f"it is {length_s:.2f} s long, and second {limit_s:g} was asked for")
        end_s = source.get("end_s")
        if end_s is not None and end_s > length_s + END_TOLERANCE_S:
            raise at_fault(f"/{name}/end_s", f"it is {length_s:.2f} s long; null is its end", got=end_s)
        if name == "continue_from" and source["at_s"] is None and length_s >= job["duration_s"]:
            raise _at("duration_s", f"it includes the {length_s:.2f} s that are continued; ask for more")
    if job["relation"] is not None:
        related = _found(db, "clips", "clip", job["relation"]["clip_id"], owner, "/relation/clip_id")
        parents.append({"parent_id": related["id"], "parent_at_s": None, "relation": job["relation"]["kind"]})
    return parents[0] if parents else {}


def note_used(db: sqlite3.Connection, job: Mapping[str, Any]) -> None:
    """Keeps the uploads of a job beyond their time."""
    for source in (job[name] for name in RELATIONS):
        if source is not None and source["upload_id"] is not None:
            db.execute("UPDATE uploads SET used_at = ? WHERE id = ?", (now(), source["upload_id"]))


def load_sources(
    db: sqlite3.Connection, files: Files, request: Mapping[str, Any], owner: str
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Which parts of its sources a request uses, and their files.

    Raises:
        Problem: a source is gone.
    """
    used: dict[str, Any] = {}
    payloads: dict[str, bytes] = {}
    for name in RELATIONS:
        source = request[name]
        if source is None:
            continue
        found = _row_of(db, source, name, owner)
        as_sent = "prompt" if name == "continue_from" else name
        path = files.audio(found["id"]) if source["clip_id"] is not None else files.upload(found["id"])
        payloads[as_sent] = path.read_bytes()
        if name == "continue_from":
            used[as_sent] = {"at_s": source["at_s"]}
            if source["clip_id"] is not None and found["codes_bytes"]:
                payloads |= _codes(files, found)
        else:
            used[as_sent] = {"start_s": source["start_s"], "end_s": source["end_s"]}
    return used, payloads


def _codes(files: Files, clip: sqlite3.Row) -> dict[str, bytes]:
    """The codes of a clip, if they are those of its audio alone: a loop's begin with the bar before it."""
    codes, header = load_codes(files.codes(clip["id"]))
    if header.num_samples != clip["num_samples"]:
        return {}
    return {"prompt_codes": codes.to(torch.int32).contiguous().numpy().tobytes()}


def _row_of(db: sqlite3.Connection, source: Mapping[str, Any], name: str, owner: str) -> sqlite3.Row:
    if source["upload_id"] is not None:
        return _found(db, "uploads", "upload", source["upload_id"], owner, f"/{name}/upload_id")
    clip = _found(db, "clips", "clip", source["clip_id"], owner, f"/{name}/clip_id")
    if clip["state"] not in ("ready", "partial"):
        raise _at(name, f"clip {clip['id']} is {clip['state']}; use one that is ready")
    if not clip["audio_kept"]:
        raise Problem("audio-dropped", f"{name}: the audio of clip {clip['id']} was dropped; make it again first")
    return clip


def _found(db: sqlite3.Connection, table: str, kind: str, id: str, owner: str, pointer: str) -> sqlite3.Row:
    """The row that a field of a request names."""
    try:
        return rows.find(db, table, kind, checked_id(kind, id), owner)
    except Problem as problem:
        raise at_fault(pointer, problem.detail, problem.slug) from problem


def _at(name: str, detail: str) -> Problem:
    return at_fault(f"/{name}", detail)
