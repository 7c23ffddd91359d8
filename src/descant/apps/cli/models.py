"""``models``: lists, shows, creates, converts and checks models."""

import argparse
import shutil
from pathlib import Path
from typing import Any

from descant.apps.cli.options import add_common_options, path_and_strength, seed_number
from descant.apps.cli.outputs import check_outside, show
from descant.apps.cli.parser import Commands
from descant.errors import CheckpointError, InvalidRequest

BYTES_PER_VALUE = 4
OPTIONAL_CONDITIONS = ("melody", "style", "tempo_key", "clap", "chords")
"""The fields of a model's config that are None in models without the condition."""
LAYOUT_NAMES = ("native", "huggingface", "audiocraft")


def add_commands(commands: Commands) -> None:
    """Adds ``models list``, ``show``, ``init``, ``convert``, ``merge`` and ``check``."""
    group = commands.group("models", "list, show, init, convert, merge and check models")

    parser = group.add("list", "list the built-in models and presets", "descant models list", run=list_models)
    add_common_options(parser)

    help = "show a model's size, shape and default settings without loading its weights"
    parser = group.add("show", help, "descant models show starter", run=show_model)
    parser.add_argument("model", metavar="MODEL", help="starter, a preset, a model folder or a hub id")
    add_common_options(parser)

    help = "write a model of a preset's shape with random weights, ready for training"
    parser = group.add("init", help, "descant models init small my-model", run=init)
    parser.add_argument("preset", metavar="PRESET", help="one of those that descant models list shows")
    parser.add_argument("folder", metavar="DIR", help="the folder to create")
    parser.add_argument(
        "--seed", type=seed_number, default=0, metavar="N", help="seed of the random weights (default: 0)"
    )
    add_common_options(parser)

    help = "write a model, or a codec, in another layout"
    parser = group.add("convert", help, "descant models convert my-model my-model-hf --to huggingface", run=convert)
    parser.add_argument("source", metavar="SRC", help="a model's name, folder or hub id, or a codec's folder")
    parser.add_argument("folder", metavar="DST", help="the folder to create")
    parser.add_argument("--to", required=True, choices=LAYOUT_NAMES, help="the layout to write")
    add_common_options(parser)

    help = "write a model with low-rank adapters merged into its weights"
    parser = group.add("merge", help, "descant models merge starter my-adapter my-model", run=merge)
    parser.add_argument("source", metavar="SRC", help="a model's name, folder or hub id")
    parser.add_argument(
        "adapters",
        metavar="ADAPTER[:STRENGTH]",
        nargs="+",
        type=path_and_strength,
        help="the folder of an adapter, and how strongly it acts (default: 1)",
    )
    parser.add_argument("folder", metavar="DST", help="the folder to create")
    add_common_options(parser)

    help = "check whether a model folder would load; no code in it is run"
    parser = group.add("check", help, "descant models check my-model", run=check)
    parser.add_argument("folder", metavar="DIR", help="a model folder or a hub id")
    add_common_options(parser)


def list_models(arguments: argparse.Namespace) -> None:
    """Prints the presets, and whether each has weights."""
    from descant.checkpoints.names import UNTRAINED
    from descant.checkpoints.native import starter_folder
    from descant.checkpoints.untrained import size_of
    from descant.presets import PRESETS

    models = []
    for name, preset in PRESETS.items():
        if name == "starter" and (starter_folder() / "config.json").is_file():
            weights = "shipped"
        else:
            weights = "random" if name == UNTRAINED else "none"
        config = preset()
        models.append(
            {
                "name": name,
                "weights": weights,
                "num_parameters": size_of(config).total,
                "max_duration_s": config.max_duration_s,
            }
        )
    states = {"shipped": "ready", "random": "ready, random weights", "none": "a shape for models init"}
    lines = [
        f"{model['name']:<20} {_millions(model['num_parameters']):>9}  {model['max_duration_s']:>4g} s  "
        f"{states[str(model['weights'])]}"
        for model in models
    ]
    show({"models": models}, lines, arguments.json)


def show_model(arguments: argparse.Namespace) -> None:
    """Prints a model's shape, size and config."""
    from descant.checkpoints.names import config_of
    from descant.checkpoints.untrained import size_of
    from descant.codec.any import codebooks_of
    from descant.config import to_dict
    from descant.presets import PRESETS

    try:
        config = config_of(arguments.model)
    except CheckpointError:
        if arguments.model not in PRESETS:
            raise
        config = PRESETS[arguments.model]()
    size = size_of(config)
    num_codebooks, codebook_size = codebooks_of(config.codec)
    header: dict[str, Any] = {
        "name": arguments.model,
        "num_parameters": size.total,
        "num_parameters_lm": size.lm,
        "num_parameters_codec": size.codec,
        "num_codebooks": num_codebooks,
        "codebook_size": codebook_size,
        "max_duration_s": config.max_duration_s,
        "text_encoder": type(config.text).__name__,
        "conditions": ["text", *(name for name in OPTIONAL_CONDITIONS if getattr(config, name) is not None)],
    }
    shown = {**header, "conditions": ", ".join(header["conditions"])}
    lines = [f"{name.replace('_', ' '):<22} {value}" for name, value in shown.items()]
    lines += [f"{name:<22} {value}" for name, value in _flat(to_dict(config))]
    show({**header, "config": to_dict(config)}, lines, arguments.json)


def init(arguments: argparse.Namespace) -> None:
    """Writes an untrained model."""
    from descant.checkpoints.untrained import save_untrained, size_of
    from descant.presets import PRESETS

    if arguments.preset not in PRESETS:
        raise InvalidRequest(f"PRESET {arguments.preset!r:.100}: allowed are {', '.join(PRESETS)}")
    folder = Path(arguments.folder)
    parent = folder.absolute().parent
    if not parent.is_dir():
        raise InvalidRequest(f"DIR {str(folder)!r}: there is no folder {str(parent)!r}; make it first")
    config = PRESETS[arguments.preset]()
    size = size_of(config)
    needed = size.num_values * BYTES_PER_VALUE
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise InvalidRequest(
            f"DIR {str(folder)!r}: {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free there"
        )
    save_untrained(config, folder, arguments.seed)
    result = {"folder": str(folder), "preset": arguments.preset, "num_parameters": size.total, "seed": arguments.seed}
    show(result, [str(folder)], arguments.json)


def convert(arguments: argparse.Namespace) -> None:
    """Writes a model in another layout."""
    from descant.checkpoints import layouts
    from descant.checkpoints.names import folder_of

    source = folder_of(arguments.source)
    if source is None:
        raise InvalidRequest(f"SRC {arguments.source!r}: it has no files; descant models init writes them")
    check_outside("DST", arguments.folder, model=source)
    target = Path(arguments.folder)
    num_parameters = layouts.convert(source, target, arguments.to)
    result = {"source": str(source), "folder": str(target), "layout": arguments.to, "num_parameters": num_parameters}
    show(result, [str(target)], arguments.json)


def merge(arguments: argparse.Namespace) -> None:
    """Writes a model with adapters merged into its weights."""
    from descant.adapters import stacked
    from descant.adapters.layers import merged
    from descant.api import load
    from descant.checkpoints.native import save_model

    for path, _ in arguments.adapters:
        check_outside("DST", arguments.folder, model=arguments.source, adapter=path)
    model = load(arguments.source, device="cpu", precision="fp32")
    adapters = [(model.load_adapter(path), strength) for path, strength in arguments.adapters]
    folder = Path(arguments.folder)
    save_model(merged(model.model, stacked(adapters)), folder)
    names = [adapter.name for adapter, _ in adapters]
    show({"source": arguments.source, "folder": str(folder), "adapters": names}, [str(folder)], arguments.json)


def check(arguments: argparse.Namespace) -> None:
    """Prints what is wrong with a model folder, and fails if anything is."""
    from descant.checkpoints.hub import find, is_id
    from descant.checkpoints.layouts import check_model

    folder = Path(arguments.folder)
    if is_id(arguments.folder) and not folder.is_dir():
        folder = find(arguments.folder)
    found = check_model(folder)
    result = {
        "folder": str(found.folder),
        "num_parameters": found.num_parameters,
        "size_bytes": found.size_bytes,
        "problems": list(found.problems),
    }
    if found.problems and not arguments.json:
        raise CheckpointError("; ".join(found.problems))
    lines = [f"{found.folder}: sound, {_millions(found.num_parameters)} parameters, {found.size_bytes / 1e6:.1f} MB"]
    show(result, lines, arguments.json)
    if found.problems:
        raise CheckpointError(f"{str(found.folder)!r} would not load: {found.problems[0]}")


def _millions(count: Any) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1e5 else f"{count / 1e3:.1f} k"


def _flat(config: dict[str, Any], path: str = "config") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in config.items():
        rows += _flat(value, f"{path}.{key}") if isinstance(value, dict) else [(f"{path}.{key}", value)]
    return rows
