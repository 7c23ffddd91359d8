"""The starter's corpus and its reports: ``python -m starter_corpus render|report|... FOLDER`` in a checkout."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.progress import Progress

from descant.atomic import write_atomically
from descant.data.json_lines import lines_of
from descant.data.manifest import Split, read_manifest
from descant.errors import DescantError
from starter_corpus.corpus import render_corpus
from starter_corpus.pieces import caption_piece


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, 2 after an error, 130 after an interruption (one line each)."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except DescantError as error:
        print(f"starter_corpus: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("starter_corpus: interrupted; the same command continues", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m starter_corpus", description=__doc__.partition(":")[0] + ".")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_rendering(commands.add_parser("render", help="render the corpus from scores; an interrupted run continues"))
    _add_captioning(commands.add_parser("captions", help="write the corpus's manifest without its audio"))
    _add_studying(commands.add_parser("study-data", help="the data of `descant study`; an interrupted run continues"))
    _add_choosing(
        commands.add_parser("best-clips", help="of a model's clips, codes of those that fit best, to train on")
    )
    _add_reports(commands)
    return parser


def _add_rendering(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, metavar="FOLDER", help="output folder; finished pieces in it are kept")
    command.add_argument("--hours", type=float, required=True, help="hours of music; 34.5 for the shipped starter")
    command.add_argument("--seed", type=int, default=0, help="each seed gives another corpus (default: 0)")
    command.add_argument("--workers", type=int, default=2, help="number of processes (default: 2)")
    command.add_argument("--soundfont", type=Path, metavar="FILE", help="a General MIDI soundfont (default: FluidR3)")
    command.add_argument("--split", choices=get_args(Split), help="only the pieces of this split (default: all)")
    command.set_defaults(run=_render)


def _add_captioning(command: argparse.ArgumentParser) -> None:
    command.add_argument("manifest", type=Path, metavar="FILE", help="the manifest to write")
    command.add_argument("--pieces", type=int, required=True, help="number of pieces; 2500 for the shipped prior")
    command.add_argument("--seed", type=int, default=0, help="of the corpus (default: 0)")
    command.set_defaults(run=_caption)


def _add_studying(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, metavar="FOLDER", help="output folder; what is finished in it is kept")
    command.add_argument("--hours", type=float, default=11.0, help="hours of music, 5 %% held out (default: 11)")
    command.add_argument(
        "--held-out-hours",
        type=float,
        default=33.0,
        metavar="HOURS",
        help="held-out pieces are those of as many hours (default: 33)",
    )
    command.add_argument("--seed", type=int, default=11, help="of the corpus (default: 11)")
    command.add_argument("--workers", type=int, default=2, help="processes that render (default: 2)")
    command.add_argument("--codec", type=Path, metavar="DIR", help="a trained codec's folder (default: the starter's)")
    command.add_argument(
        "--duration", type=float, default=6.0, metavar="S", help="seconds of the held-out crops (default: 6)"
    )
    command.set_defaults(run=_make_study_data)


def _add_choosing(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL", help="a model's folder or name")
    command.add_argument("manifest", type=Path, metavar="MANIFEST", help="manifest.jsonl of the corpus")
    command.add_argument("tokens", type=Path, metavar="TOKENS", help="the folder of the corpus's codes")
    command.add_argument(
        "out_dir", type=Path, metavar="OUT", help="output folder, which must not exist; a run that was stopped goes on"
    )
    command.add_argument(
        "--captions", type=int, default=250, help="number of captions, with 8 clips each (default: 250)"
    )
    command.add_argument("--seed", type=int, default=0, help="of captions and clips (default: 0)")
    command.add_argument("--workers", type=int, default=2, help="processes that judge (default: 2)")
    command.set_defaults(run=_choose)


def _add_reports(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    reporting = commands.add_parser("report", help="figures of the model card, on held-out captions and typed prompts")
    following = commands.add_parser("melody-report", help="how well a model follows the melodies of held-out clips")
    playing = commands.add_parser("chords-report", help="how well a model plays the chords of held-out clips")
    ordering = commands.add_parser("measures-report", help="whether the measures order recordings, music and noise")
    drawing = commands.add_parser("sampling-report", help="which sampling makes the music move and keeps to the prompt")
    runs = (
        *((reporting, _report), (following, _report_melody), (playing, _report_chords)),
        *((ordering, _report_measures), (drawing, _report_sampling)),
    )
    for command, run in runs:
        command.add_argument("model", metavar="MODEL", help="a model's folder or name")
        command.add_argument("manifest", type=Path, metavar="MANIFEST", help="manifest.jsonl of the corpus")
        command.add_argument("out_dir", type=Path, metavar="OUT", help="output folder; clips in it are not made again")
        command.set_defaults(run=run)
    drawing.add_argument("--seed", type=int, default=0, help="of the choice of captions (default: 0)")
    following.add_argument(
        "--thresholds", type=Path, metavar="FILE", help="tagger.json of `report` (default: OUT/tagger.json, calibrated)"
    )
    fitting = commands.add_parser(
        "estimators-report", help="fit the estimators of tempo and key, and how right they are"
    )
    fitting.add_argument("manifest", type=Path, metavar="MANIFEST", help="manifest.jsonl of the corpus")
    fitting.add_argument("weights", type=Path, metavar="WEIGHTS", help="output: src/descant/curation/weights.json")
    fitting.set_defaults(run=_report_estimators)


def _render(arguments: argparse.Namespace) -> None:
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("rendering", total=arguments.hours)
        manifest = render_corpus(
            arguments.folder,
            arguments.hours,
            arguments.seed,
            arguments.workers,
            lambda done_hours, _: bar.update(task, completed=done_hours),
            arguments.soundfont,
            arguments.split,
        )
    records = read_manifest(manifest)
    print(f"{manifest}: {len(records)} clips, {sum(record.duration_s for record in records) / 3_600:.2f} h")


def _caption(arguments: argparse.Namespace) -> None:
    with Progress(console=Console(stderr=True), transient=True) as bar:
        indices = bar.track(range(arguments.pieces), description="writing captions")
        records = [caption_piece(arguments.seed, index) for index in indices]
    write_atomically(arguments.manifest, lines_of(records))
    print(f"{arguments.manifest}: {len(records)} pieces")


def _make_study_data(arguments: argparse.Namespace) -> None:
    from descant.evaluation.embedders import MusiCNNEmbedder
    from starter_corpus.study_data import make_study_data

    data = make_study_data(
        arguments.folder,
        MusiCNNEmbedder.load(),
        hours=arguments.hours,
        held_out_hours=arguments.held_out_hours,
        seed=arguments.seed,
        workers=arguments.workers,
        codec=arguments.codec,
        duration_s=arguments.duration,
    )
    print(f"{arguments.folder}: {len(data.held_out.prompts)} held-out crops, {len(data.reference.clips)} recordings")


def _choose(arguments: argparse.Namespace) -> None:
    from starter_corpus.expert import choose

    found = choose(
        arguments.model,
        arguments.manifest,
        arguments.tokens,
        arguments.out_dir,
        arguments.captions,
        arguments.seed,
        arguments.workers,
        lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(
        f"{arguments.out_dir}: {found['clips']:.0f} clips with a mean score of {found['score']:.3f}, of all clips "
        f"{found['mean_score']:.3f}"
    )


def _report(arguments: argparse.Namespace) -> None:
    from starter_corpus.reports import held_out, typed

    model, manifest, out_dir = arguments.model, arguments.manifest, arguments.out_dir
    print(held_out.markdown(held_out.run(model, manifest, out_dir)))
    print(typed.markdown(typed.run(model, manifest, out_dir / "typed", out_dir / "tagger.json")))


def _report_melody(arguments: argparse.Namespace) -> None:
    from starter_corpus.reports import melody

    thresholds = arguments.thresholds or arguments.out_dir / "tagger.json"
    print(melody.markdown(melody.run(arguments.model, arguments.manifest, arguments.out_dir, thresholds)))


def _report_chords(arguments: argparse.Namespace) -> None:
    from starter_corpus.reports import chords

    print(chords.markdown(chords.run(arguments.model, arguments.manifest, arguments.out_dir)))


def _report_measures(arguments: argparse.Namespace) -> None:
    from starter_corpus.reports import four_sets

    print(four_sets.markdown(four_sets.run(arguments.model, arguments.manifest, arguments.out_dir)))


def _report_sampling(arguments: argparse.Namespace) -> None:
    from starter_corpus.reports import sampling

    print(sampling.markdown(sampling.run(arguments.model, arguments.manifest, arguments.out_dir, seed=arguments.seed)))


def _report_estimators(arguments: argparse.Namespace) -> None:
    from starter_corpus.reports import estimators

    print(estimators.markdown(estimators.run(arguments.manifest, arguments.weights)))


if __name__ == "__main__":
    sys.exit(main())
