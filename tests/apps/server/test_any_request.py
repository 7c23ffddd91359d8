"""Any request, valid or not, gets one of the answers that the description of the protocol declares for its route."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS

from descant.apps.server.openapi import description
from descant.apps.server.problems import TITLES
from tests.apps.server.conftest import Running, serving, wav

SCHEMA = schemathesis.openapi.from_dict(description())
ROUTES = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}
ENDLESS = "GET /v1/events"
EXAMPLES = (2, pytest.param(50, marks=pytest.mark.slow))
CONFORMANCE = [
    CHECKS.get_one(name)
    for name in (
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    )
]
NAMED = (400, 412, 416, 422)
"""Statuses of requests with a wrong field, which the problem names."""


@dataclass
class Known:
    """Things that exist, by the words that their routes begin with."""

    server: Running
    ids: dict[str, str]

    def insert(self, case: Any) -> None:
        """Names something that exists."""
        kind = case.path.split("/")[2] if case.path.startswith("/v1/") else "models"
        for name in ("id", "slug", "name"):
            if name in case.path_parameters and kind in self.ids:
                case.path_parameters[name] = self.ids[kind]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    limits = {"duration_s": 3.0, "queue": 8, "slots": 8}
    with serving(tmp_path_factory.mktemp("any"), pace=1_000.0, chunk_s=1.0, limits=limits) as server:
        job = server.made(duration_s=0.2)
        clip_id = job["clips"][0]["id"]
        upload = server.client.post("/v1/uploads", files={"file": ("a.wav", wav(0.2))}).json()
        collection = server.client.post("/v1/collections", json={"name": "all", "clip_ids": [clip_id]}).json()
        test = server.client.post(
            "/v1/listening-tests", json={"name": "one", "kind": "rating", "clip_ids": [clip_id]}
        ).json()
        server.client.put("/v1/presets/lo-fi", json={"request": {"text": "lo-fi"}})
        ids = {"jobs": job["id"], "clips": clip_id, "uploads": upload["id"], "collections": collection["id"]}
        yield Known(server, {**ids, "listening-tests": test["id"], "presets": "lo-fi", "models": "paced"})


@pytest.mark.parametrize("num_examples", EXAMPLES)
@pytest.mark.parametrize("label", [label for label in ROUTES if label != ENDLESS])
def test_any_request_gets_a_declared_answer(known, label, num_examples):
    route = ROUTES[label]
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    cases = st.one_of([route.as_strategy(generation_mode=mode) for mode in modes])

    @settings(
        max_examples=num_examples, deadline=None, derandomize=True, database=None,
        phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=cases, exists=st.booleans())
    def ask(case: Any, exists: bool) -> None:
        if exists and "DELETE" not in label:
            known.insert(case)
        answer = case.call(base_url=f"http://127.0.0.1:{known.server.port}", timeout=30)
        case.validate_response(answer, checks=CONFORMANCE)
        check_error(answer)

    ask()


def check_error(answer: Any) -> None:
    """An error is a problem that this server knows, which names the field at fault; never an accident."""
    if answer.status_code < 400:
        return
    problem = answer.json()
    slug = problem["type"].removeprefix("/problems/")
    assert answer.headers["content-type"] == ["application/problem+json"]
    assert (TITLES[slug][0], slug != "internal") == (answer.status_code, True), problem
    if answer.status_code in NAMED:
        assert all(one["pointer"].startswith("/") and one["detail"] for one in problem["errors"]), problem
