"""Model folders that are broken, or made to break something: each is refused in one sentence, and nothing of it runs.

What cannot be seen: a flipped bit among the weights of a safetensors file, unless it makes a value infinite or no
number at all, for the format has no checksum. Files that come from the hub are compared with the hub's checksums, and
torch's files carry one for each tensor, so there a flipped bit is detected.
"""

import contextlib
import io
import json
import os
import resource
import shutil
import signal
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from descant.apps.cli.main import main
from descant.checkpoints import audiocraft, huggingface, native
from descant.conditioning.text import T5Text
from descant.errors import CheckpointError

pytest.importorskip("yaml")

FILE_IS_WRONG = 3
MOST_SECONDS = 600
MOST_BYTES = 300 * 2**20
Spoil = Callable[[Path], object]


@pytest.fixture(autouse=True)
def _ends() -> Iterator[None]:
    """A pipe or a device in place of a file must not be waited for."""

    def too_long(*_: object) -> None:
        raise TimeoutError("it is still reading")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(MOST_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def _the_tests_text_encoder(monkeypatch, word_hashes):
    for module in (audiocraft, native):
        monkeypatch.setattr(module, "load_text_encoder", lambda config, *_: word_hashes(config.text.dim))


@pytest.fixture(scope="module")
def sound_folders(tmp_path_factory, make_model, transformers_model) -> dict[str, Path]:
    """A model that loads, in every layout."""
    root = tmp_path_factory.mktemp("sound")
    native.save_model(make_model(), root / "native")
    audiocraft.save_model(make_model(text=T5Text(name="t5-base", dim=12)), root / "audiocraft")
    folders = {"native": root / "native", "audiocraft": root / "audiocraft"}
    return {**folders, **{kind: transformers_model(kind).folder for kind in ("odd", "melody")}}


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


def run(*words: str) -> Outcome:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    return Outcome(code, out.getvalue(), err.getvalue())


CHECK = ("models", "check", "model")
GENERATE = ("generate", "warm", "--model", "model", "-d", "0.1", "-o", "out.wav", "--loudness", "off")


@pytest.fixture
def refused(sound_folders, tmp_path, monkeypatch) -> Callable[[str, str, Spoil], str]:
    """Spoils a file of a model, and makes sure that it is refused by both commands; gives what is said."""
    monkeypatch.chdir(tmp_path)

    def spoil_and_run(layout: str, name: str, spoil: Spoil) -> str:
        shutil.copytree(sound_folders[layout], tmp_path / "model")
        spoil(tmp_path / "model" / name)
        before = sorted(os.listdir(tmp_path)), _peak_bytes()
        for words in (CHECK, GENERATE):
            outcome = run(*words)
            assert outcome.code == FILE_IS_WRONG, outcome
            assert outcome.out == ""
            assert outcome.err.startswith("descant: error: ")
            assert outcome.err.count("\n") == 1
            assert "Traceback" not in outcome.err
            assert len(outcome.err) < 1_500
        assert sorted(os.listdir(tmp_path)) == before[0], "nothing was written, by us or by what the file holds"
        assert _peak_bytes() - before[1] < MOST_BYTES
        return outcome.err

    return spoil_and_run


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1_024 * peak


@pytest.mark.parametrize("layout", ["native", "audiocraft", "odd", "melody"])
def test_the_undamaged_folders_are_sound_and_make_music(sound_folders, tmp_path, monkeypatch, layout):
    """Else all that follows would prove nothing."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(sound_folders[layout], tmp_path / "model")
    for words in (CHECK, GENERATE):
        outcome = run(*words)
        assert outcome.code == 0, outcome.err
    assert (tmp_path / "out.wav").is_file()


# What may stand in place of any file.


def raw(change: Callable[[bytes], bytes]) -> Spoil:
    return lambda file: file.write_bytes(change(file.read_bytes()))


def holding(content: bytes) -> Spoil:
    return lambda file: file.write_bytes(content)


def instead(make: Spoil) -> Spoil:
    return lambda file: (file.unlink(), make(file))


ANY_FILE: dict[str, Spoil] = {
    "gone": lambda file: file.unlink(),
    "empty": holding(b""),
    "one byte": holding(b"{"),
    "text": holding(b"this is no model\n" * 100),
    "zeros": holding(bytes(10_000)),
    "cut in the middle": raw(lambda content: content[: len(content) // 2]),
    "a folder": instead(lambda file: file.mkdir()),
    "a pipe": instead(os.mkfifo),
    "a device": instead(lambda file: file.symlink_to("/dev/zero")),
    "a link to nowhere": instead(lambda file: file.symlink_to("nowhere")),
    "a link to itself": instead(lambda file: file.symlink_to(file.name)),
}
FILES = (
    *(
        ("native", name)
        for name in ("config.json", "model.safetensors", "codec/config.json", "codec/model.safetensors")
    ),
    *(("audiocraft", name) for name in (audiocraft.LM, audiocraft.CODEC)),
    *(("odd", name) for name in ("config.json", "model.safetensors", "tokenizer.json")),
)
"""In our layout, audiocraft's and transformers', whose folders have the names of their kinds."""


@pytest.mark.parametrize(("layout", "name"), FILES)
@pytest.mark.parametrize("fault", ANY_FILE)
def test_what_is_no_file_of_a_model_is_refused(refused, layout, name, fault):
    refused(layout, name, ANY_FILE[fault])


# Safetensors.


def with_header(change: Callable[[dict[str, Any]], object]) -> Spoil:
    def edit(content: bytes) -> bytes:
        length = struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8 : 8 + length])
        change(header)
        return written(json.dumps(header).encode(), content[8 + length :])

    return raw(edit)


def written(header: bytes, data: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def with_header_text(change: Callable[[bytes], bytes]) -> Spoil:
    def edit(content: bytes) -> bytes:
        length = struct.unpack("<Q", content[:8])[0]
        return written(change(content[8 : 8 + length]), content[8 + length :])

    return raw(edit)


def of_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Spoil:
    def edit(file: Path) -> None:
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file)

    return edit


def first(header: dict[str, Any]) -> dict[str, Any]:
    """What is said of the oblong matrix that comes first in the file."""
    return min(
        (entry for name, entry in header.items() if name != "__metadata__" and len(set(entry["shape"])) == 2),
        key=lambda entry: entry["data_offsets"][0],
    )


def name_of_first(tensors: dict[str, torch.Tensor]) -> str:
    return next(name for name, tensor in tensors.items() if tensor.ndim == 2 and tensor.is_floating_point())


def twice(header: bytes) -> bytes:
    entries = json.loads(header)
    name = next(name for name in entries if name != "__metadata__")
    return header.rstrip()[:-1] + f", {json.dumps(name)}: {json.dumps(first(entries))}}}".encode()


SAFETENSORS: dict[str, Spoil] = {
    "header of 2^63 bytes": raw(lambda content: struct.pack("<Q", 2**63) + content[8:]),
    "header of 2^64 - 1 bytes": raw(lambda content: struct.pack("<Q", 2**64 - 1) + content[8:]),
    "header of 2^40 bytes": raw(lambda content: struct.pack("<Q", 2**40) + content[8:]),
    "header of no bytes": raw(lambda content: struct.pack("<Q", 0) + content[8:]),
    "header that is no JSON": with_header_text(lambda header: b"x" * len(header)),
    "header that is a list": with_header_text(lambda _: b"[]"),
    "header without end": with_header_text(lambda _: b'{"a":' * 20_000),
    "header in no encoding": with_header_text(lambda header: header[:-1] + b"\xff\xfe}"),
    "one name twice": with_header_text(twice),
    "overlapping": with_header(lambda h: first(h).update(data_offsets=[8, 8 + 2 * _length(first(h))])),
    "beyond the file": with_header(lambda h: first(h).update(data_offsets=[2**40, 2**40 + _length(first(h))])),
    "offsets of -1": with_header(lambda h: first(h).update(data_offsets=[-1, _length(first(h)) - 1])),
    "offsets turned round": with_header(lambda h: first(h).update(data_offsets=first(h)["data_offsets"][::-1])),
    "one offset": with_header(lambda h: first(h).update(data_offsets=[0])),
    "negative shape": with_header(lambda h: first(h).update(shape=[-side for side in first(h)["shape"]])),
    "shape of zeros": with_header(lambda h: first(h).update(shape=[0, 0])),
    "shape of 2^80": with_header(lambda h: first(h).update(shape=[2**40, 2**40])),
    "shape of fractions": with_header(lambda h: first(h).update(shape=[1.5, 2])),
    "no shape": with_header(lambda h: first(h).pop("shape")),
    "turned shape": with_header(lambda h: first(h).update(shape=first(h)["shape"][::-1])),
    "unknown kind": with_header(lambda h: first(h).update(dtype="F99")),
    "kind of another length": with_header(lambda h: first(h).update(dtype="F64")),
    "integers for floats": with_header(lambda h: first(h).update(dtype="I32")),
    "more behind": raw(lambda content: content + bytes(8)),
    "one tensor less": of_tensors(lambda tensors: tensors.pop(name_of_first(tensors))),
    "one tensor more": of_tensors(lambda tensors: tensors.update({"canary": torch.zeros(2)})),
    "NaN": of_tensors(lambda tensors: tensors[name_of_first(tensors)][0].fill_(torch.nan)),
    "infinity": of_tensors(lambda tensors: tensors[name_of_first(tensors)][0].fill_(-torch.inf)),
    "too large": of_tensors(lambda t: t.update({name_of_first(t): t[name_of_first(t)].double() + 1e300})),
    "another model's": of_tensors(lambda t: [t.update({f"model.{name}": t.pop(name)}) for name in list(t)]),
}


def _length(entry: dict[str, Any]) -> int:
    start, end = entry["data_offsets"]
    return int(end - start)


@pytest.mark.parametrize(("layout", "name"), [file for file in FILES if file[1].endswith(".safetensors")])
@pytest.mark.parametrize("fault", SAFETENSORS)
def test_a_hostile_file_of_tensors_is_refused(refused, layout, name, fault):
    said = refused(layout, name, SAFETENSORS[fault])
    # Of a folder in transformers' layout the tensor may be in a file of its own: it is one model in however many files.
    assert "model.safetensors" in said or (layout == "odd" and "error: --model: " in said)


@pytest.mark.parametrize("fault", [*SAFETENSORS, *ANY_FILE])
def test_a_hostile_file_of_tensors_in_transformers_layout_is_refused(make_model, tmp_path, fault):
    model = make_model()
    huggingface.save_codec(model.codec, model.config.codec, tmp_path / "codec")
    huggingface.load_codec(tmp_path / "codec")
    {**SAFETENSORS, **ANY_FILE}[fault](tmp_path / "codec" / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"codec"):
        huggingface.load_codec(tmp_path / "codec")


# Pickles. Each of these would make a file named canary if it ran; ``refused`` looks for any new file.


class Runs:
    """Whoever unpickles this runs a command."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


COMMANDS = {
    "os.system": lambda: Runs(os.system, "touch canary"),
    "eval": lambda: Runs(eval, "open('canary', 'w').close()"),
    "exec": lambda: Runs(exec, "open('canary', 'w').close()"),
    "touch": lambda: Runs(Path.touch, Path("canary")),
    "mkdir": lambda: Runs(os.mkdir, "canary"),
    "torch.save": lambda: Runs(torch.save, 1, "canary"),
}


def replaced(make: Callable[[dict[str, Any]], object]) -> Spoil:
    def edit(file: Path) -> None:
        package = torch.load(file, weights_only=True)
        torch.save(make(package), file)

    return edit


def of_weights(change: Callable[[dict[str, Any]], object]) -> Spoil:
    return replaced(lambda package: (change(package["best_state"]), package)[1])


def name_in(weights: dict[str, Any]) -> str:
    return next(name for name, tensor in weights.items() if tensor.ndim == 2 and len(set(tensor.shape)) == 2)


def as_before(file: Path) -> None:
    """The layout of torch before 1.6, which is no archive."""
    torch.save(torch.load(file, weights_only=True), file, _use_new_zipfile_serialization=False)


def flip_a_weight(content: bytes) -> bytes:
    """One bit of the last tensor, at the end of a mantissa: no value becomes impossible."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        last = max((i for i in archive.infolist() if "/data/" in i.filename), key=lambda info: info.header_offset)
        data = archive.read(last)
    place = content.rindex(data, 0, content.rindex(b"PK\x01\x02"))
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def compressed(content: bytes) -> bytes:
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as source,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    return packed.getvalue()


def zip_of(name: str, content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, content)
    return packed.getvalue()


PICKLES: dict[str, Spoil] = {
    **{f"{name} in place of all": replaced(lambda _, make=make: make()) for name, make in COMMANDS.items()},
    "os.system as an extra": replaced(lambda package: {**package, "extra": COMMANDS["os.system"]()}),
    "os.system as a weight": of_weights(lambda weights: weights.update(canary=COMMANDS["os.system"]())),
    "os.system as a name": of_weights(lambda weights: weights.update({COMMANDS["os.system"](): 1})),
    "os.system without an archive": holding(b"\x80\x04cos\nsystem\n(S'touch canary'\ntR."),
    "YAML that runs": replaced(lambda p: {**p, "xp.cfg": "!!python/object/apply:os.system ['touch canary']"}),
    "an old file": as_before,
    "a list": replaced(lambda package: [package]),
    "a tensor": replaced(lambda _: torch.zeros(3)),
    "nothing in it": replaced(lambda _: {}),
    "no weights": replaced(lambda package: {"xp.cfg": package["xp.cfg"]}),
    "weights that are a list": replaced(lambda package: {**package, "best_state": list(package["best_state"])}),
    "weights that are none": replaced(lambda package: {**package, "best_state": {}}),
    "weights in weights": replaced(lambda package: {**package, "best_state": {"model": package["best_state"]}}),
    "a number for a weight": of_weights(lambda weights: weights.update({name_in(weights): 1.0})),
    "a name that is a number": of_weights(lambda weights: weights.update({7: torch.zeros(1)})),
    "no settings": replaced(lambda package: {"best_state": package["best_state"]}),
    "settings that are a number": replaced(lambda package: {**package, "xp.cfg": 7}),
    "settings of nothing": replaced(lambda package: {**package, "xp.cfg": "{}"}),
    "one tensor less": of_weights(lambda weights: weights.pop(name_in(weights))),
    "one tensor more": of_weights(lambda weights: weights.update(canary=torch.zeros(2))),
    "NaN": of_weights(lambda weights: weights[name_in(weights)].fill_(torch.nan)),
    "infinity": of_weights(lambda weights: weights[name_in(weights)].view(-1)[0].fill_(torch.inf)),
    "turned": of_weights(lambda weights: weights.update({name_in(weights): weights[name_in(weights)].mT})),
    "integers": of_weights(lambda weights: weights.update({name_in(weights): weights[name_in(weights)].int()})),
    "sparse": of_weights(lambda weights: weights.update({name_in(weights): weights[name_in(weights)].to_sparse()})),
    "one value for all": of_weights(
        lambda weights: weights.update({name_in(weights): torch.zeros(1).expand(weights[name_in(weights)].shape)})
    ),
    "one value for 2^62": of_weights(
        lambda weights: weights.update({name_in(weights): torch.zeros(1, 1).expand(2**31, 2**31)})
    ),
    "one flipped bit": raw(flip_a_weight),
    "a cut end": raw(lambda content: content[:-30]),
    "a compressed archive": raw(compressed),
    "an archive of something else": holding(zip_of("song.txt", b"la la la")),
    "an archive of a pickle": holding(zip_of("archive/data.pkl", b"cos\nsystem\n(S'touch canary'\ntR.")),
    "safetensors": lambda file: save_file({"canary": torch.zeros(2)}, file),
}


@pytest.mark.parametrize("name", [audiocraft.LM, audiocraft.CODEC])
@pytest.mark.parametrize("fault", PICKLES)
def test_a_hostile_pickle_is_refused_and_never_run(refused, name, fault):
    assert name in refused("audiocraft", name, PICKLES[fault])


@pytest.mark.parametrize("command", COMMANDS)
def test_the_pickles_would_run_if_anyone_let_them(tmp_path, monkeypatch, command):
    """Else their refusal would prove nothing."""
    monkeypatch.chdir(tmp_path)
    torch.save(COMMANDS[command](), "hostile.bin")
    torch.load("hostile.bin", weights_only=False)
    assert (tmp_path / "canary").exists()


# Configs of our own layout.


def setting(path: str, value: object) -> Spoil:
    def edit(file: Path) -> None:
        plain = inner = json.loads(file.read_text())
        *parents, last = path.split(".")
        for name in parents:
            inner = inner[name]
        inner[last] = value
        file.write_text(json.dumps(plain))

    return edit


CONFIGS: dict[str, tuple[str, Spoil]] = {
    "a list": ("config.json", holding(b"[]")),
    "no end": ("config.json", holding(b"[" * 100_000)),
    "no UTF-8": ("config.json", raw(lambda content: content.replace(b"lm", b"\xff\xfe"))),
    "32 megabytes": ("config.json", raw(lambda content: content + b" " * 2**25)),
    "one key twice": ("config.json", raw(lambda content: content.replace(b"{", b'{"format_version": 1,', 1))),
    "unknown key": ("config.json", setting("lm.depth", 3)),
    "a word for a number": ("config.json", setting("lm.transformer.width", "wide")),
    "a claim for a number": ("config.json", setting("lm.transformer.num_layers", True)),
    "endless length": ("config.json", setting("max_duration_s", float("inf"))),
    "no length": ("config.json", setting("max_duration_s", float("nan"))),
    "10^9 layers": ("config.json", setting("lm.transformer.num_layers", 10**9)),
    "10^9 wide": ("config.json", setting("lm.transformer.width", 10**9)),
    "10^30 wide": ("config.json", setting("lm.transformer.width", 10**30)),
    "10^18 in the MLP": ("config.json", setting("lm.transformer.mlp_scale", 10**18)),
    "10^9 codebooks": ("config.json", setting("lm.num_codebooks", 10**9)),
    "10^13 entries": ("config.json", setting("lm.codebook_size", 10**13)),
    "-1 layers": ("config.json", setting("lm.transformer.num_layers", -1)),
    "0 heads": ("config.json", setting("lm.transformer.num_heads", 0)),
    "stereo weights in a mono config": ("config.json", setting("lm.num_codebooks", 8)),
    "a step that never comes": ("config.json", setting("pattern.delays", [0, 1, 2, 10**18])),
    "10^9 codebooks in the codec": ("codec/config.json", setting("num_codebooks", 10**9)),
    "10^9 layers in the codec": ("codec/config.json", setting("residual_layers", 10**9)),
    "10^9 layers of memory": ("codec/config.json", setting("lstm_layers", 10**9)),
    "10^9 strides": ("codec/config.json", setting("strides", [1] * 10_000)),
    "10^18 filters": ("codec/config.json", setting("filters", 10**18)),
    "0 strides": ("codec/config.json", setting("strides", [])),
    "another codec": ("codec/config.json", setting("type", "MP3")),
}


TRANSFORMERS_CONFIGS: dict[str, tuple[str, str, Spoil]] = {
    "10^9 layers": ("odd", "config.json", setting("decoder.num_hidden_layers", 10**9)),
    "10^9 layers of text": ("odd", "config.json", setting("text_encoder.num_layers", 10**9)),
    "10^12 wide": ("odd", "config.json", setting("decoder.hidden_size", 10**12)),
    "10^9 wide text": ("odd", "config.json", setting("text_encoder.d_ff", 10**9)),
    "0 strides": ("odd", "config.json", setting("audio_encoder.upsampling_ratios", [])),
    "another codec": ("odd", "config.json", setting("audio_encoder.model_type", "dac")),
    "another text encoder": ("odd", "config.json", setting("text_encoder.model_type", "bert")),
    "an unknown key": ("odd", "config.json", setting("decoder.sliding_window", 3)),
    "10^12 frames of melody": ("melody", "config.json", setting("chroma_length", 10**12)),
}


@pytest.mark.parametrize("fault", TRANSFORMERS_CONFIGS)
def test_a_hostile_config_of_transformers_is_refused_too(refused, fault):
    refused(*TRANSFORMERS_CONFIGS[fault])


@pytest.mark.parametrize("name", ["_attn_implementation", "attn_implementation"])
def test_a_config_of_text_cannot_name_code_to_run(sound_folders, tmp_path, monkeypatch, name):
    """transformers would fetch a kernel of that name from the hub, and load it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(sound_folders["odd"], tmp_path / "model")
    setting(f"text_encoder.{name}", "someone/kernel")(tmp_path / "model" / "config.json")
    assert run(*CHECK).code == 0
    encoder = huggingface.load_model(tmp_path / "model").text.encoder
    assert "someone" not in json.dumps(encoder.config)


def test_layers_by_another_name_are_no_layers(sound_folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(sound_folders["odd"], tmp_path / "model")
    setting("text_encoder.num_hidden_layers", 10**9)(tmp_path / "model" / "config.json")
    assert run(*CHECK).code == 0
    assert huggingface.load_model(tmp_path / "model").text.encoder.config["num_layers"] == 2


@pytest.mark.parametrize("fault", CONFIGS)
def test_a_hostile_config_is_refused_before_anything_is_made_of_it(refused, fault):
    name, spoil = CONFIGS[fault]
    refused("native", name, spoil)


def test_a_flipped_bit_of_a_weight_is_not_seen_in_our_own_files(sound_folders, tmp_path, monkeypatch):
    """What the format cannot tell, said here so that nobody relies on it; see the top of this file."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(sound_folders["native"], tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-8] + bytes([content[-8] ^ 1]) + content[-7:])
    assert run(*CHECK).code == 0


def test_stereo_settings_around_mono_weights_are_refused(refused):
    def edit(file: Path) -> None:
        package = torch.load(file, weights_only=True)
        package["xp.cfg"] = package["xp.cfg"].replace("use: false", "use: true").replace("n_q: 4", "n_q: 8")
        torch.save(package, file)

    refused("audiocraft", audiocraft.LM, edit)
