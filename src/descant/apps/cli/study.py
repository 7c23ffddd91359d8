"""``study``: runs an ablation of a recipe and writes its table and plot."""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from descant.apps.cli.options import add_common_options, setting, whole_number
from descant.apps.cli.outputs import note, show
from descant.apps.cli.parser import Commands
from descant.apps.cli.recipes import RECIPES, import_recipe, naming_set
from descant.apps.cli.train import names_in_writable
from descant.errors import InvalidRequest, naming
from descant.version import __version__

if TYPE_CHECKING:
    from descant.studies.ablation.run import AblationRun
    from descant.studies.ablation.study import Study

MAX_SEEDS = 100
SUPPORT = "_base"
"""The end of the name of a file next to the recipes that is none itself."""


def add_commands(commands: Commands) -> None:
    """Adds ``study``."""
    parser = commands.add(
        "study",
        "train and judge the rows of an ablation, and write its table and plot",
        "descant study --list",
        "descant study patterns --data runs/study --out runs/study/results",
        "descant study first patterns delays --seeds 1",
        run=study,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="recipes of --recipes, or Python files")
    parser.add_argument("--list", action="store_true", help="list the studies and their rows instead")
    parser.add_argument(
        "--recipes",
        default="ablations",
        metavar="DIR",
        help="folder of recipes, or one of the package's: ablations, pilots (default: ablations)",
    )
    parser.add_argument(
        "--data",
        default="runs/study",
        metavar="DIR",
        help="folder that python -m starter_corpus study-data has written (default: runs/study)",
    )
    parser.add_argument(
        "--out",
        default="runs/study/results",
        metavar="DIR",
        help="folder for results.jsonl, tables, plots and trainings; rows in it are not run again "
        "(default: runs/study/results)",
    )
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="only these rows (default: all)")
    parser.add_argument(
        "--seeds", type=whole_number, metavar="N", help="seeds of each row (default: two, of the main rows three)"
    )
    parser.add_argument(
        "--set",
        dest="settings",
        type=setting,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a field of every row, for example model.lm.transformer.num_layers=24; repeat for more fields",
    )
    parser.add_argument("--report", action="store_true", help="only write the table and plot of the results there are")
    add_common_options(parser)


def study(arguments: argparse.Namespace) -> None:
    """Runs what is missing of a study; the same command continues an interrupted one."""
    if arguments.list:
        _list(_recipes(arguments.recipes), arguments.json)
        return
    if not arguments.names:
        raise InvalidRequest("NAME: which study? descant study --list shows them")
    if arguments.seeds is not None and not 1 <= arguments.seeds <= MAX_SEEDS:
        raise InvalidRequest(f"--seeds {arguments.seeds}: allowed are 1 to {MAX_SEEDS}")
    from descant.studies.ablation.report import markdown, write_report
    from descant.studies.ablation.results import NAME, lines_of, read

    recipes, out = _recipes(arguments.recipes), Path(arguments.out)
    studies = [_study(recipes, name) for name in dict.fromkeys(arguments.names)]
    if not arguments.report:
        _run(studies, out, arguments)
    lines = read(out / NAME)
    files = {one.name: [str(file) for file in write_report(one, lines, out)] for one in studies}
    result = {"studies": {name: {"files": files[name], "lines": lines_of(lines, name)} for name in files}}
    show(result, "\n".join(markdown(one, lines) for one in studies).splitlines(), arguments.json)


def _run(studies: Sequence["Study"], out: Path, arguments: argparse.Namespace) -> None:
    from descant.evaluation.embedders import MusiCNNEmbedder
    from descant.studies.ablation.data import StudyData
    from descant.studies.ablation.report import write_report
    from descant.studies.ablation.results import NAME, read
    from descant.studies.ablation.study import run_studies
    from descant.training.environment import refuse_several_processes

    refuse_several_processes()
    names_in_writable(out)
    plan = [(one, row) for one in studies for row, _ in one.plan(arguments.rows, arguments.seeds)]
    settings = dict(arguments.settings)
    with naming_set():
        for one, row in plan:
            _changed(one.rows[row](), settings)
    with naming("--data"):
        data = StudyData(Path(arguments.data))
    note(f"{', '.join(one.name for one in studies)}: {len(plan)} rows and seeds, in {out}")
    run_studies(
        studies,
        data,
        out,
        MusiCNNEmbedder.load(),
        rows=arguments.rows,
        num_seeds=arguments.seeds,
        provenance={"command": shlex.join(["descant", *sys.argv[1:]]), "commit": _commit(), "version": __version__},
        change=lambda run: _changed(run, settings),
        done=lambda one: write_report(one, read(out / NAME), out),
    )


def _changed(run: "AblationRun", settings: dict[str, str]) -> "AblationRun":
    from descant.config import override

    changed = override(replace(run, fine=None), settings)
    return replace(changed, fine=None if run.fine is None else _changed(run.fine, settings))


def _recipes(name: str) -> Path:
    """A folder with recipes of studies.

    Raises:
        InvalidRequest: there are none.
    """
    shipped = {folder.name: folder for folder in RECIPES.iterdir() if folder.is_dir() and _names(folder)}
    folder = shipped.get(name, Path(name))
    if not _names(folder):
        raise InvalidRequest(
            f"--recipes {name!r:.300}: no recipes there; give a folder with some, or {' or '.join(sorted(shipped))}"
        )
    return folder


def _study(recipes: Path, name: str) -> "Study":
    """The study of that name.

    Raises:
        InvalidRequest: there is no such recipe, or the file is none.
    """
    from descant.studies.ablation.study import rows_of

    file = Path(name) if name.endswith(".py") else recipes / f"{name}.py"
    if not file.is_file():
        raise InvalidRequest(f"NAME {name!r:.200}: no such study; there are {', '.join(_names(recipes))}")
    return rows_of(import_recipe(file), file.stem)


def _names(recipes: Path) -> list[str]:
    return sorted(file.stem for file in recipes.glob("*.py") if not file.stem.endswith(SUPPORT))


def _list(recipes: Path, as_json: bool) -> None:
    from descant.studies.ablation.study import described

    studies = [_study(recipes, name) for name in _names(recipes)]
    result: dict[str, Any] = {"studies": {one.name: {"title": one.title, "rows": list(one.rows)} for one in studies}}
    show(result, [line for one in studies for line in described(one)], as_json)


def _commit() -> str:
    """The commit of the checkout that this code is in, marked if it has changes; ``unknown`` outside of one."""
    folder = Path(__file__).resolve().parent
    try:
        head, changes = (
            subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}-dirty" if changes else head
