"""``doctor``: the abilities of this machine."""

import argparse
import importlib.util
import os
import platform
import shutil
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from descant import threads
from descant.apps.cli.options import add_common_options
from descant.apps.cli.outputs import show
from descant.apps.cli.parser import Commands
from descant.errors import DescantError, MissingExtra
from descant.version import __version__

PACKAGES = ("torch", "numpy", "soundfile", "av", "soxr", "safetensors", "tokenizers", "mutagen")
EXTRAS = {
    "t5": ("transformers", "sentencepiece"),
    "hub": ("huggingface_hub",),
    "audiocraft": ("yaml",),
    "normalize": ("simplemma", "lunr"),
    "adaptation": ("pytorch_optimizer",),
    "tensorboard": ("tensorboard",),
    "eval": ("librosa", "matplotlib", "scipy"),
    "melody": ("demucs", "librosa"),
    "midi": ("onnxruntime", "mido"),
    "serve": ("fastapi", "uvicorn", "python_multipart", "prometheus_client"),
    "cluster": ("ray",),
    "dev": ("pytest", "hypothesis", "beartype", "mypy", "ruff"),
}
"""The modules that show whether an extra is installed."""

PROGRAMS = {"fluidsynth": "the starter's corpus", "mma": "the starter's corpus", "opusenc": "the codec's comparison"}
"""System programs, and what needs them."""
NEED_WEIGHTS = {"musicnn": "data caption and metrics of descant evaluate", "basic-pitch": "descant transcribe"}
"""What needs the weights of a package."""


def add_commands(commands: Commands) -> None:
    """Adds ``doctor``."""
    help = "show what this machine can do: versions, devices, optional packages, models"
    add_common_options(commands.add("doctor", help, "descant doctor", run=doctor))


def doctor(arguments: argparse.Namespace) -> None:
    """Prints what is installed, and generates a second of music twice with each built-in model."""
    result: dict[str, Any] = {
        "version": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": _devices(),
        "threads": _threads(),
        "extras": {name: _missing(modules) for name, modules in EXTRAS.items()},
        "weights": _weights(),
        "programs": {name: shutil.which(name) is not None for name in PROGRAMS},
        "generations": {name: _one_second(name) for name in ("starter", "tiny")},
    }
    show(result, _lines(result), arguments.json)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _missing(modules: tuple[str, ...]) -> list[str]:
    return [module for module in modules if importlib.util.find_spec(module) is None]


def _weights() -> dict[str, str | None]:
    """The packages whose weights are read without their code: None, or the line that installs what is missing."""
    from descant import transcription
    from descant.evaluation.embedders import musicnn_weights

    try:
        musicnn_weights.weights_folder(musicnn_weights.TAGGER)
        musicnn = None
    except MissingExtra:
        musicnn = musicnn_weights.INSTALL
    return {"musicnn": musicnn, "basic-pitch": None if transcription.has_weights() else transcription.INSTALL}


def _threads() -> dict[str, Any]:
    import torch

    choice = threads.configure()
    return {"count": torch.get_num_threads(), "because_of": choice.threads_reason, "waiting": choice.waiting}


def _devices() -> dict[str, str]:
    import torch

    devices = {"cpu": torch.backends.cpu.get_cpu_capability()}
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory
        devices[f"cuda:{index}"] = f"{torch.cuda.get_device_name(index)}, {memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        devices["mps"] = "Apple GPU"
    return devices


def _one_second(model: str) -> dict[str, Any]:
    """How long one second of music takes with a model, without loading, for the first and for a second time; or why it
    failed. The first prepares, and on a new machine compiles, what later ones use.
    """
    from descant import load

    try:
        began = time.monotonic()
        loaded = load(model)
        ready = time.monotonic()
        loaded.generate("a test", duration_s=1.0, seed=0)
        prepared = time.monotonic()
        clip = loaded.generate("a test", duration_s=1.0, seed=0)
    except (DescantError, OSError) as error:
        return {"works": False, "problem": " ".join(str(error).split())}
    return {
        "works": clip.duration_s == 1.0,
        "device": loaded.device,
        "precision": loaded.precision,
        "runtime": loaded.engine.runtime.description,
        "seconds_to_load": ready - began,
        "seconds_of_the_first": prepared - ready,
        "seconds_taken": time.monotonic() - prepared,
    }


def _lines(result: dict[str, Any]) -> list[str]:
    lines = [f"descant {result['version']}, Python {result['python']}, {result['system']}"]
    lines += [f"package {name}: {found or 'missing'}" for name, found in result["packages"].items()]
    lines += [f"device {name}: {what}" for name, what in result["devices"].items()]
    chosen = result["threads"]
    lines.append(f"threads: {chosen['count']} ({chosen['because_of']}); while they wait {chosen['waiting']}")
    for name, missing in result["extras"].items():
        state = f'missing {", ".join(missing)}: pip install "descant[{name}]"' if missing else "installed"
        lines.append(f"extra {name}: {state}")
    for name, install in result["weights"].items():
        state = "installed" if install is None else f"missing; {NEED_WEIGHTS[name]} need them: {install}"
        lines.append(f"weights of {name}: {state}")
    for name, is_there in result["programs"].items():
        lines.append(f"program {name}: {'installed' if is_there else f'missing; {PROGRAMS[name]} needs it'}")
    for name, made in result["generations"].items():
        lines.append(f"model {name}: {_generation_line(made)}")
    return lines


def _generation_line(made: dict[str, Any]) -> str:
    if not made["works"]:
        return str(made["problem"])
    return (
        f"one second in {made['seconds_taken']:.2f} s on {made['device']}, the first with preparation in "
        f"{made['seconds_of_the_first']:.2f} s: {made['runtime']}"
    )
