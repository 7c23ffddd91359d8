"""``evaluate --suite``: music for the prompts of a published test set, and its numbers next to the published ones."""

import argparse
import os
from pathlib import Path

from descant.apps.cli.outputs import note, show
from descant.apps.cli.progress import progress, waiting
from descant.counted import counted
from descant.errors import InvalidRequest


def run_suite(arguments: argparse.Namespace) -> None:
    """Generates what is missing of the suite's clips, and prints their numbers."""
    from descant.apps.cli.evaluate import settings_of, write_page
    from descant.studies.evaluation import musiccaps
    from descant.studies.evaluation.evaluate import evaluate

    for option in ("reference", "prompts", "melody", "training"):
        if getattr(arguments, option) is not None:
            raise InvalidRequest(f"--{option}: the suite has its own; leave it out")
    folder = Path(os.path.expanduser(arguments.folder))
    generated = folder / "generated" if arguments.output is None else Path(os.path.expanduser(arguments.output))
    suite = musiccaps.read_musiccaps(folder, generated, arguments.clips)
    settings = settings_of(
        arguments,
        metrics=arguments.metrics or musiccaps.METRICS,
        embedders={**musiccaps.EMBEDDERS, **settings_of(arguments).embedders},
    )
    if suite.num_missing:
        missing = counted(suite.num_missing, "caption has", "captions have")
        note(f"note: {missing} no clip in {str(folder)!r}: left out")
    with waiting(f"loading {arguments.model}"):
        from descant.api import load

        model = load(arguments.model, device=arguments.device, precision=arguments.precision)
    audio_s = musiccaps.DURATION_S * len(suite.clips)
    with progress(f"{audio_s:g} s with {model.name} on {model.device}", audio_s) as report:
        num_kept = musiccaps.generate_missing(
            model.generate, model.fingerprint, suite.clips, generated, model.engine.max_batch, report
        )
    ours, theirs = musiccaps.open_sets(suite.clips, generated, arguments.skip_broken)
    with progress(f"measuring {counted(len(ours.files), 'clip')}", ours.duration_s + theirs.duration_s) as report:
        found = evaluate(ours, theirs, settings, report)
    result = {
        **found.as_json(),
        "suite": arguments.suite,
        "model": model.name,
        "num_kept": num_kept,
        "num_missing": suite.num_missing,
        "published": [dict(zip(("model", *musiccaps.METRICS), row, strict=True)) for row in musiccaps.PAPER],
        "html": arguments.html,
    }
    lines = [*found.markdown().splitlines(), "", *musiccaps.paper_table(model.name, found).splitlines()]
    lines += write_page(found, arguments)
    show(result, lines, arguments.json)
