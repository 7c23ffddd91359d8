"""Conditions of clips besides their captions, cropped with the codes into training batches."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from descant.conditioning.chords import ChordTrack, crop_chords, parse_chords
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
    """A condition of clips, by its name.

    Args:
        crop: the condition of a crop, from that of the clip.
        source: the files next to the codes that hold it, or a function from a clip's tags, which gives None for a clip
            without it.
    """

    name: str
    source: FeatureKind | Callable[[Mapping[str, Any]], Any]
    crop: Callable[[Any, CropTimes], Any]


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


def chords_condition() -> ClipCondition:
    """The chords of a crop, from the tag ``chords`` of its clip, such as ``"C:0 G:2"``."""

    def chords_of(tags: Mapping[str, Any]) -> ChordTrack | None:
        return parse_chords(tags["chords"]) if "chords" in tags else None

    return ClipCondition("chords", chords_of, lambda track, times: crop_chords(track, times.first_s))


def clip_conditions(config: MusicGenConfig) -> tuple[ClipCondition, ...]:
    """The conditions, in addition to captions, that a model of this shape is trained with."""
    melody = None if config.melody is None else melody_condition(config.melody)
    clap = None if config.clap is None else clap_condition(config.clap)
    chords = None if config.chords is None else chords_condition()
    return tuple(condition for condition in (melody, clap, chords) if condition is not None)
