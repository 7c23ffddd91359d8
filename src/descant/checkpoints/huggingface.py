"""Models in transformers' layout: MusicGen and EnCodec as ``save_pretrained`` writes them.

::

    config.json                 text encoder, codec and decoder, as transformers' configs
    generation_config.json      default sampling settings
    model.safetensors           all weights, the T5's too; or shards with model.safetensors.index.json
    preprocessor_config.json    for transformers' processors
    tokenizer.json ...          the T5's tokenizer

What acts in training only (dropout, how codebooks learn) has no place there and is not taken from there either.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from descant.checkpoints.config_files import config_errors_of, read_json, write_json
from descant.checkpoints.huggingface_config import read_codec, read_model, unused_codebooks, write_codec, write_model
from descant.checkpoints.keeping import EVERYTHING, Keeping
from descant.checkpoints.keymap import HUGGINGFACE_CODEC, HUGGINGFACE_MUSICGEN, KeyMap
from descant.checkpoints.native import replacing
from descant.checkpoints.native_tensors import tensors_of
from descant.checkpoints.stored_weights import text_weights
from descant.checkpoints.tensor_files import (
    SAFETENSORS,
    TensorFiles,
    planned,
    read_tensors,
)
from descant.codec.any import AnyCodecConfig, StereoCodecConfig
from descant.codec.base import AudioCodec
from descant.codec.encodec import EnCodec, EnCodecConfig
from descant.conditioning.encoders.t5 import T5Encoder
from descant.errors import CheckpointError
from descant.model import MusicGenConfig, MusicGenModel
from descant.nn.meta import on_meta_device

MODEL_TYPES = ("musicgen", "musicgen_melody")
TEXT_ENCODER = "text_encoder."
SHARD_BYTES = 2**32


def is_model(plain: Mapping[str, Any]) -> bool:
    """Whether a config.json is that of a MusicGen in this layout."""
    return plain.get("model_type") in MODEL_TYPES


def is_codec(plain: Mapping[str, Any]) -> bool:
    """Whether a config.json is that of an EnCodec in this layout."""
    return plain.get("model_type") == "encodec"


def read_model_config(folder: Path) -> MusicGenConfig:
    """Our config of the model in a folder.

    Raises:
        CheckpointError: a file is missing, or has an unsupported setting.
    """
    with config_errors_of(folder):
        return read_model(
            read_json(folder / "config.json"),
            _if_there(folder / "generation_config.json"),
            _if_there(folder / "preprocessor_config.json"),
        )


def load_model(
    folder: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    keeping: Keeping = EVERYTHING,
) -> MusicGenModel:
    """The model in a folder, ready to generate; every tensor is copied once, from the file to the device.

    Args:
        dtype: the language model's precision; codec and text encoder always run in float32.
        keeping: what stays in memory of it.

    Raises:
        CheckpointError: a file is missing or broken, a setting is not supported, or the tensors are not those of the
            config.
        MissingExtra: transformers is not installed, which the text encoder needs.
    """
    device = torch.device(device)
    plain, config = read_json(folder / "config.json"), read_model_config(folder)
    files = TensorFiles.load(folder)
    of_text = sorted(name for name in files.shapes if name.startswith(TEXT_ENCODER))
    _check_layers(folder, plain["text_encoder"], len(of_text))
    names = {name.removeprefix(TEXT_ENCODER): name for name in of_text}
    encoder = T5Encoder.from_weights(plain["text_encoder"], text_weights(files, names, keeping), folder)
    with config_errors_of(folder), on_meta_device():
        model = MusicGenModel(config, encoder).to_precision(dtype)
    keys = _model_keys(config.codec)
    spare = [f"audio_encoder.quantizer.layers.{level}.{{rest}}" for level in unused_codebooks(plain)]
    unused = {
        **dict.fromkeys(of_text, "read by the text encoder"),
        **dict.fromkeys(spare, "unused codebooks"),
    }
    keys = keys | KeyMap(rules={}, ignored=unused)
    _fill(model, files, keys, device, keeping)
    model.text.encoder = encoder.to(device)
    return model


def load_codec(folder: Path) -> tuple[AudioCodec, EnCodecConfig]:
    """The EnCodec in a folder, such as facebook/encodec_32khz, on the CPU, with its config.

    Raises:
        CheckpointError: as ``load_model``.
    """
    plain = read_json(folder / "config.json")
    with config_errors_of(folder):
        config = read_codec(plain)
    files = TensorFiles.load(folder)
    with config_errors_of(folder), on_meta_device():
        codec = EnCodec(config)
    _fill(codec, files, HUGGINGFACE_CODEC, torch.device("cpu"))
    return codec, config


def save_model(model: MusicGenModel, folder: Path, *, shard_bytes: int = SHARD_BYTES) -> None:
    """Writes a model so that transformers loads it and computes the same; the folder must be new or empty.

    Args:
        shard_bytes: a file holds about this much, and writing takes this much memory.

    Raises:
        CheckpointError: transformers' MusicGen does not support the model, or it cannot be written.
    """
    encoder = model.text.encoder
    if not isinstance(encoder, T5Encoder):
        raise CheckpointError(f"transformers' MusicGen has a T5 text encoder, this model {type(encoder).__name__}")
    described = write_model(model.config, encoder.config)
    tensors = _model_keys(model.config.codec).exported(tensors_of(model))
    tensors |= {f"{TEXT_ENCODER}{name}": tensor for name, tensor in encoder.weights.items()}
    with replacing(folder, frozenset()) as staging:
        for name, plain in described.items():
            write_json(plain, staging / name)
        encoder.save_tokenizer(staging)
        _write_tensors(tensors, staging, shard_bytes)


def save_codec(codec: AudioCodec, config: AnyCodecConfig, folder: Path) -> None:
    """Writes an EnCodec as transformers' EncodecModel; the folder must be new or empty.

    Raises:
        CheckpointError: as ``save_model``.
    """
    plain = write_codec(config)
    with replacing(folder, frozenset()) as staging:
        write_json(plain, staging / "config.json")
        _write_tensors(HUGGINGFACE_CODEC.exported(codec.state_dict()), staging, SHARD_BYTES)


def _model_keys(codec: AnyCodecConfig) -> KeyMap:
    ours = "codec.mono." if isinstance(codec, StereoCodecConfig) else "codec."
    return HUGGINGFACE_MUSICGEN | HUGGINGFACE_CODEC.under(ours, "audio_encoder.")


def _fill(
    module: nn.Module, files: TensorFiles, keys: KeyMap, device: torch.device, keeping: Keeping = EVERYTHING
) -> None:
    """Loads the tensors of a module on the meta device."""
    expected = module.state_dict()
    tensors = read_tensors(files, planned(keys, files, expected), expected, device, keeping)
    module.load_state_dict(tensors, assign=True)
    module.eval().requires_grad_(False)


def _check_layers(folder: Path, text_encoder: Mapping[str, Any], num_tensors: int) -> None:
    """Refuses a T5 with more layers than tensors: layers take time to create even on the meta device."""
    layers = text_encoder.get("num_layers", 0)
    if type(layers) is not int or layers > num_tensors:
        raise CheckpointError(f"{folder}: text_encoder.num_layers={layers!r:.80}, with only {num_tensors} tensors")


def _if_there(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}


def _write_tensors(tensors: Mapping[str, Tensor], folder: Path, shard_bytes: int) -> None:
    """Writes one file, or shards with an index, one shard in memory at a time."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    names = [f"model-{index + 1:05}-of-{len(shards):05}.safetensors" for index in range(len(shards))]
    names = names if len(shards) > 1 else [SAFETENSORS]
    for name, shard in zip(names, shards, strict=True):
        # Copied: safetensors refuses tensors that share memory.
        contents = {key: tensor.detach().to("cpu", copy=True).contiguous() for key, tensor in shard.items()}
        save_file(contents, folder / name, metadata={"format": "pt"})
    if len(shards) > 1:
        total = sum(tensor.nbytes for tensor in tensors.values())
        weight_map = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
        write_json({"metadata": {"total_size": total}, "weight_map": weight_map}, folder / f"{SAFETENSORS}.index.json")
