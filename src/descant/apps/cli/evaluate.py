"""``evaluate``: numbers of a folder of audio, by any system, with their intervals."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from descant.apps.cli.options import (
    add_common_options,
    add_model_options,
    existing_file,
    number,
    seed_number,
    whole_number,
)
from descant.apps.cli.outputs import show
from descant.apps.cli.parser import Commands, Parser
from descant.apps.cli.progress import progress, waiting
from descant.counted import counted
from descant.errors import InvalidRequest, naming
from descant.user_files import cache_folder

if TYPE_CHECKING:
    from descant.studies.evaluation.choice import Settings
    from descant.studies.evaluation.results import Evaluation

METRICS = (
    *("fad", "kad", "kl", "clap", "chroma", "tempo", "key", "chords", "instruments", "movement", "checks"),
    "memorisation",
)
EMBEDDERS = ("musicnn", "musicnn-msd", "vggish", "passt", "clap", "mert")
SUITES = ("musiccaps",)
NO_CACHE = "off"


def add_commands(commands: Commands) -> None:
    """Adds ``evaluate``."""
    parser = commands.add(
        "evaluate",
        "judge a folder of audio, by any system: distances to a reference folder, agreement with prompts, faults",
        "descant evaluate out/songs --reference held-out --html songs.html",
        "descant evaluate out/songs --metrics tempo,key,checks --json",
        "descant evaluate --suite musiccaps musiccaps --model facebook/musicgen-small",
        run=evaluate,
    )
    parser.add_argument("folder", metavar="GENERATED", help="a folder of audio files; with --suite, the suite's folder")
    parser.add_argument("--reference", metavar="DIR", help="a folder of real music to compare with")
    parser.add_argument(
        "--metrics",
        type=_metrics,
        metavar="LIST",
        help=f"any of {', '.join(METRICS)}, separated by commas (default: all that are possible without a download)",
    )
    _add_inputs(parser)
    _add_embedders(parser)
    _add_outputs(parser)
    suite = parser.group("suites")
    suite.add_argument(
        "--suite",
        choices=SUITES,
        metavar="NAME",
        help="musiccaps: generate for the captions in GENERATED/*.csv, compare with the clips there",
    )
    suite.add_argument(
        "-o", "--output", metavar="DIR", help="where the suite's clips are kept (default: GENERATED/generated)"
    )
    suite.add_argument("--clips", type=whole_number, metavar="N", help="how many captions of the suite (default: all)")
    add_model_options(parser)
    add_common_options(parser)


def _add_inputs(parser: Parser) -> None:
    parser.add_argument(
        "--prompts",
        type=existing_file,
        metavar="FILE",
        help="texts of the prompts: a .json object from names to texts, a .csv or .jsonl with file_name and caption, "
        "or one line per name in their order (default: from tags, or from .txt and .json files next to the clips)",
    )
    parser.add_argument("--melody", metavar="FOLDER", help="melodies that the clips should follow, under their names")
    parser.add_argument("--training", metavar="SHARDS", help="tokenized training set, to find what is copied from it")
    parser.add_argument(
        "-d", "--duration", type=number, metavar="SECONDS", help="what to measure of each clip (default: all)"
    )
    parser.add_argument(
        "--skip-broken", action="store_true", help="leave out files that cannot be read or are too short, and say so"
    )
    parser.add_argument("--seed", type=seed_number, default=0, metavar="N", help="of the intervals (default: 0)")


def _add_embedders(parser: Parser) -> None:
    group = parser.group("embedders")
    for option, default, help in (
        ("--embedder", "musicnn", "of fad and kad"),
        ("--labeller", "musicnn", "of kl: musicnn, musicnn-msd or passt"),
        ("--text-embedder", "clap", "of clap"),
    ):
        group.add_argument(
            option,
            metavar="NAME",
            help=f"{help}{': ' + ', '.join(EMBEDDERS) if option == '--embedder' else ''}; NAME=PLACE gives the file or "
            f"folder of its weights (default: {default})",
        )


def _add_outputs(parser: Parser) -> None:
    group = parser.group("results")
    group.add_argument("--html", metavar="FILE", help="also write a page with plots and players, the worst clips first")
    group.add_argument(
        "--players", type=whole_number, default=50, metavar="N", help="clips that the page can play (default: 50)"
    )
    group.add_argument(
        "--cache",
        metavar="DIR",
        help="where vectors and numbers are kept by the content of files, or off (default: the user's cache folder)",
    )


def evaluate(arguments: argparse.Namespace) -> None:
    """Prints the numbers of a folder, or of a suite's clips once they are generated."""
    _check(arguments)
    if arguments.suite is not None:
        from descant.apps.cli.suites import run_suite

        run_suite(arguments)
        return
    from descant.studies.evaluation.sets import open_set

    folder, reference = Path(os.path.expanduser(arguments.folder)), arguments.reference
    with waiting("listing the clips"):
        generated = open_set(
            folder,
            prompts=None if arguments.prompts is None else Path(arguments.prompts),
            melodies=None if arguments.melody is None else Path(os.path.expanduser(arguments.melody)),
            skip_broken=arguments.skip_broken,
        )
        asked = {file.name: file.asked for file in generated.files}
        of_reference = None
        if reference is not None:
            with naming("reference"):
                of_reference = open_set(
                    Path(os.path.expanduser(reference)), asked=asked, skip_broken=arguments.skip_broken
                )
    from descant.studies.evaluation.evaluate import evaluate as evaluate_sets

    audio_s = generated.duration_s + (0.0 if of_reference is None else of_reference.duration_s)
    with progress(f"measuring {counted(len(generated.files), 'clip')}", audio_s) as report:
        found = evaluate_sets(generated, of_reference, settings_of(arguments), report)
    lines = [*found.markdown().splitlines(), *write_page(found, arguments)]
    show({**found.as_json(), "html": arguments.html}, lines, arguments.json)


def settings_of(arguments: argparse.Namespace, **changes: Any) -> "Settings":
    """How to measure, by the options."""
    import torch

    from descant.studies.evaluation.base import Training
    from descant.studies.evaluation.choice import Settings

    roles = {
        "embedder": arguments.embedder,
        "labeller": arguments.labeller,
        "text_embedder": arguments.text_embedder,
    }
    caches = cache_folder()
    usual = caches and caches / "evaluation"
    cache = usual if arguments.cache is None else Path(os.path.expanduser(arguments.cache))
    training = None if arguments.training is None else Path(os.path.expanduser(arguments.training))
    given: dict[str, Any] = {
        "metrics": arguments.metrics,
        "embedders": {role: name for role, name in roles.items() if name is not None},
        "duration_s": arguments.duration,
        "skip_broken": arguments.skip_broken,
        "cache": None if arguments.cache == NO_CACHE else cache,
        "num_processes": torch.get_num_threads(),
        "seed": arguments.seed,
        "training": None if training is None else Training(folder=training, model=arguments.model),
    }
    return Settings(**{**given, **changes})


def write_page(found: "Evaluation", arguments: argparse.Namespace) -> list[str]:
    """Writes the page if it is asked for, and gives the line that says where it is."""
    if arguments.html is None:
        return []
    from descant.atomic import write_atomically
    from descant.studies.evaluation.page import page

    with progress("encoding players", found.generated.duration_s) as report:
        write_atomically(os.path.expanduser(arguments.html), page(found, arguments.players, report).encode())
    return [f"{arguments.html}: the page"]


def _check(arguments: argparse.Namespace) -> None:
    """Refuses what can be refused before anything is read."""
    if arguments.players < 0:
        raise InvalidRequest(f"--players {arguments.players}: at least 0")
    if arguments.html is not None:
        place = Path(os.path.expanduser(arguments.html))
        if place.suffix.lower() not in (".html", ".htm"):
            raise InvalidRequest(f"--html {arguments.html!r}: end the file in .html")
        if not place.absolute().parent.is_dir():
            raise InvalidRequest(f"--html {arguments.html!r}: there is no folder {str(place.parent)!r}; make it first")
    if arguments.training is not None and not Path(os.path.expanduser(arguments.training)).is_dir():
        raise InvalidRequest(f"--training {arguments.training!r}: there is no such folder")
    if arguments.cache not in (None, NO_CACHE) and Path(os.path.expanduser(arguments.cache)).is_file():
        raise InvalidRequest(f"--cache {arguments.cache!r}: it is a file; give a folder, or off")
    of_model = () if arguments.suite or arguments.training else ("model", "device", "precision")
    for name in (*(() if arguments.suite else ("output", "clips")), *of_model):
        if name in arguments.given:
            raise InvalidRequest(
                f"--{name}: it belongs to --suite{' and --training' * (name in of_model)}; leave it out"
            )


def _metrics(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"{(unknown or [text])[0]!r:.60}: allowed are {', '.join(METRICS)}")
    return tuple(dict.fromkeys(names))
