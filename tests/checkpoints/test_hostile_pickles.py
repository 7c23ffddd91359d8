"""Pickles that are broken, or would run a command: each is refused, and nothing of it runs."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from descant.checkpoints import audiocraft
from tests.checkpoints.hostile import Spoil, holding, raw

pytest.importorskip("yaml")
pytestmark = pytest.mark.usefixtures("time_limit", "text_encoder_stand_in")


# Each of these would make a file named canary if it ran; ``refused`` looks for any new file.


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
