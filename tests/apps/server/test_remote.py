"""The command line as a client of a server: ``generate --server``."""

import asyncio
import json
import signal
import socket
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import soundfile

from descant.apps.cli.main import main
from descant.apps.cli.remote import WITHDRAWAL_S, withdrawn_on_error
from descant.apps.cli.termination import Terminated
from descant.apps.client import Client, ServerError, Submission
from tests.apps.server.conftest import serving, wait_for, wav
from tests.apps.server.paced_engine import RATE_HZ, pcm_of


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
