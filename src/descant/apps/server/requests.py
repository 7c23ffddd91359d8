"""From a job on the wire to the library's request, in the server to check it and in the engine to make it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from descant.generation.request import Guidance, Request, Sampling

COPIED = (
    "text",
    "negative_text",
    "long_prompt",
    "duration_s",
    "stride_s",
    "seed",
    "tempo",
    "key",
    "chords",
    "melody_part",
)


def library_request(job: Mapping[str, Any], sampling: Sampling, guidance: Guidance, **sources: Any) -> Request:
    """The request that one variation of a job is, whose seed is that of the variation.

    Args:
        job: as in `docs/protocol.md`, with every field.
        sampling, guidance: the model's, for fields that the job leaves out.
        sources: ``melody``, ``style``, ``prompt``, ``prompt_codes`` and ``adapters`` of the request.

    Raises:
        InvalidRequest: a field has a value that no request can have.
    """
    loop = job["loop"]
    in_bars = {} if loop is None else {"loop_bars": loop["bars"], "beats_per_bar": loop["beats_per_bar"]}
    schedule = {"schedule": tuple(map(tuple, job["guidance"].get("schedule", ())))}
    return Request(
        **{name: job[name] for name in COPIED},
        **in_bars,
        timeline=tuple((section["start_s"], section["text"]) for section in job["sections"]),
        sampling=replace(sampling, **job["sampling"]),
        guidance=replace(guidance, **{**job["guidance"], **schedule}),
        **sources,
    )
