"""Models in our own layout: a strict config.json and safetensors for the language model and for the codec, no pickle.

::

    config.json          everything but the codec, with a format version
    model.safetensors    language model and conditioners
    codec/config.json    the codec's shape
    codec/model.safetensors
    text/                the text encoder, in models that have one of their own
    prior.json           the prior over tempo and key, in models that have one
    README.md            the model card
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from descant import config as configs
from descant.atomic import replacing_folder
from descant.checkpoints.config_files import config_errors_of, read_json, write_json
from descant.checkpoints.keeping import EVERYTHING, Keeping
from descant.checkpoints.native_tensors import Storage, read_tensors, stored_tensors
from descant.checkpoints.prior_file import PRIOR, read_prior, write_prior
from descant.checkpoints.stored_weights import text_weights
from descant.checkpoints.tensor_files import TensorFiles, check_header
from descant.checkpoints.trust import part_named_in
from descant.codec.any import AnyCodecConfig, build_codec
from descant.codec.base import AudioCodec
from descant.conditioning.base import TextEncoder
from descant.conditioning.encoders.clap import ClapEncoder
from descant.conditioning.encoders.frozen import check_descriptions
from descant.conditioning.encoders.mert import MERTFeatures
from descant.conditioning.encoders.small import SmallTextEncoder
from descant.conditioning.encoders.t5 import T5Encoder
from descant.conditioning.style import StyleFeatures
from descant.conditioning.text import T5Text
from descant.errors import CheckpointError
from descant.model import MusicGenConfig, MusicGenModel
from descant.nn.meta import on_meta_device, without_random_values

FORMAT_VERSION = 1
WEIGHTS = "model.safetensors"
CODEC_PARTS = frozenset({"config.json", WEIGHTS})
MODEL_PARTS = CODEC_PARTS | {"codec", "text", PRIOR, "README.md"}


def save_model(
    model: MusicGenModel, folder: Path, *, storage: Storage = "exact", model_card: str | None = None
) -> None:
    """Writes a model, replacing one that may exist; a folder of that name is complete or does not exist.

    Args:
        storage: ``exact`` keeps every bit; ``fp16`` halves the size; ``int8`` stores the language model's matrices in
            eight bits with a scale per row and the rest as fp16. Codebooks are always exact: a rounded one would give
            other codes.

    Raises:
        CheckpointError: the folder exists and holds something other than a model, it cannot be written, or a weight
            is too large for fp16.
    """
    with replacing(folder, MODEL_PARTS) as staging:
        _write(model, staging, storage, model_card)


@contextmanager
def replacing(folder: Path, parts: frozenset[str]) -> Iterator[Path]:
    """An empty folder to write a model into, which replaces ``folder`` once all is written.

    An existing ``folder`` must be empty, or a native model with no entries other than ``parts``.
    """
    try:
        with replacing_folder(folder, lambda old: _holds_only(old, parts)) as staging:
            yield staging
    except SafetensorError as error:
        raise CheckpointError(f"cannot write {str(folder)!r}: {error}") from error


def _holds_only(folder: Path, parts: frozenset[str]) -> bool:
    """Whether the folder is empty or holds one of our configs and nothing but ``parts``."""
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
    rest = {name: tensor for name, tensor in stored_tensors(model, storage).items() if not name.startswith("codec.")}
    save_file(rest, folder / WEIGHTS)
    encoder = model.text.encoder
    if isinstance(encoder, SmallTextEncoder) or (isinstance(encoder, T5Encoder) and encoder.is_part_of_model):
        encoder.save(folder / "text")
    if model.prior is not None:
        write_prior(model.prior, folder)
    if model_card is not None:
        (folder / "README.md").write_text(model_card, encoding="utf-8")


def save_codec(codec: AudioCodec, config: AnyCodecConfig, folder: Path, *, storage: Storage = "exact") -> None:
    """Writes a codec like the ``codec`` folder of a model; a folder of that name is complete or does not exist.

    Raises:
        CheckpointError: as ``save_model``.
    """
    with replacing(folder, CODEC_PARTS) as staging:
        _write_codec(codec, config, staging, storage)


def _write_codec(codec: AudioCodec, config: AnyCodecConfig, folder: Path, storage: Storage) -> None:
    folder.mkdir(exist_ok=True)
    plain = configs.to_dict(Coded(codec=config))["codec"]
    write_json({"format_version": FORMAT_VERSION, **plain}, folder / "config.json")
    save_file(stored_tensors(codec, storage), folder / WEIGHTS)


def load_codec(folder: Path) -> tuple[AudioCodec, AnyCodecConfig]:
    """The codec in a folder that ``save_codec`` wrote, on the CPU, with its config.

    Raises:
        CheckpointError: the folder is missing, incomplete, broken, or its weights do not fit its config.
    """
    with config_errors_of(folder):
        config = configs.from_dict(Coded, {"codec": _read_json(folder / "config.json")}).codec
        with on_meta_device():
            expected = build_codec(config).state_dict()
        tensors = read_tensors(folder / WEIGHTS, expected)
        with without_random_values():
            codec = build_codec(config)
    codec.load_state_dict(tensors, assign=True)
    return codec.eval().requires_grad_(False), config


@dataclass(frozen=True)
class Coded:
    """Any codec's config; as a field of a union type it is stored with the name of its class."""

    codec: AnyCodecConfig


def load_model(
    folder: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    keeping: Keeping = EVERYTHING,
) -> MusicGenModel:
    """The model in a folder, ready to generate.

    Args:
        dtype: the language model's precision; the codec, and the part of a conditioner that computes codes, always run
            in float32.
        keeping: what stays in memory of it; on a CPU only.

    Raises:
        CheckpointError: the folder is missing, incomplete, broken, or its weights do not fit its config.
    """
    config = read_model_config(folder)
    with config_errors_of(folder):
        encoder = load_text_encoder(config, folder, keeping)
        features, clap = load_style_features(config, folder), load_clap_encoder(config, folder)
        model = _load_around(folder, config, encoder, features, clap, dtype, keeping).to_precision(dtype)
    # On a CPU it is already there, and shapes without memory cannot be moved.
    return model if torch.device(device).type == "cpu" else model.to_device(torch.device(device))


def load_own(folder: Path, elsewhere: Callable[[int], TextEncoder]) -> MusicGenModel:
    """The model with the parts that are in its folder; frozen networks that its config only names are not fetched.

    Args:
        elsewhere: makes the placeholder of a text encoder of that width which is only named.

    Raises:
        CheckpointError: as ``load_model``; also if the config names networks that it is not trusted to name.
    """
    config = read_model_config(folder)
    is_named = isinstance(config.text, T5Text) and not (folder / "text").is_dir()
    with config_errors_of(folder):
        check_names(config, folder)
        encoder = elsewhere(config.text.dim) if is_named else load_text_encoder(config, folder)
        return _load_around(folder, config, encoder, None, None, torch.float32)


def check_names(config: MusicGenConfig, folder: Path) -> None:
    """Checks that every frozen network that a model's config names is one that it is trusted to name; fetches nothing.

    Raises:
        CheckpointError: a name is not trusted.
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
    keeping: Keeping = EVERYTHING,
) -> MusicGenModel:
    """The model in a folder, on the CPU, around frozen networks."""
    with config_errors_of(folder):
        # On the meta device: a config with absurd sizes has no weights that fit it, so it must not allocate them; and
        # weights that fit are assigned, so that no second copy is ever made.
        with on_meta_device():
            model = MusicGenModel(config, encoder, features, clap, read_prior(folder)).to_precision(dtype)
        of_codec = read_tensors(folder / "codec" / WEIGHTS, model.codec.state_dict())
        # A codec may compute tensors that no file holds, such as its windows, so it is built again with memory.
        with without_random_values():
            model.codec = build_codec(config.codec)
        model.codec.load_state_dict(of_codec, assign=True)  # so that its memory is free before the rest is read
    rest = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("codec.")}
    tensors = read_tensors(folder / WEIGHTS, rest, keeping)
    model.load_state_dict({**{f"codec.{name}": tensor for name, tensor in of_codec.items()}, **tensors}, assign=True)
    return model.eval().requires_grad_(False)


def read_model_config(folder: Path) -> MusicGenConfig:
    """The config of the model in a folder.

    Raises:
        CheckpointError: the folder or a config is missing, or this version cannot read it.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such model folder")
    with config_errors_of(folder):
        plain = _read_json(folder / "config.json")
        if "codec" in plain:
            raise CheckpointError(f"{folder}: config.json has a codec; it belongs in codec/config.json")
        plain["codec"] = _read_json(folder / "codec" / "config.json")
        return configs.from_dict(MusicGenConfig, plain)


def load_text_encoder(config: MusicGenConfig, folder: Path | None = None, keeping: Keeping = EVERYTHING) -> TextEncoder:
    """The frozen text encoder that a config asks for: the folder's own, or the one in the package, or a T5 by name."""
    own = None if folder is None or not (folder / "text").is_dir() else folder / "text"
    if own is not None:
        check_descriptions(own)
        check_header(own / WEIGHTS)
    if isinstance(config.text, T5Text):
        if own is None:
            return T5Encoder.load(_read_as(config.text.name, folder))
        files = TensorFiles.load(own)
        weights = text_weights(files, {name: name for name in files.shapes}, keeping)
        return T5Encoder.from_weights(read_json(own / "config.json"), weights, own)
    if own is not None:
        return SmallTextEncoder.load(own)
    return SmallTextEncoder.load(starter_folder() / "text")


def load_style_features(config: MusicGenConfig, folder: Path | None = None) -> StyleFeatures | None:
    """The frozen encoder of styles; None for models without styles."""
    return None if config.style is None else MERTFeatures.load(_read_as(config.style.features, folder))


def load_clap_encoder(config: MusicGenConfig, folder: Path | None = None) -> ClapEncoder | None:
    """The frozen encoder of a model's joint space; None for models without one."""
    if config.clap is None:
        return None
    name = _read_as(config.clap.name, folder)
    # The model compares its config with the encoder's, so the encoder keeps the name in the config.
    return ClapEncoder.load(config.clap, None if name == config.clap.name else name)


def _read_as(name: str, folder: Path | None) -> str:
    """Where to read a frozen network that the config in a folder names; without a folder, the user named it."""
    return name if folder is None else part_named_in(folder, name)


def starter_folder() -> Path:
    """The folder of the weights that ship with the package."""
    return Path(str(resources.files("descant") / "starter"))


def _read_json(file: Path) -> dict[str, object]:
    data = read_json(file)
    if data.pop("format_version", None) != FORMAT_VERSION:
        raise CheckpointError(f"{file}: this version reads format_version {FORMAT_VERSION} only")
    return data
