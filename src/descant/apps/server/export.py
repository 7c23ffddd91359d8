"""Everything that a server keeps, as files that people understand."""

import json
from pathlib import Path

from descant.apps.server.audio_out import AudioFormat, Wanted, audio_file, file_name, info_of
from descant.apps.server.files import Files
from descant.apps.server.problems import Problem
from descant.apps.server.store import NAME, Store
from descant.atomic import write_new
from descant.errors import DataError


def export(folder: Path, target: Path, format: AudioFormat) -> list[Path]:
    """Writes every clip that has audio, and its recipe under the same name; gives the audio files. Nothing is replaced.

    Raises:
        DataError: there is no server's folder.
    """
    if not (folder / NAME).is_file():
        raise DataError(f"{str(folder)!r}: descant serve has kept nothing here; give its --data DIR")
    target.mkdir(parents=True, exist_ok=True)
    files, store = Files(folder), Store(folder)
    try:
        query = "SELECT * FROM clips WHERE audio_kept AND trashed_at IS NULL ORDER BY number"
        clips = store.write_now(lambda db: db.execute(query).fetchall())
    finally:
        store.close()
    written = []
    for row in clips:
        try:
            audio = audio_file(files.audio(row["id"]), row["id"], info_of(row), Wanted(format=format))
        except Problem as problem:
            if problem.slug != "audio-dropped":  # by a server that needs room meanwhile
                raise
            continue
        path = target / file_name(row, format)
        recipe = {"recipe": 1, "request": json.loads(row["request"]), "clip_id": row["id"], "title": row["title"]}
        recipe |= {"tags": json.loads(row["tags"]), "notes": row["notes"], "created_at": row["created_at"]}
        content = (json.dumps(recipe, indent=2, ensure_ascii=False) + "\n").encode()
        # First, so that it reserves the name also for an export in another format at the same time.
        beside = write_new(path.with_suffix(".json"), content, [path])
        try:
            written.append(write_new(beside.with_suffix(path.suffix), audio))
        except BaseException:
            beside.unlink()
            raise
    return written
