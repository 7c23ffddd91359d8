"""The protocol as it is written down is the one that is spoken."""

import json
import re
from pathlib import Path

import pytest

from descant.apps.server import studio
from descant.apps.server.openapi import description
from descant.apps.server.problems import TITLES
from descant.apps.server.reference_page import reference_page
from tests.apps.server.conftest import serving

DOCS = Path(__file__).parents[3] / "docs"
PROTOCOL = (DOCS / "protocol.md").read_text(encoding="utf-8")


def essence(described: dict) -> dict:
    """Routes with their parameters, bodies and answers, and the fields of all objects; without wording."""
    routes = {
        f"{method.upper()} {path}": (
            sorted((one["in"], one["name"], one.get("required", False)) for one in route.get("parameters", [])),
            sorted(route.get("requestBody", {}).get("content", {})),
            sorted(route["responses"]),
        )
        for path, methods in described["paths"].items()
        for method, route in methods.items()
    }
    objects = {
        name: (sorted(one.get("properties", {})), sorted(one.get("required", [])))
        for name, one in described["components"]["schemas"].items()
    }
    return json.loads(json.dumps({"routes": routes, "objects": objects}))


def test_the_description_in_the_documents_is_that_of_the_server():
    written = json.loads((DOCS / "openapi.v1.json").read_text(encoding="utf-8"))
    assert essence(written) == essence(description())


def test_every_route_is_in_the_document_of_the_protocol():
    for path in description()["paths"]:
        named = path.replace("{index}", "{index}")
        last = "…/" + named.rsplit("/", 1)[-1]
        assert named in PROTOCOL or last in PROTOCOL, path


def test_the_page_of_the_protocol_has_all_of_it_and_needs_nothing_else():
    described = description()
    page = reference_page(described)
    for path, methods in described["paths"].items():
        assert all(f"<b>{method.upper()}</b> {path}</h3>" in page for method in methods)
    for name, schema in described["components"]["schemas"].items():
        assert f'<h3 id="{name}">' in page
        assert all(f"<td>{field}</td>" in page for field in schema.get("properties", {}))
    targets = re.findall(r'(?:href|src)="([^"]*)"', page)
    assert targets
    assert all(target.startswith("#") and f'id="{target[1:]}"' in page for target in targets)
    assert "<script" not in page


def test_every_problem_is_in_the_document_of_the_protocol():
    table = PROTOCOL[PROTOCOL.index("## Problems") :]
    named = set(re.findall(r"`([a-z-]+)`", table))
    assert set(TITLES) <= named


@pytest.mark.parametrize("has_studio", [True, False])
def test_a_wrong_method_is_told_the_right_ones(tmp_path, has_studio, monkeypatch):
    """With the page, all but GET and HEAD were said to be wrong everywhere, and a wrong GET was not found."""
    page = tmp_path / "page"
    (page / "assets").mkdir(parents=True)
    (page / "index.html").write_text("page")
    (page / "assets" / "a.js").write_text("script")
    monkeypatch.setattr(studio, "FOLDER", page)
    routes = {path: {method.upper() for method in methods} for path, methods in description()["paths"].items()}
    with serving(tmp_path / "data", has_studio=has_studio) as server:
        files = {path: {"GET", "HEAD"} for path in ("/", "/assets/a.js")} if has_studio else {}
        for path, methods in {**routes, **files}.items():
            filled = re.sub(r"{[a-z]+}", "1", path)
            allowed = methods.union(*(of for other, of in routes.items() if other != path and fits(other, filled)))
            for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"} - allowed:
                answer = server.client.request(method, filled)
                assert (answer.status_code, answer.headers["Allow"]) == (405, ", ".join(sorted(allowed))), (
                    method,
                    path,
                )
                assert answer.headers["Content-Type"] == "application/problem+json"
        for method in ("GET", "POST", "DELETE"):
            for path in ("/v1/nothing", "/nothing", "/assets/none.js", "/v1", "/v1/audio"):
                assert server.client.request(method, path).status_code == 404


def fits(path: str, filled: str) -> bool:
    """Whether a path is one of this route; names of models have slashes."""
    return re.fullmatch(re.sub(r"{[a-z]+}", ".+" if "models/" in path else "[^/]+", path), filled) is not None
