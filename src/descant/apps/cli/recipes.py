"""Recipes of trainings and studies: finding and reading them, and naming their errors."""

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

from descant.errors import ConfigError, DescantError, InvalidRequest

RECIPES = Path(str(resources.files("descant") / "recipes"))
"""The recipes in the package."""
DEFAULT_FUNCTION = "config"


def shipped_recipes() -> dict[str, Path]:
    """The recipes in the package by their names."""
    files = sorted(RECIPES.glob("*.py"))
    return {file.stem: file for file in files if f"\ndef {DEFAULT_FUNCTION}(" in file.read_text(encoding="utf-8")}


def found_recipe(recipe: str) -> tuple[Path, str]:
    """The file of a recipe, given by its name or path and perhaps a function's name, and the function's name.

    Raises:
        InvalidRequest: there is no such recipe.
    """
    path, colon, after = recipe.rpartition(":")
    name, function = (path, after) if colon and after.isidentifier() else (recipe, DEFAULT_FUNCTION)
    shipped = shipped_recipes()
    if name in shipped:
        return shipped[name], function
    file = Path(name)
    if file.suffix != ".py" or not file.is_file():
        raise InvalidRequest(
            f"RECIPE {recipe!r:.300}: no such recipe and no such Python file; the package has {', '.join(shipped)}"
        )
    return file, function


def read_recipe(
    file: Path, function: str, settings: dict[str, str]
) -> tuple[Any, Callable[[Any, Path, bool], dict[str, Any]]]:
    """A recipe's config, changed by the settings, and its ``train`` function.

    Raises:
        InvalidRequest: there is no such recipe.
        ConfigError: the file is not a recipe, or a setting names an unknown field or has a wrong value.
    """
    from descant.config import override

    module = import_recipe(file)
    make, run = getattr(module, function, None), getattr(module, "train", None)
    if not callable(make):
        raise InvalidRequest(
            f"RECIPE {str(file)!r} has no function {function!r}; it has {', '.join(_functions(module))}"
        )
    if not callable(run):
        raise ConfigError(f"{str(file)!r} is not a recipe: it needs train(config, out_dir, resume)")
    with blaming(file):
        config = make()
    if not is_dataclass(config) or isinstance(config, type):
        raise ConfigError(f"{str(file)!r}: {function}() returned {type(config).__name__}, expected a config dataclass")
    with naming_set():
        return override(config, settings), run


@contextmanager
def naming_set() -> Iterator[None]:
    """Begins the message of a wrong field of the config with the option that changes it."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"--set {error}") from error


def import_recipe(file: Path) -> ModuleType:
    """The module of a recipe.

    Raises:
        ConfigError: the file has an error; the message has its line.
    """
    before, zero, _ = file.read_bytes().partition(b"\0")
    if zero:  # Python 3.10 says neither where it is nor in which file.
        raise ConfigError(f"{str(file)!r}, line {len(before.splitlines()) or 1}: it holds a zero byte")
    # Recipes may import other files in their folder, and a dataclass looks up its own module by name. Neither may hide
    # another module of the same name: a recipe may be called json.py.
    folder = str(file.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(f"descant_recipe_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    with blaming(file):
        spec.loader.exec_module(module)
    return module


@contextmanager
def blaming(file: Path) -> Iterator[None]:
    """Names the recipe and the line in errors of the recipe's own code; errors of ours that are on purpose pass."""
    try:
        yield
    except DescantError:
        raise
    except SyntaxError as error:
        raise ConfigError(f"{str(error.filename or file)!r}, line {error.lineno or 1}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        # The import system's own frames come last where a module was not found.
        frames = [at for at in traceback.extract_tb(error.__traceback__) if not at.filename.startswith("<frozen")]
        if not frames or Path(frames[-1].filename).resolve() != file.resolve():
            raise
        raise ConfigError(
            f"{str(file)!r}, line {frames[-1].lineno}: {type(error).__name__}: {' '.join(str(error).split()):.300}"
        ) from error


def _functions(module: ModuleType) -> list[str]:
    own = (name for name, value in vars(module).items() if callable(value) and not name.startswith("_"))
    return sorted(name for name in own if getattr(getattr(module, name), "__module__", None) == module.__name__)
