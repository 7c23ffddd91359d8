"""``generate``: music from text, melodies, styles and existing music."""

import argparse
from dataclasses import replace

from descant.apps.cli.generate_options import EXAMPLES, add_generate_options
from descant.apps.cli.options import LOUDNESS_LUFS
from descant.apps.cli.outputs import audio_target, check_apart, codes_target
from descant.apps.cli.parser import Commands
from descant.apps.cli.progress import waiting
from descant.apps.cli.remote import generate_remotely
from descant.apps.cli.requests import check_conditions, requests_of, with_model_defaults
from descant.apps.cli.results import Writer, make
from descant.apps.cli.streaming import check_stream, stream
from descant.errors import InvalidRequest

MAX_FILES = 1_000


def add_commands(commands: Commands) -> None:
    """Adds ``generate``."""
    help = "make music from text, and from melodies, styles or the beginning of existing music"
    add_generate_options(commands.add("generate", help, *EXAMPLES, run=generate))


def generate(arguments: argparse.Namespace) -> None:
    """Makes every variation of every prompt and writes it, or streams a single one."""
    num_files = _num_files(arguments)
    if arguments.stream is not None:
        check_stream(arguments, num_files)
    elif arguments.stream_format is not None:
        raise InvalidRequest("--stream-format: it is the format of --stream; give both, or neither")
    target = audio_target(arguments.output, arguments.format, num_files, takes_stdout=True)
    codes = None if arguments.save_codes is None else codes_target("--save-codes", arguments.save_codes, num_files)
    check_apart(target, codes, arguments.json)
    if arguments.server is not None:
        generate_remotely(arguments, target, codes)
        return
    with waiting(f"loading {arguments.model}"):
        from descant import load

        check_conditions(arguments)
        requests = requests_of(arguments)
        model = load(arguments.model, device=arguments.device, precision=arguments.precision)
        adapters = tuple((model.load_adapter(path), strength) for path, strength in arguments.adapter)
        requests = [replace(with_model_defaults(request, arguments, model), adapters=adapters) for request in requests]
    if arguments.stream is not None:
        stream(model, requests[0], arguments.stream_format or "wav")
        return
    # Music to continue keeps its level unless a loudness is asked for.
    default_lufs = LOUDNESS_LUFS if arguments.prompt is None else None
    lufs = getattr(arguments, "loudness", default_lufs)
    make(Writer(model, target, codes, lufs), requests, arguments, arguments.best_of)


def _num_files(arguments: argparse.Namespace) -> int:
    if not 1 <= arguments.count <= MAX_FILES:
        raise InvalidRequest(f"--count {arguments.count}: allowed are 1 to {MAX_FILES}")
    num_files = len(arguments.prompts) * arguments.count
    if num_files > MAX_FILES:
        raise InvalidRequest(
            f"{len(arguments.prompts)} prompts with --count {arguments.count} are {num_files} files; "
            f"at most {MAX_FILES} are made at a time"
        )
    return num_files
