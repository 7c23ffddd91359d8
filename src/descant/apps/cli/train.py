"""``train``: runs a recipe.

A recipe is a Python file, given by its path or, if it ships with the package, by its name. It has a function that
returns a whole run as a frozen dataclass (``config``, or the name after a colon), and ``train(config, out_dir,
resume)``, which does the run and returns a result that JSON can hold.
"""

import argparse
import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from descant.apps.cli.options import add_common_options, setting
from descant.apps.cli.outputs import note, show
from descant.apps.cli.parser import Commands
from descant.apps.cli.recipes import DEFAULT_FUNCTION, blaming, found_recipe, naming_set, read_recipe
from descant.apps.cli.train_plan import add_plan_options, refuse_plan_options, show_plan
from descant.errors import ConfigError, InvalidRequest

SLOW_S = 5.0
"""After this long without a word a user wonders whether anything happens."""


def add_commands(commands: Commands) -> None:
    """Adds ``train``."""
    parser = commands.add(
        "train",
        "train or fine-tune a model by a recipe",
        "descant train musicgen:melody --set trainer.max_steps=500 --out runs/melody",
        "descant train musicgen:melody --out runs/melody --resume",
        "descant train musicgen:melody --out runs/melody --export best",
        "descant train encodec --show",
        "descant train musicgen:large --plan --gpus 64 --set trainer.mesh=shard-in-node",
        "torchrun --nproc-per-node 8 -m descant train musicgen:medium --set trainer.accumulate=8",
        run=train,
    )
    parser.add_argument(
        "recipe",
        metavar="RECIPE",
        help="the name of a recipe in the package, such as encodec or musicgen, or a Python file; a function after a "
        "colon, as in musicgen:medium or file.py:function, returns the run's config (default: config)",
    )
    parser.add_argument(
        "--set",
        dest="settings",
        type=setting,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a field of the config, for example trainer.seed=3; repeat to change more fields",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="the run's folder, new or empty (default: runs/ and the names of the recipe and its function)",
    )
    parser.add_argument(
        "--show", action="store_true", help="print every field of the config as --set takes it, and do not train"
    )
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint in the run's folder")
    parser.add_argument(
        "--export",
        choices=("newest", "best"),
        help="train nothing: write the model of a run that was stopped, from its newest checkpoint or from the one "
        "that validated best",
    )
    add_plan_options(parser)
    add_common_options(parser)


def train(arguments: argparse.Namespace) -> None:
    """Runs the recipe and prints its result. Of several processes the first one checks the folder and prints."""
    from descant.training.environment import has_rank_above_0, is_launched, is_restart, refuse_several_processes

    if not is_launched():
        refuse_several_processes()
    is_first = not has_rank_above_0()
    file, function = found_recipe(arguments.recipe)
    settings = dict(arguments.settings)
    if arguments.show:
        _show(file, function, settings, arguments.json)
        return
    if not arguments.plan:
        refuse_plan_options(arguments)
    else:
        show_plan(read_recipe(file, function, settings)[0], arguments)
        return
    name = file.stem if function == DEFAULT_FUNCTION else f"{file.stem}-{function}"
    out_dir = Path("runs") / name if arguments.out is None else Path(arguments.out)
    resume = arguments.resume or arguments.export is not None or (is_restart() and holds_anything(out_dir))
    if arguments.export is not None:
        settings["trainer.export"] = arguments.export
    with _saying_if_slow(f"loading what {file.stem} needs"):
        if is_first:
            check_run_folder(out_dir, resume)
        config, run = read_recipe(file, function, settings)
    with _joined(config):
        if is_first:
            note(f"{'training' if arguments.export is None else 'exporting'} {file.stem} in {out_dir}")
        with blaming(file):
            result = run(config, out_dir, resume)
    if not is_first:
        return
    if not isinstance(result, dict):
        raise ConfigError(f"{str(file)!r}: train() returned {type(result).__name__}, expected a dict")
    lines = [f"{name:<22} {value}" for name, value in result.items()]
    show({"recipe": arguments.recipe, "out": str(out_dir), **result}, lines, arguments.json)


@contextmanager
def _joined(config: Any) -> Iterator[None]:
    """Within the block the processes that torchrun started know of each other, if the recipe has a trainer.

    Raises:
        ConfigError: this machine does not have the trainer's device.
        InvalidRequest: there are several processes and no trainer: each would write the same files.
    """
    from descant.training.distributed import joined, own_device
    from descant.training.environment import refuse_several_processes
    from descant.training.machine import training_device
    from descant.training.trainer_config import TrainerConfig

    trainer = getattr(config, "trainer", None)
    if not isinstance(trainer, TrainerConfig):
        refuse_several_processes()
        yield
        return
    with naming_set():
        device = own_device(training_device(trainer.device))
    with joined(device, trainer.process_timeout_s):
        yield


def _show(file: Path, function: str, settings: dict[str, str], as_json: bool) -> None:
    """Prints every field of a recipe's config."""
    from descant.config import to_dict

    plain = to_dict(read_recipe(file, function, settings)[0])
    show(plain, [f"{name}={value}" for name, value in settings_of(plain)], as_json)


@contextmanager
def _saying_if_slow(text: str) -> Iterator[None]:
    """Says what is being done after ``SLOW_S``: on a busy machine the libraries alone take longer to load."""
    timer = threading.Timer(SLOW_S, note, (text,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def settings_of(plain: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Every field of a config in plain data, by its dotted path, with its value as JSON."""
    for name, value in plain.items():
        if isinstance(value, dict) and value:
            yield from settings_of(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", json.dumps(value)


def check_run_folder(out_dir: Path, resume: bool) -> None:
    """Returns if a run can begin or continue in this folder; called before anything is loaded.

    Raises:
        InvalidRequest: it cannot be written to, another process trains there, it holds something and ``resume`` is off,
            or it holds nothing and ``resume`` is on.
    """
    from descant.folder_lock import locked
    from descant.training.run_folder import refuse_a_run

    named = f"--out {str(out_dir)!r:.300}"
    names = names_in_writable(out_dir)
    if resume and not names:
        raise InvalidRequest(
            f"--resume, --export: there is no run in {str(out_dir)!r:.300}; leave them out to begin one"
        )
    if names and not resume:
        refuse_a_run(out_dir)
        raise InvalidRequest(
            f"{named} holds {', '.join(names[:3])}{' and more' if len(names) > 3 else ''}, and nothing is overwritten: "
            f"name a new or empty folder, or continue the run that is there with --resume"
        )
    if names:
        with locked(out_dir):
            pass


def holds_anything(folder: Path) -> bool:
    """Whether a folder exists and is not empty."""
    from descant.training.run_folder import visible_names

    return bool(visible_names(folder))


def names_in_writable(out_dir: Path, option: str = "--out") -> list[str]:
    """What the folder that an option names holds, if it can be written to or made.

    Raises:
        InvalidRequest: it cannot.
    """
    from descant.training.run_folder import visible_names

    named = f"{option} {str(out_dir)!r:.300}"
    if "\0" in str(out_dir):
        raise InvalidRequest(f"{named}: a folder's name cannot hold a NUL character")
    try:
        nearest = next(path for path in (out_dir, *out_dir.absolute().parents) if path.exists())
        if not nearest.is_dir():
            raise InvalidRequest(f"{named}: {str(nearest)!r:.300} is not a folder; choose another place")
        names = visible_names(out_dir)
        # Tried instead of asked with os.access, which says that root may write to /proc.
        with tempfile.TemporaryDirectory(prefix=".descant-", dir=nearest):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise InvalidRequest(f"{named}: cannot be written to ({reason}); choose another folder") from error
    return names
