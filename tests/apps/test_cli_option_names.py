"""The command line speaks its own options: in every error, whichever part of the library raised it, and in its help."""

import argparse
import re
from dataclasses import fields
from pathlib import Path

import pytest

from descant import Guidance, InvalidRequest, Request, Sampling
from descant.apps.cli.main import build_parser
from descant.apps.cli.option_names import OPTIONS, with_option_names
from descant.apps.cli.parser import Parser
from descant.errors import SALVAGE_HINT

RECIPE = str(Path(__file__).parents[2] / "recipes" / "starter_lm.py")
ABLATIONS = str(Path(__file__).parents[2] / "recipes" / "ablations")
TINY = ("--model", "tiny")
REQUIRED = {
    "generate": ("x, 120 bpm", *TINY, "-d", "0.5", "-o", "out.wav"),
    "regenerate": ("made.wav",),
    "encode": ("made.wav", "-o", "out.safetensors", *TINY),
    "decode": ("made.safetensors", "-o", "out.wav"),
    "transcribe": ("made.wav", "-o", "out.mid"),
    "models init": ("tiny", "model"),
    "models convert": ("tiny", "model", "--to", "native"),
    "train": (RECIPE, "--out", "run"),
    "finetune": (ABLATIONS, "--output", "run", *TINY),
    "study": ("patterns", "--recipes", ABLATIONS),
    "evaluate": (".",),
    "listen build": ("test", "a=.", "b=."),
    "bench decode": TINY,
    "bench codec": TINY,
    "bench train": TINY,
    "bench load": TINY,
    "bench cold-start": TINY,
    "data scan": (".",),
    "data check": ("no.jsonl",),
    "data caption": ("no",),
    "data tokenize": ("no.jsonl", "-o", "shards", *TINY),
    "data melodies": ("shards", "--codec", "codec"),
    "data embeddings": ("shards", "--codec", "codec"),
    "serve": (),
    "serve keys add": ("phone",),
    "serve keys list": (),
    "serve keys revoke": ("phone",),
    "serve export": ("music",),
}
"""The rest of a command line, for commands whose options can be wrong."""

MACHINE = {"--threads": "0"}
MODEL = {**MACHINE, "--model": "no\nmodel", "--device": "cuda:99", "--precision": "int2"}
BENCH = {**MODEL, "--untrained": "huge", "--busy": "65"}
PARTS = {"--workers": "0", "--shard": "3/2"}
WORK = {"--workers": "0", "--cache": "made.wav", **MACHINE}
SHARDS = {**MACHINE, "--device": "tpu"}
KEPT = {"--data": "a\0b", "--keys": " ", **MACHINE}
WRONG = {
    "generate": {
        "--duration": "3601",
        "--count": "0",
        "--seed": "-1",
        "--best-of": "65",
        "--long-prompt": "no",
        "--negative": "\0",
        "--tempo": "0",
        "--key": "H major",
        "--guidance": "101",
        "--adapter": "no",
        "--then": "9 drums",
        "--guidance-at": "0:2",
        "--loop": "257",
        "--beats-per-bar": "33",
        "--stride": "30",
        "--continue": "no.wav",
        "--melody": "no.wav",
        "--melody-part": "drums",
        "--melody-guidance": "-1",
        "--style": "no.wav",
        "--chords": "H:0",
        "--text-guidance": "-1",
        "--output": "out.xyz",
        "--format": "aac",
        "--loudness": "1",
        "--save-codes": "out.pt",
        "--stream": "x",
        "--stream-format": "mp3",
        "--temperature": "0",
        "--top-k": "-1",
        "--top-p": "2",
        "--hold-penalty": "-1",
        "--server": "localhost",
        **MODEL,
    },
    "regenerate": {
        "--adapter": "no",
        "--output": "out.xyz",
        "--format": "aac",
        "--loudness": "1",
        "--save-codes": "out.pt",
        **MODEL,
    },
    "encode": {"--output": "out.pt", **MODEL},
    "decode": {"--output": "out.xyz", "--format": "aac", "--loudness": "1", **MODEL},
    "transcribe": {"--output": "out.wav", "--tempo": "301", **MACHINE},
    "models init": {"--seed": "x", **MACHINE},
    "models convert": {"--to": "pickle", **MACHINE},
    "train": {
        "--set": "trainer.max_steps=0",
        "--out": "a\0b",
        "--export": "oldest",
        "--gpus": "0",
        "--gpus-per-node": "8",
        "--card": "h300",
        "--utilization": "0.4",
        **MACHINE,
    },
    "finetune": {
        "--output": "a\0b",
        "--trigger": " ",
        "--minutes": "0",
        "--set": "segment_s=-1",
        **MACHINE,
        "--model": "no\nmodel",
        "--device": "cuda:99",
    },
    "study": {
        "--recipes": "no",
        "--data": "no",
        "--out": "a\0b",
        "--rows": "loud",
        "--seeds": "0",
        "--set": "trainer.max_steps=0",
        **MACHINE,
    },
    "evaluate": {
        "--reference": "no",
        "--metrics": "fda",
        "--prompts": "no",
        "--melody": "no",
        "--training": "no",
        "--duration": "0",
        "--seed": "x",
        "--embedder": "no",
        "--labeller": "no",
        "--text-embedder": "no",
        "--html": "page.txt",
        "--players": "-1",
        "--cache": "made.wav",
        "--suite": "no",
        "--output": "out",
        "--clips": "9",
        **MODEL,
    },
    "listen build": {
        "--clips": "2",
        "--seed": "x",
        "--duration": "0",
        "--melody": "no",
        "--prompts": "no",
        "--repeats": "-1",
        "--anchors": "3",
        **MACHINE,
    },
    "bench decode": {
        "--duration": "0",
        "--repeats": "0",
        "--count": "65",
        "--curve": "bpm",
        "--against": "audiocraft",
        **BENCH,
    },
    "bench codec": {"--duration": "nan", "--repeats": "101", "--against": "x", **BENCH},
    "bench train": {"--duration": "-1", "--repeats": "x", "--batch-size": "0", **BENCH},
    "bench load": {"--repeats": "0", **BENCH},
    "bench cold-start": {"--repeats": "-1", **BENCH},
    "data scan": {"--output": "no/m.jsonl", "--valid-share": "2", **PARTS, **MACHINE},
    "data check": {
        **PARTS,
        "--segment": "0",
        "--sample-rate": "-1",
        "--allow": "noise",
        "--page": "no/page.html",
        "--codec": "no",
        **WORK,
    },
    "data caption": WORK,
    "data tokenize": {"--output": "", "--codec": "no", "--batch-size": "0", **PARTS, **MODEL},
    "data melodies": {"--codec": "no", "--part": "drums", "--workers": "0", **SHARDS},
    "data embeddings": {"--codec": "no", "--clap": "no", **SHARDS},
    "serve": {
        "--host": "0.0.0.0",
        "--port": "65536",
        "--quota-gib": "0",
        "--allowed-host": "a b",
        "--allow-origin": "music.example",
        "--cluster": "ray://head:10001",
        "--replicas": "0",
        **KEPT,
        **MODEL,
    },
    "serve keys add": {"--scope": "write", **KEPT},
    "serve keys list": KEPT,
    "serve keys revoke": KEPT,
    "serve export": {"--format": "aiff", "--data": "a\0b", **MACHINE},
}
"""A wrong value for each option that takes one."""

LATER = {"--then", "--set", "--guidance-at", "--adapter", "--allowed-host", "--allow-origin"}
NEEDS = {
    "--loop": (),
    "--beats-per-bar": ("--loop", "2"),
    "--melody-guidance": (),
    "--text-guidance": (),
    "--stream": (),
}
NOT_REACHED = {
    *{("data tokenize", name) for name in ("--output", "--codec", "--model", "--device")},
    *{("data melodies", "--codec"), ("data embeddings", "--codec"), ("data embeddings", "--clap")},
}
"""Options that are read after the files, which the tests of data and codecs cover."""

CASES = [(command, option) for command, options in WRONG.items() for option in options]
PYTHON = re.compile(
    r"\b[a-z]+(_[a-z]+)+=|\b(Clip|Request|Sampling|Guidance)\(|guidance\.[a-z]|of guidance|\w='|=(True|False|None)\b"
)


def commands_of(parser: Parser, path: str = "") -> dict[str, Parser]:
    """The parsers of all commands, by their words."""
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not found:
        return {path: parser}
    parts = [commands_of(inner, f"{path} {name}".strip()) for name, inner in found[0].choices.items()]
    own = {} if found[0].required else {path: parser}
    return {**own, **{name: inner for part in parts for name, inner in part.items()}}


COMMANDS = commands_of(build_parser())


def valued(parser: Parser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.option_strings and action.nargs != 0]


def command_line(command: str, option: str) -> list[str]:
    """The command with a wrong value for the option, which is given once."""
    rest, instead = list(REQUIRED[command]), NEEDS.get(option)
    short = {"--duration": "-d", "--output": "-o"}.get(option, option)
    for other in {short, *(["-d"] if instead is not None or option == "--loop" else [])} & {*rest}:
        at = rest.index(other)
        del rest[at : at + 2]
    return [*command.split(), *rest, *(instead or ()), option, WRONG[command][option]]


@pytest.mark.parametrize("empty", ["", " "])
@pytest.mark.parametrize("command", COMMANDS)
def test_an_empty_value_is_refused_by_its_option(command, empty):
    """``--melody "$TUNE"`` with an unset TUNE was the current folder to some options, and nothing at all to others."""
    parser = COMMANDS[command]
    places = [action for action in parser._actions if not action.option_strings and action.choices is None]
    cases = [(place.metavar, ["a=b"] * number + [empty]) for number, place in enumerate(places)]
    cases += [(action.option_strings[-1], [action.option_strings[-1], empty]) for action in valued(parser)]
    texts = [action for action in parser._actions if action.metavar in ("PROMPT", "TEXT")]
    for name, words in cases:
        if any(name == text.metavar or name in text.option_strings for text in texts):
            continue
        with pytest.raises(InvalidRequest, match=re.escape(name)) as refusal:
            parser.parse_args(words)
        assert f"{empty!r} is empty" in str(refusal.value) or "invalid choice" in str(refusal.value)


@pytest.mark.parametrize(("command", "option"), CASES)
def test_an_error_names_the_option_and_nothing_of_python(run, made, command, option):
    if command == "serve":
        pytest.importorskip("fastapi")
    for name in ("made.wav", "made.safetensors"):
        Path(name).write_bytes((made / name).read_bytes())
    outcome = run(*command_line(command, option))
    assert outcome.code in (2, 3), outcome
    message = re.sub(r"--set \S+", "--set", outcome.err)
    assert not PYTHON.search(message), message
    assert not [field for field in OPTIONS if "_" in field and field in re.split(r"\W+", message)], message
    if (command, option) not in NOT_REACHED:
        assert option in message, message


def test_a_wrong_value_is_known_for_every_option():
    for command, parser in COMMANDS.items():
        names = {action.option_strings[-1] for action in valued(parser)}
        assert names == set(WRONG.get(command, MACHINE)), command


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_with_one_value_is_refused_when_given_twice(command):
    examples = {
        "--device": "cpu",
        "--precision": "fp32",
        "--seed": "7",
        "--model": "tiny",
        "--soundfont": __file__,
        "--prompts": __file__,
        "--metrics": "fad",
        "--workers": "1",
        "--shard": "1/2",
        "--cluster": "local",
        "--replicas": "1",
    }
    for action in valued(COMMANDS[command]):
        name = action.option_strings[-1]
        value = next(iter(action.choices)) if action.choices else examples.get(name, "-1")
        words = [*command.split(), f"{name}={value}", f"{name}={value}"]
        if name not in LATER:
            with pytest.raises(InvalidRequest, match=f"{name}: given twice"):
                build_parser().parse_args(words)


def test_every_field_that_a_person_gives_has_an_option():
    without = {"sampling", "scale", "melody_chroma", "style_codes", "prompt_codes"}
    given = {field.name for kind in (Request, Sampling, Guidance) for field in fields(kind)} - without
    assert given | {"guidance.scale", "model", "device", "precision", "best_of"} <= set(OPTIONS)
    available = frozenset().union(*(parser.names() for parser in COMMANDS.values()))
    assert set(OPTIONS.values()) <= available


MESSAGES = {
    "top_p=2: must be at most 1": "--top-p 2: must be at most 1",
    "text: 5000 characters; long_prompt='cut' reads their beginning": (
        "PROMPT: 5000 characters; --long-prompt cut reads their beginning"
    ),
    "text='top_p=2 of it': write it in English": "PROMPT 'top_p=2 of it': write it in English",
    "text_scale=5 of guidance weighs a text": "--text-guidance 5 weighs a text",
    "schedule of guidance: seconds must rise": "--guidance-at: seconds must rise",
    "guidance.schedule: seconds must rise": "--guidance-at: seconds must rise",
    "'a.wav' is damaged; salvage=True reads the rest": "'a.wav' is damaged; --salvage reads the rest",
    "style transfer is not what this is": "style transfer is not what this is",
    "valid_share=2: not an option of this command": "valid share 2: not an option of this command",
}


def test_a_command_without_salvage_says_how_to_keep_what_can_be_read():
    message = f"'a.wav' is damaged. 3.20 s can be read{SALVAGE_HINT}"
    assert with_option_names(message, COMMANDS["encode"].names()).endswith("; --salvage takes them")
    assert with_option_names(message, COMMANDS["regenerate"].names()).endswith(
        "; keep them with ffmpeg -i INPUT output.wav"
    )


@pytest.mark.parametrize(("message", "expected"), MESSAGES.items())
def test_fields_become_options_and_all_else_stays(message, expected):
    assert with_option_names(message, COMMANDS["generate"].names()) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("--set segment_s=0: must be above 0", "--set segment_s=0: must be above 0"),
        ("--set minutes=-1: must be above 0", "--set minutes=-1: must be above 0"),
        ("segment_s: the run was started with 1.0", "segment_s: the run was started with 1.0"),
        ("segment_s=500: too long", "segment_s=500: too long"),
        ("minutes=0: must be above 0", "--minutes 0: must be above 0"),
    ],
)
def test_settings_keep_the_names_by_which_they_are_set(message, expected):
    """The error for ``--set segment_s=0`` was once about ``--set segment s 0``."""
    assert with_option_names(message, COMMANDS["finetune"].names()) == expected
