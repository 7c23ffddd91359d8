"""The command as a process of its own: start, help, pipes and signals."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest
import soundfile

from descant.apps.cli import main as cli
from descant.apps.cli.options import AUDIO_FORMATS, PRECISIONS
from descant.audio import FORMATS

DESCANT = (sys.executable, "-m", "descant")


def test_help_and_argument_errors_come_without_torch():
    code = (
        "import sys\nfrom descant.apps.cli.main import main\n"
        "for words in (['--help'], ['generate', '--help'], ['generate', 'x', '-d', 'ten'], ['--version'], []):\n"
        "    main(words)\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules and 'rich' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_module_starts_and_gives_its_exit_codes():
    done = subprocess.run([*DESCANT, "--version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("descant 0.")
    wrong = subprocess.run([*DESCANT, "generate", "x", "--colour"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("descant: error: ")
    assert wrong.stderr.count("\n") == 1


def every_command(parser, path=()):
    actions = [action for action in parser._actions if hasattr(action, "choices") and isinstance(action.choices, dict)]
    if not actions:
        yield path, parser
    for name, child in (item for action in actions for item in action.choices.items()):
        yield from every_command(child, (*path, name))


def test_each_command_shows_worked_examples_that_its_own_parser_takes():
    parser = cli.build_parser()
    commands = list(every_command(parser))
    assert len(commands) >= 15
    for path, command in commands:
        examples = re.findall(r"^  (descant .*)$", command.epilog or "", re.MULTILINE)
        assert examples, path
        for example in examples:
            words = shlex.split(example.partition(" | ")[0])
            assert words[1 : 1 + len(path)] == list(path)
            parser.parse_args(words[1:])


def test_the_names_that_start_without_torch_are_those_of_the_library():
    from descant.devices import PRECISIONS as LIBRARY_PRECISIONS

    assert tuple(FORMATS) == AUDIO_FORMATS
    assert ("auto", *LIBRARY_PRECISIONS) == PRECISIONS


def test_a_closed_pipe_is_no_traceback():
    reading, writing = os.pipe()
    os.close(reading)
    shown = subprocess.run([*DESCANT, "models", "show", "tiny"], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert shown.returncode == 0
    assert shown.stderr == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_under_stdout_is_one_line():
    with open("/dev/full", "w") as full:
        shown = subprocess.run(
            [*DESCANT, "models", "show", "tiny"], stdout=full, stderr=subprocess.PIPE, check=False, text=True
        )
    assert shown.returncode == 3
    assert shown.stderr == "descant: error: 'standard output': No space left on device\n"


def test_ctrl_c_in_the_middle_leaves_whole_files_only(tmp_path):
    words = ("generate", "x", "--model", "tiny", "-d", "0.5", "--count", "1000", "-o", f"{tmp_path}/out/")
    # Without the reset, a test run that a shell put in the background would pass its ignored SIGINT on.
    reset = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with subprocess.Popen([*DESCANT, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **reset) as process:
        while not (tmp_path / "out").exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130, err
    assert out == b""
    assert err.decode().startswith("descant: error: interrupted")
    assert err.count(b"\n") == 1
    names = sorted(os.listdir(tmp_path / "out"))
    assert all(re.fullmatch(r"\d{4}-seed\d+-x\.wav", name) for name in names)
    assert all(len(soundfile.read(tmp_path / "out" / name)[0]) == 16_000 for name in names)
