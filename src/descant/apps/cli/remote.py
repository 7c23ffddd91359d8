"""``generate --server URL``: the same command, with the music made by a service."""

import argparse
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from descant.apps.cli.generate_options import DURATION_S
from descant.apps.cli.option_names import OPTIONS
from descant.apps.cli.options import LOUDNESS_LUFS
from descant.apps.cli.outputs import STDOUT, Target, note, show, slug
from descant.apps.cli.parser import is_given
from descant.apps.cli.progress import progress
from descant.apps.cli.requests import check_combinations, choices_in_words, note_unused
from descant.apps.cli.standard_streams import binary_stdout
from descant.apps.client import Client, Submission
from descant.apps.field_names import LIBRARY_NAMES, renamed
from descant.atomic import write_all
from descant.errors import AudioError, DescantError, InvalidRequest, naming
from descant.tempo_key import OPEN, stated_tempo_key

_PLACE = re.compile(r"(?P<field>sections|adapters)\.\d+\.(?P<inner>\w+): ")
"""The beginning of an error that is in one of several values of an option."""

WITHDRAWAL_S = 5.0
"""How long a command that ends early tries to end its jobs on the server."""
OF_THE_SERVER = ("device", "precision", "threads")
"""Options of the machine that computes."""


def generate_remotely(arguments: argparse.Namespace, target: Target, codes: Target | None) -> None:
    """Has every variation of every prompt made by a server, and writes what comes back."""
    check_combinations(arguments)
    for name in OF_THE_SERVER:
        if is_given(arguments, name):
            raise InvalidRequest(f"--{name}: with --server it is the server's; give it to descant serve")
    if arguments.salvage:
        raise InvalidRequest("--salvage: the server does not read damaged files; leave it out, or leave out --server")
    client = Client(arguments.server)
    server = client.server()
    if target.suffix not in server["formats"]["audio"]:
        raise InvalidRequest(
            f"--format {target.suffix}: this server writes {', '.join(server['formats']['audio'])}; choose one of these"
        )
    if arguments.count > server["limits"]["count"]:
        raise InvalidRequest(
            f"--count {arguments.count}: this server makes up to {server['limits']['count']} at a time"
        )
    sources = _sources(arguments, client)
    requests = [_job(arguments, text, sources) for text in arguments.prompts]
    with _library_names():
        if arguments.stream is not None:
            _stream(client, requests[0], arguments.stream_format or "wav")
        else:
            _make(client, server, requests, arguments, target, codes)


def _make(
    client: Client,
    server: dict[str, Any],
    requests: list[dict[str, Any]],
    arguments: argparse.Namespace,
    target: Target,
    codes: Target | None,
) -> None:
    began = time.monotonic()
    submissions = [Submission(request) for request in requests]
    with withdrawn_on_error(client, submissions):  # a prompt that is refused ends the whole command, too
        jobs = [client.submit(submission) for submission in submissions]
        seconds = sum(clip["asked_s"] for job in jobs for clip in job["clips"])
        with progress(f"{seconds:g} s with {server['model']} on {arguments.server}", seconds) as report:
            jobs = [client.finished(job, report) for job in jobs]
    # Also where one fails, the others are kept.
    made = [(number, *one) for number, one in enumerate(_clips(jobs), start=1) if one[1]["state"] == "ready"]
    if made:
        _write(client, made, arguments, target, codes, time.monotonic() - began)
    for job in jobs:
        client.check_succeeded(job)


def _clips(jobs: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The clips of jobs, each after the request of its job."""
    for job in jobs:
        for clip in job["clips"]:
            yield job["request"], clip


def _sources(arguments: argparse.Namespace, client: Client) -> dict[str, Any]:
    """The files that the music is made from, on the server."""
    given = {"melody": arguments.melody, "style": arguments.style, "continue_from": arguments.prompt}
    sources = {}
    for name, file in given.items():
        if file is not None:
            with naming(OPTIONS[LIBRARY_NAMES.get(name, name)]):
                sources[name] = {"upload_id": client.upload(Path(file))}
    return sources


@contextmanager
def _library_names() -> Iterator[None]:
    """Gives fields in the server's refusals in the block the library's names, which become those of options."""
    try:
        yield
    except (AudioError, InvalidRequest) as error:
        raise type(error)(renamed(_PLACE.sub(r"\g<field>: \g<inner> ", str(error), count=1), LIBRARY_NAMES)) from error


@contextmanager
def withdrawn_on_error(client: Client, submissions: Iterable[Submission]) -> Iterator[None]:
    """Ends the jobs on the server if the block ends early. The user is told why it does, not that this fails, too."""
    try:
        yield
    except BaseException:
        deadline = time.monotonic() + WITHDRAWAL_S
        for submission in submissions:
            with suppress(DescantError):
                client.withdraw(submission, deadline - time.monotonic())
        raise


def _job(arguments: argparse.Namespace, text: str, sources: dict[str, Any]) -> dict[str, Any]:
    """The job that the options describe; what is not given is left to the server."""
    sampling = {name: getattr(arguments, name) for name in ("temperature", "top_k", "top_p", "greedy", "hold_penalty")}
    guidance = {
        "scale": arguments.guidance,
        "text_scale": arguments.text_guidance,
        "melody_scale": arguments.melody_guidance,
        "schedule": [list(point) for point in arguments.guidance_at] or None,
    }
    loop = None
    if arguments.loop is not None:
        loop = {"bars": arguments.loop, "beats_per_bar": arguments.beats_per_bar or 4}
    job = {
        # Of the server, unless one is asked for: it refuses any other.
        "model": arguments.model if is_given(arguments, "model") else None,
        "text": text,
        "negative_text": arguments.negative,
        "long_prompt": arguments.long_prompt,
        "duration_s": DURATION_S if arguments.duration is None else arguments.duration,
        "stride_s": arguments.stride,
        "seed": arguments.seed,
        "count": arguments.count,
        "best_of": arguments.best_of,
        "tempo": arguments.tempo,
        "key": arguments.key,
        "chords": arguments.chords,
        "sections": [{"start_s": second, "text": later} for second, later in arguments.then],
        "melody_part": arguments.melody_part,
        "loop": loop,
        "adapters": [{"name": name, "strength": strength} for name, strength in arguments.adapter],
        "sampling": _given(sampling),
        "guidance": _given(guidance),
        **sources,
    }
    return _given(job)


def _stream(client: Client, request: dict[str, Any], format: str) -> None:
    out = binary_stdout("--stream -")
    submission = Submission(request)
    with withdrawn_on_error(client, [submission]):
        job = client.submit(submission)
        for block in client.blocks(job["clips"][0]["urls"]["stream"], format="pcm" if format == "raw" else "wav"):
            write_all(out, block)
            out.flush()
        job = client.finished(job)
    client.check_succeeded(job)
    _note_used(client, [*_clips([job])], [Path(STDOUT)])


def _write(
    client: Client,
    made: list[tuple[int, dict[str, Any], dict[str, Any]]],
    arguments: argparse.Namespace,
    target: Target,
    codes: Target | None,
    seconds_taken: float,
) -> None:
    """Writes the clips that were made, each with its number and the request of its job."""
    default_lufs = LOUDNESS_LUFS if arguments.prompt is None else None
    lufs = getattr(arguments, "loudness", default_lufs)
    clips = [clip for _, _, clip in made]
    files, codes_files = [], []
    for number, _, clip in made:
        stem = f"{number:04d}-seed{clip['seed']}-{slug(clip['text'])}"
        content = client.content(clip["urls"]["audio"], format=target.suffix, loudness_lufs=lufs)
        files.append(target.write(content, stem, codes))
        if codes is not None:
            stem = files[-1].stem if target.is_folder else stem
            codes_files.append(codes.write(client.content(clip["urls"]["codes"]), stem))
    seconds = sum(clip["duration_s"] for clip in clips)
    server = client.server()
    summary = {
        "files": [str(path) for path in files],
        "codes_files": [str(path) for path in codes_files],
        "seeds": [clip["seed"] for clip in clips],
        "tempos": [clip["tempo_bpm"] for clip in clips],
        "keys": [clip["key"] for clip in clips],
        "chords": [clip["chords"] for clip in clips],
        "prompts": [clip["text"] for clip in clips],
        "duration_s": clips[0]["duration_s"],
        "sample_rate_hz": clips[0]["sample_rate_hz"],
        "seconds_taken": seconds_taken,
        "real_time_factor": seconds_taken / seconds,
        "model": clips[0]["model"],
        "device": server["device"],
        "precision": server["precision"],
        "version": server["version"],
        "server": arguments.server,
    }
    if not arguments.json:
        _note_used(client, [(request, clip) for _, request, clip in made], files)
    if not target.is_stdout:
        show(summary, [str(path) for path in (*files, *codes_files)], arguments.json)
    if not arguments.json:
        note(f"{seconds:g} s of audio in {seconds_taken:.1f} s, {seconds / seconds_taken:.2g}x real time")


def _note_used(client: Client, clips: list[tuple[dict[str, Any], dict[str, Any]]], files: list[Path]) -> None:
    """Says which tempi and keys of the prompts are not used, and which tempi, keys and chords the model chose."""
    if client.get(f"/v1/models/{clips[0][1]['model']}")["can"]["tempo_key"]:
        note_unused(
            text
            for request, _ in clips
            for text in (request["text"], *(section["text"] for section in request["sections"]))
        )
    for (request, clip), file in zip(clips, files, strict=True):
        stated = stated_tempo_key(request["text"], request["tempo"], request["key"])
        chords = None if request["chords"] in OPEN else request["chords"]
        line = choices_in_words(stated, chords, clip["tempo_bpm"], clip["key"], clip["chords"])
        if line:
            note(line if len(files) == 1 else f"{file.name}: {line}")


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
