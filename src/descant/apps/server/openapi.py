"""The description of the protocol: ``python -m descant.apps.server.openapi > docs/openapi.v1.json``."""

import json
from pathlib import Path
from typing import Any

from descant.apps.server.app import create_app
from descant.apps.server.config import ServerConfig


def description() -> dict[str, Any]:
    """The OpenAPI description of every route, the same on every machine."""
    config = ServerConfig(folder=Path(), engine=(), keys=Path("keys.json"), has_studio=False)
    return create_app(config).openapi()


if __name__ == "__main__":
    print(json.dumps(description(), indent=1, ensure_ascii=False))
