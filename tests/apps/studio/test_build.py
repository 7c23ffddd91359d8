"""The page in the package is the one that its sources give, is small, and asks no other host for anything."""

import gzip
import hashlib
import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
SOURCES = ROOT / "studio"
DIST = ROOT / "src/descant/apps/web/dist"
IS_SOURCE = re.compile(r"((src|public)/.*|index\.html|package(-lock)?\.json|tsconfig\.json|[a-z-]+\.ts)")
LIMIT_BYTES = 150_000


def sources_sha256() -> str:
    """As ``studio/build-record.ts`` computes it."""
    paths = {path.relative_to(SOURCES).as_posix() for path in SOURCES.rglob("*") if path.is_file()}
    total = hashlib.sha256()
    for path in sorted(path for path in paths if IS_SOURCE.fullmatch(path)):
        total.update(path.encode() + b"\0" + (SOURCES / path).read_bytes() + b"\0")
    return total.hexdigest()


def test_the_page_was_built_from_these_sources() -> None:
    record = json.loads((DIST / "build.json").read_text())
    assert record["sources_sha256"] == sources_sha256(), "the page is older than its sources: run `make studio`"


def test_the_types_are_those_of_the_protocol() -> None:
    description = (ROOT / "docs/openapi.v1.json").read_bytes()
    heading = (SOURCES / "src/api/schema.ts").read_text().splitlines()[0]
    assert hashlib.sha256(description).hexdigest() in heading, "the protocol has changed: run `make studio`"


def test_every_file_that_the_page_names_is_there() -> None:
    named = re.findall(r'(?:src|href)="\./([^"]+)"', (DIST / "index.html").read_text())
    assert len(named) >= 3
    assert [name for name in named if not (DIST / name).is_file()] == []


def test_the_page_is_small() -> None:
    shipped = [DIST / "index.html", *(DIST / "assets").iterdir()]
    assert sum(len(gzip.compress(path.read_bytes())) for path in shipped) <= LIMIT_BYTES


def test_the_page_loads_nothing_from_other_hosts() -> None:
    for path in [DIST / "index.html", *(DIST / "assets").iterdir()]:
        hosts = set(re.findall(r"https?://([\w.-]+)", path.read_text()))
        # Names of XML vocabularies, and the text of an error message, which nobody loads.
        assert hosts <= {"www.w3.org", "rolldown.rs"}, path.name
