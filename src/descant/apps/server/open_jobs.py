"""Jobs that have not ended, in memory."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from descant.apps.server.asked import asked_s
from descant.apps.server.problems import Problem

PROGRESS_EVERY_S = 0.25


@dataclass
class Making:
    """A clip that is not finished.

    Args:
        made_s: seconds whose codes are known, of which the last may not have become audio.
        maker: what has made the audio that there is of it (`Host.maker`); None if there is none.
        format: sample rate and channels of this audio.
    """

    id: str
    job: "OpenJob"
    place: int
    made_s: float = 0.0
    num_samples: int | None = None
    is_sent: bool = False
    is_cancelled: bool = False
    began: float = 0.0
    maker: str | None = None
    format: tuple[int, int] | None = None

    @property
    def num_places(self) -> int:
        """Places of the engine that it takes: one for each candidate."""
        return int(self.job.request["best_of"])


@dataclass
class OpenJob:
    """A job that has not ended, and its clips that are not finished."""

    id: str
    owner: str
    request: dict[str, Any]
    attempt: int
    is_running: bool = False
    deaths: int = 0
    clips: dict[str, Making] = field(default_factory=dict)
    states: list[str] = field(default_factory=list)
    problem: Problem | None = None
    started: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    told_progress: float = 0.0
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while its sections change, and while a clip of it goes to the engine: it goes with one of both."""

    def progress(self) -> dict[str, Any] | None:
        """How far the job is, as in the protocol; None if that was asked a moment ago."""
        at = time.monotonic()
        if at - self.told_progress < PROGRESS_EVERY_S:
            return None
        self.told_progress = at
        seconds = asked_s(self.request)
        clips = [
            {"clip_id": clip.id, "index": clip.place, "made_s": round(clip.made_s, 3), "of_s": seconds}
            for clip in self.clips.values()
        ]
        live = [clip for clip in self.clips.values() if clip.is_sent]
        taken = max((at - clip.began for clip in live), default=0.0)
        made = sum(clip.made_s for clip in live)
        speed = made / taken if made and taken > 0.5 else None
        left = sum(seconds - clip.made_s for clip in self.clips.values())
        eta_s = None if speed is None else left / speed
        return {"job_id": self.id, "clips": clips, "speed": speed, "eta_s": eta_s}
