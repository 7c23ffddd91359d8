"""``listen``: a listening test between folders of clips, and its results."""

import argparse
import os
from pathlib import Path

from descant.apps.cli.options import add_common_options, existing_file, number, seed_number, whole_number
from descant.apps.cli.outputs import note, show
from descant.apps.cli.parser import Commands, Parser
from descant.counted import counted
from descant.errors import InvalidRequest

MAX_NAMES_SHOWN = 3


def add_commands(commands: Commands) -> None:
    """Adds ``listen build`` and ``listen results``."""
    group = commands.group("listen", "compare systems by ear: build a blind listening test, analyse its answers")
    _add_build(group)
    _add_results(group)


def _add_build(group: Commands) -> None:
    parser: Parser = group.add(
        "build",
        "write a page on which listeners rate the clips of two or more systems blind",
        "descant listen build test ours=out/ours theirs=out/theirs --clips 20",
        run=build,
    )
    parser.add_argument("out", metavar="OUT", help="a new folder: OUT/page is for listeners, OUT/key.json is not")
    parser.add_argument(
        "systems",
        metavar="NAME=FOLDER",
        nargs="+",
        type=_system,
        help="a system's name and its clips; those of one prompt have the same file name in each folder, apart from "
        "the suffix and from -seedN",
    )
    parser.add_argument("--clips", type=whole_number, metavar="N", help="prompts to draw (default: all)")
    parser.add_argument("--seed", type=seed_number, default=0, metavar="N", help="of all draws (default: 0)")
    parser.add_argument(
        "-d", "--duration", type=number, metavar="SECONDS", help="what to play of each clip (default: all)"
    )
    parser.add_argument(
        "--melody", metavar="FOLDER", help="melodies that the clips should follow, under the names of the clips"
    )
    parser.add_argument(
        "--prompts",
        type=existing_file,
        metavar="FILE",
        help="texts of the prompts: a .json object from names to texts, or one line per name in their order (default: "
        "from tags, or from .txt files next to the clips)",
    )
    parser.add_argument(
        "--repeats", type=whole_number, default=2, metavar="N", help="clips that are played twice (default: 2)"
    )
    parser.add_argument(
        "--anchors", type=whole_number, default=1, metavar="N", help="clips that are also played in noise (default: 1)"
    )
    add_common_options(parser)


def _add_results(group: Commands) -> None:
    parser = group.add(
        "results",
        "print means, intervals and differences from the answers of listeners",
        "descant listen results test answers-*.json",
        run=results,
    )
    parser.add_argument("out", metavar="OUT", help="the folder that listen build has written")
    parser.add_argument("answers", metavar="ANSWERS", nargs="+", help="the files that listeners have saved")
    parser.add_argument(
        "--keep-all",
        action="store_true",
        help="use all listeners, also those who disagree with the others, with themselves, or prefer noise",
    )
    add_common_options(parser)


def build(arguments: argparse.Namespace) -> None:
    """Writes a listening test."""
    names = [name for name, _ in arguments.systems]
    if len(set(names)) < len(names):
        raise InvalidRequest(f"NAME=FOLDER: {max(names, key=names.count)!r:.60} is given twice; names must differ")
    from descant.apps.cli.progress import progress
    from descant.studies.listening.build import build_test
    from descant.studies.listening.sources import find_trials

    trials, partial = find_trials(
        dict(arguments.systems),
        prompts=None if arguments.prompts is None else Path(arguments.prompts),
        melodies=None if arguments.melody is None else Path(arguments.melody),
        num_prompts=arguments.clips,
        seed=arguments.seed,
    )
    if partial:
        shown = ", ".join(map(repr, partial[:MAX_NAMES_SHOWN]))
        note(f"note: {counted(len(partial), 'name is', 'names are')} not in every folder: left out, first {shown}")
    with progress(f"matching the loudness of {counted(len(trials), 'prompt')}", 1.0) as report:
        built = build_test(
            Path(os.path.expanduser(arguments.out)),
            trials,
            seed=arguments.seed,
            duration_s=arguments.duration,
            num_repeats=arguments.repeats,
            num_anchors=arguments.anchors,
            report=report,
        )
    page, key = (str(Path(arguments.out, *parts)) for parts in (("page", "index.html"), ("key.json",)))
    result = {
        "page": page,
        "key": key,
        "test": built.key.test,
        "systems": list(built.key.systems),
        "num_prompts": len(trials),
        "num_clips": len(built.key.clips),
        "duration_s": built.duration_s,
        "left_out": partial,
        "limited_db": dict(built.limited_db),
    }
    clips, prompts = counted(len(built.key.clips), "clip"), counted(len(trials), "prompt")
    lines = [
        f"{page}: {clips} of {prompts}, {built.duration_s / 60:.1f} min of music",
        f"{key}: which clip is whose; keep it from the listeners",
    ]
    if built.limited_db:
        largest_db = max(built.limited_db.values())
        lines.append(
            f"{counted(len(built.limited_db), 'clip was', 'clips were')} limited, by at most {largest_db:.1f} dB"
        )
    show(result, lines, arguments.json)


def results(arguments: argparse.Namespace) -> None:
    """Prints the results of a listening test."""
    from dataclasses import asdict

    from descant.studies.listening.files import read_answers, read_key
    from descant.studies.listening.results import analyse, markdown

    key = read_key(Path(os.path.expanduser(arguments.out)))
    answers = read_answers(key, [Path(file) for file in arguments.answers])
    found = analyse(key, answers, keep_all=arguments.keep_all)
    show(asdict(found), markdown(found).splitlines(), arguments.json)


def _system(text: str) -> tuple[str, Path]:
    """A system's name and its folder."""
    name, equals, folder = text.partition("=")
    if not (name.strip() and equals and folder):
        raise argparse.ArgumentTypeError(f"{text!r:.60}: expected NAME=FOLDER, for example ours=out/ours")
    return name.strip(), Path(os.path.expanduser(folder))
