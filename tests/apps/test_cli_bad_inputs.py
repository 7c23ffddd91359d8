"""Inputs that have broken tools of this kind: each ends in one line on stderr, an exit code, and no file."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

REQUEST_IS_WRONG, FILE_IS_WRONG = 2, 3
DEFAULTS = {"--model": ("--model",), "-d": ("-d", "--loop"), "-o": ("-o", "--stream")}
VALUES = {"--model": "tiny", "-d": "0.5", "-o": "out.wav"}


def generate(*words: str) -> tuple[str, ...]:
    """A command that makes half a second with the tiny model, except where ``words`` say otherwise."""
    missing = [option for option, instead in DEFAULTS.items() if not {*instead} & {*words}]
    return "generate", *words, *(word for option in missing for word in (option, VALUES[option]))


BAD_REQUESTS = {
    "NUL": ("a\0b",),
    "10 kB": ("x" * 10_000,),
    "1 MB": ("x" * 1_000_000,),
    "lone surrogate": ("a\ud800b",),
    "no prompt": (),
    "bad negative": ("x", "--negative", "\ud800"),
    **{
        f"duration {value}": ("x", "-d", value)
        for value in ("0", "-1", "nan", "inf", "-inf", "1e9", "ten", "", "3600.1", "1e400")
    },
    **{f"temperature {value}": ("x", "--temperature", value) for value in ("0", "-1", "nan", "1e9", "hot")},
    **{f"top_k {value}": ("x", "--top-k", value) for value in ("-1", "1e9", "2.5", "many")},
    **{f"hold penalty {value}": ("x", "--hold-penalty", value) for value in ("-1", "101", "nan")},
    **{f"top_p {value}": ("x", "--top-p", value) for value in ("0", "1.5", "-0.1", "nan")},
    **{f"guidance {value}": ("x", "--guidance", value) for value in ("-3", "1e6", "nan")},
    **{f"seed {value}": ("x", "--seed", value) for value in ("-1", str(2**63), str(2**64), "x", "1.5", "9" * 5_000)},
    "seed passes the last": ("x", "--seed", str(2**32 - 1), "--count", "2", "-o", "out/"),
    "seed of a candidate passes the last": ("x", "--tempo", "120", "--seed", str(2**32 - 1), "--best-of", "2"),
    **{f"count {value}": ("x", "--count", value, "-o", "out/") for value in ("0", "-1", "1001", "1000000")},
    "1001 prompts": (*["x"] * 1_001, "-o", "out/"),
    **{f"best of {value}": ("120 bpm", "--best-of", value) for value in ("0", "-1", "65", "2.5", "many")},
    "best of nothing asked": ("piano", "--best-of", "2"),
    **{
        f"then {value}": ("x", "--then", value)
        for value in ("0.2", "drums", "", "0 drums", "-1 drums", "nan drums", "0.5 drums", "9 drums")
    },
    "timeline out of order": ("x", "--then", "0.3 drums", "--then", "0.2 strings"),
    "timeline twice at once": ("x", "--then", "0.2 drums", "--then", "0.2 strings"),
    **{f"stride {value}": ("x", "--stride", value) for value in ("0", "-1", "30", "nan", "far")},
    **{f"guidance at {value}": ("x", "--guidance-at", value) for value in ("2", "2:", ":2", "2:x", "0:2", "1:-1")},
    "guidance after the end": ("x", "-d", "1", "--guidance-at", "1.1:2"),
    "guidance out of order": ("x", "--guidance-at", "0.3:2", "--guidance-at", "0.2:2"),
    "loop without tempo": ("drums", "--loop", "2"),
    "beats without loop": ("x", "--beats-per-bar", "3"),
    "stream format without stream": ("x", "--stream-format", "raw"),
    "stream to a file": ("x", "--stream", "out.wav"),
    "stream and output": ("x", "--stream", "-", "-o", "b.wav"),
    "stream of two": ("x", "y", "--stream", "-"),
    "melody part without melody": ("x", "--melody-part", "mix"),
    "melody guidance without melody": ("x", "--melody-guidance", "2"),
    **{f"loudness {value}": ("x", "--loudness", value) for value in ("1", "-71", "nan", "loud")},
    **{f"precision {value}": ("x", "--precision", value) for value in ("int2", "INT8", "fp8")},
    **{f"device {value}": ("x", "--device", value) for value in ("tpu", "cuda:x", "cuda:99")},
    "format": ("x", "--format", "aac"),
    "melody": ("x", "--melody", "m.wav"),
    "style": ("x", "--style", "s.wav"),
    "unknown option": ("x", "--colour", "red"),
    "shortened option": ("x", "--temp", "1"),
    "suffix": ("x", "-o", "out.xyz"),
    "no suffix": ("x", "-o", "out"),
    "suffix against format": ("x", "-o", "out.wav", "--format", "mp3"),
    "no folder": ("x", "-o", "no/such/out.wav"),
    "device file": ("x", "-o", "/dev/null", "--format", "wav"),
    "folder under a device": ("x", "-o", "/dev/null/out/"),
    "long name": ("x", "-o", "n" * 300 + ".wav"),
    "NUL in name": ("x", "-o", "a\0b.wav"),
    "one file for two": ("x", "y", "-o", "out.wav"),
    "one codes file for two": ("x", "y", "-o", "out/", "--save-codes", "out.safetensors"),
    "codes suffix": ("x", "--save-codes", "out.pt"),
}


@pytest.mark.parametrize("words", BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_a_bad_request_is_one_line_and_code_2(refused, words):
    refused(REQUEST_IS_WRONG, *generate(*words))


def test_a_request_is_refused_before_a_model_is_loaded(refused, monkeypatch):
    monkeypatch.setattr("descant.api.load", lambda *_, **__: pytest.fail("a model was loaded"))
    for words in (
        ("-d", "3601"),
        ("--then", "9 drums"),
        ("--top-p", "2"),
        ("-o", "no/such/out.wav"),
        ("--save-codes", "out.pt"),
    ):
        refused(REQUEST_IS_WRONG, *generate("x", *words))


def test_the_message_names_what_came_and_what_is_allowed(refused):
    line = refused(REQUEST_IS_WRONG, *generate("x", "--precision", "int2"))
    assert "int2" in line
    assert "fp32" in line
    assert "fp16" in line
    line = refused(REQUEST_IS_WRONG, *generate("x", "-d", "3601"))
    assert "3601" in line
    assert "3600" in line
    assert "model 'tiny' takes no melody" in refused(REQUEST_IS_WRONG, *generate("x", "--melody", "m.wav"))


@pytest.mark.parametrize("seed", ["-1", str(2**32), "1" * 5_000, "1.5", ""])
@pytest.mark.parametrize(
    "words",
    [
        ("generate", "x", "--model", "tiny"),
        ("models", "init", "tiny", "new"),
        ("evaluate", ".", "--reference", "."),
        ("listen", "build", "new", "a=b"),
    ],
    ids=lambda words: words[0],
)
def test_every_command_takes_the_same_seeds(refused, words, seed):
    """A seed of 64 bits was a bug of ours to one command, and others took a negative one."""
    assert "--seed" in refused(REQUEST_IS_WRONG, *words, "--seed", seed)


def test_a_bad_sound_to_continue_is_one_line_and_code_3(refused, bad_sound):
    refused(FILE_IS_WRONG, *generate("x", "--continue", bad_sound))


def test_a_bad_sound_to_encode_is_one_line_and_code_3(refused, bad_sound):
    refused(FILE_IS_WRONG, "encode", bad_sound, "-o", "out.safetensors", "--model", "tiny")


def test_a_bad_sound_to_regenerate_is_one_line_and_code_3(refused, bad_sound):
    refused(FILE_IS_WRONG, "regenerate", bad_sound)


def test_a_prompt_longer_than_the_result_is_code_2(refused, made):
    assert "0.5" in refused(REQUEST_IS_WRONG, *generate("x", "--continue", str(made / "made.wav")))


def test_a_sound_too_long_for_the_codec_is_code_3(refused, tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "long.flac"
    soundfile.write(path, np.zeros(3_601_000, dtype=np.int16), 1_000)
    assert "3600" in refused(FILE_IS_WRONG, "encode", str(path), "-o", "out.safetensors", "--model", "tiny")


def test_a_sound_that_descant_did_not_make_cannot_be_made_again(refused, tmp_path_factory):
    path = tmp_path_factory.mktemp("other") / "other.wav"
    soundfile.write(path, np.zeros(800, dtype=np.int16), 8_000)
    assert "how it was made" in refused(FILE_IS_WRONG, "regenerate", str(path))


@pytest.mark.parametrize("name", ["nosuch", "small", "n" * 300, "a\0b", "../../etc/passwd"])
def test_a_model_that_is_not_there_is_code_3(refused, name):
    refused(FILE_IS_WRONG, *generate("x", "--model", name))
    refused(FILE_IS_WRONG, "models", "show", "nosuch")
    refused(FILE_IS_WRONG, "bench", "decode", "--model", name)


def break_truncate(model):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1_000])


def break_header_length(model):
    weights = model / "model.safetensors"
    weights.write_bytes((2**63).to_bytes(8, "little") + weights.read_bytes()[8:])


def break_pickle(model):
    (model / "model.safetensors").write_bytes(b"\x80\x04cos\nsystem\n(S'touch bomb'\ntR.")


def break_nan(model):
    tensors = load_file(model / "model.safetensors")
    next(iter(tensors.values())).view(-1)[0] = torch.nan
    save_file(tensors, model / "model.safetensors")


def break_names(model):
    tensors = load_file(model / "model.safetensors")
    save_file({f"other.{name}": tensor for name, tensor in tensors.items()}, model / "model.safetensors")


def break_config(model):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "surprise": 1}))


def break_config_depth(model):
    (model / "config.json").write_text("[" * 100_000)


def break_empty(model):
    (model / "model.safetensors").write_bytes(b"")


def break_missing(model):
    (model / "codec" / "model.safetensors").unlink()


DAMAGES = (
    *(break_truncate, break_header_length, break_pickle, break_nan, break_names, break_config, break_config_depth),
    *(break_empty, break_missing),
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_broken_model_is_one_line_and_code_3(refused, folder, tiny_folder, damage):
    shutil.copytree(tiny_folder, folder / "model")
    damage(folder / "model")
    refused(FILE_IS_WRONG, *generate("x", "--model", "model"))
    refused(FILE_IS_WRONG, "models", "check", "model")


@pytest.mark.parametrize("what", ["missing", "text", "cut", "other tensor", "no header", "model weights"])
def test_a_broken_codes_file_is_one_line_and_code_3(refused, folder, made, tiny_folder, what):
    path = folder / "codes.safetensors"
    if what == "text":
        path.write_text("codes")
    elif what == "cut":
        path.write_bytes((made / "made.safetensors").read_bytes()[:-5])
    elif what == "other tensor":
        save_file({"other": torch.zeros(4, 3, dtype=torch.int32)}, path)
    elif what == "no header":
        save_file({"codes": torch.zeros(4, 3, dtype=torch.int32)}, path)
    elif what == "model weights":
        shutil.copy(tiny_folder / "model.safetensors", path)
    refused(FILE_IS_WRONG, "decode", "codes.safetensors", "-o", "out.wav")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("regenerate", "notes.wav"), "is text, not audio"),
        (("decode", "notes.wav", "-o", "out.wav"), "is not a codes file"),
    ],
)
def test_a_text_is_called_a_text_and_not_a_damaged_file(refused, folder, command, said):
    """Its letters were taken for an MPEG frame and for the length of a header."""
    (folder / "notes.wav").write_text("this is a note and no music\n" * 9)
    line = refused(FILE_IS_WRONG, *command)
    assert f"'notes.wav' {said}" in line
    assert "MPEG" not in line
    assert "bytes" not in line


def test_codes_of_another_codec_are_refused(refused, made, tmp_path_factory, run):
    other = tmp_path_factory.mktemp("other") / "tiny"
    assert run("models", "init", "tiny", other, "--seed", "1").code == 0
    line = refused(REQUEST_IS_WRONG, "decode", str(made / "made.safetensors"), "-o", "out.wav", "--model", str(other))
    assert "another codec" in line


OTHER_BAD_REQUESTS = {
    "nothing": (),
    "no such command": ("sing",),
    "no such preset": ("models", "init", "huge", "m"),
    "no folder to init in": ("models", "init", "tiny", "no/such/m"),
    "no recipe": ("train", "nosuch.py"),
    "a recipe that is no Python": ("train", "README.md"),
    "a setting without value": ("train", "nosuch.py", "--set", "x"),
    "no runs": ("bench", "decode", "--repeats", "0", "--model", "tiny"),
    "no seconds": ("bench", "codec", "-d", "0", "--model", "tiny"),
    "infinite seconds": ("bench", "train", "-d", "inf", "--model", "tiny"),
    "no clips": ("bench", "train", "--batch-size", "0", "--model", "tiny"),
    "more than all": ("data", "scan", ".", "--valid-share", "1.5"),
    "no batch": ("data", "tokenize", "m.jsonl", "-o", "s", "--batch-size", "0"),
    "a crop of nothing": ("data", "check", "m.jsonl", "--segment", "0"),
}


@pytest.mark.parametrize("words", OTHER_BAD_REQUESTS.values(), ids=OTHER_BAD_REQUESTS.keys())
def test_other_commands_refuse_in_one_line_too(refused, words):
    refused(REQUEST_IS_WRONG, *words)


def test_data_that_is_missing_or_broken_is_code_3(refused, folder):
    refused(FILE_IS_WRONG, "data", "scan", "nosuch")
    refused(FILE_IS_WRONG, "data", "scan", ".")
    refused(FILE_IS_WRONG, "data", "check", "nosuch.jsonl")
    (folder / "m.jsonl").write_text('{"path": "a.wav"}\n')
    refused(FILE_IS_WRONG, "data", "check", "m.jsonl")
    refused(FILE_IS_WRONG, "data", "tokenize", "m.jsonl", "-o", "shards", "--model", "tiny")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_code_3_before_the_work(refused, folder):
    (folder / "locked").mkdir(mode=0o500)
    refused(FILE_IS_WRONG, *generate("x", "-o", "locked/out.wav"))


@pytest.mark.parametrize("place", ["", "/sub", "/sub/deeper", "-link/sub"])
@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("models", "convert", "{read}", "{out}", "--to", "huggingface"), "DST"),
        (("models", "merge", "{read}", "other", "{out}"), "DST"),
        (("models", "merge", "tiny", "{read}:0.5", "{out}"), "DST"),
        (("data", "tokenize", "m.jsonl", "-o", "{out}", "--codec", "{read}"), "--output"),
        (("data", "tokenize", "m.jsonl", "-o", "{out}", "--model", "{read}"), "--output"),
        (("serve", "export", "{out}", "--data", "{read}"), "DIR"),
    ],
)
def test_nothing_is_written_into_a_folder_that_is_read(run, tiny_folder, words, name, place):
    """``models convert m m/sub`` once wrote a model into a model, which then would not load as a whole."""
    read = Path("read")
    shutil.copytree(tiny_folder, read)
    Path("read-link").symlink_to("read")
    before = sorted(read.rglob("*"))
    outcome = run(*(word.format(read=read, out=f"{read}{place}") for word in words))
    assert outcome.code == REQUEST_IS_WRONG, outcome
    assert f"{name} 'read{place}': it " in outcome.err
    assert "choose a place outside" in outcome.err
    assert sorted(read.rglob("*")) == before
