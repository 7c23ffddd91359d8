"""The weights of embedders: which file they were read from, and their tensors, read without running code."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from descant.checkpoints import hub
from descant.checkpoints.pickles import only_tensors
from descant.checkpoints.tensor_files import MappedFile
from descant.errors import CheckpointError
from descant.user_files import sha256_of

FROZEN_NETWORK_FILES = ("model.safetensors", "pytorch_model.bin")
"""The files that transformers reads, in its order of preference."""


@dataclass(frozen=True)
class WeightsFile:
    """The file that an embedder's weights were read from; two runs with the same checksum used the same network."""

    name: str
    sha256: str

    @classmethod
    def of(cls, file: Path) -> "WeightsFile":
        """The name and checksum of a file."""
        return cls(file.name, sha256_of(file))

    @classmethod
    def of_frozen_network(cls, place: str) -> "WeightsFile":
        """The file that transformers read for a folder or a hub id, after it was read.

        Raises:
            CheckpointError: no single file of weights is there.
        """
        folder = Path(place) if Path(place).is_dir() else hub.find_cached(place, hub.ANY_WEIGHTS)
        for name in FROZEN_NETWORK_FILES:
            if folder is not None and (folder / name).is_file():
                return cls.of(folder / name)
        raise CheckpointError(f"{place}: none of {', '.join(FROZEN_NETWORK_FILES)} is there")


def downloaded_file(file: Path | None, name: str, source: str) -> Path:
    """The file given, or else the one of this name in PyTorch's cache of downloads.

    Args:
        source: where it can be downloaded, for the message.

    Raises:
        CheckpointError: it is not there.
    """
    place = Path(torch.hub.get_dir()) / "checkpoints" / name if file is None else file
    if not place.is_file():
        raise CheckpointError(f"{place}: missing; download it from {source}")
    return place


def load_weights(network: nn.Module, file: Path, rename: Mapping[str, str], ignore: tuple[str, ...] = ()) -> None:
    """Copies the tensors of a safetensors file or a pickle of tensors into a network.

    Args:
        rename: beginnings of their names, and ours in place of them.
        ignore: beginnings of the names of tensors that are not needed.

    Raises:
        CheckpointError: the file is broken or holds more than tensors, or names or shapes differ from the network's.
    """
    ours = {}
    for name, tensor in _tensors(file).items():
        if name.startswith(ignore):
            continue
        beginning = next((start for start in rename if name.startswith(start)), "")
        ours[rename.get(beginning, "") + name.removeprefix(beginning)] = tensor
    try:
        network.load_state_dict(ours)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise CheckpointError(f"{file}: not the weights of this network ({' '.join(lines)[:300]})") from error


def _tensors(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        mapped = MappedFile(file)
        return {name: mapped.read(name) for name in mapped.shapes}
    try:
        # Not by checkpoints.pickles: these files may be older than torch's archives.
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken pickle can raise anything
        raise CheckpointError(f"{file}: not a pickle of tensors only ({str(error).splitlines()[0][:200]})") from error
    return only_tensors(content, file)
