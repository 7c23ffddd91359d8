"""What `GET /v1/server` says."""

from dataclasses import fields
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from descant import transcription
from descant.apps.server.auth import Owner
from descant.audio.encode import FORMATS
from descant.version import __version__

if TYPE_CHECKING:
    from descant.apps.server.service import Service

PUBLIC_LIMITS = (
    "text_characters", "sections", "count", "best_of", "duration_s", "upload_bytes", "upload_s", "upload_min_s",
    "json_bytes", "wait_s", "queue_per_owner", "streams_per_owner",
)  # fmt: skip
AUDIO_FORMATS = tuple(name for name in FORMATS if name != "aiff")
LOOP_FORMATS = ("wav", "ogg")
STREAM_FORMATS = ("pcm", "wav", "mp3")


async def server_object(parts: "Service", owner: Owner) -> dict[str, Any]:
    """The state of the server as in the protocol."""
    production, limits = parts.production, parts.config.limits
    model = production.host.last_model or {}
    speed = {"real_time_factor": production.speed.real_time_factor, "first_audio_s": production.speed.first_audio_s}
    return {
        "version": __version__,
        "api": "v1",
        "state": production.state,
        "model": model.get("id", parts.config.model),
        "device": model.get("device"),
        "precision": model.get("precision"),
        "speed": speed if any(value is not None for value in speed.values()) else None,
        "slots": {"total": production.host.num_slots, "busy": production.num_busy},
        "queue": {"length": len(production.queue), "limit": limits.queue},
        "owner": owner.id,
        "scopes": list(owner.scopes),
        "formats": {"stream": list(STREAM_FORMATS), "audio": list(AUDIO_FORMATS), "loop": list(LOOP_FORMATS)},
        "extras": {"midi": transcription.is_installed(), "stems": find_spec("demucs") is not None},
        "limits": {one.name: getattr(limits, one.name) for one in fields(limits) if one.name in PUBLIC_LIMITS},
        "storage": await parts.storage.object(),
    }
