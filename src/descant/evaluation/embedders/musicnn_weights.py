"""The TensorFlow weights of MusiCNN: where the package ``musicnn`` has them, and their names in our network."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
from einops import rearrange

from descant.errors import MissingExtra

TAGGER = "MTT_musicnn"
"""The checkpoint that was trained on MagnaTagATune."""
INSTALL = "pip install --no-deps musicnn==0.1.0"


def package_version() -> str:
    """The version of the installed package."""
    return distribution("musicnn").version


def weights_folder(name: str) -> Path:
    """The folder of a checkpoint of the installed package, such as ``MTT_musicnn``.

    Raises:
        MissingExtra: the package is not installed, or lacks it.
    """
    # Importing the package would import TensorFlow: its files are looked up in the installation metadata instead.
    try:
        files = distribution("musicnn").files or []
    except PackageNotFoundError as error:
        raise MissingExtra(f"the music tagger's weights come in the package musicnn: {INSTALL}") from error
    indices = [Path(str(file.locate())) for file in files if file.parent.name == name and file.name == ".index"]
    if not indices:
        raise MissingExtra(f"the installed musicnn has no {name} weights: {INSTALL}")
    return indices[0].parent


def network_weights(theirs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The checkpoint's variables with our names and in PyTorch's layout, without those of the optimiser."""
    ours: dict[str, np.ndarray] = {}
    names = [
        *(f"timbral.{i}" for i in range(2)),
        *(f"temporal.{i}" for i in range(3)),
        *(f"middle.{i}" for i in range(3)),
    ]
    # TensorFlow numbered the layers in the order of MusiCNN's graph, the norm of the input first.
    for number, name in enumerate(names):
        kernel = theirs[_numbered("conv2d", number) + "/kernel"]
        layout = "time feature 1 D -> D feature time" if name.startswith("middle") else "time band C D -> D C time band"
        ours[f"{name}.conv.weight"] = np.ascontiguousarray(rearrange(kernel, layout))
        ours[f"{name}.conv.bias"] = theirs[_numbered("conv2d", number) + "/bias"]
    for number, name in enumerate(("hidden", "output")):
        ours[f"{name}.weight"] = np.ascontiguousarray(theirs[_numbered("dense", number) + "/kernel"].T)
        ours[f"{name}.bias"] = theirs[_numbered("dense", number) + "/bias"]
    norms = ["input_norm", *(f"{name}.norm" for name in names), "pooled_norm", "hidden_norm"]
    parts = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    for number, name in enumerate(norms):
        for their_part, our_part in parts.items():
            ours[f"{name}.{our_part}"] = theirs[f"{_numbered('batch_normalization', number)}/{their_part}"]
        ours[f"{name}.num_batches_tracked"] = np.array(0)
    return ours


def _numbered(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name
