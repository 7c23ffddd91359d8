"""Measures a folder of clips, alone or against a reference folder, by every metric that is asked for or possible."""

from collections.abc import Callable, Sequence

from descant.counted import counted
from descant.errors import AudioError, InvalidRequest
from descant.studies.evaluation.base import Role
from descant.studies.evaluation.cache import Cache
from descant.studies.evaluation.choice import Choice, Settings
from descant.studies.evaluation.measuring import LOUDNESS_LUFS, BrokenFile, MeasuredClip, Measurer, measure_files
from descant.studies.evaluation.results import ClipResult, Evaluation, badness_of
from descant.studies.evaluation.sets import ClipSet, broken_line
from descant.studies.evaluation.table import Table

Report = Callable[[float, float], None]


def evaluate(
    generated: ClipSet,
    reference: ClipSet | None = None,
    settings: Settings | None = None,
    report: Report = lambda _done, _whole: None,
) -> Evaluation:
    """The numbers of a set.

    Args:
        report: called with the seconds of audio that are done and all of them.

    Raises:
        InvalidRequest: a metric that was asked for cannot be computed, no metric can, or all clips are silent.
        AudioError: a file cannot be read or is too short.
        MissingExtra, CheckpointError: an embedder that was asked for is missing.
    """
    settings = settings or Settings()
    choice = Choice(generated, reference, settings)
    notes = generated.notes("generated") + ([] if reference is None else reference.notes("reference"))
    roles = list(choice.embedders)
    all_s = generated.duration_s + (0.0 if reference is None else reference.duration_s)
    ours = _measured(generated, "generated", choice, roles, notes, lambda done_s: report(done_s, all_s))
    theirs = None
    if reference is not None:
        # Texts belong to generated clips, and to reference clips only where these have the same names.
        of_reference = [role for role in roles if role != "text_embedder" or choice.has_same_names]
        theirs = _measured(
            *(reference, "reference", choice, of_reference, notes),
            lambda done_s: report(generated.duration_s + done_s, all_s),
        )
    table = Table(choice, ours, theirs)
    return Evaluation(
        generated=generated,
        reference=reference,
        rows=table.rows,
        columns=table.columns,
        clips=_clips(ours, table),
        reference_values=table.reference_values(),
        left_out=choice.left_out,
        notes=notes + table.notes,
        embedders={role: embedder.label for role, embedder in choice.embedders.items()},
        settings={
            "metrics": [metric.name for metric in choice.metrics],
            "loudness_lufs": LOUDNESS_LUFS,
            "duration_s": settings.duration_s,
            "seed": settings.seed,
        },
    )


def _measured(
    clips: ClipSet,
    title: str,
    choice: Choice,
    roles: Sequence[Role],
    notes: list[str],
    report: Callable[[float], None],
) -> list[MeasuredClip]:
    """The results of all files of a set; what is wrong with a part of it is added to ``notes``."""
    settings = choice.settings
    cache = None if settings.cache is None else Cache(settings.cache)
    embedders = [choice.embedders[role] for role in roles]
    measurer = Measurer(embedders, choice.clip_metrics, cache, settings.duration_s)
    measured, broken, done_s = [], [], 0.0
    for result in measure_files(clips.files, measurer, choice.plan(roles), settings.num_processes):
        done_s += result.file.duration_s
        report(done_s)
        if isinstance(result, MeasuredClip):
            measured.append(result)
            continue
        if not settings.skip_broken:
            raise AudioError(f"{broken_line(result)}; repair or remove it, or leave such files out (--skip-broken)")
        broken.append(result)
    notes += _checked(clips, title, measured, broken)
    # Intervals and parts of sets are drawn by position: the order of the files must not change them.
    return sorted(measured, key=lambda clip: clip.file.name)


def _checked(clips: ClipSet, title: str, measured: Sequence[MeasuredClip], broken: Sequence[BrokenFile]) -> list[str]:
    """Notes on clips without music; a set without any is refused."""
    notes = []
    if broken:
        notes.append(
            f"{title}: {counted(len(broken), 'clip is', 'clips are')} left out, first {broken_line(broken[0])}"
        )
    if not measured:
        raise InvalidRequest(f"{str(clips.folder)!r}: no clip can be measured, first {broken_line(broken[0])}")
    silent = [clip.file.name for clip in measured if clip.is_silent]
    if len(silent) == len(measured):
        all_of = counted(len(silent), "clip is", "clips are")
        raise InvalidRequest(f"{str(clips.folder)!r}: all {all_of} silent; there is no music to measure")
    if silent:
        count = counted(len(silent), "clip is silent and counts", "clips are silent and count")
        notes.append(f"{title}: {count} as such, first {silent[0]!r}")
    return notes


def _clips(ours: Sequence[MeasuredClip], table: Table) -> list[ClipResult]:
    """The clips, the worst first; those without a rank come last."""
    badness = badness_of(table.of_clips, table.columns)
    results = [
        ClipResult(
            name=clip.file.name,
            file=str(clip.file.path),
            text=clip.file.asked.text,
            values=table.of_clips[clip.file.name],
            badness=badness[clip.file.name],
            is_silent=clip.is_silent,
        )
        for clip in ours
    ]
    return sorted(results, key=lambda clip: -1.0 if clip.badness is None else clip.badness, reverse=True)
