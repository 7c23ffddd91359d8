"""Uploads, and requests that are sent twice."""

import io
import threading

import pytest
import soundfile

from tests.apps.server.conftest import send, serving, wav


def test_an_upload_is_stored_once_and_can_be_a_melody(fast):
    answer = send(fast, wav(1.5, channels=2), "../../hum é.wav")
    upload = answer.json()
    assert answer.status_code == 201
    assert (upload["duration_s"], upload["channels"], upload["name"]) == (1.5, 2, "hum é.wav")
    again = send(fast, wav(1.5, channels=2))
    assert (again.status_code, again.json()["id"], again.json()["already_had"]) == (200, upload["id"], True)
    samples, rate_hz = soundfile.read(io.BytesIO(fast.client.get(f"/v1/uploads/{upload['id']}/audio").content))
    assert (samples.shape, rate_hz) == ((33_075, 2), 22_050)
    assert fast.client.get(f"/v1/uploads/{upload['id']}/peaks").json()["length"] == 151
    made = fast.made(duration_s=0.2, melody={"upload_id": upload["id"], "start_s": 0.5, "end_s": 1.0})
    assert made["state"] == "succeeded"
    assert fast.client.get(f"/v1/uploads/{upload['id']}").json()["expires_at"] is None
    for second in (2, 1.5):
        beyond = fast.client.post("/v1/jobs", json={"melody": {"upload_id": upload["id"], "start_s": second}})
        assert beyond.json()["errors"][0]["pointer"] == "/melody"
        assert beyond.json()["detail"] == f"melody: it is 1.50 s long, and second {second:g} was asked for"
    assert fast.client.delete(f"/v1/uploads/{upload['id']}").status_code == 204
    assert fast.client.get(f"/v1/uploads/{upload['id']}").status_code == 404


def test_a_part_of_a_source_lies_within_it(fast):
    """What was asked for after the end of a melody was left out without a word."""
    melody = {"upload_id": send(fast, wav(2.0)).json()["id"]}
    assert fast.made(melody={**melody, "end_s": 2.0}, duration_s=0.2)["state"] == "succeeded"
    answer = fast.client.post("/v1/jobs", json={"melody": {**melody, "end_s": 2.1}})
    assert answer.json()["detail"] == "melody.end_s: it is 2.00 s long; null is its end"


def test_uploads_are_listed_the_newest_first_while_others_come_and_go(tmp_path):
    with serving(tmp_path) as server:
        assert server.client.get("/v1/uploads").json() == {"items": [], "next_cursor": None}
        ids = [send(server, wav(0.1 * count), f"{count}.wav").json()["id"] for count in (1, 2)]
        page = server.client.get("/v1/uploads", params={"limit": 1}).json()
        assert page["items"] == [server.client.get(f"/v1/uploads/{ids[1]}").json()]
        server.client.delete(f"/v1/uploads/{ids[1]}")
        send(server, wav(0.3), "late.wav")
        rest = server.client.get("/v1/uploads", params={"limit": 1, "cursor": page["next_cursor"]}).json()
        assert ([item["id"] for item in rest["items"]], rest["next_cursor"]) == ([ids[0]], None)
        assert [item["name"] for item in server.client.get("/v1/uploads").json()["items"]] == ["late.wav", "1.wav"]
        for wrong in ({"limit": 0}, {"limit": 201}, {"cursor": "soon"}):
            assert server.client.get("/v1/uploads", params=wrong).status_code == 422


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!doctype html><p>no", "HTML"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", ""),
        (b"", ""),
        (b"fLaC" + bytes(200), ""),
        (wav(601, rate_hz=1_000), "601"),
        (wav(1 / 22_050), "it is 4.5e-05 s long, too short to make anything from; send at least 0.02 s"),
        (wav(0.019), "at least 0.02 s"),
        (wav()[:20_000], "0.45 s can be read; send a file that is intact"),
    ],
    ids=["html", "header", "empty", "flac", "long", "one sample", "short", "cut"],
)
def test_what_is_no_usable_audio_is_refused_and_leaves_nothing(fast, content, words):
    answer = send(fast, content)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/bad-audio")
    assert words in answer.json()["detail"]
    assert str(fast.config.folder) not in answer.text
    assert not [path for path in (fast.config.folder / "parts").iterdir() if path.name.startswith(".upload")]


def test_the_shortest_upload_can_be_continued(fast):
    upload = send(fast, wav(0.02)).json()
    assert fast.made(duration_s=0.2, continue_from={"upload_id": upload["id"]})["state"] == "succeeded"


@pytest.mark.parametrize(
    ("parts", "status", "words"),
    [
        ({"files": {"foo": (None, "bar")}}, 400, "send exactly one part, called file"),
        ({"files": {"foo": ("a.wav", wav())}}, 422, "send exactly one part, called file"),
        ({"files": [("file", ("a.wav", wav()))] * 2}, 400, "send exactly one part, called file"),
        ({"files": {"file": ("a.wav", wav()), "title": (None, "x")}}, 400, "send exactly one part, called file"),
        (
            {"content": b"--", "headers": {"Content-Type": "multipart/form-data"}},
            400,
            "the form cannot be read: Missing boundary",
        ),
    ],
)
def test_what_is_wrong_with_a_form_is_said_in_plain_words(fast, parts, status, words):
    """A field too much was once answered with the framework's count of fields."""
    answer = fast.client.post("/v1/uploads", **parts)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (status, "/file")
    assert words in answer.json()["detail"]


def test_the_same_request_with_the_same_key_is_one_job(fast):
    headers = {"Idempotency-Key": "once"}
    first = fast.client.post("/v1/jobs", json={"text": "once", "duration_s": 0.1, "seed": 1}, headers=headers)
    again = fast.client.post("/v1/jobs", json={"text": "once", "seed": 1, "duration_s": 0.1}, headers=headers)
    assert (again.status_code, again.json()["id"]) == (first.status_code, first.json()["id"])
    assert again.headers["Idempotency-Replayed"] == "true"
    other = fast.client.post("/v1/jobs", json={"text": "other"}, headers=headers)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-mismatch")


def test_many_requests_with_one_key_at_once_are_one_job(fast):
    answers = []

    def ask() -> None:
        headers = {"Idempotency-Key": "many"}
        answers.append(fast.client.post("/v1/jobs", json={"text": "many", "duration_s": 0.1}, headers=headers))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
    assert len(fast.client.get("/v1/clips", params={"q": "many"}).json()["items"]) == 1


def test_an_upload_that_is_sent_again_is_kept_from_then_on(fast):
    """It once went away a day after it was first sent, also if it was sent again a minute before."""
    first = fast.client.post("/v1/uploads", files={"file": ("again.wav", wav(0.7))}).json()
    fast.service.store.write_now(
        lambda db: db.execute("UPDATE uploads SET created_at = '2020-01-01T00:00:00.000Z' WHERE id = ?", (first["id"],))
    )
    again = fast.client.post("/v1/uploads", files={"file": ("again.wav", wav(0.7))}).json()
    assert (again["id"], again["already_had"]) == (first["id"], True)
    assert again["expires_at"] >= first["expires_at"]
