"""Commands that end early, on full disks and by signals, and read-only systems."""

import contextlib
import importlib
import importlib.machinery
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from descant.apps.cli.main import main
from descant.errors import DataError, ProcessLost
from tests.curation.music import song

DESCANT = (sys.executable, "-m", "descant")
TINY = ("--model", "tiny", "-d", "0.2", "--seed", "1")


def is_one_error(err: bytes) -> bool:
    return err.startswith(b"descant: error: ") and err.count(b"\n") == 1 and b"our fault" not in err


ON_A_SMALL_DISK = """
import os, sys
from descant.apps.cli.main import main
import descant.atomic
write, calls = descant.atomic._write, []
def write_until_full(*words, **more):
    calls.append(1)
    if len(calls) > int(os.environ["FILES_THAT_FIT"]):
        raise OSError(28, "No space left on device")
    write(*words, **more)
descant.atomic._write = write_until_full
sys.exit(main(sys.argv[1:]))
"""


def on_a_small_disk(files_that_fit: int, folder: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "FILES_THAT_FIT": str(files_that_fit)}
    command = [sys.executable, "-c", ON_A_SMALL_DISK, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False, text=True, env=environment)


@pytest.mark.parametrize("as_json", [False, True])
def test_a_disk_that_fills_up_leaves_and_names_what_was_finished(tmp_path, as_json):
    words = ("generate", "x", *TINY, "--count", "4", "-o", "out/", *(["--json"] if as_json else []))
    done = on_a_small_disk(2, tmp_path, *words)
    assert done.returncode == 3, done
    finished = ["out/0001-seed1-x.wav", "out/0002-seed2-x.wav"]
    if as_json:
        result = json.loads(done.stdout)
        assert result["files"] == finished
        assert result["seeds"] == [1, 2]
        assert result["prompts"] == ["x", "x"]
        assert "No space left" in result["error"]
    else:
        assert done.stdout.splitlines() == finished
    assert is_one_error(done.stderr.encode())
    assert "0003-seed3-x.wav': No space left" in done.stderr
    assert sorted(f"out/{name}" for name in os.listdir(tmp_path / "out")) == finished


def test_codes_that_do_not_fit_leave_their_audio_named(tmp_path):
    done = on_a_small_disk(1, tmp_path, "generate", "x", *TINY, "-o", "a.wav", "--save-codes", "a.safetensors")
    assert done.returncode == 3, done
    assert done.stdout == "a.wav\n"
    assert os.listdir(tmp_path) == ["a.wav"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_ends_in_one_line_and_leaves_whole_files(tmp_path, number, code):
    words = ("generate", "x", "--model", "tiny", "-d", "0.5", "--count", "1000", "-o", "out/")

    def with_default_signals():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(number, signal.SIG_DFL)

    with subprocess.Popen(
        [*DESCANT, *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=with_default_signals,
    ) as process:
        # Of two files that are there, the first is counted already.
        while len(list(tmp_path.glob("out/*.wav"))) < 2 and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate()
    assert process.returncode == code, err
    assert out == b""
    assert is_one_error(err)
    assert re.search(rb"interrupted.*: \d+ of 1000 files are finished and stay; no unfinished file is left", err)
    assert (number.name.encode() in err) == (number != signal.SIGINT)
    for name in os.listdir(tmp_path / "out"):
        assert re.fullmatch(r"\d{4}-seed\d+-x\.wav", name)


@pytest.fixture
def songs(tmp_path):
    (tmp_path / "songs").mkdir()
    for number in range(8):
        song(number, 6.0).save(tmp_path / "songs" / f"{number}.wav")
    return tmp_path / "songs"


def interrupted_as_in_a_terminal(folder: Path, first_file: str, *words: str) -> str:
    """Sends Ctrl-C to a command and its workers, as a terminal does, once a file is there; returns its messages."""
    with subprocess.Popen(
        [*DESCANT, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")},
    ) as process:
        while not any(folder.glob(first_file)) and process.poll() is None:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out) == (130, ""), err
    return err


@pytest.mark.parametrize(
    ("words", "first_file"),
    [
        (("data", "check", "songs", "--workers", "2", "--families"), "cache/descant/curation/**/*"),
        (("data", "caption", "songs", "--workers", "2"), "cache/descant/curation/**/*"),
        (("data", "tokenize", "songs/manifest.jsonl", "-o", "tokens"), "tokens"),
    ],
    ids=lambda words: words[1],
)
def test_ctrl_c_reaches_all_workers_and_is_one_line(tmp_path, songs, words, first_file):
    assert main(["data", "scan", str(songs)]) == 0
    before = sorted(songs.iterdir())
    assert interrupted_as_in_a_terminal(tmp_path, first_file, *words) == (
        "descant: error: interrupted; no unfinished file is left\n"
    )
    assert sorted(songs.iterdir()) == before


def test_ctrl_c_before_the_training_of_a_fine_tuning_run_says_that_it_continues(tmp_path, songs):
    words = ("finetune", "songs", "-o", "out", "--model", "tiny")
    err = interrupted_as_in_a_terminal(tmp_path, "out/tokens", *words)
    *_, last = err.splitlines()
    assert last.startswith("descant: error: interrupted: what is done so far is kept, and the same command continues;")
    assert songs.is_dir()
    whole = {"state.json", "tokens", "manifest.jsonl", "samples"}
    assert {path.name for path in (tmp_path / "out").iterdir() if path.name[0] != "."} <= whole


def test_what_nohup_ignores_stays_ignored(tmp_path):
    code = (
        "import os, signal\nfrom descant.apps.cli.termination import termination_raises\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with termination_raises():\n    os.kill(os.getpid(), signal.SIGHUP)\n    print('alive')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=tmp_path)
    assert done.stdout == b"alive\n"


def test_a_forked_worker_ends_as_without_us(tmp_path):
    code = (
        "import os, signal, sys\nfrom descant.apps.cli.termination import termination_raises\n"
        "with termination_raises():\n"
        "    child = os.fork()\n"
        "    if not child:\n        os.kill(os.getpid(), signal.SIGTERM)\n        os._exit(7)\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=tmp_path)
    assert done.stdout == b"-15\n"


def test_librosa_comes_where_no_cache_can_be_written(tmp_path):
    """A read-only install and home ended best-of and harmonic melodies with numba's RuntimeError."""
    code = (
        "import os\nfrom descant.audio import analysis\n"
        "analysis._is_writable = lambda folder: False\n"
        "import numba\nlibrosa = analysis.import_librosa()\n"
        "print(numba.config.CACHE_DIR, oct(os.stat(numba.config.CACHE_DIR).st_mode & 0o777))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=tmp_path, text=True)
    folder, mode = done.stdout.split()
    assert mode == "0o700"
    assert not os.path.exists(folder)


def test_a_read_only_system_extracts_melodies(tmp_path):
    """Nothing but the current folder is writable, where this machine allows a name space of its own."""
    read_only = ["unshare", "-m", "bash", "-c", 'mount -t tmpfs tmpfs . && mount -o remount,ro,bind / && cd . && "$@"']
    if subprocess.run([*read_only, "bash", "true"], cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    code = (
        "import torch\nfrom descant.audio import Clip\nfrom descant.conditioning.stems import _harmonic\n"
        "_harmonic(Clip(torch.randn(1, 4410) * 0.1, 22050))\nprint('done')\n"
    )
    # The folder is entered anew, for the mount covers what the process stands in.
    words = [*read_only, "bash", "bash", "-c", 'cd "$PWD" && exec "$@"', "bash", sys.executable, "-c", code]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, check=False, text=True, env=environment)
    assert done.stdout == "done\n", done.stderr


INTERRUPTED_WHILE_IMPORTING = """
import os, signal, sys
from descant_command import main

class PressCtrlC:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            sys.meta_path.remove(self)
            try:
                for _ in range(times):
                    os.kill(os.getpid(), number)
            except KeyboardInterrupt:
                os.abort()  # as PyTorch does where its C++ code is initialised

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, PressCtrlC())
module = sys.argv.pop(1)
number = getattr(signal, sys.argv.pop(1))
times = int(sys.argv.pop(1))
sys.exit(main())
"""


@pytest.mark.parametrize("module", ["descant", "descant.version", "descant.apps.cli.parser", "torch"])
def test_ctrl_c_while_libraries_are_loaded_ends_as_at_any_other_time(module):
    assert interrupted_while_importing(module, "SIGINT") == (
        130,
        "descant: error: interrupted; no unfinished file is left\n",
    )


def test_sigterm_while_libraries_are_loaded_ends_as_at_any_other_time():
    ending = (143, "descant: error: interrupted by SIGTERM; no unfinished file is left\n")
    assert interrupted_while_importing("torch", "SIGTERM") == ending


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_during_the_last_import_of_a_command_is_not_lost(name, code, monkeypatch, capsys):
    """The command was once done before the signal came again: a loop of commands went on after Ctrl-C."""

    class PressKey:
        def find_spec(self, wanted, *_):
            if wanted != "imported_last":
                return None
            signal.raise_signal(getattr(signal, name))
            return importlib.machinery.ModuleSpec(wanted, None, is_package=True)

    monkeypatch.setattr("descant.signals.AFTER_IMPORT_S", 60.0)
    monkeypatch.setattr("descant.apps.cli.main._run", lambda _: importlib.import_module("imported_last") and 0)
    monkeypatch.setattr(sys, "meta_path", [PressKey(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "imported_last", raising=False)
    assert main([]) == code
    assert capsys.readouterr().err.startswith("descant: error: interrupted")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_second_signal_while_libraries_are_loaded_does_not_wait_for_them(name):
    assert interrupted_while_importing("torch", name, times=2) == (-signal.Signals[name], "")


def interrupted_while_importing(module: str, signal_name: str, times: int = 1) -> tuple[int, str]:
    """The exit code and the errors of a command that gets this signal so many times while it imports this module."""
    # A command that has work to do after its imports: the signal comes again then.
    words = (module, signal_name, str(times), "generate", "x", "--model", "tiny", "-d", "30", "-o", "x.wav")
    command = [sys.executable, "-c", INTERRUPTED_WHILE_IMPORTING, *words]
    with TemporaryDirectory() as folder:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    return done.returncode, done.stderr


INTERRUPTED_LATER = """
import os, signal, sys
from descant_command import main

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGPROF, lambda *_: os.kill(os.getpid(), signal.SIGINT))
signal.setitimer(signal.ITIMER_PROF, float(sys.argv.pop(1)))
code = main()
signal.setitimer(signal.ITIMER_PROF, 0)
sys.exit(code)
"""


def ctrl_c_gives_one_line(folder: Path, cpu_s: float) -> None:
    """Ctrl-C after so much processor time, which does not depend on what else the machine does."""
    command = [sys.executable, "-c", INTERRUPTED_LATER, str(cpu_s), "generate", "x", *TINY, "-o", f"{cpu_s}.wav"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode:
        assert done.returncode == 130, (cpu_s, done)
        assert re.fullmatch(r"descant: error: interrupted.*; no unfinished file is left\n", done.stderr), (cpu_s, done)
    else:
        assert done.stdout == f"{cpu_s}.wav\n"


@pytest.mark.parametrize("cpu_s", [0.004, 0.05, 0.1, 0.2, 0.4, 0.8])
def test_ctrl_c_is_one_line_at_any_moment(tmp_path, cpu_s):
    ctrl_c_gives_one_line(tmp_path, cpu_s)


@pytest.mark.slow
def test_ctrl_c_is_one_line_at_every_moment_of_two_seconds(tmp_path):
    for moment in range(1, 201):
        ctrl_c_gives_one_line(tmp_path, moment / 100)


@pytest.mark.parametrize(
    ("error", "code"),
    [(DataError("a.wav is gone"), 3), (ProcessLost("one ended"), 130), (ValueError("half a number"), 130)],
    ids=repr,
)
def test_after_ctrl_c_an_error_with_a_cause_of_its_own_is_still_named(monkeypatch, capsys, error, code):
    def run(_words):
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        raise error

    monkeypatch.setattr("descant.apps.cli.main._run", run)
    assert main([]) == code
    assert ("a.wav is gone" in capsys.readouterr().err) == (code == 3)
