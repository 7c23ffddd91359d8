"""What happens to what a command writes: earlier files, standard streams in every state, full disks, signals."""

import io
import json
import logging
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile

from descant.apps.cli.main import main
from descant.apps.cli.outputs import show
from descant.apps.cli.standard_streams import LenientStderr
from descant.audio import read_info

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


# Earlier music.


def test_a_second_run_into_a_folder_loses_nothing(run):
    guidances = ("1", "2", "3")
    for guidance in guidances:
        outcome = run("generate", "x", *TINY, "-o", "out/", "--save-codes", "codes/", "--guidance", guidance)
        assert outcome.code == 0, outcome.err
    names = ["0001-seed1-x", "0001-seed1-x-2", "0001-seed1-x-3"]
    assert sorted(os.listdir("out")) == sorted(f"{name}.wav" for name in names)
    assert sorted(os.listdir("codes")) == sorted(f"{name}.safetensors" for name in names)
    found = [str(read_info(f"out/{name}.wav")["guidance"]["scale"]) for name in names]
    assert found == ["1.0", "2.0", "3.0"]
    assert outcome.out == "out/0001-seed1-x-3.wav\ncodes/0001-seed1-x-3.safetensors\n"


def test_the_current_folder_and_regenerate_lose_nothing_either(run):
    for _ in range(2):
        assert run("generate", "x", *TINY).code == 0
    assert sorted(os.listdir(".")) == ["0001-seed1-x-2.wav", "0001-seed1-x.wav"]
    outs = [run("regenerate", "0001-seed1-x.wav").out for _ in range(2)]
    assert outs == ["0001-seed1-x-again.wav\n", "0001-seed1-x-again-2.wav\n"]


def test_a_file_that_is_named_is_replaced_as_the_help_says(run, folder):
    (folder / "a.wav").write_bytes(b"old")
    (folder / "a.wav").chmod(0o600)
    (folder / "link.wav").symlink_to("a.wav")
    assert run("generate", "x", *TINY, "-o", "link.wav").code == 0
    assert (folder / "link.wav").is_symlink()
    assert len(soundfile.read("a.wav")[0]) == 6_400
    assert os.stat("a.wav").st_mode & 0o777 == 0o600
    assert "An existing FILE is replaced" in " ".join(run("generate", "--help").out.split())


def test_audio_and_codes_never_share_a_file(refused):
    line = refused(
        2, "generate", "x", *TINY, "-o", "a.safetensors", "--format", "wav", "--save-codes", "./a.safetensors"
    )
    assert "--save-codes" in line


# Odd names.

ODD_OUTPUTS = {
    "": "empty",
    " ": "empty",
    ".wav": "without a name",
    "x/.flac": "without a name",
    "trail.wav ": "white space",
    "/dev/stdout": "--stream -",
    "/dev/fd/1": "--stream -",
    "/dev/null": "--stream -",
    "pipe.wav": "--stream -",
}


@pytest.mark.parametrize(("output", "words"), ODD_OUTPUTS.items(), ids=repr)
def test_odd_outputs_are_refused_in_words_of_their_own(refused, folder, output, words):
    os.mkfifo(folder / "pipe.wav")
    more = ("--format", "wav") if output.startswith("/dev") else ()
    assert words in refused(2, "generate", "x", *TINY, "-o", output, *more)


def test_a_tilde_is_the_home_folder(run, folder, monkeypatch):
    (folder / "home").mkdir()
    monkeypatch.setenv("HOME", str(folder / "home"))
    assert run("generate", "x", *TINY, "-o", "~/x.wav", "--save-codes", "~/codes/").code == 0
    assert sorted(os.listdir(folder)) == ["home"]
    assert sorted(os.listdir(folder / "home")) == ["codes", "x.wav"]


@pytest.mark.parametrize("words", [("-foo",), ("-foo", *TINY), ("x", "-foo"), ("-foo", "-o", "a.wav")])
def test_a_prompt_like_an_option_says_how_to_give_it(refused, words):
    assert "put -- before it: -- '-foo'" in refused(2, "generate", *words)


def test_mistyped_options_get_no_such_hint(refused):
    for words in (("x", "--colour", "red"), (), ("x", "-d", "ten")):
        assert "put --" not in refused(2, "generate", *words)


def test_an_empty_model_name_is_not_the_current_folder(refused, tiny_folder, monkeypatch):
    monkeypatch.chdir(tiny_folder)
    assert "--model ''" in refused(3, "generate", "x", "--model", "", "-o", "/tmp/never.wav")


OPTION_ERRORS = {
    "--top-p 2:": ("--top-p", "2"),
    "--duration 0:": ("-d", "0"),
    "--loop 2:": ("--loop", "2"),
    "--then:": ("--then", "0.1 a", "--then", "0.1 b"),
    "--guidance 5000:": ("--guidance", "5000"),
    "--guidance-at: scale=5000:": ("--guidance-at", "0.1:5000"),
    "--guidance-at:": ("--guidance-at", "0.2:3", "--guidance-at", "0.1:3"),
    "--temperature 0:": ("--temperature", "0"),
    "--negative:": ("--negative", "\0"),
}


@pytest.mark.parametrize(("begin", "words"), OPTION_ERRORS.items(), ids=OPTION_ERRORS.keys())
def test_a_wrong_value_is_answered_with_the_options_name(refused, begin, words):
    rest = ("--model", "tiny", "-o", "a.wav")
    assert refused(2, "generate", "x", *rest, *words).startswith(f"descant: error: {begin} ")


# Standard streams.


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


# Full disks and signals.

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


def test_a_read_only_system_hears_melodies(tmp_path):
    """Nothing but the current folder is writable, where this machine allows a name space of its own."""
    read_only = ["unshare", "-m", "bash", "-c", 'mount -t tmpfs tmpfs . && mount -o remount,ro,bind / && cd . && "$@"']
    if subprocess.run([*read_only, "bash", "true"], cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    code = (
        "import torch\nfrom descant.audio import Clip\nfrom descant.conditioning.stems import _harmonic\n"
        "_harmonic(Clip(torch.randn(1, 4410) * 0.1, 22050))\nprint('heard')\n"
    )
    # The folder is entered anew, for the mount covers what the process stands in.
    words = [*read_only, "bash", "bash", "-c", 'cd "$PWD" && exec "$@"', "bash", sys.executable, "-c", code]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, check=False, text=True, env=environment)
    assert done.stdout == "heard\n", done.stderr


def test_a_full_standard_output_is_named(tmp_path):
    done = sh("descant models list > /dev/full", tmp_path)
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr == b"descant: error: 'standard output': No space left on device\n"


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("-foo", b"if '-foo' is the prompt, put -- before it"),
        ("'-dark piano'", b"if '-dark piano' is the prompt, put -- before it"),
        ("piano -d 1 techno", b"put all prompts, or all files, next to each other"),
        ("a b -d 1 -o new/same.wav", b"give a folder: 'new/same/'"),
        ("piano -d one", b"'one' is not a number; see: descant generate --help"),
    ],
)
def test_words_that_stand_in_the_wrong_place_are_answered_with_what_to_do(tmp_path, words, advice):
    (tmp_path / "new").mkdir()
    done = sh(f"descant generate {words} --model tiny", tmp_path)
    assert done.returncode == 2
    assert advice in done.stderr
