"""Commands that end early, on full disks and by signals, and read-only systems."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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
