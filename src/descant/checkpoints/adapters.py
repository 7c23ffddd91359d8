"""Adapters on disk, in the layout of the peft library: it loads ours over transformers' model, and we load its.

::

    adapter_config.json          rank, alpha, and what is changed
    adapter_model.safetensors    base_model.model.decoder. ... .q_proj.lora_A.weight, ... .lora_B.weight
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from descant.adapters import Adapter, LoraConfig, LowRank, adaptable
from descant.adapters.layers import check_fits
from descant.adapters.lora import num_maps
from descant.atomic import replacing_folder
from descant.checkpoints.config_files import read_json, write_json
from descant.checkpoints.fingerprint import adapter_fingerprint
from descant.checkpoints.keymap import HUGGINGFACE_MUSICGEN
from descant.errors import CheckpointError
from descant.model import MusicGenModel
from descant.nn.finite import is_finite

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
NAMES = (CONFIG, WEIGHTS)
MAX_BYTES = 2**32
_PREFIX = "base_model.model."
_PARTS = {
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora_embedding_A": "embedding_up",
    ".lora_embedding_B": "embedding_down",
}
"""A table of embeddings is transposed in peft: its A changes the rows."""


@dataclass(frozen=True, kw_only=True)
class AdapterInfo:
    """What an adapter says of itself.

    Args:
        base: the name of the model that it was trained on.
        base_fingerprint: that model's fingerprint; None if the file does not say.
        trigger: words that call up what it has learned.
        trained: how it was trained, as plain data.
    """

    base: str | None = None
    base_fingerprint: str | None = None
    trigger: str | None = None
    trained: Mapping[str, Any] = field(default_factory=dict)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter."""
    return (folder / CONFIG).is_file()


def save_adapter(
    adapter: Adapter,
    config: LoraConfig,
    folder: str | Path,
    info: AdapterInfo | None = None,
    model_card: str | None = None,
) -> None:
    """Writes an adapter as two files; the folder is new, empty, or holds an adapter.

    Args:
        config: its shape: all its changes have this rank.
        model_card: written beside it, as ``README.md``.

    Raises:
        CheckpointError: the folder holds something else, or cannot be written.
    """
    info = info or AdapterInfo()
    tensors, targets = {}, []
    for name, changes in adapter.changes.items():
        for theirs, change in zip(_their_modules(name), changes, strict=True):
            if change is not None:
                assert len(change.down) == config.rank
                targets.append(theirs)
                gain = change.scale / config.scale
                tensors[f"{_PREFIX}{theirs}.lora_A.weight"] = change.down.detach().float().cpu().contiguous()
                tensors[f"{_PREFIX}{theirs}.lora_B.weight"] = (change.up.detach().float() * gain).cpu().contiguous()
    described = {
        "peft_type": "LORA",
        "base_model_name_or_path": info.base,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": targets,
        "bias": "none",
        "inference_mode": True,
    }
    own = {"base_fingerprint": info.base_fingerprint, "trigger": info.trigger, "trained": dict(info.trained)}
    with replacing_folder(Path(folder), is_replaceable=_is_adapter_or_empty) as staging:
        write_json(described, staging / CONFIG)
        save_file(tensors, staging / WEIGHTS, metadata={"format": "pt", "descant": json.dumps(own)})
        if model_card is not None:
            (staging / "README.md").write_text(model_card, encoding="utf-8")


def load_adapter(folder: Path, model: MusicGenModel) -> tuple[Adapter, AdapterInfo]:
    """An adapter for this model, ours or one that peft has written for the same shape in transformers.

    Its tensors are on the model's device.

    Raises:
        CheckpointError: a file is missing or broken, or it does something that is not a plain LoRA.
        InvalidRequest: it was made for a model of another shape.
    """
    plain = read_json(folder / CONFIG)
    _check_plain_lora(plain, folder)
    tensors, own = _read(folder / WEIGHTS)
    groups = _grouped(tensors, folder)
    changes: dict[str, tuple[LowRank | None, ...]] = {}
    for name in adaptable(model):
        parts = [groups.pop(theirs, None) for theirs in _their_modules(name)]
        if any(part is not None for part in parts):
            changes[name] = tuple(
                None if part is None else _change(part, theirs, plain, folder, model.device)
                for part, theirs in zip(parts, _their_modules(name), strict=True)
            )
    if groups:
        raise CheckpointError(f"{folder}: it changes {min(groups)}, which this model does not have")
    adapter = Adapter(changes, folder.absolute().name, adapter_fingerprint(changes))
    check_fits(model, adapter)
    return adapter, _info(plain, own)


def _their_modules(name: str) -> tuple[str, ...]:
    """The modules of transformers' model that one of our matrices holds."""
    modules = tuple(theirs.removesuffix(".weight") for theirs in HUGGINGFACE_MUSICGEN.names(name))
    assert len(modules) == num_maps(name)
    return modules


def _check_plain_lora(plain: Mapping[str, Any], folder: Path) -> None:
    unsupported = {
        "peft_type": (plain.get("peft_type") or "").upper() != "LORA",
        "use_dora": bool(plain.get("use_dora")),
        "bias": plain.get("bias", "none") != "none",
        "modules_to_save": bool(plain.get("modules_to_save")),
        "layer_replication": bool(plain.get("layer_replication")),
    }
    for name, is_unsupported in unsupported.items():
        if is_unsupported:
            raise CheckpointError(f"{folder}: {name}={plain.get(name)!r:.80} is not supported; only plain LoRA is")


def _read(file: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    if not file.is_file():
        raise CheckpointError(f"{file} is missing: an adapter needs it")
    if file.stat().st_size > MAX_BYTES:
        raise CheckpointError(f"{file}: {file.stat().st_size} bytes, an adapter has at most {MAX_BYTES}")
    try:
        with safe_open(file, "pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            own = json.loads((opened.metadata() or {}).get("descant", "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: not a safetensors file ({error})") from error
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise CheckpointError(f"{file}: {name} has values that are not finite")
    return tensors, own if isinstance(own, dict) else {}


def _grouped(tensors: Mapping[str, Tensor], folder: Path) -> dict[str, dict[str, Tensor]]:
    """The tensors by the module that they change, and by what they are of it."""
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        suffix = next((suffix for suffix in _PARTS if name.endswith(suffix)), None)
        if suffix is None or not name.startswith(_PREFIX) or tensor.ndim != 2 or not tensor.is_floating_point():
            raise CheckpointError(f"{folder}: unknown tensor {name}; only those of plain LoRA are supported")
        groups.setdefault(name.removeprefix(_PREFIX).removesuffix(suffix), {})[_PARTS[suffix]] = tensor
    return groups


def _change(
    part: Mapping[str, Tensor], module: str, plain: Mapping[str, Any], folder: Path, device: torch.device
) -> LowRank:
    if set(part) == {"down", "up"}:
        down, up = part["down"], part["up"]
    elif set(part) == {"embedding_down", "embedding_up"}:
        down, up = part["embedding_down"].T, part["embedding_up"].T
    else:
        raise CheckpointError(f"{folder}: of {module} only one of two matrices is there")
    if down.shape[0] != up.shape[1]:
        raise CheckpointError(f"{folder}: {module} has rank {down.shape[0]} and rank {up.shape[1]}")
    rank = _setting(plain, "rank_pattern", "r", module, folder)
    if rank != down.shape[0]:
        raise CheckpointError(f"{folder}: {module} has rank {down.shape[0]}, its config says {rank:g}")
    alpha = _setting(plain, "alpha_pattern", "lora_alpha", module, folder)
    scale = alpha / (math.sqrt(rank) if plain.get("use_rslora") else rank)
    return LowRank(down.float().to(device).contiguous(), up.float().to(device).contiguous(), scale)


def _setting(plain: Mapping[str, Any], patterns: str, name: str, module: str, folder: Path) -> float:
    """A number of the config, which may have exceptions for modules whose names end as a pattern."""
    value = plain.get(name)
    for pattern, other in (plain.get(patterns) or {}).items():
        try:
            is_match = re.fullmatch(rf"(.*\.)?{pattern}", module) is not None
        except re.error as error:
            raise CheckpointError(f"{folder}: {patterns} {pattern!r:.80} is not a pattern ({error})") from error
        if is_match:
            value = other
            break
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise CheckpointError(f"{folder}: {name}={value!r:.80} must be a number above 0")
    return float(value)


def _info(plain: Mapping[str, Any], own: Mapping[str, Any]) -> AdapterInfo:
    def text(value: Any) -> str | None:
        return value if isinstance(value, str) else None

    trained = own.get("trained")
    return AdapterInfo(
        base=text(plain.get("base_model_name_or_path")),
        base_fingerprint=text(own.get("base_fingerprint")),
        trigger=text(own.get("trigger")),
        trained=trained if isinstance(trained, dict) else {},
    )


def _is_adapter_or_empty(folder: Path) -> bool:
    return {file.name for file in folder.iterdir()} <= {*NAMES, "README.md"}
