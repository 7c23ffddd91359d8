"""Uploads, requests that are sent twice, other dialects, and the command line as a client."""

import asyncio
import io
import json
import re
import signal
import socket
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import soundfile

from descant.apps.cli.main import main
from descant.apps.cli.remote import WITHDRAWAL_S, withdrawn_on_error
from descant.apps.cli.termination import Terminated
from descant.apps.client import Client, ServerError, Submission
from descant.apps.field_names import LIBRARY_NAMES, WIRE_NAMES, renamed
from tests.apps.server.conftest import serving, wait_for
from tests.apps.server.paced_engine import RATE_HZ, pcm_of


def wav(seconds: float = 1.0, rate_hz: int = 22_050, channels: int = 1) -> bytes:
    file = io.BytesIO()
    moments = np.arange(round(seconds * rate_hz)) / rate_hz
    soundfile.write(file, np.stack([0.3 * np.sin(2_000 * moments)] * channels, axis=1), rate_hz, format="WAV")
    return file.getvalue()


def send(server, content: bytes, name: str = "hum.wav", **headers: str):
    return server.client.post("/v1/uploads", files={"file": (name, content)}, headers=headers)


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


def test_music_in_the_style_of_openai(fast):
    asked = {"prompt": "x", "duration": 0.5, "seed": 4, "response_format": "flac"}
    answer = fast.client.post("/v1/audio/music", json=asked)
    assert soundfile.read(io.BytesIO(answer.content), dtype="int16")[0].tobytes() == pcm_of(4, [], RATE_HZ // 2)
    clip = fast.client.get(f"/v1/clips/{answer.headers['X-Descant-Clip']}").json()
    assert (clip["state"], clip["seed"]) == ("ready", 4)
    streamed = fast.client.post("/v1/audio/music", json={**asked, "response_format": "pcm", "stream": True})
    assert streamed.content == pcm_of(4, [], RATE_HZ // 2)
    refused = fast.client.post("/v1/audio/music", json={"prompt": "x", "lyrics": "la"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "lyrics")


@pytest.mark.parametrize(
    ("route", "body", "field"),
    [
        ("/v1/audio/music", {"prompt": "x", "duration": 400}, "duration"),
        ("/v1/audio/music", {"prompt": "x", "duration": 0}, "duration"),
        ("/v1/audio/music", {"prompt": "x", "guidance": -1}, "guidance"),
        ("/v1/audio/music", {"prompt": "x", "negative_prompt": "x" * 9_000}, "negative_prompt"),
        ("/v1/audio/music", {"prompt": "x\0"}, "prompt"),
        ("/v1/audio/music", {"input": "x\0", "stream": True}, "input"),
        ("/v1/audio/music", {"prompt": "text='x', duration_s=3 [refuse]"}, "prompt"),
        ("/models/paced", {"inputs": "x" * 9_000}, "inputs"),
        ("/models/paced", {"inputs": "x", "parameters": {"duration": 0}}, "parameters.duration"),
        ("/models/paced", {"inputs": "x", "parameters": {"guidance_scale": 101}}, "parameters.guidance_scale"),
        ("/models/paced", {"inputs": "x", "parameters": {"temperature": 0}}, "parameters.temperature"),
        ("/models/paced", {"inputs": "x", "parameters": {"top_k": -1}}, "parameters.top_k"),
        ("/models/paced", {"inputs": "x", "parameters": {"top_p": 2}}, "parameters.top_p"),
    ],
)
def test_errors_name_the_fields_of_the_dialect(fast, route, body, field):
    """Their sentences once named those of a job, such as duration_s, which the client had not sent."""
    answer = fast.client.post(route, json=body)
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert re.match(rf"{re.escape(field)}[:=]", problem["detail"])
    assert [one["pointer"] for one in problem["errors"]] == ["/" + field.replace(".", "/")]
    for sentence in (problem["detail"], problem["errors"][0]["detail"]):
        assert not re.search(r"duration_s|negative_text|guidance\.scale|sampling|greedy|\btext\b", sentence)
    if route == "/v1/audio/music":
        assert (problem["error"]["message"], problem["error"]["param"]) == (problem["detail"], field)


@pytest.mark.parametrize(
    ("message", "names", "said"),
    [
        ("timeline: it", WIRE_NAMES, "sections: it"),
        ("temperature=0: use greedy=True", WIRE_NAMES, "sampling.temperature=0: use sampling.greedy=True"),
        ("temperature=0: use greedy=True", {"greedy=True": "do_sample=false"}, "temperature=0: use do_sample=false"),
        ("top_k='top_p=1': its, or top_p=1", WIRE_NAMES, "sampling.top_k='top_p=1': its, or sampling.top_p=1"),
        ("loop.bars=3: at most 2", LIBRARY_NAMES, "loop_bars=3: at most 2"),
        ("the prompt: a timeline", WIRE_NAMES, "the prompt: a timeline"),
    ],
)
def test_fields_of_errors_are_renamed_and_what_users_wrote_stays(message, names, said):
    assert renamed(message, names) == said


def test_a_client_that_goes_away_ends_its_music(tmp_path):
    with serving(tmp_path, pace=1.0) as server:
        asked = {"prompt": "x", "duration": 60, "response_format": "pcm", "stream": True}
        with server.client.stream("POST", "/v1/audio/music", json=asked) as answer:
            next(answer.iter_bytes(100))
        clip = f"/v1/clips/{answer.headers['X-Descant-Clip']}"
        wait_for(lambda: server.client.get(clip).json()["state"] == "partial")
        assert server.client.get("/v1/server").json()["slots"]["busy"] == 0


def test_music_in_the_style_of_hosted_models(fast):
    asked = {"inputs": "x", "parameters": {"duration": 0.5, "seed": 4, "do_sample": False}}
    answer = fast.client.post("/models/paced", json=asked)
    assert soundfile.read(io.BytesIO(answer.content), dtype="int16")[0].tobytes() == pcm_of(4, [], RATE_HZ // 2)
    assert fast.client.post("/models/facebook/other", json=asked).status_code == 422


def test_the_command_line_has_its_music_made_by_a_server(fast, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = f"http://127.0.0.1:{fast.port}"
    words = ("generate", "a", "b", "-d", "0.5", "--seed", "3", "--count", "2", "--loudness", "off", "--json")
    assert main([*words, "-o", "out/", "--save-codes", "codes/", "--server", url]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["seeds"] == [3, 4, 3, 4]
    assert result["prompts"] == ["a", "a", "b", "b"]
    for file, seed in zip(result["files"], result["seeds"], strict=True):
        assert soundfile.read(file, dtype="int16")[0].tobytes() == pcm_of(seed, [], RATE_HZ // 2)
    assert len(result["codes_files"]) == 4
    (tmp_path / "hum.wav").write_bytes(wav())
    options = ("--melody", "hum.wav", "--adapter", "loud:0.5", "--stride", "5", "--hold-penalty", "1", "--best-of", "2")
    assert main(["generate", "c", "-d", "0.5", *options, "-o", "c.flac", "--server", url]) == 0
    asked = fast.client.get("/v1/jobs").json()["items"][0]["request"]
    assert (asked["adapters"], asked["stride_s"], asked["best_of"]) == ([{"name": "loud", "strength": 0.5}], 5, 2)
    assert asked["sampling"]["hold_penalty"] == 1
    assert soundfile.info("c.flac").frames == RATE_HZ // 2
    capsys.readouterr()
    assert main(["generate", "c [pace 0.2]", "[refuse]", "-d", "9", "-o", "out/", "--server", url]) == 2
    wait_for(lambda: fast.client.get("/v1/jobs").json()["items"][0]["state"] == "cancelled")
    assert main(["generate", "c", "--key", "H", "-o", "d.wav", "--server", url]) == 2
    assert main(["generate", "c", "-o", "d.wav", "--server", "http://127.0.0.1:9"]) == 75
    assert "cannot be reached" in capsys.readouterr().err
    assert main(["serve", "export", "all", "--data", str(fast.config.folder), "--format", "wav", "--json"]) == 0
    exported = json.loads(capsys.readouterr().out)["files"]
    assert len(exported) >= 4
    assert all(soundfile.info(file).frames for file in exported)
    recipes = [json.loads(path.read_text()) for path in (tmp_path / "all").glob("*.json")]
    assert len(recipes) == len(exported)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ("--model", "facebook/musicgen-small"),
            "this server has paced; start another with descant serve --model face",
        ),
        (("--model", "starter"), "this server has paced"),
        (("--device", "auto"), "--device: with --server it is the server's"),
        (("--precision", "int4"), "--precision: with --server it is the server's"),
        (("--threads", "3"), "--threads: with --server it is the server's"),
        (("--salvage",), "--salvage: the server does not read damaged files"),
        (("--text-guidance", "3"), "--text-guidance: it has an effect only with --style"),
        (("--melody-part", "mix"), "--melody-part: it has an effect only with --melody"),
        (("--beats-per-bar", "3"), "--beats-per-bar: it has an effect only with --loop"),
        (("--loop", "2", "-d", "3", "--tempo", "120"), "--loop: a loop is as long as its bars"),
        (("--loop", "0", "--tempo", "120"), "--loop: must be greater than or equal to 1"),
        (("--then", "nan b"), "--then: start_s must be a finite number"),
        (("--adapter", "../b"), "--adapter: name has characters that are not allowed here"),
        (("--adapter", "b:99"), "--adapter: strength must be less than or equal to 10"),
        (("--seed", "4294967295", "--count", "2", "-o", "out/"), "--seed 4294967295: 2 seeds are needed"),
        (("--guidance-at", "9:2"), "--guidance-at: second 9 is after the end of the music, which is 0.2 s long"),
        (("--top-k", "-1"), "--top-k -1: must be 1 or more"),
        (("--temperature", "0"), "for the likeliest code at every step use --greedy"),
        (("--guidance", "101"), "--guidance 101: must lie between 0 and 100"),
        (("--format", "aiff", "-o", "a.aiff"), "--format aiff: this server writes wav, flac, ogg, mp3, opus, m4a"),
    ],
)
def test_options_that_a_server_cannot_follow_are_refused(fast, tmp_path, capsys, monkeypatch, options, words):
    """They were once ignored: another model made the music, on another device."""
    monkeypatch.chdir(tmp_path)
    url = f"http://127.0.0.1:{fast.port}"
    length = () if {"-d", "--beats-per-bar", "--loop"} & set(options) else ("-d", "0.2")
    output = () if "-o" in options else ("-o", "a.wav")
    jobs = fast.client.get("/v1/jobs").json()["items"]
    assert main(["generate", "a", *length, *output, "--server", url, *options]) == 2
    error = capsys.readouterr().err
    assert (words in error, error.count("\n")) == (True, 1), error
    assert not list(tmp_path.iterdir())
    assert fast.client.get("/v1/jobs").json()["items"] == jobs


def test_a_file_that_a_server_cannot_use_is_named_with_its_option(fast, tmp_path, capsys, monkeypatch):
    """The message once named neither: "file: the file is text, not audio"."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("words")
    for option, file in (("--melody", "a.txt"), ("--continue", "a.txt"), ("--style", "none.wav")):
        words = ("generate", "a", option, file, "-o", "a.wav", "--server", f"http://127.0.0.1:{fast.port}")
        assert main(words) == 3
        assert f"descant: error: {option}: '{file}': " in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        "foo",
        "http://",
        "http://[a",
        "http://a:b",
        "http://a:99999",
        "http://a?b",
        "http://a#b",
        "http://a/b c",
        "http://a/é",
    ],
)
def test_an_address_that_no_server_has_is_refused(url, capsys):
    assert main(["generate", "a", "--server", url]) == 2
    assert "give an address such as http://127.0.0.1:8765" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["a\nb", "schlüssel", "€"])
def test_a_key_that_no_header_can_carry_is_refused(key, capsys, monkeypatch):
    monkeypatch.setenv("DESCANT_KEY", key)
    assert main(["generate", "a", "--server", "http://127.0.0.1:9"]) == 2
    assert "DESCANT_KEY: it has characters that no key has" in capsys.readouterr().err


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b"\xff\xfe\x00", b"{}", b'{"formats": 1}'])
def test_something_else_at_the_address_is_no_fault_of_ours(body, capsys):
    assert answered_by(b"HTTP/1.1 200 OK", body) == 2
    assert "its answer is not that of descant serve; check the address" in capsys.readouterr().err


def test_a_busy_proxy_may_name_a_time_of_day(tmp_path, capsys, monkeypatch):
    """Its Retry-After was once read as a number, which ended in a bug of ours."""
    monkeypatch.chdir(tmp_path)
    head = b"HTTP/1.1 429 x\r\nRetry-After: Wed, 21 Oct 2026 07:28:00 GMT"
    assert answered_by(head, b'{"detail": "the reason"}') == 75
    assert "the reason" in capsys.readouterr().err


def test_a_key_is_not_given_to_the_server_that_another_one_leads_to():
    """Any server that a client was sent to once got its key."""
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        received = []

        def answer(listening: socket.socket, head: bytes, body: bytes) -> None:
            connection, _ = listening.accept()
            received.append(connection.recv(2**16))
            connection.sendall(head + b"\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
            connection.close()

        place = f"http://127.0.0.1:{second.getsockname()[1]}/v1/server".encode()
        answers = ((first, b"HTTP/1.1 307 x\r\nLocation: " + place, b""), (second, b"HTTP/1.1 200 OK", b"{}"))
        threads = [threading.Thread(target=answer, args=one) for one in answers]
        for thread in threads:
            thread.start()
        assert Client(f"http://127.0.0.1:{first.getsockname()[1]}", "dsc_secret").get("/v1/server") == {}
        for thread in threads:
            thread.join()
    assert [b"dsc_secret" in request for request in received] == [True, False]


def test_music_that_is_made_is_written_also_where_other_music_fails(fast, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("generate", "a", "b [fail 0.2]", "c", "-d", "0.5", "--seed", "3", "-o", "out/")
    assert main([*words, "--server", f"http://127.0.0.1:{fast.port}"]) == 1
    assert sorted(path.name for path in Path("out").iterdir()) == ["0001-seed3-a.wav", "0003-seed3-c.wav"]
    assert "out/0003-seed3-c.wav" in capsys.readouterr().out


def test_an_interruption_is_one_also_where_the_server_has_gone(fast, tmp_path, capsys, monkeypatch):
    """What was told, with exit code 75, was that the job could not be cancelled."""

    def interrupted(client: Client, *_: object) -> None:
        monkeypatch.setattr(client, "_url", "http://127.0.0.1:9")
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "finished", interrupted)
    monkeypatch.chdir(tmp_path)
    words = ("generate", "a", "-d", "0.2", "-o", "a.wav", "--server", f"http://127.0.0.1:{fast.port}")
    assert main(words) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.usefixtures("capfdbinary")
@pytest.mark.parametrize(
    ("output", "ending", "code", "answering_s"),
    [
        (("-o", "a.wav"), KeyboardInterrupt(), 130, 1.0),
        (("-o", "a.wav"), Terminated(signal.SIGTERM), 143, 0.0),
        (("-o", "a.wav"), ConnectionResetError(), 75, 0.0),
        (("--stream", "-"), KeyboardInterrupt(), 130, 1.0),
    ],
)
def test_a_job_whose_answer_does_not_come_is_not_made_for_nobody(
    tmp_path, monkeypatch, output, ending, code, answering_s
):
    """Interrupted while its request was answered, the command once left the server to make an hour of music."""
    monkeypatch.chdir(tmp_path)

    def lose_answer(request: urllib.request.Request, timeout: float) -> object:
        if request.get_method() == "POST" and len(sent) == 0:
            sent.append(threading.Thread(target=lambda: urllib.request.urlopen(request, timeout=30).close()))
            sent[0].start()
            wait_for(lambda: has_come.is_set())
            raise ending
        return urllib.request.urlopen(request, timeout=timeout)

    with serving(tmp_path / "server", pace=1.0) as server:
        sent: list[threading.Thread] = []
        has_come = threading.Event()
        check = server.service.production.check

        async def check_slowly(*request: object) -> object:
            has_come.set()
            await asyncio.sleep(answering_s)
            return await check(*request)

        monkeypatch.setattr(server.service.production, "check", check_slowly)
        monkeypatch.setattr("descant.apps.client.urlopen", lose_answer)
        began = time.monotonic()
        assert main(["generate", "a", "-d", "60", *output, "--server", f"http://127.0.0.1:{server.port}"]) == code
        assert time.monotonic() - began < WITHDRAWAL_S + 5
        sent[0].join()
        (job,) = server.client.get("/v1/jobs").json()["items"]
        wait_for(lambda: server.job(job)["state"] == "cancelled")


def test_a_server_that_never_answers_holds_up_an_interruption_for_a_few_seconds_only(monkeypatch):
    monkeypatch.setattr("descant.apps.cli.remote.WITHDRAWAL_S", 0.5)
    submission = Submission({}, is_sent=True)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = Client(f"http://127.0.0.1:{listening.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt), withdrawn_on_error(client, [submission, submission]):
            raise KeyboardInterrupt
        assert 0.4 < time.monotonic() - began < 5


def test_the_model_of_the_server_can_be_asked_for_by_its_name(fast, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("generate", "a", "-d", "0.2", "-o", "a.wav", "--model", "paced")
    assert main([*words, "--server", f"http://127.0.0.1:{fast.port}"]) == 0


def test_the_command_line_says_what_a_server_has_chosen(fast, tmp_path, capfdbinary, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = f"http://127.0.0.1:{fast.port}"
    words = ("generate", "a [choose]", "-d", "0.6", "--server", url)
    assert main([*words, "-o", "a.wav"]) == 0
    assert b"chords Am F (chosen)\n" in capfdbinary.readouterr().err
    assert main([*words, "-o", "out/", "--count", "2", "--seed", "1"]) == 0
    assert b"0001-seed1-a-choose.wav: tempo 120 BPM (chosen), chords Am F (chosen)\n" in capfdbinary.readouterr().err
    assert main([*words, "--stream", "-"]) == 0
    assert b"chords Am F (chosen)\n" in capfdbinary.readouterr().err
    assert main([*words, "-o", "b.wav", "--chords", "C:0", "--tempo", "99"]) == 0
    assert b"chosen" not in capfdbinary.readouterr().err


def test_the_command_line_says_what_of_a_prompt_the_model_of_a_server_does_not_use(
    fast, tmp_path, capfdbinary, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    words = ("generate", "a 1000 bpm", "--then", "0.3 b in H minor", "-d", "0.6")
    for output in (("-o", "a.wav"), ("--stream", "-")):
        assert main([*words, "--server", f"http://127.0.0.1:{fast.port}", *output]) == 0
        said = capfdbinary.readouterr().err.decode()
        assert said.count("'a 1000 bpm': 1000 bpm is outside 30 to 300 and is not used") == 1
        assert said.count("'b in H minor': 'H minor' is not a key and is not used") == 1


@pytest.mark.parametrize(
    ("status", "code"), [(400, 2), (404, 2), (422, 2), (429, 75), (500, 1), (501, 2), (502, 75), (503, 75), (507, 75)]
)
def test_the_exit_code_says_whose_fault_it_is(tmp_path, capsys, monkeypatch, status, code):
    """A server that was not there was once called a bug of ours."""
    monkeypatch.chdir(tmp_path)
    assert answered_by(f"HTTP/1.1 {status} x".encode(), b'{"detail": "the reason"}') == code
    assert "the reason" in capsys.readouterr().err


def answered_by(status: bytes, body: bytes) -> int:
    """The exit code of ``generate --server`` where this is the answer to its first request."""

    def answer(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        connection.recv(2**16)
        head = status + f"\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        connection.sendall(head + body)
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        answering = threading.Thread(target=answer, args=(listening,))
        answering.start()
        code = main(["generate", "a", "--server", f"http://127.0.0.1:{listening.getsockname()[1]}"])
        answering.join()
    return code


def test_the_command_line_waits_where_the_queue_is_full(tmp_path, capsys, monkeypatch):
    """The seventeenth prompt of a command once ended it, while the server made the others for nobody."""
    monkeypatch.chdir(tmp_path)
    with serving(tmp_path / "server", pace=1.0, limits={"slots": 1, "queue_per_owner": 2}) as server:
        words = ("generate", *"abcdef", "-d", "1", "-o", "out/", "--json")
        assert main([*words, "--server", f"http://127.0.0.1:{server.port}"]) == 0
        assert json.loads(capsys.readouterr().out)["prompts"] == list("abcdef")


def test_a_stream_that_breaks_is_an_error_of_the_server():
    def answer(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        connection.recv(2**16)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n9\r\nhal")
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        answering = threading.Thread(target=answer, args=(listening,))
        answering.start()
        with pytest.raises(ServerError, match="cannot be reached"):
            Client(f"http://127.0.0.1:{listening.getsockname()[1]}").content("/v1/clips/x/stream")
        answering.join()


def test_an_upload_that_is_sent_again_is_kept_from_then_on(fast):
    """It once went away a day after it was first sent, also if it was sent again a minute before."""
    first = fast.client.post("/v1/uploads", files={"file": ("again.wav", wav(0.7))}).json()
    fast.service.store.write_now(
        lambda db: db.execute("UPDATE uploads SET created_at = '2020-01-01T00:00:00.000Z' WHERE id = ?", (first["id"],))
    )
    again = fast.client.post("/v1/uploads", files={"file": ("again.wav", wav(0.7))}).json()
    assert (again["id"], again["already_had"]) == (first["id"], True)
    assert again["expires_at"] >= first["expires_at"]


def test_every_exported_file_has_its_own_recipe_beside_it_however_often(tmp_path, capsys):
    """A second export, in another format, once wrote the recipe of ``a.wav`` as ``a-2.json``, and a third mixed all."""
    with serving(tmp_path / "data", pace=1_000.0) as server:
        clips = [server.clip(duration_s=0.2, seed=seed, text="same") for seed in (1, 2)]
        dropped = server.clip(duration_s=0.2, seed=3)
    (tmp_path / "data" / "clips").joinpath(*server.service.files.audio(dropped["id"]).parts[-2:]).unlink()
    files = []
    for format in ("flac", "wav", "flac", "wav"):
        words = ("serve", "export", str(tmp_path / "all"), "--data", str(tmp_path / "data"), "--format", format)
        assert main([*words, "--json"]) == 0, capsys.readouterr()
        files += [Path(file) for file in json.loads(capsys.readouterr().out)["files"]]
    assert len(set(files)) == 8
    assert {path.name for path in (tmp_path / "all").iterdir()} == {
        name for file in files for name in (file.name, f"{file.stem}.json")
    }
    assert len({file.stem for file in files}) == 8
    for number, file in enumerate(files):
        assert json.loads(file.with_suffix(".json").read_text())["clip_id"] == clips[number % 2]["id"]
        assert soundfile.read(file, dtype="int16")[0].tobytes() == pcm_of(number % 2 + 1, [], RATE_HZ // 5)
    assert not list((tmp_path / "data" / "cache").iterdir())


def test_keys_are_made_listed_and_revoked(tmp_path, capsys):
    data = ("--data", str(tmp_path), "--json")
    assert main(["serve", "keys", "add", "phone", "--scope", "read,listen", *data]) == 0
    token = json.loads(capsys.readouterr().out)["token"]
    assert main(["serve", "keys", "list", *data]) == 0
    listed = capsys.readouterr().out
    assert token not in listed
    assert json.loads(listed)["keys"][0]["scopes"] == ["read", "listen"]
    assert main(["serve", "keys", "add", "phone", *data]) == 2
    for scope in ("write", "", "read,"):
        assert main(["serve", "keys", "add", "tv", "--scope", scope, *data]) == 2
    assert main(["serve", "keys", "revoke", "phone", *data]) == 0
    assert main(["serve", "keys", "revoke", "phone", *data]) == 2


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 101, "\x1b[2J"])
def test_names_of_keys_can_be_shown_on_a_line(tmp_path, capsys, name):
    assert main(["serve", "keys", "add", name, "--data", str(tmp_path)]) == 2
    assert "NAME" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_scope_that_is_given_twice_is_one(tmp_path, capsys):
    assert main(["serve", "keys", "add", "phone", "--scope", "read,read", "--data", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scopes"] == ["read"]


GOOD_KEY = {"id": "key_1", "name": "a", "sha256": "0" * 64, "scopes": ["read"], "created_at": "2026-12-01T00:00:00Z"}


@pytest.mark.parametrize(
    "entry",
    [1, {}, *({**GOOD_KEY, **change} for change in (
        {"scopes": "read"}, {"scopes": ["all"]}, {"scopes": [["read"]]}, {"created_at": 3}, {"sha256": None},
        {"revoked_at": True}, {"more": 1},
    ))],
)  # fmt: skip
def test_a_file_that_holds_no_keys_is_one_line_and_stays(tmp_path, capsys, entry):
    """A number where a time should be was once called a bug of ours."""
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [GOOD_KEY, entry]}))
    before = file.read_bytes()
    for words in (["list"], ["add", "b"], ["revoke", "a"]):
        assert main(["serve", "keys", *words, "--keys", str(file)]) == 3
        assert "is not a file of keys" in capsys.readouterr().err
    assert file.read_bytes() == before
