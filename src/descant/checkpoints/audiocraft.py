"""Models in audiocraft's layout, as its export tool writes them and its ``MusicGen.get_pretrained`` reads them.

::

    state_dict.bin               language model and the trained part of its conditions
    compression_state_dict.bin   the codec, or the name of a released one

Each is a pickle of ``best_state`` (tensors), ``xp.cfg`` (settings as YAML), ``version`` and ``exported``, read without
running any code (see `pickles.py`). The frozen T5 is not part of the layout: it is found by name.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from descant.checkpoints import audiocraft_codec, audiocraft_config, hub, huggingface
from descant.checkpoints.audiocraft_yaml import dump, parse
from descant.checkpoints.config_files import config_errors_of
from descant.checkpoints.keeping import EVERYTHING, Keeping
from descant.checkpoints.keymap import AUDIOCRAFT_CONDITIONS, AUDIOCRAFT_LM, KeyMap, audiocraft_codec_keys
from descant.checkpoints.native import load_style_features, load_text_encoder, replacing
from descant.checkpoints.native_tensors import tensors_of
from descant.checkpoints.pickles import only_tensors, unpickled
from descant.checkpoints.tensor_files import HeldTensors, TensorFiles, planned, read_tensors
from descant.checkpoints.trust import part_named_in
from descant.checkpoints.untrained import Elsewhere
from descant.codec.any import AnyCodecConfig, StereoCodecConfig
from descant.codec.base import AudioCodec
from descant.codec.encodec import EnCodec, EnCodecConfig
from descant.conditioning.chroma import MelodyConfig
from descant.errors import CheckpointError
from descant.model import MusicGenConfig, MusicGenModel
from descant.nn.meta import on_meta_device

LM, CODEC = "state_dict.bin", "compression_state_dict.bin"
LAYOUT_VERSION = "1.3.0"
"""The release of audiocraft whose layout is written."""

_LM_KEYS = AUDIOCRAFT_LM.under("lm.") | AUDIOCRAFT_CONDITIONS
_WINDOW = "condition_provider.conditioners.self_wav.chroma.spec.window"
_TEXT_WEIGHT = "condition_provider.conditioners.description.output_proj.weight"


def is_model(folder: Path) -> bool:
    """Whether a folder has a language model in this layout."""
    return (folder / LM).exists()


def is_codec(folder: Path) -> bool:
    """Whether a folder has a codec in this layout."""
    return (folder / CODEC).exists()


def read_model_config(folder: Path) -> MusicGenConfig:
    """Our config of the model in a folder.

    Raises:
        CheckpointError: a file is missing, broken, or has an unsupported setting.
    """
    return _read_folder(folder)[0]


def load_model(
    folder: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    keeping: Keeping = EVERYTHING,
) -> MusicGenModel:
    """The model in a folder, ready to generate; every tensor is copied once, from the file to the device.

    Args:
        dtype: the language model's precision; the codec always runs in float32.
        keeping: what stays in memory of it.

    Raises:
        CheckpointError: a file is missing or broken, a setting is not supported, the tensors are not those of the
            settings, or their T5 cannot be read.
        MissingExtra: PyYAML or transformers is not installed.
    """
    model = load_without_text(folder, device, dtype, keeping)
    encoder = load_text_encoder(model.config, folder)
    if encoder.dim != model.config.text.dim:
        raise CheckpointError(
            f"{folder}: it was trained on text vectors {model.config.text.dim} wide, {model.config.text} gives "
            f"vectors {encoder.dim} wide"
        )
    model.text.encoder = encoder.to(device)
    features = load_style_features(model.config, folder)
    if model.style is not None and features is not None:
        model.style.encoder = features.to(device)
    return model


def load_without_text(
    folder: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    keeping: Keeping = EVERYTHING,
) -> MusicGenModel:
    """As ``load_model``, but without the text encoder: everything that the folder itself holds.

    Raises:
        CheckpointError: as ``load_model``.
    """
    config, lm_files, codec_files = _read_folder(folder)
    codec_keys = _codec_keys(config.codec)
    with config_errors_of(folder / LM), on_meta_device():
        model = MusicGenModel(config, Elsewhere(config.text.dim)).to_precision(dtype)
    expected = model.state_dict()
    tensors: dict[str, Tensor] = {}
    for files, keys, is_here in ((lm_files, _LM_KEYS, False), (codec_files, codec_keys, True)):
        part = {name: like for name, like in expected.items() if name.startswith("codec.") == is_here}
        tensors |= read_tensors(files, planned(keys, files, part), part, torch.device(device), keeping)
    model.load_state_dict(tensors, assign=True)
    return model.eval().requires_grad_(False)


def save_model(model: MusicGenModel, folder: Path) -> None:
    """Writes a model so that audiocraft loads it and computes the same; the folder must be new or empty.

    Raises:
        CheckpointError: audiocraft's MusicGen does not support the model, or it cannot be written.
        MissingExtra: PyYAML is not installed.
    """
    settings = audiocraft_config.write_model(model.config)
    codec_settings = audiocraft_codec.write_codec(_mono(model.config.codec))
    tensors = tensors_of(model)
    of_codec = {name: tensor for name, tensor in tensors.items() if name.startswith("codec.")}
    rest = {name: tensor for name, tensor in tensors.items() if name not in of_codec}
    with replacing(folder, frozenset()) as staging:
        _write({**_LM_KEYS.exported(rest), **_chroma_window(model.config.melody)}, settings, staging / LM)
        _write(_codec_keys(model.config.codec).exported(of_codec), codec_settings, staging / CODEC)


def load_codec(folder: Path) -> tuple[AudioCodec, AnyCodecConfig]:
    """The codec in a folder, on the CPU, with its config.

    Raises:
        CheckpointError: as ``load_model``.
    """
    config, files = _codec(folder)
    keys = audiocraft_codec_keys(config)
    with config_errors_of(folder / CODEC), on_meta_device():
        codec = EnCodec(config)
    expected = codec.state_dict()
    tensors = read_tensors(files, planned(keys, files, expected), expected, torch.device("cpu"))
    codec.load_state_dict(tensors, assign=True)
    return codec.eval().requires_grad_(False), config


def save_codec(codec: AudioCodec, config: AnyCodecConfig, folder: Path) -> None:
    """Writes an EnCodec as audiocraft exports it; the folder must be new or empty.

    Raises:
        CheckpointError, MissingExtra: as ``save_model``.
    """
    if not isinstance(config, EnCodecConfig):
        raise CheckpointError(f"audiocraft's layout supports only EnCodec: this is a {type(config).__name__}")
    settings = audiocraft_codec.write_codec(config)
    with replacing(folder, frozenset()) as staging:
        _write(audiocraft_codec_keys(config).exported(codec.state_dict()), settings, staging / CODEC)


def _chroma_window(melody: MelodyConfig | None) -> dict[str, Tensor]:
    """The window of the chromagram, which audiocraft expects in the file although it could compute it."""
    return {} if melody is None else {_WINDOW: torch.hann_window(melody.window_samples)}


def _read_folder(folder: Path) -> tuple[MusicGenConfig, TensorFiles, TensorFiles]:
    """The config of a folder, the tensors of its language model, and those of its codec."""
    package = _package(folder / LM)
    mono, codec_files = _codec(folder)
    lm_files = _tensors(package, folder / LM)
    if len(lm_files.shapes.get(_TEXT_WEIGHT, ())) != 2:
        raise CheckpointError(f"{folder / LM}: {_TEXT_WEIGHT} is missing: models without text are not read here")
    with config_errors_of(folder / LM):
        config = audiocraft_config.read_model(_settings(package), mono, lm_files.shapes[_TEXT_WEIGHT][1])
    return config, lm_files, codec_files


def _codec(folder: Path) -> tuple[EnCodecConfig, TensorFiles]:
    file = folder / CODEC
    package = _package(file)
    if "pretrained" in package:
        elsewhere = _released_codec(file, package["pretrained"])
        if not (elsewhere / CODEC).is_file():
            codec, config = huggingface.load_codec(elsewhere)
            tensors = audiocraft_codec_keys(config).exported(codec.state_dict())
            return config, TensorFiles(elsewhere, [HeldTensors(tensors)])
        file = elsewhere / CODEC
        package = _package(file)
    with config_errors_of(file):
        return audiocraft_codec.read_codec(_settings(package)), _tensors(package, file)


def _released_codec(file: Path, name: object) -> Path:
    """The folder of a codec that a file only names: next to the file's own folder, or on the hub."""
    if not isinstance(name, str) or not hub.is_id(name):
        # Shown only if it is a text: the representation of other objects may exceed any memory.
        shown = repr(name[:80]) if isinstance(name, str) else f"a {type(name).__name__}"
        raise CheckpointError(f"{file}: names the codec {shown}, which is not a hub id; only EnCodecs are supported")
    neighbour = file.parent.absolute().parent / name.split("/")[-1]
    try:
        return neighbour if neighbour.is_dir() else hub.find(part_named_in(file, name))
    except CheckpointError as error:
        raise CheckpointError(
            f"{file}: holds no codec, only the name of one, which is not in {str(neighbour)!r} either; {error}"
        ) from error


def _package(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise CheckpointError(f"{file} is missing: a model in audiocraft's layout needs it")
    package = unpickled(file)
    if "pretrained" not in package:
        for key in ("best_state", "xp.cfg"):
            if key not in package:
                raise CheckpointError(f"{file}: has no {key!r}; export the checkpoint with audiocraft's export tool")
    return package


def _settings(package: dict[str, Any]) -> dict[str, Any]:
    return parse(package.get("xp.cfg"))


def _tensors(package: dict[str, Any], file: Path) -> TensorFiles:
    return TensorFiles(file, [HeldTensors(only_tensors(package.get("best_state"), file))])


def _write(tensors: dict[str, Tensor], settings: dict[str, Any], file: Path) -> None:
    package = {
        "best_state": {name: tensor.to("cpu").contiguous() for name, tensor in tensors.items()},
        "xp.cfg": dump(settings),
        "version": LAYOUT_VERSION,
        "exported": True,
    }
    try:
        torch.save(package, file)
    except RuntimeError as error:  # torch's error for a full disk
        raise CheckpointError(f"{file}: cannot be written ({error})") from error


def _mono(config: AnyCodecConfig) -> EnCodecConfig:
    mono = config.mono if isinstance(config, StereoCodecConfig) else config
    assert isinstance(mono, EnCodecConfig)
    return mono


def _codec_keys(config: AnyCodecConfig) -> KeyMap:
    return audiocraft_codec_keys(_mono(config)).under(
        "codec.mono." if isinstance(config, StereoCodecConfig) else "codec."
    )
