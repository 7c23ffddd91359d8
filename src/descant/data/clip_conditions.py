"""Conditions that are stored next to the codes of clips, cropped with them into training batches."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.clap import ClapConfig
from descant.conditioning.melody import apply_bottleneck
from descant.data.clip_features import FeatureKind
from descant.data.embeddings import crop_embedding, embeddings
from descant.data.melodies import crop, melodies
from descant.model import MusicGenConfig


@dataclass(frozen=True)
class CropTimes:
    """Where a crop is in its clip, in seconds; ``known_s`` is its duration up to the end of the clip."""

    first_s: float
    duration_s: float
    known_s: float


@dataclass(frozen=True)
class ClipCondition:
    """A condition by its name, the files that hold it, and how it is cropped from the features of a clip."""

    name: str
    kind: FeatureKind
    crop: Callable[[Tensor, CropTimes], Tensor]


def melody_condition(config: MelodyConfig) -> ClipCondition:
    """The melody of a crop, from the chromagrams that ``data/melodies.py`` makes; silence after the clip's end."""

    def melody_of(chroma: Tensor, times: CropTimes) -> Tensor:
        num_frames = config.frames_covering(times.duration_s) * config.pooled_frames
        return apply_bottleneck(crop(chroma, times.first_s, num_frames, config), config)

    return ClipCondition("melody", melodies(config), melody_of)


def clap_condition(config: ClapConfig) -> ClipCondition:
    """The embedding of a crop's audio, from those of windows that ``data/embeddings.py`` makes."""

    def embedding_of(windows: Tensor, times: CropTimes) -> Tensor:
        return crop_embedding(windows, times.first_s, times.known_s, config)

    return ClipCondition("clap", embeddings(config), embedding_of)


def clip_conditions(config: MusicGenConfig) -> tuple[ClipCondition, ...]:
    """The stored conditions that a model of this shape is trained with."""
    melody = None if config.melody is None else melody_condition(config.melody)
    clap = None if config.clap is None else clap_condition(config.clap)
    return tuple(condition for condition in (melody, clap) if condition is not None)
