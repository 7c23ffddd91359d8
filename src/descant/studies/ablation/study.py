"""A study: the rows of a recipe, several seeds each, trained, judged and written down one after the other.

A row that is in the results is not run again. Equal trainings are shared among rows and studies, and so are equal
judgements, whose line is then a copy.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeAlias

from descant.errors import InvalidRequest
from descant.evaluation.embedders import Embedder
from descant.folder_lock import locked
from descant.studies.ablation.data import StudyData
from descant.studies.ablation.measures import decoded, held_out_codes, measure, measure_music
from descant.studies.ablation.results import NAME, append, lines_of, read
from descant.studies.ablation.run import AblationRun, judging_id, seeded, training_id
from descant.studies.ablation.train import new_model, num_parameters, trained_model, training_seconds
from descant.training.logs import say

Row: TypeAlias = Callable[[], AblationRun]

LINES_STUDY = "lines"
"""The study of the two lines that the others are seen against: the recordings and what the codec makes of them."""


@dataclass(frozen=True)
class Study:
    """The rows of a recipe by name.

    Args:
        title: the first line of the recipe's docstring; ``text`` is the rest.
        main: the rows that have a seed more than the others.
    """

    name: str
    title: str
    text: str
    rows: dict[str, Row]
    main: frozenset[str]

    def seeds(self, row: str, count: int | None) -> range:
        """The seeds of a row; ``count`` is the same number for all rows, None two and for main rows three."""
        return range((3 if row in self.main else 2) if count is None else count)

    def plan(self, rows: Sequence[str] | None, num_seeds: int | None) -> list[tuple[str, int]]:
        """Rows and seeds in the order of running: all rows with the first seed, then all with the second.

        Raises:
            InvalidRequest: there is no row of that name.
        """
        chosen = list(self.rows) if rows is None else list(rows)
        if unknown := [row for row in chosen if row not in self.rows]:
            raise InvalidRequest(f"rows: {self.name} has no row {unknown[0]!r:.60}; it has {', '.join(self.rows)}")
        pairs = [(row, seed) for row in chosen for seed in self.seeds(row, num_seeds)]
        return sorted(pairs, key=lambda pair: pair[1])


def run_studies(
    studies: Sequence[Study],
    data: StudyData,
    out: Path,
    embedder: Embedder,
    *,
    rows: Sequence[str] | None = None,
    num_seeds: int | None = None,
    provenance: dict[str, Any] | None = None,
    change: Callable[[AblationRun], AblationRun] = lambda run: run,
    done: Callable[[Study], object] = lambda _: None,
) -> None:
    """Runs what is missing of some studies: all with the first seed, then all with the second, and so on.

    Args:
        out: holds ``results.jsonl`` and the trainings in ``runs``.
        provenance: goes into every line: the command, the commit.
        change: applied to every row, such as another size of the model.
        done: called with a study after each of its rows.

    Raises:
        InvalidRequest: there is no such row, or another process runs a study in this folder.
        Cancelled: a signal stopped a training; the same call goes on.
    """
    plan = [(study, row, seed) for study in studies for row, seed in study.plan(rows, num_seeds)]
    with locked(out):
        _measure_lines(data, out, embedder, change(next(iter(studies[0].rows.values()))()), provenance or {})
        for study, row, seed in sorted(plan, key=lambda place: place[2]):
            run = seeded(change(study.rows[row]()), seed)
            identity = judging_id(run, data.identity)
            known = [line for line in read(out / NAME) if line["id"] == identity]
            if any((line["study"], line["row"], line["seed"]) == (study.name, row, seed) for line in known):
                continue
            place = {"study": study.name, "row": row, "seed": seed}
            say(f"{study.name} {row} seed {seed}" + (" is a row of an earlier study" if known else ""))
            line = {**known[0], **place} if known else {**place, **_run_row(run, data, out, embedder)}
            append(out / NAME, {**line, "id": identity, **(provenance or {})})
            done(study)


def _run_row(run: AblationRun, data: StudyData, out: Path, embedder: Embedder) -> dict[str, Any]:
    began = datetime.now(timezone.utc).isoformat(timespec="seconds")
    folders = [out / "runs" / training_id(stage, data.identity) for stage in run.stages]
    models = [trained_model(stage, data, folder) for stage, folder in zip(run.stages, folders, strict=True)]
    judging_s = time.process_time()
    measures = measure(run, models, data, embedder)
    seconds = [training_seconds(folder) for folder in folders]
    return {
        "began": began,
        "trainings": [folder.name for folder in folders],
        "training_processor_s": sum(one["processor_s"] for one in seconds),
        "training_wall_s": sum(one["wall_s"] for one in seconds),
        "judging_processor_s": time.process_time() - judging_s,
        "parameters": sum(num_parameters(*pair) for pair in zip(run.stages, models, strict=True)),
        "updates": max(stage.trainer.max_steps for stage in run.stages),
        "frame_rate_hz": models[0].codec.frame_rate_hz,
        "device": str(models[0].device),
        **_totals(run),
        **measures,
    }


def _totals(run: AblationRun) -> dict[str, int]:
    """What the trainings of a row read: frames of music, and positions of sequences times layers' passes over them."""
    stages = run.stages
    first = stages[0]
    frames = first.trainer.max_steps * first.batches.batch_size * first.trainer.accumulate * first.num_frames
    positions = sum(stage.trainer.max_steps * stage.positions_per_update for stage in stages)
    layers = [stage.model.lm.transformer.num_layers for stage in stages]
    passes = sum(
        stage.trainer.max_steps * stage.positions_per_update * count
        for stage, count in zip(stages, layers, strict=True)
    )
    return {"frames": frames, "positions": positions, "positions_times_layers": passes}


def _measure_lines(
    data: StudyData, out: Path, embedder: Embedder, run: AblationRun, provenance: dict[str, Any]
) -> None:
    """Judges the recordings and their codes decoded, once for a folder of results."""
    if lines_of(read(out / NAME), LINES_STUDY):
        return
    say("judging the held-out recordings and what the codec makes of them")
    codes = held_out_codes(data)
    recordings = [data.recording(number) for number in range(len(codes))]
    both = {"recordings": recordings, "codec": decoded(codes, new_model(run, data), run.judging.batch_size)}
    for row, clips in both.items():
        measures = measure_music(None, clips, data, embedder)
        append(out / NAME, {"study": LINES_STUDY, "row": row, "seed": 0, "id": row, **measures, **provenance})


def rows_of(module: Any, name: str) -> Study:
    """The study that a recipe's module describes.

    Raises:
        InvalidRequest: it has no docstring or no ``ROWS``.
    """
    rows: tuple[Row, ...] | None = getattr(module, "ROWS", None)
    if not rows or not module.__doc__:
        raise InvalidRequest(f"{name}: not a recipe of a study; it needs a docstring and ROWS, a tuple of functions")
    title, _, text = module.__doc__.strip().partition("\n")
    main = frozenset(row.__name__ for row in getattr(module, "MAIN", ()))
    return Study(name, title, text.strip(), {row.__name__: row for row in rows}, main)


def described(study: Study) -> Iterator[str]:
    """A line for the study and one for each row."""
    yield f"{study.name}: {study.title}"
    for name, row in study.rows.items():
        yield f"  {name}: {' '.join((row.__doc__ or '').split())}"
