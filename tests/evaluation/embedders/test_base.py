from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from descant.errors import CheckpointError
from descant.evaluation.embedders.base import cut
from descant.evaluation.embedders.weights import WeightsFile, downloaded_file, load_weights


@pytest.mark.parametrize(
    ("num_samples", "rest", "spans"),
    [
        (10, "dropped", [(0, 4), (4, 8)]),
        (8, "overlapping", [(0, 4), (4, 8)]),
        (9, "overlapping", [(0, 4), (4, 8)]),
        (10, "overlapping", [(0, 4), (4, 8), (6, 10)]),
        (9, "shorter", [(0, 4), (4, 8), (8, 9)]),
        (3, "dropped", [(0, 3)]),
        (3, "overlapping", [(0, 3)]),
        (3, "shorter", [(0, 3)]),
    ],
)
def test_the_rest_of_a_clip_is_dropped_overlaps_or_is_shorter(num_samples, rest, spans):
    wave = torch.arange(float(num_samples))
    assert [window.tolist() for window in cut(wave, 4, 4, rest)] == [list(range(*span)) for span in spans]


def test_windows_overlap_where_the_hop_is_shorter():
    assert [window.tolist() for window in cut(torch.arange(7.0), 4, 2, "dropped")] == [[0, 1, 2, 3], [2, 3, 4, 5]]


def test_weights_are_read_from_safetensors_and_pickles_with_a_checksum(tmp_path):
    theirs = {"top.weight": torch.ones(1, 2), "top.bias": torch.ones(1), "unused.weight": torch.ones(3)}
    save_file(theirs, tmp_path / "one.safetensors")
    torch.save(theirs, tmp_path / "two.pt")
    torch.save(theirs, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("one.safetensors", "two.pt", "old.pt"):
        network = torch.nn.Sequential(torch.nn.Linear(2, 1))
        load_weights(network, tmp_path / name, {"top.": "0."}, ignore=("unused.",))
        assert network(torch.ones(1, 2)).item() == 3
    (tmp_path / "abc").write_bytes(b"abc")
    # NIST's example of SHA-256.
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert WeightsFile.of(tmp_path / "abc") == WeightsFile("abc", digest)


def test_a_missing_file_is_named_with_its_source_and_other_tensors_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"checkpoints/net\.pt: missing; download it from https://example\.org"):
        downloaded_file(None, "net.pt", "https://example.org")
    with pytest.raises(CheckpointError, match="nowhere: missing"):
        downloaded_file(Path("nowhere"), "net.pt", "https://example.org")
    torch.save({"weight": torch.ones(7, 2)}, tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match="not the weights of this network"):
        load_weights(torch.nn.Linear(2, 1), tmp_path / "net.pt", {})
    torch.save({"weight": Path("a")}, tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match="not a pickle of tensors only"):
        load_weights(torch.nn.Linear(2, 1), tmp_path / "net.pt", {})
    (tmp_path / "net.pt").write_bytes(b"rubbish")
    with pytest.raises(CheckpointError, match="not a pickle of tensors only"):
        load_weights(torch.nn.Linear(2, 1), tmp_path / "net.pt", {})
