"""Music whose making takes a chosen time: a known signal that appears at a chosen pace, without any model."""

import itertools
import time
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 32_000
BEAT_S = 0.5
CLICK_FRAMES = 64
# As the server does: chunks of this length, the first as soon as twice as much is there.
STEP_S = 0.25
MEASURING_S = 0.2
_numbers = itertools.count(1)


def new_id(prefix: str) -> str:
    return f"{prefix}_{next(_numbers):022d}"


@cache
def signal(duration_s: float, seed: int) -> NDArray[np.int16]:
    """A tone that rises every second, with a click on every beat; the seed chooses its first pitch."""
    frames = round(duration_s * RATE_HZ)
    second = np.arange(frames) // RATE_HZ
    pitch_hz = 220 * 2 ** ((seed % 5) / 12 + (second % 12) / 12)
    wave = 0.3 * np.sin(2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ)
    wave[np.arange(frames) % round(BEAT_S * RATE_HZ) < CLICK_FRAMES] += 0.3
    return np.round(wave * 32_767).astype(np.int16)


@dataclass
class Clip:
    """A clip whose audio appears from ``starts_at`` on, at ``pace`` seconds a second."""

    job: "Job"
    index: int
    id: str = field(default_factory=lambda: new_id("clip"))
    version: int = 1
    own: dict[str, Any] = field(
        default_factory=lambda: {"title": None, "favourite": False, "rating": None, "tags": [], "notes": ""}
    )
    trashed_at: str | None = None

    @property
    def seed(self) -> int:
        return self.job.seeds[self.index]

    @property
    def samples(self) -> NDArray[np.int16]:
        return signal(self.job.duration_s, self.seed)

    @property
    def frames(self) -> int:
        """Frames that exist now, in steps as an engine makes them."""
        made_s = self.job.made_s
        whole = self.job.duration_s
        steps = made_s // STEP_S if made_s >= 2 * STEP_S else 0
        return round(whole * RATE_HZ) if made_s >= whole else round(steps * STEP_S * RATE_HZ)

    @property
    def is_measured(self) -> bool:
        return self.state == "ready" and time.time() > self.job.ends_at + MEASURING_S

    @property
    def state(self) -> str:
        if self.job.cancelled_at is not None:
            return "partial" if self.frames else "cancelled"
        return {"queued": "waiting", "running": "making", "succeeded": "ready"}[self.job.state]

    def json(self) -> dict[str, Any]:
        request = self.job.request
        parent = None
        for relation in ("continue_from", "melody", "style", "relation"):
            source = request.get(relation)
            if source and "clip_id" in source:
                word = {"continue_from": "continue", "relation": source.get("kind")}.get(relation, relation)
                parent = parent or {"clip_id": source["clip_id"], "at_s": source.get("at_s"), "relation": word}
        measured = {"tempo_bpm": 120.4, "key": "A minor", "loudness_lufs": -14.2 - self.index, "true_peak_db": -4.4}
        return {
            "id": self.id,
            "job_id": self.job.id,
            "index": self.index,
            "state": self.state,
            "problem": None,
            "text": request.get("text"),
            "seed": self.seed,
            "model": "pacer",
            "asked_s": self.job.duration_s,
            "duration_s": self.frames / RATE_HZ,
            "sample_rate_hz": None if self.state == "waiting" else RATE_HZ,
            "channels": None if self.state == "waiting" else 1,
            "tempo_bpm": 120,
            "key": "C major",
            "chords": "Am7:0.0 D9:3.43",
            "parent": parent,
            "measured": measured if self.is_measured else None,
            "audio_kept": self.state in ("ready", "partial"),
            "audio_bytes": 2 * self.frames,
            "version": self.version,
            "created_at": self.job.created_at,
            "finished_at": None,
            "trashed_at": self.trashed_at,
            **self.own,
        }


@dataclass
class Job:
    request: dict[str, Any]
    pace: float
    starts_at: float
    created_at: str
    id: str = field(default_factory=lambda: new_id("job"))
    cancelled_at: float | None = None
    clips: list[Clip] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clips = [Clip(self, index) for index in range(self.request.get("count") or 1)]

    @property
    def seeds(self) -> list[int]:
        first = self.request.get("seed")
        return [(7 if first is None else first) + index for index in range(self.request.get("count") or 1)]

    @property
    def duration_s(self) -> float:
        loop = self.request.get("loop")
        return loop["bars"] * 4 * BEAT_S if loop else self.request.get("duration_s", 10)

    @property
    def ends_at(self) -> float:
        return self.starts_at + self.duration_s / self.pace

    @property
    def made_s(self) -> float:
        until = time.time() if self.cancelled_at is None else self.cancelled_at
        return min(max(until - self.starts_at, 0) * self.pace, self.duration_s)

    @property
    def state(self) -> str:
        if self.cancelled_at is not None:
            return "cancelled"
        now = time.time()
        return "queued" if now < self.starts_at else "running" if now < self.ends_at else "succeeded"

    def json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "state": self.state,
            "queue": {"position": 1, "starts_in_s": self.starts_at - time.time()} if self.state == "queued" else None,
            "request": {"count": 1, "duration_s": self.duration_s, **self.request},
            "seeds": self.seeds,
            "clips": [clip.json() for clip in self.clips],
            "attempt": 1,
            "problem": None,
            "label": None,
            "created_at": self.created_at,
        }
