"""The objects of the protocol as types: what comes in is checked by them, what goes out is described by them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from descant.apps.server.adapter_names import NAME
from descant.generation.checks import MAX_ADAPTERS, MAX_STRENGTH
from descant.seeds import MAX_SEED

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ClipState = Literal["waiting", "making", "ready", "partial", "cancelled", "failed"]
Text = Annotated[str, StringConstraints(max_length=100_000)]
Label = Annotated[str, StringConstraints(max_length=200)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=40)]
ModelName = Annotated[str, StringConstraints(max_length=300)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Seconds = Annotated[float, Field(ge=0, le=3_600)]


class Given(BaseModel):
    """What comes in: no unknown fields, no numbers as texts, no infinities."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class SamplingGiven(Given):
    """Fields that are left out are the model's."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    greedy: bool | None = None
    hold_penalty: float | None = None


class GuidanceGiven(Given):
    """Fields that are left out are the model's."""

    scale: float | None = None
    text_scale: float | None = None
    melody_scale: float | None = None
    schedule: list[Annotated[list[float], Field(min_length=2, max_length=2)]] = []


class Section(Given):
    """A prompt from a second on."""

    start_s: Seconds
    text: Text


class Loop(Given):
    """The length of a loop."""

    bars: Annotated[int, Field(ge=1, le=256)]
    beats_per_bar: Annotated[int, Field(ge=1, le=32)] = 4


class Source(Given):
    """A clip or an upload, or a part of it."""

    clip_id: str | None = None
    upload_id: str | None = None
    start_s: Seconds = 0.0
    end_s: Seconds | None = None


class Continued(Given):
    """A clip or an upload, up to where new music begins."""

    clip_id: str | None = None
    upload_id: str | None = None
    at_s: Seconds | None = None


class AdapterGiven(Given):
    """An adapter of the server, and how strongly it acts."""

    name: Annotated[str, StringConstraints(pattern=f"^{NAME}$")]
    strength: Annotated[float, Field(ge=-MAX_STRENGTH, le=MAX_STRENGTH)] = 1.0


class Relation(Given):
    """Where an idea came from."""

    clip_id: str
    kind: Word


class JobRequest(Given):
    """What `POST /v1/jobs` takes."""

    model: ModelName | None = None
    text: Text | None = None
    negative_text: Text | None = None
    long_prompt: Literal["error", "cut"] = "error"
    duration_s: float = 10.0
    stride_s: float | None = None
    seed: Seed | None = None
    count: int = 1
    best_of: int = 1
    sampling: SamplingGiven = SamplingGiven()
    guidance: GuidanceGiven = GuidanceGiven()
    tempo: float | Literal["auto", "none"] = "auto"
    key: Label = "auto"
    chords: Text | None = "auto"
    sections: list[Section] = []
    loop: Loop | None = None
    melody: Source | None = None
    melody_part: Literal["stems", "harmonic", "mix", "auto"] | None = None
    style: Source | None = None
    continue_from: Continued | None = None
    adapters: Annotated[list[AdapterGiven], Field(max_length=MAX_ADAPTERS)] = []
    relation: Relation | None = None
    label: Label | None = None
    analyse: bool = True


class SectionsGiven(Given):
    """What `PATCH /v1/jobs/{id}` takes."""

    sections: list[Section]


class ClipChanges(Given):
    """What `PATCH /v1/clips/{id}` takes."""

    title: Label | None = None
    favourite: bool = False
    rating: Annotated[int, Field(ge=1, le=5)] | None = None
    tags: Annotated[list[Word], Field(max_length=32)] = []
    notes: Annotated[str, StringConstraints(max_length=10_000)] = ""


class Queue(BaseModel):
    """The place of a job that waits."""

    position: int
    starts_in_s: float | None


class Parent(BaseModel):
    """What a clip was made from."""

    clip_id: str
    at_s: float | None
    relation: str


class Measured(BaseModel):
    """What was measured of the audio."""

    tempo_bpm: float | None
    tempo_confidence: float | None
    key: str | None
    key_confidence: float | None
    loudness_lufs: float | None
    true_peak_db: float | None


class ProblemObject(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, Any]] | None = None


class ClipObject(BaseModel):
    """A clip."""

    id: str
    job_id: str | None
    index: int
    state: ClipState
    problem: ProblemObject | None
    text: str | None
    title: str | None
    seed: int
    model: str
    asked_s: float
    duration_s: float
    sample_rate_hz: int | None
    channels: int | None
    tempo_bpm: float | None
    key: str | None
    chords: str | None
    parent: Parent | None
    measured: Measured | None
    favourite: bool
    rating: int | None
    tags: list[str]
    notes: str
    audio_kept: bool
    audio_bytes: int
    version: int
    created_at: str
    finished_at: str | None
    trashed_at: str | None
    urls: dict[str, str]


class JobObject(BaseModel):
    """A job."""

    id: str
    state: JobState
    queue: Queue | None
    request: dict[str, Any]
    seeds: list[int]
    clips: list[ClipObject]
    attempt: int
    problem: ProblemObject | None
    label: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    urls: dict[str, str]


class JobList(BaseModel):
    """A page of jobs."""

    items: list[JobObject]
    next_cursor: str | None


class ClipList(BaseModel):
    """A page of clips."""

    items: list[ClipObject]
    next_cursor: str | None


class UploadObject(BaseModel):
    """An upload."""

    id: str
    name: str
    duration_s: float
    sample_rate_hz: int
    channels: int
    bytes: int
    already_had: bool
    created_at: str
    expires_at: str | None


class UploadList(BaseModel):
    """A page of uploads."""

    items: list[UploadObject]
    next_cursor: str | None


class CollectionObject(BaseModel):
    """A collection of clips."""

    id: str
    name: str
    clip_ids: list[str]
    created_at: str


class TestObject(BaseModel):
    """A listening test."""

    id: str
    name: str
    kind: Literal["pairs", "rating"]
    question: str
    clip_ids: list[str]
    created_at: str
