"""Who may do what: keys, scopes, sessions, and requests that other sites send."""

import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from descant.apps.server.ids import new_id
from descant.apps.server.keys import KeyFile
from descant.apps.server.openapi import description
from descant.apps.server.run import check_reach
from descant.errors import InvalidRequest
from tests.apps.server.conftest import serving, wait_for
from tests.apps.server.paced_server import paced_config

OPEN = ("/health/live", "/health/ready")
KINDS = {"jobs": "job", "clips": "clip", "uploads": "upload", "collections": "collection"}
KINDS |= {"listening-tests": "listening test"}


def routes() -> list[tuple[str, str]]:
    """Every route of the protocol, with identifiers that could exist."""
    found = []
    for path, methods in description()["paths"].items():
        kind = next((kind for name, kind in KINDS.items() if f"/v1/{name}/" in path), "clip")
        filled = re.sub(r"\{(id)\}", new_id(kind), path)
        filled = re.sub(r"\{\w+\}", "0", filled)
        found += [(method.upper(), filled) for method in methods]
    return found


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keyed")
    keys = KeyFile(folder / "keys.json")
    tokens = {
        name: keys.add(name, scopes)[1]
        for name, scopes in {
            "ann": ("read", "generate", "listen"),
            "ben": ("read", "generate", "listen"),
            "reader": ("read",),
            "guest": ("listen",),
        }.items()
    }
    with serving(folder, token=tokens["ann"], pace=50.0) as server:
        wait_for(lambda: server.client.get("/health/ready").status_code == 200)
        yield server, tokens, keys


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_every_route_refuses_without_a_key_except_health(keyed):
    server, _, _ = keyed
    server.client.headers.pop("Authorization")
    try:
        assert len(routes()) > 50
        for method, path in [*routes(), ("GET", "/openapi.json")]:
            json = {} if method in ("POST", "PUT", "PATCH") and path != "/v1/uploads" else None
            files = {"file": b"x"} if path == "/v1/uploads" else None
            for headers in ({}, bearer("dsc_wrong"), {"Cookie": "descant_session=key_x.99999999999.0"}):
                answer = server.client.request(method, path, json=json, files=files, headers=headers)
                if path in OPEN:
                    assert answer.status_code == 200
                else:
                    assert (answer.status_code, answer.json()["type"]) == (401, "/problems/unauthorized"), path
        assert server.client.get("/").status_code == 200
    finally:
        server.client.headers.update(bearer(keyed[1]["ann"]))


def test_scopes_limit_what_a_key_may_do(keyed):
    server, tokens, _ = keyed
    for name, method, path, status in (
        ("reader", "GET", "/v1/jobs", 200),
        ("reader", "POST", "/v1/jobs", 403),
        ("guest", "GET", "/v1/jobs", 403),
        ("guest", "GET", f"/v1/listening-tests/{new_id('listening test')}/trials?participant=x", 404),
    ):
        answer = server.client.request(
            method, path, json={} if method == "POST" else None, headers=bearer(tokens[name])
        )
        assert answer.status_code == status, (name, path)


def test_things_of_other_owners_do_not_exist(keyed):
    server, tokens, _ = keyed
    clip = server.clip(duration_s=0.2)
    for path in (*clip["urls"].values(), f"/v1/jobs/{clip['job_id']}", f"/v1/jobs/{clip['job_id']}/events"):
        assert server.client.get(path).status_code in (200, 204), path
        assert server.client.get(path, headers=bearer(tokens["ben"])).status_code == 404, path
    assert server.client.get("/v1/clips", headers=bearer(tokens["ben"])).json()["items"] == []
    used = server.client.post(
        "/v1/jobs", json={"duration_s": 1, "continue_from": {"clip_id": clip["id"]}}, headers=bearer(tokens["ben"])
    )
    assert used.status_code == 404


def test_a_session_stands_for_its_key_and_ends_with_it(keyed):
    server, tokens, keys = keyed
    _, token = keys.add("phone", ("read", "listen"))
    begun = server.client.post("/v1/session", headers=bearer(token))
    assert begun.status_code == 204
    cookie = begun.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert token not in cookie
    value = cookie.split(";")[0]
    server.client.cookies.clear()
    headers = {"Cookie": value, "Authorization": ""}
    assert server.client.get("/v1/server", headers=headers).json()["scopes"] == ["read", "listen"]
    forged = f"{value[:-1]}{'0' if value[-1] != '0' else '1'}"
    assert server.client.get("/v1/server", headers={**headers, "Cookie": forged}).status_code == 401
    keys.revoke("phone")
    assert server.client.get("/v1/server", headers=headers).status_code == 401
    assert tokens["ann"] not in keys.path.read_text()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 400),
        ({"Host": "127.0.0.1:1"}, 202),
        ({"Host": "localhost"}, 202),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "["}, 400),
        ({"Origin": "http://["}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Encoding": "gzip"}, 415),
    ],
)
def test_requests_of_other_sites_change_nothing(fast, headers, status):
    given = {"Content-Type": "application/json", **headers}
    answer = fast.client.post("/v1/jobs", content='{"duration_s": 0.1}', headers=given)
    assert answer.status_code == status
    if status != 202:
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_bodies_are_refused_while_they_arrive(fast):
    def endless():
        while True:
            yield b" " * 16_384

    answer = fast.client.post("/v1/jobs", content=b" " * 100_000, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/too-large")
    answer = fast.client.post("/v1/jobs", content=endless(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


def test_others_are_not_served_without_a_key(tmp_path):
    with pytest.raises(InvalidRequest, match="keys add"):
        check_reach(paced_config(tmp_path, host="0.0.0.0"))
    KeyFile(tmp_path / "keys.json").add("ann", ("read",))
    check_reach(paced_config(tmp_path, host="0.0.0.0"))


def test_keys_that_are_added_and_revoked_at_once_are_all_kept(tmp_path):
    path = tmp_path / "keys.json"
    for number in range(8):
        KeyFile(path).add(f"old {number}", ("read",))

    def change(number: int) -> None:
        KeyFile(path).add(f"new {number}", ("read",))
        KeyFile(path).revoke(f"old {number}")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(change, range(8)))
    kept = KeyFile(path).keys()
    valid = {key.name for key in kept if key.revoked_at is None}
    assert valid == {f"new {number}" for number in range(8)}
    assert [file.name for file in tmp_path.iterdir()] == ["keys.json"]


def test_the_icon_that_browsers_ask_for_is_there_without_a_key(keyed, monkeypatch, tmp_path):
    """It was once a problem: there is no such thing."""
    address = f"http://127.0.0.1:{keyed[0].port}/favicon.ico"
    icon = httpx.get(address)
    assert (icon.status_code, icon.headers["Content-Type"]) == (200, "image/svg+xml")
    assert icon.content.startswith(b"<svg")
    monkeypatch.setattr("descant.apps.server.studio.ICON", tmp_path / "none")
    assert httpx.get(address).status_code == 204
