"""Models in our own layout: a strict config.json and safetensors for the language model and for the codec, no pickle.

::

    config.json          everything but the codec, with a format version
    model.safetensors    language model and text conditioner
    codec/config.json    the codec's shape
    codec/model.safetensors
    text/                the small text encoder, in models that have one of their own
    README.md            the model card
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from descant import config as configs
from descant.codec.base import AudioCodec
from descant.conditioning.base import TextEncoder
from descant.conditioning.encoders import T5Encoder
from descant.conditioning.small_text import SmallTextEncoder
from descant.errors import CheckpointError, ConfigError
from descant.model import AnyCodecConfig, MusicGenConfig, MusicGenModel, T5Text, build_codec

FORMAT_VERSION = 1
WEIGHTS = "model.safetensors"


def save_model(
    model: MusicGenModel, folder: Path, *, dtype: torch.dtype | None = None, model_card: str | None = None
) -> None:
    """Writes a model; a folder of that name is complete or not there at all.

    Args:
        dtype: the precision that parameters are stored in; None keeps theirs. Codebooks always keep theirs, since a
            rounded codebook would give other codes.

    Raises:
        CheckpointError: the folder exists and holds something else than a model.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / "config.json").exists())):
        raise CheckpointError(f"{folder} exists and is no model: choose another folder, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        _write(model, staging, dtype, model_card)
        if folder.exists():
            shutil.rmtree(folder)
        staging.chmod(0o755)
        os.replace(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write(model: MusicGenModel, folder: Path, dtype: torch.dtype | None, model_card: str | None) -> None:
    save_codec(model.codec, model.config.codec, folder / "codec", dtype=dtype)
    plain = configs.to_dict(model.config)
    del plain["codec"]
    _write_json({"format_version": FORMAT_VERSION, **plain}, folder / "config.json")
    rest = {name: tensor for name, tensor in _stored(model, dtype).items() if not name.startswith("codec.")}
    save_file(rest, folder / WEIGHTS)
    if isinstance(model.text_encoder, SmallTextEncoder):
        model.text_encoder.save(folder / "text")
    if model_card is not None:
        (folder / "README.md").write_text(model_card, encoding="utf-8")


def save_codec(codec: AudioCodec, config: AnyCodecConfig, folder: Path, *, dtype: torch.dtype | None = None) -> None:
    """Writes a codec into a folder, which is made: its config and its weights, as a model's ``codec`` folder has them."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = configs.to_dict(Coded(codec=config))["codec"]
    _write_json({"format_version": FORMAT_VERSION, **plain}, folder / "config.json")
    save_file(_stored(codec, dtype), folder / WEIGHTS)


def load_codec(folder: Path) -> tuple[AudioCodec, AnyCodecConfig]:
    """The codec in a folder that ``save_codec`` wrote, on the CPU, with its config.

    Raises:
        CheckpointError: the folder is missing, incomplete, broken, or its weights do not fit its config.
    """
    try:
        config = configs.from_dict(Coded, {"codec": _read_json(folder / "config.json")}).codec
    except ConfigError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    codec = build_codec(config)
    codec.load_state_dict(_read_tensors(folder / WEIGHTS, codec.state_dict()))
    return codec.eval().requires_grad_(False), config


@dataclass(frozen=True)
class Coded:
    """Any codec's config; as a field of a union type it is stored with the name of its class."""

    codec: AnyCodecConfig


def _stored(module: nn.Module, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """A module's tensors, its parameters in the precision asked for."""
    parameters = {name for name, _ in module.named_parameters()}
    return {
        name: (tensor.to(dtype) if dtype is not None and name in parameters else tensor).contiguous()
        for name, tensor in module.state_dict().items()
    }


def load_model(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> MusicGenModel:
    """The model in a folder, ready to generate.

    Args:
        dtype: the language model's precision; the codec always runs in float32.

    Raises:
        CheckpointError: the folder is missing, incomplete, broken, or its weights do not fit its config.
    """
    config = read_model_config(folder)
    model = MusicGenModel(config, load_text_encoder(config, folder))
    model.codec.load_state_dict(_read_tensors(folder / "codec" / WEIGHTS, model.codec.state_dict()))
    rest = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("codec.")}
    model.load_state_dict(_read_tensors(folder / WEIGHTS, rest), strict=False)
    return place(model.eval().requires_grad_(False), torch.device(device), dtype)


def place(model: MusicGenModel, device: torch.device, dtype: torch.dtype) -> MusicGenModel:
    """The same model on a device, its language model in a precision; the codec stays in float32."""
    model.lm.to(device, dtype)
    model.text.to(device, dtype)
    model.codec.to(device)
    model.text_encoder = model.text_encoder.to(device)
    return model


def read_model_config(folder: Path) -> MusicGenConfig:
    """The config of the model in a folder.

    Raises:
        CheckpointError: the folder or a config is missing or not what this version reads.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such model folder")
    try:
        plain = _read_json(folder / "config.json")
        plain["codec"] = _read_json(folder / "codec" / "config.json")
        return configs.from_dict(MusicGenConfig, plain)
    except ConfigError as error:
        raise CheckpointError(f"{folder}: {error}") from error


def load_text_encoder(config: MusicGenConfig, folder: Path | None = None) -> TextEncoder:
    """The frozen text encoder that a config asks for: the folder's own, or the one in the package, or a T5."""
    if isinstance(config.text, T5Text):
        return T5Encoder(config.text.name)
    if folder is not None and (folder / "text").is_dir():
        return SmallTextEncoder.load(folder / "text")
    return SmallTextEncoder.load(starter_folder() / "text")


def starter_folder() -> Path:
    """Where the weights that ship with the package are."""
    return Path(str(resources.files("descant") / "starter"))


@dataclass(frozen=True)
class ModelCheck:
    """What ``check_model`` found. A folder without problems loads."""

    folder: Path
    num_parameters: int
    size_bytes: int
    problems: tuple[str, ...]


def check_model(folder: Path) -> ModelCheck:
    """Whether a folder would load: configs, names, shapes and values of all tensors; nothing unsafe is ever read."""
    problems: list[str] = []
    num_parameters = 0
    try:
        num_parameters = sum(p.numel() for p in load_model(folder).parameters())
    except (CheckpointError, ConfigError) as error:
        problems.append(str(error))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
    return ModelCheck(folder, num_parameters, size, tuple(problems))


def _read_tensors(file: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file, after names and shapes have been compared: no size in the file is trusted before."""
    if not file.is_file():
        raise CheckpointError(f"{file} is missing: a model folder needs it")
    try:
        with safe_open(file, framework="pt") as stored:
            names = set(stored.keys())
            for problem, odd in (("unknown", names - set(expected)), ("missing", set(expected) - names)):
                if odd:
                    raise CheckpointError(f"{file}: {len(odd)} {problem} tensors, first {sorted(odd)[0]}")
            for name, tensor in expected.items():
                shape = tuple(stored.get_slice(name).get_shape())
                if shape != tuple(tensor.shape):
                    raise CheckpointError(f"{file}: {name} is {shape}, its config makes it {tuple(tensor.shape)}")
            tensors = {name: stored.get_tensor(name).to(expected[name].dtype) for name in sorted(names)}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file}: not a readable safetensors file ({error})") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{file}: {name} holds values that are no numbers")
    return tensors


def _write_json(data: dict[str, object], file: Path) -> None:
    file.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def _read_json(file: Path) -> dict[str, object]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{file} is missing: a model folder needs it") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CheckpointError(f"{file}: not a JSON file ({error})") from error
    if not isinstance(data, dict) or data.pop("format_version", None) != FORMAT_VERSION:
        raise CheckpointError(f"{file}: this version reads format_version {FORMAT_VERSION} only")
    return data
