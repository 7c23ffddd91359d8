"""The studio page: files of the package, which hold no data and need no key."""

from asyncio import to_thread
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from descant.apps.server.config import ServerConfig

FOLDER = Path(__file__).parents[1] / "web" / "dist"
READING = ("GET", "HEAD")
ICON = FOLDER / "icon.svg"
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; media-src 'self' blob:; "
    "img-src 'self' data: blob:; connect-src 'self'; worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'"
)
NOT_BUILT = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Descant</title>
<h1>Descant is running</h1>
<p>The studio page is not part of this installation. The service answers programs: see docs/protocol.md, or make music
with</p>
<pre>curl -N -X POST -H 'Content-Type: application/json' -d '{"text": "warm lo-fi piano"}' \
http://127.0.0.1:8765/v1/jobs</pre>
</html>
"""


class _Page(StaticFiles):
    """Files whose names change with their content may be kept for ever, the page itself not."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        if scope["method"] not in READING and (await to_thread(self.lookup_path, path))[1] is None:
            raise HTTPException(404)  # only of what is there it is said what can be done with it
        response = await super().get_response(path, scope)
        is_hashed = path.startswith("assets/")
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if is_hashed else "no-cache"
        response.headers["Content-Security-Policy"] = POLICY
        return response


def add_studio(app: FastAPI, config: ServerConfig) -> None:
    """Serves the page at ``/``, or says why there is none."""

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> Response:
        # Asked for by browsers on pages that name no icon, such as /docs.
        if ICON.is_file():
            return FileResponse(ICON, media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})
        return Response(status_code=204)

    if config.has_studio and (FOLDER / "index.html").is_file():
        app.mount("/", _Page(directory=FOLDER, html=True), name="studio")
        return

    @app.get("/", include_in_schema=False)
    async def no_page() -> HTMLResponse:
        text = (
            NOT_BUILT if config.has_studio else NOT_BUILT.replace("is not part of this installation", "is switched off")
        )
        return HTMLResponse(text, headers={"Content-Security-Policy": POLICY})
