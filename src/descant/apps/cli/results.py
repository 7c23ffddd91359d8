"""What ``generate`` and ``regenerate`` do with their requests: decode them in batches, write and print the results."""

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from descant.apps.cli.option_names import with_option_names
from descant.apps.cli.outputs import Target, note, show, slug
from descant.apps.cli.progress import Report, part_of, progress
from descant.apps.cli.requests import choices_of, note_unused, texts_of
from descant.version import __version__

if TYPE_CHECKING:
    from descant.api import MusicGen
    from descant.audio import Clip
    from descant.checkpoints.codes import CodesHeader
    from descant.generation.request import Request


QUIETER_LU = 0.5
"""What a file is quieter than it should be before that is said."""

CHOICE = ("best_of", "scores", "dropped")
"""Entries of a record that say how its music was chosen."""


@dataclass(frozen=True)
class Job:
    """A request whose result is one file; the number is its place in the run, from 1."""

    number: int
    request: "Request"


@dataclass(frozen=True)
class Result:
    """What is complete on disk of a job: the audio, and the codes if they are asked for.

    Args:
        tempo, key: which apply where the texts state none; None if they are open.
        chords: given or chosen; None if they are open.
        loudness_lufs: of the audio; None for silence, or if no loudness was asked for.
        candidates: what the record says of those among which it was chosen; empty if there were none.
    """

    job: Job
    seed: int
    tempo: float | None
    key: str | None
    chords: str | None
    audio: Path
    loudness_lufs: float | None
    codes: Path | None = None
    candidates: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Writer:
    """Writes the audio of each job, and its codes where ``codes`` is a target.

    Args:
        loudness_lufs: None leaves the level as it is.
        kept: entries of the file's tags that a clip generated again does not know, such as its sources.
    """

    model: "MusicGen"
    target: Target
    codes: Target | None
    loudness_lufs: float | None
    kept: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def _codes_header(self) -> "CodesHeader":
        """Of codes of this model's codec; its fingerprint reads all weights."""
        from descant.apps.cli.codec import header_of

        return header_of(self.model, num_samples=1)

    def write_audio(self, job: Job, clip: "Clip") -> tuple[Path, float | None]:
        """Writes a job's audio; gives its path and, if a loudness was asked for, its own in LUFS, None for silence."""
        from descant.audio.clip import PEAK_LIMIT
        from descant.audio.loudness import integrated_loudness
        from descant.generation.audio import attenuate

        given = clip.info["prompt_samples"]
        if given is not None and self.loudness_lufs is None:
            clip = replace(clip, samples=attenuate(clip.samples, given, PEAK_LIMIT, clip.sample_rate_hz))
        level, gain = clip.leveled(self.loudness_lufs)
        made = {"loudness_lufs": self.loudness_lufs, "gain": gain, "sample_rate_hz": clip.sample_rate_hz}
        info = {**clip.info, **self.kept, **made}
        content = replace(level, info=info).to_bytes(self.target.suffix)
        reached = -math.inf if self.loudness_lufs is None else integrated_loudness(level.samples, level.sample_rate_hz)
        path = self.target.write(content, _stem(job, clip), self.codes)
        return path, None if reached == -math.inf else round(reached, 2)

    def write_codes(self, job: Job, clip: "Clip", target: Target, audio: Path) -> Path:
        """Writes a job's codes, in a folder under the name of its audio, and gives their path."""
        from descant.checkpoints.codes import codes_to_bytes

        assert clip.codes is not None
        content = codes_to_bytes(clip.codes, replace(self._codes_header, num_samples=clip.samples.shape[-1]))
        return target.write(content, audio.stem if self.target.is_folder else _stem(job, clip))

    def write(self, job: Job, clip: "Clip", results: list[Result]) -> None:
        """Writes a job's files and adds its result as soon as the audio is complete."""
        audio, loudness_lufs = self.write_audio(job, clip)
        chosen = {name: clip.info[name] for name in ("seed", "tempo", "key", "chords")}
        candidates = {name: clip.info[name] for name in CHOICE if name in clip.info}
        results.append(Result(job, **chosen, audio=audio, loudness_lufs=loudness_lufs, candidates=candidates))
        if self.codes is not None:
            results[-1] = replace(results[-1], codes=self.write_codes(job, clip, self.codes, audio))


def make(writer: Writer, requests: list["Request"], arguments: argparse.Namespace, best_of: int = 1) -> None:
    """Generates and writes all requests, and prints the results; if an error ends the run, those that are complete.

    Each batch of the engine is written before the next one begins, so that an interrupted run keeps its files.
    """
    model, jobs = writer.model, [Job(number, request) for number, request in enumerate(requests, start=1)]
    audio_s = _duration_s(jobs)
    results: list[Result] = []
    began = time.monotonic()
    try:
        with progress(f"{audio_s:g} s with {model.name} on {model.device}", audio_s) as report:
            for batch, report_batch in _batches(jobs, model.engine.max_batch, report):
                clips = model.generate([job.request for job in batch], best_of=best_of, progress=report_batch)
                for job, clip in zip(batch, clips, strict=True):
                    writer.write(job, clip, results)
    except KeyboardInterrupt as stop:
        if results:
            stop.args = (f"{len(results)} of {len(jobs)} files are finished and stay",)
        raise
    except Exception as error:
        if results:
            message = with_option_names(str(error), arguments.parser.names())
            _show(model, results, time.monotonic() - began, arguments.json, {"error": message})
        raise
    seconds_taken = time.monotonic() - began
    if not arguments.json:
        if model.model.tempo_key is not None:
            note_unused([text for request in requests for text in texts_of(request)])
        _note_choices(results)
        _note_quiet(results, writer.loudness_lufs)
    if not writer.target.is_stdout:
        _show(model, results, seconds_taken, arguments.json, {})
    if not arguments.json:
        note(f"{audio_s:g} s of audio in {seconds_taken:.1f} s, {audio_s / seconds_taken:.2g}x real time")
        _note_runtime(model)


def _note_choices(results: list[Result]) -> None:
    """Says which tempi, keys and chords the model chose, and which candidates it left out."""
    for result in results:
        choices = choices_of(result.job.request, result.tempo, result.key, result.chords)
        for line in (choices, _left_out(result.candidates)):
            if line:
                note(line if len(results) == 1 else f"{result.audio.name}: {line}")


def _note_quiet(results: list[Result], asked_lufs: float | None) -> None:
    """Says how many files could not be made as loud as they should be."""
    reached = [result.loudness_lufs for result in results if result.loudness_lufs is not None]
    quiet = [lufs for lufs in reached if asked_lufs is not None and lufs < asked_lufs - QUIETER_LU]
    if quiet:
        which = "" if len(results) == 1 else f"{len(quiet)} of {len(results)} files: down to "
        note(f"{which}{min(quiet):.1f} LUFS instead of {asked_lufs:g}: peaks allow no more")


def _left_out(candidates: dict[str, Any]) -> str:
    """How many candidates were dropped and why, and how many were not needed, in words; empty if there are none."""
    reasons = [entry["reason"] for entry in candidates.get("dropped", [])]
    num_unneeded = candidates.get("scores", []).count(None) - len(reasons)
    parts = []
    if reasons:
        parts.append(f"{len(reasons)} dropped after their first seconds ({', '.join(dict.fromkeys(reasons))})")
    if num_unneeded:
        parts.append(f"{num_unneeded} not needed after a full score")
    return f"of {candidates['best_of']} candidates {' and '.join(parts)}" if parts else ""


def _note_runtime(model: "MusicGen") -> None:
    """Says what executed the steps, unless it is what a model gets on this device by default."""
    from descant.devices import select_precision
    from descant.generation.runtimes import EagerRuntime

    runtime, usual = model.engine.runtime, select_precision("auto", model.model.device)
    if model.precision != usual.name or isinstance(runtime, EagerRuntime):
        note(f"precision {model.precision}: {runtime.description}")


def _batches(jobs: list[Job], size: int, report: Report) -> Iterator[tuple[list[Job], Report]]:
    starts = range(0, len(jobs), size)
    for part, start in enumerate(starts):
        yield jobs[start : start + size], part_of(report, part, len(starts))


def _show(model: "MusicGen", results: list[Result], seconds_taken: float, as_json: bool, also: dict[str, Any]) -> None:
    """Prints the results; ``also`` says why there are no more."""
    summary = {
        "files": [str(result.audio) for result in results],
        "codes_files": [str(result.codes) for result in results if result.codes is not None],
        "seeds": [result.seed for result in results],
        "tempos": [result.tempo for result in results],
        "keys": [result.key for result in results],
        "chords": [result.chords for result in results],
        "loudness_lufs": [result.loudness_lufs for result in results],
        "prompts": [result.job.request.text for result in results],
        "duration_s": results[0].job.request.result_s,
        "sample_rate_hz": model.sample_rate_hz,
        "seconds_taken": seconds_taken,
        "real_time_factor": seconds_taken / _duration_s([result.job for result in results]),
        "model": model.name,
        "device": model.device,
        "precision": model.precision,
        "runtime": model.engine.runtime.description,
        "version": __version__,
        **({"candidates": [result.candidates for result in results]} if results[0].candidates else {}),
        **also,
    }
    paths = [path for result in results for path in (result.audio, result.codes) if path is not None]
    show(summary, [str(path) for path in paths], as_json)


def _stem(job: Job, clip: "Clip") -> str:
    """The name of a result in a folder. It begins with a digit, so that no prompt makes a name that systems reserve."""
    return f"{job.number:04d}-seed{clip.info['seed']}-{slug(job.request.text)}"


def _duration_s(jobs: list[Job]) -> float:
    return sum(job.request.result_s for job in jobs)
