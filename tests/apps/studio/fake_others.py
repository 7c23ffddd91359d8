"""Presets, collections, listening tests, sessions, and the files of the page."""

from pathlib import Path

from tests.apps.studio.fake_clips import audio
from tests.apps.studio.fake_http import Exchange, Problem, Route
from tests.apps.studio.pacer import new_id

DIST = Path(__file__).parents[3] / "src/descant/apps/web/dist"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def list_presets(exchange: Exchange) -> None:
    exchange.send({"items": [{"name": name, "request": request} for name, request in exchange.server.presets.items()]})


def put_preset(exchange: Exchange, name: str) -> None:
    exchange.server.presets[name] = exchange.body["request"]
    exchange.send({"name": name, **exchange.body})


def drop_preset(exchange: Exchange, name: str) -> None:
    del exchange.server.presets[name]
    exchange.done()


def collect(exchange: Exchange) -> None:
    collection = {"id": new_id("col"), **exchange.body}
    exchange.server.collections[collection["id"]] = collection
    exchange.send(collection, 201)


def list_collections(exchange: Exchange) -> None:
    exchange.send({"items": list(exchange.server.collections.values()), "next_cursor": None})


def drop_collection(exchange: Exchange, id: str) -> None:
    del exchange.server.collections[id]
    exchange.done()


def add_test(exchange: Exchange) -> None:
    test = {"id": new_id("test"), **exchange.body}
    exchange.server.tests[test["id"]] = test
    exchange.send(test, 201)


def list_tests(exchange: Exchange) -> None:
    exchange.send({"items": list(exchange.server.tests.values()), "next_cursor": None})


def trials(exchange: Exchange, id: str) -> None:
    test = exchange.server.tests[id]
    ids = test["clip_ids"]
    pairs = [[first, second] for i, first in enumerate(ids) for second in ids[i + 1 :]]
    items = [{"trial": trial, "letters": ["a", "b"], "answer": None} for trial in range(len(pairs))]
    shown = {name: test[name] for name in ("id", "name", "kind", "question")}
    exchange.send({"test": shown, "participant": exchange.query["participant"], "items": items})


def trial_audio(exchange: Exchange, id: str, _trial: str, letter: str) -> None:
    audio(exchange, exchange.server.tests[id]["clip_ids"]["ab".index(letter)])


def take_answer(exchange: Exchange, _id: str) -> None:
    exchange.server.answers.append(exchange.body)
    exchange.done()


def results(exchange: Exchange, id: str) -> None:
    answers = exchange.server.answers
    scores = [{"clip_id": clip_id, "score": 0.5, "low": 0.2, "high": 0.8, "count": len(answers)}
              for clip_id in exchange.server.tests[id]["clip_ids"]]  # fmt: skip
    participants = len({answer["participant"] for answer in answers})
    exchange.send({"participants": participants, "answers": len(answers), "clips": scores})


def drop_test(exchange: Exchange, id: str) -> None:
    del exchange.server.tests[id]
    exchange.done()


def sign_in(exchange: Exchange) -> None:
    exchange.send_response(204)
    exchange.send_header("Set-Cookie", f"session={exchange.server.key}; HttpOnly; SameSite=Strict")
    exchange.end_headers()


def page_file(exchange: Exchange, path: str) -> None:
    file = DIST / (path or "index.html")
    if not file.is_file():
        raise Problem(404, "not-found", f"there is no file {path}")
    exchange.send(file.read_bytes(), type=TYPES.get(file.suffix, "text/plain"))


ROUTES: list[Route] = [
    ("GET", "/v1/presets", list_presets),
    ("PUT", "/v1/presets/([^/]+)", put_preset),
    ("DELETE", "/v1/presets/([^/]+)", drop_preset),
    ("GET", "/v1/collections", list_collections),
    ("POST", "/v1/collections", collect),
    ("DELETE", "/v1/collections/([^/]+)", drop_collection),
    ("POST", "/v1/listening-tests", add_test),
    ("GET", "/v1/listening-tests", list_tests),
    ("GET", "/v1/listening-tests/([^/]+)/trials", trials),
    ("GET", "/v1/listening-tests/([^/]+)/trials/([^/]+)/([^/]+)/audio", trial_audio),
    ("POST", "/v1/listening-tests/([^/]+)/answers", take_answer),
    ("GET", "/v1/listening-tests/([^/]+)/results", results),
    ("DELETE", "/v1/listening-tests/([^/]+)", drop_test),
    ("POST", "/v1/session", sign_in),
    ("GET", "/([^/]*|assets/[^/]+)", page_file),
]
