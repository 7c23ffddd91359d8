"""The standard streams of a command in every state: closed, full, without letters, with a reader that goes away."""

import io
import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from descant.apps.cli.main import main
from descant.apps.cli.outputs import show
from descant.apps.cli.standard_streams import LenientStderr

DESCANT = (sys.executable, "-m", "descant")
TINY = ("--model", "tiny", "-d", "0.2", "--seed", "1")
SHELL = f"{sys.executable} -m descant"


def sh(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """Runs a shell command, with ``descant`` as a function of the shell."""
    script = f'descant() {{ {SHELL} "$@"; }}\n{command}'
    words = ["bash", "-c", script]
    return subprocess.run(words, cwd=folder, capture_output=True, check=False, env={**os.environ, **environment})


def is_one_error(err: bytes) -> bool:
    return err.startswith(b"descant: error: ") and err.count(b"\n") == 1 and b"our fault" not in err


def test_a_dash_is_standard_output_and_the_bytes_of_the_file(run, folder):
    assert run("generate", "x", *TINY, "-o", "a.flac").code == 0
    done = sh("descant generate x --model tiny -d 0.2 --seed 1 -o - --format flac", folder)
    assert (done.returncode, done.stdout) == (0, (folder / "a.flac").read_bytes())
    assert b"real time" in done.stderr
    again = sh("descant regenerate a.flac -o -", folder)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert os.listdir(folder) == ["a.flac"]


def test_standard_output_takes_one_file(refused):
    assert "one audio file" in refused(2, "generate", "x", "y", *TINY, "-o", "-")
    assert "one audio file" in refused(2, "generate", "x", *TINY, "-o", "a.wav", "--save-codes", "-")
    assert "one audio file" in refused(2, "encode", "x.wav", "-o", "-")


CLOSED = {
    # command and redirection: exit code, whether stdout may hold something
    "descant models show tiny >&-": (0, False),
    "descant models show tiny 2>&-": (0, True),
    "descant models show tiny <&- >&- 2>&-": (0, False),
    "descant models show tiny 2>/dev/full": (0, True),
    "descant models show nosuch 2>&-": (3, False),
    "descant generate x --model tiny -o - --json": (2, False),
    "descant models show nosuch 2>/dev/full": (3, False),
    "descant models show nosuch >&- 2>&-": (3, False),
    "descant generate --colour >/dev/full 2>/dev/full": (2, False),
    "descant generate x --model tiny -d 0.2 --stream - >&-": (3, False),
    "descant generate x --model tiny -d 0.2 --stream - >&- 2>&-": (3, False),
    "descant generate x --model tiny -d 0.2 --stream - >/dev/full": (3, False),
    "descant generate x --model tiny -d 0.2 -o - >&-": (3, False),
    "descant generate x --model tiny -d 0.2 -o - >/dev/full": (3, False),
    "descant generate x --model tiny -d 0.2 -o a.wav <&- >&- 2>&-": (0, False),
    "descant generate x --model tiny -d 0.2 -o a.wav --json 2>&-": (0, True),
    "descant generate x --model tiny -d 0.2 -o a.wav 2>/dev/full": (0, True),
}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("command", CLOSED)
def test_closed_and_full_streams_change_no_exit_code_and_get_nothing(tmp_path, command):
    code, has_output = CLOSED[command]
    done = sh(command, tmp_path)
    assert done.returncode == code, done
    assert bool(done.stdout) == has_output, done
    assert b"Traceback" not in done.stderr + done.stdout
    assert b"error" not in done.stdout
    if code and "2>" not in command:
        assert is_one_error(done.stderr), done
    if "a.wav" in command:
        assert len(soundfile.read(tmp_path / "a.wav")[0]) == 6_400


@pytest.mark.parametrize("option", ["--stream", "-o"])
def test_a_file_that_takes_only_a_part_is_an_error_without_a_buffer_too(tmp_path, option):
    """Without a buffer a write may take a part of what it is given, and says so only by the count."""
    command = f"ulimit -f 20; descant generate piano -d 3 --model tiny --seed 1 {option} - > cut.wav"
    done = sh(command, tmp_path, PYTHONUNBUFFERED="1")
    assert done.returncode == 3, done
    assert is_one_error(done.stderr.splitlines(keepends=True)[-1]), done
    assert (tmp_path / "cut.wav").stat().st_size == 20 * 1_024


@pytest.mark.parametrize("option", ["--stream", "-o"])
def test_a_terminal_gets_no_audio(tmp_path, option):
    ours, theirs = pty.openpty()
    words = [*DESCANT, "generate", "x", "--model", "tiny", "-d", "0.2", option, "-"]
    done = subprocess.run(words, stdout=theirs, stderr=subprocess.PIPE, cwd=tmp_path, check=False)
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 2
    assert is_one_error(done.stderr)
    assert b"terminal" in done.stderr


def test_a_reader_that_has_enough_is_no_error(tmp_path):
    done = sh("descant generate x --model tiny -d 9 -o - | head -c 9; exit ${PIPESTATUS[0]}", tmp_path)
    assert done.returncode == 0, done
    assert len(done.stdout) == 9
    assert b"Traceback" not in done.stderr


def test_a_broken_pipe_that_is_not_standard_output_is_an_error(tmp_path):
    code = (
        "import sys\nfrom descant.apps.cli import main as cli, models\n"
        "def fail(*_):\n    raise BrokenPipeError(32, 'Broken pipe')\n"
        "models.show = fail\nsys.exit(cli.main(['models', 'list']))"
    )
    for unbuffered in ("", "1"):
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, env=environment)
        assert done.returncode == 3, done
        assert b"error: Broken pipe" in done.stderr
        gone = sh("(sleep 0.5; descant models list) | true; exit ${PIPESTATUS[0]}", tmp_path, **environment)
        assert (gone.returncode, gone.stderr) == (0, b"")


@pytest.mark.parametrize("path", [" a\u3000b .wav", "\u200d.wav", "\xa0"])
def test_the_path_of_a_result_is_printed_as_it_is(path, capsys):
    show({}, [path], as_json=False)
    assert capsys.readouterr().out == f"{path}\n"
    show({}, ["a\nb\x1b[m\u202e"], as_json=False)
    assert capsys.readouterr().out == "a\\nb\\x1b[m\\u202e\n"


@pytest.mark.parametrize("command", [("regenerate", "a.wav"), ("decode", "a.safetensors"), ("tokenize", "set.jsonl")])
def test_what_the_package_logs_is_printed_by_every_command(command, capfd):
    main(command)
    logging.getLogger("descant").info("of every command")
    assert "note: of every command" in capfd.readouterr().err


def test_an_encoding_without_the_letters_gets_escapes(tmp_path):
    strange = {"PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C.UTF-8"}
    done = sh("descant generate 'Тихо piano' --model tiny -d 0.2 --seed 1", tmp_path, **strange)
    assert done.returncode == 0, done
    assert done.stdout == b"0001-seed1-\\u0442\\u0438\\u0445\\u043e-piano.wav\n"
    wrong = sh("descant generate x --model Тихо", tmp_path, **strange)
    assert wrong.returncode == 3
    assert is_one_error(wrong.stderr)
    assert b"\\u0422" in wrong.stderr
    for words in ("generate --help", "models list", "data --help"):
        assert sh(f"descant {words}", tmp_path, **strange).returncode == 0


def test_a_file_system_without_the_letters_gets_the_others(tmp_path):
    done = sh(
        r"descant generate $'\xd0\xa2 piano' --model tiny -d 0.2 --seed 1; descant generate piano --model tiny -d 0.2",
        tmp_path,
        LC_ALL="C",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
    )
    assert b"Traceback" not in done.stderr
    assert b"our fault" not in done.stderr
    assert all(re.fullmatch(r"0001-seed\d+-piano\.wav", name) for name in os.listdir(tmp_path))


def test_a_stream_that_fails_is_given_up_and_the_work_goes_on():
    class Full(io.StringIO):
        def write(self, *_):
            raise OSError(28, "No space left on device")

        def fileno(self):
            return spare

    spare = os.open(os.devnull, os.O_WRONLY)
    try:
        stream = LenientStderr(Full())
        print("a note", file=stream, flush=True)
        assert LenientStderr(None).write("nobody") == 6
        assert not LenientStderr(None).isatty()
    finally:
        os.close(spare)


def test_a_full_standard_output_is_named(tmp_path):
    done = sh("descant models list > /dev/full", tmp_path)
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr == b"descant: error: 'standard output': No space left on device\n"
