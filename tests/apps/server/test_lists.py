"""Collections, presets, uploads and listening tests: whoever has such a list open hears of every change of it."""

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from descant.apps.server import storage
from descant.apps.server.ids import new_id
from tests.apps.server.conftest import Running, send, serving, wav


class Heard:
    """The events of a server, read one after the other."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines

    def next(self, kind: str) -> dict:
        """The data of the next event of this kind."""
        for line in self._lines:
            if line == f"event: {kind}":
                return json.loads(next(self._lines).removeprefix("data: "))
        raise AssertionError(f"the stream ended without {kind}")


@contextmanager
def listening(server: Running) -> Iterator[Heard]:
    with server.client.stream("GET", "/v1/events") as answer:
        lines = answer.iter_lines()
        assert next(lines) == ": hello"
        yield Heard(lines)


def test_every_change_of_a_list_is_an_event(fast):
    clip = fast.clip(duration_s=0.2)
    with listening(fast) as heard, httpx.Client(base_url=fast.client.base_url, timeout=30) as client:

        def told(list_name: str, answer: httpx.Response) -> dict:
            assert answer.is_success, answer.text
            assert heard.next("list.changed") == {"list": list_name}
            return answer.json() if answer.content else {}

        made = told("collections", client.post("/v1/collections", json={"name": "Scene"}))
        told("collections", client.patch(f"/v1/collections/{made['id']}", json={"clip_ids": [clip["id"]]}))
        told("collections", client.delete(f"/v1/collections/{made['id']}"))

        told("presets", client.put("/v1/presets/lo-fi", json={"request": {"text": "piano"}}))
        told("presets", client.delete("/v1/presets/lo-fi"))

        sent = told("uploads", send(fast, wav()))
        told("uploads", send(fast, wav()))  # is the first one now, and is kept for longer
        told("uploads", client.delete(f"/v1/uploads/{sent['id']}"))

        given = {"name": "one", "kind": "rating", "clip_ids": [clip["id"]]}
        url = f"/v1/listening-tests/{told('listening-tests', client.post('/v1/listening-tests', json=given))['id']}"
        told("listening-tests", client.post(f"{url}/answers", json={"participant": "ann", "trial": 0, "answer": 4}))
        told("listening-tests", client.delete(url))

        assert client.delete("/v1/presets/never").status_code == 404
        assert client.patch(f"/v1/collections/{new_id('collection')}", json={"name": "a"}).status_code == 404
        client.put("/v1/presets/last", json={"request": {}})
        assert heard.next("list.changed") == {"list": "presets"}, "what was refused is no change"


def test_what_a_server_removes_by_itself_is_told_too(tmp_path, monkeypatch):
    """Clips that left the trash after their time stayed on the page, and so did uploads."""
    monkeypatch.setattr(storage, "TIDY_EVERY_S", 0.2)
    with serving(tmp_path, pace=50.0, limits={"trash_kept_s": 0.0, "upload_kept_s": 0.0}) as server:
        clip = server.clip(duration_s=0.2)
        with listening(server) as heard, httpx.Client(base_url=server.client.base_url, timeout=30) as client:
            client.delete(clip["urls"]["self"])
            assert heard.next("clip.deleted") == {"clip_id": clip["id"]}
            client.post("/v1/uploads", files={"file": ("hum.wav", wav())})
            for _ in ("sent", "removed"):
                assert heard.next("list.changed") == {"list": "uploads"}
            assert client.get("/v1/uploads").json()["items"] == []


def test_clips_come_as_one_archive_in_the_order_asked_for_and_leave_no_collection(fast):
    """The page made a collection for every archive of chosen clips."""
    clips = [fast.clip(duration_s=0.2, text=text) for text in ("one", "two", "three")]
    before = fast.client.get("/v1/collections").json()
    wanted = [clips[2]["id"], clips[0]["id"], clips[2]["id"]]
    answer = fast.client.get("/v1/archive", params={"clip_id": wanted, "format": "flac"})
    names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert [name.split("-")[0] for name in names] == ["001", "002"]
    assert ["three" in names[0], "one" in names[1]] == [True, True]
    assert all(name.endswith(".flac") for name in names)
    assert fast.client.get("/v1/collections").json() == before
    for refused, status in (([], 422), (["odd"], 404), ([new_id("clip")], 404), ([clips[0]["id"]] * 501, 422)):
        assert fast.client.get("/v1/archive", params={"clip_id": refused}).status_code == status
