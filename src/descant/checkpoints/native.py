"""Models in our own layout: a strict config.json and safetensors for the language model and for the codec, no pickle.

::

    config.json          everything but the codec, with a format version
    model.safetensors    language model and conditioners
    codec/config.json    the codec's shape
    codec/model.safetensors
    text/                the text encoder, in models that have one of their own
    README.md            the model card
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from descant import config as configs
from descant.atomic import replacing_folder
from descant.checkpoints.config_files import config_errors_of, read_json, write_json
from descant.checkpoints.tensor_files import MappedFile, check_header, is_finite
from descant.checkpoints.trust import part_named_in
from descant.codec.base import AudioCodec
from descant.conditioning.base import TextEncoder
from descant.conditioning.encoders.clap import ClapEncoder
from descant.conditioning.encoders.frozen import check_descriptions
from descant.conditioning.encoders.mert import MERTFeatures
from descant.conditioning.encoders.small import SmallTextEncoder
from descant.conditioning.encoders.t5 import T5Encoder
from descant.conditioning.style import StyleFeatures
from descant.errors import CheckpointError
from descant.model import AnyCodecConfig, MusicGenConfig, MusicGenModel, T5Text, build_codec
from descant.nn.quantize import dequantize_rows, quantize_rows

FORMAT_VERSION = 1
WEIGHTS = "model.safetensors"
SCALE = ".scale"
CODEC_PARTS = frozenset({"config.json", WEIGHTS})
MODEL_PARTS = CODEC_PARTS | {"codec", "text", "README.md"}
Storage: TypeAlias = Literal["exact", "fp16", "int8"]


def save_model(
    model: MusicGenModel, folder: Path, *, storage: Storage = "exact", model_card: str | None = None
) -> None:
    """Writes a model in place of one that may be there; a folder of that name is complete or not there at all.

    Args:
        storage: ``exact`` keeps every bit; ``fp16`` halves the room; ``int8`` stores the language model's matrices in
            eight bits with a scale per row and the rest as fp16. Codebooks are always exact: a rounded one would give
            other codes.

    Raises:
        CheckpointError: the folder exists and holds something else than a model, it cannot be written, or a weight is
            too large for fp16.
    """
    with replacing(folder, MODEL_PARTS) as staging:
        _write(model, staging, storage, model_card)


@contextmanager
def replacing(folder: Path, parts: frozenset[str]) -> Iterator[Path]:
    """An empty folder to write a model into, which takes the place of ``folder`` once all is written. An existing
    ``folder`` must be empty, or a native model with no other entries than ``parts``.
    """
    try:
        with replacing_folder(folder, lambda old: _holds_only(old, parts)) as staging:
            yield staging
    except SafetensorError as error:
        raise CheckpointError(f"cannot write {str(folder)!r}: {error}") from error


def _holds_only(folder: Path, parts: frozenset[str]) -> bool:
    """Whether the folder is empty or holds one of our configs and nothing beside ``parts``."""
    names = {entry.name for entry in folder.iterdir()}
    try:
        return not names or (names <= parts and bool(_read_json(folder / "config.json")))
    except CheckpointError:
        return False


def _write(model: MusicGenModel, folder: Path, storage: Storage, model_card: str | None) -> None:
    _write_codec(model.codec, model.config.codec, folder / "codec", "exact" if storage == "exact" else "fp16")
    plain = configs.to_dict(model.config)
    del plain["codec"]
    write_json({"format_version": FORMAT_VERSION, **plain}, folder / "config.json")
    rest = {name: tensor for name, tensor in _stored(model, storage).items() if not name.startswith("codec.")}
    save_file(rest, folder / WEIGHTS)
    encoder = model.text_encoder
    if isinstance(encoder, SmallTextEncoder) or (isinstance(encoder, T5Encoder) and encoder.is_part_of_model):
        encoder.save(folder / "text")
    if model_card is not None:
        (folder / "README.md").write_text(model_card, encoding="utf-8")


def save_codec(codec: AudioCodec, config: AnyCodecConfig, folder: Path, *, storage: Storage = "exact") -> None:
    """Writes a codec as a model's ``codec`` folder has it; a folder of that name is complete or not there at all.

    Raises:
        CheckpointError: as ``save_model``.
    """
    with replacing(folder, CODEC_PARTS) as staging:
        _write_codec(codec, config, staging, storage)


def _write_codec(codec: AudioCodec, config: AnyCodecConfig, folder: Path, storage: Storage) -> None:
    folder.mkdir(exist_ok=True)
    plain = configs.to_dict(Coded(codec=config))["codec"]
    write_json({"format_version": FORMAT_VERSION, **plain}, folder / "config.json")
    save_file(_stored(codec, storage), folder / WEIGHTS)


def load_codec(folder: Path) -> tuple[AudioCodec, AnyCodecConfig]:
    """The codec in a folder that ``save_codec`` wrote, on the CPU, with its config.

    Raises:
        CheckpointError: the folder is missing, incomplete, broken, or its weights do not fit its config.
    """
    with config_errors_of(folder):
        config = configs.from_dict(Coded, {"codec": _read_json(folder / "config.json")}).codec
        with torch.device("meta"):
            expected = build_codec(config).state_dict()
        tensors = _read_tensors(folder / WEIGHTS, expected)
        codec = build_codec(config)
    codec.load_state_dict(tensors, assign=True)
    return codec.eval().requires_grad_(False), config


@dataclass(frozen=True)
class Coded:
    """Any codec's config; as a field of a union type it is stored with the name of its class."""

    codec: AnyCodecConfig


def _stored(module: nn.Module, storage: Storage) -> dict[str, Tensor]:
    """A module's tensors as they go into a file; buffers, codebooks above all, stay as they are."""
    parameters = {name for name, _ in module.named_parameters()}
    stored: dict[str, Tensor] = {}
    for name, tensor in module.state_dict().items():
        if storage == "exact" or name not in parameters:
            stored[name] = tensor.contiguous()
        elif storage == "int8" and tensor.ndim == 2:
            stored[name], stored[name + SCALE] = quantize_rows(tensor.contiguous())
        else:
            stored[name] = tensor.to(torch.float16).contiguous()
            if not bool(torch.isfinite(stored[name]).all()):
                raise CheckpointError(f"{name} has values that fp16 cannot hold: store the model as exact")
    return stored


def load_model(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> MusicGenModel:
    """The model in a folder, ready to generate.

    Args:
        dtype: the language model's precision; the codec, and what finds the codes of a style, always run in float32.

    Raises:
        CheckpointError: the folder is missing, incomplete, broken, or its weights do not fit its config.
    """
    config = read_model_config(folder)
    with config_errors_of(folder):
        encoder = load_text_encoder(config, folder)
        features, clap = load_style_features(config, folder), load_clap_encoder(config, folder)
        model = _load_around(folder, config, encoder, features, clap, dtype)
    return place(model, torch.device(device), dtype)


def load_own(folder: Path, elsewhere: Callable[[int], TextEncoder]) -> MusicGenModel:
    """All of a model that is in its folder; frozen networks that its config only names are not read, nor fetched.

    Args:
        elsewhere: what stands for a text encoder of that width which is only named.

    Raises:
        CheckpointError: as ``load_model``; also if it names networks that would not be read on its word.
    """
    config = read_model_config(folder)
    is_named = isinstance(config.text, T5Text) and not (folder / "text").is_dir()
    with config_errors_of(folder):
        check_names(config, folder)
        encoder = elsewhere(config.text.dim) if is_named else load_text_encoder(config, folder)
        return _load_around(folder, config, encoder, None, None, torch.float32)


def check_names(config: MusicGenConfig, folder: Path) -> None:
    """Makes sure that whatever a model's config names would be read on its word; nothing is fetched for it.

    Raises:
        CheckpointError: a name would not.
    """
    if isinstance(config.text, T5Text) and not (folder / "text").is_dir():
        part_named_in(folder, config.text.name)
    if config.style is not None:
        part_named_in(folder, config.style.features)
    if config.clap is not None:
        part_named_in(folder, config.clap.name)


def _load_around(
    folder: Path,
    config: MusicGenConfig,
    encoder: TextEncoder,
    features: StyleFeatures | None,
    clap: ClapEncoder | None,
    dtype: torch.dtype,
) -> MusicGenModel:
    """The model in a folder, on the CPU, around frozen networks."""
    with config_errors_of(folder):
        # Without memory: a config that names absurd sizes has no weights that fit it, and weights that fit take the
        # place of what is there, so that no second copy is ever made.
        with torch.device("meta"):
            model = in_precision(MusicGenModel(config, encoder, features, clap), dtype)
        of_codec = _read_tensors(folder / "codec" / WEIGHTS, model.codec.state_dict())
        # A codec may compute tensors that no file holds, its windows for one, so it is made with memory then.
        model.codec = build_codec(config.codec)
    rest = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("codec.")}
    tensors = _read_tensors(folder / WEIGHTS, rest)
    model.load_state_dict({**{f"codec.{name}": tensor for name, tensor in of_codec.items()}, **tensors}, assign=True)
    return model.eval().requires_grad_(False)


def place(model: MusicGenModel, device: torch.device, dtype: torch.dtype) -> MusicGenModel:
    """The same model on a device, its language model in a precision; the codec stays in float32.

    What finds texts in a joint space stays where it is, the CPU: a text is the same point whatever the device.
    """
    in_precision(model, dtype).to(device)
    if model.style_features is not None:
        model.style_features = model.style_features.to(device)
    model.text_encoder = model.text_encoder.to(device)
    return model


def in_precision(model: MusicGenModel, dtype: torch.dtype) -> MusicGenModel:
    """The same model, its language model and what speaks to that in a precision; what makes codes stays as it is."""
    model.lm.to(dtype)
    model.text.to(dtype)
    for conditioner in (model.facts, model.melody):
        if conditioner is not None:
            conditioner.to(dtype)
    if model.style is not None:
        model.style.project.to(dtype)
    if model.clap is not None:
        model.clap.project.to(dtype)
    return model


def read_model_config(folder: Path) -> MusicGenConfig:
    """The config of the model in a folder.

    Raises:
        CheckpointError: the folder or a config is missing or not what this version reads.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such model folder")
    with config_errors_of(folder):
        plain = _read_json(folder / "config.json")
        if "codec" in plain:
            raise CheckpointError(f"{folder}: config.json has a codec; that belongs into codec/config.json")
        plain["codec"] = _read_json(folder / "codec" / "config.json")
        return configs.from_dict(MusicGenConfig, plain)


def load_text_encoder(config: MusicGenConfig, folder: Path | None = None) -> TextEncoder:
    """The frozen text encoder that a config asks for: the folder's own, or the one in the package, or a T5 by name."""
    own = None if folder is None or not (folder / "text").is_dir() else folder / "text"
    if own is not None:
        check_descriptions(own)
        check_header(own / WEIGHTS)
    if isinstance(config.text, T5Text):
        if own is None:
            return T5Encoder.load(_read_as(config.text.name, folder))
        return T5Encoder.load(str(own), is_part_of_model=True)
    if own is not None:
        return SmallTextEncoder.load(own)
    return SmallTextEncoder.load(starter_folder() / "text")


def load_style_features(config: MusicGenConfig, folder: Path | None = None) -> StyleFeatures | None:
    """The frozen network that a style model listens with; None for other models."""
    return None if config.style is None else MERTFeatures.load(_read_as(config.style.features, folder))


def load_clap_encoder(config: MusicGenConfig, folder: Path | None = None) -> ClapEncoder | None:
    """The frozen network that finds texts in a model's joint space; None for models without one."""
    if config.clap is None:
        return None
    name = _read_as(config.clap.name, folder)
    # The model compares its config with the encoder's: the name stays what the model calls it by.
    return ClapEncoder.load(config.clap, None if name == config.clap.name else name)


def _read_as(name: str, folder: Path | None) -> str:
    """From where a frozen network is read that the config in a folder names; without a folder the user named it."""
    return name if folder is None else part_named_in(folder, name)


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


def check_model(folder: Path, load: Callable[[Path], MusicGenModel] = load_model) -> ModelCheck:
    """Whether a folder would load: configs, names, shapes and values of all tensors; nothing unsafe is ever read.

    Args:
        load: what reads a folder of another layout.
    """
    problems: list[str] = []
    num_parameters = 0
    try:
        num_parameters = sum(p.numel() for p in load(folder).parameters())
    except CheckpointError as error:
        problems.append(str(error))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
    return ModelCheck(folder, num_parameters, size, tuple(problems))


def _read_tensors(file: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file, after names and shapes have been compared: no size in the file is trusted before."""
    if not file.is_file():
        raise CheckpointError(f"{file} is missing: a model folder needs it")
    stored = MappedFile(file)
    names = set(stored.shapes)
    scales = {name + SCALE for name, tensor in expected.items() if tensor.ndim == 2} & names
    for problem, odd in (("unknown", names - scales - set(expected)), ("missing", set(expected) - names)):
        if odd:
            raise CheckpointError(f"{file}: {len(odd)} {problem} tensors, first {sorted(odd)[0]}")
    for name, tensor in expected.items():
        _check_shape(file, name, stored, tuple(tensor.shape))
        if name + SCALE in scales:
            _check_shape(file, name + SCALE, stored, tuple(tensor.shape[:1]))
    return {name: _value(stored, name, tensor.dtype) for name, tensor in expected.items()}


def _value(stored: MappedFile, name: str, dtype: torch.dtype) -> Tensor:
    """One tensor in the precision it is used in, from what is stored under its name and perhaps a scale."""
    file, tensor = stored.path, stored.read(name)
    scale = stored.read(name + SCALE) if name + SCALE in stored.shapes else None
    wanted = torch.int8 if scale is not None else dtype
    if tensor.dtype != wanted and not (tensor.is_floating_point() and wanted.is_floating_point):
        raise CheckpointError(f"{file}: {name} is stored as {tensor.dtype}, which cannot be read as {wanted}")
    value = (tensor if scale is None else dequantize_rows(tensor, scale.float())).to(dtype, copy=scale is None)
    if not is_finite(value):
        raise CheckpointError(f"{file}: {name} holds values that are no numbers")
    return value


def _check_shape(file: Path, name: str, stored: MappedFile, expected: tuple[int, ...]) -> None:
    shape = stored.shapes[name]
    if shape != expected:
        raise CheckpointError(f"{file}: {name} is {shape}, its config makes it {expected}")


def _read_json(file: Path) -> dict[str, object]:
    data = read_json(file)
    if data.pop("format_version", None) != FORMAT_VERSION:
        raise CheckpointError(f"{file}: this version reads format_version {FORMAT_VERSION} only")
    return data
