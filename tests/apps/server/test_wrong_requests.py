"""Requests that are wrong are refused, and the answer names the field and says what is wrong with it."""

import pytest

from tests.apps.server.conftest import serving

JOBS, CLIPS = "/v1/jobs", "/v1/clips/clip_1111111111111111111111"


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "Infinity"])
@pytest.mark.parametrize(
    ("method", "route", "body", "pointer"),
    [
        ("POST", JOBS, '{"duration_s": %s}', "/duration_s"),
        ("POST", JOBS, '{"seed": %s}', "/seed"),
        ("POST", JOBS, '{"tempo": %s}', "/tempo"),
        ("POST", JOBS, '{"sampling": {"top_p": %s}}', "/sampling/top_p"),
        ("POST", JOBS, '{"guidance": {"schedule": [[0, 1], [2, %s]]}}', "/guidance/schedule/1/1"),
        ("POST", JOBS, '{"sections": [{"text": "x", "start_s": %s}]}', "/sections/0/start_s"),
        ("POST", JOBS, '{"text": %s}', "/text"),
        ("POST", JOBS, '{"analyse": %s}', "/analyse"),
        ("POST", JOBS, "%s", "/"),
        ("PATCH", CLIPS, '{"rating": %s}', "/rating"),
        (
            "PATCH",
            f"{JOBS}/job_1111111111111111111111",
            '{"sections": [{"text": "", "start_s": %s}]}',
            "/sections/0/start_s",
        ),
        ("PUT", "/v1/presets/x", '{"request": {"stride_s": %s}}', "/request/stride_s"),
        ("POST", "/v1/recipes/check", '{"recipe": %s, "request": {}}', "/recipe"),
        ("POST", "/v1/audio/music", '{"prompt": "x", "duration": %s}', "/duration"),
        ("POST", "/v1/audio/music", '{"prompt": "x", "steps": %s}', "/steps"),
        ("POST", "/models/paced", '{"inputs": "x", "parameters": {"temperature": %s}}', "/parameters/temperature"),
    ],
)
def test_a_number_that_is_not_finite_is_refused_and_named(fast, method, route, body, pointer, number):
    """The problem once repeated it, which JSON cannot: the answer was status 500."""
    answer = fast.client.request(
        method, route, content=body % number, headers={"Content-Type": "application/json", "If-Match": '"1"'}
    )
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("name", ["start_s", "end_s", "loudness_lufs"])
@pytest.mark.parametrize("number", ["1e400", "nan", "inf", "-inf"])
def test_a_parameter_that_is_not_finite_is_refused_and_named(fast, name, number):
    clip = fast.clip(duration_s=0.1)
    answer = fast.client.get(clip["urls"]["audio"], params={name: number})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/{name}")
    assert answer.json()["detail"] == f"{name}: must be a finite number"


@pytest.mark.parametrize(
    ("body", "status", "detail", "pointer"),
    [
        ('{"text":', 400, "the body is not JSON: Expecting value at character 9", "/"),
        ("", 422, "the body must be a JSON object", "/"),
        ("[]", 422, "the body must be a JSON object", "/"),
        ("7", 422, "the body must be a JSON object", "/"),
        ('{"loop": []}', 422, "loop: must be a JSON object", "/loop"),
        ('{"sections": 1}', 422, "sections: must be a list", "/sections"),
        ('{"sections": [{"text": "x"}]}', 422, "sections.0.start_s: is needed", "/sections/0/start_s"),
        ('{"speed": 2}', 422, "speed: there is no such field; leave it out", "/speed"),
        (
            '{"guidance": {"schedule": [[5]]}}',
            422,
            "guidance.schedule.0: must have at least 2 items, not 1",
            "/guidance/schedule/0",
        ),
        (f'{{"label": "{"x" * 201}"}}', 422, "label: must have at most 200 characters", "/label"),
        (
            '{"adapters": [{"name": "../x"}]}',
            422,
            "adapters.0.name: has characters that are not allowed here, or is too long",
            "/adapters/0/name",
        ),
        ('{"tempo": []}', 422, "tempo: must be a valid number", "/tempo"),
    ],
)
def test_what_is_wrong_with_a_body_is_said_in_plain_words(fast, body, status, detail, pointer):
    answer = fast.client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["detail"]) == (status, detail)
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"duration_s": 400}, "/duration_s"),
        ({"duration_s": -1}, "/duration_s"),
        ({"duration_s": "10"}, "/duration_s"),
        ({"count": 9}, "/count"),
        ({"seed": -1}, "/seed"),
        ({"seed": 2**32}, "/seed"),
        ({"seed": 2**70}, "/seed"),
        ({"seed": 7.0}, "/seed"),
        ({"seed": "7"}, "/seed"),
        ({"seed": True}, "/seed"),
        ({"seed": 2**32 - 1, "count": 2}, "/seed"),
        ({"seed": 2**32 - 4, "count": 2, "best_of": 3, "tempo": 120}, "/seed"),
        ({"guidance": {"schedule": [[2, 3], [10.1, 5]]}}, "/guidance/schedule"),
        ({"loop": {"bars": 1}, "tempo": 120, "guidance": {"schedule": [[2.1, 5]]}}, "/guidance/schedule"),
        ({"text": "x" * 2_001}, "/text"),
        ({"text": 7}, "/text"),
        ({"text": "a\0b"}, "/text"),
        ({"sampling": {"top_k": -1}}, "/sampling/top_k"),
        ({"guidance": {"scale": 1_000}}, "/guidance/scale"),
        ({"key": "H minor"}, "/key"),
        ({"tempo": 1_000}, "/tempo"),
        ({"sections": [{"start_s": 20, "text": "x"}]}, "/sections"),
        ({"loop": {"bars": 4}}, "/loop/bars"),
        ({"melody": {"clip_id": "clip_../etc"}}, "/melody/clip_id"),
        ({"relation": {"clip_id": "clip_1111111111111111111111", "kind": "x"}}, "/relation/clip_id"),
        ({"melody": {}}, "/melody"),
        ({"style": {"clip_id": "x"}}, "/style"),
        ({"model": "other"}, "/model"),
        ({"lyrics": "la"}, "/lyrics"),
    ],
)
def test_a_wrong_field_is_named(fast, fields, pointer):
    answer = fast.client.post("/v1/jobs", json=fields)
    assert 400 <= answer.status_code < 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["errors"][0]["pointer"] == pointer
    assert problem["detail"]


def test_what_the_engine_refuses_changes_nothing(tmp_path):
    with serving(tmp_path, limits={"queue": 1}) as server:
        refused = server.client.post("/v1/jobs", json={"text": "[refuse]"})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/text")
        job = server.submit(duration_s=3.0)
        new = [{"start_s": 2.8, "text": "[refuse]"}]
        changed = server.client.patch(f"/v1/jobs/{job['id']}", json={"sections": new})
        assert changed.status_code == 422
        assert server.job(job)["request"]["sections"] == []
        assert [one["id"] for one in server.client.get("/v1/jobs").json()["items"]] == [job["id"]]
