"""``finetune``: from a folder of music to an adapter or a model with its card."""

import argparse
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from descant.apps.cli.options import MACHINE, add_common_options, device, number, setting
from descant.apps.cli.outputs import show
from descant.apps.cli.parser import Commands
from descant.apps.cli.recipes import naming_set
from descant.apps.cli.train import names_in_writable
from descant.errors import InvalidRequest


def add_commands(commands: Commands) -> None:
    """Adds ``finetune``."""
    parser = commands.add(
        "finetune",
        "tune a model to a folder of music; the same command continues an interrupted run",
        "descant finetune songs",
        "descant finetune songs --model facebook/musicgen-small --minutes 60 --trigger mysongs -o tuned",
        run=finetune,
    )
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        help="a folder of at least two audio files, described in .txt files of the same name, in metadata.csv, by "
        "their tags, or not at all",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="the run's folder, new or of the same run (default: runs/finetune- and the folder's name)",
    )
    parser.add_argument(
        "--trigger",
        metavar="WORD",
        help="a rare word that calls the music up in prompts (default: my and the folder's name)",
    )
    parser.add_argument(
        "--minutes", type=number, default=20.0, metavar="N", help="time for the training itself (default: 20)"
    )
    parser.add_argument(
        "--full", action="store_true", help="train all weights and write a whole model (default: an adapter)"
    )
    parser.add_argument(
        "--set",
        dest="settings",
        type=setting,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change any other setting; descant train finetune --show prints all",
    )
    group = parser.group(MACHINE)
    group.add_argument(
        "--model",
        default="starter",
        metavar="MODEL",
        help="the model to start from: starter, a model folder or a hub id (default: starter)",
    )
    group.add_argument(
        "--device", type=device, default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps (default: auto)"
    )
    add_common_options(parser)


def finetune(arguments: argparse.Namespace) -> None:
    """Tunes a model and prints where the result is."""
    from descant.config import override
    from descant.devices import select_device
    from descant.finetuning.config import FineTuneRun, full_run
    from descant.finetuning.run import finetune as run_in
    from descant.training.environment import refuse_several_processes

    refuse_several_processes()
    select_device(arguments.device)
    folder = Path(arguments.folder)
    if not folder.is_dir():
        raise InvalidRequest(f"FOLDER {str(folder)!r:.300}: there is no such folder; give one with music")
    out_dir = (
        Path("runs") / f"finetune-{folder.absolute().name}" if arguments.output is None else Path(arguments.output)
    )
    names_in_writable(out_dir, "--output")
    run = full_run() if arguments.full else FineTuneRun()
    run = replace(
        run,
        folder=folder,
        model=arguments.model,
        trigger=arguments.trigger,
        minutes=arguments.minutes,
        trainer=replace(run.trainer, device=arguments.device),
    )
    with naming_set():
        run = override(run, dict(arguments.settings))
    result = run_in(run, out_dir, _command(arguments, out_dir))
    show(result, _lines(result), arguments.json)


def _command(arguments: argparse.Namespace, out_dir: Path) -> str:
    """The command line that makes the same again."""
    words = ["descant", "finetune", arguments.folder, "-o", str(out_dir), "--minutes", f"{arguments.minutes:g}"]
    words += ["--model", arguments.model]
    words += ["--trigger", arguments.trigger] if arguments.trigger is not None else []
    words += ["--full"] if arguments.full else []
    words += ["--device", arguments.device] if arguments.device != "auto" else []
    for key, value in arguments.settings:
        words += ["--set", f"{key}={value}"]
    return shlex.join(words)


def _lines(result: dict[str, Any]) -> list[str]:
    made = result.get("adapter") or result["model"]
    options = f"--model {shlex.quote(made)}"
    if "adapter" in result:
        options = f"--model {shlex.quote(result['base'])} --adapter {shlex.quote(made)}"
    prompt = shlex.quote(f"{result['trigger']}, slow and calm")
    return [
        f"{made}: loss on held-out music {result['loss_before']:.3f} before, {result['loss_after']:.3f} after "
        f"({100 * result['change']:+.1f} %), step {result['best_step']} of {result['steps']}",
        f"listen: {result['page']}",
        f"use it: descant generate {prompt} {options} -o music.wav",
    ]
