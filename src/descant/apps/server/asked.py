"""Jobs that come in: checked as far as possible without the model, and written out with every default."""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from descant.apps.server.config import Limits
from descant.apps.server.problems import at_fault, of_library
from descant.apps.server.requests import library_request
from descant.apps.server.schemas import JobRequest
from descant.errors import InvalidRequest
from descant.generation.request import Guidance, Sampling
from descant.seeds import successive_seeds
from descant.tempo_key import OPEN

NEEDED = {
    "melody": "melody",
    "style": "style",
    "chords": "chords",
    "continue_from": "continue_from",
    "loop": "loop",
    "sections": "sections",
}
"""The ability of a model that a field of a job needs."""


def checked(asked: JobRequest, limits: Limits, model: Mapping[str, Any] | None) -> dict[str, Any]:
    """The job as it is kept: plain data, defaults written out, without ``count``'s other variations.

    Args:
        model: the description of the loaded model; None while it is loading.

    Raises:
        Problem: a field is wrong.
    """
    job = asked.model_dump(mode="json")
    for name in ("sampling", "guidance"):
        given = {key: value for key, value in job[name].items() if value is not None and value != []}
        defaults = {} if model is None else model["defaults"][name]
        job[name] = {**defaults, **given}
    check_limits(job, limits)
    _check_sources(job)
    if model is not None:
        check_model(job, model)
        job["model"] = model["id"]
    if job["seed"] is None:
        job["seed"] = secrets.randbits(31)
    with_problems(lambda: (library_request(job, Sampling(), Guidance()), seeds_of(job)))
    if job["loop"] is None and job["continue_from"] is None and job["duration_s"] <= 0:
        raise at_fault("/duration_s", "must be above 0", got=job["duration_s"])
    return job


def seeds_of(job: Mapping[str, Any]) -> list[int]:
    """The seeds of a job's variations, each the first of its candidates'.

    Raises:
        InvalidRequest: there are not so many from its own on.
    """
    return list(successive_seeds(job["seed"], job["count"] * job["best_of"])[:: job["best_of"]])


def asked_s(job: Mapping[str, Any]) -> float:
    """Seconds of the result."""
    return with_problems(lambda: library_request(job, Sampling(), Guidance()).result_s)


def with_problems(act: Callable[[], Any]) -> Any:
    """What ``act`` gives, the library's refusals as problems."""
    try:
        return act()
    except InvalidRequest as error:
        raise of_library(error) from error


def check_limits(job: Mapping[str, Any], limits: Limits) -> None:
    """Refuses what is more than this server makes.

    Raises:
        Problem: a field is over its limit.
    """
    for name in ("text", "negative_text"):
        if job[name] is not None and len(job[name]) > limits.text_characters:
            raise at_fault(f"/{name}", f"at most {limits.text_characters} characters", got=len(job[name]))
    for place, section in enumerate(job["sections"]):
        if len(section["text"]) > limits.text_characters:
            raise at_fault(f"/sections/{place}/text", f"at most {limits.text_characters} characters")
    if len(job["sections"]) > limits.sections:
        raise at_fault("/sections", f"at most {limits.sections}", got=len(job["sections"]))
    for name in ("count", "best_of"):
        most = getattr(limits, name)
        if not 1 <= job[name] <= most:
            raise at_fault(f"/{name}", f"must be from 1 to {most}", got=job[name])
    if job["duration_s"] > limits.duration_s:
        raise at_fault(
            "/duration_s", f"at most {limits.duration_s:g} s are made here; ask for less", got=job["duration_s"]
        )
    if job["loop"] is not None and asked_s(job) > limits.duration_s:
        raise at_fault("/loop/bars", f"in this tempo that is more than {limits.duration_s:g} s; ask for fewer")


def _check_sources(job: Mapping[str, Any]) -> None:
    for name in ("melody", "style", "continue_from"):
        source = job[name]
        if source is None:
            continue
        if (source["clip_id"] is None) == (source["upload_id"] is None):
            raise at_fault(f"/{name}", "name either a clip_id or an upload_id")
        if source.get("end_s") is not None and source["end_s"] <= source["start_s"]:
            raise at_fault(f"/{name}/end_s", "must be after start_s", got=source["end_s"])
    if job["loop"] is not None and (job["sections"] or job["continue_from"] is not None):
        raise at_fault("/loop", "a loop has one text and continues nothing; leave out sections and continue_from")
    at_s = None if job["continue_from"] is None else job["continue_from"]["at_s"]
    if at_s is not None and at_s >= job["duration_s"]:
        raise at_fault("/duration_s", "it includes the kept part; ask for more than at_s", got=job["duration_s"])


def check_model(job: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """Refuses a job for another model, or one that this model cannot do.

    Raises:
        Problem: it is one.
    """
    if job["model"] not in (None, model["id"]):
        detail = f"this server has {model['id']}; start another with descant serve --model {job['model']:.100}"
        raise at_fault("/model", detail, "model-cannot", got=job["model"])
    for name, ability in NEEDED.items():
        if job[name] and job[name] not in OPEN and not model["can"][ability]:
            detail = model["cannot"][ability]
            raise at_fault(f"/{name}", detail, "model-cannot")
