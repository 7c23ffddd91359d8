"""Headers that are longer than any model needs are refused before they are read: at once, and in hardly any memory."""

import json
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from descant.checkpoints.codes import load_codes
from descant.checkpoints.config_files import MAX_JSON_BYTES, read_json
from descant.checkpoints.layouts import load_model
from descant.checkpoints.native import save_model
from descant.checkpoints.pickles import MAX_PICKLE_BYTES, unpickled
from descant.checkpoints.tensor_files import MAX_HEADER_BYTES, MAX_TENSORS, MappedFile
from descant.conditioning.encoders.frozen import MAX_DESCRIPTION_BYTES, check_descriptions
from descant.errors import CheckpointError

JUNK_BYTES = 84_000_000


def safetensors_of(header: bytes, claimed: int | None = None) -> bytes:
    return (len(header) if claimed is None else claimed).to_bytes(8, "little") + header


def junk_names(num_bytes: int) -> bytes:
    entry = '"{:08}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    count = num_bytes // len(entry.format(0))
    return ("{" + ",".join(entry.format(number) for number in range(count)) + "}").encode()


def refused_quickly(read: Callable[[], object], match: str) -> None:
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(CheckpointError, match=match) as caught:
        read()
    seconds, (_, peak) = time.perf_counter() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 10
    assert peak < 100e6
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [MappedFile, load_codes], ids=["model", "codes"])
def test_a_header_of_junk_names_is_refused_at_once(tmp_path, read):
    """It once took 83 s and 2.2 GB."""
    file = tmp_path / "a.safetensors"
    file.write_bytes(safetensors_of(junk_names(JUNK_BYTES)))
    refused_quickly(lambda: read(file), f"at most {MAX_HEADER_BYTES}")


@pytest.mark.parametrize("claimed", [MAX_HEADER_BYTES + 1, 2**40, 2**63, 2**64 - 1])
def test_a_header_that_only_claims_to_be_long_is_refused_too(tmp_path, claimed):
    file = tmp_path / "a.safetensors"
    file.write_bytes(safetensors_of(b"{}", claimed))
    refused_quickly(lambda: MappedFile(file), f"claims {claimed} bytes")


def test_more_tensors_than_any_model_has_are_refused(tmp_path):
    file = tmp_path / "a.safetensors"
    header = json.dumps({str(number): [] for number in range(MAX_TENSORS + 1)}).encode()
    file.write_bytes(safetensors_of(header))
    refused_quickly(lambda: MappedFile(file), f"at most {MAX_TENSORS}")


@pytest.mark.parametrize("header", [b"[]", b"3", b"null", b'"a"', b"", b"{", b"\xff"])
def test_a_header_that_is_no_object_is_refused(tmp_path, header):
    file = tmp_path / "a.safetensors"
    file.write_bytes(safetensors_of(header))
    refused_quickly(lambda: MappedFile(file), "not a readable safetensors file")


def test_the_bounds_leave_room_for_ten_times_the_largest_released_model(tmp_path):
    tensors = {
        f"decoder.model.decoder.layers.{n}.encoder_attn_layer_norm.weight": torch.zeros(1) for n in range(12_000)
    }
    save_file(tensors, tmp_path / "a.safetensors")
    assert len(MappedFile(tmp_path / "a.safetensors").shapes) == 12_000
    torch.save(tensors, tmp_path / "a.bin")
    assert len(unpickled(tmp_path / "a.bin")) == 12_000


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_a_config_or_an_index_that_is_too_long_is_not_read(tmp_path, name):
    file = tmp_path / name
    file.write_text("[" * (MAX_JSON_BYTES + 1))
    refused_quickly(lambda: read_json(file), f"at most {MAX_JSON_BYTES}")


def test_a_tokenizer_that_is_too_long_is_not_read(tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(b" " * MAX_DESCRIPTION_BYTES)
    check_descriptions(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(b" " * (MAX_DESCRIPTION_BYTES + 1))
    refused_quickly(lambda: check_descriptions(tmp_path), r"tokenizer\.json: has")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_long_file_of_the_text_encoder_inside_a_model_is_not_read(transformers_model, tmp_path, name):
    from descant.checkpoints.layouts import convert

    convert(transformers_model("odd").folder, tmp_path / "m", "native")
    file: Path = tmp_path / "m" / "text" / name
    content = safetensors_of(junk_names(MAX_HEADER_BYTES + 100)) if name == "model.safetensors" else b" " * (2**24 + 1)
    file.write_bytes(content)
    refused_quickly(lambda: load_model(tmp_path / "m"), "are read")


def zip_with(file: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_an_archive_of_very_many_records_is_refused(tmp_path):
    file = tmp_path / "a.bin"
    long = "n" * 1_000
    zip_with(file, {f"archive/{number}{long}": b"" for number in range(MAX_HEADER_BYTES // 1_050 + 10)})
    refused_quickly(lambda: unpickled(file), f"at most {MAX_HEADER_BYTES}")


def test_a_pickle_of_very_many_steps_is_refused(tmp_path):
    file = tmp_path / "a.bin"
    zip_with(file, {"archive/data.pkl": b"\x80\x02" + b"]0" * (MAX_PICKLE_BYTES // 2) + b"}."})
    refused_quickly(lambda: unpickled(file), f"at most {MAX_PICKLE_BYTES}")


def test_a_sound_model_is_within_all_of_them(make_model, tmp_path, monkeypatch, word_hashes):
    monkeypatch.setattr("descant.checkpoints.native.load_text_encoder", lambda *_: word_hashes(12))
    save_model(make_model(), tmp_path / "m")
    load_model(tmp_path / "m")
