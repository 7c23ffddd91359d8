"""A fingerprint of a model's config and weights, recorded with generated music to reproduce it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from descant.adapters import LowRank
from descant.config import to_dict
from descant.model import MusicGenModel

DIGITS = 16
VERSION = 2
"""Of the fingerprint. Version 1 hashed the former names of configs and weights and a list of later fields."""
BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def fingerprint(model: MusicGenModel, parts: Mapping[str, bytes] | None = None) -> str:
    """16 hexadecimal digits: a hash of the config and, for every tensor, of some of its values and the sum of all bits.

    Hashing all bits of a large model would take longer than loading it. The settings for requests that leave them open
    do not count: music is recorded with those that it was made with.

    Args:
        parts: ``part_of`` the tensors that the model no longer has, by name.
    """
    known = parts or {}
    config = _without_defaults(model.config, to_dict(model.config))
    config.pop("defaults", None)
    digest = hashlib.sha256(json.dumps([VERSION, config], sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(known[name] if name in known else part_of(name, tensor))
    return digest.hexdigest()[:DIGITS]


def adapter_fingerprint(changes: Mapping[str, tuple[LowRank | None, ...]]) -> str:
    """16 hexadecimal digits: a hash of all values of an adapter."""
    digest = hashlib.sha256()
    for name in sorted(changes):
        for number, part in enumerate(changes[name]):
            if part is not None:
                digest.update(f"{name} {number} {part.scale!r} {tuple(part.down.shape)}".encode())
                digest.update(part.down.cpu().numpy().tobytes() + part.up.cpu().numpy().tobytes())
    return digest.hexdigest()[:DIGITS]


def part_of(name: str, tensor: Tensor) -> bytes:
    """What a fingerprint hashes of one tensor: its name, the sum of its bits and about 256 of its values."""
    flat = tensor.detach().flatten()
    bits = flat.view(BITS[flat.element_size()])
    picked = bits[:: max(1, len(bits) // 256)].to("cpu", torch.int64)
    # torch's own sum in wider integers takes six times as long on a CPU.
    on_cpu = bits.device.type == "cpu"
    total = int(bits.numpy().sum(dtype=np.int64) if on_cpu else bits.sum(dtype=torch.int64))
    return f"{name} {total}".encode() + picked.numpy().tobytes()


def _without_defaults(config: Any, plain: dict[str, Any]) -> dict[str, Any]:
    """The plain config without fields at their defaults: a field that is added later changes no fingerprint."""
    defaults = {
        field.name: field.default if field.default_factory is MISSING else field.default_factory()
        for field in fields(config)
    }
    values = {name: getattr(config, name, None) for name in plain}
    return {
        name: _without_defaults(values[name], value) if is_dataclass(values[name]) else value
        for name, value in plain.items()
        if name not in defaults or values[name] != defaults[name]
    }
