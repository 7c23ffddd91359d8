"""A short name for exactly the weights of a model, by which music is known to be made again with the same ones."""

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
"""Fields that configs did not always have, and what models without them do."""
BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def fingerprint(model: MusicGenModel) -> str:
    """16 hexadecimal digits: a hash of the config and, for every tensor, of some of its values and a sum over the bits
    of all. To hash all the bits of a large model would take longer than to load it.
    """
    digest = hashlib.sha256(json.dumps(_as_it_was(to_dict(model.config)), sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().flatten()
        bits = flat.view(BITS[flat.element_size()])
        picked = bits[:: max(1, len(bits) // 256)].to("cpu", torch.int64)
        digest.update(f"{name} {int(bits.sum(dtype=torch.int64))}".encode() + picked.numpy().tobytes())
    return digest.hexdigest()[:16]


def _as_it_was(config: dict[str, Any]) -> dict[str, Any]:
    """A config without what it does not have and what came later, so that no older model's name changes."""
    kept = {name: value for name, value in config.items() if value is not None and LATER.get(name, ...) != value}
    return {name: _as_it_was(value) if isinstance(value, dict) else value for name, value in kept.items()}
