"""A fingerprint of a model's config and weights, recorded with generated music to reproduce it."""

import hashlib
import json
from typing import Any

import torch

from descant.config import to_dict
from descant.model import MusicGenModel

LATER = {
    "is_normalized": False,
    "has_projection": True,
    "bottleneck": "argmax",
    "strongest": 1,
    "pooled_frames": 1,
    "fusion": "prefix",
    "neighbours": 0,
    "part": "auto",
    "null": "c",
}
"""Fields that were added to configs later, and their values for older models."""
BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def fingerprint(model: MusicGenModel) -> str:
    """16 hexadecimal digits: a hash of the config and, for every tensor, of some of its values and the sum of all bits.

    Hashing all bits of a large model would take longer than loading it.
    """
    digest = hashlib.sha256(json.dumps(_without_later_fields(to_dict(model.config)), sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().flatten()
        bits = flat.view(BITS[flat.element_size()])
        picked = bits[:: max(1, len(bits) // 256)].to("cpu", torch.int64)
        digest.update(f"{name} {int(bits.sum(dtype=torch.int64))}".encode() + picked.numpy().tobytes())
    return digest.hexdigest()[:16]


def _without_later_fields(config: dict[str, Any]) -> dict[str, Any]:
    """A config without unset fields and later fields at their defaults, so that fingerprints of older models stay."""
    kept = {name: value for name, value in config.items() if value is not None and LATER.get(name, ...) != value}
    return {name: _without_later_fields(value) if isinstance(value, dict) else value for name, value in kept.items()}
