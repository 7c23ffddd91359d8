"""What happens to what a command writes: earlier files, odd names, misplaced words."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from descant.audio import read_info

TINY = ("--model", "tiny", "-d", "0.2", "--seed", "1")
SHELL = f"{sys.executable} -m descant"


def sh(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """Runs a shell command, with ``descant`` as a function of the shell."""
    script = f'descant() {{ {SHELL} "$@"; }}\n{command}'
    words = ["bash", "-c", script]
    return subprocess.run(words, cwd=folder, capture_output=True, check=False, env={**os.environ, **environment})


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


def test_codes_have_the_name_of_their_audio_however_often_and_in_whatever_format(run):
    """The codes of ``a.flac`` were once ``a-2.safetensors`` where those of an ``a.wav`` lay, and the next mixed all."""
    for format in ("wav", "flac", "flac", "wav"):
        words = ("-o", "out/", "--save-codes", "codes/", "--format", format, "--json")
        outcome = run("generate", "x", *TINY, *words)
        assert outcome.code == 0, outcome.err
        made = json.loads(outcome.out)
        assert Path(made["files"][0]).stem == Path(made["codes_files"][0]).stem
    assert len(list(Path("codes").iterdir())) == 4


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
    assert "--model: '' is empty" in refused(2, "generate", "x", "--model", "", "-o", "/tmp/never.wav")


OPTION_ERRORS = {
    "--top-p 2:": ("--top-p", "2"),
    "--duration 0:": ("-d", "0"),
    "--loop 2:": ("--loop", "2"),
    "--then:": ("--then", "0.1 a", "--then", "0.1 b"),
    "--guidance 5000:": ("--guidance", "5000"),
    "--guidance-at: scale 5000 at second 0.1": ("--guidance-at", "0.1:5000"),
    "--guidance-at:": ("--guidance-at", "0.2:3", "--guidance-at", "0.1:3"),
    "--temperature 0:": ("--temperature", "0"),
    "--negative:": ("--negative", "\0"),
}


@pytest.mark.parametrize(("begin", "words"), OPTION_ERRORS.items(), ids=OPTION_ERRORS.keys())
def test_a_wrong_value_is_answered_with_the_options_name(refused, begin, words):
    rest = ("--model", "tiny", "-o", "a.wav")
    assert refused(2, "generate", "x", *rest, *words).startswith(f"descant: error: {begin} ")


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("-foo", b"if '-foo' is the prompt, put -- before it"),
        ("'-dark piano'", b"if '-dark piano' is the prompt, put -- before it"),
        ("piano -d 1 techno", b"put all prompts, or all files, next to each other"),
        ("a b -d 1 -o new/same.wav", b"give a folder: 'new/same/'"),
        ("a --duraton 1", b"--duraton 1; did you mean --duration?; see: descant generate --help"),
        ("a --outptu=b.wav", b"did you mean --output?"),
        ("a --nothing", b"unrecognized arguments: --nothing; see: descant generate --help"),
        ("piano -d one", b"'one' is not a number; see: descant generate --help"),
    ],
)
def test_words_that_stand_in_the_wrong_place_are_answered_with_what_to_do(tmp_path, words, advice):
    (tmp_path / "new").mkdir()
    done = sh(f"descant generate {words} --model tiny", tmp_path)
    assert done.returncode == 2
    assert advice in done.stderr


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("doctor", "now"),
        ("bench decode", "starter"),
        ("models show", "starter tiny"),
        ("listen build", "out a=a b=b -o test"),
    ],
)
def test_what_a_command_does_not_take_is_its_own_error(refused, command, words):
    message = refused(2, *command.split(), *words.split())
    assert message.startswith("descant: error: unrecognized arguments: ")
    assert message.strip().endswith(f"; see: descant {command} --help")
    assert "prompt" not in message


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("serve --folder music", "unrecognized arguments: --folder; see: descant serve --help"),
        ("serve --dat music keys", "unrecognized arguments: --dat; did you mean --data?; see: descant serve --help"),
        ("--verison", "unrecognized arguments: --verison; did you mean --version?; see: descant --help"),
        ("genrate piano", "did you mean generate?; see: descant --help"),
        ("data sacn music", "did you mean scan?; see: descant data --help"),
    ],
)
def test_what_is_wrong_is_named_and_not_what_follows_from_it(refused, words, error):
    """``serve --folder music`` said that music was no command."""
    assert refused(2, *words.split()).strip().endswith(error)
