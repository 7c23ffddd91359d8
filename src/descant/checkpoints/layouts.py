"""The layouts of a model folder: detection, reading and writing."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from descant.checkpoints import audiocraft, checking, huggingface, native
from descant.checkpoints.checking import ModelCheck
from descant.checkpoints.config_files import read_json
from descant.checkpoints.keeping import EVERYTHING, Keeping
from descant.checkpoints.tensor_files import has_weights
from descant.checkpoints.untrained import Elsewhere
from descant.codec.any import AnyCodecConfig
from descant.codec.base import AudioCodec
from descant.errors import CheckpointError
from descant.model import MusicGenConfig, MusicGenModel


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way to lay out a model, or a codec alone, as files in a folder."""

    holds_model: Callable[[Path], bool]
    holds_codec: Callable[[Path], bool]
    read_model_config: Callable[[Path], MusicGenConfig]
    load_model: Callable[[Path, torch.device, torch.dtype, Keeping], MusicGenModel]
    load_own: Callable[[Path], MusicGenModel]
    """Everything that the folder itself holds; a text encoder that is only named may be left out."""
    save_model: Callable[[MusicGenModel, Path], None]
    load_codec: Callable[[Path], tuple[AudioCodec, AnyCodecConfig]]
    save_codec: Callable[[AudioCodec, AnyCodecConfig, Path], None]


def _config_says(folder: Path) -> dict[str, object]:
    try:
        return read_json(folder / "config.json")
    except CheckpointError:
        return {}


def _own_of_audiocraft(folder: Path) -> MusicGenModel:
    model = audiocraft.load_without_text(folder)
    native.check_names(model.config, folder)
    return model


LAYOUTS = {
    "native": Layout(
        # A model's config has a language model, a codec's has not.
        holds_model=lambda folder: "lm" in _config_says(folder),
        holds_codec=lambda folder: {"format_version", "type"} <= set(_config_says(folder)),
        read_model_config=native.read_model_config,
        load_model=native.load_model,
        load_own=lambda folder: native.load_own(folder, Elsewhere),
        save_model=native.save_model,
        load_codec=native.load_codec,
        save_codec=native.save_codec,
    ),
    "huggingface": Layout(
        # A repository may hold one model in two layouts, of which only one was fetched.
        holds_model=lambda folder: (
            huggingface.is_model(_config_says(folder)) and (has_weights(folder) or not audiocraft.is_model(folder))
        ),
        holds_codec=lambda folder: huggingface.is_codec(_config_says(folder)),
        read_model_config=huggingface.read_model_config,
        load_model=huggingface.load_model,
        load_own=huggingface.load_model,
        save_model=huggingface.save_model,
        load_codec=huggingface.load_codec,
        save_codec=huggingface.save_codec,
    ),
    "audiocraft": Layout(
        holds_model=audiocraft.is_model,
        holds_codec=audiocraft.is_codec,
        read_model_config=audiocraft.read_model_config,
        load_model=audiocraft.load_model,
        load_own=_own_of_audiocraft,
        save_model=audiocraft.save_model,
        load_codec=audiocraft.load_codec,
        save_codec=audiocraft.save_codec,
    ),
}


def read_model_config(folder: Path) -> MusicGenConfig:
    """The config of the model in a folder of any layout.

    Raises:
        CheckpointError: it is missing, or not what this version reads.
    """
    return _layout_of(folder).read_model_config(folder)


def load_model(
    folder: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    keeping: Keeping = EVERYTHING,
) -> MusicGenModel:
    """The model in a folder of any layout, ready to generate.

    Args:
        dtype: the language model's precision; the codec always runs in float32.
        keeping: what stays in memory of it.

    Raises:
        CheckpointError: the folder is missing, incomplete, broken, or its weights do not fit its config.
    """
    return _layout_of(folder).load_model(folder, torch.device(device), dtype, keeping)


def load_codec(folder: Path) -> tuple[AudioCodec, AnyCodecConfig]:
    """The codec in a folder of any layout, on the CPU, with its config.

    Raises:
        CheckpointError: as ``load_model``.
    """
    found = [layout for layout in LAYOUTS.values() if layout.holds_codec(folder)]
    if not found and folder.is_dir() and not (folder / "config.json").exists():
        raise CheckpointError(f"{folder} holds no codec: a config.json or a {audiocraft.CODEC} is needed")
    return (found or [LAYOUTS["native"]])[0].load_codec(folder)


def check_model(folder: Path) -> ModelCheck:
    """Whether a folder of any layout would load; nothing unsafe is ever read."""
    return checking.check_model(folder, lambda checked: _layout_of(checked).load_own(checked))


def convert(source: Path, target: Path, layout: str) -> int:
    """Converts the model or codec of a folder to another layout in a new folder; returns its number of parameters.

    Weights stored in half precision are written in float32, which is exact.

    Args:
        layout: one of ``LAYOUTS``.

    Raises:
        CheckpointError: the source does not load, the layout does not support it, or the target is not empty.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CheckpointError(f"{target} is there and not an empty folder: choose another folder, or remove it")
    if not any(known.holds_model(source) for known in LAYOUTS.values()) and any(
        known.holds_codec(source) for known in LAYOUTS.values()
    ):
        codec, config = load_codec(source)
        LAYOUTS[layout].save_codec(codec, config, target)
        return sum(parameter.numel() for parameter in codec.parameters())
    # transformers' layout holds the text encoder too, so it must be available.
    model = load_model(source) if layout == "huggingface" else _layout_of(source).load_own(source)
    LAYOUTS[layout].save_model(model, target)
    return sum(parameter.numel() for parameter in model.parameters())


def why_no_model(folder: Path) -> str:
    """A message that says why a folder has no model in any layout, and where one may be."""
    is_run = (folder / "log.jsonl").is_file() or any(folder.glob("step-*/state.json"))
    if any(layout.holds_model(folder / "model") for layout in LAYOUTS.values()):
        what = "is a training run" if is_run else "holds no model itself"
        return f"{folder} {what}; its model is in {str(folder / 'model')!r}: name that"
    if is_run:
        return (
            f"{folder} is a training run that has not written its model yet; "
            f"finish it: descant train RECIPE --out {folder} --resume"
        )
    if (folder / "state.json").is_file() and folder.name.startswith("step-"):
        model = str(folder.parent / "model")
        return f"{folder} is a checkpoint to go on training from; at the end of its run the model is in {model!r}"
    if any(layout.holds_codec(folder) for layout in LAYOUTS.values()):
        return f"{folder} holds a codec and no language model; a model is needed here"
    kind = _config_says(folder).get("model_type")
    if isinstance(kind, str):
        return f"{folder}: config.json says model_type={kind!r:.80}; allowed are {', '.join(huggingface.MODEL_TYPES)}"
    return f"{folder} holds no model: a config.json with weights, or audiocraft's {audiocraft.LM}, is needed"


def _layout_of(folder: Path) -> Layout:
    """The layout of a model's folder; ours if none matches but there is a config, to report what is wrong with it."""
    found = [layout for layout in LAYOUTS.values() if layout.holds_model(folder)]
    if not found and folder.is_dir():
        holds_codec = any(layout.holds_codec(folder) for layout in LAYOUTS.values())
        if holds_codec or "model_type" in _config_says(folder) or not (folder / "config.json").exists():
            raise CheckpointError(why_no_model(folder))
    return (found or [LAYOUTS["native"]])[0]
