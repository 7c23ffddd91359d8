"""Model folders that are broken, or made to break something: each is refused in one sentence, and nothing of it runs.

What cannot be seen: a flipped bit among the weights of a safetensors file, unless it makes a value infinite or no
number at all, for the format has no checksum. Files that come from the hub are compared with the hub's checksums, and
torch's files carry one for each tensor, so there a flipped bit is detected.
"""

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from descant.checkpoints import audiocraft, huggingface
from descant.errors import CheckpointError
from tests.checkpoints.hostile import CHECK, GENERATE, Spoil, holding, raw, run

pytest.importorskip("yaml")
pytestmark = pytest.mark.usefixtures("time_limit", "text_encoder_stand_in")


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


def test_a_flipped_bit_of_a_weight_is_not_seen_in_our_own_files(sound_folders, tmp_path, monkeypatch):
    """What the format cannot tell, said here so that nobody relies on it; see the top of this file."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(sound_folders["native"], tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-8] + bytes([content[-8] ^ 1]) + content[-7:])
    assert run(*CHECK).code == 0
