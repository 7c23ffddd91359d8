"""Music for programs that speak other dialects, whose errors name the fields of theirs."""

import io
import re

import pytest
import soundfile

from descant.apps.field_names import LIBRARY_NAMES, WIRE_NAMES, renamed
from tests.apps.server.conftest import serving, wait_for
from tests.apps.server.paced_engine import RATE_HZ, pcm_of


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
