"""The command ``descant``: parses, runs a command, and turns any error into one line and an exit code."""

import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version

from descant import threads
from descant.apps.cli import (
    bench,
    codec,
    data,
    doctor,
    evaluate,
    finetune,
    generate,
    listen,
    models,
    regenerate,
    serve,
    study,
    train,
    transcribe,
)
from descant.apps.cli.option_names import with_option_names
from descant.apps.cli.outputs import faults_name_stdout, note, show_log
from descant.apps.cli.parser import Commands, Parser
from descant.apps.cli.standard_streams import discard, prepared_streams, reader_has_gone
from descant.apps.cli.termination import Interruption, Terminated, termination_raises
from descant.errors import (
    AudioError,
    Cancelled,
    CheckpointError,
    ConfigError,
    DataError,
    DescantError,
    InvalidRequest,
    MissingExtra,
    ProcessLost,
    TrainingDiverged,
)
from descant.signals import INTERRUPTED

DONE = 0
OUR_FAULT = 1
REQUEST_IS_WRONG = 2
FILE_IS_WRONG = 3
PROCESS_IS_LOST = 75
"""That of a temporary failure (EX_TEMPFAIL): the same command, started again, goes on."""

GROUPS = (
    generate, regenerate, codec, transcribe, models, data, train, finetune, study, evaluate, listen, serve, bench,
    doctor,
)  # fmt: skip
"""The command groups; each has ``add_commands(commands)``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code.

    0 done, 1 a bug of ours, 2 the request is wrong, 3 a file or model is missing or broken, 75 another process of the
    same work is lost or a server cannot be reached, 130 interrupted, 143 or 129 ended by SIGTERM or SIGHUP.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    interruption = Interruption()
    with prepared_streams():
        try:
            with interruption, termination_raises():
                code = _run(words)
                if sys.stdout is not None:  # None: the shell closed it, descant ... >&-
                    with faults_name_stdout():
                        sys.stdout.flush()
            return code
        except BaseException as error:
            # A reader that stops reading our output is not an error; any other broken pipe is one.
            is_done = isinstance(error, BrokenPipeError) and reader_has_gone()
            _drop_undelivered_output()
            if is_done:
                return DONE
            if "--debug" in words:
                traceback.print_exc()
            # A missing module may be one whose import was interrupted, and a lost process one that the same Ctrl-C has
            # ended; our other errors have a cause of their own.
            is_ours = isinstance(error, DescantError) and not isinstance(error, MissingExtra | ProcessLost)
            is_effect = interruption.has_come and isinstance(error, Exception) and not is_ours
            code, message = explain(KeyboardInterrupt() if is_effect else error)
            note(f"descant: error: {message}")
            return code


def explain(error: BaseException) -> tuple[int, str]:
    """The exit code and the message for an error."""
    message = str(error)
    if isinstance(error, Cancelled | KeyboardInterrupt):
        code = error.exit_code if isinstance(error, Terminated) else INTERRUPTED
        by = f" by {error.signal.name}" if isinstance(error, Terminated) else ""
        return code, f"interrupted{by}{message and f': {message}'}; no unfinished file is left"
    if isinstance(error, InvalidRequest | ConfigError | MissingExtra | TrainingDiverged):
        return REQUEST_IS_WRONG, message
    if isinstance(error, AudioError | CheckpointError | DataError):
        return FILE_IS_WRONG, message
    if isinstance(error, ProcessLost):
        return PROCESS_IS_LOST, message
    if isinstance(error, DescantError):
        return OUR_FAULT, message
    if _is_out_of_memory(error):
        return REQUEST_IS_WRONG, f"out of memory ({message[:200]}); ask for less at a time, or for --device cpu"
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{str(error.filename)!r}: "
        return FILE_IS_WRONG, f"{where}{error.strerror or message}"
    return OUR_FAULT, (
        f"{type(error).__name__}: {message[:400]}; this is our fault, not yours. "
        "Run the same command with --debug and report the traceback it prints"
    )


def _run(words: list[str]) -> int:
    try:
        arguments = build_parser().parse_args(words)
    except SystemExit as stop:  # --help and --version have printed their text
        return DONE if stop.code is None else int(stop.code)
    if arguments.threads is not None:
        threads.use(arguments.threads)
    show_log()
    try:
        arguments.run(arguments)
    except DescantError as error:
        raise type(error)(with_option_names(str(error), arguments.parser.names())) from error
    return DONE


def build_parser() -> Parser:
    """The parser of the whole command line."""
    parser = Parser(
        prog="descant",
        description="Make music from text and melodies on your own machine, and train the models that do it.",
        examples=['descant generate "warm lo-fi piano, slow" -d 10 -o piano.wav'],
    )
    parser.add_argument("--version", action="version", version=f"descant {version('descant')}")
    commands = Commands(parser)
    for group in GROUPS:
        group.add_commands(commands)
    return parser


def _drop_undelivered_output() -> None:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        discard(sys.stdout)


def _is_out_of_memory(error: BaseException) -> bool:
    # Compared by name, because torch may not be imported yet; on the CPU torch has no class for it.
    is_torch_cpu = isinstance(error, RuntimeError) and "allocate memory" in str(error)
    return is_torch_cpu or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
