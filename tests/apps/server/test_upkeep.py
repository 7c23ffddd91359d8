"""The folder of a server: what it removes by itself, what it never touches, and what it does beside other work."""

import os
import shutil
import socket
import sqlite3
import threading
import time

from descant.apps.server import storage
from descant.apps.server.files import Files
from descant.apps.server.ids import new_id
from descant.apps.server.run import bound
from tests.apps.server.conftest import serving, wait_for

LONG_AGO = time.time() - 7 * 24 * 3_600


def put(path, *, is_old: bool = True):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"content")
    if is_old:
        os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def test_a_sweep_removes_orphans_and_no_file_that_is_not_the_servers(tmp_path):
    """It once removed adapters an hour after they were brought, and whatever else had such a name in the folder."""
    files = Files(tmp_path)
    kept_id, orphan_id, young_id, upload_id = (new_id(kind) for kind in ("clip", "clip", "clip", "upload"))
    stays = [
        put(tmp_path / "adapters" / "loud" / "adapter_config.json"),
        put(tmp_path / "adapters" / "loud" / "adapter_model.safetensors"),
        put(tmp_path / "my_song.wav"),
        put(tmp_path / "clips" / "ab" / "my_notes.txt"),
        put(files.audio(kept_id)),
        put(files.audio(young_id), is_old=False),
        put(files.part(kept_id)),
    ]
    goes = [
        put(files.audio(orphan_id)),
        put(files.codes(orphan_id)),
        put(files.upload(upload_id)),
        put(files.part(orphan_id), is_old=False),
    ]
    assert files.sweep({kept_id}, {kept_id}, set()) == len(goes)
    assert all(path.exists() for path in stays)
    assert not any(path.exists() for path in goes)


def test_the_cache_is_counted_and_cleared_while_files_are_written_to_it(tmp_path):
    """Folders of files that were being written once counted as cached files, and an end of one made requests fail."""
    files = Files(tmp_path)
    old = put(files.cached(new_id("clip"), "0" * 16, "wav"))
    in_use = put(files.cached(new_id("clip"), "1" * 16, "wav"), is_old=False)
    staging = tmp_path / "cache" / ".descant-0123456789abcdef.part"
    put(staging / "new")
    assert files.cache_bytes() == len(b"content") * 2
    assert files.clear_cache() == len(b"content")
    assert not old.exists()
    assert in_use.exists()
    assert (staging / "new").exists()
    shutil.rmtree(staging)

    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            put(files.cached(new_id("clip"), "2" * 16, "wav"), is_old=False).unlink()

    threads = [threading.Thread(target=churn) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(300):
            files.cache_bytes()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_server_that_could_not_tidy_up_once_does_so_the_next_time(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "TIDY_EVERY_S", 0.05)
    with serving(tmp_path, pace=50.0, limits={"trash_kept_s": 0.0}) as server:
        clip = server.clip(duration_s=0.5)
        write, failures = server.service.store.write, []

        async def full(work):
            failures.append(work)
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(server.service.store, "write", full)
        wait_for(lambda: failures)
        monkeypatch.setattr(server.service.store, "write", write)
        assert server.client.delete(clip["urls"]["self"]).status_code == 204
        wait_for(lambda: server.client.get(clip["urls"]["self"]).status_code == 404)


def test_a_secret_that_was_not_written_completely_is_made_again(tmp_path):
    """Sessions were once signed with nothing, so that everybody could sign them, after a crash at the wrong moment."""
    secret = put(tmp_path / "session.secret")
    secret.write_bytes(b"")
    with serving(tmp_path, pace=50.0):
        assert len(secret.read_bytes()) == 32


def test_answers_do_not_wait_for_the_clients_acknowledgement():
    """Each answer over a connection that stayed open once took 44 ms, of which the server worked half a millisecond."""
    with bound("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
